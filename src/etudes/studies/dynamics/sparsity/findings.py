"""What is measured of a trained network."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Run
from etudes.data.images import unit
from etudes.exhibits.sheets import save_sheet
from etudes.measure.activations import activations
from etudes.measure.attributions import correlation, gradient_times_input, integrated_gradients, overlap
from etudes.measure.error import error_rate, evaluation_mode, predictions
from etudes.studies.dynamics.sparsity.networks import hidden_layers
from etudes.studies.dynamics.sparsity.quantise import int8_linear, quantise, round_weights
from etudes.studies.dynamics.sparsity.storage import file_bytes
from etudes.train import pruning
from etudes.train.arithmetic import put, state

if TYPE_CHECKING:
    from etudes.studies.dynamics.sparsity import Config
    from etudes.studies.dynamics.sparsity.training import Examples

BITS = (8, 4, 3, 2)


@dataclass(frozen=True)
class Reference:
    """What sparse networks are compared with: the dense one's attributions, and how it errs on each class."""

    integrated: Tensor  # attributions [n, c, h, w] of the first test pictures
    gradient: Tensor  # the same by gradient times input
    errors: Tensor  # share of errors on test [classes]
    weak: Tensor  # bool [classes], the half of the classes on which it errs most on validation


def reference(cfg: "Config", e: "Examples", whole: nn.Module) -> Reference:
    """The dense network's side of all comparisons."""
    x, y, n = e.d.test_x[: cfg.explained], e.d.test_y[: cfg.explained], e.d.classes
    on_validation = class_errors(predictions(whole, e.x), e.y, n)
    weak = torch.zeros(n, dtype=torch.bool, device=y.device)
    weak[on_validation.sort(descending=True, stable=True).indices[: n // 2]] = True
    errors = class_errors(predictions(whole, e.d.test_x), e.d.test_y, n)
    return Reference(integrated_gradients(whole, x, y), gradient_times_input(whole, x, y), errors, weak)


def measure(cfg: "Config", run: Run, e: "Examples", model: nn.Sequential, whole: Reference, name: str) -> None:
    """Put what a network is worth into the result, its numbers called by `name`."""
    d, weights = e.d, pruning.prunable(model)
    x, y = d.test_x[: cfg.explained], d.test_y[: cfg.explained]
    active, used = neurons(model, x, y, d.classes)
    integrated = integrated_gradients(model, x, y)
    answers = predictions(model, d.test_x)
    rise = class_errors(answers, d.test_y, d.classes) - whole.errors
    kept = sum(int((w != 0).sum()) for w in weights.values())
    numbers = {
        "train/weights": 100 * kept / sum(w.numel() for w in weights.values()),
        "train/neurons": float(count_connected(weights)),
        "validation/error": error_rate(model, e.x, e.y),
        "test/error": (answers != d.test_y).double().mean().item(),
        "test/error-noisy": noisy_error(model, d.test_x, d.test_y, cfg.noise, run.seed("noise")),
        "test/rise-weak": (rise[whole.weak].mean() - rise[~whole.weak].mean()).item(),
        "test/active": active,
        "test/used": used,
        "test/overlap": overlap(integrated, whole.integrated),
        "test/overlap-gradient": overlap(gradient_times_input(model, x, y), whole.gradient),
        "test/agreement": correlation(integrated, whole.integrated),
    }
    kinds = file_bytes(state(model, buffers=True), {n: w.detach() for n, w in weights.items()})
    numbers |= {f"train/bytes-{kind}": size for kind, size in kinds.items()}
    run.result(**{f"{metric}-{name}": value for metric, value in numbers.items()})


def noisy_error(model: nn.Module, x: Tensor, y: Tensor, deviation: float, seed: int, batch: int = 1000) -> float:
    """The share of errors on pictures x: [n, c, h, w] with normal noise on each number, cut to [0, 1]; y: [n]."""
    chance, wrong = torch.Generator().manual_seed(seed), 0
    for some, labels in zip(x.split(batch), y.split(batch), strict=True):
        noise = deviation * torch.randn(some.shape, generator=chance)
        wrong += int((predictions(model, (unit(some) + noise.to(some.device)).clamp(0, 1)) != labels).sum())
    return wrong / len(y)


def neurons(model: nn.Sequential, x: Tensor, y: Tensor, classes: int) -> tuple[float, float]:
    """The share of hidden neurons active for a picture, and the share that a class uses, each averaged over layers.

    A neuron is active where its output is above 0; of a convolution's channel the share of its places is meant. A class
    uses a neuron that is active, on average, for more than half of its pictures.
    """
    active, used = [], []
    for output in activations(model, x, hidden_layers(model)).values():
        rows = (output > 0).float().flatten(2).mean(2) if output.ndim > 2 else (output > 0).float()
        members = functional.one_hot(y, classes).float()
        means = members.T @ rows / members.sum(0).clamp_min(1)[:, None]
        active.append(rows.mean())
        used.append((means > 0.5)[members.sum(0) > 0].float().mean())
    return torch.stack(active).mean().item(), torch.stack(used).mean().item()


def count_connected(weights: dict[str, nn.Parameter]) -> int:
    """How many neurons, the outputs' among them, have a weight left that is not 0: rows of the weights."""
    return sum(int((w != 0).flatten(1).any(1).sum()) for w in weights.values())


def class_errors(answers: Tensor, y: Tensor, classes: int) -> Tensor:
    """The share of errors [classes] among the pictures of each class y: [n]; 0 for a class without any."""
    members = functional.one_hot(y, classes).double()
    return (answers != y).double() @ members / members.sum(0).clamp_min(1)


def measure_rounded(cfg: "Config", run: Run, e: "Examples", model: nn.Sequential, name: str) -> None:
    """Put the test errors of a network with rounded weights into the result: a scale a channel, or one a tensor; of
    LeNet also as int8 computes it."""
    weights, own = pruning.prunable(model), state(model, buffers=True)
    for bits in BITS:
        for way, by_channel in (("", True), ("-tensor", False)):
            put(model, own | round_weights(weights, bits, by_channel))
            run.result(**{f"test/error-int{bits}{way}-{name}": error_rate(model, e.d.test_x, e.d.test_y)})
            put(model, own)
    if cfg.network == "lenet":
        found = torch.cat([int8_logits(model, x).argmax(1) for x in e.d.test_x.split(1000)])
        run.result(**{f"test/error-int8-kernel-{name}": (found != e.d.test_y.cpu()).double().mean()})


def int8_logits(model: nn.Sequential, x: Tensor) -> Tensor:
    """The logits [n, classes], on the CPU, of a chain of dense layers whose products are those of int8."""
    x = unit(x)
    with evaluation_mode(model):
        for layer in model:
            if isinstance(layer, nn.Linear):
                integer, scale = (t.cpu() for t in quantise(layer.weight, 8))
                x = int8_linear(x.cpu(), integer, scale, None if layer.bias is None else layer.bias.cpu())
            else:
                x = layer(x)
    return x


def save_features(run: Run, model: nn.Module, shape: tuple[int, int, int], most: int = 32) -> None:
    """Write features.png: the weights into the first layer's neurons, those of the largest norm first, black where most
    negative, white where most positive and grey where 0. Nothing where they are no pictures."""
    weight = next(iter(pruning.prunable(model).values())).detach().cpu()
    if weight.ndim == 2:
        weight = weight.view(len(weight), *shape)
    if weight.shape[1] not in (1, 3):
        return
    chosen = weight.flatten(1).norm(dim=1).sort(descending=True, stable=True).indices[:most]
    strength = weight[chosen].abs().flatten(1).amax(1).clamp_min(1e-12).view(-1, 1, 1, 1)
    save_sheet(run.path("features.png"), 0.5 + weight[chosen] / (2 * strength), columns=8, scale=2)
