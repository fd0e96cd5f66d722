import dataclasses
import math

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from draws import Draws
from etudes.core import Problem
from etudes.data.images import images
from etudes.measure.size import count_parameters
from etudes.nn.norm import BatchNorm
from etudes.studies.labels.mixmatch import STUDY, Config
from etudes.studies.labels.mixmatch.idea import (
    draw_mixing,
    guess_labels,
    mix,
    mixmatch_batch,
    mixmatch_loss,
    pseudo_label_loss,
    ramp,
    sharpen,
    squared_error,
)
from etudes.studies.labels.mixmatch.training import (
    Nets,
    Pictures,
    kept_statistics,
    loss_of,
    network,
    split_rows,
)
from etudes.train import EMA

TINY = Config(**STUDY.plan("smoke", variants=["mixmatch"])[0].config)


def distributions(n, classes, seed=0):
    return torch.from_numpy(numpy.random.default_rng(seed).dirichlet([1.0] * classes, size=n)).float()


def logits(*shape, seed=0):
    return torch.from_numpy(numpy.random.default_rng(seed).normal(size=shape)).float()


@pytest.mark.parametrize("temperature", [0.25, 0.5, 1.0])
def test_sharpening_is_the_naive_loop(temperature):
    p = distributions(5, 4)
    for row, sharp in zip(p.tolist(), sharpen(p, temperature).tolist(), strict=True):
        powers = [value ** (1 / temperature) for value in row]
        assert sharp == pytest.approx([power / sum(powers) for power in powers], rel=1e-5)


def test_sharpening_has_less_entropy_keeps_zeros_and_refuses_a_temperature_of_zero():
    p = distributions(50, 6)
    entropy = [-(q * q.clamp_min(1e-30).log()).sum(1) for q in (p, sharpen(p, 0.5))]
    assert (entropy[1] < entropy[0]).all()
    assert sharpen(torch.tensor([[0.0, 0.5, 0.5]]), 0.01).tolist() == [[0.0, 0.5, 0.5]]
    with pytest.raises(Problem, match="a temperature above 0, not 0"):
        sharpen(p, 0)


def test_a_guess_averages_probabilities_and_has_no_gradient():
    views = logits(3, 5, 4).requires_grad_()
    guesses = guess_labels(views, 0.5)
    assert not guesses.requires_grad
    for i in range(5):
        mean = [0.0] * 4
        for k in range(3):
            exps = [math.exp(value) for value in views[k, i].tolist()]
            mean = [m + e / sum(exps) / 3 for m, e in zip(mean, exps, strict=True)]
        squares = [m * m for m in mean]
        assert guesses[i].tolist() == pytest.approx([s / sum(squares) for s in squares], rel=1e-5)
    assert not torch.allclose(guesses, sharpen(functional.softmax(views.detach().mean(0), -1), 0.5), atol=1e-3)


def test_a_mixture_is_nearer_to_its_own_row():
    partners, weights = draw_mixing(20_000, 0.75, numpy.random.default_rng(0))
    assert sorted(partners.tolist()) == list(range(20_000))
    assert 0.5 <= weights.min() < 0.51
    assert weights.max() <= 1
    draws = numpy.random.default_rng(1).beta(0.75, 0.75, size=200_000)
    assert weights.mean().item() == pytest.approx(numpy.maximum(draws, 1 - draws).mean(), abs=0.005)
    assert (draw_mixing(9, 0.0, numpy.random.default_rng(0))[1] == 1).all()


def test_the_batch_is_algorithm_1():
    """Against a loop over pictures, in the order of the paper's listing."""
    x, y = logits(4, 1, 3, 3), distributions(4, 5)
    views, guesses = logits(2, 3, 1, 3, 3, seed=1), distributions(3, 5, 1)
    partners, weights = draw_mixing(10, 0.75, numpy.random.default_rng(2))
    inputs, targets = mixmatch_batch(x, y, views, guesses, partners, weights)
    pairs = [(x[b], y[b]) for b in range(4)]
    for k in range(2):
        pairs += [(views[k, b], guesses[b]) for b in range(3)]
    shuffled = [pairs[j] for j in partners.tolist()]
    for i, ((p, q), (p2, q2)) in enumerate(zip(pairs, shuffled, strict=True)):
        weight = weights[i].item()
        assert torch.allclose(inputs[i], weight * p + (1 - weight) * p2, atol=1e-6)
        assert torch.allclose(targets[i], weight * q + (1 - weight) * q2, atol=1e-6)
    assert torch.allclose(targets.sum(1), torch.ones(10))


