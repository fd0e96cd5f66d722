import json

import numpy
import pytest
import torch

from etudes.measure.sharpness import hessian_product, sharpness
from etudes.studies.dynamics.edge_of_stability import STUDY, Descent, threshold
from etudes.studies.dynamics.edge_of_stability.central import Trio, compare, complementary, curvature, flow, slope
from etudes.studies.dynamics.edge_of_stability.findings import summary
from etudes.sweep.local import perform


def grows(rule, share, beta=0.9, curvature=10.0, steps=400):
    """Whether the rule, with its step size at `share` of the largest stable one, diverges on h w^2 / 2."""
    step_size = share * threshold(rule, 1.0, beta) / curvature
    state = Descent(torch.ones(1, dtype=torch.float64))
    fixed = torch.ones(1, dtype=torch.float64) if rule == "adam" else None  # P frozen at the identity
    for _ in range(steps):
        state.move(rule, curvature * state.weights, step_size, beta, fixed)
    return abs(state.weights.item()) > 1


@pytest.mark.parametrize("rule", ["gd", "momentum", "adam"])
@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_thresholds_divide_convergence_from_divergence_on_a_quadratic(rule, beta):
    assert not grows(rule, 0.98, beta)
    assert grows(rule, 1.02, beta)


def test_adams_threshold_is_the_papers():
    assert threshold("adam", 1.0, 0.9) == pytest.approx(38)


