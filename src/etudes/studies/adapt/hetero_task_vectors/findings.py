"""What is measured of vectors in a network: what it forgets, what it learns, and what it was never taught."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from etudes.core import Run
from etudes.data.domains import Part
from etudes.data.images import unit
from etudes.studies.adapt.hetero_task_vectors.idea import best, combine, largest_forgetting, route, ties, trim
from etudes.studies.adapt.hetero_task_vectors.materials import Materials
from etudes.studies.adapt.hetero_task_vectors.networks import Kind, Networks
from etudes.train.arithmetic import cosine, plus, put, state

Vectors = Mapping[str, Mapping[str, Tensor]]  # a vector a task
ADDITION = ("other", "fresh")
ANALOGY = ("fresh first", "known first", "known second")  # b, a and c; d is "fresh second"
SIGNS = (1, -1, 1)
FORGETTING = (0.5, 1.0, 1.5, 2.0, 3.0)  # coefficients that are tried
CLIMBING = (0.05, 0.1, 0.2, 0.4, 0.7)  # of the vector of climbing
LEARNING = (0.5, 0.75, 1.0, 1.25)
SMALL = (0.2, 0.4, 0.6, 0.8)
FLOOR = 0.95  # of the control accuracy that forgetting has to keep
ROUTED = 256  # training pictures of a task whose mean is its centre


class Bench:
    """One network whose trunk is exchanged: tokens of pictures are worked out once."""

    def __init__(self, model: Networks, kind: Kind, m: Materials) -> None:
        self.model, self.kind, self.m = model.eval(), kind, m
        self.trunk = copy.deepcopy(model.trunk).eval()
        self.base = state(model.trunk)
        self._sets: dict[tuple[str, str], tuple[Tensor, Tensor, str]] = {}

    @torch.no_grad()
    def tokens(self, task: str, part: Part) -> tuple[Tensor, Tensor, str]:
        """Tokens [n, tokens, width] of a task's pictures, their labels [n], and the head."""
        if (task, part) not in self._sets:
            x, y, head = self.m.of(task, part)
            tokens = torch.cat([self.model.tokens(self.kind, unit(some)) for some in x.split(100)])
            self._sets[task, part] = tokens, y, head
        return self._sets[task, part]

    @torch.no_grad()
    def features(self, weights: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
        """The features [n, width] that a trunk of these weights makes of tokens [n, tokens, width]."""
        put(self.trunk, weights)
        return torch.cat([self.trunk(some).float() for some in tokens.split(250)])

    @torch.no_grad()
    def right(self, weights: Mapping[str, Tensor], task: str, part: Part) -> Tensor:
        """Which pictures [n] of a task are given their class with these weights of the trunk."""
        tokens, y, head = self.tokens(task, part)
        return self.model.heads[head](self.features(weights, tokens)).argmax(1) == y

    def accuracy(self, weights: Mapping[str, Tensor], task: str, part: Part = "test") -> float:
        return self.right(weights, task, part).double().mean().item()

    def mean(self, weights: Mapping[str, Tensor], tasks: Sequence[str], part: Part = "test") -> float:
        return sum(self.accuracy(weights, task, part) for task in tasks) / len(tasks)


def before(b: Bench) -> dict[str, float]:
    """The numbers of the base, which no vector has changed."""
    return {
        "target-before": b.accuracy(b.base, "other"),
        "control-before": b.accuracy(b.base, "known"),
        "added-before": b.mean(b.base, ADDITION),
        "analogy-before": b.accuracy(b.base, "fresh second"),
    }


def negation(b: Bench, v: Mapping[str, Tensor], coefficients: Sequence[float] = FORGETTING) -> dict[str, float]:
    """Accuracy on the target (the second set) and on the control (the known domains) with the vector negated."""

    def at(c: float) -> dict[str, Tensor]:
        return combine(b.base, [v], [-1], c)

    floor = FLOOR * b.accuracy(b.base, "known", "validation")
    c = largest_forgetting(
        coefficients,
        lambda c: b.accuracy(at(c), "other", "validation"),
        lambda c: b.accuracy(at(c), "known", "validation"),
        floor,
    )
    return {
        "target": b.accuracy(at(c), "other"),
        "control": b.accuracy(at(c), "known"),
        "negation-coefficient": c,
    }


def addition(b: Bench, vectors: Vectors) -> dict[str, float]:
    """Mean accuracy on two tasks with both vectors added, and what the known domains keep."""

    def at(c: float) -> dict[str, Tensor]:
        return combine(b.base, [vectors[task] for task in ADDITION], [1, 1], c)

    c = best(LEARNING, lambda c: b.mean(at(c), ADDITION, "validation"))
    return {"added": b.mean(at(c), ADDITION), "kept": b.accuracy(at(c), "known"), "addition-coefficient": c}


def merging(b: Bench, vectors: Vectors, share: float) -> dict[str, float]:
    """What two specialists reach, each on its own task, and two other ways to merge them: their average, and TIES."""
    one = ties([vectors[task] for task in ADDITION], share)
    c = best(LEARNING, lambda c: b.mean(combine(b.base, [one], [1], 2 * c), ADDITION, "validation"))
    specialists = [b.accuracy(plus(b.base, vectors[task]), task) for task in ADDITION]
    average = combine(b.base, [vectors[task] for task in ADDITION], [1, 1], 0.5)
    return {
        "specialists": sum(specialists) / len(specialists),
        "added-average": b.mean(average, ADDITION),
        "added-ties": b.mean(combine(b.base, [one], [1], 2 * c), ADDITION),
        "cosine-tasks": abs(cosine(vectors["other"], vectors["fresh"])),
    }


def analogy(b: Bench, vectors: Vectors) -> dict[str, float]:
    """Accuracy on the second classes in the fresh domain, of which no labels were learnt: by the analogy, and by that
    vector of its parts alone which is of the same classes."""
    target = "fresh second"

    def chosen(parts: Sequence[str], signs: Sequence[int]) -> tuple[float, float]:
        def at(c: float) -> dict[str, Tensor]:
            return combine(b.base, [vectors[part] for part in parts], signs, c)

        c = best(SMALL, lambda c: b.accuracy(at(c), target, "validation"))
        return b.accuracy(at(c), target), c

    found, c = chosen(ANALOGY, SIGNS)
    alone = chosen(("known second",), (1,))[0]
    return {"analogy": found, "analogy-coefficient": c, "analogy-part": alone}


def modules(b: Bench, vectors: Vectors, share: float) -> dict[str, float]:
    """The numbers of addition where a router gives each picture one module: a task's vector, or none.

    The router compares the features that the base makes of a picture with the mean of each task's training pictures.
    It is told no task. A module is the largest `share` of a vector's numbers.
    """
    weights = [plus(b.base, trim(vectors[task], share)) for task in ADDITION] + [b.base]
    tasks = (*ADDITION, "known")
    few = {task: b.m.of(task, "train")[0][:ROUTED] for task in tasks}
    with torch.no_grad():
        tokens = {task: b.model.tokens(b.kind, unit(x)) for task, x in few.items()}
    centres = torch.stack([b.features(b.base, tokens[task]).mean(0) for task in tasks])
    accuracy, routed = {}, {}
    for place, task in enumerate(tasks):
        module = route(b.features(b.base, b.tokens(task, "test")[0]), centres)
        right = torch.stack([b.right(w, task, "test") for w in weights])
        accuracy[task] = right.gather(0, module[None])[0].double().mean().item()
        routed[task] = (module == place).double().mean().item()
    return {
        "added": sum(accuracy[task] for task in ADDITION) / len(ADDITION),
        "kept": accuracy["known"],
        "routed-right": sum(routed.values()) / len(routed),
    }


def report(run: Run, numbers: Mapping[Kind, Mapping[str, float]]) -> None:
    """The numbers of each network, and under the plain names their means over both networks."""
    names = next(iter(numbers.values()))
    for name in names:
        split = "train" if "cosine" in name else "validation" if "coefficient" in name else "test"
        values = {kind: found[name] for kind, found in numbers.items()}
        run.result(**{f"{split}/{name}-{kind}": value for kind, value in values.items()})
        if len(values) > 1:
            run.result(**{f"{split}/{name}": sum(values.values()) / len(values)})
