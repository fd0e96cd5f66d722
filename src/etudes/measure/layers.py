"""What the layers of a network know: their features for pictures, and what probes on these err."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.measure.activations import activations
from etudes.measure.error import wrong
from etudes.measure.probe import linear_classes


def pooled_features(model: nn.Module, x: Tensor, layers: Sequence[str], places: int = 1) -> list[Tensor]:
    """What each layer gives for pictures x: [n, c, h, w], in evaluation mode, its maps averaged to places x places and
    flattened: float32 [n, d] a layer. Raises Problem as `activations`."""
    parts: list[list[Tensor]] = []
    for some in x.split(1000):  # maps of all pictures at once would not fit into memory at a paper's scale
        found = activations(model, some, layers)
        parts.append([functional.adaptive_avg_pool2d(found[name].float(), places).flatten(1) for name in layers])
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


def probe_errors(
    x: Tensor, y: Tensor, sets: Sequence[Tensor], asked: Sequence[tuple[Tensor, Tensor]], penalty: float
) -> list[float]:
    """What linear probes on features x: [n, d] with classes y: [n] err on each of `asked`: (features, classes).

    A probe is fitted to each of the `sets` of rows that have a label; errors are means over the sets.
    """
    errors = torch.zeros(len(sets), len(asked), dtype=torch.float64)
    for i, rows in enumerate(sets):
        says = linear_classes(x[rows], y[rows], torch.cat([features for features, _ in asked]), penalty)
        parts = says.split([len(classes) for _, classes in asked])
        errors[i] = torch.tensor([wrong(part, classes) for part, (_, classes) in zip(parts, asked, strict=True)])
    return errors.mean(0).tolist()
