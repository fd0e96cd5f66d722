import numpy
import pytest
import torch
from torch import nn

from etudes.core.catalogue import find
from etudes.core.errors import Problem
from etudes.data.augment import flip, shift
from etudes.data.images import images
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.nn.norm import BatchNorm
from etudes.studies.convnets.cifar_ladder import PENALTY, RATES, TUTORIAL, Config, network
from etudes.train.recipe import sgd

STUDY = find("cifar-ladder")


def config(variant, scale="paper"):
    return Config(**STUDY.plan(scale, variants=[variant])[0].config)


def drawn(variant="baseline"):
    torch.manual_seed(0)
    return network(
        Config(side=8, width=8, norm=config(variant).norm, dropout=config(variant).dropout), images("digits")
    )


def test_weight_decay_is_twice_the_tutorials_penalty_in_the_loss():
    x, y = torch.rand(6, 1, 8, 8), one_hot(torch.arange(6), 10)
    plain, decayed = drawn(), drawn()
    cfg = Config(lr=0.1, weight_decay=config("weight-decay").weight_decay, schedule="constant")
    opt, _ = sgd(decayed, cfg)
    velocities = [torch.zeros_like(p) for p in plain.parameters()]
    for _ in range(3):
        opt.zero_grad()
        cross_entropy(decayed(x), y).backward()
        opt.step()
        penalty = sum(p.square().sum() for p in plain.parameters())
        gradients = torch.autograd.grad(cross_entropy(plain(x), y) + PENALTY * penalty, list(plain.parameters()))
        with torch.no_grad():
            for p, velocity, gradient in zip(plain.parameters(), velocities, gradients, strict=True):
                velocity.mul_(0.9).add_(gradient)
                p.sub_(0.1 * velocity)
    for ours, theirs in zip(decayed.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    assert not torch.allclose(decayed[0].weight, drawn()[0].weight, atol=1e-6)


def test_weights_are_drawn_after_he_and_biases_are_zero():
    for layer in drawn("all"):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = (6 / layer.weight[0].numel()) ** 0.5
            assert 0.9 * bound < layer.weight.abs().max() <= bound
            assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.15)
            assert not layer.bias.any()


def test_the_rungs_have_the_layers_that_they_name():
    def rates(model):
        return [layer.p for layer in model if isinstance(layer, nn.Dropout)]

    def norms(model):
        return sum(isinstance(layer, BatchNorm) for layer in model)

    found = {v.name: (rates(drawn(v.name)), norms(drawn(v.name))) for v in STUDY.variants}
    plain = dict.fromkeys(("baseline", "weight-decay", "augmentation"), ([], 0))
    both = dict.fromkeys(("all", "all-decay"), ([0.2, 0.3, 0.4, 0.5], 7))
    assert found == plain | both | {"dropout": ([0.2] * 4, 0), "batch-norm": ([], 7)}
    assert [v.name for v in STUDY.variants if config(v.name).augment] == ["augmentation", "all", "all-decay"]
    assert set(RATES) == {"none", "even", "rising"}


def test_shifted_pictures_are_crops_of_the_reflected_one():
    x = torch.rand(5, 3, 8, 8)
    moved = shift(flip(x, numpy.random.default_rng(0)), numpy.random.default_rng(1), pixels=2)
    padded = numpy.pad(x.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), "reflect")
    for picture, new in zip(padded, moved.numpy(), strict=True):
        crops = [
            side[:, i : i + 8, j : j + 8] for side in (picture, picture[:, :, ::-1]) for i in range(5) for j in range(5)
        ]
        assert any(numpy.array_equal(new, crop) for crop in crops)


def test_the_paper_scale_is_the_tutorials():
    for variant in STUDY.variants:
        cfg = config(variant.name)
        assert (cfg.side, cfg.width, cfg.examples, cfg.shift) == (32, 32, 0, round(0.1 * 32))
        assert (cfg.batch, cfg.lr, cfg.momentum, cfg.schedule) == (64, 0.001, 0.9, "constant")
        assert cfg.steps * cfg.batch == 400 * 50_000
        assert cfg.eval_every * cfg.batch == 100 * 50_000
    assert config("baseline").weight_decay == config("all").weight_decay == 0
    assert sorted(TUTORIAL, key=TUTORIAL.__getitem__) == [
        "all",
        "augmentation",
        "dropout",
        "baseline",
        "weight-decay",
    ]


def test_the_tutorials_own_figures_bear_out_every_claim():
    for claim in STUDY.claims.values():
        assert claim.paper in claim.expect
        trial = {name: {"test/error": error} for name, error in TUTORIAL.items()}
        assert claim.measure(trial) == claim.paper


def test_what_does_not_fit_is_told_in_one_sentence():
    with pytest.raises(Problem, match="dropout"):
        STUDY.plan("smoke", variants=["dropout"], dropout="evn")
    with pytest.raises(Problem, match="side is 4; it must be at least 8"):
        STUDY.plan("smoke", side=4)
    with pytest.raises(Problem, match="'augment' is what the variants differ in"):
        STUDY.plan("smoke", augment=True)
