"""What a network with some weights gets right, as macro-F1: each task, one corner of the analogy, forgotten classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from etudes.measure.error import evaluation_mode
from etudes.measure.masks import confusions, dice, mean
from etudes.studies.adapt.graph_task_vectors.materials import Examples
from etudes.studies.adapt.graph_task_vectors.networks import Reader
from etudes.studies.adapt.graph_task_vectors.training import Lesson


def macro_f1(predicted: Tensor, truth: Tensor, classes: int) -> float:
    """The mean over classes of the harmonic mean of precision and recall; of classes that are predicted or true for
    one of the rows [n] at least."""
    return mean(dice(confusions(predicted[None, None], truth[None, None], classes)[0]))


def logits(net: Reader, examples: Examples, graph: str, part: str) -> Tensor:
    """Logits [rows, classes of all tasks] of a graph as it is seen in a part."""
    with evaluation_mode(net):
        return net(examples.view(graph, part)).float().cpu()


def scores(net: Reader, examples: Examples, part: str, tasks: Sequence[str], least: dict[str, int]) -> dict[str, float]:
    """Of each task its macro-F1. Of tasks named in `least`, beside it: TASK-high, the share of rows of classes from
    there on that are found, TASK-low of those below, and TASK-among, of the high ones if no others are allowed."""
    found = {}
    for graph in dict.fromkeys(examples.tasks[task] for task in tasks):
        of_all = logits(net, examples, graph, part)
        for task in (task for task in tasks if examples.tasks[task] == graph):
            rows, y = examples.rows(task, part)
            own = net.of_task(of_all[rows], task)
            found[task] = macro_f1(own.argmax(1), y, examples.classes[task])
            if task in least:
                found |= {f"{task}-{key}": share for key, share in shares(own, y, least[task]).items()}
    return found


def shares(own: Tensor, y: Tensor, least: int) -> dict[str, float]:
    """Of logits [n, classes] the share of right answers, for classes from `least` on, below it, and from it on if no
    others are allowed; each a mean over classes."""
    right = own.argmax(1) == y
    among = own[:, least:].argmax(1) + least == y
    high = y >= least
    return {"high": _by_class(right, y, high), "low": _by_class(right, y, ~high), "among": _by_class(among, y, high)}


def _by_class(right: Tensor, y: Tensor, kept: Tensor) -> float:
    classes = y[kept].unique()
    return torch.stack([right[y == k].double().mean() for k in classes]).mean().item()


def corner(net: Reader, examples: Examples, lesson: Lesson, part: str) -> float:
    """The mean macro-F1 of a lesson's tasks over its rows of a part, in its graph."""
    of_all = logits(net, examples, lesson.graph or examples.tasks[lesson.tasks[0]], part)
    found = []
    for task in lesson.tasks:
        rows, y = examples.rows(task, lesson.part(part))
        found.append(macro_f1(net.of_task(of_all[rows], task).argmax(1), y, examples.classes[task]))
    return sum(found) / len(found)


def majority(examples: Examples, task: str, part: str = "test") -> float:
    """The macro-F1 of always saying the most frequent class."""
    _, y = examples.rows(task, part)
    return macro_f1(torch.full_like(y, int(y.mode().values)), y, examples.classes[task])
