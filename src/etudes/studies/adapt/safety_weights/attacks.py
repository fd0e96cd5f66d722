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
from etudes.train import adam, descend, fit, pruning

if TYPE_CHECKING:
    from etudes.studies.adapt.safety_weights import Config

Chosen = Literal["difference", "utility", "random", "wanda", "ranks", "ranks-random"]
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
        """Of "safety" or "utility", by SNIP or by Wanda; kept, as the mask of every strength needs those of the whole
        network."""
        if kind not in self._scores:
            rows = self.rows[kind]
            self._scores[kind] = (
                idea.wanda(matrices(self.model), self.inputs(kind))
                if self.cfg.weights == "wanda"
                else idea.snip(self.model, answer_loss, rows.tokens, rows.answers)
            )
        return self._scores[kind]

    def mask(self, share: float) -> Weights:
        """The weights that are chosen where `share` of each matrix are looked at: S(q) - U(p), U(q) - S(p), or as many
        of each matrix as the former has, by chance."""
        wanted, other = ("utility", "safety") if self.cfg.weights == "utility" else ("safety", "utility")
        left_out = idea.top(self.scores(other), self.cfg.protected * share)
        found = idea.difference(idea.top(self.scores(wanted), share), left_out)
        return idea.as_many(found, self.generator("random weights")) if self.cfg.weights == "random" else found

    def directions(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Of each matrix, those in which its outputs are largest for refusals and for answers."""
        safety, utility = self.inputs("safety"), self.inputs("utility")
        own = matrices(self.model).items()
        return {name: (idea.directions(w, safety[name]), idea.directions(w, utility[name])) for name, w in own}


Step = tuple[float, float]  # how strong, and the share of the blocks' weights (or ranks) that are changed


def perturb(cfg: "Config", model: Llama, evidence: Evidence, before: Weights) -> Iterator[Step]:
    """Change the network in place, strength by strength, from what it was; `before`: the weights before alignment."""
    own = {name: w.clone() for name, w in matrices(model).items()}

    def put(new: Weights) -> None:
        for name, w in matrices(model).items():
            w.copy_(new[name])

    if cfg.attack == "noise":
        found = evidence.mask(cfg.noise_share)
        noise = idea.noise(own, found, evidence.generator("noise"))
        for level in cfg.noises:
            put({name: w + level * noise[name] for name, w in own.items()})
            yield level, pruning.share(found)
    elif cfg.attack in ("remove", "restore") and cfg.weights.startswith("ranks"):
        for rank, taken in _ranks(cfg, evidence, own):
            put({name: w - taken[name] for name, w in own.items()})
            yield rank, len(own) * rank / sum(min(w.shape) for w in own.values())
    elif cfg.attack in ("remove", "restore"):
        other = before if cfg.attack == "restore" else {name: torch.zeros_like(w) for name, w in own.items()}
        for share in cfg.shares:
            found = evidence.mask(share)
            put({name: torch.where(found[name], other[name], w) for name, w in own.items()})
            yield share, pruning.share(found)
    elif cfg.attack == "prune":
        for share in cfg.pruned:
            weakest = idea.top({name: -w.abs() for name, w in own.items()}, share)
            put({name: w.masked_fill(weakest[name], 0) for name, w in own.items()})
            yield share, pruning.share(weakest)
    elif cfg.attack == "quantise":
        for bits in cfg.bits:
            put({name: idea.quantise(w, bits) for name, w in own.items()})
            yield bits, 1.0


def _ranks(cfg: "Config", evidence: Evidence, own: Weights) -> Iterator[tuple[int, Weights]]:
    """What is to be taken from each matrix, for each number of directions."""
    found = evidence.directions()
    kept = {name: round(cfg.kept_ranks * min(w.shape)) for name, w in own.items()}
    for rank in cfg.ranks:
        taken = {name: idea.safety_ranks(w, *found[name], rank, kept[name]) for name, w in own.items()}
        if cfg.weights == "ranks-random":
            draws = evidence.generator("random ranks")
            taken = {name: idea.random_ranks(w, taken[name], rank, draws) for name, w in own.items()}
        yield rank, taken


def tune(
    cfg: "Config", run: Run, model: Llama, evidence: Evidence, lessons: Rows, look: Callable[[], dict[str, float]]
) -> float:
    """Train the network on harmless lessons alone, and look at it now and then; the share of the blocks' weights that
    are free to change: all but the chosen ones of `frozen` of each matrix."""
    masks = evidence.mask(cfg.frozen) if cfg.frozen else {}
    model.requires_grad_(True).train()
    for name, mask in masks.items():
        model.get_parameter(name).register_hook(lambda slope, free=~mask: slope * free)
    opt, schedule = adam(model, cfg.recipe(cfg.tune_steps, cfg.tune_lr))
    batches = Batches(len(lessons), cfg.batch, run.seed("order tune"))

    def step(i: int) -> dict[str, Tensor]:
        some = lessons.at(batches.at(i).to(run.device))
        loss = answer_loss(model(some.tokens[:, :-1]), some.tokens, some.answers)
        return {"train/tune-loss": descend(loss, opt, schedule, cfg.clip)}

    parts = {"model": model, "opt": opt, "schedule": schedule}
    fit(run, parts, step, cfg.tune_steps, evaluate=look, eval_every=cfg.tune_every, log_every=cfg.tune_every)
    return 1 - pruning.share(masks) if masks else 1.0
