import dataclasses
import itertools
import math

import numpy
import pytest
import torch
from torch import nn

from etudes.core import Problem
from etudes.data.images import images
from etudes.nn.ghost import GhostNorm
from etudes.studies.dynamics.evalnorm import STUDY, Config, train
from etudes.studies.dynamics.evalnorm.estimate import collect_moments, distance, learn_rule, learn_rules, pool
from etudes.studies.dynamics.evalnorm.findings import (
    batch_answers,
    divergence,
    error,
    fade,
    log_answers,
    measure,
    parts,
    recalibrate_copy,
)
from etudes.studies.dynamics.evalnorm.idea import EvalNorm, Rule, layers, statistics, with_rules
from etudes.studies.dynamics.evalnorm.networks import chain, network, resnet50

CONFIG = Config(dataset="digits", width=4, batch=64, group=2, tested=64, looked_at=64, steps=3)


def pictures(n=6, c=2, side=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    means, scales = torch.randn(2, n, c, 1, 1, generator=generator, dtype=torch.float64)
    return means * 2 + scales.exp() * torch.randn(n, c, side, side, generator=generator, dtype=torch.float64)


def moments(x):
    """The mean and the biased variance a channel over all of x: [n, c, h, w]."""
    return x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_the_rule_of_thumb_is_the_mean_over_all_batches_that_hold_the_picture(size):
    # Batches drawn with replacement, as from a large set: every one of them is listed.
    x = pictures(n=4)
    batches = [moments(x[list(rows)]) for rows in itertools.product(range(4), repeat=size)]
    running = [torch.stack(column).mean(0) for column in zip(*batches, strict=True)]
    for i in range(4):
        with_i = [moments(x[[i, *rows]]) for rows in itertools.product(range(4), repeat=size - 1)]
        expected = [torch.stack(column).mean(0) for column in zip(*with_i, strict=True)]
        found = statistics(*running, *moments(x[i : i + 1]), *Rule.of_batch(size))
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one, other, atol=1e-12)


def test_without_the_cross_term_the_expectation_is_missed():
    x = pictures(n=4)
    batches = [moments(x[list(rows)]) for rows in itertools.product(range(4), repeat=2)]
    running = [torch.stack(column).mean(0) for column in zip(*batches, strict=True)]
    with_0 = torch.stack([moments(x[[0, j]])[1] for j in range(4)]).mean(0)
    _, without = statistics(*running, *moments(x[:1]), 0.5, 0.5, 0)
    assert not torch.allclose(without, with_0, rtol=1e-3)


def trained_layer(group=2, c=2):
    norm = GhostNorm(c, group)
    for i in range(20):
        norm(pictures(8, c, seed=i).float())
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, c))
        norm.bias.copy_(torch.linspace(-1, 1, c))
    return norm.eval()


def test_the_layer_is_a_loop_over_pictures_and_channels_and_leaks_nothing_between_them():
    norm, x = trained_layer(), pictures(5).float()
    rule = Rule(0.7, 0.4, 0.1)
    found = EvalNorm(norm, rule)(x)
    for i, c in itertools.product(range(5), range(2)):
        own_mean, own_variance = x[i, c].mean(), ((x[i, c] - x[i, c].mean()) ** 2).mean()
        mean = 0.7 * norm.running_mean[c] + 0.3 * own_mean
        biased = norm.running_var[c] * 17 / 18  # of groups of 2 pictures of 9 pixels
        variance = 0.4 * biased + 0.6 * own_variance + 0.1 * (norm.running_mean[c] - own_mean) ** 2
        expected = norm.weight[c] * (x[i, c] - mean) / (variance + norm.eps).sqrt() + norm.bias[c]
        assert torch.allclose(found[i, c], expected, atol=1e-5)
    for i in range(5):
        alone = EvalNorm(norm, rule)(x[i : i + 1])
        assert torch.allclose(alone[0], found[i], atol=1e-6)


def test_the_ends_are_batch_and_instance_normalisation():
    norm, x = trained_layer(), pictures(5).float()
    usual = EvalNorm(norm, Rule(1, 1, 0))(x)
    norm.running_var.mul_(17 / 18)  # PyTorch keeps and uses it unbiased
    assert torch.allclose(usual, norm(x), atol=1e-5)
    alone = nn.functional.instance_norm(x, weight=norm.weight, bias=norm.bias, eps=norm.eps)
    assert torch.allclose(EvalNorm(norm, Rule.of_batch(1))(x), alone, atol=1e-5)


def small_network(group, seed=0):
    torch.manual_seed(seed)
    model = chain(1, 3, 4, lambda c: GhostNorm(c, group))
    x = torch.rand(32, 1, 8, 8)
    for _ in range(5):
        model(x)
    return model.eval(), x


def test_with_one_picture_in_a_batch_evalnorm_is_training_mode():
    model, x = small_network(1)
    rules = dict.fromkeys(layers(model), Rule.of_batch(1))
    corrected = log_answers(with_rules(model, rules), x)
    assert torch.allclose(corrected, batch_answers(model, x), atol=1e-4)
    assert divergence(corrected, batch_answers(model, x)) == pytest.approx(0, abs=1e-6)
    assert not torch.allclose(corrected, log_answers(model, x), atol=1e-2)


