"""cifar-training: how a small VGG is trained: the optimiser, the schedule, the inputs, dropout and normalisation.

Every variant changes one thing of the base `sgd`: SGD with momentum, a learning rate that falls along half a cosine,
inputs of mean 0 and deviation 1, neither dropout nor normalisation.

For SGD an L2 penalty and a decay of the weights are the same (prop. 1), for Adam they are not (prop. 2). So Adam can
take over from SGD either of two things, and the two variants differ in nothing else: `adam` has SGD's penalty, the
same loss; `adamw` has SGD's decay, the same share of every weight a step.

    etudes run cifar-training                  5 minutes on two cores, 12 variants, 5 seeds
    etudes run cifar-training --scale paper    all of CIFAR-10, 100 epochs, on a GPU

All variants take the same steps. All schedules have the same peak, so their mean rates differ. Dropout and batch
normalisation stand behind each block and the dense layer, in both orders, with equal rates; normalisation stands behind
the first convolution of each block too. So some normalisation follows some dropout in either order.

Departures from the papers: their networks are ResNets, and a VGG with normalisation and dropout; pictures are not
augmented. At laptop scale 1,000 pictures of 16 pixels and 40 epochs: comparisons at equal steps.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from etudes.core.claims import Claim, Trial, above, below, difference, within
from etudes.core.run import Run
from etudes.core.spec import Paper, Scale, Study, Variant
from etudes.data.batches import Batches
from etudes.data.images import Images, images, unit
from etudes.data.labels import few
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.measure.error import error_rate, evaluating
from etudes.measure.size import count_parameters
from etudes.nn.norm import Standardise
from etudes.nn.vgg import Order, vgg
from etudes.reports.charts import bars, curves
from etudes.train.distribute import part
from etudes.train.loop import fit
from etudes.train.recipe import Recipe, descend, scheduled, seeded, sgd


@dataclass(frozen=True)
class Config(Recipe):
    dataset: str = "cifar10"  # a picture set, as listed by `etudes data`
    examples: Annotated[int, above(0)] = 0  # training pictures a class; 0: all
    side: Annotated[int, above(8)] = 32  # height and width in pixels to which the pictures are brought
    width: Annotated[int, above(1)] = 32  # channels of the first block; each later one has twice as many
    standardise: bool = True  # inputs of mean 0 and deviation 1 a channel; else in [0, 1]
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"  # SGD with momentum, Adam, or AdamW
    lr: Annotated[float, above(0)] = 0.02  # peak learning rate of SGD
    momentum: Annotated[float, within(0, 0.999)] = 0.9  # of SGD
    weight_decay: Annotated[float, above(0)] = 5e-4  # L2 penalty of SGD and Adam; AdamW decays as fast as SGD by it
    adam_lr: Annotated[float, above(1e-9)] = 0.001  # peak learning rate of Adam
    adamw_lr: Annotated[float, above(1e-9)] = 0.001  # peak learning rate of AdamW
    dropout: Annotated[float, within(0, 0.9)] = 0.0  # share set to zero behind each block and the dense layer
    norm: Literal["none", "batch"] = "none"  # normalisation behind every convolution and the dense layer
    order: Order = "norm-dropout"  # which of the two comes first


def decay(cfg: Config) -> float:
    """The share of every weight that SGD's weight decay takes in a step at the peak learning rate.

    An L2 penalty is a decay of learning rate times penalty (prop. 1), and momentum m applies each gradient, in the end,
    1 / (1 - m) times.
    """
    return cfg.lr * cfg.weight_decay / (1 - cfg.momentum)


def optimiser(model: nn.Module, cfg: Config) -> tuple[Optimizer, LambdaLR]:
    """SGD, Adam with SGD's L2 penalty in its gradient, or AdamW with SGD's decay (algorithms 1 and 2), each with the
    recipe's schedule, which AdamW's decay follows."""
    if cfg.optimiser == "sgd":
        return sgd(model, cfg)
    opt: Optimizer
    if cfg.optimiser == "adam":
        opt = Adam(model.parameters(), lr=cfg.adam_lr, weight_decay=cfg.weight_decay)
    else:  # PyTorch multiplies the decay by the learning rate
        opt = AdamW(model.parameters(), lr=cfg.adamw_lr, weight_decay=decay(cfg) / cfg.adamw_lr)
    return opt, scheduled(opt, cfg)


def network(cfg: Config, d: Images) -> nn.Sequential:
    """Pictures [n, c, side, side] in [0, 1] to logits [n, classes]."""
    rates = (cfg.dropout,) * 4
    body = vgg(d.shape[0], d.classes, cfg.side, width=cfg.width, kind=cfg.norm, rates=rates, order=cfg.order)
    return nn.Sequential(Standardise(d.mean, d.std), *body) if cfg.standardise else body


def mean_loss(model: nn.Module, d: Images) -> float:
    """The cross entropy over all training pictures, in nats, in evaluation mode: without dropout."""
    with evaluating(model):
        batches = zip(d.x.split(500), d.y.split(500), strict=True)
        losses = [cross_entropy(model(unit(x)), one_hot(y, d.classes)) * len(x) for x, y in batches]
    return torch.stack(losses).sum().item() / len(d.x)


def train(cfg: Config, run: Run) -> None:
    d = images(cfg.dataset)
    if cfg.examples:
        d = d.take(few(d.y, cfg.examples, run.rng("subset")))
    run.note(data=d.source)
    d = d.resized(cfg.side).to(run.device)

    model = seeded(run, "init", lambda: network(cfg, d))
    opt, schedule = optimiser(model, cfg)
    batches = Batches(len(d.x), cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:
        pick = batches.at(i).to(run.device)
        x, y = part(unit(d.x[pick]), one_hot(d.y[pick], d.classes))
        return {"train/loss": descend(cross_entropy(model(x), y), opt, schedule)}

    def evaluate() -> dict[str, float]:
        return {
            "test/error": error_rate(model, d.test_x, d.test_y),
            "train/error": error_rate(model, d.x, d.y),
            "train/cross-entropy": mean_loss(model, d),
        }

    parts = {"model": model, "opt": opt, "schedule": schedule}
    final = fit(run, parts, step, cfg.steps, evaluate=evaluate, eval_every=cfg.eval_every, log_every=cfg.log_every)
    run.result(**final, parameters=count_parameters(model), **{"test/error-majority": d.majority_error})


def _both_against_one(trial: Trial) -> float:
    """The test error with dropout behind normalisation, minus that of the better of the two alone."""
    return trial["norm-dropout"]["test/error"] - min(trial[name]["test/error"] for name in ("dropout", "batch-norm"))


DROPOUT = {"dropout": 0.2}
NORM = {"norm": "batch"}
RATES = {"lr": 0.02, "adam_lr": 0.003, "adamw_lr": 0.003}
SMALL = RATES | {"side": 16, "width": 16, "examples": 100, "batch": 50, "weight_decay": 5e-3}
SCHEDULES = ("sgd", "constant", "step-decay", "warm-up", "restarts")

STUDY = Study(
    name="cifar-training",
    question="Which optimiser, schedule, inputs and order of dropout and normalisation train a small VGG best?",
    paper=Paper(
        "Decoupled Weight Decay Regularization",
        "Loshchilov, Hutter",
        2019,
        "https://arxiv.org/abs/1711.05101",
    ),
    config=Config,
    program=train,
    threads=1,
    variants=(
        Variant("sgd", says="the base: momentum, cosine, standardised inputs"),
        Variant("adam", {"optimiser": "adam"}, "SGD's L2 penalty in the gradient"),
        Variant("adamw", {"optimiser": "adamw"}, "SGD's decay, apart from the gradient"),
        Variant("constant", {"schedule": "constant"}, "the peak learning rate throughout"),
        Variant("step-decay", {"schedule": "decay"}, "a tenth from half of the steps on, a hundredth from 3/4"),
        Variant("warm-up", {"schedule": "warmup"}, "rising over a tenth of the steps, then the cosine"),
        Variant("restarts", {"schedule": "restarts"}, "three cosines, each twice as long as the one before"),
        Variant("raw-inputs", {"standardise": False}, "inputs in [0, 1]"),
        Variant("dropout", DROPOUT, "0.2 behind each block and the dense layer"),
        Variant("batch-norm", NORM, "behind every convolution and the dense layer"),
        Variant("norm-dropout", NORM | DROPOUT, "both, normalisation before dropout"),
        Variant("dropout-norm", NORM | DROPOUT | {"order": "dropout-norm"}, "both, dropout before normalisation"),
    ),
    scales={
        "smoke": Scale(
            SMALL | {"dataset": "digits", "side": 8, "width": 8, "examples": 10, "steps": 3, "log_every": 1},
            seeds=1,
            minutes=0.1,
            judges=False,
        ),
        "laptop": Scale(SMALL | {"steps": 800}, seeds=5, minutes=5, offline={"dataset": "digits"}),
        "paper": Scale({"steps": 39_063, "eval_every": 3_907, "log_every": 100}, seeds=3, minutes=300),
    },
    claims=(
        Claim(
            "AdamW below Adam",
            "AdamW has a lower test error than Adam with an L2 penalty",
            "sec. 4.1 and 4.3",
            difference("adamw", "adam"),
            below(0),
        ),
        Claim(
            "SGD below Adam",
            "SGD with momentum has a lower test error than Adam",
            "Wilson et al. 2017, arXiv:1705.08292, sec. 4",
            difference("sgd", "adam"),
            below(0),
        ),
        Claim(
            "cosine below constant",
            "a learning rate that falls along a cosine has a lower test error than one that stays",
            "sec. 4.1; the schedule: Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5",
            difference("sgd", "constant"),
            below(0),
        ),
        Claim(
            "standardised inputs learn faster",
            "after equal steps the training loss is lower with standardised inputs than with inputs in [0, 1]",
            "LeCun et al. 1998, Efficient BackProp, sec. 4.3",
            difference("sgd", "raw-inputs", "train/cross-entropy"),
            below(0),
        ),
        Claim(
            "normalisation before dropout",
            "with both, normalising before dropout has a lower test error than after it",
            "Li et al. 2019, arXiv:1801.05134, abstract",
            difference("norm-dropout", "dropout-norm"),
            below(0),
        ),
        Claim(
            "disharmony",
            "dropout before normalisation has a higher test error than normalisation alone",
            "Li et al. 2019, fig. 1: DenseNet on CIFAR-100",
            difference("dropout-norm", "batch-norm"),
            above(0),
            paper=0.7742 - 0.6855,
        ),
        Claim(
            "complementary",
            "normalisation, then dropout, has a lower test error than the better of the two alone",
            "Brownlee 2019, last rung; Li et al. 2019 with dropout behind all normalisation",
            _both_against_one,
            below(0),
        ),
    ),
    charts=(
        bars("test/error", "train/error"),
        bars("train/cross-entropy"),
        curves("train/loss", title="Schedules", variants=SCHEDULES),
        curves("train/loss", title="Optimisers", variants=("sgd", "adam", "adamw")),
        curves("train/loss", title="Inputs", variants=("sgd", "raw-inputs")),
    ),
    origin="C",
)
