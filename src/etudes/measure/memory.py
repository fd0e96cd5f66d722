"""The memory that a training step takes: by formula, what each part of it holds, and as measured on the device.

By formula a step holds weights, the gradients of those that are trained, the optimiser's moments of the same size, and
what the way forward keeps for the way back. The first three follow from the numbers of weights; the last is counted.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from etudes.core.errors import Problem, out_of_memory


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a training step, by what holds them."""

    weights: int  # of the whole network with its buffers, trained or not
    gradients: int  # of what is trained
    optimiser: int  # moments of what is trained
    activations: int  # kept for the way back, beside weights

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimiser + self.activations


def step_memory(model: nn.Module, loss: Callable[[], Tensor], moments: int = 2) -> StepMemory:
    """The bytes of a step of `model` that goes down the gradient of `loss()`, by formula.

    `moments` is how many numbers the optimiser keeps for each weight that is trained: 2 of Adam, 1 of momentum, 0 of
    plain descent. Activations are the tensors that autograd keeps, each memory once, other than weights and buffers;
    the loss is computed once, and its gradient is not. What operations need for themselves in passing is not in it.
    """
    own = [*model.parameters(), *model.buffers()]
    weights = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in own}
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    # The tensors themselves: memory that is let go might be handed out twice.
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss()
    activations = sum(t.untyped_storage().nbytes() for at, t in kept.items() if at not in weights)
    del value
    return StepMemory(sum(weights.values()), trained, moments * trained, activations)


def peak_memory(step: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """The most bytes of tensors that live at once during `step()`, above those that lived before it, as measured.

    On a GPU by its allocator's own count; on the CPU by PyTorch's profiler, which sees every tensor come and go, but
    not what a library such as oneDNN takes for itself. Call the step once before: then the optimiser has its moments.
    """
    device = torch.device(device)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        raise Problem(f"peak memory is measured on cpu and cuda, not on {device.type}")
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        step()
    events = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def largest_batch(fits: Callable[[int], bool], most: int = 2**16) -> int:
    """The largest n up to `most` for which `fits(n)`, if what fits one fits all smaller ones; 0 where not even 1 does.

    `fits` may be a formula, as in `lambda n: fixed + n * each <= budget`, or a try on a device: see `try_step`.
    """
    if not fits(1):
        return 0
    low, high = 1, 2
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def try_step(step: Callable[[int], object], device: torch.device | str) -> Callable[[int], bool]:
    """A function of a batch size: whether `step(n)` gets through on the device without running out of memory."""

    def fits(n: int) -> bool:
        try:
            step(n)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            return False
        finally:
            gc.collect()
            if torch.device(device).type == "cuda":
                torch.cuda.empty_cache()
        return True

    return fits
