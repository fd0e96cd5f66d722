"""What a run tells beside its errors, and the claims' own numbers."""

import copy
import math
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from etudes.core import Measure, Run, Trial
from etudes.core.files import appearing
from etudes.data.images import Images
from etudes.measure.error import error_rate
from etudes.measure.memory import largest_batch, step_memory
from etudes.measure.size import count_parameters
from etudes.nn.lora import LowRankConv, merge
from etudes.nn.norm import BatchNorm

BUDGET = 1e9  # bytes for which the largest batch is told
ERROR = "test/error"


def closed_share(variant: str) -> Measure:
    """A measure: the part of the way from the head alone to all weights, in test error, that a variant goes."""

    def share(trial: Trial) -> float:
        head, full, own = (trial[name][ERROR] for name in ("head", "full", variant))
        return (head - own) / (head - full) if head != full else math.nan

    return share


def dearer_far(variant: str, other: str) -> Measure:
    """A measure: by how much a variant's test error lies above another's on the far set, less the same on the near."""

    def dearer(trial: Trial) -> float:
        far, near = (trial[f"{variant}{end}"][ERROR] - trial[f"{other}{end}"][ERROR] for end in ("", "-near"))
        return far - near

    return dearer


def measure_memory(run: Run, model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Report what a step of Adam on pictures x [n, 3, h, w] in [0, 1] holds in fp32, in megabytes and by formula, and
    the largest batch for which a gigabyte suffices."""
    model = copy.deepcopy(model)  # norms in training mode look at x, and that is no step
    with torch.autocast(x.device.type, enabled=False):
        found = step_memory(model, lambda: cross_entropy(model(x), y))
    fixed, each = found.total - found.activations, found.activations / len(x)
    parts = {"gradients": found.gradients, "optimiser": found.optimiser, "activations": found.activations}
    run.result(**{f"train/megabytes-{name}": size / 1e6 for name, size in (parts | {"step": found.total}).items()})
    run.result(
        **{
            "train/largest-batch": largest_batch(lambda n: fixed + n * each <= BUDGET),
            "train/trained-share": count_parameters(model) / sum(p.numel() for p in model.parameters()),
        }
    )


def measure_merged(run: Run, model: nn.Module, d: Images) -> None:
    """Report the test error of the network with its changes merged into the filters, where they can be."""
    changed = [layer for layer in model.modules() if isinstance(layer, LowRankConv)]
    if changed and not any(layer.wide for layer in changed):
        with run.autocast():
            run.result(**{"test/error-merged": error_rate(merge(model), d.test_x, d.test_y)})


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """{name: tensor} of what training has changed: weights, and the statistics of norms that are trained."""
    found = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    for name, layer in model.named_modules():
        if isinstance(layer, BatchNorm) and layer.weight.requires_grad:
            found |= {f"{name}.running_mean": layer.running_mean, f"{name}.running_var": layer.running_var}
    return found


def save_trained(path: Path, model: nn.Module) -> None:
    """Write what training has changed to `path`, whole or not at all: with the base this is the whole network."""
    with appearing(path) as draft:
        save_file({name: tensor.contiguous().cpu() for name, tensor in trained_tensors(model).items()}, draft)


def load_trained(path: Path, model: nn.Module) -> nn.Module:
    """The base network, prepared by the same method, with what was trained."""
    model.load_state_dict(load_file(path), strict=False)
    return model


def validation_rows(taken: Tensor, n: int, most: int, run: Run) -> Tensor:
    """At most so many of the n rows, drawn from those that are not `taken`."""
    free = torch.ones(n, dtype=torch.bool)
    free[taken.cpu()] = False
    rows = free.nonzero()[:, 0]
    return rows[torch.from_numpy(run.rng("held out").permutation(len(rows))[:most])]
