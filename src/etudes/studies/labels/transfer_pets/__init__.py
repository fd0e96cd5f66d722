"""transfer-pets: a network pretrained on a million photos is fine-tuned to few, stage by stage.

Of its stages 1 .. k the last l are trained, and a new head; each stage further down at a smaller rate:

    W_j <- W_j - eta decay^(k - j) dL/dW_j  for j > k - l, and W_j stays for j <= k - l.

Batch normalisation has scales and shifts, which follow the gradient, and means and variances, which follow the pictures
without any gradient: each is frozen or not, for itself.

    etudes run transfer-pets                   6 minutes on two cores, 34 variants, 5 seeds (to 12 with --until decided)
    etudes run transfer-pets --scale norms     6 minutes, 7 variants, 1 seed: all stages, and all norms
    etudes run transfer-pets --scale pets      6 minutes, 8 variants, 1 seed: three breeds, twice the pixels
    etudes run transfer-pets --scale caltech   40 minutes, 9 variants, 1 seed: all 101 classes
    etudes run transfer-pets --scale lite2     8 minutes, 9 variants, 1 seed: a larger network
    etudes run transfer-pets --scale paper     240 minutes on a GPU, 37 variants, 3 seeds: ResNet-34, all 37 breeds

To expect: with all labels the last two stages err less than the head alone, with one label a class more. Pseudo-labels
help most with few labels, once no class is guessed more often than another; as they are they confirm themselves.
Changed pictures do not pay in so few steps, nor do statistics of the new pictures, on sketches as little as on photos.

Departures from the paper: it made the set and has no pretrained network. At laptop scale 28 animals of Caltech-101,
small photos, stand for the 37 breeds, of which three can be had without the hub: they tell cats from dogs.
EfficientNet-Lite0 stands for ResNet-34, and 100 steps for epochs. One label a class is 1 % of the breeds', 4 % here.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from etudes.core import Paper, Run, Scale, Study, at_least, positive, within
from etudes.data.batches import Batches
from etudes.data.images import Images, unit
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves
from etudes.studies.labels.transfer_pets.findings import CLAIMS, ERROR
from etudes.studies.labels.transfer_pets.freezing import Norms, adapt, freeze, lowest_moved, optimiser
from etudes.studies.labels.transfer_pets.networks import Frozen, Staged, pretrained_stages
from etudes.studies.labels.transfer_pets.objectives import Loss, Marginal, loss_each, pseudo_labels, pseudo_loss, rise
from etudes.studies.labels.transfer_pets.sets import (
    Strength,
    augment,
    augmented_copies,
    class_error,
    kept_outputs,
    opened_target,
    own_outputs,
    split_rows,
)
from etudes.studies.labels.transfer_pets.variants import (
    BRIEF,
    CHOICES,
    COSTLY,
    FIRST,
    PETS,
    PETS_SECTION,
    SECTIONS,
    VARIANTS,
)
from etudes.train import Steps, descend, fitted, seeded
from etudes.train.precision import place

Network = Literal["small", "lite0", "lite2", "resnet18", "resnet34", "resnet50"]


@dataclass(frozen=True)
class Config(Steps):
    network: Network = "resnet34"  # pretrained: EfficientNet-Lite, a ResNet, or our small one, trained here on digits
    deeper: Network = "resnet50"  # the deeper one
    deep: bool = False  # whether the deeper one is taken
    weights: Literal["imagenet", "none"] = "imagenet"  # of a ResNet: pretrained, or first weights where none are had
    base_steps: Annotated[int, at_least(1)] = 300  # of our small network's pretraining
    near: str = "oxford-pets"  # photos of many classes
    far: str = "pacs-sketches"  # pictures unlike those of the pretraining
    pets: str = "oxford-pets"  # breeds of cats and dogs, for the task with two classes
    target: Literal["near", "far", "cats"] = "near"  # which of the three is learnt
    classes: Literal["all", "animals", "later"] = "all"  # of near: all, 28 animals of Caltech-101, or the later half
    side: Annotated[int, at_least(0)] = 0  # pixels of a side; 0: as the sets have them
    shrink: Annotated[int, at_least(1)] = 1  # how many times fewer pixels a side than that
    examples: Annotated[int, at_least(0)] = 0  # training pictures a class; 0: all
    share: Annotated[float, within(0, 1)] = 1.0  # of them have labels, at least one a class; the others' are not seen
    held_out: Annotated[int, at_least(0)] = 0  # other training pictures, at most, by which settings are chosen
    depth: Annotated[int, at_least(0)] = 0  # last stages whose weights are trained; the new head always is
    norms: Norms = "parameters"  # of batch normalisation: what is trained; adapted: all statistics replaced beforehand
    everywhere: bool = False  # whether that holds in all stages, or in those alone whose weights are trained
    optimiser: Literal["adam", "nag"] = "adam"  # nag: SGD with Nesterov's momentum
    alone_lr: Annotated[float, positive] = 2e-3  # peak learning rate of the head alone by Adam
    nag_lr: Annotated[float, positive] = 3e-3  # and by Nesterov's
    head_lr: Annotated[float, positive] = 1e-3  # of the head beside other weights
    body_lr: Annotated[float, positive] = 1e-3  # of the last stage
    norm_lr: Annotated[float, positive] = 1e-3  # of norms in stages whose weights are frozen
    decay: Annotated[float, within(0, 1)] = 0.5  # rate of a stage, over that of the stage above it
    gradual: bool = False  # whether lower stages begin later
    schedule: Schedule = "warmup"  # learning rates over the steps
    loss: Loss = "softmax"  # of pictures with labels
    augment: Strength = "none"  # how much pictures are changed by chance
    views: Annotated[int, at_least(0)] = 0  # changed copies of each picture, made once; 0: anew in each step
    unlabelled: Literal["none", "pseudo", "consistency"] = "none"  # what is learnt from pictures without labels
    threshold: Annotated[float, within(0, 1)] = 0.95  # probability from which a pseudo-label is believed
    aligned: bool = False  # whether probabilities are divided by those that a class has on the average
    unlabelled_batch: Annotated[int, at_least(1)] = 32  # pictures without labels a step
    kept: bool = True  # whether what frozen stages give is computed once and kept, or anew in each step


@dataclass(frozen=True)
class Task:
    """A set, the rows with labels, without, and held out for validation, and the network in its two parts: the stages
    that no step moves, and the others with the head."""

    d: Images
    known: Tensor
    others: Tensor
    away: Tensor
    lower: Frozen
    model: Staged


def prepared_task(cfg: Config, run: Run) -> Task:
    d = opened_target(cfg).to(run.device)
    run.note(data=d.source)
    known, others, away = split_rows(cfg, d.y.cpu(), run)
    stages, features = pretrained_stages(cfg, run)
    if cfg.norms == "adapted":
        adapt(stages.to(run.device), d.x[known])
    head = seeded(run, "head", lambda: nn.Linear(features, d.classes))
    cut = lowest_moved(Staged(stages, head), cfg.depth, cfg.norms, cfg.everywhere)
    lower, model = place(run, Frozen(stages[:cut])), place(run, Staged(stages[cut:], head))
    freeze(model, cfg.depth, cfg.norms, cfg.everywhere)
    return Task(d, known, others, away, lower, model)


def seen_pictures(cfg: Config, run: Run, task: Task) -> tuple[Images, nn.Module]:
    """The set as the steps see it unchanged, pictures or what frozen stages give for them, and the network for that."""
    if not cfg.kept:
        return task.d, nn.Sequential(task.lower, task.model)
    if cfg.norms == "adapted":
        return own_outputs(task.lower, task.d, torch.cat([task.known, task.others, task.away])), task.model
    return kept_outputs(cfg, run, task.lower, task.d), task.model


def train(cfg: Config, run: Run) -> None:
    task = prepared_task(cfg, run)
    d, known, others, model = task.d, task.known, task.others, task.model
    opt, schedule = optimiser(cfg, model)
    seen, network = seen_pictures(cfg, run, task)
    copies = augmented_copies(cfg, run, task.lower, d, known)
    batches = Batches(len(known), cfg.batch, run.seed("order"))
    more = Batches(max(1, len(others)), cfg.unlabelled_batch, run.seed("unlabelled order"))
    marginal = Marginal(d.classes).to(run.device)

    def inputs(rows: Tensor, strength: Strength, stream: str, i: int) -> Tensor:
        if strength == "none" and cfg.kept:
            return unit(seen.x[rows])
        with torch.no_grad():
            return task.lower(augment(unit(d.x[rows]), strength, run.rng(stream, i)))

    def step(i: int) -> dict[str, Tensor]:
        drawn = batches.at(i)
        y = d.y[known[drawn].to(run.device)]
        if copies is None:
            x = inputs(known[drawn], cfg.augment, "augment", i)
        else:
            x = copies[run.rng("copy", i).integers(cfg.views), drawn]
        logits, extra = model(x), torch.zeros((), device=run.device)
        if cfg.unlabelled != "none" and len(others):
            extra = rise(i, cfg.steps) * unlabelled_loss(others[more.at(i)], i)
        loss = loss_each(logits, y, cfg.loss).mean() + extra
        wrong = (logits.argmax(1) != y).float().mean()
        return {"train/loss": descend(loss, opt, schedule), "train/batch-error": wrong}

    def unlabelled_loss(rows: Tensor, i: int) -> Tensor:
        logits = model(inputs(rows, "none", "", i))
        guesses = pseudo_labels(logits, cfg.threshold, marginal if cfg.aligned else None)
        learnt = model(inputs(rows, "large", "strong", i)) if cfg.unlabelled == "consistency" else logits
        return pseudo_loss(learnt, *guesses)

    def evaluate() -> dict[str, float]:
        names = ("test/error", "test/error-pictures")
        found = dict(zip(names, class_error(network, seen.test_x, d.test_y), strict=True))
        for name, rows in (("train/error", known), ("validation/error", task.away)):
            if len(rows):
                found[name] = class_error(network, seen.x[rows], d.y[rows])[0]
        return found

    run.result(**{"test/error-majority": 1 - 1 / d.classes})
    parts = {"model": model, "opt": opt, "schedule": schedule, "marginal": marginal}
    run.result(**fitted(run, cfg, parts, step, evaluate))


SMALL = {"network": "small", "deeper": "small", "near": "digits", "far": "digits", "pets": "digits", "classes": "later"}
LITE = {"network": "lite0", "deeper": "lite2", "near": "caltech-101", "pets": "three-breeds"}
LAPTOP = LITE | {"classes": "animals", "side": 96, "examples": 24, "steps": 100, "batch": 16, "views": 4}
TINY = {"examples": 10, "steps": 3, "batch": 4, "unlabelled_batch": 4, "base_steps": 3}
LARGE = {"batch": 32, "steps": 600, "side": 128}
BLANK = {"near": "digits", "far": "digits", "pets": "digits", "weights": "none"}
ALONE = {"seeds": 1, "judges": False}

STUDY = Study(
    name="transfer-pets",
    question="How much of a pretrained network should be trained for new pictures, with many labels and with few?",
    paper=Paper(
        "Cats and Dogs",
        "Parkhi, Vedaldi, Zisserman, Jawahar",
        2012,
        "https://www.robots.ox.ac.uk/~vgg/publications/2012/parkhi12a/",
    ),
    config=Config,
    program=train,
    idea=freeze,
    variants=VARIANTS,
    scales={
        "smoke": Scale(SMALL | TINY, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12), minutes=6, offline=SMALL, variants=BRIEF),
        "norms": Scale(LAPTOP, minutes=6, variants=("head", "last-two", *COSTLY), **ALONE),
        "pets": Scale(
            LITE | {"near": "three-breeds", "side": 160, "steps": 200, "batch": 16}, minutes=6, variants=FIRST, **ALONE
        ),
        "caltech": Scale(LITE | LARGE, minutes=40, variants=(*FIRST, "one"), **ALONE),
        "lite2": Scale(LAPTOP | {"network": "lite2"}, minutes=8, variants=(*FIRST, "one"), **ALONE),
        "paper": Scale(
            {"side": 224, "batch": 64, "steps": 2000, "kept": False},
            seeds=3,
            minutes=240,
            judges=False,
            variants=PETS,
            offline=BLANK,
        ),
    },
    claims=CLAIMS,
    words={
        ERROR: "test error",
        "test/error-pictures": "test error, each picture counting alike",
        "train/error": "training error",
        "test/error-majority": "test error of always one class",
        "parameters": "numbers that are trained",
    },
    charts=(
        bars(ERROR, title="Test error by what is trained, and by how many pictures have labels", sections=SECTIONS),
        bars(ERROR, "train/error", title="Test and training error by other choices", sections=CHOICES),
        bars("test/error-pictures", title="Test error of telling cats from dogs", sections=PETS_SECTION),
        curves(
            "train/batch-error", title="Error on the pictures of a step", variants=("last-two", "logistic", "margin")
        ),
    ),
    precision="fp32",
    origin="C",
)
