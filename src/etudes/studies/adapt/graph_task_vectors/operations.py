"""What the variants do with the base and the tuned networks; each gives the weights of one network, and how far it went
along its vectors."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from etudes.core import Run
from etudes.core.record import Record
from etudes.studies.adapt.graph_task_vectors import findings
from etudes.studies.adapt.graph_task_vectors.aims import Aims
from etudes.studies.adapt.graph_task_vectors.idea import edit, part_of
from etudes.studies.adapt.graph_task_vectors.materials import Examples
from etudes.studies.adapt.graph_task_vectors.networks import WORDS, Reader, network
from etudes.studies.adapt.graph_task_vectors.training import learn_base, tune
from etudes.train import weights
from etudes.train.arithmetic import cosine, minus, put, random_like, state
from etudes.train.scalings import best_scaling, largest_scaling

Weights = dict[str, Tensor]


@dataclass
class Bench:
    """A run with its examples, a network to put weights into, and what has been tuned so far."""

    run: Run
    cfg: Any
    examples: Examples
    aims: Aims
    net: Reader
    kept: dict[str, Weights] = field(default_factory=dict)

    def base(self, stream: str = "init") -> Weights:
        """The weights of the base whose first weights are drawn by the stream."""
        name = {"init": "base", "other": "other-base"}[stream]
        if name not in self.kept:
            cfg = self.cfg
            net = network(self.run, cfg, self.examples, stream)

            def make(own: Run) -> None:
                recipe = cfg.recipe(cfg.base_steps, cfg.base_lr)
                learn_base(own, recipe, net, self.examples, cfg.share, self.aims.beside)

            self.kept[name] = self._read(self.run.once(name, cfg.base_settings() | {"stream": stream}, make))
        return self.kept[name]

    def tuned_weights(self, name: str, stream: str = "init") -> Weights:
        """The weights tuned on a lesson from the base of the stream."""
        key = name if stream == "init" else f"other-{name}"
        if key not in self.kept:
            base, cfg, lesson = self.base(stream), self.cfg, self.aims.lessons[name]

            lr = cfg.analogy_lr if name.startswith("corner") else cfg.lr

            def make(own: Run) -> None:
                tune(own, cfg.recipe(cfg.steps, lr), self.net, base, self.examples, lesson)

            settings = cfg.base_settings() | {"steps": cfg.steps, "lr": lr}
            self.kept[key] = self._read(self.run.once(f"tuned-{key}", settings, make))
        return self.kept[key]

    def vector(self, name: str, stream: str = "init") -> Weights:
        """The task vector of a lesson: what tuning changed."""
        return minus(self.tuned_weights(name, stream), self.base(stream))

    def scores(self, weights_: Weights, part: str, tasks: Sequence[str] = ()) -> dict[str, float]:
        """The macro-F1 of tasks, or of all, by the network with these weights."""
        put(self.net.body, weights_)
        tasks = tasks or tuple(self.examples.tasks)
        return findings.scores(self.net, self.examples, part, tasks, self.aims.high(self.examples))

    def corner(self, weights_: Weights, letter: str, part: str) -> float:
        """The mean macro-F1 over a corner of the analogy, A to D, by the network with these weights."""
        put(self.net.body, weights_)
        return findings.corner(self.net, self.examples, self.aims.corners[letter], part)

    def random(self, vector: Weights, stream: str) -> Weights:
        """A random vector, each tensor as long as the vector's."""
        return random_like(vector, torch.Generator().manual_seed(self.run.seed(stream)))

    def _read(self, record: Record) -> Weights:
        weights.load(record.folder / "model.safetensors", self.net.body)
        return state(self.net.body)


def kept_share(found: dict[str, float], own: dict[str, float], tasks: Sequence[str]) -> float:
    """The mean over tasks of the macro-F1, as a share of what the network tuned on the task alone has."""
    return sum(found[task] / max(own[task], 1e-9) for task in tasks) / len(tasks)


def summary(aims: Aims, found: dict[str, float], own: dict[str, float]) -> dict[str, float]:
    """The shares kept of what each network has on its own task, mean and least, and the mean of the tasks that are
    moved to another base where there are two."""
    return {
        "test/kept": kept_share(found, own, aims.added),
        "test/kept-least": min(kept_share(found, own, [task]) for task in aims.added),
        "test/moved": sum(found[task] for task in aims.foreign_tasks) / len(aims.foreign_tasks),
    }


def own_scores(bench: Bench, part: str) -> dict[str, float]:
    """The macro-F1 of each added task by the network that is tuned on it alone."""
    return {task: bench.scores(bench.tuned_weights(task), part, [task])[task] for task in bench.aims.added}


