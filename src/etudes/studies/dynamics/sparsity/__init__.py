"""sparsity: take weights out of a trained network, by their size, step by step, neuron by neuron or by a penalty.

A mask m keeps a share of the weights w, and the network f(x; m * w) is trained on. Magnitude pruning has m = 1 where
|w| is largest. Gradual pruning raises what is pruned along s = s_f (1 - (1 - t / ramp)^3). An L1 penalty on weights
gives exact zeros only by its proximal step, w <- sign(w) max(|w| - lr * lambda, 0), after each step of the optimiser.
A penalty on activations leaves the weights and makes fewer neurons active. Rounding to b bits writes w as an integer
times a scale, one a channel or one a tensor.

    etudes run sparsity                    3 minutes on two cores, 9 variants, 5 seeds
    etudes run sparsity --scale cifar10    60 minutes, 9 variants, 3 seeds: six convolutions on CIFAR-10
    etudes run sparsity --scale paper      9000 minutes on a GPU, 3 variants, 1 seed: ResNet-50 on ImageNet

`--until decided` goes on to 20 seeds. To expect: a tenth of the weights is enough, by magnitude; below a fiftieth the
error rises steeply. Whole neurons cost more than single weights, eight bits cost nothing.

Departures from the paper: the survey's claims are tried on one small network and 5,000 pictures of MNIST; the proximal
step follows Adam with the plain rate for its threshold; seconds are no claim, but a table of `kernels.py`.
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
    higher,
    lower,
    positive,
    within,
)
from etudes.measure.error import error_rate
from etudes.measure.size import count_parameters
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, pictures, plane
from etudes.studies.dynamics.sparsity.findings import Reference, measure, measure_rounded, reference, save_features
from etudes.studies.dynamics.sparsity.idea import prune
from etudes.studies.dynamics.sparsity.networks import Kind
from etudes.studies.dynamics.sparsity.scales import CIFAR, OFFLINE, PAPER, TINY
from etudes.studies.dynamics.sparsity.training import (
    Aim,
    Examples,
    State,
    cut,
    dense,
    label,
    learn,
    penalise,
    sparse,
    train_dense,
)
from etudes.train import PictureRecipe, pruning

Method = Literal["dense", "magnitude", "random", "gradual", "neurons", "l1", "l1-gradient", "activations", "redrawn"]


@dataclass(frozen=True)
class Config(PictureRecipe):
    dataset: str = "mnist"  # a picture set, as listed by `etudes data`
    examples: Annotated[int, at_least(0)] = 600  # training pictures a class, some of them held out; 0: all
    held_out: Annotated[int, at_least(1)] = 1000  # training pictures for validation
    network: Kind = "lenet"  # LeNet-300-100, six convolutions, or ResNet-50
    width: Annotated[int, at_least(3)] = 300  # units of the first layer, or channels of the first stage
    steps: Annotated[int, at_least(1)] = 500  # optimiser steps of the dense network before anything is pruned
    later_steps: Annotated[int, at_least(2)] = 300  # steps after that, of all variants
    batch: Annotated[int, at_least(1)] = 60  # pictures a step
    optimiser: Literal["adam", "sgd"] = "adam"  # SGD has the momentum and weight decay below
    lr: Annotated[float, positive] = 1.2e-3  # learning rate, constant at first
    schedule: Schedule = "cosine"  # learning rate over the steps after that
    method: Method = "magnitude"  # how the network becomes sparse
    shares: tuple[float, ...] = (0.1, 0.05, 0.02, 0.01)  # of the weights that are left
    ramp: Annotated[float, within(0, 1)] = 0.6  # share of the later steps over which gradual pruning goes
    prune_every: Annotated[int, at_least(1)] = 10  # steps between its masks
    proximal: Annotated[float, at_least(0)] = 0.6  # lambda of the proximal step
    l1: Annotated[float, at_least(0)] = 1e-4  # factor of the sum of magnitudes in the loss
    quiet: Annotated[float, at_least(0)] = 1.0  # factor of the mean activation in the loss
    noise: Annotated[float, at_least(0)] = 0.3  # standard deviation of noise on pixels in [0, 1]
    explained: Annotated[int, at_least(1)] = 200  # test pictures whose attributions and neurons are looked at
    looked_at: Annotated[int, at_least(1)] = 512  # training pictures from which batch statistics are averaged anew


def act(cfg: Config, run: Run) -> None:
    e = Examples(cfg, run)
    record, base, whole = dense(cfg, run, e)
    theirs = reference(cfg, e, whole)
    run.result(parameters=count_parameters(whole))
    if cfg.method in ("activations", "redrawn"):
        if cfg.method == "activations":
            model = learn(cfg, run, e, base, label(1), Aim(quiet=cfg.quiet))
        else:
            model = train_dense(cfg, run, e, "init again")[0]
        measure(cfg, run, e, model, theirs, label(1))
        save_features(run, model, e.d.shape)
        return
    run.result(**record.metrics)
    if cfg.method == "dense":
        measure_rounded(cfg, run, e, whole, label(1))
        save_features(run, whole, e.d.shape)
    else:
        make_sparse(cfg, run, e, base, theirs)


def make_sparse(cfg: Config, run: Run, e: Examples, base: State, theirs: Reference) -> None:
    """Make and measure the networks of all shares."""
    way = penalise(cfg, run, e, base)
    if way is not None:
        weights = pruning.prunable(way).values()
        zeros = sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)
        error = error_rate(way, e.d.test_x, e.d.test_y)
        run.result(**{"train/zeros-penalty": zeros, "test/error-penalty": error})
    for share in cfg.shares:
        model = sparse(cfg, run, e, base, share, way)
        measure(cfg, run, e, model, theirs, label(share))
        if share == cfg.shares[0]:
            save_features(run, model, e.d.shape)
            if cfg.method == "magnitude":
                measure_rounded(cfg, run, e, model, label(share))
        if cfg.method in ("magnitude", "random", "neurons"):
            error = error_rate(cut(cfg, run, e, base, share), e.d.test_x, e.d.test_y)
            run.result(**{f"test/error-cut-{label(share)}": error})


def cliff(trial: Trial) -> float:
    """What the error rises by from 2 % of the weights to 1 %, minus what it rises by from all to 10 %."""
    pruned = trial["magnitude"]
    late = pruned[f"{ERROR}-1"] - pruned[f"{ERROR}-2"]
    return late - (pruned[f"{ERROR}-10"] - trial["dense"][f"{ERROR}-100"])


def quietness(trial: Trial) -> float:
    """Active neurons a picture with the penalty on activations, over those without."""
    return trial["quiet"]["test/active-100"] / trial["dense"]["test/active-100"]


def noise_loss(trial: Trial) -> float:
    """How much more noise costs the network with 2 % of the weights than the whole one."""
    pruned, whole = trial["magnitude"], trial["dense"]
    lost = pruned["test/error-noisy-2"] - pruned[f"{ERROR}-2"]
    return lost - (whole["test/error-noisy-100"] - whole[f"{ERROR}-100"])


def by_share(metric: str) -> tuple[tuple[str, str], ...]:
    """Pairs of the share of weights that is left, in percent, and a metric there."""
    return tuple((f"train/weights-{percent}", f"{metric}-{percent}") for percent in (100, 10, 5, 2, 1))


ERROR = "test/error"
DENSE = ("dense", f"{ERROR}-100")
BYTES = (("dense", 100), ("csr", 10), ("csr", 5), ("csr", 2), ("csr", 1))
ROUNDED = ("int8-100", "int4-100", "int3-100", "int3-tensor-100")
PRUNED = ("magnitude", "random", "gradual", "neurons", "l1")

STUDY = Study(
    name="sparsity",
    question="How many of its weights does a trained network need, which ones, and what do the others cost?",
    paper=Paper(
        "Sparsity in Deep Learning: Pruning and growth for efficient inference and training in neural networks",
        "Hoefler, Alistarh, Ben-Nun, Dryden, Peste",
        2021,
        "https://arxiv.org/abs/2102.00554",
    ),
    config=Config,
    program=act,
    precision="fp32",
    variants=(
        Variant("dense", {"method": "dense"}, "all weights"),
        Variant("magnitude", {}, "the largest weights are kept, at once, and trained on"),
        Variant("random", {"method": "random"}, "as many of each layer as magnitude, by chance"),
        Variant("gradual", {"method": "gradual"}, "by magnitude, more and more during the first steps"),
        Variant("neurons", {"method": "neurons"}, "whole neurons, by the norm of their weights"),
        Variant("l1", {"method": "l1"}, "an L1 penalty by proximal steps, then by magnitude"),
        Variant("l1-gradient", {"method": "l1-gradient"}, "an L1 penalty by its gradient, then by magnitude"),
        Variant("quiet", {"method": "activations"}, "all weights, with an L1 penalty on activations"),
        Variant("redrawn", {"method": "redrawn"}, "all weights, from another draw"),
    ),
    scales={
        "smoke": Scale(TINY, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=3, offline=OFFLINE),
        "cifar10": Scale(CIFAR, seeds=3, minutes=60, judges=False, offline=OFFLINE),
        "paper": Scale(
            PAPER,
            seeds=1,
            minutes=9000,
            judges=False,
            variants=("dense", "magnitude", "gradual"),
            offline=OFFLINE | {"side": 32},
        ),
    },
    words={
        "test/error-10": "test error with 10 % of the weights",
        "test/error-2": "test error with 2 % of the weights",
        "test/error-1": "test error with 1 % of the weights",
        "test/error-100": "test error with all weights",
        "test/error-noisy-10": "test error on noisy pictures, 10 % of the weights",
        "test/overlap-10": "overlap of attributions, 10 % of the weights",
        "test/active-100": "share of neurons active for a picture",
        "test/used-100": "share of neurons that a class uses",
    },
    idea=prune,
    claims={
        "with 2 % of the weights magnitude pruning errs less than as many of each layer chosen by chance": lower(
            "magnitude", "random", "on magnitude as a criterion", of=f"{ERROR}-2"
        ),
        "with 1 % of the weights gradual pruning errs less than pruning at once, in as many steps": lower(
            "gradual", "magnitude", "Zhu, Gupta 2017 (arXiv:1710.01878), sec. 3", of=f"{ERROR}-1"
        ),
        "pruned to 10 % of the weights and trained on, a network errs as the whole one, within a point": alike(
            ("magnitude", f"{ERROR}-10"), DENSE, 0.01, "Han et al. 2015 (arXiv:1506.02626), table 1"
        ),
        "from 2 % of the weights to 1 % the error of magnitude pruning rises more than from all to 10 %": Claim(
            cliff,
            above(0),
            "on accuracy by sparsity",
            number="rise of the test error from 2 % to 1 % minus that from 100 % to 10 %",
        ),
        "with 10 % of the weights whole neurons left out cost more than single weights": higher(
            "neurons", "magnitude", "on structured removal", of=f"{ERROR}-10"
        ),
        "with 2 % of the weights those left by a proximal L1 penalty err less than those of largest magnitude": lower(
            "l1", "magnitude", "on regularisation", of=f"{ERROR}-2"
        ),
        "with weights of eight bits, one scale a channel, the whole network errs as with floats, within 0.002": alike(
            ("dense", f"{ERROR}-int8-100"), DENSE, 0.002, "Krishnamoorthi 2018 (arXiv:1806.08342), sec. 3"
        ),
        "with weights of three bits one scale a tensor errs more than one a channel": higher(
            ("dense", f"{ERROR}-int3-tensor-100"),
            ("dense", f"{ERROR}-int3-100"),
            "Krishnamoorthi 2018 (arXiv:1806.08342), sec. 3",
        ),
        "a penalty on activations leaves less than half as many neurons active for a picture": Claim(
            quietness,
            below(0.5),
            "on sparse activations",
            number="active neurons a picture with the penalty, over those without",
            kind="ratio",
        ),
        "with 10 % of the weights attributions overlap more with the whole network's than another draw's do": higher(
            ("magnitude", "test/overlap-10"), ("redrawn", "test/overlap-100"), "beyond the paper", matters=0.02
        ),
        "noise on pictures costs a network with 2 % of its weights more than the whole one": Claim(
            noise_loss,
            above(0),
            "beyond the paper",
            number="test error added by noise, with 2 % minus with all weights",
        ),
    },
    charts=(
        plane(
            *by_share(ERROR),
            x="weights left, in percent",
            y="test error",
            title="Test error by the weights that are left",
            log_x=True,
            log_y=True,
            variants=PRUNED,
        ),
        plane(
            *((f"train/bytes-{kind}-{n}", f"{ERROR}-{n}") for kind, n in BYTES),
            x="bytes of the file",
            y="test error",
            title="Bytes on disk: dense floats, then rows of what is not zero",
            log_x=True,
            log_y=True,
            variants=("magnitude", "gradual", "neurons"),
        ),
        bars(*(f"{ERROR}-{kind}" for kind in ROUNDED), title="Test error of the whole network with rounded weights"),
        plane(
            *by_share("test/overlap"),
            x="weights left, in percent",
            y="overlap with the whole network's",
            title="Attributions: overlap of the strongest tenth of pixels",
            log_x=True,
            variants=("magnitude", "random", "neurons", "redrawn"),
        ),
        plane(
            *by_share("test/active"),
            x="weights left, in percent",
            y="share of neurons active",
            title="Share of hidden neurons that are active for a picture",
            log_x=True,
            variants=("magnitude", "random", "gradual", "l1", "quiet"),
        ),
        pictures(
            "features.png",
            title="What neurons of the first layer look for",
            says="Each square is a neuron's weights: white asks for ink, black for none, grey does not look.",
            variants=("dense", "magnitude", "l1"),
        ),
    ),
    origin="D1",
)
