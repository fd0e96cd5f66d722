"""A run to be killed, in a process of its own that starts in milliseconds."""

import itertools
import multiprocessing
import os
import signal
import sys
from pathlib import Path

STUDY = Path(__file__).parent / "train" / "study_to_kill.py"
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["torch._dynamo", "etudes.train.loop", "etudes.train.recipe", "etudes.measure.error", "victim"]
)


def plan(seeds=1, **fields):
    from etudes.core.catalogue import find

    study = find(str(STUDY))
    return study, study.plan("smoke", seeds=seeds, **fields)


def perform(root, seeds=1, kill_at="", **fields):
    """Perform the plan below `root`; `kill_at` = "before 3" or "after 3" dies there at the third rename of a file."""
    import torch

    from etudes.sweep import local

    torch.set_num_threads(1)
    os.environ["ETUDES_SAVE_SECONDS"] = "0"
    if kill_at:
        when, _, count = kill_at.partition(" ")
        renames, real = itertools.count(1), os.replace

        def replace(source, target):
            mine = next(renames) == int(count)
            if mine and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            real(source, target)
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = replace
    study, specs = plan(seeds, **fields)
    local.perform(study, specs, Path(root))


def process(*arguments, **options):
    """A started process that performs; its folder of modules is this one's."""
    if str(Path(__file__).parent) not in sys.path:
        sys.path.insert(0, str(Path(__file__).parent))
    child = CONTEXT.Process(target=perform, args=arguments, kwargs=options)
    child.start()
    return child


def contents(root):
    """{path below the root: bytes} of what a run leaves for good."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for name in ("log.jsonl", "result.json", "spec.json")
        for path in sorted(Path(root).rglob(name))
    }
