"""rotnet: learn features without labels, by telling how far pictures were turned.

A picture x_i is shown in K turns g(x_i, y), by 0, 90, 180 and 270 degrees where K is 4, and a network is to name the
turn: the loss is -1 / (n K) sum over i and y of log F(g(x_i, y))_y (eqs. 2 and 3). To know what is upright it has to
know what is in the picture. Then its blocks serve another network, which has few labels.

    etudes run rotnet                  6 minutes on two cores, 20 variants, 5 seeds (to 20 with --until decided)
    etudes run rotnet --scale cifar    300 minutes on two cores, 20 variants, 3 seeds: CIFAR-10
    etudes run rotnet --scale paper    6000 minutes on a GPU, 20 variants, 3 seeds: the paper's network and length

To expect: the features serve best where labels are few, and those of the second block better than those of the last,
which tell the turn. SimCLR, whose views are never turned, has features that move less when a picture is turned.

Departures from the paper at laptop scale: Fashion-MNIST at 14 pixels, 4,000 pictures, a network a twelfth as wide and
hundreds of steps. Everywhere: a learning rate that falls otherwise and no Nesterov momentum, the same number of images
a step for all pretexts, blocks averaged to 2x2 places before they are probed, by ridge regression.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from etudes.core import (
    Claim,
    Paper,
    Run,
    Scale,
    Study,
    Variant,
    above,
    at_least,
    difference,
    higher,
    lower,
    positive,
    within,
)
from etudes.core.claims import Trial
from etudes.reports.charts import against, bars, curves
from etudes.studies.labels.rotnet.idea import rotation_loss
from etudes.studies.labels.rotnet.layers import (
    best_block,
    block_errors,
    block_features,
    measure_blocks,
    measure_pretext,
)
from etudes.studies.labels.rotnet.training import pictures_of, shared_pretext, train_classes
from etudes.train import PictureRecipe


@dataclass(frozen=True)
class Config(PictureRecipe):
    dataset: str = "fashion-mnist"  # a picture set, as listed by `etudes data`
    digits: str = "mnist"  # the set of digits, some of which look alike when turned
    on_digits: bool = False  # whether the pretext is learnt on the digits in place of the set
    use: Literal["layers", "scratch", "probe", "finetuned", "frozen"] = "layers"  # what the pretext's blocks are for
    pretext: Literal["rotation", "contrastive", "none"] = "rotation"  # contrastive: SimCLR; none: first weights
    turns: int = 4  # 2, 4 or 8 turns that are told apart
    temperature: Annotated[float, positive] = 0.5  # of SimCLR's loss
    contrastive_lr: Annotated[float, at_least(0)] = 0.1  # SimCLR's peak learning rate; the other pretexts have `lr`
    width: Annotated[int, at_least(2)] = 192  # channels of the network's blocks
    labelled: Annotated[float, within(0, 1)] = 1.0  # share of the training pictures whose labels are used
    few: Annotated[float, within(0, 1)] = 0.05  # share of them in the probes with few labels
    draws: Annotated[int, at_least(1)] = 5  # sets of labelled pictures that a probe with few labels averages
    penalty: Annotated[float, positive] = 0.1  # of the probes, on squared weights of standardised features
    neighbours: Annotated[int, at_least(1)] = 20  # k of the nearest neighbours that vote
    turned: Annotated[int, at_least(2)] = 500  # pictures whose features are compared in all quarter turns
    class_steps: Annotated[int, at_least(1)] = 200  # steps of a training on labels
    class_batch: Annotated[int, at_least(1)] = 64  # pictures of such a step
    class_lr: Annotated[float, at_least(0)] = 0.1  # its peak learning rate
    held_out: Annotated[int, at_least(1)] = 500  # training pictures for validation
    tested: Annotated[int, at_least(0)] = 0  # test pictures that are looked at; 0: all


def train(cfg: Config, run: Run) -> None:
    p = pictures_of(cfg, run)
    if cfg.use in ("scratch", "finetuned", "frozen"):
        run.result(**train_classes(cfg, run, p))
        return
    model = shared_pretext(cfg, run, p.d)
    if cfg.use == "probe":
        sets = [block_features(model, x) for x in (p.d.x, p.x, p.d.test_x)]
        errors = block_errors(cfg, run, p, list(zip(*sets, strict=True)), cfg.labelled)
        held, tested = errors[best_block(errors)]
        run.result(**{"test/error": tested, "validation/error": held})
        return
    if cfg.pretext == "rotation":
        run.result(**measure_pretext(cfg, run, p, model))
    if not cfg.on_digits:
        run.result(**measure_blocks(cfg, run, p, model))


PROBE, SECOND, FEW = "test/error-probe", "test/error-block2", "test/few-probe"
FIXED, DISTANCE = "test/error-frozen", "test/distance-block4"


def crossing(trial: Trial) -> float:
    """The smaller of two differences of test error: from scratch minus by a probe with the fewest labels, and by a
    probe minus from scratch with all. Above 0 the two curves cross."""
    return min(difference("scratch-1", "probe-1")(trial), difference("probe-100", "scratch-100")(trial))


def shrinking(trial: Trial) -> float:
    """What beginning with the pretext's blocks gains with 1 % of the labels, less what it gains with all of them."""
    return difference("scratch-1", "finetuned-1")(trial) - difference("scratch-100", "finetuned-100")(trial)


