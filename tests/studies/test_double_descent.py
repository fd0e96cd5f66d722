import itertools
import math
from types import SimpleNamespace

import numpy
import pytest
import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.measure.size import count_parameters
from etudes.studies.dynamics.double_descent import STUDY, Config, theory
from etudes.studies.dynamics.double_descent.examples import open_examples
from etudes.studies.dynamics.double_descent.findings import (
    dip_and_peak,
    early_stopping,
    network_findings,
    peak_over_threshold,
    rises,
)
from etudes.studies.dynamics.double_descent.networks import Mlp, cnn, network
from etudes.studies.dynamics.double_descent.training import groups
from etudes.train.many import Together, losses

LAW = {"n": 40, "total": 120, "signal": 1.0, "noise": 0.25}


def measured(p, penalty, trials=150):
    """The mean test error of weights that a solver of PyTorch's finds on drawn examples, and its standard error."""
    rng, found = numpy.random.default_rng(p), []
    for _ in range(trials):
        x, y, beta = theory.draw(LAW["n"], LAW["total"], 1.0, 0.25, rng)
        seen = torch.from_numpy(x[:, :p])
        rows = torch.cat([seen, math.sqrt(penalty * LAW["n"]) * torch.eye(p, dtype=seen.dtype)])
        w = torch.linalg.lstsq(rows, torch.cat([torch.from_numpy(y), torch.zeros(p).double()])[:, None], driver="gelsd")
        fresh = rng.normal(size=(200, LAW["total"]))
        errors = fresh @ beta + 0.5 * rng.normal(size=200) - fresh[:, :p] @ w.solution[:, 0].numpy()
        found.append((errors**2).mean())
    return numpy.mean(found), numpy.std(found) / math.sqrt(trials)


@pytest.mark.parametrize("p", [8, 25, 60, 120])
def test_the_exact_error_of_least_squares_is_that_of_trials(p):
    mean, error = measured(p, 0.0)
    assert theory.expected_error(p, **LAW) == pytest.approx(mean, abs=4 * error)


@pytest.mark.parametrize("p", [20, 40, 80])
@pytest.mark.parametrize("times", [0.3, 1.0])
def test_the_error_of_ridge_is_that_of_trials(p, times):
    penalty = times * theory.best_penalty(p, **LAW)
    mean, error = measured(p, penalty)
    assert theory.ridge_error(p, **LAW, penalty=penalty) == pytest.approx(mean, rel=0.02, abs=4 * error)


@pytest.mark.parametrize("ratio", [0.2, 0.8, 1.25, 3.0])
def test_the_variance_of_many_examples_is_what_the_exact_error_adds_to_the_noise(ratio):
    n = 200_000
    p = round(ratio * n)
    with_noise, without = (theory.expected_error(p, n, p, 1.0, noise) for noise in (1.0, 0.0))
    assert with_noise - without - 1 == pytest.approx(theory.variance(ratio), rel=1e-3)
    assert theory.variance(ratio) == pytest.approx({0.2: 0.25, 0.8: 4.0, 1.25: 4.0, 3.0: 0.5}[ratio])


def test_the_peak_is_at_as_many_features_as_examples_and_has_no_bound():
    errors = [theory.expected_error(p, **LAW) for p in range(1, 121)]
    assert [p for p, error in enumerate(errors, 1) if error == math.inf] == [39, 40, 41]
    assert errors[37] > 10 * errors[0]
    assert errors[-1] < min(errors[:38])
    assert theory.variance(1.0) == math.inf


def test_the_best_penalty_is_the_best_and_leaves_no_peak():
    errors = []
    for p in range(1, 121):
        best = theory.best_penalty(p, **LAW)
        around = [theory.ridge_error(p, **LAW, penalty=times * best) for times in (0.8, 1.0, 1.25)]
        assert around[1] == min(around)
        errors.append(around[1])
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))


@pytest.mark.parametrize("p", [10, 60])
def test_ridge_goes_over_into_least_squares_and_into_saying_nothing(p):
    tiny = theory.ridge_error(p * 1000, 40_000, 120_000, 1.0, 0.25, 1e-9)
    assert tiny == pytest.approx(theory.expected_error(p * 1000, 40_000, 120_000, 1.0, 0.25), rel=1e-3)
    assert theory.ridge_error(p, **LAW, penalty=1e9) == pytest.approx(1.25)
    assert theory.ridge_error(p, **LAW, penalty=math.inf) == 1.25


@pytest.mark.parametrize("shape", [(30, 12), (12, 12), (12, 30)])
def test_weights_are_those_of_the_normal_equations_and_of_the_pseudo_inverse(shape):
    rng = numpy.random.default_rng(0)
    x, y = rng.normal(size=shape), rng.normal(size=(shape[0], 2))
    least, ridged = theory.weights(x, y, [0.0, 0.3])
    assert least == pytest.approx(numpy.linalg.pinv(x) @ y)
    both = x.T @ x + 0.3 * shape[0] * numpy.eye(shape[1])
    assert ridged == pytest.approx(numpy.linalg.solve(both, x.T @ y))


