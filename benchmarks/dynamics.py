"""Parts of the studies of dynamics against those of others, in one run: etudes bench dynamics

hessian  the top eigenvalue of a loss's Hessian against pyhessian's, to the same precision
many     tiny networks trained at once against a loop of trainings
shampoo  a step of Shampoo against pytorch_optimizer's, at equal results

Each side of `hessian` is asked for the loosest tolerance with which it finds the eigenvalue to 1e-3 of it under each of
some starts; the truth is what ours gives to 1e-9 in float64. The networks have been trained to the edge of stability,
where several eigenvalues lie close together: that is where sharpness is measured. `many` trains the same networks to
the same losses, and `shampoo` ends at the same weights: both are checked before anything is timed.

All compute with one thread. Sides take turns, and the median of the ratios of neighbouring turns is told.
"""

import copy
import functools
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from engine import turns
from torch import Tensor, nn

from etudes.core.environment import environment
from etudes.data.images import images, unit
from etudes.losses.cross_entropy import one_hot
from etudes.measure.sharpness import hessian_product, sharpness
from etudes.measure.size import count_parameters
from etudes.studies.dynamics.optimizers.shampoo import Shampoo
from etudes.train.many import train_one_by_one, train_together

PRECISION, STARTS, SHAMPOO_STEPS = 1e-3, 5, 10
TOLERANCES = (3e-1, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)


def seconds(action: Callable[[], object]) -> Callable[[], float]:
    def turn() -> float:
        begun = time.perf_counter()
        action()
        return time.perf_counter() - begun

    return turn


def dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))


def convolutional() -> nn.Module:
    layers = (nn.Conv2d(1, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1))
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def digits(n: int) -> tuple[Tensor, Tensor]:
    """Digits standardised pixel by pixel, and their one-hot labels, as in edge-of-stability."""
    d = images("digits")
    x = unit(d.x[:n])
    return (x - x.mean(0)) / x.std(0).clamp_min(1e-3), one_hot(d.y[:n], d.classes)


def squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    return (outputs - y).square().sum() / (2 * len(y))


def descend(model: nn.Module, x: Tensor, y: Tensor, steps: int, lr: float) -> nn.Module:
    opt = torch.optim.SGD(model.parameters(), lr)
    for _ in range(steps):
        opt.zero_grad()
        squared_error(model(x), y).backward()
        opt.step()
    return model


def ours(model: nn.Module, x: Tensor, y: Tensor, tolerance: float, start: int) -> float:
    product = hessian_product(lambda: squared_error(model(x), y), model.parameters())
    return sharpness(product, count_parameters(model), np.random.default_rng(start), tolerance=tolerance)


def theirs(model: nn.Module, x: Tensor, y: Tensor, tolerance: float, start: int) -> float:
    from pyhessian import hessian

    model.zero_grad()  # it adds to gradients that are there
    torch.manual_seed(start)
    found = hessian(model, squared_error, data=(x, y), cuda=False)
    return float(found.eigenvalues(maxIter=10_000, tol=tolerance)[0][0])


def loosest(find: Callable[[float, int], float], truth: float) -> float:
    """The loosest tolerance with which all starts find the truth to the precision."""
    for tolerance in TOLERANCES:
        if all(abs(find(tolerance, start) / truth - 1) <= PRECISION for start in range(STARTS)):
            return tolerance
    raise SystemExit("no tolerance is tight enough")


def compare_hessians() -> Iterator[str]:
    x, y = digits(500)
    for name, make, steps, lr in (("dense", dense, 1000, 0.2), ("convolutional", convolutional, 600, 0.1)):
        torch.manual_seed(0)
        model = descend(make(), x, y, steps, lr)
        exact = copy.deepcopy(model).double()
        truth = ours(exact, x.double(), y, 1e-9, 0)

        def mine(tolerance: float, start: int, model: nn.Module = model) -> float:
            return ours(model, x, y, tolerance, start)

        def other(tolerance: float, start: int, model: nn.Module = model) -> float:
            return theirs(model, x, y, tolerance, start)

        pair = [(find, loosest(find, truth)) for find in (mine, other)]
        runs = [seconds(lambda f=f, t=t: [f(t, start) for start in range(STARTS)]) for f, t in pair]
        yield (
            f"hessian {name}, {count_parameters(model):,} parameters, top eigenvalue {truth:.4g}: seconds of {STARTS} "
            f"starts {turns(9, *runs)}; tolerances {pair[0][1]:g} and {pair[1][1]:g}; goal at most 0.5"
        )


