"""A step of low-rank adaptation against peft's, at equal ranks, in one run: etudes bench adapt

resnet  a PreAct ResNet-18 of half the width, pictures of 32 pixels, batch 32, a change of rank 8 in every convolution
lite0   EfficientNet-Lite0, pictures of 64 pixels, batch 32, a change of rank 8 in every convolution but the depthwise

Of each: seconds a step, forward, backward and Adam, in the project's default precision and in fp32; the most memory
that tensors take at once during a step (PyTorch's profiler); and what is trained. Both sides have the same network, the
same convolutions changed by A of k x k and B of 1 x 1, without dropout, and the same optimiser over A, B and the head.
peft computes the convolution and the two of its change and adds them; ours computes one, with the filter changed, and
keeps less for the way back. Goal: time and memory at most those of peft.

Beside them stands what a step takes that trains all of the network, or its head alone, as against ours.

All compute with one thread, as a run does by default. They take turns of some steps, and the median of the ratios of
neighbouring turns is told: machines drift.
"""

import copy
import functools
import time
from collections.abc import Callable, Iterator

import torch
from engine import turns
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from etudes.core.environment import environment
from etudes.measure.memory import peak_memory, step_memory
from etudes.measure.size import count_parameters
from etudes.nn.efficientnet import EfficientNetLite
from etudes.nn.lora import adapt
from etudes.nn.resnet import preact_resnet
from etudes.train.precision import has_bf16

RANK, ALPHA, CLASSES, BATCH = 8, 16.0, 7, 32
PRECISIONS = ("bf16", "fp32") if has_bf16() else ("fp32",)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, int]] = {  # the network, its head, pixels of a side
    "resnet": (lambda: preact_resnet(3, CLASSES, 32, (2, 2, 2, 2)), "13", 32),
    "lite0": (lambda: EfficientNetLite("lite0", CLASSES), "classify", 64),
}


def ours(model: nn.Module, head: str) -> nn.Module:
    adapt(model, "k-1", RANK, ALPHA)
    model.get_submodule(head).requires_grad_(True)
    return model.eval()


def peft(model: nn.Module, head: str) -> nn.Module:
    """peft's adapters in the same convolutions. Raises ModuleNotFoundError where it is not installed."""
    from peft import LoraConfig, get_peft_model

    names = adapt(copy.deepcopy(model), "k-1", RANK, ALPHA)
    found = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=names, modules_to_save=[head]))
    return found.eval()


def all_weights(model: nn.Module, head: str) -> nn.Module:
    return model.eval()


def head_alone(model: nn.Module, head: str) -> nn.Module:
    model.requires_grad_(False).get_submodule(head).requires_grad_(True)
    return model.eval()


def make_step(model: nn.Module, x: Tensor, y: Tensor, precision: str) -> Callable[[], None]:
    opt = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-4)

    def step() -> None:
        opt.zero_grad()
        loss(model, x, y, precision).backward()
        opt.step()

    return step


def loss(model: nn.Module, x: Tensor, y: Tensor, precision: str) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        return cross_entropy(model(x).float(), y)


def timed(step: Callable[[], None], steps: int) -> Callable[[], float]:
    def turn() -> float:
        begun = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - begun) / steps

    return turn


def compare(name: str, steps: int = 2, count: int = 5) -> Iterator[str]:
    """The lines of one network, against peft and against other ways to adapt it."""
    make, head, side = NETWORKS[name]
    base = make().to(memory_format=torch.channels_last)
    x = torch.rand(BATCH, 3, side, side).contiguous(memory_format=torch.channels_last)
    y = torch.randint(CLASSES, (BATCH,))
    for precision in PRECISIONS:
        for other in (peft, all_weights, head_alone):
            try:
                models = [method(copy.deepcopy(base), head) for method in (ours, other)]
            except ModuleNotFoundError as missing:
                yield f"{name}  {missing.name} is not installed: pip install peft"
                continue
            title = f"{name} {precision} against {other.__name__.replace('_', ' ')}"
            yield from _lines(title, models, x, y, precision, (steps, count))


def _lines(
    title: str, models: list[nn.Module], x: Tensor, y: Tensor, precision: str, length: tuple[int, int]
) -> list[str]:
    mine, theirs = (make_step(model, x, y, precision) for model in models)
    goal = "; goal at most 1" if title.endswith("peft") else ""
    found = turns(length[1], timed(mine, length[0]), timed(theirs, length[0]))
    peaks = [peak_memory(step) / 1e6 for step in (mine, theirs)]
    kept = [step_memory(model, functools.partial(loss, model, x, y, precision)) for model in models]
    parts = [f"{m.gradients / 1e6:.3g} + {m.optimiser / 1e6:.3g} + {m.activations / 1e6:.3g}" for m in kept]
    trained = [count_parameters(model) for model in models]
    return [
        f"{title}: seconds a step {found}{goal}",
        f"{title}: peak MB {peaks[0]:.4g} against {peaks[1]:.4g}, ratio {peaks[0] / peaks[1]:.3f}{goal}",
        f"{title}: MB by formula, gradients + moments + activations, {parts[0]} against {parts[1]}",
        f"{title}: trained {trained[0]:,} against {trained[1]:,}",
    ]


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    facts = environment()
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    print(f"{facts['host']}; {torch.get_num_threads()} threads; {libraries}")
    for name in NETWORKS:
        for line in compare(name):
            print(line, flush=True)


if __name__ == "__main__":
    main()
