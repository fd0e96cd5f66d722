"""long-tail-images: a few classes have most of the training pictures, and the test asks for all classes alike.

Plain training learns p(y | x) = p(x | y) p(y) / p(x), which holds the classes' shares p(y): rare classes are seldom
said. Three places to mend that. Pictures: draw rare classes more often, leave out frequent ones, blend. The loss:
weights, margins that are wider for rare classes (LDAM), or the shares in the logits, z + log p(y). Afterwards: take
log p(y) out of the logits; or keep the body f and mend the last layer alone, whose rows w_c are longer for frequent
classes: w_c / |w_c|^tau, or learn it again on the features f(x) of classes drawn alike. Networks may be averaged.

    etudes run long-tail-images                     4 minutes on two cores, 15 variants, 5 seeds (to 20 if undecided)
    etudes run long-tail-images --scale mnist       3 minutes, 15 variants, 5 seeds: MNIST-5k in place of Fashion-MNIST
    etudes run long-tail-images --scale caltech     90 minutes, 15 variants, 3 seeds: a tail as it was collected
    etudes run long-tail-images --scale cifar       2000 minutes, 15 variants, 3 seeds: CIFAR-10, a network of 32 layers
    etudes run long-tail-images --scale tiny        2500 minutes, 15 variants, 3 seeds: tiny-imagenet, 200 classes
    etudes run long-tail-images --scale resnet10    1500 minutes on a GPU, 15 variants, 3 seeds: ImageNet-LT, ResNet-10
    etudes run long-tail-images --scale paper       5000 minutes on a GPU, 15 variants, 3 seeds: ImageNet-LT, ResNet-50

To expect: plain training is right on most pictures of frequent classes and few of the rarest. The shares in the loss,
or taken out afterwards, mend most of it; so does the last layer alone. Drawing rare pictures more often mends less.

Departures from the papers: at laptop scale Fashion-MNIST at 14 pixels and three layers. Everywhere: the last layer is
learnt again on features of unchanged pictures; experts are pushed apart without temperatures of classes; all methods
have plain training's learning rate and steps, but an ensemble takes three trainings.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from etudes.core import Claim, Paper, Run, Scale, Study, Variant, above, alike, at_least, higher
from etudes.reports.charts import bars, curves, plane
from etudes.studies.labels.long_tail_images.findings import (
    ACCURACY,
    FEW,
    MANY,
    MEDIUM,
    evaluate,
    overfit,
    won_and_lost,
)
from etudes.studies.labels.long_tail_images.methods import refit, scorer
from etudes.studies.labels.long_tail_images.sets import opened_task
from etudes.train import PictureRecipe

Method = Literal[
    "plain", "oversampled", "undersampled", "mixed", "smote", "weighted", "focal", "ldam", "balanced", "adjusted",
    "retrained", "normalised", "ensemble", "ensemble-adjusted", "experts",
]  # fmt: skip


@dataclass(frozen=True)
class Config(PictureRecipe):
    dataset: str = "fashion-mnist"  # a picture set, as listed by `etudes data`
    examples: Annotated[int, at_least(0)] = 500  # training pictures of the most frequent class; 0: all there are
    side: Annotated[int, at_least(0)] = 14  # height and width to which pictures are brought; 0: as they are
    augment: bool = False  # pictures mirrored by chance, and moved by up to an eighth of the side
    method: Method = "plain"  # what is done for the tail
    strength: Annotated[float, at_least(0)] = 1.0  # of the method, in its own unit; 0 is none of it
    profile: Literal["exponential", "natural"] = "exponential"  # a tail made to measure, or all pictures as they come
    ratio: Annotated[float, at_least(1)] = 100.0  # training pictures of the largest class, over the smallest
    held_out: Annotated[int, at_least(1)] = 50  # validation pictures a class, cut from the training part
    tested: Annotated[int, at_least(0)] = 300  # test pictures a class; 0: all
    many: Annotated[int, at_least(1)] = 100  # a many-shot class has more training pictures
    few: Annotated[int, at_least(1)] = 20  # a few-shot class has fewer
    network: Literal["plain", "resnet32", "resnet10", "resnet50"] = "plain"  # "plain": convolutions and pools
    blocks: tuple[int, ...] = (16, 32)  # channels of each block of "plain", or of the first stage of "resnet32"
    dense: Annotated[int, at_least(1)] = 64  # features of "plain" that its last layer sees
    steps: Annotated[int, at_least(1)] = 800  # optimiser steps
    later_steps: Annotated[int, at_least(1)] = 200  # steps of the last layer alone, where it is learnt again
    batch: Annotated[int, at_least(1)] = 64  # pictures a step
    lr: Annotated[float, at_least(0)] = 0.1  # peak learning rate
    weight_decay: Annotated[float, at_least(0)] = 5e-4  # L2 penalty on all parameters
    log_every: Annotated[int, at_least(1)] = 50  # steps that one line of the log averages
    members: Annotated[int, at_least(2)] = 3  # networks of an ensemble, or experts


def train(cfg: Config, run: Run) -> None:
    task = opened_task(cfg, run)
    run.result(**{"train/pictures": len(task.train.y)})
    evaluate(cfg, run, task, scorer(cfg, run, task))


def method(name: str, strength: float = 1.0) -> dict[str, str | float]:
    return {"method": name, "strength": strength}


SECTIONS = {
    "Pictures": ("plain", "oversampled", "undersampled", "mixed"),
    "Loss": ("weighted", "focal", "ldam", "balanced"),
    "Last layer": ("adjusted", "normalised", "retrained", "smote"),
    "Several": ("ensemble", "ensemble-adjusted", "experts"),
}
SHOWN = ("plain", "oversampled", "weighted", "ldam", "balanced", "retrained", "ensemble", "ensemble-adjusted")
OFFLINE = {"dataset": "digits", "side": 8, "examples": 90, "ratio": 30.0, "many": 30, "few": 10, "tested": 0}
TINY: dict[str, Any] = {"examples": 60, "ratio": 12.0, "held_out": 5, "blocks": (2,), "dense": 4, "batch": 8}
SMOKE = OFFLINE | TINY | {"tested": 10, "steps": 4, "later_steps": 3, "log_every": 2}
CIFAR = {"network": "resnet32", "side": 0, "examples": 0, "tested": 0, "augment": True, "batch": 128,
         "log_every": 100}  # fmt: skip
WHOLE = {"profile": "natural", "tested": 0}
CALTECH = CIFAR | WHOLE | {"held_out": 5, "side": 48, "blocks": (16,), "steps": 4000, "later_steps": 400}
EPOCH = 227  # steps of 512 pictures
LISTS = WHOLE | {"dataset": "imagenet-lt", "side": 224, "augment": True, "batch": 512, "lr": 0.2, "log_every": 100}
PAPER = LISTS | {"steps": 90 * EPOCH, "later_steps": 10 * EPOCH}
SMALL = {"dataset": "digits", "side": 32}

STUDY = Study(
    name="long-tail-images",
    question="What helps classes with few training pictures: more of them, another loss, or a new last layer?",
    paper=Paper(
        "Decoupling Representation and Classifier for Long-Tailed Recognition",
        "Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis",
        2019,
        "https://arxiv.org/abs/1910.09217",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("plain", says="nothing is done for the tail"),
        Variant("oversampled", method("oversampled"), "classes drawn alike"),
        Variant("undersampled", method("undersampled", 0.5), "pictures of frequent classes left out"),
        Variant("mixed", method("mixed"), "blends of two pictures: mixup"),
        Variant("weighted", method("weighted"), "loss weighed by the effective number of pictures"),
        Variant("focal", method("focal", 2.0), "loss counts less what is learnt"),
        Variant("ldam", method("ldam", 0.5), "margins wider for rare classes, weights at the end"),
        Variant("balanced", method("balanced"), "the classes' shares in the loss"),
        Variant("adjusted", method("adjusted"), "plain, the classes' shares taken out afterwards"),
        Variant("normalised", method("normalised"), "plain, the last layer's rows of one length"),
        Variant("retrained", method("retrained"), "plain, the last layer learnt again, classes drawn alike"),
        Variant("smote", method("smote"), "plain, the last layer learnt again, with made-up features"),
        Variant("ensemble", method("ensemble"), "three plain networks"),
        Variant("ensemble-adjusted", method("ensemble-adjusted"), "these, the shares taken out afterwards"),
        Variant("experts", method("experts", 0.01), "as balanced, with three second halves pushed apart"),
    ),
    scales={
        "smoke": Scale(SMOKE, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=4, offline=OFFLINE),
        "mnist": Scale(
            {"dataset": "mnist-5k", "examples": 0, "held_out": 20, "tested": 0}, seeds=5, minutes=3, offline=OFFLINE
        ),
        "caltech": Scale(CALTECH | {"dataset": "caltech-101"}, seeds=3, minutes=90),
        "cifar": Scale(
            CIFAR | {"dataset": "cifar10", "many": 500, "few": 100, "steps": 18_000, "later_steps": 1000},
            seeds=3,
            minutes=2000,
        ),
        "tiny": Scale(
            CIFAR | {"dataset": "tiny-imagenet", "blocks": (32,), "steps": 15_000, "later_steps": 1500},
            seeds=3,
            minutes=2500,
        ),
        "resnet10": Scale(PAPER | {"network": "resnet10"}, seeds=3, minutes=1500, offline=SMALL),
        "paper": Scale(PAPER | {"network": "resnet50"}, seeds=3, minutes=5000, offline=SMALL),
    },
    words={
        ACCURACY: "accuracy, all classes alike",
        MANY: "accuracy on many-shot classes",
        MEDIUM: "accuracy on medium-shot classes",
        FEW: "accuracy on few-shot classes",
        "train/accuracy-few": "training accuracy on few-shot classes",
        "validation/accuracy": "validation accuracy, all classes alike",
        "test/accuracy-majority": "accuracy of always the most frequent class",
    },
    idea=refit,
    claims={
        "plain training has an accuracy on many-shot classes that is higher by more than 0.2 (our margin) than on "
        "few-shot classes": Claim(
            lambda trial: trial["plain"][MANY] - trial["plain"][FEW],
            above(0.2),
            "sec. 5.2, fig. 1",
            number="plain: test/accuracy-many minus test/accuracy-few",
        ),
        "weights by the effective number of pictures raise the accuracy on few-shot classes": higher(
            "weighted", "plain", "Cui et al. 2019, sec. 5.3", of=FEW
        ),
        "margins with late weights (LDAM) raise the accuracy on few-shot classes": higher(
            "ldam", "plain", "Cao et al. 2019, sec. 4.2", of=FEW
        ),
        "the classes' shares in the loss win more accuracy on few-shot classes than they lose on many-shot ones": Claim(
            won_and_lost("balanced"),
            above(0),
            "Menon et al. 2020, fig. 3",
            number="balanced minus plain: test/accuracy-few plus test/accuracy-many",
        ),
        "the classes' shares in the loss give a higher accuracy over all classes than weights": higher(
            "balanced", "weighted", "Menon et al. 2020, table 3", of=ACCURACY
        ),
        "a body learnt on pictures as they come, with a last layer learnt again on classes drawn alike, has a higher "
        "accuracy over all classes than a network that learns all layers on classes drawn alike": higher(
            "retrained", "oversampled", "sec. 5.2, fig. 1", of=ACCURACY
        ),
        "rows of one length in the last layer raise the accuracy on few-shot classes": higher(
            "normalised", "plain", "sec. 4.2, 5.3", of=FEW
        ),
        "classes drawn alike are overfitted more on few-shot classes, by training minus test accuracy, than with their "
        "shares in the loss": Claim(
            lambda trial: overfit(trial, "oversampled") - overfit(trial, "balanced"),
            above(0),
            "Cao et al. 2019, sec. 1",
            number="train/accuracy-few minus test/accuracy-few: oversampled minus balanced",
        ),
        "an ensemble of three networks has a higher accuracy over all classes than one": higher(
            "ensemble", "plain", "Wang et al. 2020, fig. 1", of=ACCURACY
        ),
        "with the classes' shares taken out of both, three networks have a higher accuracy on few-shot classes than "
        "one": higher("ensemble-adjusted", "adjusted", "a question beyond the papers", of=FEW),
        "made-up features change the accuracy over all classes by at most 0.02 (our margin) against features that are "
        "drawn more often": alike("smote", "retrained", 0.02, "a question beyond the papers", of=ACCURACY),
    },
    charts=(
        plane(
            (MANY, FEW),
            x="accuracy on many-shot classes",
            y="accuracy on few-shot ones",
            title="What rare classes win, and frequent ones lose",
            says="Upwards and to the right is better.",
            variants=SHOWN,
        ),
        bars(ACCURACY, sections=SECTIONS, title="Accuracy where rare classes count as much as frequent ones"),
        bars(MANY, MEDIUM, FEW, sections=SECTIONS, title="Accuracy by the number of training pictures"),
        curves(
            "recall",
            title="How many pictures of each class are found",
            variants=("plain", "oversampled", "balanced", "retrained"),
            step="class, from the most frequent one (1) to the rarest",
        ),
        bars("train/accuracy-few", FEW, sections=SECTIONS, title="Few-shot classes, in training and in the test"),
    ),
    origin="D2",
    precision="fp32",
)
