"""The loop: steps addressed by index, a log, checkpoints by the clock, exact resume."""

import contextlib
import math
import random
from collections.abc import Callable, Iterator, Mapping

import numpy
import torch
from torch import Tensor, nn

from etudes.core.errors import Problem, out_of_memory
from etudes.core.run import Run
from etudes.measure.size import count_parameters
from etudes.train import checkpoint
from etudes.train.distribute import agree, is_shard, rank, shards
from etudes.train.recipe import Steps

Numbers = Mapping[str, float | Tensor]


def fit(
    run: Run,
    parts: checkpoint.Parts,
    step: Callable[[int], Numbers],
    steps: int,
    *,
    evaluate: Callable[[], Mapping[str, float]] | None = None,
    eval_every: int = 0,
    log_every: int = 1,
) -> dict[str, float]:
    """Call step(0) .. step(steps - 1) under the run's autocast; the numbers of evaluate() after the last ({} without).

    `step(i)` must depend on the state of `parts` (models, optimisers, schedules, generators: all that changes) and on
    `i` alone; PyTorch's own generators are seeded by `i` before it, and the state of Python's and NumPy's is kept with
    the parts. Then a run that was killed and is executed again goes on from its last checkpoint and ends with the same
    bytes; `etudes check` tries it. The log has the mean of the steps' numbers over each
    `log_every` steps, and the evaluation every `eval_every` steps (0: after the last alone).

    Raises Diverged as soon as a number of a step is not finite (on a GPU: at the next line of the log, to not wait for
    it), and Problem where the memory does not suffice, names of parts meet, or shards are asked for and none of the
    parts is in shards. A number of the evaluation that is not finite stays out of the log.
    """
    checkpoint.check_names(parts)
    _check_shards(run, parts)
    start = _restore(run, parts)
    window: list[Numbers] = []
    found: dict[str, float] = {}
    on_cpu, mine = run.device.type == "cpu", rank()  # asked once: a step may take a millisecond
    run.progress(start, steps)
    for i in range(start, steps):
        _seed(run, run.seed("torch", i) + mine)
        with run.autocast(), _enough_memory(run):
            numbers = step(i)
        window.append(numbers)
        done = i + 1
        diverged = on_cpu and not all(math.isfinite(number) for number in numbers.values())
        evaluates = done == steps or (eval_every > 0 and done % eval_every == 0)
        if diverged or evaluates or done % log_every == 0:
            line = _means(window)
            window = []
            if evaluates and not diverged:
                found = _evaluated(run, evaluate, done)
            run.log(done, **line, **({k: v for k, v in found.items() if math.isfinite(v)} if evaluates else {}))
            run.progress(done, steps)
            _save(run, parts, done)
    if start == steps:
        found = _evaluated(run, evaluate, steps)
    run.end_phase()
    return found


def fitted(
    run: Run,
    cfg: Steps,
    parts: checkpoint.Parts,
    step: Callable[[int], Numbers],
    evaluate: Callable[[], Mapping[str, float]] | None = None,
) -> dict[str, float]:
    """As `fit`, for as long and as often as the recipe says; beside the last evaluation the parameters of the part
    `model`, for `run.result`."""
    found = fit(run, parts, step, cfg.steps, evaluate=evaluate, eval_every=cfg.eval_every, log_every=cfg.log_every)
    return found | ({"parameters": count_parameters(parts["model"])} if "model" in parts else {})


def _check_shards(run: Run, parts: checkpoint.Parts) -> None:
    networks = [part for part in parts.values() if isinstance(part, nn.Module)]
    if shards() and not any(is_shard(p) for network in networks for p in network.parameters()):
        raise Problem(
            f"{run.spec.study} keeps its network whole in every process; "
            "launch it with --multi_gpu in place of --use_fsdp"
        )


def _save(run: Run, parts: checkpoint.Parts, done: int) -> None:
    """Save where it is time. Of shards the leader tells when, and the others give it theirs."""
    due = agree(run.due()) if shards() else run.due()
    if due and run.leader:
        run.save(done, lambda path: checkpoint.save(path, parts))
    elif due:
        checkpoint.collect(parts)


def _evaluated(run: Run, evaluate: Callable[[], Mapping[str, float]] | None, done: int) -> dict[str, float]:
    if evaluate is None:
        return {}
    seed = run.seed("evaluate", done)
    _seed(run, seed)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    with run.autocast(), _enough_memory(run):
        return dict(evaluate())


@contextlib.contextmanager
def _enough_memory(run: Run) -> Iterator[None]:
    """Raises Problem, with the batch to try, where the block asks for more memory than there is."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        batch = run.spec.config.get("batch", 0)
        remedy = f"try --batch {batch // 2}" if batch > 1 else "try a smaller network or less data"
        raise Problem(f"{run.spec.key}: the memory of {run.device} does not suffice; {remedy}") from None


def _seed(run: Run, seed: int) -> None:
    torch.default_generator.manual_seed(seed)  # torch.manual_seed looks for every kind of device: 100 us a call
    if run.device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _means(window: list[Numbers]) -> dict[str, float]:
    sums = {name: torch.stack([torch.as_tensor(numbers[name]).float() for numbers in window]) for name in window[0]}
    return {name: values.mean().item() for name, values in sums.items()}


def _restore(run: Run, parts: checkpoint.Parts) -> int:
    """The step to go on from: that of the leader's last whole checkpoint, whose state all processes then have."""
    last = run.checkpoint()
    step = agree(last.step if last else 0)
    if step:
        checkpoint.load(run.folder / f"checkpoint-{run.phase}-{step}.safetensors", parts, run.device)
    return step