def test_features_that_are_never_on_ask_for_no_weight():
    x = numpy.random.default_rng(0).normal(size=(6, 4))
    x[:, 2] = 0
    (w,) = theory.weights(x, x[:, 0], [0.0])
    assert w == pytest.approx([1, 0, 0, 0])


def test_the_error_of_weights_is_that_on_many_fresh_examples():
    rng = numpy.random.default_rng(0)
    beta, w = rng.normal(size=9), rng.normal(size=4)
    x = rng.normal(size=(400_000, 9))
    y = x @ beta + 0.7 * rng.normal(size=len(x))
    assert theory.error(w, beta, 0.49) == pytest.approx(((y - x[:, :4] @ w) ** 2).mean(), rel=0.01)


def test_random_features_are_the_naive_loop():
    rng = numpy.random.default_rng(0)
    x, directions = rng.normal(size=(5, 3)), rng.normal(size=(7, 3))
    found = theory.relu_features(x, directions)
    for i, j in itertools.product(range(5), range(7)):
        assert found[i, j] == pytest.approx(max(0.0, float(x[i] @ directions[j])) / math.sqrt(7))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: theory.variance(0), "the features an example are 0"),
        (lambda: theory.expected_error(121, **LAW), "121 of 120 features cannot be seen"),
        (lambda: theory.ridge_error(10, **LAW, penalty=0), "without one take expected_error"),
    ],
)
def test_the_theory_refuses_what_it_says_nothing_of(call, sentence):
    with pytest.raises(Problem, match=sentence):
        call()


def test_dip_and_peak_are_those_of_the_naive_loop():
    rng = numpy.random.default_rng(0)
    for _ in range(50):
        errors = rng.random(8)
        best = max(itertools.combinations(range(8), 2), key=lambda pair: errors[pair[1]] - errors[pair[0]])
        assert dip_and_peak(errors) == best


def test_where_there_is_no_peak_the_expected_rise_is_not_above_zero():
    """Pure noise around a flat curve: choosing and measuring by the same draw would tell of a rise."""
    rng = numpy.random.default_rng(0)
    numbers = []
    for _ in range(400):
        errors = rng.normal(size=(8, 2))
        dip, peak, _ = rises(errors, errors)
        numbers.append(peak - dip)
    assert abs(numpy.mean(numbers)) < 4 * numpy.std(numbers) / 20
    chosen = [e[dip_and_peak(e)[1]] - e[dip_and_peak(e)[0]] for e in rng.normal(size=(100, 8))]
    assert numpy.mean(chosen) > 1


def test_a_rise_is_chosen_by_the_other_draw_and_measured_on_each():
    validation = numpy.array([[5, 5], [1, 3], [4, 1], [2, 6]]).astype(float)  # draw 0: 1 -> 2, draw 1: 2 -> 3
    test = numpy.array([[50, 51], [10, 11], [40, 41], [20, 21]]).astype(float)
    dip, peak, end = rises(validation, test)
    assert (dip, peak, end) == ((40 + 11) / 2, (20 + 41) / 2, 20.5)
    assert rises(validation[:, :1], test[:, :1]) == (10, 40, 20)


def test_the_peak_is_compared_with_the_least_width_that_fits():
    widths, train = numpy.array([2, 4, 8, 16]), numpy.array([0.3, 0.1, 0.0, 0.0])
    assert peak_over_threshold(widths, train, numpy.array([0.2, 0.1, 0.4, 0.3])) == 1
    assert peak_over_threshold(widths, train, numpy.array([0.2, 0.1, 0.3, 0.4])) == 2
    assert peak_over_threshold(widths, train + 1, numpy.array([0.2, 0.1, 0.4, 0.3])) == 0.5


def test_each_network_is_stopped_at_its_least_validation_error():
    rng = numpy.random.default_rng(0)
    validation, test = rng.random((2, 5, 3, 2))
    own, found = early_stopping(validation, test)
    for w, d in itertools.product(range(3), range(2)):
        look = min(range(5), key=lambda t: validation[t, w, d])
        assert (own[w, d], found[w, d]) == (validation[look, w, d], test[look, w, d])


def test_findings_read_the_right_errors():
    curve = numpy.array([0.5, 0.2, 0.4, 0.3])
    errors = numpy.zeros((3, 3, 4, 2))
    errors[:, 1:] = curve[:, None]
    errors[:, 1:, -1] = numpy.array([0.1, 0.45, 0.3])[:, None, None]  # over time, of the widest
    errors[-1, 0] = numpy.array([0.3, 0.1, 0.0, 0.0])[:, None]
    found = network_findings(numpy.array([1, 2, 4, 8]), errors, around=(2, 4))
    assert found["test/rise"] == pytest.approx(0.2)
    assert found["test/rise-in-time"] == pytest.approx(0.35)
    assert found["test/fall-in-time"] == pytest.approx(0.15)
    assert found["test/error-around"] == pytest.approx(0.3)
    assert found["test/error-stopped-early"] == pytest.approx(0.1)
    assert found["test/peak-over-threshold"] == 1


