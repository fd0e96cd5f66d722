"""One run on disk: `execute` and `Run` write it, `load` and `Record` read it.

A run is a folder below the root, named by its key. `result.json` appears last, by rename: a folder with it is
finished, one without it is not, and running it again goes on from its last checkpoint.

    spec.json       what was asked for
    env.json        code, machine, libraries, data, seconds
    log.jsonl       one line of numbers a logged step
    times.txt       when each of them was written: seconds that the run had worked by then
    progress.json   the checkpoints so far, and how long the log was at each; gone when finished
    result.json     the numbers that claims see
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from etudes.core.checkpoints import SAVE_SECONDS, Checkpoint, listed, save_seconds, whole
from etudes.core.environment import environment
from etudes.core.errors import Diverged, Problem, out_of_memory
from etudes.core.files import appearing, read_json, sha256, write_json
from etudes.core.spec import Spec, Study

if TYPE_CHECKING:
    import numpy
    import torch

Watch = Callable[[str, int, int], None]  # (key of the run, steps done, steps in all)
OWN_FILES = re.compile(r"(spec|env|progress|result)\.json|log\.jsonl|times\.txt|lock|checkpoint-.*")


def device() -> "torch.device":
    """$ETUDES_DEVICE, or this process's GPU, or the CPU. Raises Problem where this machine has no such device."""
    import torch

    gpu = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    name = os.environ.get("ETUDES_DEVICE") or gpu
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError):  # the latter of a PyTorch that was built without CUDA
        raise Problem(f"ETUDES_DEVICE is '{name}', which this machine does not have; unset it to use {gpu}") from None