def compare_many() -> Iterator[str]:
    for count, width in ((24, 16), (24, 64), (48, 128)):
        torch.manual_seed(0)
        networks = [nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10)) for _ in range(count)]
        d = images("digits")
        rows = torch.stack([torch.randperm(len(d.y))[:200] for _ in range(count)])
        x, y = unit(d.x).flatten(1)[rows], d.y[rows]
        apart = (train_together(networks, x, y, 30, 0.01) - train_one_by_one(networks, x, y, 30, 0.01)).abs().max()
        if apart > 1e-3:
            raise SystemExit(f"the losses differ by {apart:.3g}")
        runs = [
            seconds(functools.partial(train, networks, x, y, 30, 0.01)) for train in (train_together, train_one_by_one)
        ]
        yield (
            f"many {count} networks 64-{width}-10, 200 examples, 30 steps of Adam: seconds {turns(7, *runs)}; "
            f"losses within {apart:.1g}; goal at most 0.5"
        )


def take_steps(make: Callable[[nn.Module], torch.optim.Optimizer], model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """All weights of a copy of the model after some steps."""
    model = copy.deepcopy(model)
    opt = make(model)
    for _ in range(SHAMPOO_STEPS):
        opt.zero_grad()
        squared_error(model(x), y).backward()
        opt.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def step_seconds(make: Callable[[nn.Module], torch.optim.Optimizer], model: nn.Module) -> Callable[[], float]:
    """Seconds of a step of the optimiser alone, its gradients being there."""
    opt = make(model)
    return seconds(lambda: [opt.step() for _ in range(SHAMPOO_STEPS)])


def compare_shampoo() -> Iterator[str]:
    from pytorch_optimizer import Shampoo as Peer

    def mine(model: nn.Module) -> torch.optim.Optimizer:
        return Shampoo(model.parameters(), 0.01, epsilon=1e-4)

    def other(model: nn.Module) -> torch.optim.Optimizer:
        return Peer(model.parameters(), 0.01, matrix_eps=1e-4)

    x, y = digits(100)
    for name, make in (("dense", dense), ("convolutional", convolutional)):
        torch.manual_seed(0)
        model = make()
        exact = copy.deepcopy(model).double()
        ends = [take_steps(side, exact, x.double(), y.double()) for side in (mine, other)]
        apart = (ends[0] - ends[1]).abs().max()
        if apart > 1e-6:
            raise SystemExit(f"the weights differ by {apart:.3g}")
        squared_error(model(x), y).backward()
        runs = [step_seconds(side, copy_with_gradients(model)) for side in (mine, other)]
        yield (
            f"shampoo {name}, {count_parameters(model):,} parameters: seconds of {SHAMPOO_STEPS} steps "
            f"{turns(7, *runs)}; in float64 weights within {apart:.1g}; goal at most 0.8"
        )


def copy_with_gradients(model: nn.Module) -> nn.Module:
    other = copy.deepcopy(model)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        q.grad = p.grad.clone()
    return other


def main() -> None:
    torch.set_num_threads(1)
    facts = environment()
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    print(f"{facts['host']}; {torch.get_num_threads()} threads; {libraries}")
    for compare, peer in ((compare_many, ""), (compare_hessians, "pyhessian"), (compare_shampoo, "pytorch_optimizer")):
        try:
            for line in compare():
                print(line, flush=True)
        except ModuleNotFoundError as missing:
            print(f"{missing.name} is not installed: pip install {peer}")


if __name__ == "__main__":
    main()
