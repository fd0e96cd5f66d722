"""long-tail-text: what helps rare classes, and rare labels among thousands: examples, losses, corrections, or names.

Training classes c have n_c documents, from many to few, and the test weighs them alike. A network's logits z hold the
prior of training, log p(c | x) = log p(x | c) + log n_c + ...; so z_c - t log n_c, afterwards, or the same in the loss
(`logit_adjusted`, the balanced softmax where t = 1), aims at the balanced test. Others draw, drop or make up documents,
weigh or part classes (LDAM), learn the last layer again, or average networks. Where documents have many labels, a true
label l is written down with a chance p_l that is small for rare ones; scores log s_l - t log p_l look for those.
A label's own text needs no training document at all.

    etudes run long-tail-text                   5 minutes on two cores, 21 variants, 5 seeds
    etudes run long-tail-text --scale debtags   5 minutes, 7 variants, 3 seeds: subjects of packages as labels
    etudes run long-tail-text --scale full      60 minutes, 7 variants, 3 seeds: all documents
    etudes run long-tail-text --scale eurlex    30 minutes, 5 variants, 3 seeds: laws of the European Union
    etudes run long-tail-text --scale paper     600 minutes on a GPU, 7 variants, 3 seeds: LF-AmazonTitles-131K

To expect: what a loss does for the tail a shift of the scores afterwards does nearly as well. More examples of what is
learnt by heart help less. A label's own text finds what no training document has.

Departures from the papers: theirs train deep networks on pictures, or on up to millions of texts, and ours one hidden
layer on a bag of words; an ensemble is of plain networks and takes as many trainings; cRT takes a third more steps.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from etudes.core import (
    Claim,
    Paper,
    Run,
    Scale,
    Study,
    Trial,
    Variant,
    above,
    alike,
    at_least,
    below,
    difference,
    higher,
    lower,
    positive,
)
from etudes.core.claims import Measure
from etudes.losses.imbalance import logit_adjusted
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
    classes: Annotated[int, at_least(3)] = 24  # of the task with one label
    ratio: Annotated[float, at_least(1)] = 50.0  # training documents of the largest class, over the smallest
    largest: Annotated[int, at_least(1)] = 150  # training documents of the largest class
    held_out: Annotated[int, at_least(1)] = 20  # validation documents a class
    tested: Annotated[int, at_least(1)] = 50  # test documents a class
    documents: Annotated[int, at_least(0)] = 2000  # training documents with many labels; 0: all
    questions: Annotated[int, at_least(1)] = 1500  # documents with many labels to validate on, and as many to test on
    few: Annotated[int, at_least(1)] = 5  # a label of the tail has so many training documents, or fewer
    many: Annotated[int, at_least(1)] = 20  # a label of the head has more
    hidden: Annotated[int, at_least(1)] = 64  # units of the hidden layer
    steps: Annotated[int, at_least(1)] = 600  # optimiser steps
    later_steps: Annotated[int, at_least(1)] = 200  # steps of the last layer alone, where it is learnt again
    batch: Annotated[int, at_least(1)] = 64  # documents a step
    lr: Annotated[float, positive] = 1e-2  # peak learning rate
    members: Annotated[int, at_least(1)] = 3  # networks of the ensemble
    propensity_a: Annotated[float, positive] = 0.55  # of the chance that a true label is written down
    propensity_b: Annotated[float, at_least(0)] = 1.5  # Jain et al.: 0.5 and 0.4 for Wikipedia, 0.6 and 2.6 for Amazon


def train(cfg: Config, run: Run) -> None:
    task = task_of(cfg, run)
    run.note(data=task.source)
    run.result(**results(cfg, task, scorer(cfg, run, task)))


ACCURACY, HEAD, TAIL = "test/accuracy", "test/accuracy-head", "test/accuracy-tail"
SECTIONS = {
    "Loss": ("plain", "weighted", "ldam", "balanced"),
    "Examples": ("oversampled", "undersampled", "mixed", "smote"),
    "Afterwards": ("adjusted", "retrained", "normalised"),
    "Several": ("ensemble",),
    "Names": ("names", "combined"),
}
METHODS = ("plain", "oversampled", "weighted", "adjusted", "ensemble", "names", "combined")  # with many labels
MANY = tuple(f"many-{name}" for name in METHODS)
TOPICS = {"dataset": "topics", "classes": 6, "ratio": 3.0, "largest": 7, "held_out": 2, "tested": 4, "documents": 300}
WHOLE = {"documents": 0, "questions": 200_000}  # more than any set has
LONG = {"hidden": 300, "batch": 256, "steps": 60_000, "lr": 1e-3}
AMAZON = WHOLE | LONG | {"dataset": "lf-amazontitles-131k", "propensity_a": 0.6, "propensity_b": 2.6}


def method(name: str, strength: float = 1.0) -> dict[str, str | float]:
    return {"method": name, "strength": strength}


def many(name: str, strength: float = 1.0) -> dict[str, str | float]:
    return {"task": "many", "method": name, "strength": strength}


def loss_by_kin(variant: str) -> Measure:
    """A measure: the precision at 1 that a variant loses where labels of the document's own source do not count."""
    return lambda trial: trial[variant]["test/p1-with-kin"] - trial[variant]["test/p1"]