def test_ways_to_evaluate_leave_the_network_as_it_was():
    model, x = small_network(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with_rules(model, dict.fromkeys(layers(model), Rule.of_batch(2)))
    batch_answers(model, x)
    recalibrate_copy(model, x)
    learn_rules(model, parts(x, 8))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.training


def test_pooled_moments_are_those_of_the_groups():
    x = pictures(6)
    own = x.mean((2, 3)), x.var((2, 3), correction=0)
    mean, variance = pool(*own, group=2)
    for i in range(6):
        expected = moments(x[[i % 3, i % 3 + 3]])  # two pictures, 3 apart
        assert torch.allclose(mean[i], expected[0])
        assert torch.allclose(variance[i], expected[1])


def test_the_distance_from_moments_is_that_of_the_outputs():
    norm = trained_layer(group=2)
    x = pictures(8, seed=99).float()
    seen = collect_moments(nn.Sequential(norm), [x])["0"]
    weights = torch.tensor([0.6, 0.3], dtype=torch.float64)
    found = distance(seen, weights[0], weights[1]).item()
    rule = EvalNorm(norm, Rule.of_weights(0.6, 0.3))(x)
    training = trained_layer(group=2).train()(x)
    assert found == pytest.approx((training - rule).square().mean().item(), rel=1e-3)


def test_the_learnt_weights_are_the_best_of_a_grid():
    seen = collect_moments(nn.Sequential(trained_layer(group=2)), [pictures(64, seed=i).float() for i in range(4)])["0"]
    rule = learn_rule(seen, 2)

    def at(alpha, beta):
        return distance(seen, *torch.tensor([alpha, beta], dtype=torch.float64)).item()

    grid = [at(alpha, beta) for alpha in numpy.linspace(0, 1, 21) for beta in numpy.linspace(0, 1, 21)]
    assert at(rule.alpha, rule.beta) <= min(grid) + 1e-6
    assert rule.cross == pytest.approx(rule.alpha * (1 - rule.alpha))


def test_numbers_by_hand():
    answers = torch.tensor([[0.5, 0.5], [0.25, 0.75]]).log()
    target = torch.tensor([[0.5, 0.5], [0.5, 0.5]]).log()
    assert divergence(answers, target) == pytest.approx(0.5 * (0.5 * math.log(2) + 0.5 * math.log(2 / 3)))
    assert error(answers, torch.tensor([1, 1])) == 0.5
    assert fade(torch.tensor([0.0, 0.5, 1.0]), 0.5).tolist() == [0.25, 0.5, 0.75]


def test_recalibrated_statistics_are_those_of_the_pictures():
    model, x = small_network(2)
    first = next(iter(layers(recalibrate_copy(model, x)).values()))
    inputs = model[0](x)
    assert torch.allclose(first.running_mean, inputs.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(first.running_var, inputs.var((0, 2, 3)), rtol=1e-4)


class Draws:
    """Of a run, what measures ask for."""

    device = torch.device("cpu")

    def rng(self, stream, *index):
        return numpy.random.default_rng([len(stream), *index])


@pytest.mark.parametrize(("norm", "count"), [("batch", 15), ("renorm", 4), ("group", 3)])
def test_what_is_measured_of_each_normalisation(norm, count):
    d = images("digits")
    cfg = dataclasses.replace(CONFIG, norm=norm)
    numbers = measure(cfg, Draws(), network(cfg, d), d, (d.x[:20], d.y[:20]))
    assert len(numbers) == count
    assert all(math.isfinite(number) for number in numbers.values())


def test_groups_must_fit():
    with pytest.raises(Problem, match="tested is 100, which does not fall into groups of 64"):
        train(dataclasses.replace(CONFIG, group=64, tested=100), Draws())
    with pytest.raises(Problem, match="channel_groups"):
        network(dataclasses.replace(CONFIG, norm="group", channel_groups=3), images("digits"))


def test_variants_differ_in_normalisation_alone():
    config = {spec.variant: spec.config for spec in STUDY.plan("laptop", seeds=1)}
    fields = {name for name in config["bn-1"] if len({str(c[name]) for c in config.values()}) > 1}
    assert fields == {"norm", "group"}


def test_the_small_scale_sees_as_many_pictures():
    small, laptop = (STUDY.plan(scale, variants=["bn-2"], seeds=1)[0].config for scale in ("small", "laptop"))
    assert small["batch"] * small["steps"] == laptop["batch"] * laptop["steps"]
    assert small["lr"] / small["batch"] == laptop["lr"] / laptop["batch"]


def test_the_paper_scale_has_the_papers_network():
    config = STUDY.config(**STUDY.plan("paper", variants=["bn-2"])[0].config)
    assert (config.network, config.dataset, config.side, config.group) == ("resnet50", "ILSVRC/imagenet-1k", 224, 2)
    with torch.device("meta"):
        model = resnet50(3, 1000, lambda channels: GhostNorm(channels, 2))
    assert sum(p.numel() for p in model.parameters()) == 25_557_032
    assert len(layers(model)) == 53
    assert model(torch.zeros(2, 3, 224, 224, device="meta")).shape == (2, 1000)