def test_idle_units_stay_idle_and_change_nothing():
    """A narrow network in a wide one's place, stacked with it, is trained as the narrow one alone."""
    x, y = torch.randn(2, 40, 9, generator=torch.Generator().manual_seed(0)), torch.arange(80).view(2, 40) % 3

    def make(width, widest):
        torch.manual_seed(width)
        return Mlp(9, width, 3, idle=widest - width)

    narrow, stack = make(4, 4), Together([make(4, 7), make(7, 7)])
    for model, own_x, own_y in ((narrow, x[:1], y[:1]), (stack, x, y)):
        opt = torch.optim.Adam(model.parameters(), 0.05, weight_decay=0.01)
        for _ in range(40):
            opt.zero_grad()
            outputs = model(own_x) if model is stack else model(own_x[0])[None]
            losses(outputs, own_y).sum().backward()
            opt.step()
    first, bias, last, end = (weight[0] for weight in stack.weights)
    assert torch.equal(first[4:], torch.zeros(3, 9))
    assert torch.equal(last[:, 4:], torch.zeros(3, 3))
    for idle, own in zip((first[:4], bias[:4], last[:, :4], end), narrow.parameters(), strict=True):
        assert torch.allclose(idle, own, atol=1e-5)


def test_columns_inside_are_plain_layers():
    mlp, x = Mlp(12, 5, 3), torch.randn(7, 3, 2, 2)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3))
    plain.load_state_dict(dict(zip(plain.state_dict(), mlp.state_dict().values(), strict=True)))
    assert torch.allclose(mlp(x), plain(x), atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8)])
def test_the_papers_networks_have_its_sizes(shape):
    assert count_parameters(cnn(3, 64, 10)) == 3 * 64 * 9 + 64 * 64 * 9 * (2 + 8 + 32) + 2 * 64 * 15 + 5130
    assert count_parameters(network("resnet", (3, 32, 32), 64, 10, 0.0, 64)) == pytest.approx(11.17e6, rel=1e-3)
    for kind in ("mlp", "cnn", "resnet"):
        assert network(kind, shape, 2, 10, 0.0, 2)(torch.zeros(2, *shape)).shape == (2, 10)


class Seed:
    """As much of a run as the examples and networks need."""

    device = torch.device("cpu")

    def seed(self, stream, *index):
        return sum(map(ord, f"{stream}/{index}"))

    def rng(self, stream, *index):
        return numpy.random.default_rng(self.seed(stream, *index))

    def note(self, **facts):
        pass

    def result(self, **numbers):
        pass


def test_exactly_that_share_of_labels_is_wrong_and_fewer_examples_are_some_of_the_same():
    clean, noisy = (open_examples(Config(noise=noise), Seed(), 100, 2) for noise in (0.0, 0.2))
    assert torch.equal(clean.x, noisy.x)
    assert (clean.y != noisy.y).sum(1).tolist() == [20, 20]
    assert not torch.equal(clean.y != noisy.y, (clean.y != noisy.y).flip(0))
    fewer = open_examples(Config(noise=0.2), Seed(), 50, 2)
    assert torch.equal(fewer.x, noisy.x[:, :50])
    pictures = {tuple(row.flatten().tolist()) for row in clean.x.flatten(0, 1)}
    assert not pictures & {tuple(row.flatten().tolist()) for row in clean.validation[0]}


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_errors_are_those_of_each_network_on_its_own_draw(kind):
    cfg = Config(network=kind, widths=(2, 3, 20), around=(2,), noise=0.2)
    d = open_examples(cfg, Seed(), 30, 2)
    stacks = groups(cfg, Seed(), d)
    assert len(stacks) == (2 if kind == "mlp" else 3)  # the first two MLPs are stacked
    for stack in stacks:
        found = stack.errors(d.x, d.y)
        outputs = stack.networks.eval()(d.x[stack.draws])
        for k, draw in enumerate(stack.draws.tolist()):
            wrong = sum(int(outputs[k, i].argmax()) != int(d.y[draw, i]) for i in range(30))
            assert found[k].item() == pytest.approx(wrong / 30)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"widths": (4, 2)}, "give numbers above 0 that grow"),
        ({"around": (4, 5)}, "the widths around the peak are"),
        ({"validation": 1420}, "too few for 30 and 1420 held out"),
    ],
)
def test_impossible_settings_are_refused(changes, sentence):
    cfg = Config(**changes)
    with pytest.raises(Problem, match=sentence):
        groups(cfg, Seed(), open_examples(cfg, Seed(), 30, 2))


def test_the_paper_scale_is_the_papers():
    config = SimpleNamespace(**STUDY.plan("paper", variants=["noise-20"])[0].config)
    assert (config.network, config.widths[-1], config.batch, config.lr) == ("resnet", 64, 128, 1e-4)
    assert config.steps * config.batch == pytest.approx(4000 * config.examples, rel=0.01)
