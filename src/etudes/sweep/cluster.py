"""A plan performed by a Ray cluster: a run is a task, and its results land in the root that all nodes share.

A worker that is lost costs what its run did since the last checkpoint: the task is started again, on any node that
sees the root, and goes on from there. The locks of runs hold between processes of one machine and over network
folders with POSIX locks (NFS version 4, CephFS, Lustre with flock); where they do not hold, let one command at a time
perform a plan: it gives each run to one task.
"""

import math
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etudes.core import catalogue
from etudes.core.environment import sources
from etudes.core.errors import Broken, Problem
from etudes.core.run import Watch
from etudes.core.spec import Spec, Study
from etudes.sweep.plan import Outcome, attempt, in_time
from etudes.sweep.store import Store

if TYPE_CHECKING:
    from ray import ObjectRef


@dataclass(frozen=True)
class Cluster:
    """Where a plan's runs are performed. Each takes as many cores of a node as it has threads, and so many GPUs."""

    address: str = ""  # of Ray: "auto", "HOST:PORT" or "ray://HOST:10001"; "": this machine alone
    gpus: float = 0  # 0.25: four runs share one


LIVES = 4  # times that a run is started, should its worker be lost
PAUSE = 1.0  # seconds between two looks at the progress, and before a run that another process holds is tried again


def perform(
    study: Study,
    plan: Sequence[Spec],
    root: Path | str,
    cluster: Cluster,
    *,
    watch: Watch | None = None,
    finish: Callable[[Outcome], None] | None = None,
    deadline: float = math.inf,
) -> list[Outcome]:
    """What came of the plan's runs, below a folder that all nodes see or a URL; `finish` is called with each.

    Raises Problem where there is no Ray, no such cluster, no node that is large enough, another version of the project
    on a node, or as soon as a run cannot go on for a reason that is not its own; Broken where the program raised;
    OutOfTime when `time.monotonic()` has passed the deadline.
    """
    threads = plan[0].threads
    ray = _connected(cluster.address)
    try:
        _check_room(ray, threads, cluster.gpus)
        _portable(ray, study)
        board = ray.remote(num_cpus=0)(_Board).remote()
        task = ray.remote(num_cpus=threads, num_gpus=cluster.gpus, max_retries=LIVES - 1)(_execute)
        shared = ray.put(study)
        store = Store(root)
        fixed = (store.root, sources(), board)
        running = {task.remote(shared, spec, *fixed): spec for spec in plan}
        outcomes: list[Outcome] = []
        while running:
            in_time(deadline)
            ready, _ = ray.wait(list(running), timeout=PAUSE)
            for key, (done, steps) in ray.get(board.news.remote()).items():
                if watch:
                    watch(key, done, steps)
            for ref in ready:
                spec = running.pop(ref)
                outcome = _outcome(ray, ref, spec)
                if outcome.status == "busy":  # some other command performs it: its task waits, that the others go first
                    running[task.remote(shared, spec, *fixed, PAUSE)] = spec
                    continue
                store.bring([spec])
                outcomes.append(outcome)
                if finish:
                    finish(outcome)
        return outcomes
    finally:
        ray.shutdown()  # and with it this command's tasks, wherever they run


def _connected(address: str) -> Any:
    """Ray, connected; its notices are kept off the terminal. Tasks see the command's own ETUDES_ variables."""
    try:
        import ray
    except ImportError:
        raise Problem("--engine ray needs Ray; install etudes[cluster]") from None
    if address != "auto" and address:
        _check_door(address)
    variables = {name: value for name, value in os.environ.items() if name.startswith("ETUDES_")}
    variables["PYTHONPATH"] = os.pathsep.join(_own_modules())
    own: dict[str, Any] = {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray.init(
            **({"address": address} if address else own),
            runtime_env={"env_vars": variables, "worker_process_setup_hook": _path_of_users_files()},
            logging_level="ERROR",
            log_to_driver=False,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        words = str(error).strip().splitlines()[0]
        raise Problem(
            f"no Ray cluster answers at {address or 'this machine'} ({words}); start one: `ray start`"
        ) from None
    return ray


def _check_door(address: str) -> None:
    """Raises Problem where nobody listens at HOST:PORT: Ray itself would knock for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise Problem(
            f"no Ray cluster answers at {address} ({error}); give HOST:PORT of a head node (`ray start --head`)"
        ) from None


def _own_modules() -> list[str]:
    """The folders of modules outside the installation, such as a checkout, at the same place on every node."""
    others = [path for path in sys.path if path not in catalogue.BESIDE and Path(path).is_dir()]
    return [path for path in others if not path.startswith((sys.prefix, sys.base_prefix))]


def _path_of_users_files() -> Callable[[], None]:
    """What a worker does first: it looks beside users' files too, behind all else, as this process does."""
    folders = list(catalogue.BESIDE)

    def extend() -> None:
        sys.path.extend(folder for folder in folders if folder not in sys.path)

    return extend


def _check_room(ray: Any, cpus: int, gpus: float) -> None:
    """Raises Problem where no node could ever perform a run: Ray itself would wait for ever."""
    if gpus < 0:
        raise Problem(f"a run cannot take {gpus:g} GPUs; --gpus-per-run is 0 or more")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        most = ", ".join(f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in nodes)
        raise Problem(f"no node has {cpus} cores and {gpus:g} GPUs for a run; the nodes have {most}")


def _portable(ray: Any, study: Study) -> None:
    """Let a study of a user's own file travel as it is: the nodes cannot import that file."""
    module = sys.modules.get(study.program.__module__)
    if module and module.__name__ != "__main__" and not module.__name__.startswith("etudes."):
        ray.cloudpickle.register_pickle_by_value(module)


class _Board:
    """Where tasks write how far they are. `news` is {key: (steps done, steps)} since it was last read."""

    def __init__(self) -> None:
        self.written: dict[str, tuple[int, int]] = {}

    def write(self, key: str, done: int, steps: int) -> None:
        self.written[key] = (done, steps)

    def news(self) -> dict[str, tuple[int, int]]:
        news, self.written = self.written, {}
        return news


def _execute(
    study: Study, spec: Spec, root: str, code: str, board: Any, pause: float = 0.0
) -> Outcome | Problem | Broken | OSError:
    """The task: what came of the run, or what it raised, which Ray would wrap."""
    if sources() != code:
        return Problem("a node has another version of the project; install the same on all of them")
    time.sleep(pause)
    last = 0.0

    def watch(key: str, done: int, steps: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PAUSE:
            last = time.monotonic()
            board.write.remote(key, done, steps)

    try:
        store = Store(root)
        store.bring([spec])
        outcome = attempt(study, spec, store.folder, watch)
        if outcome.status in ("done", "kept"):
            store.send(spec)
        return outcome
    except (Problem, Broken, OSError) as error:
        return error


def _outcome(ray: Any, ref: "ObjectRef", spec: Spec) -> Outcome:
    try:
        found: Outcome | Exception = ray.get(ref)
    except ray.exceptions.RayTaskError:
        raise  # a mistake of the project's own
    except ray.exceptions.RayError as error:
        words = type(error).__name__
        return Outcome(
            spec, "lost", f"{spec.key} was lost {LIVES} times with its worker ({words}); run the command again"
        )
    if isinstance(found, Exception):
        raise found
    return found