class Run:
    """What a study's program sees of the run that it is: randomness, log, result, files, device.

    Every draw is addressed by a stream's name and an index, and depends on the study and the seed but not on the
    variant: variants meet the same data, order and initialisation, and a step repeated after a crash draws the same.
    """

    def __init__(self, spec: Spec, folder: Path, *, leader: bool = True, watch: Watch | None = None) -> None:
        self.spec, self.folder, self.leader = spec, folder, leader
        self.metrics: dict[str, float] = {}
        self.facts: dict[str, Any] = {"precision": spec.precision}
        self.phase = 0
        self._watch = watch
        self._checkpoints = whole(folder)
        last = max(self._checkpoints.values(), key=lambda c: c.phase, default=None)
        # Until the last checkpoint is taken the run repeats itself: what it logs is logged already.
        self._repeats_until = last.phase if last else -1
        self._seconds_before = last.seconds if last else 0.0
        self._code = " then ".join(dict.fromkeys([*(last.code.split(" then ") if last else []), environment()["code"]]))
        self._started = self._saved = time.monotonic()
        self._save_pause = save_seconds()
        if leader:
            self._log = open(folder / "log.jsonl", "ab")  # noqa: SIM115, closed by close()
            self._log.truncate(last.log_bytes if last else 0)
            self._times = _reopened(folder)

    def seed(self, stream: str, *index: int) -> int:
        """A number in [0, 2^63) hashed from (study, seed, stream, index)."""
        address = f"{self.spec.study}/{self.spec.seed}/{stream}/{'/'.join(map(str, index))}"
        return int.from_bytes(hashlib.blake2b(address.encode(), digest_size=8).digest(), "big") >> 1

    def rng(self, stream: str, *index: int) -> "numpy.random.Generator":
        """A NumPy generator seeded by `seed(stream, *index)`."""
        import numpy

        return numpy.random.default_rng(self.seed(stream, *index))

    def log(self, step: int, **numbers: float) -> None:
        """Append one line to the log. Raises Diverged where a number is not finite."""
        self._check_finite(numbers, f" at step {step}")
        if self.leader and self._repeats_until < 0:
            self._log.write(json.dumps({"step": step, **numbers}).encode() + b"\n")
            self._log.flush()
            self._times.write(f"{self._worked():.3f}\n")
            self._times.flush()

    def result(self, **numbers: float) -> None:
        """Add to the run's final metrics, `split/name`. Raises Diverged where a number is not finite."""
        numbers = {name: float(number) for name, number in numbers.items()}
        self._check_finite(numbers, " in the result")
        self.metrics |= numbers

    def note(self, **facts: Any) -> None:
        """Add to env.json what the numbers depend on and the config does not say, such as the data's fingerprint.

        `data` is what a dataset says of its source, or a list of that: dataset, kind, says, fingerprint.
        """
        sources = facts.get("data", [])
        for source in sources if isinstance(sources, list) else [sources]:
            if not isinstance(source, Mapping) or "dataset" not in source:
                raise Problem(f"{self.spec.key}: note(data=...) takes a dataset's `source`, not {source!r}")
        self.facts |= facts

    def path(self, name: str) -> Path:
        """Where to write a file of this run, such as samples. Raises Problem on names that leave the folder."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or OWN_FILES.fullmatch(name):
            raise Problem(f"a run's file cannot be named '{name}'; use letters, digits, dots and hyphens")
        return self.folder / name

    @functools.cached_property
    def device(self) -> "torch.device":
        """$ETUDES_DEVICE, or this process's GPU, or the CPU."""
        import torch

        found = device()
        name = torch.cuda.get_device_name(found) if found.type == "cuda" else found.type
        self.note(device=name, threads=torch.get_num_threads())
        return found

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context in which forward passes run: bf16 matrix products and convolutions if the spec's precision says
        so, else nothing changed."""
        if self.spec.precision == "fp32":
            return contextlib.nullcontext()
        import torch

        return torch.autocast(self.device.type, torch.bfloat16)

    def once(self, name: str, config: Mapping[str, Any], make: Callable[["Run"], None]) -> Path:
        """The folder of something that the variants of one seed share, such as a trained teacher.

        The first run that asks makes it with `make(run)`, a run of its own; the others wait for it or find it.
        `config` holds all that decides what is made.
        """
        spec = dataclasses.replace(self.spec, variant=name, config=dict(config))
        folder = self.folder.parents[1] / "once" / Path(spec.key).relative_to(f"{spec.study}/{spec.scale}")
        _perform(make, spec, folder, self._watch, wait=True)
        return folder

    def progress(self, done: int, steps: int) -> None:
        """Tell whoever watches how far the present phase is."""
        if self._watch:
            self._watch(self.spec.key, done, steps)

    def checkpoint(self) -> Checkpoint | None:
        """The whole checkpoint from which the present phase goes on."""
        if self.phase >= self._repeats_until:
            self._repeats_until = -1
        return self._checkpoints.get(self.phase)

    def due(self) -> bool:
        """Whether it is time to save. Going by the clock is safe: saving changes no number."""
        return self.leader and self._repeats_until < 0 and time.monotonic() - self._saved >= self._save_pause

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Let `write(path)` write the state after `step` steps of this phase, and make it the one to go on from."""
        begun = time.monotonic()
        path = self.folder / f"checkpoint-{self.phase}-{step}.safetensors"
        with appearing(path) as draft:
            write(draft)
        os.fsync(self._log.fileno())
        logged = self._log.tell()
        entry = Checkpoint(self.phase, step, path.name, sha256(path), logged, self._worked(begun), self._code)
        older = [c for c in listed(self.folder) if c.phase < self.phase or (c.phase == self.phase and c.step < step)]
        kept = [c for c in older if c.phase < self.phase] + [c for c in older if c.phase == self.phase][-1:] + [entry]
        write_json(self.folder / "progress.json", {"checkpoints": [dataclasses.asdict(c) for c in kept]})
        for c in older:
            if c not in kept:
                (self.folder / c.file).unlink(missing_ok=True)
        self._saved = time.monotonic()
        if not os.environ.get("ETUDES_SAVE_SECONDS"):  # saving may take 3 % of the time, whatever the model's size
            self._save_pause = max(SAVE_SECONDS, 30 * (self._saved - begun))

    def end_phase(self) -> None:
        self.phase += 1

    def finish(self) -> None:
        """Write env.json and then result.json: the run is finished."""
        if not self.leader:
            return
        if not self.metrics:
            raise Problem(f"{self.spec.key}: the program ended without a result; call run.result(...) at its end")
        os.fsync(self._log.fileno())
        own = {"code": self._code, "seconds": self._worked()}
        write_json(self.folder / "env.json", environment() | self.facts | own)
        write_json(self.folder / "result.json", self.metrics)
        _clean(self.folder)

    def close(self) -> None:
        if self.leader:
            self._log.close()
            self._times.close()

    def _worked(self, until: float = math.inf) -> float:
        """The run's seconds so far, without those that were lost when it was killed."""
        return round(self._seconds_before + min(until, time.monotonic()) - self._started, 3)

    def _check_finite(self, numbers: Mapping[str, float], when: str) -> None:
        for name, number in numbers.items():
            if not math.isfinite(number):
                raise Diverged(
                    f"{self.spec.key}: {name} is {number}{when}; the run stopped and its log is kept "
                    f"in {self.folder}; a smaller learning rate may help"
                )


def _reopened(folder: Path) -> IO[str]:
    """times.txt, with as many lines as the log has."""
    path, logged = folder / "times.txt", (folder / "log.jsonl").read_bytes().count(b"\n")
    times = path.read_text().splitlines() if path.exists() else []
    file = open(path, "w")  # noqa: SIM115, closed by Run.close
    file.writelines(f"{seconds}\n" for seconds in times[:logged])
    return file