def covariance(trial: Trial) -> float:
    """How far the last block's features move when a picture is turned: after rotations, as a multiple of SimCLR's."""
    return trial["rotnet"][DISTANCE] / trial["simclr"][DISTANCE]


RATIO = f"{DISTANCE} of rotnet over {DISTANCE} of simclr"
SHARES = {1: 0.01, 5: 0.05, 25: 0.25, 100: 1.0}  # per cent of the labels
USES = {
    "scratch": "first weights, and labels alone",
    "finetuned": "begins with two blocks of `rotnet`",
    "probe": "a linear probe on the best block of `rotnet`",
}
CURVE = tuple(f"{use}-{percent}" for percent in SHARES for use in USES)
PRETEXTS = ("random", "rotnet-2", "rotnet", "rotnet-8", "simclr")

LAPTOP: dict[str, Any] = {"side": 14, "examples": 500, "tested": 2000, "augment": True, "width": 16, "steps": 700,
                          "batch": 64, "lr": 0.3, "log_every": 50, "held_out": 1000, "class_steps": 600}  # fmt: skip
OFFLINE = {"dataset": "digits", "digits": "digits", "side": 8, "examples": 120, "held_out": 200}
SMOKE = OFFLINE | {"examples": 40, "held_out": 100, "tested": 120, "width": 6, "steps": 2, "batch": 16, "turned": 20,
                   "draws": 1, "class_steps": 2, "class_batch": 8, "neighbours": 5, "few": 0.1}  # fmt: skip
CIFAR = {"dataset": "cifar10", "augment": True, "width": 48, "steps": 6000, "class_steps": 3000, "turned": 2000,
         "held_out": 2000, "log_every": 100}  # fmt: skip
LONG = {"steps": 78_000, "batch": 512, "class_steps": 39_000, "class_batch": 128, "schedule": "decay"}
PAPER = CIFAR | LONG | {"width": 192, "weight_decay": 5e-4}

MATTERS = 0.01  # of test error: a point
TURNS_MATTER = 0.015  # just below what the paper's table 2 has between two and four turns, 0.016

