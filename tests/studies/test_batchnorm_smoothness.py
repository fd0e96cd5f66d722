import copy
import dataclasses
import math

import numpy
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from etudes.core import Problem
from etudes.data.images import images
from etudes.studies.dynamics.batchnorm_smoothness import STUDY, Config, check
from etudes.studies.dynamics.batchnorm_smoothness.findings import (
    COLUMNS,
    distribution_shift,
    look,
    moments,
    summary,
)
from etudes.studies.dynamics.batchnorm_smoothness.idea import (
    LpNorm,
    NoisyBatchNorm,
    average_norm,
    covariate_shift,
    disturb,
)
from etudes.studies.dynamics.batchnorm_smoothness.networks import Layer, network, parts
from etudes.train import Rows

CONFIG = Config(dataset="digits", width=4, batch=16, held_out=50, tested=64, steps=3, look_every=2)


class Draws:
    """A run as far as `look` asks for one: its seeds."""

    def seed(self, stream, *index):
        return hash((stream, *index)) % 2**32


@pytest.fixture(scope="module")
def digits():
    return images("digits")


def pictures(n=6, c=3, side=4, seed=0):
    return torch.randn(n, c, side, side, generator=torch.Generator().manual_seed(seed)) * 2 + 1


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_the_average_norm_is_a_loop_over_numbers(p):
    x = pictures()
    for c in range(3):
        numbers = [abs(v) for v in x[:, c].flatten().tolist()]
        expected = max(numbers) if math.isinf(p) else (sum(v**p for v in numbers) / len(numbers)) ** (1 / p)
        assert average_norm(x, p)[c].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_lp_normalisation_centres_by_the_mean_and_divides_by_the_norm_before_that(p):
    norm, x = LpNorm(3, p), pictures()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        norm.bias.copy_(torch.tensor([-1.0, 0.0, 3.0]))
    found = norm(x)
    for c in range(3):
        size = torch.linalg.vector_norm(x[:, c].flatten(), p) / (1 if math.isinf(p) else x[:, c].numel() ** (1 / p))
        expected = norm.weight[c] * (x[:, c] - x[:, c].mean()) / size + norm.bias[c]
        assert torch.allclose(found[:, c], expected, atol=1e-4)


def test_the_l2_norm_of_numbers_that_have_no_mean_is_batch_normalisation():
    x = pictures()
    x = x - x.mean((0, 2, 3), keepdim=True)
    assert torch.allclose(LpNorm(3, 2)(x), nn.BatchNorm2d(3)(x), atol=1e-4)
    assert not torch.allclose(LpNorm(3, 2)(x + 3), nn.BatchNorm2d(3)(x + 3), atol=0.1)


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_lp_normalisation_does_not_feel_the_scale_of_its_input_and_passes_gradients_through_its_statistics(p):
    norm, x = LpNorm(3, p), pictures().requires_grad_()
    assert torch.allclose(norm(x), norm(7 * x), atol=1e-4)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((norm(x) * weights).sum(), x)
    for c in range(3):  # a function of degree 0: its gradient is at right angles to x
        along = (gradient[:, c] * x[:, c]).sum().abs().item()
        assert along < 1e-3 * gradient[:, c].norm().item() * x[:, c].norm().item()


def test_in_evaluation_running_averages_are_used_and_pictures_do_not_matter_to_each_other():
    norm = LpNorm(3, 1, momentum=0.5)
    first, second = pictures(seed=1), pictures(seed=2)
    norm(first), norm(second)
    mean = 0.25 * 0 + 0.25 * first.mean((0, 2, 3)) + 0.5 * second.mean((0, 2, 3))
    size = 0.25 * 1 + 0.25 * average_norm(first, 1) + 0.5 * average_norm(second, 1)
    assert torch.allclose(norm.running_mean, mean, atol=1e-5)
    assert torch.allclose(norm.running_norm, size, atol=1e-5)
    norm.eval()
    x = pictures(seed=3)
    assert torch.allclose(norm(x)[:1], norm(x[:1]), atol=1e-6)
    assert torch.allclose(norm(x), (x - mean[:, None, None]) / (size + 1e-5)[:, None, None], atol=1e-4)
    with pytest.raises(Problem, match="p = 3"):
        LpNorm(3, 3)


