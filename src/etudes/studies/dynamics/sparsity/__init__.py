"""sparsity: take weights out of a trained network, by their size, step by step, neuron by neuron or by a penalty.

A mask m keeps a share of the weights w, and the network f(x; m * w) is trained on. Magnitude pruning has m = 1 where
|w| is largest. Gradual pruning raises what is pruned along s = s_f (1 - (1 - t / ramp)^3). An L1 penalty on weights
gives exact zeros only by its proximal step, w <- sign(w) max(|w| - lr * lambda, 0), after each step of the optimiser.
A penalty on activations leaves the weights and makes fewer neurons active. Rounding to b bits writes w as an integer
times a scale, one a channel or one a tensor.

    etudes run sparsity                    4 minutes on two cores, 9 variants, 5 seeds
    etudes run sparsity --scale cifar10    60 minutes, 7 variants, 3 seeds: six convolutions on CIFAR-10
    etudes run sparsity --scale paper      9000 minutes on a GPU, 3 variants, 1 seed: ResNet-50 on ImageNet

`--until decided` goes on to 20 seeds. To expect: a tenth of the weights is enough, by magnitude; below a fiftieth the
error rises steeply. Whole neurons cost more than single weights, eight bits cost nothing.

Departures from the paper: the survey's claims are tried on one small network and 5,000 pictures of MNIST; the proximal
step follows Adam with the plain rate for its threshold; seconds are no claim, but a table of `kernels.py`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, positive, within
from etudes.measure.error import error_rate
from etudes.measure.size import count_parameters
from etudes.optim.schedules import Schedule
from etudes.studies.dynamics.sparsity.claims import CHARTS, CLAIMS
from etudes.studies.dynamics.sparsity.findings import measure, measure_rounded, save_features
from etudes.studies.dynamics.sparsity.idea import prune
from etudes.studies.dynamics.sparsity.networks import Kind
from etudes.studies.dynamics.sparsity.training import (
    Aim,
    Examples,
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
    more: Annotated[int, at_least(2)] = 300  # steps after that, of all variants
    batch: Annotated[int, at_least(1)] = 60  # pictures a step
    optimiser: Literal["adam", "sgd"] = "adam"  # SGD has the momentum and weight decay below
    lr: Annotated[float, positive] = 1.2e-3  # learning rate, constant at first
    schedule: Schedule = "cosine"  # learning rate over the steps after that
    method: Method = "magnitude"  # how the network becomes sparse
    shares: tuple[float, ...] = (0.1, 0.05, 0.02, 0.01)  # of the weights that are left
    ramp: Annotated[float, within(0, 1)] = 0.6  # share of the later steps over which gradual pruning goes
    prune_every: Annotated[int, at_least(1)] = 10  # steps between its masks
    proximal: Annotated[float, at_least(0)] = 0.3  # lambda of the proximal step
    l1: Annotated[float, at_least(0)] = 1e-4  # factor of the sum of magnitudes in the loss
    quiet: Annotated[float, at_least(0)] = 1.0  # factor of the mean activation in the loss
    noise: Annotated[float, at_least(0)] = 0.3  # standard deviation of noise on pixels in [0, 1]
    explained: Annotated[int, at_least(1)] = 300  # test pictures whose attributions and neurons are looked at
    looked_at: Annotated[int, at_least(1)] = 512  # training pictures from which batch statistics are averaged anew


def act(cfg: Config, run: Run) -> None:
    e = Examples(cfg, run)
    base, whole = dense(cfg, run, e)
    run.result(parameters=count_parameters(whole))
    if cfg.method in ("dense", "activations", "redrawn"):
        model = whole
        if cfg.method == "activations":
            model = learn(cfg, run, e, base, "quiet", Aim(quiet=cfg.quiet))
        elif cfg.method == "redrawn":
            model = train_dense(cfg, run, e, "init again")[0]
        measure(cfg, run, e, model, whole, "100")
        measure_rounded(cfg, run, e, model, "100")
        save_features(run, model, e.d.shape)
        return
    way = penalise(cfg, run, e, base)
    if way is not None:
        weights = pruning.prunable(way).values()
        zeros = sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)
        error = error_rate(way, e.d.test_x, e.d.test_y)
        run.result(**{"train/zeros-penalty": zeros, "test/error-penalty": error})
    for share in cfg.shares:
        model = sparse(cfg, run, e, base, share, way)
        measure(cfg, run, e, model, whole, label(share))
        if share == cfg.shares[0]:
            measure_rounded(cfg, run, e, model, label(share))
            save_features(run, model, e.d.shape)
        if cfg.method in ("magnitude", "random", "neurons"):
            error = error_rate(cut(cfg, run, e, base, share), e.d.test_x, e.d.test_y)
            run.result(**{f"test/error-cut-{label(share)}": error})


TINY = {
    "dataset": "digits",
    "examples": 20,
    "held_out": 50,
    "width": 9,
    "steps": 3,
    "more": 4,
    "batch": 8,
    "prune_every": 2,
    "explained": 20,
    "looked_at": 16,
    "shares": (0.1, 0.02, 0.01),
}

STUDY = Study(
    name="sparsity",
    question="How many of its weights does a trained network need, and which, and what does leaving the others out save?",
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
        "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=4),
    },
    idea=prune,
    claims=CLAIMS,
    charts=CHARTS,
    origin="D1",
)
