"""The pictures of a seed, with few labels, and what each method makes of a step's."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.core.run import Run
from etudes.data.augment import affine, cutout, flip, shift
from etudes.data.batches import Batches
from etudes.data.images import Images, unit
from etudes.data.labels import balanced_subset
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.nn.norm import BatchNorm, Standardise
from etudes.nn.wide_resnet import wide_resnet
from etudes.studies.labels.mixmatch.idea import (
    draw_mixing,
    guess_labels,
    mix,
    mixmatch_batch,
    mixmatch_loss,
    pseudo_label_loss,
    ramp,
    squared_error,
)
from etudes.train import EMA

if TYPE_CHECKING:
    from etudes.studies.labels.mixmatch import Config


def split_rows(y: Tensor, labels: int, run: Run) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of training pictures y: [n] that are labelled, held out for validation, and unlabelled: each row once.

    Of each class `labels` are labelled and as many are held out: no more pictures are chosen by than are learnt from.
    Which ones is drawn under the seed. Raises Problem where nothing is left unlabelled.
    """
    if len(y) <= 2 * labels * len(y.unique()):
        raise Problem(f"{labels} labels a class and as many for validation leave none of {len(y)} pictures unlabelled")
    known = balanced_subset(y, labels, run.rng("labels"))
    free = torch.ones(len(y), dtype=torch.bool, device=y.device)
    free[known] = False
    rest = free.nonzero()[:, 0]
    held = rest[balanced_subset(y[rest], labels, run.rng("held out"))]
    free[held] = False
    return known, held, free.nonzero()[:, 0]


def network(cfg: "Config", d: Images) -> nn.Sequential:
    """Pictures [n, c, h, w] in [0, 1] to logits [n, classes]."""
    channels = d.x.shape[1]
    if cfg.network == "small":
        body = small_network(channels, d.classes, cfg.stem)
    else:
        body = wide_resnet(channels, d.classes, cfg.depth, cfg.widen, cfg.stem)
    return nn.Sequential(Standardise(d.mean, d.std), body)


def small_network(channels: int, classes: int, width: int) -> nn.Sequential:
    """Three convolutions of `width`, 2 and 4 times as many channels, two of them halving the picture; a dense layer."""
    layers: list[nn.Module] = []
    for i in range(3):
        out = width * 2**i
        # Pooled before it is normalised: as good, and a quarter of the work.
        pool = [nn.MaxPool2d(2)] if i < 2 else []
        layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), *pool, BatchNorm(out), nn.ReLU()]
        channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


@contextlib.contextmanager
def kept_statistics(model: nn.Module) -> Iterator[None]:
    """Within the block batch normalisation uses the statistics of its batch, but its running averages stay."""
    norms = [m for m in model.modules() if isinstance(m, BatchNorm)]
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.momentum = 0.0
    try:
        yield
    finally:
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum


@dataclass
class Nets:
    """The network that learns, and the average of its weights."""

    model: nn.Module
    average: EMA


