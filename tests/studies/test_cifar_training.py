import dataclasses
import math

import pytest
import torch
from torch import nn

from etudes.core.catalogue import find
from etudes.core.errors import Problem
from etudes.data.images import images
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.nn.norm import BatchNorm, Standardise
from etudes.studies.convnets.cifar_training import Config, decay, mean_loss, network, optimiser

STUDY = find("cifar-training")
NONE, LITTLE, MUCH = 0.0, 1e-4, 1.0


class Weights(nn.Module):
    """Weights of 1, and their gradients."""

    def __init__(self, *gradients):
        super().__init__()
        self.w = nn.Parameter(torch.ones(len(gradients), dtype=torch.float64))
        self.gradients = torch.tensor(gradients, dtype=torch.float64)


def trained(cfg, *gradients):
    """The weights after all steps, under gradients that stay."""
    model = Weights(*gradients)
    opt, schedule = optimiser(model, cfg)
    for _ in range(cfg.steps):
        model.w.grad = model.gradients.clone()
        opt.step()
        schedule.step()
    return model.w.detach()


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_without_gradients_adamw_decays_as_sgd_does(schedule):
    cfg = Config(steps=2000, lr=0.02, weight_decay=5e-3, schedule=schedule)
    share = 0.02 * 5e-3 / (1 - 0.9)
    assert decay(cfg) == pytest.approx(share)
    factors = [1 if schedule == "constant" else 0.5 * (1 + math.cos(math.pi * i / 2000)) for i in range(2000)]
    expected = math.prod(1 - share * factor for factor in factors)
    assert trained(dataclasses.replace(cfg, optimiser="adamw"), NONE).item() == pytest.approx(expected, rel=1e-9)
    assert trained(cfg, NONE).item() == pytest.approx(expected, rel=0.02)  # momentum fills over some ten steps
    no_memory = dataclasses.replace(cfg, momentum=0.0, lr=0.2)
    assert trained(no_memory, NONE).item() == pytest.approx(expected, rel=1e-9)  # prop. 1, exactly


def test_adam_is_its_algorithm_with_the_penalty_in_the_gradient_or_apart():
    gradients, steps = (LITTLE, MUCH), 30
    for name, rate in (("adam", 0.003), ("adamw", 0.002)):
        cfg = Config(
            steps=steps, lr=0.1, weight_decay=0.01, schedule="cosine", optimiser=name, adam_lr=0.003, adamw_lr=0.002
        )
        found = trained(cfg, *gradients)
        for gradient, ours in zip(gradients, found.tolist(), strict=True):
            w, m, v = 1.0, 0.0, 0.0
            for i in range(1, steps + 1):
                factor = 0.5 * (1 + math.cos(math.pi * (i - 1) / steps))
                g = gradient + (0.01 * w if name == "adam" else 0)
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
                step = rate * (m / (1 - 0.9**i)) / (math.sqrt(v / (1 - 0.999**i)) + 1e-8)
                w -= factor * (step + (0.1 * 0.01 / (1 - 0.9) * w if name == "adamw" else 0))
            assert ours == pytest.approx(w, rel=1e-9)


def test_a_large_gradient_hides_the_penalty_from_adam_but_not_the_decay_from_adamw():
    """Prop. 2, and sec. 3 of the paper: what the weight decay itself took, for weights of small and large gradient."""

    def taken(name, gradient):
        cfg = Config(steps=100, lr=0.1, weight_decay=0.005, schedule="constant", optimiser=name, adam_lr=1e-4)
        without = dataclasses.replace(cfg, weight_decay=0.0)
        return (trained(without, gradient) - trained(cfg, gradient)).item()

    assert taken("adam", MUCH) < 0.01 * taken("adam", -LITTLE)
    assert taken("adamw", MUCH) == pytest.approx(taken("adamw", LITTLE), rel=0.05)


def test_inputs_are_standardised_or_left():
    d = images("digits")
    standardised, raw = (network(Config(side=8, width=8, standardise=value), d) for value in (True, False))
    assert isinstance(standardised[0], Standardise)
    assert isinstance(raw[0], nn.Conv2d)
    assert standardised[0].mean.flatten() == d.mean
    assert sum(p.numel() for p in standardised.parameters()) == sum(p.numel() for p in raw.parameters())


def test_both_orders_have_the_same_layers_and_rates():
    d = images("digits")

    def kinds(variant):
        cfg = Config(**STUDY.plan("smoke", variants=[variant])[0].config)
        layers = [layer for layer in network(cfg, d) if isinstance(layer, nn.Dropout | BatchNorm | nn.MaxPool2d)]
        return ["pool" if isinstance(x, nn.MaxPool2d) else getattr(x, "p", "norm") for x in layers]

    rate = 0.2
    assert kinds("norm-dropout") == ["norm", "pool", "norm", rate] * 3 + ["norm", rate]
    assert kinds("dropout-norm") == ["norm", "pool", rate, "norm"] * 3 + [rate, "norm"]
    assert kinds("dropout") == ["pool", rate] * 3 + [rate]
    assert kinds("batch-norm") == ["norm", "pool", "norm"] * 3 + ["norm"]


def test_the_mean_loss_is_that_of_all_pictures_at_once():
    d = images("digits").take(torch.arange(703))
    model = network(Config(side=8, width=8, dropout=0.5), d)
    model.train()
    found = mean_loss(model, d)
    assert model.training
    with torch.no_grad():
        expected = cross_entropy(model.eval()(d.x / 255), one_hot(d.y, 10)).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_each_variant_changes_one_thing_of_the_base():
    base, *others = STUDY.variants
    assert not base.changes
    changed = {variant.name: set(variant.changes) for variant in others}
    assert {len(fields) for name, fields in changed.items() if name not in ("norm-dropout", "dropout-norm")} == {1}
    assert changed["norm-dropout"] == {"norm", "dropout"}
    assert changed["dropout-norm"] == {"norm", "dropout", "order"}
    schedules = {spec.variant: spec.config["schedule"] for spec in STUDY.plan("laptop", seeds=1)}
    assert sorted(set(schedules.values())) == ["constant", "cosine", "decay", "restarts", "warmup"]


def test_the_paper_scale_has_100_epochs_of_all_pictures():
    cfg = Config(**STUDY.plan("paper", variants=["sgd"])[0].config)
    assert (cfg.side, cfg.width, cfg.examples, cfg.batch) == (32, 32, 0, 128)
    assert cfg.steps == math.ceil(100 * 50_000 / 128)


def test_what_does_not_fit_is_told_in_one_sentence():
    with pytest.raises(Problem, match="momentum is 1; it must be between 0 and"):
        STUDY.plan("smoke", momentum=1.0)
    with pytest.raises(Problem, match="adamw_lr is 0; it must be above 0"):
        STUDY.plan("smoke", adamw_lr=0.0)
    with pytest.raises(Problem, match="did you mean 'adamw'"):
        STUDY.plan("smoke", variants=["adamw"], optimiser="adam-w")