def _clean(folder: Path) -> None:
    for path in [*folder.glob("checkpoint-*"), *folder.glob(".*.*"), folder / "progress.json"]:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(folder: Path, wait: bool) -> Iterator[bool]:
    """Whether this process alone has the folder. The lock falls with the process, however it dies."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def execute(study: Study, spec: Spec, root: Path, watch: Watch | None = None) -> Literal["done", "kept", "busy"]:
    """Perform one run: "done" now, "kept" from before, or "busy" in another process.

    Under `accelerate launch` all processes call it together; the first alone writes. Raises Problem where the program
    cannot go on; what it logged and saved stays.
    """
    config = study.config(**spec.config)
    return _perform(lambda run: study.program(config, run), spec, root / spec.key, watch, wait=False)


def _perform(
    program: Callable[[Run], None], spec: Spec, folder: Path, watch: Watch | None, *, wait: bool
) -> Literal["done", "kept", "busy"]:
    leader = os.environ.get("RANK", "0") == "0"
    # The followers need no lock: they can only be ahead of the leader until the first exchange between them.
    with _locked(folder, wait) if leader else contextlib.nullcontext(True) as mine:
        if not mine:
            return "busy"
        if finished(folder):
            return "kept"
        if leader:
            write_json(folder / "spec.json", dataclasses.asdict(spec))
        run = Run(spec, folder, leader=leader, watch=watch)
        try:
            program(run)
            run.finish()
        except (MemoryError, RuntimeError) as error:
            if out_of_memory(error):
                raise Problem(f"{spec.key}: the memory does not suffice; try a smaller network or less data") from None
            raise
        finally:
            run.close()
        return "done"


def finished(folder: Path) -> bool:
    """Whether the run is finished. Raises Problem where its result is not whole."""
    path = folder / "result.json"
    if not path.exists():
        return False
    read_json(path, f"delete {folder} and run the same command again")
    if (folder / "progress.json").exists():  # killed after its result, before it had cleaned up
        _clean(folder)
    return True


@dataclass(frozen=True)
class Record:
    """A finished run, as read from its folder."""

    spec: Spec
    metrics: Mapping[str, float]
    env: Mapping[str, Any]
    folder: Path

    @functools.cached_property
    def log(self) -> list[dict[str, float]]:
        """The logged lines, each {"step": i, name: number, ...}."""
        try:
            return [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines()]
        except ValueError:
            raise Problem(f"{self.folder / 'log.jsonl'} is not whole; delete {self.folder} and run again") from None

    @functools.cached_property
    def times(self) -> list[float]:
        """The seconds that the run had worked when it logged each line; [] where that is not known."""
        path = self.folder / "times.txt"
        try:
            times = [float(line) for line in path.read_text().splitlines()] if path.exists() else []
        except ValueError:
            times = []
        return times if len(times) == len(self.log) else []


def read(folder: Path) -> Record:
    """The finished run in a folder. Raises Problem on files that are not whole."""
    remedy = f"delete {folder} and run the same command again"
    spec = Spec(**read_json(folder / "spec.json", remedy, check=_is_spec))
    return Record(spec, read_json(folder / "result.json", remedy), read_json(folder / "env.json", remedy), folder)


def load(plan: Sequence[Spec], root: Path) -> list[Record]:
    """The finished runs with the configs of `plan`, of any seed, ordered by seed and by the plan's variants.

    Where a variant and seed was run in several precisions, the one that most runs have is taken. Raises Problem on
    files that are not whole.
    """
    configs = {spec.variant: spec for spec in plan}
    found: dict[tuple[int, str], list[Record]] = {}
    for variant, wanted in configs.items():
        for path in sorted((root / wanted.study / wanted.scale / variant).glob("*/result.json")):
            record = read(path.parent)
            spec = record.spec
            if dataclasses.replace(wanted, seed=spec.seed, precision=spec.precision) == spec:
                found.setdefault((spec.seed, variant), []).append(record)
    precisions = Counter(record.spec.precision for records in found.values() for record in records)
    order = list(configs)
    return [
        max(found[key], key=lambda record: precisions[record.spec.precision])
        for key in sorted(found, key=lambda key: (key[0], order.index(key[1])))
    ]


def latest(study: Study, root: Path, scale: str = "", variant: str = "") -> Record:
    """The run of the study's present revision that was finished last, of any scale and variant unless named.

    Raises Problem where there is none.
    """
    fields = {f.name for f in dataclasses.fields(study.config)}
    paths = (root / study.name).glob(f"{scale or '*'}/{variant or '*'}/*/result.json")
    for path in sorted(
        (p for p in paths if p.parents[2].name != "once"), key=lambda p: p.stat().st_mtime, reverse=True
    ):
        record = read(path.parent)
        if record.spec.revision == study.revision and record.spec.config.keys() == fields:
            return record
    which = f" at scale {scale}" * bool(scale) + f" of variant {variant}" * bool(variant)
    raise Problem(f"no finished run of {study.name}{which} in {root}; `etudes run {study.name}` makes some")


def _is_spec(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {f.name for f in dataclasses.fields(Spec)}