def mean_cosine(bench: Bench) -> float:
    """The mean size of the cosines between the vectors of different tasks."""
    pairs = [cosine(bench.vector(a), bench.vector(b)) for a, b in itertools.combinations(bench.aims.added, 2)]
    return sum(map(abs, pairs)) / len(pairs)


# Addition


def best_sum(bench: Bench, vectors: Sequence[Weights]) -> tuple[Weights, float]:
    """The base plus c times the vectors, with the c that keeps most on validation rows, and that c."""
    own, tasks = own_scores(bench, "validation"), bench.aims.added

    def make(c: float) -> Weights:
        return edit(bench.base(), vectors, [c] * len(vectors))

    chosen = best_scaling(
        bench.cfg.scalings, lambda c: kept_share(bench.scores(make(c), "validation", tasks), own, tasks)
    )
    return make(chosen), chosen


def plain_sum(bench: Bench) -> tuple[Weights, float]:
    return best_sum(bench, [bench.vector(task) for task in bench.aims.added])


def sum_of_words(bench: Bench, inside: bool = True) -> tuple[Weights, float]:
    """Of every vector only what it changes in the table of words; or, without `inside`, only in the graph's layers."""
    return best_sum(bench, [part_of(bench.vector(task), WORDS, inside) for task in bench.aims.added])


def random_sum(bench: Bench) -> tuple[Weights, float]:
    """Random vectors of the same lengths, at the coefficient of the plain sum."""
    vectors = [bench.random(bench.vector(task), f"random {task}") for task in bench.aims.added]
    chosen = plain_sum(bench)[1]
    return edit(bench.base(), vectors, [chosen] * len(vectors)), chosen


def sum_of_two_bases(bench: Bench) -> tuple[Weights, float]:
    """All vectors but one come from a network whose first weights were others, as was then its base."""
    foreign = bench.aims.foreign_tasks
    return best_sum(bench, [bench.vector(task, "other" if task in foreign else "init") for task in bench.aims.added])


# Negation


def negation(bench: Bench) -> tuple[Weights, float]:
    """The vector of what is to be forgotten is negated, as far as the control allows on validation rows."""
    vector = bench.vector("forgotten")

    def on_validation(c: float) -> float:
        return bench.aims.control(bench.scores(edit(bench.base(), [vector], [-c]), "validation"))

    chosen = largest_scaling(bench.cfg.scalings, on_validation, bench.cfg.reserve)
    return edit(bench.base(), [vector], [-chosen]), chosen


def negated_random(bench: Bench) -> tuple[Weights, float]:
    chosen = negation(bench)[1]
    vector = bench.random(bench.vector("forgotten"), "random forgotten")
    return edit(bench.base(), [vector], [-chosen]), chosen


def ascent(bench: Bench) -> tuple[Weights, float]:
    return bench.tuned_weights("ascent"), 1.0


# Analogy: A is to B as C is to D, and D is never seen


def best_analogy(bench: Bench, start: Weights) -> tuple[Weights, float]:
    """start + c (B - A), with the c that is best on validation rows of the corners B and C: D chooses nothing."""
    b, a = bench.tuned_weights("corner-B"), bench.tuned_weights("corner-A")

    def on_validation(c: float) -> float:
        made = edit(start, [minus(b, a)], [c])
        return bench.corner(made, "B", "validation") + bench.corner(made, "C", "validation")

    chosen = best_scaling(bench.cfg.scalings, on_validation)
    return edit(start, [minus(b, a)], [chosen]), chosen


def analogy(bench: Bench) -> tuple[Weights, float]:
    return best_analogy(bench, bench.tuned_weights("corner-C"))


def analogy_random(bench: Bench) -> tuple[Weights, float]:
    difference = minus(bench.tuned_weights("corner-B"), bench.tuned_weights("corner-A"))
    chosen = analogy(bench)[1]
    return edit(bench.tuned_weights("corner-C"), [bench.random(difference, "random analogy")], [chosen]), chosen


OPERATIONS: dict[str, Callable[[Bench], tuple[Weights, float]]] = {
    "base": lambda bench: (bench.base(), 0.0),
    "sum": plain_sum,
    "sum-words": sum_of_words,
    "sum-layers": lambda bench: sum_of_words(bench, inside=False),
    "sum-random": random_sum,
    "sum-two-bases": sum_of_two_bases,
    "negated": negation,
    "negated-random": negated_random,
    "ascent": ascent,
    "analogy": analogy,
    "analogy-base": lambda bench: best_analogy(bench, bench.base()),
    "analogy-random": analogy_random,
    "corner-b": lambda bench: (bench.tuned_weights("corner-B"), 0.0),
    "corner-c": lambda bench: (bench.tuned_weights("corner-C"), 0.0),
}
