"""The trainings of a seed, each done once for all variants: the base, and the networks tuned from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from etudes.core import Run
from etudes.studies.adapt.graph_task_vectors.materials import Examples
from etudes.studies.adapt.graph_task_vectors.networks import Reader
from etudes.train import Adam, adam, descend, fit, weights
from etudes.train.arithmetic import put


@dataclass(frozen=True)
class Lesson:
    """What a network is tuned on: tasks, the graph that they are looked at in, and a group of the rows."""

    tasks: tuple[str, ...]
    graph: str = ""  # another graph than the task's own, of the same rows
    group: str = ""  # of the rows; "": all of them
    least: int = 0  # classes below this are left out
    up: bool = False  # whether the loss is climbed, not descended

    def part(self, name: str) -> str:
        return f"{name}-{self.group}" if self.group else name


def lesson_rows(examples: Examples, lesson: Lesson, task: str) -> tuple[Tensor, Tensor]:
    """Rows and classes that a lesson has of a task."""
    rows, y = examples.rows(task, lesson.part("train"))
    kept = y >= lesson.least
    return rows[kept], y[kept]


def learn_base(own: Run, recipe: Adam, net: Reader, examples: Examples, share: float, whole: Sequence[str]) -> None:
    """All tasks at once, every graph whole in every step: the sum of the tasks' losses, each of a share of its rows to
    learn from, or of all where the task is one of `whole`."""
    opt, schedule = adam(net.body, recipe)
    views = {graph: examples.view(graph, "train") for graph in dict.fromkeys(examples.tasks.values())}
    rows = {}
    for i, task in enumerate(examples.tasks):
        found, y = examples.rows(task, "train")
        count = len(found) if task in whole else max(1, round(share * len(found)))
        chosen = torch.from_numpy(own.rng("base", i).permutation(len(found))[:count])
        rows[task] = (found[chosen], y[chosen])

    def step(i: int) -> dict[str, Tensor]:
        logits = {graph: net(view) for graph, view in views.items()}
        losses = [
            cross_entropy(net.of_task(logits[graph][rows[task][0]], task), rows[task][1])
            for task, graph in examples.tasks.items()
        ]
        return {"train/loss": descend(torch.stack(losses).sum(), opt, schedule)}

    _learn(own, recipe, net, step, {"opt": opt, "schedule": schedule})


def tune(own: Run, recipe: Adam, net: Reader, base: dict[str, Tensor], examples: Examples, lesson: Lesson) -> None:
    """One lesson, from the base's weights: its body alone learns, from all rows in every step. Climbing stops where
    the loss is four times that of guessing, beyond which it would only grow."""
    put(net.body, base)
    opt, schedule = adam(net.body, recipe)
    view = examples.view(lesson.graph or examples.tasks[lesson.tasks[0]], "train")
    rows = {task: lesson_rows(examples, lesson, task) for task in lesson.tasks}

    def step(i: int) -> dict[str, Tensor]:
        logits = net(view)
        losses = []
        for task, (chosen, y) in rows.items():
            loss = cross_entropy(net.of_task(logits[chosen], task), y)
            limit = 4 * math.log(examples.classes[task])
            losses.append(-loss.clamp(max=limit) if lesson.up else loss)
        return {"train/loss": descend(torch.stack(losses).sum(), opt, schedule)}

    _learn(own, recipe, net, step, {"opt": opt, "schedule": schedule})


def _learn(own: Run, recipe: Adam, net: Reader, step, parts: dict) -> None:
    fit(own, {"model": net.body} | parts, step, recipe.steps, log_every=recipe.log_every)
    weights.save(own.path("model.safetensors"), net.body)
    own.result(**{"train/loss": own.logged("train/loss")[-1]})