def test_noise_has_its_own_mean_and_deviation_for_each_channel_and_call():
    x = torch.randn(4000, 20, 1, 1, generator=torch.Generator().manual_seed(0))
    x = (x - x.mean(0)) / x.std(0)
    torch.manual_seed(5)
    y = disturb(x, 0.5, 1.25, 0.1)
    means, deviations = y.mean((0, 2, 3)), y.std((0, 2, 3))
    assert 0.3 < means.abs().max() < 0.55  # U(-0.5, 0.5), and what 4,000 pictures scatter
    assert deviations.min() > 0.95
    assert deviations.max() < 1.3
    assert deviations.std() > 0.03
    again = disturb(x, 0.5, 1.25, 0.1).mean((0, 2, 3))
    assert (again - means).abs().mean() > 0.15
    assert torch.equal(disturb(x, 0, 1, 0), x)


def test_noise_differs_between_pictures_and_is_one_within_a_picture_and_channel():
    y = disturb(torch.zeros(5, 2, 3, 3), 0.5, 1.25, 0.1)
    assert torch.equal(y, y[..., :1, :1].expand_as(y))
    assert (y[1:, :, 0, 0] != y[:1, :, 0, 0]).all()
    assert ((y - y.mean(0)).abs() <= 0.2).all()


def test_noisy_batch_normalisation_is_evaluated_with_the_mean_of_its_noise():
    norm, x = NoisyBatchNorm(3, 0.5, 1.25, 0.1), pictures(64)
    plain = nn.BatchNorm2d(3)
    assert not torch.allclose(norm(x), plain(x), atol=0.1)
    assert torch.allclose(norm.eval()(x), 1.125 * plain.eval()(x), atol=1e-5)
    drawn = torch.stack([disturb(plain(x), 0.5, 1.25, 0.1) for _ in range(2000)]).mean(0)
    assert (drawn - norm(x)).abs().mean() < 0.02


def chain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def test_covariate_shift_is_definition_2_1_by_networks_of_their_own():
    model, lr = chain(), 0.7
    x, y = torch.randn(9, 3).double(), torch.randint(2, (9,))
    layers = [model[0], model[2], model[4]]
    before = copy.deepcopy(model.state_dict())
    differences, cosines = covariate_shift(lambda: cross_entropy(model(x), y), layers, lr)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())

    def gradients(updated):
        """The gradients of all layers, where the first `updated` ones have made their step."""
        other = chain()
        cross_entropy(other(x), y).backward()
        with torch.no_grad():
            for index in (0, 2, 4)[:updated]:
                for p in other[index].parameters():
                    p -= lr * p.grad
        other.zero_grad()
        cross_entropy(other(x), y).backward()
        return [other[index].weight.grad.flatten().numpy() for index in (0, 2, 4)]

    for i in (1, 2):
        first, second = gradients(0)[i], gradients(i)[i]
        length = numpy.linalg.norm
        assert differences[i - 1].item() == pytest.approx(length(first - second) / length(first))
        assert cosines[i - 1].item() == pytest.approx(first @ second / length(first) / length(second))


def test_nothing_shifts_where_nothing_is_updated():
    model, x, y = chain(), torch.randn(9, 3).double(), torch.randint(2, (9,))
    differences, cosines = covariate_shift(lambda: cross_entropy(model(x), y), [model[0], model[2]], 0.0)
    assert differences.tolist() == [0]
    assert cosines.tolist() == pytest.approx([1])


def test_distributions_shift_by_the_distance_of_normal_ones_in_deviations():
    mean, deviation = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0])
    same = [(mean, deviation)]
    assert distribution_shift(same, same) == 0
    moved = [(mean + torch.tensor([3.0, 0.0]), deviation)]
    assert distribution_shift(same, moved) == pytest.approx(1.5)  # three deviations of one channel of two
    assert distribution_shift([(10 * mean, 10 * deviation)], [(10 * m, 10 * s) for m, s in moved]) == pytest.approx(1.5)
    wider = [(mean, torch.tensor([2.0, 2.0]))]
    assert distribution_shift(same, wider) == pytest.approx(1 / math.sqrt(2.5) / 2)


