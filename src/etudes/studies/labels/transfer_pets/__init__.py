"""transfer-pets: a network pretrained on many pictures is fine-tuned to few, layer by layer.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from etudes.core import Claim, Paper, Run, Scale, Study, Variant, above, alike, at_least, lower, positive, within
from etudes.data.batches import Batches
from etudes.data.images import unit
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves
from etudes.studies.labels.transfer_pets.findings import ERROR, larger_gain
from etudes.studies.labels.transfer_pets.freezing import Norms, freeze, lowest_moved, optimiser
from etudes.studies.labels.transfer_pets.networks import Frozen, Staged, pretrained_stages
from etudes.studies.labels.transfer_pets.objectives import Loss, loss_each, pseudo_labels, pseudo_loss
from etudes.studies.labels.transfer_pets.sets import (
    Strength,
    changed,
    class_error,
    kept_outputs,
    opened_target,
    split_rows,
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
    shrunk: Annotated[int, at_least(0)] = 0  # pixels to which pictures are shrunk first; 0: not
    examples: Annotated[int, at_least(0)] = 0  # training pictures a class; 0: all
    share: Annotated[float, within(0, 1)] = 1.0  # of them have labels, at least one a class; the others' are not seen
    held_out: Annotated[int, at_least(0)] = 0  # other training pictures, at most, by which settings are chosen
    depth: Annotated[int, at_least(0)] = 0  # last stages whose weights are trained; the new head always is
    norms: Norms = "both"  # of batch normalisation: what is trained
    everywhere: bool = False  # whether that holds in all stages, or in those alone whose weights are trained
    optimiser: Literal["adam", "nag"] = "adam"  # nag: SGD with Nesterov's momentum
    alone_lr: Annotated[float, positive] = 1e-2  # peak learning rate of the head alone by Adam
    nag_lr: Annotated[float, positive] = 1e-1  # and by Nesterov's
    head_lr: Annotated[float, positive] = 3e-3  # of the head beside other weights
    body_lr: Annotated[float, positive] = 1e-3  # of the last stage
    norm_lr: Annotated[float, positive] = 3e-3  # of norms in stages whose weights are frozen
    decay: Annotated[float, within(0, 1)] = 0.5  # rate of a stage, over that of the stage above it
    gradual: bool = False  # whether lower stages begin later
    schedule: Schedule = "warmup"  # learning rates over the steps
    loss: Loss = "softmax"  # of pictures with labels
    augment: Strength = "none"  # how much pictures are changed by chance
    unlabelled: Literal["none", "pseudo", "consistency"] = "none"  # what is learnt from pictures without labels
    threshold: Annotated[float, within(0, 1)] = 0.95  # probability from which a pseudo-label is believed
    unlabelled_batch: Annotated[int, at_least(1)] = 32  # pictures without labels a step
    unlabelled_weight: Annotated[float, at_least(0)] = 1.0  # of their loss
    kept: bool = True  # whether what frozen stages give is computed once and kept, or anew in each step


def train(cfg: Config, run: Run) -> None:
    d = opened_target(cfg).to(run.device)
    run.note(data=d.source)
    known, others, away = split_rows(cfg, d.y.cpu(), run)
    stages, features = pretrained_stages(cfg, run)
    head = seeded(run, "head", lambda: nn.Linear(features, d.classes))
    cut = lowest_moved(Staged(stages, head), cfg.depth, cfg.norms, cfg.everywhere)
    lower_stages, model = place(run, Frozen(stages[:cut])), place(run, Staged(stages[cut:], head))
    freeze(model, cfg.depth, cfg.norms, cfg.everywhere)
    opt, schedule = optimiser(cfg, model)
    shown = kept_outputs(cfg, run, lower_stages, d) if cfg.kept else d
    whole = model if cfg.kept else nn.Sequential(lower_stages, model)
    batches = Batches(len(known), cfg.batch, run.seed("order"))
    more = Batches(max(1, len(others)), cfg.unlabelled_batch, run.seed("unlabelled order"))

    def inputs(rows: Tensor, strength: Strength, stream: str, i: int) -> Tensor:
        if strength == "none" and cfg.kept:
            return unit(shown.x[rows])
        with torch.no_grad():
            return lower_stages(changed(unit(d.x[rows]), strength, run.rng(stream, i)))

    def step(i: int) -> dict[str, Tensor]:
        rows = known[batches.at(i)].to(run.device)
        y, x = d.y[rows], inputs(rows, cfg.augment, "augment", i)
        if cfg.unlabelled == "none" or not len(others):
            logits, extra = model(x), torch.zeros((), device=run.device)
        else:
            logits, extra = with_unlabelled(x, others[more.at(i)].to(run.device), i)
        loss = loss_each(logits, y, cfg.loss).mean() + cfg.unlabelled_weight * extra
        wrong = (logits.argmax(1) != y).float().mean()
        return {"train/loss": descend(loss, opt, schedule), "train/batch-error": wrong}

    def with_unlabelled(x: Tensor, rows: Tensor, i: int) -> tuple[Tensor, Tensor]:
        """The logits of pictures with labels, and the loss of those without."""
        seen = [inputs(rows, "none", "", i)]
        if cfg.unlabelled == "consistency":
            seen.append(inputs(rows, "large", "strong", i))
        logits, *found = model(torch.cat([x, *seen])).split([len(x), *map(len, seen)])
        return logits, pseudo_loss(found[-1], *pseudo_labels(found[0], cfg.threshold))

    def evaluate() -> dict[str, float]:
        found = dict(zip(("test/error", "test/error-pictures"), class_error(whole, shown.test_x, d.test_y), strict=True))
        found["train/error"] = class_error(whole, shown.x[known], d.y[known])[0]
        if len(away):
            found["validation/error"] = class_error(whole, shown.x[away], d.y[away])[0]
        return found

    run.result(**{"test/error-majority": 1 - 1 / d.classes})
    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))


SMALL = {"network": "small", "deeper": "small", "near": "digits", "far": "digits", "pets": "digits", "classes": "later"}
REAL = {"network": "lite0", "deeper": "lite2", "near": "caltech-101", "classes": "animals", "pets": "three-breeds"}
LAPTOP = REAL | {"examples": 24, "steps": 100, "batch": 16, "log_every": 5}
TINY = {"examples": 10, "steps": 3, "batch": 4, "unlabelled_batch": 4, "base_steps": 3}
CATS, SKETCHES, NORMS = {"target": "cats"}, {"target": "far"}, {"everywhere": True}
TOP, DEEP, ALL = {"depth": 1}, {"depth": 2}, {"depth": 9}

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
    variants=(
        Variant("cats-adam", CATS, "cat or dog, the head alone by Adam"),
        Variant("cats-nag", CATS | {"optimiser": "nag"}, "cat or dog, by Nesterov's accelerated gradient"),
        Variant("cats-40", CATS | {"shrunk": 40}),
        Variant("cats-20", CATS | {"shrunk": 20}),
        Variant("head", {}),
        Variant("head-nag", {"optimiser": "nag"}),
        Variant("last", TOP),
        Variant("last-two", DEEP),
        Variant("all", ALL),
        Variant("last-two-same", DEEP | {"decay": 1.0}),
        Variant("last-two-gradual", DEEP | {"gradual": True}),
        Variant("norms-frozen", TOP | {"norms": "frozen"}),
        Variant("norms-parameters", TOP | {"norms": "parameters"}),
        Variant("norms-statistics", TOP | {"norms": "statistics"}),
        Variant("augment-small", TOP | {"augment": "small"}),
        Variant("augment-large", TOP | {"augment": "large"}),
        Variant("head-statistics", NORMS | {"norms": "statistics"}),
        Variant("sketches", SKETCHES),
        Variant("sketches-statistics", SKETCHES | NORMS | {"norms": "statistics"}),
        Variant("sketches-parameters", SKETCHES | NORMS | {"norms": "parameters"}),
        Variant("sketches-both", SKETCHES | NORMS),
        Variant("logistic", TOP | {"loss": "logistic"}),
        Variant("margin", TOP | {"loss": "margin"}),
        Variant("deeper-head", {"deep": True}),
        Variant("deeper-last", TOP | {"deep": True}),
        Variant("half", TOP | {"share": 0.5}),
        Variant("tenth", TOP | {"share": 0.1}),
        Variant("one", TOP | {"share": 0.01}),
        Variant("one-head", {"share": 0.01}),
        Variant("one-last-two", DEEP | {"share": 0.01}),
        Variant("half-pseudo", TOP | {"share": 0.5, "unlabelled": "pseudo"}),
        Variant("tenth-pseudo", TOP | {"share": 0.1, "unlabelled": "pseudo"}),
        Variant("one-pseudo", TOP | {"share": 0.01, "unlabelled": "pseudo"}),
        Variant("tenth-consistency", TOP | {"share": 0.1, "unlabelled": "consistency"}),
        Variant("one-consistency", TOP | {"share": 0.01, "unlabelled": "consistency"}),
    ),
    scales={
        "smoke": Scale(SMALL | TINY, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12), minutes=5, offline=SMALL),
    },
    claims={
        "training the last two stages errs less than training the head alone": lower("last-two", "head", "sec. 4"),
    },
    charts=(bars(ERROR),),
    precision="fp32",
    origin="C",
)
