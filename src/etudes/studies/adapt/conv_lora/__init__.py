"""conv-lora: a pretrained convolutional network is adapted by low-rank changes of its filters.

All filters W stay as they are; beside each, two thin ones are trained, of rank r and with B = 0 at first (sec. 4.1):

    W' = W + (alpha / r) B A.

B A is a filter again where one of the two looks at a single pixel, and is then merged into W after training.

    etudes run conv-lora                    5 minutes on two cores, 12 variants, 5 seeds (to 20 with --until decided)
    etudes run conv-lora --scale sketches   8 minutes, 5 variants, 1 seed: EfficientNet-Lite0 of ImageNet's weights
    etudes run conv-lora --scale blood      3 minutes, 5 variants, 1 seed: the same, on five types of blood cells
    etudes run conv-lora --scale cars       14 minutes, 5 variants, 1 seed: the same, on 196 kinds of cars
    etudes run conv-lora --scale cars-lite2    20 minutes, 5 variants, 1 seed: the larger EfficientNet-Lite2
    etudes run conv-lora --scale paper      120 minutes on a GPU, 5 variants, 3 seeds: Lite2 at its own 260 pixels

To expect: with the norms trained too, low-rank changes err as often as training all; with the norms frozen, as in the
paper, they fall behind on sketches, and less so on photos, which are nearer to what the base has seen.

Departures from the paper: it adapts Transformers. A small residual network trained on CIFAR-10 takes their place, one
for all seeds. The paper freezes norms, as `lora-frozen` does; `lora` trains them. Adam has no weight decay.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from etudes.core import Claim, Paper, Run, Scale, Study, Variant, above, alike, at_least, lower, positive
from etudes.data.augment import flip, shift
from etudes.data.batches import Batches
from etudes.data.images import unit
from etudes.data.labels import balanced_subset
from etudes.measure.error import error_rate
from etudes.nn.lora import Order, low_rank_filter
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves, plane
from etudes.studies.adapt.conv_lora.findings import (
    closed_share,
    dearer_far,
    measure_memory,
    measure_merged,
    save_trained,
    validation_rows,
)
from etudes.studies.adapt.conv_lora.methods import choose_trained, optimiser
from etudes.studies.adapt.conv_lora.networks import opened_in_colour, pretrained
from etudes.train import Steps, descend, fitted, part, scheduled


@dataclass(frozen=True)
class Config(Steps):
    network: Literal["resnet", "lite0", "lite2"] = "lite2"  # ours, or EfficientNet-Lite with ImageNet's weights
    enlarged: Annotated[int, at_least(0)] = 0  # pixels to which Lite enlarges what it looks at; 0: none
    width: Annotated[int, at_least(1)] = 64  # of ours: its last block has 8 times as many channels
    base_dataset: str = "cifar10"  # on which ours is pretrained
    base_steps: Annotated[int, at_least(1)] = 10_000  # of that pretraining
    base_batch: Annotated[int, at_least(1)] = 128  # pictures a step of it
    base_lr: Annotated[float, positive] = 0.2  # its peak learning rate, of SGD
    far: str = "stanford-cars"  # the set to which the network is adapted: one far from the base's
    near: str = "pacs-photos"  # and one near
    target: Literal["far", "near"] = "far"  # which of the two
    side: Annotated[int, at_least(0)] = 0  # pixels of a side; 0: as the sets have them
    examples: Annotated[int, at_least(0)] = 0  # training pictures a class; 0: all
    held_out: Annotated[int, at_least(0)] = 0  # other training pictures, at most, by which settings are chosen
    method: Literal["full", "head", "norms", "lora"] = "lora"  # what is trained; the new head always
    order: Order = "k-1"  # the pixels that A and B look at
    rank: Annotated[int, at_least(1)] = 8  # r
    scaling: Annotated[float, positive] = 1.0  # alpha / r
    layers: Literal["all", "early", "late"] = "all"  # convolutions that are changed: "late" are those of the last block
    norms: bool = True  # whether the norms are trained beside the low-rank changes, or frozen as in the paper
    full_lr: Annotated[float, positive] = 1e-3  # peak learning rate of all weights, where all are trained
    lora_lr: Annotated[float, positive] = 1e-3  # of A and B
    double_lr: Annotated[float, positive] = 1e-3  # of A and B where both are k x k
    frozen_lr: Annotated[float, positive] = 1e-3  # of A and B where the norms are frozen
    norm_lr: Annotated[float, positive] = 1e-3  # of the norms beside A and B
    head_lr: Annotated[float, positive] = 1e-3  # of the new head beside other weights
    alone_lr: Annotated[float, positive] = 1e-2  # of the new head alone, and of the norms where they are trained alone
    schedule: Schedule = "warmup"  # learning rates over the steps


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
    away = validation_rows(rows, len(whole.y), cfg.held_out, run)

    def step(i: int) -> dict[str, Tensor]:
        rows = batches.at(i).to(run.device)
        x = shift(flip(unit(d.x[rows]), run.rng("flip", i)), run.rng("shift", i), d.shape[-1] // 8)
        x, y = part(x, d.y[rows])
        return {"train/loss": descend(cross_entropy(model(x).float(), y), opt, schedule)}

    def evaluate() -> dict[str, float]:
        found = {"test/error": error_rate(model, d.test_x, d.test_y), "train/error": error_rate(model, d.x, d.y)}
        if len(away):
            found["validation/error"] = error_rate(model, whole.x[away], whole.y[away])
        return found

    run.result(**{"test/error-majority": d.majority_error})
    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))
    measure_memory(run, model, unit(d.x[: cfg.batch]), d.y[: cfg.batch])
    save_trained(run.path("trained.safetensors"), model)
    measure_merged(run, model, d)


OURS = {"network": "resnet", "far": "pacs-sketches", "near": "pacs-photos", "side": 32}
CHOSEN = {"lora_lr": 1e-2, "double_lr": 5e-3, "frozen_lr": 5e-3, "norm_lr": 1e-2, "head_lr": 1e-2, "alone_lr": 1e-1}
LAPTOP = OURS | CHOSEN | {"width": 32, "base_steps": 1500, "examples": 40, "steps": 200, "batch": 32}
DIGITS = {"base_dataset": "digits", "far": "digits", "near": "digits"}
TINY = {"side": 8, "width": 4, "base_steps": 3, "base_batch": 16, "examples": 2, "steps": 3, "batch": 8, "log_every": 2}
FULL, FROZEN, NEAR = {"method": "full"}, {"norms": False, "rank": 10}, {"target": "near"}
FIRST = ("full", "head", "norms", "lora", "lora-frozen")
RATES = {"full_lr": 3e-4, "lora_lr": 3e-3, "frozen_lr": 1e-3, "norm_lr": 3e-3, "head_lr": 3e-3, "alone_lr": 3e-2}
LITE = RATES | {"network": "lite0", "batch": 32}
ALONE = {"seeds": 1, "judges": False, "variants": FIRST}
ALIKE, MATTERS = 0.03, 0.01  # of the test error: two ways are alike, and one is better
BEYOND = "beyond the paper"
SECTIONS = {
    "to sketches, far from the base": FIRST,
    "to photos, near": ("full-near", "lora-near", "lora-frozen-near"),
    "to sketches, other low-rank changes": ("lora-1k", "lora-kk", "lora-late", "lora-rank-2"),
}

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
        Variant("full", FULL, "sketches: all weights are trained"),
        Variant("head", {"method": "head"}, "sketches: the new head alone"),
        Variant("norms", {"method": "norms"}, "sketches: the norms, and the head"),
        Variant("lora", {"rank": 10}, "sketches: as norms, and A of k x k and B of 1 x 1 beside every filter, rank 10"),
        Variant("lora-frozen", FROZEN, "as lora with the norms frozen, as in the paper"),
        Variant("lora-1k", {"order": "1-k", "rank": 8}, "as lora with A of 1 x 1 and B of k x k, as many numbers"),
        Variant("lora-kk", {"order": "k-k", "rank": 5}, "as lora with A and B of k x k, as many numbers; never merged"),
        Variant("lora-late", {"layers": "late", "rank": 18}, "as lora in the last block alone, as many numbers"),
        Variant("lora-rank-2", {"rank": 2}, "as lora of rank 2"),
        Variant("full-near", NEAR | FULL, "photos: all weights are trained"),
        Variant("lora-near", NEAR | {"rank": 10}, "photos: as lora"),
        Variant("lora-frozen-near", NEAR | FROZEN, "photos: as lora-frozen"),
    ),
    scales={
        "smoke": Scale(LAPTOP | DIGITS | TINY, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=5, offline=DIGITS),
        "sketches": Scale(LITE | {"far": "pacs-sketches", "steps": 400}, minutes=8, **ALONE),
        "blood": Scale(LITE | {"far": "blood-cell-types", "steps": 120}, minutes=3, **ALONE),
        "cars": Scale(LITE | {"steps": 800}, minutes=14, **ALONE),
        "cars-lite2": Scale(LITE | {"network": "lite2", "steps": 800}, minutes=20, **ALONE),
        "paper": Scale(
            LITE | {"network": "lite2", "enlarged": 260, "steps": 5000},
            seeds=3,
            minutes=120,
            judges=False,
            variants=FIRST,
        ),
    },
    claims={
        "on sketches low-rank changes, with the norms trained too, err as often as training all weights, "
        "within 3 points": alike("lora", "full", ALIKE, "sec. 5"),
        "on photos low-rank changes, with the norms trained too, err as often as training all weights, "
        "within 3 points": alike("lora-near", "full-near", ALIKE, "sec. 5"),
        "on sketches low-rank changes with frozen norms err as often as training all weights, within 3 points": alike(
            "lora-frozen", "full", ALIKE, "sec. 5"
        ),
        "on sketches low-rank changes with frozen norms err less often than training the head alone": lower(
            "lora-frozen", "head", "sec. 5", matters=MATTERS
        ),
        "on sketches low-rank changes and norms err less often than norms alone": lower(
            "lora", "norms", "sec. 5 (of biases, in table 2)", matters=MATTERS
        ),
        "on sketches low-rank changes and norms close more than half of the gap between the head alone and "
        "all weights": Claim(
            closed_share("lora"), above(0.5), "sec. 5", number="share of the gap in test error that lora closes"
        ),
        "freezing the norms costs low-rank changes more on sketches than on photos": Claim(
            dearer_far("lora-frozen", "lora"),
            above(0),
            BEYOND,
            number="test/error of lora-frozen less that of lora, on sketches less the same on photos",
        ),
        "rank 2 errs as often as rank 10, within 3 points": alike("lora-rank-2", "lora", ALIKE, "sec. 7.2, table 6"),
        "at equal size, changes of all convolutions err less often than changes of the last block's": lower(
            "lora", "lora-late", "sec. 7.1, table 5", matters=MATTERS
        ),
        "at equal size, A of 1 x 1 before B of k x k errs as often as the reverse, within 3 points": alike(
            "lora-1k", "lora", ALIKE, BEYOND
        ),
        "at equal size, A and B both of k x k err as often as A of k x k and B of 1 x 1, within 3 points": alike(
            "lora-kk", "lora", ALIKE, BEYOND
        ),
    },
    words={
        "test/error": "test error",
        "parameters": "numbers that are trained",
        "train/trained-share": "share of the network's numbers that is trained",
        "train/megabytes-step": "megabytes of a training step, by formula",
        "train/megabytes-activations": "megabytes kept for the way back, by formula",
        "train/megabytes-optimiser": "megabytes of the optimiser's moments",
        "train/largest-batch": "largest batch in a gigabyte, by formula (65,536 at most)",
        "test/error-majority": "test error of always the most frequent class",
    },
    idea=low_rank_filter,
    charts=(
        bars("test/error", title="Test error by what is trained", sections=SECTIONS),
        plane(
            ("parameters", "test/error"),
            log_x=True,
            variants=(*FIRST, "lora-1k", "lora-kk", "lora-late", "lora-rank-2"),
            title="Test error on sketches against how much is trained",
        ),
        bars(
            "train/megabytes-optimiser",
            "train/megabytes-activations",
            title="Memory of a step: what low-rank changes save, and what not",
            sections={"sketches": (*FIRST, "lora-late")},
        ),
        curves("train/loss", title="Training loss", variants=(*FIRST, "lora-rank-2")),
    ),
    origin="A5",
)
