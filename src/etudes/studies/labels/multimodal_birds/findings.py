"""What a network of several modalities errs on: with all of them, without one, with one of another example."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from etudes.measure.error import evaluation_mode
from etudes.studies.labels.multimodal_birds.fusion import pool
from etudes.studies.labels.multimodal_birds.networks import Network
from etudes.studies.labels.multimodal_birds.sets import Examples, Inputs

TOGETHER = 500  # examples


def first_caption(inputs: Inputs) -> Inputs:
    """The inputs with the first of each example's captions alone: words [n, length]."""
    return {name: x[:, 0] if name == "words" else x for name, x in inputs.items()}


def read_tokens(model: Network, examples: Examples) -> list[Tensor]:
    """What enters the fusion of each modality, for all examples."""
    with evaluation_mode(model):
        parts = [model.tokens(first_caption(some.inputs)) for some in pieces(examples)]
    return [torch.cat(each).float() for each in zip(*parts, strict=True)]


def pieces(examples: Examples) -> Iterator[Examples]:
    for rows in torch.arange(len(examples)).split(TOGETHER):
        yield examples.take(rows)


def error(model: Network, tokens: list[Tensor], y: Tensor) -> float:
    """The share of examples whose highest score is not that of y: [n]."""
    with evaluation_mode(model):
        found = [model.answer(some)[0].argmax(1) for some in zip(*(x.split(TOGETHER) for x in tokens), strict=True)]
    return (torch.cat(found) != y).double().mean().item()


def ablations(
    model: Network, names: Sequence[str], learnt: list[Tensor], tokens: list[Tensor], y: Tensor
) -> dict[str, float]:
    """Errors on the test examples, of which these are the tokens and the classes, where what one modality gives is
    taken away (zeros), replaced by its mean over what was learnt from, or by that of the next example; and, where there
    are three, of each modality by itself."""
    found = {}
    for m, name in enumerate(names):
        changes = {
            "no": torch.zeros_like(tokens[m]),
            "mean": learnt[m].mean(0).expand_as(tokens[m]),
            "shuffled": tokens[m].roll(1, 0),
        }
        for how, x in changes.items():
            found[f"test/error-{how}-{name}"] = error(model, [*tokens[:m], x, *tokens[m + 1 :]], y)
        if len(names) > 2:
            alone = [x if i == m else torch.zeros_like(x) for i, x in enumerate(tokens)]
            found[f"test/error-{name}-alone"] = error(model, alone, y)
    return found


def probes(
    names: Sequence[str], learnt: list[Tensor], y: Tensor, tokens: list[Tensor], test_y: Tensor
) -> dict[str, float]:
    """The test errors of a linear classifier of what each modality's encoder gives, fitted to what was learnt from:
    how good an encoder it has become."""
    return {
        f"test/probe-{name}": ridge_error(pool(learnt[m]), y, pool(tokens[m]), test_y)
        for m, name in enumerate(names)
        if tokens[m].ndim == 3
    }


def ridge_error(x: Tensor, y: Tensor, test_x: Tensor, test_y: Tensor, penalty: float = 0.01) -> float:
    """The test error of the linear map W of standardised features [n, d] that minimises the mean over the examples of
    |W x - onehot(y)|^2, plus penalty |W|^2 (solved exactly in float64)."""
    x, test_x = x.double(), test_x.double()
    mean, std = x.mean(0), x.std(0, correction=0)
    std = torch.where(std > 0, std, 1.0)
    x, test_x = (torch.cat([(z - mean) / std, z.new_ones(len(z), 1)], 1) for z in (x, test_x))
    targets = torch.nn.functional.one_hot(y).double()
    ridge = penalty * torch.eye(x.shape[1], dtype=torch.float64, device=x.device)
    ridge[-1, -1] = 0
    weights = torch.linalg.solve(x.T @ x / len(x) + ridge, x.T @ targets / len(x))
    return ((test_x @ weights).argmax(1) != test_y).double().mean().item()


def majority_error(train: Tensor, test: Tensor) -> float:
    """The test error of always naming the most frequent training class."""
    return float(np.mean(test.numpy() != train.mode().values.item()))
