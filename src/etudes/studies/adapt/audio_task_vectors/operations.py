"""What the variants do with the base and the tuned networks; each gives the accuracies of one network."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from etudes.core import Run
from etudes.core.record import Record
from etudes.studies.adapt.audio_task_vectors import findings, idea
from etudes.studies.adapt.audio_task_vectors.examples import TASKS, Examples
from etudes.studies.adapt.audio_task_vectors.networks import Listener, network
from etudes.studies.adapt.audio_task_vectors.training import LESSONS, learn_base, lesson_examples, tune
from etudes.train import weights
from etudes.train.arithmetic import cosine, minus, plus, put, random_like, scaled, state

ADDED = ("digits", "sounds", "pitch", "family")  # the tasks whose vectors are added
MOVED = ("digits", "sounds", "pitch")  # those of them that another base is tuned on, where there are two
Weights = dict[str, Tensor]


@dataclass
class Bench:
    """A run with its examples, a network to put weights into, and what has been tuned so far."""

    run: Run
    cfg: Any
    examples: Examples
    net: Listener
    kept: dict[str, Weights] = field(default_factory=dict)

    def base(self, stream: str = "init") -> Weights:
        """The weights of the base whose first weights are drawn by the stream."""
        name = {"init": "base", "other": "other-base"}[stream]
        if name not in self.kept:
            cfg = self.cfg
            recipe = cfg.recipe(cfg.base_steps, cfg.base_batch, cfg.base_lr)
            net = network(self.run, cfg.body, cfg.width, self.first_pictures(), stream)

            def make(own: Run) -> None:
                learn_base(own, recipe, net, self.examples, cfg.share)

            self.kept[name] = self._read(self.run.once(name, cfg.base_settings() | {"stream": stream}, make))
        return self.kept[name]

    def tuned_weights(self, name: str, stream: str = "init") -> Weights:
        """The weights tuned on a lesson from the base of the stream."""
        key = name if stream == "init" else f"other-{name}"
        if key not in self.kept:
            base, cfg, lesson = self.base(stream), self.cfg, LESSONS[name]
            lr = cfg.analogy_lr if lesson.grouped else cfg.lr
            recipe = cfg.recipe(cfg.steps, cfg.batch, lr)

            def make(own: Run) -> None:
                tune(own, recipe, self.net, base, *lesson_examples(self.examples, lesson), lesson)

            self.kept[key] = self._read(
                self.run.once(f"tuned-{key}", cfg.base_settings() | cfg.tuning() | {"lr": lr}, make)
            )
        return self.kept[key]

    def vector(self, name: str, stream: str = "init") -> Weights:
        """The task vector of a lesson: what tuning changed."""
        return minus(self.tuned_weights(name, stream), self.base(stream))

    def first_pictures(self) -> Tensor:
        """Pictures whose mean and deviation the small body standardises by: spoken digits to learn from."""
        return self.examples.part("digits", "train")[0]

    def scores(self, weights_: Weights, part: str, tasks: Sequence[str] = TASKS) -> dict[str, float]:
        """The accuracies of the network with these weights."""
        put(self.net.body, weights_)
        return findings.accuracies(self.net, self.examples, part, tasks)

    def digits(self, weights_: Weights, kind: str, part: str) -> float:
        put(self.net.body, weights_)
        return findings.digits(self.net, self.examples, kind, part)

    def random(self, vector: Weights, stream: str) -> Weights:
        """A random vector, each tensor as long as the vector's."""
        return random_like(vector, torch.Generator().manual_seed(self.run.seed(stream)))

    def _read(self, record: Record) -> Weights:
        weights.load(record.folder / "model.safetensors", self.net.body)
        return state(self.net.body)


def kept_share(found: dict[str, float], own: dict[str, float], tasks: Sequence[str]) -> float:
    """The mean over tasks of the accuracy, as a share of what the network tuned on the task alone has."""
    return sum(found[task] / max(own[task], 1e-9) for task in tasks) / len(tasks)


def own_scores(bench: Bench, part: str) -> dict[str, float]:
    """The accuracy of each task by the network that is tuned on it alone."""
    return {task: bench.scores(bench.tuned_weights(task), part, [task])[task] for task in ADDED}


def cosines(bench: Bench) -> dict[str, float]:
    """The mean size of the cosines between the vectors of different tasks, and the cosine between those of one task,
    the digits, learnt from different speakers."""
    pairs = [cosine(bench.vector(a), bench.vector(b)) for a, b in itertools.combinations(ADDED, 2)]
    same = cosine(bench.vector("clean-first"), bench.vector("clean-second"))
    return {"train/cosine": sum(map(abs, pairs)) / len(pairs), "train/cosine-same": same}


# Addition


