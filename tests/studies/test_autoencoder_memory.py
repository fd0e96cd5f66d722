import json
import math

import numpy
import pytest
import torch
from PIL import Image
from torch import nn

from etudes.core import Problem
from etudes.studies.dynamics.autoencoder_memory import STUDY, Config, read
from etudes.studies.dynamics.autoencoder_memory.findings import (
    Starts,
    attraction,
    draw_recall,
    draw_starts,
    one_step,
    resting_places,
)
from etudes.studies.dynamics.autoencoder_memory.idea import (
    Cosid,
    cycles,
    iterate,
    jacobians,
    nearest,
    off_span,
    repeat,
    spectral_radii,
)
from etudes.studies.dynamics.autoencoder_memory.networks import network
from etudes.sweep.local import perform

CONFIG = Config(dataset="digits", side=6, examples=4, starts=5, width=12)
STRETCHING = torch.tensor([[0.5, 10.0], [0.0, 0.5]])  # both eigenvalues are 0.5, its norm is above 10


class Draws:
    """Of a run, what data and starts ask for."""

    def rng(self, stream, *index):
        return numpy.random.default_rng([len(stream), *index])

    def note(self, **facts):
        self.facts = facts


def pictures(n=6, d=9, seed=0):
    return torch.rand(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn_network(activation="swish", d=9, depth=2):
    torch.manual_seed(1)
    return network("dense", (1, 3, d // 3), 7, depth, activation, 1.0).double().requires_grad_(False)


def towards(targets, rate):
    """The map that moves each picture by a share of its way to the nearest of the targets."""
    return lambda x: x + rate * (targets[nearest(x, targets)[1]] - x)


@pytest.mark.parametrize("activation", ["relu", "swish", "cosid"])
def test_jacobians_are_those_of_autograd_picture_by_picture(activation):
    model, x = drawn_network(activation), pictures()
    found = jacobians(model, x)
    for jacobian, picture in zip(found, x, strict=True):
        theirs = torch.autograd.functional.jacobian(lambda p: model(p[None])[0], picture)
        assert torch.allclose(jacobian, theirs, atol=1e-12)


def test_the_jacobian_of_a_convolution_has_a_column_for_every_pixel():
    torch.manual_seed(0)
    model = network("strided", (1, 5, 5), 2, 2, "leaky", 1.0).double().requires_grad_(False)
    x, h = pictures(2, 25), 1e-6
    columns = [(model(x + h * pixel) - model(x - h * pixel)) / (2 * h) for pixel in torch.eye(25, dtype=torch.float64)]
    assert torch.allclose(jacobians(model, x), torch.stack(columns, 2), atol=1e-7)


def test_a_spectral_radius_is_numpys_and_no_singular_value():
    matrices = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = [abs(numpy.linalg.eigvals(matrix.numpy())).max() for matrix in matrices]
    assert spectral_radii(matrices).tolist() == pytest.approx(expected)
    assert spectral_radii(STRETCHING[None]).item() == pytest.approx(0.5, abs=1e-3)
    assert torch.linalg.matrix_norm(STRETCHING, 2) > 10


def test_a_map_that_stretches_but_has_small_eigenvalues_comes_to_rest():
    def f(x):
        return x @ STRETCHING.T

    start = torch.tensor([[0.0, 0.5]])
    assert f(start).norm() > 5
    ends, rests = iterate(f, start, 100)
    assert rests.all()
    assert ends.abs().max() < 1e-4


def test_iteration_stops_where_it_rests_and_tells_what_does_not():
    calls = []

    def f(x):
        calls.append(len(x))
        return torch.where(x < 1, x / 2, 3 - x)  # to 0, or to and fro

    ends, rests = iterate(f, torch.tensor([[0.5], [1.2], [-9.0]]), 60)
    assert rests.tolist() == [True, False, True]
    assert ends[0].abs() < 1e-5
    ends, rests = iterate(lambda x: 3 * x, torch.tensor([[1.0], [0.0]]), 60)
    assert rests.tolist() == [False, True]
    assert ends.isfinite().all()
    assert ends.abs().max() <= 10
    assert calls[0] == 3
    assert calls[-1] < 3  # those at rest are not computed again
    with pytest.raises(Problem, match="once or more"):
        iterate(f, torch.zeros(1, 1), 0)


def test_a_map_that_gives_no_number_does_not_rest():
    ends, rests = iterate(lambda x: x / 0 * 0, torch.ones(1, 2), 5)
    assert not rests.any()
    assert (ends == 1).all()


def linear_by(optimiser, x, gain, steps):
    torch.manual_seed(0)
    model = network("dense", (1, 1, x.shape[1]), 1, 0, "linear", gain).double()
    first = model[0].weight.detach().clone()
    opt = optimiser(model.parameters())
    for _ in range(steps):
        opt.zero_grad()
        (model(x) - x).square().mean().backward()
        opt.step()
    return first, model[0].weight.detach()


def test_a_linear_autoencoder_from_zero_becomes_the_projection_on_the_span():
    x = pictures(4, 10)
    projection = torch.linalg.pinv(x) @ x
    _, weight = linear_by(lambda p: torch.optim.SGD(p, 1.0, momentum=0.9), x, 0.0, 2000)
    assert (weight - projection).abs().max() < 1e-10
    assert torch.linalg.matrix_rank(weight, tol=1e-8) == 4
    assert spectral_radii(weight[None]).item() == pytest.approx(1)  # it attracts nothing
    _, by_adam = linear_by(lambda p: torch.optim.Adam(p, 3e-3), x, 0.0, 1000)
    assert (by_adam @ x.T - x.T).abs().max() < 0.01
    assert (by_adam - projection).abs().max() > 0.1


def test_what_a_linear_autoencoder_begins_with_off_the_span_stays():
    x = pictures(4, 10)
    rest = torch.eye(10, dtype=torch.float64) - torch.linalg.pinv(x) @ x
    first, weight = linear_by(lambda p: torch.optim.SGD(p, 1.0, momentum=0.9), x, 1.0, 300)
    assert (weight @ rest - first @ rest).abs().max() < 1e-12
    assert (first @ rest).abs().max() > 0.1


def test_the_part_off_the_span_is_what_least_squares_leaves():
    stored, x = pictures(3, 9), pictures(5, 9, seed=1)
    stored = torch.cat([stored, stored[:1] + stored[1:2]])  # dependent
    best = numpy.linalg.lstsq(stored.T.numpy(), x.T.numpy(), rcond=None)[0]
    assert numpy.allclose(off_span(x, stored).numpy(), x.numpy() - (stored.T.numpy() @ best).T)


def test_a_cycle_is_a_fixed_point_of_as_many_steps_and_its_jacobian_a_product():
    assert cycles(6, 3).tolist() == [1, 2, 0, 4, 5, 3]
    assert cycles(3, 1).tolist() == [0, 1, 2]
    with pytest.raises(Problem, match="multiple of `cycle`"):
        cycles(6, 4)
    model, x = drawn_network(), pictures(1)
    y = model(x)
    product = jacobians(model, y)[0] @ jacobians(model, x)[0]
    assert torch.allclose(jacobians(repeat(model, 2), x)[0], product, atol=1e-12)


def test_nearest_is_a_loop_over_pairs():
    x, stored = pictures(4), pictures(3, seed=1)
    apart, row = nearest(x, stored)
    for i, picture in enumerate(x):
        each = [math.sqrt(((picture - other) ** 2).mean()) for other in stored]
        assert apart[i].item() == pytest.approx(min(each))
        assert row[i] == each.index(min(each))


def test_places_are_counted_once():
    x = pictures(3)
    assert resting_places(torch.cat([x, x + 0.001, x[:1]])) == 3
    assert resting_places(x[:0]) == 0


def starts_of(stored):
    return Starts(stored, stored + 0.05, stored + 0.1, stored[[0, 0, 1]] + 0.01, stored[:1] - 0.02)


def test_pictures_that_a_map_goes_to_are_attractors_and_those_of_the_identity_are_not():
    stored = pictures(3)
    starts = starts_of(stored)
    found = attraction(towards(stored, 0.5), starts, 1, 100)
    assert found["train/radius"] == pytest.approx(0.5)
    assert found["train/singular-value"] == pytest.approx(0.5)
    assert found["train/attractors"] == found["train/recalled"] == found["train/contractive"] == 1
    found = attraction(lambda x: 1.0 * x, starts, 1, 100)
    assert found["train/radius"] == 1
    assert found["train/attractors"] == found["train/recalled"] == 0


def test_contraction_towards_something_else_is_no_attractor():
    stored = pictures(3)
    found = attraction(lambda x: x / 2, starts_of(stored), 1, 100)
    assert found["train/contractive"] == 1
    assert found["train/attractors"] == 0


def test_the_radius_of_cycles_is_that_of_one_step():
    stored = pictures(4)
    found = attraction(repeat(towards(stored, 0.5), 3), starts_of(stored), 3, 100)
    assert found["train/radius"] == pytest.approx(0.5)


def test_starts_end_at_training_pictures_or_at_spurious_ones():
    stored = pictures(3)
    found = attraction(towards(stored, 0.5), starts_of(stored), 1, 100)
    assert found["test/recalled"] == found["test/recalled-noise"] == 1
    assert (found["test/pictures"], found["test/pictures-noise"], found["test/spurious"]) == (2, 1, 0)
    found = attraction(towards(stored + 0.05, 0.5), starts_of(stored), 1, 100)
    assert found["test/recalled"] == found["test/recalled-noise"] == found["test/pictures"] == 0
    assert found["test/spurious"] == 2


def test_one_step_of_the_identity_errs_nothing_and_leaves_the_span():
    stored = pictures(3)
    starts = Starts(stored, stored, stored, pictures(5, seed=2), stored)
    found = one_step(lambda x: x, starts)
    expected = off_span(starts.unseen, stored).square().sum() / starts.unseen.square().sum()
    assert found["test/error"] == 0
    assert found["test/off-span"] == pytest.approx(expected.item())
    found = one_step(lambda x: x.mean(1, keepdim=True) * stored[:1], starts)
    assert found["test/off-span"] < 1e-12 < found["test/error"]


@pytest.mark.parametrize(("kind", "depth"), [("dense", 3), ("convolutional", 2), ("strided", 3)])
@pytest.mark.parametrize("shape", [(1, 14, 14), (3, 9, 9)])
def test_networks_give_pictures_of_the_same_shape(kind, depth, shape):
    model = network(kind, shape, 4, depth, "leaky", 1.0)
    assert model(torch.rand(2, math.prod(shape))).shape == (2, math.prod(shape))
    assert not any(
        isinstance(layer, nn.LeakyReLU) for layer in list(model)[-2 if kind != "dense" else -1 :]
    )  # the last layer is linear


def test_first_weights_have_the_gain_that_is_asked_for():
    torch.manual_seed(0)
    model = network("dense", (1, 10, 10), 400, 2, "relu", 1.5)
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    assert len(layers) == 3
    for layer in layers:
        assert layer.weight.std().item() * layer.in_features**0.5 == pytest.approx(1.5, rel=0.02)
        assert (layer.bias == 0).all()


def test_a_picture_is_not_halved_beyond_one_pixel():
    with pytest.raises(Problem, match="cannot be halved 4 times"):
        network("strided", (1, 6, 6), 2, 4, "relu", 1.0)


def test_cosid_is_cos_x_minus_x():
    assert Cosid()(torch.tensor([0.0, math.pi])).tolist() == pytest.approx([1, -1 - math.pi])


def test_pictures_are_drawn_without_repeats_and_scarce_ones_refused():
    run = Draws()
    stored, unseen = read(CONFIG, run)
    assert stored.shape == (4, 1, 6, 6)
    assert unseen.shape == (5, 1, 6, 6)
    assert run.facts["data"]["dataset"] == "digits"
    starts = draw_starts(stored.flatten(1) / 255, unseen.flatten(1) / 255, run)
    assert (starts.nudged - starts.stored).std().item() == pytest.approx(0.05, rel=0.3)
    assert starts.noise.min() >= 0
    assert starts.noise.max() <= 1
    with pytest.raises(Problem, match="starts asks for 9999"):
        read(Config(dataset="digits", starts=9999), run)


def test_the_sheet_shows_every_start_and_where_it_ends(tmp_path):
    stored = pictures(5)
    starts = Starts(stored, stored, stored + 0.1, pictures(5, seed=1), pictures(5, seed=2))
    f = towards(stored, 0.5)
    draw_recall(tmp_path / "recall.png", f, f, starts, (1, 3, 3), 50)
    sheet = numpy.array(Image.open(tmp_path / "recall.png"))
    cell = sheet.shape[0] // 9
    assert sheet.shape[1] // cell == 9
    end, last = sheet[:cell, 6 * cell : 7 * cell], sheet[:cell, 8 * cell : 9 * cell]
    assert abs(end.astype(int).mean() - last.astype(int).mean()) < 12


def results(variant, root, **changes):
    """The result of a short run of one variant."""
    (spec,) = STUDY.plan("smoke", variants=(variant,), seeds=1, **changes)
    (outcome,) = perform(STUDY, [spec], root)
    assert outcome.status == "done"
    return json.loads((root / spec.key / "result.json").read_text())


def test_training_ends_when_the_loss_is_small_enough(tmp_path):
    found = results("depth-1", tmp_path, steps=800, enough=1e-3, width=64)
    assert 1e-5 < found["train/loss"] <= 1e-3
    assert 10 < found["train/steps"] < 800
    assert results("depth-1", tmp_path, steps=5, enough=0.0)["train/steps"] == 5


def test_by_descent_from_zero_nothing_lies_off_the_span_and_by_adam_much_does(tmp_path):
    by_descent = results("linear", tmp_path, steps=100)
    by_adam = results("linear-adam", tmp_path, steps=100)
    assert by_descent["test/off-span"] < 1e-9 < 1e-3 < by_adam["test/off-span"]
