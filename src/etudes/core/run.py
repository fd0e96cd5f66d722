"""One run performed: `Run` is what a study's program sees of it, `execute` calls the program and ends in a result.

A run is a folder below the root, named by its key. `result.json` appears last, by rename: a folder with it is
finished, one without it is not, and running it again goes on from its last checkpoint.

    spec.json       what was asked for
    env.json        code, machine, libraries, data, seconds
    log.jsonl       one line of numbers a logged step
    times.txt       when each of them was written: seconds that the run had worked by then
    progress.json   the checkpoints so far, and how long the log was at each; gone when finished
    result.json     the numbers that claims see; null where one was not finite
    diverged.json   in its place: why the run stopped, where a number that it logged was not finite
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
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from etudes.core import record
from etudes.core.checkpoints import SAVE_SECONDS, Checkpoint, entries, save_seconds, whole
from etudes.core.environment import environment
from etudes.core.errors import Diverged, Problem, out_of_memory
from etudes.core.files import appearing, sha256, write_json
from etudes.core.numerics import limit_threads, pools, seed_generators
from etudes.core.record import Record
from etudes.core.spec import Spec, Study

if TYPE_CHECKING:
    import numpy
    import torch

Watch = Callable[[str, int, int], None]  # (key of the run, steps done, steps in all)
OWN_FILES = re.compile(r"(spec|env|progress|result|diverged)\.json|log\.jsonl|times\.txt|lock|checkpoint-.*")


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

    def __init__(
        self, spec: Spec, folder: Path, *, library: str = "", leader: bool = True, watch: Watch | None = None
    ) -> None:
        self.spec, self.folder, self.library, self.leader = spec, folder, library, leader
        self.metrics: dict[str, float] = {}
        self.facts: dict[str, Any] = {"precision": spec.precision}
        self.phase = 0
        self._watch = watch
        self._checkpoints = whole(folder)
        last = max(self._checkpoints.values(), key=lambda c: c.phase, default=None)
        # Until the last checkpoint is taken the run repeats itself: what it logs is logged already.
        self._repeats_until = last.phase if last else -1
        self._seconds_before = last.seconds if last else 0.0
        self._libraries = " then ".join(dict.fromkeys([*(last.library.split(" then ") if last else []), library]))
        self._started = self._saved = time.monotonic()
        self._save_pause = save_seconds()
        if leader:
            self._log = open(folder / "log.jsonl", "ab")  # noqa: SIM115, closed by close()
            self._log.truncate(last.log_bytes if last else 0)
            self._times = _reopened(folder)

    def seed(self, stream: str, *index: int) -> int:
        """A number in [0, 2^63) hashed from (study, revision, seed, stream, index): a later revision draws afresh."""
        revision = f"revision {self.spec.revision}/" if self.spec.revision > 1 else ""
        address = f"{self.spec.study}/{revision}{self.spec.seed}/{stream}/{'/'.join(map(str, index))}"
        return int.from_bytes(hashlib.blake2b(address.encode(), digest_size=8).digest(), "big") >> 1

    def rng(self, stream: str, *index: int) -> "numpy.random.Generator":
        """A NumPy generator seeded by `seed(stream, *index)`."""
        import numpy

        return numpy.random.default_rng(self.seed(stream, *index))

    def log(self, step: int, **numbers: Any) -> None:
        """Append one line to the log: numbers, of Python, NumPy or PyTorch. Raises Diverged where one is not finite."""
        line = {name: _number(name, value) for name, value in numbers.items()}
        for name, number in line.items():
            if not math.isfinite(number):
                raise Diverged(
                    f"{self.spec.key}: {name} is {number} at step {step}; the run stopped and its log is kept "
                    f"in {self.folder}; a smaller learning rate may help"
                )
        if self.leader and self._repeats_until < 0:
            self._log.write(json.dumps({"step": step, **line}).encode() + b"\n")
            self._log.flush()
            self._times.write(f"{self._worked():.3f}\n")
            self._times.flush()

    def logged(self, name: str) -> list[float]:
        """All that was logged as `name` so far, in order, also before the run was killed. Only the first of several
        processes has it."""
        lines = (self.folder / "log.jsonl").read_text().splitlines()
        return [line[name] for line in map(json.loads, lines) if name in line]

    def result(self, **numbers: Any) -> None:
        """Add to the run's final metrics, `split/name`: numbers, of Python, NumPy or PyTorch.

        One that is not finite is told of and kept as absent: claims that read it are not judged.
        """
        for name, value in numbers.items():
            self.metrics[name] = float(_number(name, value))
            if not math.isfinite(self.metrics[name]) and self.leader:
                warnings.warn(
                    f"{self.spec.key}: {name} is {self.metrics[name]} in the result; claims about it are not judged",
                    stacklevel=2,
                )

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
        self.note(device=name)
        return found

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context in which forward passes run: bf16 matrix products and convolutions if the spec's precision says
        so, else nothing changed."""
        if self.spec.precision == "fp32":
            return contextlib.nullcontext()
        import torch

        return torch.autocast(self.device.type, torch.bfloat16)

    def once(
        self, name: str, config: Mapping[str, Any], make: Callable[["Run"], None], *, seed: int | None = None
    ) -> Record:
        """The finished run of something that the variants of one seed share, such as a trained teacher.

        The first run that asks makes it with `make(run)`, a run of its own; the others wait for it or find it.
        `config` holds all that decides what is made. With `seed` all seeds of the study share the one made under it.
        """
        seed = self.spec.seed if seed is None else seed
        spec = dataclasses.replace(self.spec, variant=name, seed=seed, config=dict(config))
        folder = self.folder.parents[1] / "once" / Path(spec.key).relative_to(f"{spec.study}/{spec.scale}")
        _perform(make, spec, folder, self.library, self._watch, wait=True)
        while not record.is_finished(folder):  # of several processes the first one writes
            time.sleep(0.02)
        return record.read(folder)

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
        entry = Checkpoint(self.phase, step, path.name, sha256(path), logged, self._worked(begun), self._libraries)
        older = [c for c in entries(self.folder) if c.phase < self.phase or (c.phase == self.phase and c.step < step)]
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
        own = {"library": self._libraries, "seconds": self._worked()}
        write_json(self.folder / "env.json", environment() | self.facts | own)
        finite = {name: number if math.isfinite(number) else None for name, number in self.metrics.items()}
        write_json(self.folder / "result.json", finite)
        record.clean(self.folder)

    def close(self) -> None:
        if self.leader:
            self._log.close()
            self._times.close()

    def _worked(self, until: float = math.inf) -> float:
        """The run's seconds so far, without those that were lost when it was killed."""
        return round(self._seconds_before + min(until, time.monotonic()) - self._started, 3)


