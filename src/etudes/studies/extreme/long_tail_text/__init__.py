from dataclasses import dataclass
from typing import Annotated, Literal

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, higher, lower, positive, within
from etudes.reports.charts import bars, plane
from etudes.studies.extreme.long_tail_text.findings import results
from etudes.studies.extreme.long_tail_text.methods import scorer
from etudes.studies.extreme.long_tail_text.tasks import task_of
from etudes.train import Adam

Method = Literal[
    "plain", "oversampled", "undersampled", "mixed", "smote", "weighted", "ldam", "balanced", "adjusted",
    "retrained", "normalised", "ensemble", "names", "combined",
]  # fmt: skip


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "debian-depends"  # a set of documents with labels, as listed by `etudes data`
    task: Literal["one", "many"] = "one"  # one class a document, on a tail made to measure, or all its labels
    method: Method = "plain"  # what is done for the tail
    strength: Annotated[float, at_least(0)] = 1.0  # of the method, in its own unit; 0 is none of it
    classes: Annotated[int, at_least(3)] = 30  # of the task with one label
    ratio: Annotated[float, at_least(1)] = 50.0  # training documents of the largest class, over the smallest
    largest: Annotated[int, at_least(1)] = 150  # training documents of the largest class
    held_out: Annotated[int, at_least(1)] = 20  # validation documents a class
    tested: Annotated[int, at_least(1)] = 50  # test documents a class
    documents: Annotated[int, at_least(0)] = 5000  # training documents with many labels; 0: all
    few: Annotated[int, at_least(1)] = 5  # a label of the tail has so many training documents, or fewer
    many: Annotated[int, at_least(1)] = 20  # a label of the head has more
    hidden: Annotated[int, at_least(1)] = 64  # units of the hidden layer
    dropout: Annotated[float, within(0, 1)] = 0.5  # share of the hidden units set to zero
    steps: Annotated[int, at_least(1)] = 300  # optimiser steps
    later_steps: Annotated[int, at_least(1)] = 100  # steps of the last layer alone, where it is learnt again
    batch: Annotated[int, at_least(1)] = 64  # documents a step
    lr: Annotated[float, positive] = 1e-2  # peak learning rate
    members: Annotated[int, at_least(1)] = 3  # networks of the ensemble
    propensity_a: Annotated[float, positive] = 0.55  # of the chance that a true label is written down
    propensity_b: Annotated[float, at_least(0)] = 1.5  # Jain et al.: 0.5 and 0.4 for Wikipedia, 0.6 and 2.6 for Amazon


def train(cfg: Config, run: Run) -> None:
    task = task_of(cfg, run)
    run.note(data=task.source)
    run.result(**results(cfg, task, scorer(cfg, run, task)))
