"""What a network with some weights gets right: each task, digits in noise, of a new speaker, and forgotten ones."""

from collections.abc import Sequence

import torch
from torch import Tensor

from etudes.measure.error import evaluation_mode
from etudes.studies.adapt.audio_task_vectors.examples import KINDS, TASKS, Examples
from etudes.studies.adapt.audio_task_vectors.networks import Listener, of_task

HIGH = 5  # the digits from here on are those that are to be forgotten
CONTROL = tuple(task for task in TASKS if task != "digits")  # beside the low digits


def logits(net: Listener, x: Tensor, batch: int = 250) -> Tensor:
    """Logits [n, classes of all tasks] of pictures [n, 1, bands, frames], on the CPU."""
    device = next(net.parameters()).device
    with evaluation_mode(net):
        return torch.cat([net(part.float().to(device)).float().cpu() for part in x.split(batch)])


def right(scores: Tensor, y: Tensor) -> float:
    """The share of rows whose highest score [n, classes] is that of their class [n]."""
    return (scores.argmax(1) == y).double().mean().item()


def accuracies(net: Listener, examples: Examples, part: str, tasks: Sequence[str] = TASKS) -> dict[str, float]:
    """Of the tasks the share of a part's recordings whose class is found; a sound's windows are heard together. Beside
    them `low`, `high` (the digits below 5 and from 5 on) and `among`: the high digits if no others are allowed."""
    found = {}
    for kind in dict.fromkeys(KINDS[task] for task in tasks):
        rows = examples.rows[kind][part]
        of_all = logits(net, examples.x[kind][rows])
        for task in (task for task in tasks if KINDS[task] == kind):
            scores, y = of_task(of_all, task), examples.y[task][rows]
            if kind == "sounds":
                scores, y = by_recording(scores, y, examples.clips[rows])
            found[task] = right(scores, y)
            if task == "digits":
                high = y >= HIGH
                found["high"], found["low"] = right(scores[high], y[high]), right(scores[~high], y[~high])
                found["among"] = right(scores[high][:, HIGH:], y[high] - HIGH)
    return found


def by_recording(scores: Tensor, y: Tensor, clips: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of log probabilities over the windows of each recording, and its class."""
    names, place = clips.unique(return_inverse=True)
    total = torch.zeros(len(names), scores.shape[1]).index_add(0, place, scores.log_softmax(1))
    classes = torch.zeros(len(names), dtype=y.dtype)
    classes[place] = y
    return total, classes


def digits(net: Listener, examples: Examples, kind: str, part: str) -> float:
    """The share of digits found among clean ("digits") or noisy ("noisy") recordings of a part."""
    x, y = examples.of(kind, "digits", part)
    return right(of_task(logits(net, x), "digits"), y)


def control(found: dict[str, float]) -> float:
    """The mean accuracy of what is not to be forgotten: the low digits, and every other task."""
    return (found["low"] + sum(found[task] for task in CONTROL)) / (1 + len(CONTROL))


def chance(examples: Examples, part: str = "test") -> dict[str, float]:
    """The accuracy of always saying the most frequent class of a task."""
    rows = {task: examples.rows[kind][part] for task, kind in KINDS.items()}
    return {task: examples.y[task][rows[task]].bincount().max().item() / len(rows[task]) for task in TASKS}