def _number(name: str, value: Any) -> float:
    """The number that a value of Python, NumPy or PyTorch holds. Raises Problem where it holds none, or several."""
    try:
        number = value.item() if hasattr(value, "item") else value
    except (RuntimeError, ValueError):
        number = None
    if not isinstance(number, int | float):
        raise Problem(f"'{name}' is {value!r}; a run logs and ends with single numbers, so take a mean or an item")
    return number


def _reopened(folder: Path) -> IO[str]:
    """times.txt, with as many lines as the log has."""
    path, logged = folder / "times.txt", (folder / "log.jsonl").read_bytes().count(b"\n")
    times = path.read_text().splitlines() if path.exists() else []
    file = open(path, "w")  # noqa: SIM115, closed by Run.close
    file.writelines(f"{seconds}\n" for seconds in times[:logged])
    return file


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


def is_held(folder: Path) -> bool:
    """Whether another process performs the run in the folder."""
    with contextlib.suppress(OSError):  # of a folder that can only be read
        if (folder / "lock").exists():
            with _locked(folder, wait=False) as mine:
                return not mine
    return False


def execute(study: Study, spec: Spec, root: Path, watch: Watch | None = None) -> Literal["done", "kept", "busy"]:
    """Perform one run: "done" now, "kept" from before, or "busy" in another process.

    Under `accelerate launch` all processes call it together; the first alone writes. Raises Problem where the program
    cannot go on; what it logged and saved stays.
    """

    def call_program(run: Run) -> None:  # what `errors.broken` knows the program's frames by
        study.program(study.config(**spec.config), run)

    return _perform(call_program, spec, root / spec.key, study.library, watch, wait=False)


def _perform(
    program: Callable[[Run], None], spec: Spec, folder: Path, library: str, watch: Watch | None, *, wait: bool
) -> Literal["done", "kept", "busy"]:
    leader = os.environ.get("RANK", "0") == "0"
    # The followers need no lock: they can only be ahead of the leader until the first exchange between them.
    with _locked(folder, wait) if leader else contextlib.nullcontext(True) as mine:
        if not mine:
            return "busy"
        if record.is_finished(folder):
            return "kept"
        if leader:
            write_json(folder / "spec.json", dataclasses.asdict(spec))
            (folder / record.DIVERGED).unlink(missing_ok=True)
        run = Run(spec, folder, library=library, leader=leader, watch=watch)
        try:
            with limit_threads(spec.threads), seed_generators(run.seed("generators")):
                program(run)
                run.note(threads=spec.threads, pools=pools())
            run.finish()
        except Diverged as problem:
            if leader:
                write_json(folder / record.DIVERGED, {"reason": str(problem)})
            raise
        except (MemoryError, RuntimeError) as error:
            if out_of_memory(error):
                raise Problem(f"{spec.key}: the memory does not suffice; try a smaller network or less data") from None
            raise
        except SystemExit as end:
            raise Problem(
                f"{spec.key}: the program called exit({end.code}); let it return, or raise an error that says why"
            ) from None
        finally:
            run.close()
        return "done"
