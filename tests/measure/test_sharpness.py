import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from etudes.core.errors import Problem
from etudes.measure.sharpness import along_gradient, hessian_product, sharpness


def explicit(loss_of: Callable[[Tensor], Tensor], point: Tensor) -> np.ndarray:
    """The Hessian `[p, p]` by torch's own functional route, symmetrised."""
    matrix = torch.autograd.functional.hessian(loss_of, point).double().numpy()
    return (matrix + matrix.T) / 2


def small_net(flat: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Half the mean squared error of a tanh network 4-5-3, its 43 parameters in one vector."""
    first, a, second, b = torch.split(flat, [20, 5, 15, 3])
    out = torch.tanh(x @ first.view(5, 4).T + a) @ second.view(3, 5).T + b
    return (out - y).square().sum(1).mean() / 2


@pytest.fixture
def problem():
    rng = np.random.default_rng(11)
    x, y = (torch.from_numpy(rng.standard_normal((30, n))) for n in (4, 3))
    flat = torch.from_numpy(rng.standard_normal(43)).requires_grad_()
    return flat, lambda v: small_net(v, x, y)


def diagonal(values: np.ndarray):
    h = torch.as_tensor(values)
    return lambda vector: h * vector


def test_product_is_the_explicit_hessian_times_the_vector(problem):
    flat, loss_of = problem
    product = hessian_product(lambda: loss_of(flat), [flat])
    columns = torch.stack([product(unit) for unit in torch.eye(43, dtype=torch.float64)])
    np.testing.assert_allclose(columns.numpy(), explicit(loss_of, flat.detach()), atol=1e-12)


def test_product_joins_several_parameters_in_their_order():
    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    x, y = torch.randn(7, 3).double(), torch.randn(7, 2).double()
    parameters = list(net.parameters())
    shapes = {name: p.shape for name, p in net.named_parameters()}

    def loss_of(flat: Tensor) -> Tensor:
        pieces = torch.split(flat, [s.numel() for s in shapes.values()])
        values = {name: piece.view(s) for (name, s), piece in zip(shapes.items(), pieces, strict=True)}
        return (torch.func.functional_call(net, values, (x,)) - y).square().mean()

    matrix = explicit(loss_of, torch.cat([p.detach().reshape(-1) for p in parameters]))
    product = hessian_product(lambda: (net(x) - y).square().mean(), parameters)
    vector = torch.randn(len(matrix)).double()
    np.testing.assert_allclose(product(vector).numpy(), matrix @ vector.numpy(), atol=1e-12)


def test_product_of_parameters_that_are_unused_or_linear_is_zero():
    used, linear, unused = (torch.ones(2, requires_grad=True) for _ in range(3))
    product = hessian_product(lambda: used.pow(2).sum() + linear.sum(), [used, linear, unused])
    assert product(torch.ones(6)).tolist() == [2, 2, 0, 0, 0, 0]
    assert not hessian_product(lambda: linear.sum(), [linear])(torch.ones(2)).any()


def test_sharpness_is_the_largest_eigenvalue_of_a_network(problem):
    flat, loss_of = problem
    product = hessian_product(lambda: loss_of(flat), [flat])
    found = sharpness(product, 43, np.random.default_rng(0), tolerance=1e-6)
    assert found == pytest.approx(np.linalg.eigvalsh(explicit(loss_of, flat.detach()))[-1], rel=1e-8)


def test_default_tolerance_is_kept_in_single_precision(problem):
    flat, loss_of = problem
    exact = np.linalg.eigvalsh(explicit(loss_of, flat.detach()))[-1]
    single = flat.detach().float().requires_grad_()
    product = hessian_product(lambda: loss_of(single.double()).float(), [single])
    assert sharpness(product, 43, np.random.default_rng(0)) == pytest.approx(exact, rel=1e-3)


def test_sharpness_where_the_largest_magnitude_is_negative(problem):
    flat, loss_of = problem

    def loss(v: Tensor) -> Tensor:
        return loss_of(v) - 5 * v.square().sum() / 2  # every eigenvalue is 5 lower

    spectrum = np.linalg.eigvalsh(explicit(loss, flat.detach()))
    assert 0 < 5 * spectrum[-1] < -spectrum[0], "a case on which the magnitude misleads"
    found = sharpness(hessian_product(lambda: loss(flat), [flat]), 43, np.random.default_rng(0), tolerance=1e-6)
    assert found == pytest.approx(spectrum[-1], rel=1e-6)


def test_sharpness_of_a_negative_definite_hessian_is_negative():
    assert sharpness(diagonal(-np.arange(1.0, 60)), 59, np.random.default_rng(0)) == pytest.approx(-1, rel=1e-3)


def test_preconditioned_sharpness_is_the_eigenvalue_of_the_unsymmetric_product(problem):
    flat, loss_of = problem
    scale = torch.from_numpy(np.random.default_rng(5).uniform(0.01, 3, 43))
    naive = np.linalg.eigvals(np.diag(1 / scale.numpy()) @ explicit(loss_of, flat.detach())).real.max()
    product = hessian_product(lambda: loss_of(flat), [flat])
    found = sharpness(product, 43, np.random.default_rng(0), scale=scale, tolerance=1e-6)
    assert found == pytest.approx(naive, rel=1e-8)
    assert found != pytest.approx(sharpness(product, 43, np.random.default_rng(0)), rel=0.1)


def test_sharpness_agrees_with_shifted_power_iteration(problem):
    flat, loss_of = problem
    product = hessian_product(lambda: loss_of(flat) - 5 * flat.square().sum() / 2, [flat])
    vector = torch.from_numpy(np.random.default_rng(1).standard_normal(43))
    for _ in range(2000):  # H + 10 has no negative eigenvalue, so that its largest magnitude is its largest
        vector = product(vector) + 10 * vector
        vector /= vector.norm()
    power = float(vector @ product(vector))
    assert sharpness(product, 43, np.random.default_rng(0), tolerance=1e-6) == pytest.approx(power, rel=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 500])
def test_sharpness_of_a_quadratic_is_its_largest_coefficient(size):
    coefficients = np.geomspace(0.01, 7, size) if size > 1 else np.array([7.0])
    weights = torch.full((size,), 0.3, dtype=torch.float64, requires_grad=True)
    product = hessian_product(lambda: (torch.as_tensor(coefficients) * weights.square()).sum() / 2, [weights])
    found = sharpness(product, size, np.random.default_rng(size))
    assert found == pytest.approx(7, rel=1e-3)


def test_a_crowded_top_is_still_found():
    """Eigenvalues that differ by less than a thousandth: the hard case of Lanczos."""
    coefficients = np.linspace(0.99, 1, 3000)
    assert sharpness(diagonal(coefficients), 3000, np.random.default_rng(0)) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("values", [np.arange(400.0), np.repeat([1.0, 3.0], 200)], ids=["spread", "two values"])
def test_sharpness_is_a_pure_function_of_product_and_generator(values):
    first, second, other = (sharpness(diagonal(values), 400, np.random.default_rng(s)) for s in (4, 4, 5))
    assert first == second
    assert other == pytest.approx(first, rel=1e-3)


def test_a_zero_hessian_has_sharpness_zero():
    assert sharpness(torch.zeros_like, 20, np.random.default_rng(0)) == 0


def test_bad_input_is_one_sentence():
    weights = torch.ones(3, requires_grad=True)
    with pytest.raises(Problem, match="one finite number"):
        hessian_product(lambda: weights, [weights])
    with pytest.raises(Problem, match="one finite number"):
        hessian_product(lambda: weights.sum() * float("nan"), [weights])
    with pytest.raises(Problem, match="depends on the parameters"):
        hessian_product(lambda: torch.tensor(1.0), [weights])
    for scale in (torch.tensor([1.0, 0.0, 1.0]), torch.ones(2)):
        with pytest.raises(Problem, match="3 positive finite"):
            sharpness(diagonal(np.ones(3)), 3, np.random.default_rng(0), scale=scale)
    assert math.isnan(sharpness(diagonal(np.full(3, np.nan)), 3, np.random.default_rng(0)))
    with pytest.raises(Problem, match="raise the tolerance"):
        sharpness(diagonal(np.linspace(0, 1, 20_000)), 20_000, np.random.default_rng(0), tolerance=1e-12)


@pytest.fixture
def bowl():
    """A quadratic w H w / 2 in two tensors of parameters, and its H."""
    rng = np.random.default_rng(3)
    root = torch.from_numpy(rng.standard_normal((5, 5)))
    matrix = root @ root.T
    a, b = (torch.from_numpy(rng.standard_normal(n)).requires_grad_() for n in (2, 3))

    def objective() -> Tensor:
        w = torch.cat([a, b])
        return w @ matrix @ w / 2

    return objective, [a, b], matrix


def test_along_the_gradient_of_a_quadratic_everything_has_a_closed_form(bowl):
    objective, parameters, matrix = bowl
    w = torch.cat(parameters).detach()
    g = matrix @ w
    steps = (0.05, 0.1, 0.4)
    walk = along_gradient(objective, parameters, steps)
    assert walk.loss == pytest.approx((w @ matrix @ w / 2).item())
    assert walk.length == pytest.approx(g.norm().item())
    places = [w - step * g for step in steps]
    losses = [(v @ matrix @ v / 2).item() for v in places]
    assert walk.losses.tolist() == pytest.approx(losses)
    assert walk.distances.tolist() == pytest.approx([step * g.norm().item() for step in steps])
    assert walk.loss_variation == pytest.approx(max(losses) - min(losses))
    assert walk.gradient_change == pytest.approx(0.4 * (matrix @ g).norm().item())
    assert walk.beta_smoothness == pytest.approx((matrix @ g).norm().item() / g.norm().item())


def test_effective_smoothness_is_below_the_largest_curvature_and_reaches_it_along_its_own_direction():
    matrix = torch.diag(torch.tensor([9.0, 1.0]).double())
    w = torch.tensor([1.0, 5.0]).double().requires_grad_()
    assert along_gradient(lambda: w @ matrix @ w / 2, [w], [0.1]).beta_smoothness < 9
    w = torch.tensor([1.0, 0.0]).double().requires_grad_()
    assert along_gradient(lambda: w @ matrix @ w / 2, [w], [0.1]).beta_smoothness == pytest.approx(9)


def test_the_largest_of_several_changes_counts_and_not_the_last():
    w = torch.tensor([0.0]).double().requires_grad_()
    walk = along_gradient(lambda: w.sin().sum(), [w], [math.pi / 2, math.pi, 2 * math.pi])
    assert walk.changes.tolist() == pytest.approx([1, 2, 0], abs=1e-9)
    assert walk.gradient_change == pytest.approx(2)
    assert walk.beta_smoothness == pytest.approx(2 / math.pi)
    assert walk.loss_variation == pytest.approx(1)  # -1, 0 and 0: the loss at the start, 0, is none of them


def test_the_parameters_end_as_they_began_even_where_the_objective_fails(bowl):
    objective, parameters, _ = bowl
    before = [p.detach().clone() for p in parameters]
    along_gradient(objective, parameters, [0.5, 1.0])
    asked = []

    def fails() -> Tensor:
        asked.append(1)
        if len(asked) > 1:
            raise ArithmeticError
        return objective()

    with pytest.raises(ArithmeticError):
        along_gradient(fails, parameters, [0.5])
    assert all(torch.equal(p, w) for p, w in zip(parameters, before, strict=True))
    assert all(p.grad is None for p in parameters)


def test_steps_and_gradients_that_lead_nowhere_are_refused(bowl):
    objective, parameters, _ = bowl
    for steps in ((), (0.1, 0.0), (-1.0,)):
        with pytest.raises(Problem, match="above 0"):
            along_gradient(objective, parameters, steps)
    flat = torch.zeros(2, requires_grad=True)
    with pytest.raises(Problem, match="zero"):
        along_gradient(lambda: flat.square().sum(), [flat], [0.1])