@pytest.mark.parametrize("norm", ["none", "batch", "noisy", "l1", "l2", "linf", "group"])
def test_a_look_leaves_the_network_as_it_is_and_gives_the_same_numbers_twice(norm, digits):
    cfg = dataclasses.replace(CONFIG, norm=norm)
    torch.manual_seed(0)
    model = network(cfg, digits)
    x, y = digits.x[:16] / 255, digits.y[:16]
    before = copy.deepcopy(model.state_dict())
    numbers = look(cfg, Draws(), model, x, y, 0, 0.05)
    assert set(numbers) == set(COLUMNS)
    assert all(math.isfinite(number) and number >= 0 for number in numbers.values())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert numbers == look(cfg, Draws(), model, x, y, 0, 0.05)
    if norm == "noisy":  # noise of the next step is another
        assert numbers["shift"] > 0.1
    assert len(moments(model, x, 0)) == 8


def test_each_look_at_the_landscape_is_that_of_its_step(digits):
    torch.manual_seed(0)
    model = network(CONFIG, digits)
    x, y = digits.x[:16] / 255, digits.y[:16]
    numbers = look(CONFIG, Draws(), model, x, y, 0, 0.05)
    losses, gradients = [], []
    for distance in (0, *CONFIG.distances):
        other = copy.deepcopy(model)
        cross_entropy(other(x), y).backward()
        with torch.no_grad():
            for p in other.parameters():
                p -= 0.05 * distance * p.grad
        other.zero_grad()
        loss = cross_entropy(other(x), y)
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in other.parameters()]))
    changes = [(g - gradients[0]).norm().item() for g in gradients[1:]]
    lengths = [0.05 * distance * gradients[0].norm().item() for distance in CONFIG.distances]
    assert numbers["loss-variation"] == pytest.approx(max(losses[1:]) - min(losses[1:]), rel=1e-3)
    assert numbers["gradient-change"] == pytest.approx(max(changes), rel=1e-3)
    assert numbers["beta"] == pytest.approx(max(c / d for c, d in zip(changes, lengths, strict=True)), rel=1e-3)


def test_the_summary_has_geometric_means_of_what_varies_by_factors():
    looks, losses = Rows(2, *COLUMNS), Rows(8, "loss")
    for row, number in enumerate((1.0, 4.0)):
        looks.put(row, **dict.fromkeys(COLUMNS, number))
    for i in range(8):
        losses.put(i, loss=i)
    found = summary(looks, losses, 2)
    assert found["train/beta"] == pytest.approx(2)
    assert found["train/loss-variation"] == pytest.approx(2)
    assert found["train/turn"] == pytest.approx(2.5)
    assert found["train/loss-end"] == pytest.approx(6.5)
    assert found["train/loss-whole"] == pytest.approx(3.5)
    assert set(summary(looks, losses, 0)) == {"train/loss-end", "train/loss-whole"}


class Colour:
    shape, mean, std, classes = (3, 32, 32), (0.5,) * 3, (0.2,) * 3, 10


def test_vgg_16_has_the_parameters_of_the_usual_one():
    def size(norm):
        model = network(Config(network="vgg16", width=64, norm=norm), Colour())
        assert len(parts(model)) == 14
        return sum(p.numel() for p in model.parameters())

    biases = sum(width * count for width, count in ((64, 2), (128, 2), (256, 3), (512, 6)))
    assert size("batch") == 14_728_266 - biases  # 14,728,266 with biases before batch normalisation, as is common
    assert size("none") == size("batch") - biases  # a bias in place of a scale and a shift
    assert size("linf") == size("noisy") == size("group") == size("batch")


def test_all_variants_begin_with_the_same_weights(digits):
    def first(norm):
        torch.manual_seed(3)
        return [p.detach() for p in network(dataclasses.replace(CONFIG, norm=norm), digits).parameters() if p.ndim > 1]

    for norm in ("batch", "noisy", "l1", "group"):
        for one, other in zip(first("none"), first(norm), strict=True):
            assert torch.equal(one, other)
    assert isinstance(network(CONFIG, digits)[1], Layer)


def test_what_cannot_be_run_is_refused(digits):
    with pytest.raises(Problem, match="channel_groups = 3"):
        network(dataclasses.replace(CONFIG, norm="group", channel_groups=3), digits)
    with pytest.raises(Problem, match="held_out"):
        check(CONFIG, 50)
    with pytest.raises(Problem, match="distances"):
        check(dataclasses.replace(CONFIG, distances=(0.5, 0.0)), 1000)


def test_what_the_variants_differ_in():
    configs = {v.name: v.changes for v in STUDY.variants}
    assert configs["bn"] == {"norm": "batch"}
    assert all(set(changes) <= {"norm", "rate"} for changes in configs.values())
