"""Seconds of one octave convolution beside its multiply-adds, by alpha: a table to print on a quiet machine.

    python -m etudes.studies.convnets.octave_conv.seconds

Seconds are in no run's result: runs go side by side, and a run that is repeated must end with the same numbers.
"""

import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from etudes.nn.octave import OctaveConv, Octaves, low_channels, relative_cost

LAYERS = ((16, 16), (64, 56), (256, 14))  # channels and side: of our small network, and of ResNet-50 at 224 pixels
ALPHAS = (0.0, 0.125, 0.25, 0.5, 0.75)
BATCH = 16


def layer(channels: int, side: int, alpha: float, batch: int = BATCH) -> tuple[nn.Module, Octaves]:
    """A 3x3 convolution of so many channels in both and out, and an input of `batch` pictures for it."""
    generator = torch.Generator().manual_seed(0)
    low = low_channels(channels, alpha)

    def drawn(n: int, s: int) -> Tensor | None:
        x = torch.randn(batch, n, s, s, generator=generator)
        return x.contiguous(memory_format=torch.channels_last) if n else None

    conv = OctaveConv(channels, channels, 3, 1, 1, alpha, alpha).to(memory_format=torch.channels_last)
    return conv, (drawn(channels - low, side), drawn(low, side // 2))


def products(conv: nn.Module, x: Octaves) -> int:
    """Multiply-adds of a call."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        conv(x)
    return counter.get_total_flops() // 2


def seconds(calls: list[Callable[[], object]], warm: int = 3, repeats: int = 20) -> list[float]:
    """The median processor seconds of each call, taken in turn so that what disturbs one disturbs all alike."""
    taken: list[list[float]] = [[] for _ in calls]
    for i in range(warm + repeats):
        for call, of_call in zip(calls, taken, strict=True):
            begun = time.process_time()
            call()
            of_call += [time.process_time() - begun] * (i >= warm)
    return [median(of_call) for of_call in taken]


def table() -> Iterator[str]:
    """A line for each layer and alpha: shares of the plain convolution's multiply-adds and seconds."""
    yield "channels x side   alpha   formula   counted   seconds, forward   forward and backward"
    for channels, side in LAYERS:
        layers = [layer(channels, side, alpha) for alpha in ALPHAS]
        counts = [products(*each) for each in layers]
        forward = seconds([lambda each=each: _forward(*each) for each in layers])
        both = seconds([lambda each=each: _backward(*each) for each in layers])
        for alpha, count, one, two in zip(ALPHAS, counts, forward, both, strict=True):
            shares = f"{count / counts[0]:>10.0%}{one / forward[0]:>19.0%}{two / both[0]:>23.0%}"
            yield f"{channels:>8} x {side:<4} {alpha:>7} {relative_cost(alpha):>9.0%}{shares}"


@torch.no_grad()
def _forward(conv: nn.Module, x: Octaves) -> None:
    conv(x)


def _backward(conv: nn.Module, x: Octaves) -> None:
    sum(part.sum() for part in conv(x) if part is not None).backward()


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"one core, PyTorch {torch.__version__}, 3x3, {BATCH} pictures")
    for line in table():
        print(line, flush=True)
