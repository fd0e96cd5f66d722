"""The trainings of a seed, each done once for all variants: the base, and the networks tuned from it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from etudes.core import Run
from etudes.data.batches import Batches
from etudes.studies.adapt.audio_task_vectors.examples import KINDS, TASKS, Examples
from etudes.studies.adapt.audio_task_vectors.networks import Listener, of_task
from etudes.train import Adam, adam, descend, fit, weights
from etudes.train.arithmetic import put


@dataclass(frozen=True)
class Lesson:
    """What a network is tuned on: recordings of a kind, a part of them, and a task."""

    task: str
    kind: str
    part: str = "train"
    least: int = 0  # classes below this are left out
    up: bool = False  # whether the loss is climbed, not descended
    grouped: bool = False  # whether it is of a group of speakers, for the analogy


LESSONS = {task: Lesson(task, KINDS[task]) for task in TASKS} | {
    "high": Lesson("digits", "digits", least=5),
    "ascent": Lesson("digits", "digits", least=5, up=True),
    "clean-first": Lesson("digits", "digits", "train-first", grouped=True),
    "noisy-first": Lesson("digits", "noisy", "train-first", grouped=True),
    "clean-second": Lesson("digits", "digits", "train-second", grouped=True),
}


def lesson_examples(examples: Examples, lesson: Lesson) -> tuple[Tensor, Tensor]:
    """Pictures and classes of a lesson."""
    x, y = examples.of(lesson.kind, lesson.task, lesson.part)
    kept = y >= lesson.least
    return x[kept], y[kept]


def learn_base(own: Run, recipe: Adam, net: Listener, examples: Examples, share: float) -> None:
    """All tasks at once, from a share of their training recordings: the sum of their losses, a batch of each kind. Of
    spoken digits it hears the first speakers alone."""
    kinds = dict.fromkeys(KINDS.values())
    rows = {kind: examples.subset(kind, share, own.rng("base", i)) for i, kind in enumerate(kinds)}
    batches = {kind: Batches(len(rows[kind]), recipe.batch, own.seed("order", i)) for i, kind in enumerate(kinds)}
    opt, schedule = adam(net.body, recipe)

    def step(i: int) -> dict[str, Tensor]:
        chosen = {kind: rows[kind][batches[kind].at(i)] for kind in kinds}
        x = torch.cat([examples.x[kind][chosen[kind]].float() for kind in kinds]).to(own.device)
        logits = dict(zip(kinds, net(x).split(recipe.batch), strict=True))
        losses = [
            cross_entropy(of_task(logits[kind], task), examples.y[task][chosen[kind]].to(own.device))
            for task, kind in KINDS.items()
        ]
        return {"train/loss": descend(torch.stack(losses).sum(), opt, schedule)}

    _learn(own, recipe, net, step, {"opt": opt, "schedule": schedule})


def tune(own: Run, recipe: Adam, net: Listener, base: dict[str, Tensor], x: Tensor, y: Tensor, lesson: Lesson) -> None:
    """One lesson, from the base's weights: its body alone learns. Climbing stops where the loss is four times that of
    guessing, beyond which it would only grow."""
    put(net.body, base)
    opt, schedule = adam(net.body, recipe)
    batches = Batches(len(x), recipe.batch, own.seed("order"))
    limit = 4 * torch.tensor(10.0).log().item()

    def step(i: int) -> dict[str, Tensor]:
        rows = batches.at(i)
        loss = cross_entropy(of_task(net(x[rows].to(own.device)), lesson.task), y[rows].to(own.device))
        if lesson.up:
            loss = -loss.clamp(max=limit)
        return {"train/loss": descend(loss, opt, schedule)}

    _learn(own, recipe, net, step, {"opt": opt, "schedule": schedule})


def _learn(own: Run, recipe: Adam, net: Listener, step, parts: dict) -> None:
    fit(own, {"model": net.body} | parts, step, recipe.steps, log_every=recipe.log_every)
    weights.save(own.path("model.safetensors"), net.body)
    own.result(**{"train/loss": own.logged("train/loss")[-1]})