class Pictures:
    """What the steps of a seed see: the same labelled and unlabelled pictures, changed alike, for every method."""

    def __init__(self, cfg: "Config", run: Run, d: Images, known: Tensor, unlabelled: Tensor) -> None:
        self.cfg, self.run, self.d, self.known, self.unlabelled = cfg, run, d, known, unlabelled
        self._labelled = Batches(len(known), cfg.batch, run.seed("labelled order"))
        self._others = Batches(len(unlabelled), cfg.batch, run.seed("unlabelled order"))

    def examples(self, i: int) -> tuple[Tensor, Tensor]:
        """Pictures [b, c, h, w] of step i, weakly changed, and their labels [b, c] as distributions."""
        rows = self.known[self._labelled.at(i).to(self.known.device)]
        return self._weak(unit(self.d.x[rows]), "labelled", i), one_hot(self.d.y[rows], self.d.classes)

    def hidden(self, i: int) -> Tensor:
        """The labels [b] of step i's unlabelled pictures: for measures alone, no method sees them."""
        return self.d.y[self._rows(i)]

    def views(self, i: int, count: int) -> Tensor:
        """The unlabelled pictures of step i, each weakly changed `count` times: [count, b, c, h, w]."""
        x = unit(self.d.x[self._rows(i)])
        return torch.stack([self._weak(x, f"view {k}", i) for k in range(count)])

    def strong(self, i: int) -> Tensor:
        """The unlabelled pictures of step i, turned, sheared, enlarged, moved, and with a square cut out."""
        x, side = unit(self.d.x[self._rows(i)]), self.d.shape[-1]
        x = affine(self._weak(x, "strong", i), self.run.rng("affine", i), 30, side / 8, (0.8, 1.2), 20)
        return cutout(x, self.run.rng("cutout", i), side // 3)

    def _rows(self, i: int) -> Tensor:
        return self.unlabelled[self._others.at(i).to(self.unlabelled.device)]

    def _weak(self, x: Tensor, what: str, i: int) -> Tensor:
        if self.cfg.mirrored:
            x = flip(x, self.run.rng(f"flip {what}", i))
        return shift(x, self.run.rng(f"shift {what}", i), self.d.shape[-1] // 8)


def loss_of(cfg: "Config", run: Run, p: Pictures, nets: Nets, i: int) -> dict[str, Tensor]:
    """The loss of step i by the variant's method; with unlabelled pictures also the share of them whose guess is wrong.

    Labelled and unlabelled pictures go through the network in one batch, so that its statistics are of both.
    """
    x, y = p.examples(i)
    weight = cfg.weight * ramp(i, cfg.rise)
    if cfg.method == "labels-only":
        mixing = draw_mixing(len(x), cfg.alpha, run.rng("mix", i))
        return {"train/loss": cross_entropy(nets.model(mix(x, *mixing)), mix(y, *mixing))}
    if cfg.method == "mixmatch":
        return mixmatch(cfg, run, p, nets, i, weight)
    seen = p.views(i, 2 if cfg.method == "mean-teacher" else 1)
    pictures = [x, seen[0], *([p.strong(i)] if cfg.method == "fixmatch" else [])]
    known, weak, *strong = nets.model(torch.cat(pictures)).split([len(part) for part in pictures])
    if cfg.method == "mean-teacher":
        with torch.no_grad():
            guess = functional.softmax(nets.average.model(seen[1]).float(), dim=-1)
        extra = squared_error(weak, guess)
    else:
        guess = weak.detach()
        extra = pseudo_label_loss(strong[0] if strong else weak, weak, cfg.threshold)
    return {"train/loss": cross_entropy(known, y) + weight * extra, "train/guess-error": wrong(guess, p.hidden(i))}


def mixmatch(cfg: "Config", run: Run, p: Pictures, nets: Nets, i: int, weight: float) -> dict[str, Tensor]:
    """MixMatch's loss of step i (algorithm 1 and eqs. 2 to 5)."""
    (x, y), views = p.examples(i), p.views(i, cfg.views)
    with torch.no_grad(), kept_statistics(nets.model):
        guesses = guess_labels(nets.model(views.flatten(0, 1)).unflatten(0, views.shape[:2]), cfg.temperature)
    mixing = draw_mixing(len(x) + views.shape[0] * views.shape[1], cfg.alpha, run.rng("mix", i))
    inputs, targets = mixmatch_batch(x, y, views, guesses, *mixing)
    loss = mixmatch_loss(nets.model(inputs), targets, len(x), weight)
    return {"train/loss": loss, "train/guess-error": wrong(guesses, p.hidden(i))}


def wrong(guesses: Tensor, labels: Tensor) -> Tensor:
    """The share of guesses [n, c] whose largest entry is not at labels [n]."""
    return (guesses.argmax(-1) != labels).float().mean()
