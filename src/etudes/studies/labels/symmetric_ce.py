"""symmetric-ce: cross entropy and its reverse together, against wrong labels.

For a one-hot label q and probabilities p the loss is alpha H(q, p) + beta H(p, q), with A = -4 in place of log 0. The
reverse part is -A (1 - p_y), bounded. Its pull at the logit of the label, -A p_y (1 - p_y), is strongest half way, and
gone where the label looks impossible; cross entropy's, 1 - p_y, is strongest there.

    etudes run symmetric-ce                   4 minutes on two cores, 27 variants, 5 seeds (to 20 with --until decided)
    etudes run symmetric-ce --scale mnist     MNIST-5k in place of Fashion-MNIST, 5 seeds: 4 minutes
    etudes run symmetric-ce --scale cifar     4,000 pictures of CIFAR-10, 3 seeds: 150 minutes
    etudes run symmetric-ce --scale paper     the paper's network and epochs of CIFAR-10, 5 seeds: 40 hours on a GPU

To expect: cross entropy learns wrong labels by heart, the symmetric loss fewer of them.

Departures from the paper at laptop scale: Fashion-MNIST at 12 pixels, 500 training pictures, a narrower form of the
paper's network for MNIST. Everywhere: steps for epochs, one learning rate for all losses, and at paper scale that of
the authors' code, shifts by an eighth of the side, and a learning rate that falls at one half and three quarters.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from etudes.core import (
    Claim,
    Paper,
    Problem,
    Run,
    Scale,
    Study,
    Variant,
    alike,
    at_least,
    below,
    difference,
    higher,
    lower,
    within,
)
from etudes.core.claims import Measure
from etudes.data.images import Images, images
from etudes.data.labels import asymmetric_noise, balanced_subset, lookalikes, symmetric_noise
from etudes.losses import noisy
from etudes.measure.classes import by_difficulty, class_errors
from etudes.measure.error import error_rate
from etudes.nn.norm import Standardise
from etudes.nn.plain import plain_cnn
from etudes.reports.charts import bars, curves
from etudes.train import PictureRecipe, descend, fitted, part, seeded, sgd, shown


@dataclass(frozen=True)
class Config(PictureRecipe):
    measures: Literal["training", "pull"] = "training"  # of a network, or how the losses pull at a label's logit
    blocks: tuple[int, ...] = (8, 16)  # channels of each block of 3x3 convolutions, which ends in a 2x2 pool
    convolutions: Annotated[int, at_least(1)] = 1  # in each block
    dense: Annotated[int, at_least(1)] = 64  # units of the hidden dense layer
    loss: Literal["symmetric", "clamped", "generalised"] = "symmetric"  # clamped: as a popular version computes it
    alpha: Annotated[float, at_least(0)] = 1.0  # weight of cross entropy
    beta: Annotated[float, at_least(0)] = 0.0  # weight of the reverse cross entropy
    log_zero: float = noisy.A  # what stands for log 0, the paper's A, in nats
    q: Annotated[float, within(0, 1)] = 0.7  # of the generalised cross entropy
    kind: Literal["symmetric", "asymmetric"] = "symmetric"  # another class at random, or the one that looks alike
    noise: Annotated[float, within(0, 1)] = 0.0  # share of labels made wrong; asymmetric: of the classes mistaken
    validation: Annotated[int, at_least(1)] = 500  # training pictures kept apart, with their right labels
    tested: Annotated[int, at_least(0)] = 0  # test pictures that are looked at; 0: all


EASY, HARD = "test/error-easy", "test/error-hard"
EXTREME = 3  # classes that are called easy, and as many hard


def loss(cfg: Config, logits: Tensor, labels: Tensor) -> Tensor:
    if cfg.loss == "generalised":
        return noisy.generalised_cross_entropy(logits, labels, cfg.q)
    if cfg.loss == "clamped":
        return noisy.clamped_symmetric_cross_entropy(logits, labels, cfg.alpha, cfg.beta)
    return noisy.symmetric_cross_entropy(logits, labels, cfg.alpha, cfg.beta, cfg.log_zero)


def pictures_of(cfg: Config, run: Run) -> tuple[Images, Images, list[int]]:
    """Pictures to train on, with those to test on; others for validation (their training part); and the classes by
    difficulty. Raises Problem where there are too few pictures."""
    whole = images(cfg.dataset)
    run.note(data=whole.source)
    if cfg.validation >= len(whole.y):
        raise Problem(f"validation={cfg.validation} leaves none of {len(whole.y)} pictures to train on; take fewer")
    order = torch.from_numpy(run.rng("held out").permutation(len(whole.y)))
    held, rest = whole.take(order[: cfg.validation]), order[cfg.validation :]
    kept = whole.take(rest[balanced_subset(whole.y[rest], cfg.examples, run.rng("subset"))] if cfg.examples else rest)
    tested = torch.from_numpy(run.rng("tested").permutation(len(whole.test_y)))[: cfg.tested or None]
    kept = replace(kept, test_x=kept.test_x[tested], test_y=kept.test_y[tested])
    run.result(**{"test/error-majority": kept.majority_error})
    d, v = ((some.resize(cfg.side) if cfg.side else some).to(run.device) for some in (kept, held))
    return d, v, by_difficulty(whole.x[:5000], whole.y[:5000])


def train(cfg: Config, run: Run) -> None:
    if cfg.measures == "pull":
        log_pulls(cfg, run)
        return
    d, held, order = pictures_of(cfg, run)
    if cfg.kind == "asymmetric":
        labels = asymmetric_noise(d.y, cfg.noise, lookalikes(d.name, d.labels), run.rng("label noise"))
    else:
        labels = symmetric_noise(d.y, cfg.noise, d.classes, run.rng("label noise"), others=True)
    wrong = labels != d.y
    body = seeded(run, "init", lambda: plain_cnn(*d.shape[:2], d.classes, cfg.blocks, cfg.convolutions, cfg.dense))
    model = nn.Sequential(Standardise(d.mean, d.std).to(run.device), body)
    opt, schedule = sgd(model, cfg)
    pictures = shown(cfg, run, d)

    def step(i: int) -> dict[str, Tensor]:
        rows, x = pictures(i)
        x, y = part(x, labels[rows])
        return {"train/loss": descend(loss(cfg, model(x), y), opt, schedule)}

    def evaluate() -> dict[str, float]:
        each = class_errors(model, d.test_x, d.test_y, order)
        errors = {f"class-{rank}": error for rank, error in enumerate(each, 1)}
        errors |= {EASY: sum(each[:EXTREME]) / EXTREME, HARD: sum(each[-EXTREME:]) / EXTREME}
        errors["test/error"] = error_rate(model, d.test_x, d.test_y)
        errors["validation/error"] = error_rate(model, held.x, held.y)
        for kind, rows in {"right": ~wrong, "wrong": wrong}.items():
            if rows.any():
                errors[f"train/error-{kind}-labels"] = error_rate(model, d.x[rows], labels[rows])
        return errors

    found = fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate)
    run.result(**{name: value for name, value in found.items() if "/" in name or name == "parameters"})
    looks = run.logged("validation/error")
    best = min(range(len(looks)), key=looks.__getitem__)
    run.result(**{f"{name}-best": run.logged(name)[best] for name in ("test/error", EASY, HARD)})
    run.result(**{"train/wrong-labels": wrong.double().mean()})


def log_pulls(cfg: Config, run: Run) -> None:
    """Log how each loss pulls at the logit of a label of 1 to 99 %, by autograd; those at 1 % into the result."""
    p = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    logits = torch.stack([p.logit(), torch.zeros_like(p)], 1).float().requires_grad_()
    labels = torch.zeros(len(p), dtype=torch.long)
    pulls = {}
    for name, changes in CHANGES.items():
        (gradient,) = torch.autograd.grad(len(p) * loss(replace(cfg, **changes), logits, labels), logits)
        pulls[name] = -gradient[:, 0]
    for i in range(len(p)):
        run.log(i + 1, **{CALLED[name]: pull[i].item() for name, pull in pulls.items()})
    run.result(**{f"train/pull-{name}": pull[0] for name, pull in pulls.items()})


CHANGES: dict[str, dict[str, Any]] = {
    "ce": {"alpha": 1.0, "beta": 0.0},
    "sce": {"alpha": 0.1, "beta": 1.0},  # the paper's choice on CIFAR-10
    "gce": {"loss": "generalised"},
    "rce": {"alpha": 0.0, "beta": 1.0},
}
CALLED = {"ce": "cross-entropy", "sce": "symmetric", "gce": "generalised", "rce": "reverse-part"}
TRIED = ("ce", "sce", "gce")  # with all kinds of labels
LABELS: dict[str, dict[str, Any]] = {
    "": {},
    **{f"-{percent}": {"noise": percent / 100} for percent in (20, 40, 60, 80)},
    **{f"-alike-{percent}": {"noise": percent / 100, "kind": "asymmetric"} for percent in (20, 40)},
}

CNN = {"dataset": "cifar10", "convolutions": 2}
SIZE = {"side": 12, "examples": 50, "batch": 50, "steps": 300, "eval_every": 50, "log_every": 50, "lr": 0.03}
LAPTOP = SIZE | {"dataset": "fashion-mnist", "tested": 1500}
OFFLINE = {"dataset": "digits", "side": 8, "examples": 80, "validation": 300}
FEW = {"blocks": (2,), "dense": 4, "examples": 4, "batch": 40, "steps": 4, "eval_every": 2}
SMOKE = FEW | {"dataset": "digits", "side": 8, "validation": 100, "tested": 100}
CIFAR = CNN | {"blocks": (16, 32, 48), "examples": 400, "batch": 100, "steps": 2000, "eval_every": 100}
LONG = {"steps": 46_000, "eval_every": 1_150, "log_every": 100, "lr": 0.01, "schedule": "decay", "augment": True}
PAPER = CNN | LONG | {"blocks": (64, 128, 196), "dense": 256, "validation": 1000}

MATTERS = 0.03  # of test errors: what two trainings of one kind differ by at this size
AT_40 = ("ce-40", "sce-40", "rce-40", "gce-40")
BY = "loss, alpha, beta"
SECTIONS = {
    "right labels": (*TRIED, "rce"),
    "40 % random labels": (*AT_40, "sce-40-heavy", "sce-40-light", "sce-40-clamped"),
    "20, 60 and 80 % random labels": [f"{name}-{percent}" for percent in (20, 60, 80) for name in TRIED],
    "labels of similar classes": [f"{name}-alike-{percent}" for percent in (20, 40) for name in TRIED],
}
ROWS: dict[str, Any] = {"by": BY, "sections": SECTIONS}
SHARES = (20, 40, 60)  # per cent of random labels
HALF = "with 40 % random labels"  # nearly half of them


def less(measure: Measure, where: str, number: str) -> Claim:
    return Claim(measure, below(0), where, matters=MATTERS, number=number)


STUDY = Study(
    name="symmetric-ce",
    question="Does adding the reverse cross entropy keep wrong labels from being learnt, and at what price?",
    paper=Paper(
        "Symmetric Cross Entropy for Robust Learning with Noisy Labels",
        "Wang, Ma, Chen, Luo, Yi, Bailey",
        2019,
        "https://arxiv.org/abs/1908.06112",
    ),
    config=Config,
    program=train,
    variants=(
        *(Variant(f"{name}{end}", CHANGES[name] | changes) for end, changes in LABELS.items() for name in TRIED),
        Variant("rce", CHANGES["rce"], "the reverse part alone"),
        Variant("rce-40", CHANGES["rce"] | LABELS["-40"]),
        Variant("sce-40-heavy", {"alpha": 1.0, "beta": 1.0} | LABELS["-40"], "ten times as much cross entropy"),
        Variant("sce-40-light", {"alpha": 0.01, "beta": 1.0} | LABELS["-40"], "a tenth as much"),
        Variant("sce-40-clamped", CHANGES["sce"] | LABELS["-40"] | {"loss": "clamped"}, "log 0 is -9.21"),
        Variant("pull", {"measures": "pull"}, "no training: how each loss pulls at the label's logit"),
    ),
    scales={
        "smoke": Scale(SMOKE, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=4, offline=OFFLINE),
        "mnist": Scale(LAPTOP | {"dataset": "mnist-5k", "tested": 0}, seeds=5, minutes=4),
        "cifar": Scale(CIFAR, seeds=3, minutes=150),
        "paper": Scale(PAPER, seeds=5, minutes=2400),
    },
    words={
        "test/error": "test error",
        "test/error-best": "test error at the least validation error",
        "test/error-easy": "test error on the easy classes",
        "test/error-hard": "test error on the hard classes",
        "train/error-wrong-labels": "training error on the wrong labels",
    },
    idea=noisy.symmetric_cross_entropy,
    claims={
        "with 20, 40 and 60 % random labels the symmetric loss ends with a lower test error than cross entropy": less(
            lambda trial: max(difference(f"sce-{percent}", f"ce-{percent}")(trial) for percent in SHARES),
            "experiments, CIFAR-10",
            "test/error: sce minus ce, the largest of the three",
        ),
        f"{HALF} the symmetric loss ends with a lower test error than generalised cross entropy": lower(
            "sce-40", "gce-40", "experiments, CIFAR-10", matters=MATTERS
        ),
        f"{HALF} the symmetric loss errs less than cross entropy also where each is stopped at its least validation "
        "error": lower("sce-40", "ce-40", "no paper", of="test/error-best", matters=MATTERS),
        "of 20 % wrong labels in all the symmetric loss makes up for less if they are those of similar classes than if "
        "they are random": less(
            lambda trial: difference("sce-20", "ce-20")(trial) - difference("sce-alike-40", "ce-alike-40")(trial),
            "experiments, CIFAR-10",
            "test/error: sce minus ce, with random labels minus with similar ones",
        ),
        f"{HALF} cross entropy errs more on the easy classes at the end than at its least validation error": higher(
            ("ce-40", EASY), ("ce-40", f"{EASY}-best"), "introduction, fig. 1"
        ),
        "40 % random labels raise cross entropy's final test error by more on the hard classes than on the easy": less(
            lambda trial: difference("ce-40", "ce", EASY)(trial) - difference("ce-40", "ce", HARD)(trial),
            "introduction, fig. 1",
            "rise of ce's test error by the labels: on easy minus on hard classes",
        ),
        "averaged over 20, 40 and 60 % random labels the symmetric loss ends with a lower error on the hard classes "
        "than cross entropy": less(
            lambda trial: sum(difference(f"sce-{percent}", f"ce-{percent}", HARD)(trial) for percent in SHARES) / 3,
            "experiments, class-wise",
            "test error on the hard classes: sce minus ce, the mean of the three",
        ),
        "on right labels the reverse part alone leaves more of them unlearnt than cross entropy": higher(
            "rce", "ce", "experiments, terms alone", of="train/error-right-labels"
        ),
        f"{HALF} the symmetric loss ends with a higher test error if it has ten times as much cross entropy": higher(
            "sce-40-heavy", "sce-40", "experiments, alpha", matters=MATTERS
        ),
        f"{HALF} -9.21 in place of -4 for log 0 changes the symmetric loss's test error by at most 0.03": alike(
            "sce-40-clamped", "sce-40", MATTERS, "no paper"
        ),
    },
    charts=(
        curves("test/error", title="Test error while 40 % of the labels are wrong", variants=AT_40, by=BY),
        curves(
            *CALLED.values(),
            title="How strongly each loss pulls at the label's logit",
            variants=("pull",),
            facet=True,
            step="probability of the label, in per cent",
        ),
        curves(
            *(f"class-{rank}" for rank in (1, 3, 5, 6, 8, 10)),
            title="Test error on six classes, from the easiest (1) to the hardest (10)",
            variants=("ce", *AT_40[:3]),
            facet=True,
        ),
        bars("test/error", "test/error-best", title="Test error: last, and at the least validation error", **ROWS),
        bars(EASY, HARD, "train/error-wrong-labels", title="Errors on easy, hard and wrongly labelled", **ROWS),
    ),
    precision="fp32",
    origin="C",
)