def test_a_weight_of_one_mixes_nothing():
    rows = logits(6, 2)
    assert torch.equal(mix(rows, torch.arange(5, -1, -1), torch.ones(6)), rows)


def test_the_loss_is_the_naive_loop_with_probabilities_in_the_squared_error():
    found, targets = logits(7, 3), distributions(7, 3)
    known = guessed = 0.0
    for i in range(7):
        exps = [math.exp(value) for value in found[i].tolist()]
        p = [e / sum(exps) for e in exps]
        if i < 3:
            known -= sum(q * math.log(v) for q, v in zip(targets[i].tolist(), p, strict=True)) / 3
        else:
            guessed += sum((q - v) ** 2 for q, v in zip(targets[i].tolist(), p, strict=True)) / (4 * 3)
    assert mixmatch_loss(found, targets, 3, 75.0).item() == pytest.approx(known + 75 * guessed, rel=1e-5)
    assert squared_error(100 * found, targets) <= 2 / 3  # of logits it would be unbounded


def test_the_weight_rises_linearly():
    assert [ramp(i, 100) for i in (0, 1, 50, 100, 1000)] == [0, 0.01, 0.5, 1, 1]
    assert ramp(0, 0) == 1


def test_pseudo_labels_count_where_they_are_sure_and_move_only_the_learner():
    learns, seen = logits(6, 3).requires_grad_(), (2 * logits(6, 3, seed=4)).requires_grad_()
    loss = pseudo_label_loss(learns, seen, 0.8)
    total, sure = 0.0, 0
    for i in range(6):
        p = functional.softmax(seen[i], 0)
        if p.max() >= 0.8:
            sure += 1
            total -= functional.log_softmax(learns[i], 0)[p.argmax()].item()
    assert 0 < sure < 6
    assert loss.item() == pytest.approx(total / 6, rel=1e-5)
    loss.backward()
    assert seen.grad is None
    assert (learns.grad.abs().sum(1) > 0).sum() == sure


def test_rows_are_labelled_held_out_or_unlabelled_once_by_the_seed():
    y = torch.arange(60) % 3
    splits = [split_rows(y, 4, Draws(seed)) for seed in (0, 0, 1)]
    for known, held, rest in splits:
        assert sorted(torch.cat([known, held, rest]).tolist()) == list(range(60))
        assert torch.bincount(y[known]).tolist() == torch.bincount(y[held]).tolist() == [4, 4, 4]
    assert all(torch.equal(a, b) for a, b in zip(splits[0], splits[1], strict=True))
    assert not torch.equal(splits[0][0], splits[2][0])
    with pytest.raises(Problem, match="leave none of 60 pictures unlabelled"):
        split_rows(y, 10, Draws())


def scene(method="mixmatch", **fields):
    cfg = dataclasses.replace(TINY, method=method, **fields)
    d = images("digits")
    torch.manual_seed(0)
    model = network(cfg, d)
    known, _, rest = split_rows(d.y, 5, Draws())
    return cfg, Pictures(cfg, Draws(), d, known, rest), Nets(model, EMA(model, 0.9)), rest


def statistics(model):
    return torch.cat([b.flatten() for m in model.modules() if isinstance(m, BatchNorm) for b in (m.running_mean,)])


def test_guessing_takes_the_batchs_statistics_and_keeps_the_running_ones():
    _, pictures, nets, _ = scene()
    x, before = pictures.views(0, 1)[0], statistics(nets.model)
    with kept_statistics(nets.model):
        guessed = nets.model(x)
    assert torch.equal(statistics(nets.model), before)
    assert torch.equal(nets.model(x), guessed)  # as in training
    assert not torch.equal(statistics(nets.model), before)
    assert not torch.allclose(nets.model.eval()(x), guessed, atol=1e-3)


