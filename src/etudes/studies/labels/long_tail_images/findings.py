"""How often a network is right on classes of many, of some and of few training pictures."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from etudes.core.claims import Measure
from etudes.core.run import Run
from etudes.studies.labels.long_tail_images.methods import Score
from etudes.studies.labels.long_tail_images.sets import Task, shots

if TYPE_CHECKING:
    from etudes.core import Trial
    from etudes.studies.labels.long_tail_images import Config

ACCURACY, MANY, MEDIUM, FEW = "test/accuracy", "test/accuracy-many", "test/accuracy-medium", "test/accuracy-few"


def recalls(predicted: Tensor, y: Tensor, classes: int) -> Tensor:
    """The share of each class's pictures that are predicted to be of it, float64 [classes]; nan where it has none."""
    right = torch.bincount(y[predicted == y], minlength=classes)
    return right.double() / torch.bincount(y, minlength=classes).double()


def quality(recall: Tensor, counts: Tensor, groups: dict[str, Tensor]) -> dict[str, float]:
    """The mean of the classes' recalls: over all, over each group that has a class, and as frequent as in training.

    A class counts as much as another, whatever the number of its pictures that are asked about.
    """
    found = {"accuracy": recall.nanmean(), "accuracy-as-trained": (recall * counts).nansum() / counts.sum()}
    found |= {f"accuracy-{name}": recall[group].nanmean() for name, group in groups.items() if group.any()}
    return {name: float(number) for name, number in found.items()}


def evaluate(cfg: "Config", run: Run, task: Task, score: Score) -> None:
    """The run's result, and its recalls by rank, from the most frequent class (1) on, in the log."""
    counts = task.counts
    groups, classes = shots(counts, cfg.many, cfg.few), len(counts)
    for split, data in (("train", task.train), ("validation", task.validation), ("test", task.test)):
        recall = recalls(score(data).argmax(1), data.y, classes)
        run.result(**{f"{split}/{name}": number for name, number in quality(recall, counts, groups).items()})
    run.result(**{"test/accuracy-majority": 1 / len(task.test.y.unique())})
    order = counts.argsort(descending=True, stable=True)
    for rank, value in enumerate(recall[order].tolist(), 1):
        if value == value:  # a class that is not asked about has none
            run.log(rank, recall=value)


def won_and_lost(variant: str) -> Measure:
    """A measure: what a variant wins over plain training on few-shot classes, minus what it loses on many-shot ones."""
    return lambda trial: sum(trial[variant][name] - trial["plain"][name] for name in (FEW, MANY))


def overfit(trial: "Trial", variant: str) -> float:
    """A variant's accuracy on few-shot classes in training, minus that in the test."""
    return trial[variant]["train/accuracy-few"] - trial[variant][FEW]
