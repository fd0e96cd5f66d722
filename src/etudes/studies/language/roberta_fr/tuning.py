"""Fine-tuning: classes of texts, told from few labels by a network that has read or has not."""

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Problem, Run
from etudes.data.batches import Batches
from etudes.measure.error import evaluation_mode
from etudes.nn.roberta import Roberta
from etudes.train import Adam, adam, descend, fit, part, seeded

ROWS = 200  # texts read at once in tests
KNOWN = 400  # training texts, at most, by whose vectors the head's inputs are standardised


class Classifier(nn.Module):
    """Rows of tokens int64 [n, t] to logits [n, classes]: a linear layer on the mean vector of a row's tokens, less the
    mean over `known` rows and over their deviation.

    These are of the encoder as it is at first. A pretrained one gives all texts nearly the same vector, beside which
    their differences are small: without this step a head cannot get at them in few steps.
    """

    def __init__(self, encoder: Roberta, classes: int, known: Tensor) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(encoder.norm.normalized_shape[0], classes)
        with evaluation_mode(encoder):
            found = torch.cat([self.mean_vectors(rows) for rows in known.to(encoder.bias.device).split(ROWS)]).float()
        self.register_buffer("mean", found.mean(0))
        self.register_buffer("scale", 1 / found.std(0).clamp(min=1e-6))

    def mean_vectors(self, tokens: Tensor) -> Tensor:
        there = (tokens != self.encoder.pad)[..., None]
        return (self.encoder(tokens) * there).sum(1) / there.sum(1)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head((self.mean_vectors(tokens) - self.mean) * self.scale)


def balanced_rows(labels: Tensor, count: int, order: Tensor) -> Tensor:
    """`count` rows in the given order, as many of each class; where that leaves a rest, one more of the first ones.

    Raises Problem where a class has too few rows.
    """
    classes, ordered = int(labels.max()) + 1, labels[order]
    kept = []
    for y in range(classes):
        wanted, rows = (count + classes - 1 - y) // classes, order[ordered == y]
        if len(rows) < wanted:
            raise Problem(f"class {y} has {len(rows)} labelled texts, not {wanted}; ask for fewer --labels")
        kept.append(rows[:wanted])
    return torch.cat(kept)


def accuracy(model: nn.Module, x: Tensor, y: Tensor, device: torch.device) -> float:
    with evaluation_mode(model):
        told = torch.cat([model(rows.to(device)).argmax(1).cpu() for rows in x.split(ROWS)])
    return (told == y).double().mean().item()


def tune(run: Run, encoder: Roberta, x: Tensor, y: Tensor, count: int, draw: int, recipe: Adam) -> nn.Module:
    """A classifier that begins with a copy of the encoder and learns from `count` labelled rows, drawn by the run."""
    order = torch.from_numpy(run.rng("labels", draw).permutation(len(y)))
    rows = balanced_rows(y, count, order)
    known = x[order[:KNOWN]]  # texts, whose labels count for nothing here
    model = seeded(run, "head", lambda: Classifier(copy.deepcopy(encoder), int(y.max()) + 1, known)).train()
    recipe = replace(recipe, batch=min(recipe.batch, len(rows)))
    opt, schedule = adam(model, recipe)
    batches = Batches(len(rows), recipe.batch, run.seed("label order", draw))

    def step(i: int) -> dict[str, Tensor]:
        inputs, labels = part(x[rows[batches.at(i)]].to(run.device), y[rows[batches.at(i)]].to(run.device))
        return {f"tuning/loss-{count}": descend(functional.cross_entropy(model(inputs), labels), opt, schedule, 1.0)}

    fit(run, {"model": model, "opt": opt, "schedule": schedule}, step, recipe.steps, log_every=recipe.steps)
    return model