def test_after_guessing_in_bf16_every_weight_still_has_a_gradient():
    """PyTorch once kept weights that were cast where no gradient was wanted, and used them again where one was."""
    cfg, pictures, nets, _ = scene(weight=75.0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(cfg, Draws(), pictures, nets, 5)["train/loss"]
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in nets.model.parameters())


def test_unlabelled_pictures_are_neither_labelled_nor_of_the_test():
    _, pictures, _, rest = scene(batch=32)
    rows = torch.cat([pictures._rows(i) for i in range(len(rest) // 32)])
    assert len(rows.unique()) == len(rows)
    assert set(rows.tolist()) <= set(rest.tolist())
    assert not set(rows.tolist()) & set(pictures.known.tolist())
    views = pictures.views(3, 2)
    assert views.shape == (2, 32, 1, 8, 8)
    assert not torch.equal(views[0], views[1])  # each view is drawn for itself


@pytest.mark.parametrize("method", ["pseudo-labels", "mean-teacher", "mixmatch", "fixmatch"])
def test_no_method_sees_the_hidden_labels(method):
    losses, hidden = [], []
    for spoilt in (False, True):
        cfg, pictures, nets, rest = scene(method, batch=64, weight=1.0, threshold=0.1)
        if spoilt:
            y = pictures.d.y.clone()
            y[rest] = (y[rest] + 1) % 10
            pictures.d = dataclasses.replace(pictures.d, y=y)
        losses.append(loss_of(cfg, Draws(), pictures, nets, 5)["train/loss"])
        hidden.append(pictures.hidden(5))
    assert (hidden[0] != hidden[1]).all()
    assert torch.equal(*losses)


@pytest.mark.parametrize("method", ["pseudo-labels", "mean-teacher", "mixmatch", "fixmatch"])
def test_without_weight_a_method_learns_from_labels_alone(method):
    gradients = []
    for unlabelled in (0.0, 1.0):
        cfg, pictures, nets, _ = scene(method, weight=50 * unlabelled, threshold=0.0, alpha=0.0)
        nets.model.eval()  # else the statistics of the batch tie both parts together
        loss_of(cfg, Draws(), pictures, nets, 5)["train/loss"].backward()
        gradients.append(nets.model[1][0].weight.grad.clone())
        if not unlabelled:
            nets.model.zero_grad()
            x, y = pictures.examples(5)
            functional.cross_entropy(nets.model(x), y.argmax(1)).backward()
            assert torch.allclose(nets.model[1][0].weight.grad, gradients[0], atol=1e-6)
    assert not torch.allclose(gradients[0], gradients[1], atol=1e-5)


def test_the_average_has_the_networks_statistics():
    _, pictures, nets, _ = scene()
    nets.model(pictures.views(0, 1)[0])
    nets.average.update()
    assert torch.equal(statistics(nets.average.model), statistics(nets.model))
    assert not nets.average.model.training


def test_a_shuffled_batch_has_the_same_statistics():
    """Why one batch of all chunks needs no interleaving; chunks by themselves do."""
    norm, x = nn.Sequential(BatchNorm(2)), logits(6, 2, 3, 3)
    x[:2] += 5  # labelled pictures that look otherwise
    order = torch.tensor([3, 0, 5, 2, 1, 4])
    assert torch.allclose(norm(x)[order], norm(x[order]), atol=1e-5)
    apart = torch.cat([norm(x[:2]), norm(x[2:])])
    assert not torch.allclose(apart, norm(x), atol=0.1)


def test_the_paper_scale_is_the_papers():
    config = STUDY.config(**STUDY.plan("paper", variants=["mixmatch"])[0].config)
    assert (config.labels, config.views, config.temperature, config.alpha, config.weight) == (25, 2, 0.5, 0.75, 75)
    assert (config.lr, config.ema, config.batch, config.dataset, config.side) == (2e-3, 0.999, 64, "cifar10", 0)
    shape = type("Pictures", (), {"x": torch.zeros(1, 3, 32, 32), "classes": 10, "mean": [0.5] * 3, "std": [0.25] * 3})
    assert count_parameters(network(config, shape)) == 1_467_610