def more_than_half(trial: Trial) -> float:
    """What the adjustment wins in accuracy, minus half of what the balanced softmax does."""
    plain, adjusted, balanced = (trial[name][ACCURACY] for name in ("plain", "adjusted", "balanced"))
    return (adjusted - plain) - (balanced - plain) / 2


def propensity_balance(trial: Trial) -> float:
    """What the adjustment wins in propensity-scored precision at 5, and in precision at 1."""
    adjusted, plain = trial["many-adjusted"], trial["many-plain"]
    return (adjusted["test/psp5"] - plain["test/psp5"]) + (adjusted["test/p1"] - plain["test/p1"])


STUDY = Study(
    name="long-tail-text",
    question="What helps classes with few training texts: more examples, another loss, a correction, or their names?",
    paper=Paper(
        "Long-tail learning via logit adjustment",
        "Menon, Jayasumana, Rawat, Jain, Veit, Kumar",
        2020,
        "https://arxiv.org/abs/2007.07314",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("plain", says="nothing is done for the tail"),
        Variant("oversampled", method("oversampled"), "documents of rare classes are drawn more often"),
        Variant("undersampled", method("undersampled", 0.5), "documents of frequent classes are left out"),
        Variant("mixed", method("mixed", 0.5), "made-up documents: words of two of the class"),
        Variant("smote", method("smote", 0.5), "made-up vectors between neighbours of the class"),
        Variant("weighted", method("weighted"), "the loss weighed by the effective number of examples"),
        Variant("ldam", method("ldam", 0.4), "margins that are wider for rare classes, weights at the end"),
        Variant("balanced", method("balanced"), "the prior in the loss: balanced softmax"),
        Variant("adjusted", method("adjusted"), "plain, and the prior taken out afterwards"),
        Variant("retrained", method("retrained"), "plain, and the last layer learnt again on classes drawn alike"),
        Variant("normalised", method("normalised"), "plain, and the last layer's weights of one length"),
        Variant("ensemble", method("ensemble"), "three plain networks"),
        Variant("names", method("names"), "the class whose own text is nearest: nothing is trained"),
        Variant("combined", method("combined", 40.0), "plain, and that nearness added"),
        Variant("many-plain", many("plain"), "all labels: nothing is done for the tail"),
        Variant("many-oversampled", many("oversampled", 0.5), "all labels: documents with rare ones drawn more often"),
        Variant("many-weighted", many("weighted", 0.5), "all labels: true ones weighed by 1 / propensity"),
        Variant("many-adjusted", many("adjusted"), "all labels: plain, and the propensity taken out"),
        Variant("many-ensemble", many("ensemble"), "all labels: three plain networks"),
        Variant("many-names", many("names"), "all labels: those whose own text is nearest"),
        Variant("many-combined", many("combined", 20.0), "all labels: plain, and that nearness added"),
    ),
    scales={
        "smoke": Scale(TOPICS | {"steps": 8, "hidden": 8, "later_steps": 4}, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=5, offline=TOPICS),
        "debtags": Scale({"dataset": "debian-debtags", "documents": 5000}, seeds=3, minutes=5, variants=MANY),
        "full": Scale(WHOLE | {"steps": 6000}, seeds=3, minutes=60, variants=MANY),
        "eurlex": Scale(
            WHOLE | {"dataset": "eurlex-4k", "steps": 6000},
            seeds=3,
            minutes=30,
            variants=tuple(name for name in MANY if name not in ("many-names", "many-combined")),
        ),
        "paper": Scale(
            AMAZON,
            seeds=3,
            minutes=600,
            variants=MANY,
            offline={"dataset": "topics"},
        ),
    },
    words={
        ACCURACY: "accuracy, all classes alike",
        HEAD: "accuracy of frequent classes",
        TAIL: "accuracy of rare classes",
        "test/f1": "macro F1",
        "test/p1": "precision at 1",
        "test/psp5": "propensity-scored precision at 5",
        "test/recall5-tail": "recall at 5 of rare labels",
        "test/p1-with-kin": "precision at 1, labels of the same source counted",
    },
    idea=logit_adjusted,
    claims={
        "the balanced softmax has a higher accuracy on rare classes than plain training": higher(
            "balanced", "plain", "Ren et al. 2020, table 1", of=TAIL
        ),
        "the balanced softmax loses less than 0.05 (our margin) of the accuracy on frequent classes": Claim(
            difference("balanced", "plain", HEAD),
            above(-0.05),
            "Menon et al. 2020, fig. 3",
            number="test/accuracy-head: balanced minus plain",
        ),
        "over all classes alike, oversampling has a lower accuracy than the balanced softmax": lower(
            "oversampled", "balanced", "Ren et al. 2020, sec. 3.2", of=ACCURACY, matters=0.01
        ),
        "learning the last layer again on classes drawn alike raises the accuracy on rare classes": higher(
            "retrained", "plain", "Kang et al. 2019, table 1", of=TAIL
        ),
        "with Adam, dividing the classes' weights by their length changes accuracy by at most 0.01 (our margin)": alike(
            "normalised", "plain", 0.01, "Menon et al. 2020, fig. 1", of=ACCURACY
        ),
        "an ensemble of three networks has a higher accuracy on rare classes than one": higher(
            "ensemble", "plain", "Wang et al. 2020, fig. 1", of=TAIL, matters=0.01
        ),
        "of the accuracy that the balanced softmax wins, more than half is won by taking the prior out of a plain "
        "network's scores": Claim(
            more_than_half,
            above(0),
            "a question beyond the paper",
            number="test/accuracy: what adjusted wins over plain, minus half of what balanced wins",
        ),
        "documents made up of the words of two have a higher accuracy than documents drawn more often": higher(
            "mixed", "oversampled", "a question beyond the paper", of=ACCURACY, matters=0.02
        ),
        "with all labels, taking the propensity out of the scores loses more precision at 1 than it wins in "
        "propensity-scored precision at 5": Claim(
            propensity_balance,
            below(0),
            "Jain et al. 2016",
            number="many-adjusted minus many-plain: test/psp5 plus test/p1",
        ),
        "with all labels, the network with the labels' texts has a higher propensity-scored precision at 5 than the "
        "network alone": higher("many-combined", "many-plain", "Mittal et al. 2021, table 3", of="test/psp5"),
        "by the labels' texts alone, more than 0.02 (our margin) of the precision at 1 is of labels of the document's "
        "own source": Claim(
            loss_by_kin("many-names"),
            above(0.02),
            "reciprocal pairs",
            number="many-names: test/p1-with-kin minus test/p1",
        ),
    },
    charts=(
        bars(ACCURACY, sections=SECTIONS, title="Accuracy where rare classes count as much as frequent ones"),
        plane(
            (HEAD, TAIL),
            x="accuracy of the eight most frequent classes",
            y="accuracy of the eight rarest",
            title="What rare classes win, and frequent ones lose",
            says="Upwards and to the right is better.",
            variants=("plain", "oversampled", "weighted", "balanced", "adjusted", "ensemble", "combined"),
        ),
        bars(ACCURACY, HEAD, "test/accuracy-middle", TAIL, title="Accuracy on a balanced test"),
        plane(
            ("test/p1", "test/psp5"),
            x="precision at 1",
            y="propensity-scored precision at 5",
            title="With many labels: right at all, against right where it is rare",
        ),
        bars("test/p1", "test/p1-with-kin", "test/psp5", "test/ndcg5", title="With many labels"),
        bars(
            "test/recall5-head",
            "test/recall5-middle",
            "test/recall5-tail",
            "test/recall5-unseen",
            title="Recall at 5 of frequent, middle and rare labels, and of those that no training document has",
        ),
    ),
    origin="D2",
    precision="fp32",
)
