"""What is done to an aligned network, at several strengths: weights removed, shaken, put back, rounded, or tuned."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from etudes.core import Run
from etudes.data.batches import Batches
from etudes.nn.llama import Llama
from etudes.studies.adapt.safety_weights import idea
from etudes.studies.adapt.safety_weights.idea import Weights, matrices
from etudes.studies.adapt.safety_weights.networks import Rows, Speech, rows_of
from etudes.studies.adapt.safety_weights.training import answer_loss, lessons, refusals, right
from etudes.studies.adapt.safety_weights.world import World
from etudes.train import adam, descend, fit

if TYPE_CHECKING:
    from etudes.studies.adapt.safety_weights import Config

Chosen = Literal["random", "safety", "utility", "difference", "equal", "half", "wanda", "ranks", "ranks-random"]
Attack = Literal["none", "remove", "noise", "restore", "prune", "quantise", "tune"]


class Evidence:
    """By what weights are chosen: refusals to forbidden questions and right answers to allowed ones, in the wordings
    that alignment saw and no test has."""

    def __init__(self, cfg: "Config", run: Run, model: Llama, world: World, speech: Speech) -> None:
        self.cfg, self.run, self.model = cfg, run, model
        forbidden, allowed = lessons(world)
        rng, n = run.rng("calibration"), cfg.calibration
        self.rows = {}
        for kind, dialogues in (("safety", refusals(forbidden)), ("utility", right(allowed))):
            picked = [dialogues[i] for i in rng.permutation(len(dialogues))[:n]]
            self.rows[kind] = rows_of(speech, picked).to(run.device)
        self._scores: dict[str, Weights] = {}

    def generator(self, stream: str) -> torch.Generator:
        return torch.Generator().manual_seed(self.run.seed(stream))

    def inputs(self, kind: str) -> Weights:
        """What each matrix multiplies at the tokens from which the answers of a kind are predicted."""
        rows = self.rows[kind]
        with torch.no_grad(), idea.Inputs(self.model, rows.answers) as seen:
            self.model(rows.tokens[:, :-1])
        return seen.found

    def scores(self, kind: str) -> Weights:
        """Of "safety" or "utility", kept: the mask of every strength needs them."""
        if kind not in self._scores:
            if self.cfg.weights == "wanda":
                self._scores[kind] = idea.wanda(matrices(self.model), self.inputs(kind))
            else:
                rows = self.rows[kind]
                self._scores[kind] = idea.snip(self.model, answer_loss, rows.tokens, rows.answers)
        return self._scores[kind]

    def mask(self, share: float) -> Weights:
        """The weights that are chosen where `share` of each matrix are looked at, by the way that the config names.
        What is compared by chance is as many as the difference of sets has."""
        chosen, ratio = self.cfg.weights, self.cfg.protected
        safety = idea.top(self.scores("safety"), share)
        if chosen == "safety":
            return safety
        if chosen == "half":  # as many as "safety" has, whatever they do
            return idea.as_many(safety, self.generator("random half"))
        if chosen == "utility":
            return idea.difference(
                idea.top(self.scores("utility"), share), idea.top(self.scores("safety"), ratio * share)
            )
        others = idea.top(self.scores("utility"), share * (1 if chosen == "equal" else ratio))
        difference = idea.difference(safety, others)
        return idea.as_many(difference, self.generator("random weights")) if chosen == "random" else difference

    def directions(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Of each matrix, those in which its outputs are largest for refusals and for answers."""
        safety, utility = self.inputs("safety"), self.inputs("utility")
        own = matrices(self.model).items()
        return {name: (idea.directions(w, safety[name]), idea.directions(w, utility[name])) for name, w in own}


Step = tuple[float, float]  # how strong, and the share of the blocks' weights (or ranks) that are changed


def perturb(cfg: "Config", model: Llama, evidence: Evidence, before: Weights) -> Iterator[Step]:
    """Change the network in place, strength by strength, from what it was; `before`: the weights before alignment."""
    own = {name: w.clone() for name, w in matrices(model).items()}
    total = sum(w.numel() for w in own.values())

    def put(new: Weights) -> None:
        for name, w in matrices(model).items():
            w.copy_(new[name])

    def masks(share: float) -> tuple[Weights, float]:
        put(own)
        found = evidence.mask(share)
        return found, sum(int(m.sum()) for m in found.values()) / total

    if cfg.attack == "remove" and cfg.weights.startswith("ranks"):
        found = evidence.directions()
        kept = {name: round(cfg.kept_ranks * min(w.shape)) for name, w in own.items()}
        for rank in cfg.ranks:
            taken = {name: idea.safety_ranks(w, *found[name], rank, kept[name]) for name, w in own.items()}
            if cfg.weights == "ranks-random":
                draws = evidence.generator("random ranks")
                taken = {name: idea.random_ranks(w, taken[name], rank, draws) for name, w in own.items()}
            put({name: w - taken[name] for name, w in own.items()})
            yield rank, sum(rank for _ in own) / sum(min(w.shape) for w in own.values())
    elif cfg.attack in ("remove", "restore"):
        for share in cfg.shares:
            found, changed = masks(share)
            other = before if cfg.attack == "restore" else {name: torch.zeros_like(w) for name, w in own.items()}
            put({name: torch.where(found[name], other[name], w) for name, w in own.items()})
            yield share, changed
    elif cfg.attack == "noise":
        found, changed = masks(cfg.noise_share)
        noise = idea.noise(own, found, evidence.generator("noise"))
        for level in cfg.noises:
            put({name: w + level * noise[name] for name, w in own.items()})
            yield level, changed
    elif cfg.attack == "prune":
        for share in cfg.pruned:
            weakest = idea.top({name: -w.abs() for name, w in own.items()}, share)
            put({name: w.masked_fill(weakest[name], 0) for name, w in own.items()})
            yield share, share
    elif cfg.attack == "quantise":
        for bits in cfg.bits:
            put({name: idea.quantise(w, bits) for name, w in own.items()})
            yield bits, 1.0


def tune(
    cfg: "Config", run: Run, model: Llama, evidence: Evidence, lessons: Rows, look: Callable[[], dict[str, float]]
) -> float:
    """Train the network on harmless lessons alone, and look at it now and then; the share of the blocks' weights that
    stay as they are, which are the chosen ones of `frozen` of each matrix."""
    masks = evidence.mask(cfg.frozen) if cfg.frozen else {}
    model.requires_grad_(True)
    for name, weight in model.named_parameters():
        if name in masks:
            weight.register_hook(lambda slope, free=~masks[name]: slope * free)
    opt, schedule = adam(model, cfg.recipe(cfg.tune_steps, cfg.tune_lr))
    batches = Batches(len(lessons), cfg.batch, run.seed("order tune"))

    def step(i: int) -> dict[str, Tensor]:
        some = lessons.at(batches.at(i).to(run.device))
        loss = answer_loss(model(some.tokens[:, :-1]), some.tokens, some.answers)
        return {"train/tune-loss": descend(loss, opt, schedule, cfg.clip)}

    parts = {"model": model, "opt": opt, "schedule": schedule}
    fit(run, parts, step, cfg.tune_steps, evaluate=look, eval_every=cfg.tune_every, log_every=cfg.tune_every)
    return sum(int(mask.sum()) for mask in masks.values()) / sum(w.numel() for w in matrices(model).values())