def best_sum(bench: Bench, make: Callable[[float], Weights]) -> tuple[Weights, float]:
    """make(coefficient) with the coefficient that keeps most on validation recordings, and that coefficient."""
    own = own_scores(bench, "validation")
    chosen = idea.best_scaling(
        bench.cfg.scalings, lambda c: kept_share(bench.scores(make(c), "validation", ADDED), own, ADDED)
    )
    return make(chosen), chosen


def plain_sum(bench: Bench) -> tuple[Weights, float]:
    vectors = [bench.vector(task) for task in ADDED]
    return best_sum(bench, lambda c: idea.add(bench.base(), vectors, c))


def random_sum(bench: Bench) -> tuple[Weights, float]:
    """Random vectors of the same lengths, at the coefficient of the plain sum."""
    vectors = [bench.random(bench.vector(task), f"random {task}") for task in ADDED]
    chosen = plain_sum(bench)[1]
    return idea.add(bench.base(), vectors, chosen), chosen


def sum_of_two_bases(bench: Bench) -> tuple[Weights, float]:
    """Three of the vectors come from a network whose first weights were others, as was then its base."""
    vectors = [bench.vector(task, "other" if task in MOVED else "init") for task in ADDED]
    return best_sum(bench, lambda c: idea.add(bench.base(), vectors, c))


def sum_by_ties(bench: Bench) -> tuple[Weights, float]:
    vector = idea.trimmed_sum([bench.vector(task) for task in ADDED])
    return best_sum(bench, lambda c: idea.add(bench.base(), [vector], c * bench.cfg.trimmed_factor))


# Negation


def negation(bench: Bench) -> tuple[Weights, float]:
    """The high digits are negated, as far as the control allows on validation recordings."""
    vector = bench.vector("high")

    def on_validation(coefficient: float) -> float:
        return findings.control(bench.scores(idea.negate(bench.base(), vector, coefficient), "validation"))

    chosen = idea.largest_scaling(bench.cfg.scalings, on_validation, bench.cfg.reserve)
    return idea.negate(bench.base(), vector, chosen), chosen


def negated_random(bench: Bench) -> tuple[Weights, float]:
    chosen = negation(bench)[1]
    return idea.negate(bench.base(), bench.random(bench.vector("high"), "random high"), chosen), chosen


def ascent(bench: Bench) -> tuple[Weights, float]:
    return bench.tuned_weights("ascent"), 1.0


# Analogy: clean to noisy is learnt from the first speakers, and carried to the second


def best_analogy(bench: Bench, make: Callable[[float], Weights]) -> tuple[Weights, float]:
    """make(coefficient) with the coefficient that is best on validation recordings of noise by the first speakers and
    of clean digits by the second: noise by the second is never heard."""

    def on_validation(coefficient: float) -> float:
        weights_ = make(coefficient)
        places = (("noisy", "validation-first"), ("digits", "validation-second"))
        return sum(bench.digits(weights_, *place) for place in places)

    chosen = idea.best_scaling(bench.cfg.scalings, on_validation)
    return make(chosen), chosen


def analogy(bench: Bench) -> tuple[Weights, float]:
    a, b, c = (bench.tuned_weights(name) for name in ("clean-first", "noisy-first", "clean-second"))
    return best_analogy(bench, lambda coefficient: idea.analogy(c, b, a, coefficient))


def analogy_from_base(bench: Bench) -> tuple[Weights, float]:
    """What noise changes, given to the base in place of the network of the second speakers."""
    a, b = bench.tuned_weights("clean-first"), bench.tuned_weights("noisy-first")
    return best_analogy(bench, lambda coefficient: idea.analogy(bench.base(), b, a, coefficient))


def analogy_random(bench: Bench) -> tuple[Weights, float]:
    difference = minus(bench.tuned_weights("noisy-first"), bench.tuned_weights("clean-first"))
    chosen = analogy(bench)[1]
    moved = scaled(bench.random(difference, "random noise"), chosen)
    return plus(bench.tuned_weights("clean-second"), moved), chosen


OPERATIONS: dict[str, Callable[[Bench], tuple[Weights, float]]] = {
    "base": lambda bench: (bench.base(), 0.0),
    "sum": plain_sum,
    "sum-random": random_sum,
    "sum-two-bases": sum_of_two_bases,
    "sum-trimmed": sum_by_ties,
    "negated": negation,
    "negated-random": negated_random,
    "ascent": ascent,
    "analogy": analogy,
    "analogy-base": analogy_from_base,
    "analogy-random": analogy_random,
    "clean-second": lambda bench: (bench.tuned_weights("clean-second"), 0.0),
    "noisy-first": lambda bench: (bench.tuned_weights("noisy-first"), 0.0),
}
