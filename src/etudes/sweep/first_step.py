"""Whether a scale can be started at all: its network built, and one step taken at the batch that fits.

Each attempt is a process of its own, so that one which asks for too much memory takes nothing else with it.
"""

import multiprocessing
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etudes.core import catalogue
from etudes.core.errors import Problem, out_of_memory
from etudes.core.run import execute
from etudes.core.spec import Spec, Study
from etudes.sweep.check import Moment, with_moments


@dataclass(frozen=True)
class Step:
    """What one step took. `parameters` are those that the optimisers move, or without any all that computed.

    `operations` are floating-point operations of matrix products and convolutions, forwards and backwards. `memory` is
    in bytes: on a GPU what its tensors took at most, else what the process did, with its libraries and data.
    """

    parameters: int
    operations: int
    memory: int

    def __str__(self) -> str:
        power = next((p for p in (12, 9, 6, 3) if self.operations >= 10**p), 0)
        unit = {12: "TFLOP", 9: "GFLOP", 6: "MFLOP", 3: "kFLOP", 0: "FLOP"}[power]
        return ", ".join(
            [
                *[f"{self.parameters:,} parameters"] * (self.parameters > 0),
                *[f"{self.operations / 10**power:,.1f} {unit}"] * (self.operations > 0),
                f"{self.memory / 2**20:,.0f} MiB at most",
            ]
        )


class Taken(BaseException):
    """The step is done. No program catches it."""


def lines(name: str, scale: str, variants: Sequence[str] = (), dataset: str = "") -> Iterator[tuple[str, bool]]:
    """A line for each variant of a scale, or of those named: what its first step took, or why it cannot be started on
    this machine; and whether it can."""
    study = catalogue.find(name)
    chosen = study.plan(scale, variants=variants, seeds=1)
    changes: dict[str, Any] = {"dataset": dataset} if dataset else {}
    for spec in chosen:
        try:
            yield _line(study, name, spec, changes), True
        except Problem as problem:
            yield f"{spec.variant}: the scale {scale} cannot be started on this machine: {problem}", False


def _line(study: Study, name: str, spec: Spec, changes: dict[str, Any]) -> str:
    offline, said, batch = False, "", spec.config.get("batch")
    while True:
        smaller = {} if batch == spec.config.get("batch") else {"batch": batch}
        kind, answer = _attempt(name, spec.scale, spec.variant, changes | smaller, offline)
        if kind == "step":
            break
        stand_ins = study.scales[spec.scale].substitutes
        if kind == "problem" and stand_ins and not offline and not changes:
            offline = True
            said = f", with {', '.join(f'{field} = {value}' for field, value in stand_ins.items())} ({answer})"
        elif kind == "memory" and isinstance(batch, int) and batch > 1:
            batch //= 2
        elif kind == "memory":
            raise Problem("its memory does not suffice for a step, even of one example" if batch else answer)
        else:
            raise Problem(answer)
    if batch is not None:
        halved = f" of {spec.config['batch']}, as more does not fit into memory" * (batch != spec.config["batch"])
        said = f", a batch of {batch}{halved}{said}"
    if answer is None:
        return f"{spec.variant}: the scale {spec.scale} starts{said}; no step by fit could be measured"
    return f"{spec.variant}: one step of the scale {spec.scale}{said}: {answer}"


def _attempt(name: str, scale: str, variant: str, changes: dict[str, Any], offline: bool) -> tuple[str, Any]:
    """("step", Step or None), ("memory", words) or ("problem", words), from a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(there, name, scale, variant, changes, offline))
    child.start()
    there.close()
    kind, answer = "", None
    try:
        while kind in ("", "begun"):
            kind, answer = here.recv()
        child.join(10)
        return kind, answer
    except EOFError:
        child.join()
        if kind == "begun":  # systems end a process that takes too much
            return "memory", "its process was ended in its first step"
        return "problem", f"its process ended before the first step, with exit status {child.exitcode}"
    finally:
        child.terminate()
        child.join()


def _child(pipe: Any, name: str, scale: str, variant: str, changes: dict[str, Any], offline: bool) -> None:
    begun: list[str] = []

    def begin() -> None:
        begun.append(scale)
        pipe.send(("begun", None))

    try:
        pipe.send(("step", take(catalogue.find(name), scale, variant, changes, offline=offline, begin=begin)))
    except Problem as problem:
        lack = problem.__context__
        memory = isinstance(lack, Exception) and out_of_memory(lack) and bool(begun)
        pipe.send(("memory" if memory else "problem", str(problem)))
    except Exception as error:  # of the program: it is told like one of a run
        words = " ".join(str(error).split())
        pipe.send(("problem", f"{type(error).__name__}: {words}"))


def take(
    study: Study,
    scale: str,
    variant: str,
    changes: dict[str, Any],
    *,
    offline: bool = False,
    begin: Any = lambda: None,
) -> Step | None:
    """What the first step of a variant at a scale takes, in this process: its own, or that of a network which it shares
    with others and which is trained before. `begin()` is called before it.

    None where the program ends, or logs a line, without a step by `fit`. Fields called steps, or that end so, are the
    smoke scale's: what the step needs of other training is made with few. Raises Problem where it cannot be taken.
    """
    from etudes.train.precision import resolve

    how: dict[str, Any] = {"variants": [variant], "seeds": 1, "precision": resolve(study, "auto")}
    (short,) = study.plan("smoke", variants=[variant], seeds=1)
    steps = {name: value for name, value in short.config.items() if name.rpartition("_")[2] == "steps"}
    (spec,) = study.plan(scale, **how, offline=offline, **steps | changes)
    meter = _Meter()

    def meet(moment: Moment) -> None:
        if meter.running or moment[0] == "before the line of step":
            raise Taken
        if moment[0] == "before step":
            begin()
            meter.start()

    with tempfile.TemporaryDirectory() as folder:
        try:
            execute(with_moments(study, meet, shared=True), spec, Path(folder))
        except Taken:
            if meter.running:
                return meter.step()
        finally:
            meter.stop()
    return None


class _Meter:
    """Counts what one step takes, by PyTorch's own hooks."""

    def __init__(self) -> None:
        self.running = False
        self._moved: dict[int, int] = {}
        self._computed: dict[tuple[int, str], tuple[int, int]] = {}
        self._handles: list[Any] = []

    def start(self) -> None:
        import torch
        from torch.nn.modules.module import register_module_forward_pre_hook
        from torch.optim.optimizer import register_optimizer_step_pre_hook
        from torch.utils.flop_counter import FlopCounterMode

        self._handles = [
            register_optimizer_step_pre_hook(self._optimiser),
            register_module_forward_pre_hook(self._module),
        ]
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._counter = FlopCounterMode(display=False)
        self._counter.__enter__()
        self.running = True

    def stop(self) -> None:
        if self.running:
            self._counter.__exit__(None, None, None)
        for handle in self._handles:
            handle.remove()
        self._handles, self.running = [], False

    def step(self) -> Step:
        parameters = self._moved or dict(self._computed.values())
        return Step(sum(parameters.values()), self._counter.get_total_flops(), _memory())

    def _optimiser(self, optimiser: Any, *_: Any) -> None:
        self._moved |= {id(p): p.numel() for group in optimiser.param_groups for p in group["params"]}

    def _module(self, module: Any, *_: Any) -> None:
        for name, p in module.named_parameters(recurse=False):  # what stands in for a parameter later is none more
            self._computed.setdefault((id(module), name), (id(p), p.numel()))


def _memory() -> int:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