STUDY = Study(
    name="rotnet",
    question="What do features that were learnt by telling turns apart know of classes, and when are they worth it?",
    paper=Paper(
        "Unsupervised Representation Learning by Predicting Image Rotations",
        "Gidaris, Singh, Komodakis",
        2018,
        "https://arxiv.org/abs/1803.07728",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("random", {"pretext": "none"}, "first weights: nothing is learnt"),
        Variant("rotnet-2", {"turns": 2}, "upright or upside down"),
        Variant("rotnet", {}, "four turns, as in the paper"),
        Variant("rotnet-8", {"turns": 8}, "by eighths of a turn, interpolated"),
        Variant("simclr", {"pretext": "contrastive"}, "views of one picture alike, never turned"),
        Variant("digits", {"on_digits": True}, "four turns of digits"),
        *(
            Variant(f"{use}-{percent}", {"use": use, "labelled": share}, f"{says}, {percent} % of them")
            for percent, share in SHARES.items()
            for use, says in USES.items()
        ),
        Variant("frozen", {"use": "frozen"}, "two blocks of `rotnet` stay, a third is learnt"),
        Variant("random-frozen", {"use": "frozen", "pretext": "none"}, "two blocks keep their first weights"),
    ),
    scales={
        "smoke": Scale(SMOKE, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=6, offline=OFFLINE),
        "cifar": Scale(CIFAR, seeds=3, minutes=300),
        "paper": Scale(PAPER, seeds=3, minutes=6000),
    },
    words={
        "test/error": "test error",
        "test/error-probe": "test error of a probe on the best block",
        "test/few-probe": "test error of a probe with few labels",
        "test/error-block2": "test error of a probe on the second block",
        "test/error-neighbours": "test error of the nearest neighbours",
        "test/error-frozen": "test error of a block learnt on fixed ones",
        "test/distance-block4": "distance when turned, last block",
        "test/turn-error": "error in telling the turn",
    },
    idea=rotation_loss,
    claims={
        "with 1 % of the labels a network errs less if its first two blocks begin with those that learnt four turns "
        "than with first weights": lower("finetuned-1", "scratch-1", "sec. 3.1, fig. 4"),
        "beginning with two blocks that learnt four turns spares more test error with 1 % of the labels than with "
        "all": Claim(
            shrinking, above(0), "fig. 4", number="test/error: scratch minus finetuned, with 1 % minus with all labels"
        ),
        "with 1 % of the labels a linear probe on features of four turns errs less than a network from scratch, and "
        "with all labels more": Claim(
            crossing, above(0), "fig. 4", number="the less of scratch-1 minus probe-1 and probe-100 minus scratch-100"
        ),
        "a block learnt on two fixed ones errs less if those learnt four turns than if they have first weights": lower(
            "frozen", "random-frozen", "table 3", of=FIXED, paper=0.0884 - 0.2750
        ),
        "after four turns a linear probe errs less on the second block than on the last": lower(
            ("rotnet", SECOND), ("rotnet", "test/error-block4"), "table 1", paper=0.1094 - 0.3827
        ),
        "telling four turns gives a second block on which a linear probe errs less than telling two": lower(
            "rotnet", "rotnet-2", "table 2", of=SECOND, paper=0.1094 - 0.1254, matters=TURNS_MATTER
        ),
        "telling four turns gives a second block on which a linear probe errs less than telling eight": lower(
            "rotnet", "rotnet-8", "table 2", of=SECOND, paper=0.1094 - 0.1149, matters=TURNS_MATTER
        ),
        "with 5 % of the labels a linear probe errs less on SimCLR's features than on those of four turns": lower(
            "simclr", "rotnet", "beyond the paper", of=FEW, matters=MATTERS
        ),
        "turning a picture moves the last block's features further after four turns were learnt than after SimCLR": (
            Claim(covariance, above(1), "beyond the paper", kind="ratio", number=RATIO)
        ),
        "the turn of the digits 0, 1 and 8 is named wrongly more often than that of 3, 4 and 7": higher(
            ("digits", "test/turn-error-round"), ("digits", "test/turn-error-others"), "beyond the paper"
        ),
    },
    charts=(
        against(
            "labelled",
            "test/error",
            by="use",
            title="Test error with few and with many labels",
            x="share of the training pictures whose label is known",
            key="network",
        ),
        curves(
            "probe-error",
            "probe-error-with-few-labels",
            "distance-when-turned",
            "turn-probe-error",
            title="What each block knows: of classes, and of turns",
            variants=("random", "rotnet", "simclr"),
            step="block",
        ),
        bars(PROBE, FEW, "test/error-neighbours", title="Test errors on the best block", sections={"": PRETEXTS}),
        curves("turn-error-of-digit", title="How often a digit's turn is misnamed", variants=("digits",), step="digit"),
        bars(FIXED, title="Test error of a block learnt on two fixed ones", sections={"": ("random-frozen", "frozen")}),
    ),
    revisions=(
        "the claims on the number of turns have a margin of a point and a half, a claim on 6 and 9 became a row, there "
        "is a look at 20 seeds, and features are averaged to places before those of the next pictures are computed",
    ),
    origin="C",
    precision="fp32",
)
