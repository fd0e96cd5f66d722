"""conv-lora: a pretrained convolutional network is adapted by low-rank changes of its filters.

The filters W stay as they are, and two thin ones are trained beside each, of rank r and with B = 0 at first (sec. 4.1):

    W' = W + (alpha / r) B A.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from etudes.core import Paper, Run, Scale, Study, Variant, alike, at_least, higher, lower, positive
from etudes.data.augment import flip, shift
from etudes.data.batches import Batches
from etudes.data.images import unit
from etudes.data.labels import balanced_subset
from etudes.measure.error import error_rate
from etudes.nn.lora import Order, low_rank_filter
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars
from etudes.studies.adapt.conv_lora.methods import choose_trained, optimiser
from etudes.studies.adapt.conv_lora.networks import opened_in_colour, pretrained
from etudes.train import Steps, descend, fitted, scheduled


@dataclass(frozen=True)
class Config(Steps):
    network: Literal["resnet", "lite0", "lite2"] = "lite2"  # ours, or EfficientNet-Lite with ImageNet's weights
    width: Annotated[int, at_least(1)] = 64  # of ours: its last block has 8 times as many channels
    base_dataset: str = "cifar10"  # on which ours is pretrained
    base_steps: Annotated[int, at_least(1)] = 10_000  # of that pretraining
    base_batch: Annotated[int, at_least(1)] = 128  # pictures a step of it
    base_lr: Annotated[float, positive] = 0.1  # its peak learning rate
    far: str = "stanford-cars"  # the set to which the network is adapted, far from the base's
    near: str = "pacs-photos"  # the same, near
    target: Literal["far", "near"] = "far"  # which of the two
    side: Annotated[int, at_least(0)] = 0  # pixels of a side; 0: as the sets have them
    examples: Annotated[int, at_least(0)] = 0  # training pictures a class; 0: all
    held_out: Annotated[int, at_least(0)] = 0  # further training pictures, at most, to choose settings by
    method: Literal["full", "head", "norms", "lora"] = "lora"  # what is trained; the new head always
    order: Order = "k-1"  # the pixels that A and B look at
    rank: Annotated[int, at_least(1)] = 8  # r
    alpha: Annotated[float, positive] = 1.0  # alpha / r, by which the change is scaled
    layers: Literal["all", "early", "late"] = "all"  # convolutions that are changed: "late" are those of the last block
    norms: bool = False  # train the norms beside the low-rank changes
    full_lr: Annotated[float, positive] = 1e-3  # peak learning rate of all weights, where all are trained
    norm_lr: Annotated[float, positive] = 1e-3  # of the norms, where these are
    lora_lr: Annotated[float, positive] = 1e-3  # of A and B
    head_lr: Annotated[float, positive] = 1e-3  # of the new head, in every method
    schedule: Schedule = "linear"  # learning rates over the steps


def train(cfg: Config, run: Run) -> None:
    whole = opened_in_colour(cfg.far if cfg.target == "far" else cfg.near, cfg.side).to(run.device)
    run.note(data=whole.source)
    rows = balanced_subset(whole.y, cfg.examples, run.rng("subset")) if cfg.examples else torch.arange(len(whole.y))
    d = whole.take(rows)
    model = pretrained(cfg, run, d.classes)
    choose_trained(cfg, model)
    opt = optimiser(cfg, model)
    schedule = scheduled(opt, cfg)
    batches = Batches(len(d.x), cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:
        rows = batches.at(i).to(run.device)
        x = shift(flip(unit(d.x[rows]), run.rng("flip", i)), run.rng("shift", i), d.shape[-1] // 8)
        return {"train/loss": descend(cross_entropy(model(x).float(), d.y[rows]), opt, schedule)}

    def evaluate() -> dict[str, float]:
        found = {"test/error": error_rate(model, d.test_x, d.test_y), "train/error": error_rate(model, d.x, d.y)}
        if cfg.held_out:
            others = torch.ones(len(whole.y), dtype=torch.bool)
            others[rows] = False
            away = others.nonzero()[:, 0]
            away = away[torch.from_numpy(run.rng("held out").permutation(len(away))[: cfg.held_out])]
            found["validation/error"] = error_rate(model, whole.x[away], whole.y[away])
        return found

    run.result(**{"test/error-majority": d.majority_error})
    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))


OURS = {"network": "resnet", "far": "pacs-sketches", "near": "pacs-photos", "side": 32}
LAPTOP = OURS | {"width": 32, "base_steps": 1500, "base_lr": 0.2, "examples": 40, "steps": 200, "batch": 32}
DIGITS = {"base_dataset": "digits", "far": "digits", "near": "digits"}
TINY = DIGITS | {"side": 8, "width": 2, "base_steps": 4, "examples": 5, "steps": 4, "batch": 8, "log_every": 2}

STUDY = Study(
    name="conv-lora",
    question="Do low-rank changes of its filters adapt a convolutional network as well as training all of it?",
    paper=Paper(
        "LoRA: Low-Rank Adaptation of Large Language Models",
        "Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen",
        2021,
        "https://arxiv.org/abs/2106.09685",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("full", {"method": "full"}, "all weights are trained"),
        Variant("head", {"method": "head"}, "the new head alone"),
        Variant("norms", {"method": "norms"}, "the norms, and the head"),
        Variant("lora", {"rank": 10}),
        Variant("lora-1k", {"order": "1-k"}),
        Variant("lora-kk", {"order": "k-k", "rank": 5}),
        Variant("lora-rank-2", {"rank": 2}),
        Variant("lora-late", {"layers": "late", "rank": 18}),
        Variant("lora-norms", {"norms": True, "rank": 10}),
        Variant("full-near", {"target": "near", "method": "full"}),
        Variant("head-near", {"target": "near", "method": "head"}),
        Variant("lora-near", {"target": "near", "rank": 10}),
    ),
    scales={
        "smoke": Scale(LAPTOP | TINY, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=5, offline=DIGITS),
    },
    claims={
        "low-rank changes err as often as training all": alike("lora", "full", 0.02, "sec. 5"),
    },
    charts=(bars("test/error"),),
    words={"test/error": "test error"},
    idea=low_rank_filter,
)
