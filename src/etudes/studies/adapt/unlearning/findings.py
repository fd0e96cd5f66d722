"""What is left of a class that was unlearnt, measured beside networks that never saw it."""

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Run
from etudes.exhibits.plane import save_plane
from etudes.measure.error import evaluation_mode
from etudes.measure.probe import balanced_accuracy, fit_probe, membership
from etudes.studies.adapt.unlearning.examples import Examples

if TYPE_CHECKING:
    from etudes.studies.adapt.unlearning import Config

REST = 32  # other pictures beside the few of the class, in a step of relearning
EVERY = 3  # steps of relearning between looks


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    """Logits float32 [n, classes], or whatever the network gives, of pictures [n, c, h, w]."""
    with evaluation_mode(model):
        return torch.cat([model(part).float() for part in x.split(500)])


def probabilities(model: nn.Module, x: Tensor, without: int | None = None) -> Tensor:
    """[n, classes], with the logit of class `without` left out of the softmax."""
    logits = outputs(model, x)
    if without is not None:
        logits[:, without] = -math.inf
    return logits.softmax(1)


def divergence(p: Tensor, q: Tensor) -> float:
    """The mean Jensen-Shannon divergence of distributions [n, classes], in bits: 0 where equal, 1 where apart.

    Of the Kullback-Leibler divergence a single answer that one network is sure is impossible decides the mean.
    """
    p, q = p.double(), q.double()
    middle = (p + q) / 2
    apart = torch.special.entr(middle) - (torch.special.entr(p) + torch.special.entr(q)) / 2
    return apart.sum(1).mean().item() / math.log(2)


def probe_accuracy(features: Tensor, is_kind: Tensor, test: Tensor, test_is_kind: Tensor, rows: list[Tensor]) -> float:
    """The balanced accuracy of a linear probe for a class, mean over the probes fitted to these few rows each."""
    scores = [fit_probe(features[few], is_kind[few]).scores(test) for few in rows]
    return sum(balanced_accuracy(score > 0, test_is_kind) for score in scores) / len(scores)


def few_rows(y: Tensor, shots: int, rng: numpy.random.Generator) -> Tensor:
    """At most so many random rows of each class."""
    order = torch.from_numpy(rng.permutation(len(y))).to(y.device)
    return torch.cat([order[y[order] == label][:shots] for label in y.unique().tolist()])


def relearning(cfg: "Config", run: Run, model: nn.Module, d: Examples) -> float:
    """How soon the class is known again: its balanced accuracy on test pictures, mean over the looks while a copy of
    the network is trained on a few of its pictures and random others. 0.5: it is not found again."""
    student = copy.deepcopy(model).train()
    opt = torch.optim.Adam(student.parameters(), cfg.relearning_lr)
    few = d.rows(cfg.forgets)[: cfg.shots]
    rest = (d.y != cfg.forgets).nonzero()[:, 0]
    found = []
    for i in range(cfg.relearning_steps):
        others = rest[torch.from_numpy(run.rng("relearning", i).integers(len(rest), size=REST)).to(rest.device)]
        losses = [functional.cross_entropy(student(d.x[rows]), d.y[rows]) for rows in (few, others)]
        opt.zero_grad(set_to_none=True)
        (losses[0] + losses[1]).backward()
        opt.step()
        if i % EVERY == EVERY - 1:
            found.append(
                balanced_accuracy(outputs(student, d.test_x).argmax(1) == cfg.forgets, d.test_y == cfg.forgets)
            )
    return sum(found) / len(found)


def traces(cfg: "Config", run: Run, model: nn.Sequential, d: Examples) -> dict[str, float]:
    """What a network's weights still hold of the class: probe, relearning and membership."""
    held, test = outputs(model[:-1], d.held_x), outputs(model[:-1], d.test_x)
    kinds = [y == cfg.forgets for y in (d.y, d.held_y, d.test_y)]
    rows = [few_rows(d.held_y, cfg.shots, run.rng("probe", k)) for k in range(cfg.probes)]
    whole = [torch.arange(len(d.held_y), device=d.held_y.device)]
    unseen = torch.cat([d.held_x[kinds[1]], d.test_x[kinds[2]]])
    signs = [outputs(model, x).log_softmax(1)[:, cfg.forgets] for x in (d.x[kinds[0]], unseen)]
    return {
        "test/probe": probe_accuracy(held, kinds[1], test, kinds[2], rows),
        "test/probe-all": probe_accuracy(held, kinds[1], test, kinds[2], whole),
        "test/relearning": relearning(cfg, run, model, d),
        "test/membership": membership(*signs),
    }


def errors(cfg: "Config", model: nn.Module, d: Examples) -> dict[str, float]:
    """Errors on the retained classes and the new one, and how often the forgotten one is named: validation and test."""
    found = {}
    without = cfg.forgets if cfg.dropped else None
    for split, x, y in (("validation", d.held_x, d.held_y), ("test", d.test_x, d.test_y)):
        says = probabilities(model, x, without).argmax(1)
        old, new = y == cfg.forgets, y == cfg.learns
        found |= {
            f"{split}/error-retained": (says != y)[~(old | new)].double().mean().item(),
            f"{split}/error-new": (says != y)[new].double().mean().item(),
            f"{split}/named": (says == y)[old].double().mean().item(),
        }
    return found


@dataclass(frozen=True)
class Reference:
    """A network trained from scratch without the class: its test probabilities and its own traces of the class."""

    probabilities: Tensor
    traces: dict[str, float]


def leftovers(
    cfg: "Config", run: Run, model: nn.Sequential, d: Examples, references: list[Reference]
) -> dict[str, float]:
    """All numbers of a network beside the mean of the references: divergences of its answers, and its traces of the
    class, also less those that the references have."""
    own = probabilities(model, d.test_x, cfg.forgets if cfg.dropped else None)
    old = d.test_y == cfg.forgets
    found = traces(cfg, run, model, d)
    for name in ("probe", "probe-all", "relearning", "membership"):
        there = sum(r.traces[f"test/{name}"] for r in references) / len(references)
        found[f"test/{name}-excess"] = found[f"test/{name}"] - there
    for name, rows in (("forgotten", old), ("others", ~old)):
        apart = [divergence(r.probabilities[rows], own[rows]) for r in references]
        found[f"test/divergence-{name}"] = sum(apart) / len(apart)
    found["test/confidence-forgotten"] = own[old].amax(1).double().mean().item()
    return found


def draw_map(cfg: "Config", run: Run, model: nn.Sequential, d: Examples) -> None:
    """Save the test pictures as points: across, how much a linear probe takes them for the forgotten class; up, the
    direction in which the features of the others vary most. Orange: forgotten, green: new, blue: retained."""
    held, test = (outputs(model[:-1], x).double() for x in (d.held_x, d.test_x))
    probe = fit_probe(held, d.held_y == cfg.forgets)
    direction = probe.weights[:-1] / probe.weights[:-1].norm().clamp_min(1e-12)
    flat = (test - probe.mean) / probe.std
    flat = flat - (flat @ direction)[:, None] * direction
    up = flat @ torch.linalg.svd(flat[d.test_y != cfg.forgets], full_matrices=False).Vh[0]
    places = torch.stack([probe.scores(test) / 2.5, up / up.abs().max().clamp_min(1e-12)], 1).clamp(-0.98, 0.98)
    old, new = d.test_y == cfg.forgets, d.test_y == cfg.learns
    ground = torch.linspace(-1, 1, 100).clamp_min(0).expand(100, 100)
    save_plane(run.path("map.png"), ground, [places[~(old | new)], places[old], places[new]], 1.0)