@pytest.mark.parametrize(
    ("rule", "peer"),
    [
        ("gd", lambda p: torch.optim.SGD(p, lr=0.05)),
        ("momentum", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
        ("adam", lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.9, 0.999), eps=1e-8)),
    ],
)
def test_rules_are_those_of_torch_optim(rule, peer):
    start = torch.randn(7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state, theirs = Descent(start).double(), start.clone().requires_grad_()
    opt = peer([theirs])
    for i in range(30):
        gradient = (state.weights**3 - state.weights).clone()
        scale = state.preconditioner(gradient, i + 1, 0.9, 0.999) if rule == "adam" else None
        state.move(rule, gradient, 0.05, 0.9, scale)
        opt.zero_grad()
        theirs.grad = (theirs**3 - theirs).detach()
        opt.step()
    assert torch.allclose(state.weights, theirs.detach(), atol=1e-6)


def test_a_summary_counts_as_by_hand():
    measured = torch.tensor([1.0, 2.0, 3.0, 2.5, 2.4, 2.6], dtype=torch.float64)
    losses = torch.tensor([10, 9, 8, 7, 6, 5.5, 5.6, 5.0, 5.2, 4.0, 4.1, 3.0], dtype=torch.float64)
    found = summary(measured, losses, limit=2.5, every=2)
    assert found["train/sharpness-plateau"] == pytest.approx(2.5)
    assert found["train/plateau-over-threshold"] == pytest.approx(1.0)
    assert found["train/rises-before"] == 0.0  # the threshold is reached at the third measurement, step 4
    assert found["train/rises-after"] == pytest.approx(3 / 7)
    assert found["train/sharpness-rises"] == pytest.approx(3 / 5)
    assert found["train/loss"] == 3.0
    assert found["train/worst-tenth"] < 1.05


def test_preconditioned_sharpness_of_adam_is_that_of_p_inverse_h():
    h = torch.tensor([1.0, 4.0, 9.0])
    w = torch.ones(3, requires_grad=True)
    product = hessian_product(lambda: (h * w.square()).sum() / 2, [w])
    scale = torch.tensor([1.0, 2.0, 9.0])
    found = sharpness(product, 3, numpy.random.default_rng(0), scale=scale)
    assert found == pytest.approx((h / scale).max().item(), rel=1e-3)


def test_it_never_runs_in_bf16():
    from etudes.core.errors import Problem
    from etudes.train.precision import resolve

    assert resolve(STUDY, "auto") == "fp32"
    with pytest.raises(Problem, match="measures what bf16 would blur"):
        resolve(STUDY, "bf16")


def test_on_a_quadratic_the_loss_grows_above_the_threshold_and_falls_below_it(tmp_path):
    found = results("quadratic-below", tmp_path), results("quadratic-above", tmp_path)
    assert found[0]["train/loss-growth"] < 0 < found[1]["train/loss-growth"]
    assert found[0]["train/rises-before"] + found[0]["train/rises-after"] == 0


def test_the_loss_of_a_network_never_rises_far_below_the_threshold(tmp_path):
    found = results("gd-x1", tmp_path, steps=200)
    assert found["train/sharpness-plateau"] < 20  # 2/eta of a step size of 0.1
    assert found["train/rises-before"] + found["train/rises-after"] == 0


def results(variant, root, **changes):
    """The result of a short run of one variant."""
    (spec,) = STUDY.plan("smoke", variants=(variant,), seeds=1, **changes)
    (outcome,) = perform(STUDY, [spec], root)
    assert outcome.status == "done"
    return json.loads((root / spec.key / "result.json").read_text())


def test_a_run_that_diverges_stops_no_other(tmp_path):
    plan = STUDY.plan("smoke", variants=("gd-x4", "momentum", "quadratic-below"), seeds=1, gd_step=1000.0)
    outcomes = perform(STUDY, plan, tmp_path)
    assert [outcome.status for outcome in outcomes] == ["diverged", "done", "done"]
    assert outcomes[0].spec == plan[0]
    assert all((tmp_path / spec.key / "result.json").exists() for spec in plan[1:])


def toy(level, w):
    """-c y + (a + y^2) x^2 / 2, with a = 1 and c = `level`: along x = 0 its curvature in x is a + y^2."""
    x, y = w
    return (1 + y**2) * x**2 / 2 - level * y


def followed(objective, weights, eta, times, time=0.1, k=1):
    """Weights and last X after so many short times along the central flow, which is told no more than a first guess."""
    vectors = torch.eye(len(weights), dtype=torch.float64)[:, :k]
    for _ in range(times):
        weights, found, x = flow(objective, weights, vectors, eta, time)
        vectors = found.vectors
    return weights, x


def test_the_central_flow_of_a_toy_is_that_in_closed_form():
    """y grows at eta c until 1 + y^2 = 2/eta, and stays there with the variance c / y."""
    eta, level, start = 0.4, 0.3, torch.tensor([0.0, 1.5], dtype=torch.float64)
    weights, _ = followed(lambda w: toy(level, w), start, eta, 20)
    assert weights.tolist() == pytest.approx([0, 1.5 + eta * level * 20 * 0.1])
    weights, x = followed(lambda w: toy(level, w), weights, eta, 50, time=0.2)
    edge = (2 / eta - 1) ** 0.5
    assert weights.tolist() == pytest.approx([0, edge], abs=1e-4)
    assert x.item() == pytest.approx(level / edge, rel=1e-3)


def test_descent_on_the_toy_goes_to_and_fro_with_the_variance_of_its_central_flow():
    eta, level = 0.4, 0.3
    edge = (2 / eta - 1) ** 0.5
    swing = (level / edge) ** 0.5
    w = torch.tensor([swing, edge], dtype=torch.float64)
    for i in range(10):
        w = w - eta * slope(lambda v: toy(level, v), w)[1]
        assert w.tolist() == pytest.approx([swing * (-1) ** (i + 1), edge])


def small_loss(w):
    """A smooth loss of six parameters with eigenvalues of both signs."""
    matrix = torch.arange(36, dtype=torch.float64).reshape(6, 6).sin()
    return (matrix @ w).tanh().square().sum() + (w**4).sum() / 8 + torch.cos(w * torch.arange(1, 7)).sum() / 4


def test_curvature_is_that_of_the_explicit_hessian_and_its_derivative():
    w = torch.linspace(-0.5, 0.6, 6, dtype=torch.float64)
    vectors = torch.eye(6, dtype=torch.float64)[:, :2]
    for _ in range(50):
        found = curvature(small_loss, w, vectors)
        vectors = found.vectors
    hessian = torch.autograd.functional.hessian(small_loss, w)
    values, exact = torch.linalg.eigh(hessian)
    assert found.values.tolist() == pytest.approx(values[[-1, -2]].tolist())
    third = torch.autograd.functional.jacobian(
        lambda v: torch.autograd.functional.hessian(small_loss, v, create_graph=True), w
    )
    expected = torch.einsum("ai,abp,bj->ijp", found.vectors, third, found.vectors)
    assert torch.allclose(found.slopes, expected, atol=1e-8)
    assert (found.vectors.T @ exact[:, [-1, -2]]).abs().diagonal().tolist() == pytest.approx([1, 1])


def test_below_the_edge_the_central_flow_is_gradient_flow():
    w = torch.linspace(-0.5, 0.6, 6, dtype=torch.float64)
    eta, vectors = 0.01, torch.eye(6, dtype=torch.float64)[:, :2]  # 2/eta is far above all eigenvalues
    moved, _, x = flow(small_loss, w, vectors, eta, 0.5)
    assert torch.equal(moved, w - eta * 0.5 * slope(small_loss, w)[1])
    assert x.numel() == 0


def test_no_eigenvalue_passes_the_edge_along_the_central_flow():
    w = torch.linspace(-0.5, 0.6, 6, dtype=torch.float64)
    top = torch.linalg.eigvalsh(torch.autograd.functional.hessian(small_loss, w))
    eta = 2 / top[-2].item()  # two begin at it or above
    w, _ = followed(small_loss, w, eta, 60, time=0.1, k=3)
    assert torch.linalg.eigvalsh(torch.autograd.functional.hessian(small_loss, w))[-1] <= 2 / eta * 1.001


@pytest.mark.parametrize("seed", range(5))
def test_complementarity_is_solved_as_by_nnls_where_nothing_couples(seed):
    """With diagonal slopes and eigenvalues at the edge, X minimises |g + T' x / 2|^2 over x >= 0."""
    from scipy.optimize import nnls

    rng, k = numpy.random.default_rng(seed), 3
    slopes, gradient = numpy.zeros((k, k, 8)), rng.standard_normal(8)
    slopes[range(k), range(k)] = rng.standard_normal((k, 8))
    effect = torch.from_numpy(numpy.einsum("ijp,abp->ijab", slopes, slopes) / 2)
    found = complementary(effect, torch.from_numpy(slopes @ gradient))
    expected, _ = nnls(slopes[range(k), range(k)].T / 2, -gradient)
    assert found.diagonal().tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert (found - found.diagonal().diag()).abs().max() < 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_complementarity_holds_for_matrices_and_no_other_is_better(seed):
    """Brute force: X = A A' of all A that a general optimiser tries from several starts."""
    from scipy.optimize import minimize

    rng, k = numpy.random.default_rng(seed), 2
    slopes = rng.standard_normal((k, k, 8))
    slopes += slopes.transpose(1, 0, 2)
    effect = numpy.einsum("ijp,abp->ijab", slopes, slopes) / 2
    room = slopes @ rng.standard_normal(8) + numpy.diag([0, 0.5])
    x = complementary(torch.from_numpy(effect), torch.from_numpy(room)).numpy()
    slack = room + numpy.einsum("ijab,ab->ij", effect, x)
    assert min(numpy.linalg.eigvalsh(x)[0], numpy.linalg.eigvalsh(slack)[0]) > -1e-6
    assert abs((x * slack).sum()) < 1e-6

    def cost(x):
        return (x * numpy.einsum("ijab,ab->ij", effect, x)).sum() / 2 + (room * x).sum()

    tries = [minimize(lambda a: cost(a.reshape(k, k) @ a.reshape(k, k).T), rng.standard_normal(4)) for _ in range(5)]
    assert cost(x) == pytest.approx(min(t.fun for t in tries), abs=1e-6)


def test_the_average_beside_the_flows_has_nothing_of_an_oscillation():
    """Three steps of w = mean +- swing, as descent takes them on a quadratic at its edge."""
    objective = lambda w: 5 * w[0] ** 2 + 0 * w.sum()  # noqa: E731  curvature 10, edge of a step size of 0.2
    one, other = torch.tensor([0.3, 1.0], dtype=torch.float64), torch.tensor([-0.3, 1.0], dtype=torch.float64)
    state = Trio(other, one, torch.tensor([0.0, 1.0], dtype=torch.float64), torch.eye(2, dtype=torch.float64)[:, :1])
    found = compare(objective, state, 0.2)
    assert found["train/variance"].item() == pytest.approx(0.09)
    assert found["train/distance-central"].item() == pytest.approx(0, abs=1e-12)
    assert torch.allclose(state.now, other)
