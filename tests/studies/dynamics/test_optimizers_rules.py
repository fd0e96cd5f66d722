"""Each rule against a naive loop, a closed form or a peer."""

import copy
import functools
import itertools

import numpy as np
import pytest
import torch
from scipy.linalg import fractional_matrix_power
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.studies.dynamics.optimizers.adafactor import Adafactor, inverse_deviation
from etudes.studies.dynamics.optimizers.newton import NewtonCG, conjugate_gradients
from etudes.studies.dynamics.optimizers.rules import decay, grid, move, optimiser, restart, state_numbers
from etudes.studies.dynamics.optimizers.shampoo import Shampoo, blocks_of, inverse_root, precondition, unfold

SHAPES = [(7,), (5, 4), (5, 4, 3), (6, 4, 3, 3)]


def tensors(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def walk(opt, parameters, steps=4):
    """The parameters after some steps along gradients that are the same for every optimiser."""
    for i in range(steps):
        for p, g in zip(parameters, tensors(*(p.shape for p in parameters), seed=i + 1), strict=True):
            p.grad = g
        opt.step()
    return [p.detach() for p in parameters]


def leaves(*shapes):
    return [t.requires_grad_() for t in tensors(*shapes)]


def naive_shampoo(w, gradients, lr, epsilon):
    """Algorithm 2 as it is printed, with SciPy's powers of matrices."""
    k = w.ndim
    sums = [epsilon * np.eye(d) for d in w.shape]
    for g in gradients:
        update = g
        for i in range(k):
            others = [j for j in range(k) if j != i]
            sums[i] = sums[i] + np.tensordot(g, g, axes=(others, others))
            root = fractional_matrix_power(sums[i], -1 / (2 * k)).real
            update = np.moveaxis(np.tensordot(root, update, axes=(1, i)), 0, i)
        w = w - lr * update
    return w


@pytest.mark.parametrize("shape", SHAPES)
def test_shampoo_is_algorithm_2(shape):
    (p,) = leaves(shape)
    gradients = [tensors(shape, seed=i + 1)[0].numpy() for i in range(4)]
    expected = naive_shampoo(p.detach().numpy(), gradients, 0.1, 1e-3)
    (ours,) = walk(Shampoo([p], 0.1, epsilon=1e-3), [p])
    assert np.abs(ours.numpy() - expected).max() < 1e-10


def test_shampoo_is_that_of_pytorch_optimizer():
    peers = pytest.importorskip("pytorch_optimizer")
    ours, theirs = leaves(*SHAPES), leaves(*SHAPES)
    walk(Shampoo(ours, 0.1, epsilon=1e-4), ours)
    walk(peers.Shampoo(theirs, lr=0.1, matrix_eps=1e-4), theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-10)


def test_of_a_vector_shampoo_is_full_matrix_adagrad():
    (p,) = leaves((6,))
    start = p.detach().clone()
    total = 1e-2 * torch.eye(6, dtype=torch.float64)
    for i in range(3):
        (g,) = tensors((6,), seed=i + 1)
        total += torch.outer(g, g)
        start -= 0.3 * torch.linalg.inv(torch.from_numpy(fractional_matrix_power(total.numpy(), 0.5))) @ g
    (ours,) = walk(Shampoo([p], 0.3, epsilon=1e-2), [p], 3)
    assert torch.allclose(ours, start, atol=1e-10)


def test_a_root_is_a_root_of_matrices_that_are_not_diagonal():
    (a,) = tensors((3, 5, 5))
    h = a @ a.mT + 0.1 * torch.eye(5, dtype=torch.float64)
    root = inverse_root(h, 4, 1e-6)
    identity = torch.eye(5, dtype=torch.float64).expand(3, 5, 5)
    assert torch.allclose(torch.linalg.matrix_power(root, 4) @ h, identity, atol=1e-10)


def test_a_root_of_a_matrix_of_rank_one_in_float32_has_no_hole():
    g = torch.randn(40, 1, generator=torch.Generator().manual_seed(0))
    root = inverse_root((g @ g.T + 1e-6 * torch.eye(40))[None], 4, 1e-6)
    assert root.isfinite().all()
    assert torch.linalg.matrix_norm(root[0], 2) <= 1.01 * 1e-6**-0.25  # no eigenvalue below the floor


def test_unfolded_rows_are_slices_and_every_mode_has_its_own_root():
    (g, a, b, c) = tensors((2, 3, 4), (2, 2), (3, 3), (4, 4))
    assert torch.equal(unfold(g, 1)[2], g[:, 2].reshape(-1))
    a, b, c = (m + m.mT for m in (a, b, c))
    assert torch.allclose(precondition(g, [a, b, c]), torch.einsum("xa,yb,zc,abc->xyz", a, b, c, g))


def test_with_momentum_the_average_moves_and_the_sums_see_gradients():
    (p,) = leaves((4, 3))
    opt = Shampoo([p], 0.1, momentum=0.9, epsilon=1e-3)
    start = p.detach().clone()
    (g,) = tensors((4, 3), seed=1)
    p.grad = g
    opt.step()
    plain = naive_shampoo(start.numpy(), [g.numpy()], 0.1, 1e-3)
    assert np.allclose((p.detach() - start).numpy(), 0.1 * (plain - start.numpy()), atol=1e-10)


def test_blocks_are_tensors_of_their_own():
    (whole,) = leaves((5, 4))
    pieces = [whole.detach()[piece].clone().requires_grad_() for piece in blocks_of((5, 4), 3)]
    assert sorted(tuple(piece.shape) for piece in pieces) == [(2, 1), (2, 3), (3, 1), (3, 3)]
    cut, apart = Shampoo([whole], 0.1, block=3), Shampoo(pieces, 0.1)
    for i in range(3):
        (g,) = tensors((5, 4), seed=i + 1)
        whole.grad = g
        for p, piece in zip(pieces, blocks_of((5, 4), 3), strict=True):
            p.grad = g[piece]
        cut.step()
        apart.step()
    for p, piece in zip(pieces, blocks_of((5, 4), 3), strict=True):
        assert torch.allclose(whole[piece], p)


@pytest.mark.parametrize("graft", ["sgd", "adagrad"])
def test_a_grafted_step_has_the_others_length_and_shampoos_direction(graft):
    (p,), (q,), (r,) = (leaves((4, 3)) for _ in range(3))
    start = p.detach().clone()
    other = torch.optim.SGD([r], 0.1) if graft == "sgd" else torch.optim.Adagrad([r], 0.1)
    moved = [walk(opt, [w], 1)[0] - start for opt, w in ((Shampoo([p], 0.1, graft=graft), p), (Shampoo([q], 0.1), q))]
    theirs = walk(other, [r], 1)[0] - start
    assert moved[0].norm() == pytest.approx(theirs.norm().item())
    assert functional.cosine_similarity(moved[0].flatten(), moved[1].flatten(), 0) == pytest.approx(1)


def test_between_two_computations_the_roots_stay():
    (p,) = leaves((4, 3))
    opt = Shampoo([p], 0.1, every=3)
    seen = []
    for _ in range(10):
        walk(opt, [p], 1)
        seen.append(opt.state[p]["roots"][0][0].clone())
    changes = [not torch.equal(before, after) for before, after in itertools.pairwise(seen)]
    assert changes == [True, True, True, False, False, True, False, False, True]  # steps 1, 2, 3 and then 6 and 9


def test_shampoo_goes_on_from_its_state_and_takes_a_single_number():
    ours, theirs = leaves((5, 4), ()), leaves((5, 4), ())
    a = Shampoo(ours, 0.1, momentum=0.9, block=3, graft="adagrad")
    b = Shampoo(theirs, 0.1, momentum=0.9, block=3, graft="adagrad")
    walk(a, ours)
    walk(b, theirs)
    c = Shampoo(theirs, 0.1, momentum=0.9, block=3, graft="adagrad")
    c.load_state_dict(copy.deepcopy(b.state_dict()))
    for x, y in zip(walk(a, ours), walk(c, theirs), strict=True):
        assert torch.equal(x, y)


def test_shampoo_refuses_what_makes_no_sense():
    for wrong in ({"epsilon": 0.0}, {"every": 0}, {"momentum": 1.0}, {"block": -1}):
        with pytest.raises(Problem, match="Shampoo needs"):
            Shampoo(leaves((2,)), 0.1, **wrong)


@pytest.mark.parametrize("shape", SHAPES)
def test_adafactor_is_that_of_transformers(shape):
    transformers = pytest.importorskip("transformers")
    ours, theirs = leaves(shape), leaves(shape)
    peer = transformers.Adafactor(theirs, lr=0.1, relative_step=False, scale_parameter=False)
    for a, b in zip(walk(Adafactor(ours, 0.1), ours), walk(peer, theirs), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-14)


def test_factored_moments_have_the_means_that_they_stand_for():
    square = tensors((5, 4))[0].square()
    v = inverse_deviation(square.mean(1), square.mean(0)) ** -2
    assert torch.allclose(v.mean(1), square.mean(1))
    assert torch.allclose(v.mean(0), square.mean(0))
    assert torch.linalg.matrix_rank(v) == 1


def test_adafactor_stands_inputs_that_are_always_0():
    p = torch.ones(3, 4, requires_grad=True)
    p.grad = torch.tensor([[0.0, 1.0, 2.0, 1.0], [0.0] * 4, [0.0, 1.0, 1.0, 1.0]])
    Adafactor([p], 0.1).step()
    assert p.isfinite().all()
    assert torch.equal(p.detach()[1], torch.ones(4))


def test_numbers_kept_for_a_matrix_are_the_papers():
    n, m = 12, 5
    model = torch.nn.Linear(m, n, bias=False)
    expected = {"sgd": n * m, "adagrad": n * m, "adam": 2 * n * m, "adafactor": n + m, "newton": 0}
    expected["shampoo"] = 2 * (n * n + m * m) + n * m  # sums and roots, and the average
    for rule, count in expected.items():
        opt = optimiser(rule, model, 1, 0, "none", 9)
        move(opt, lambda: model(torch.ones(1, m)).square().sum(), 0.0, False, 1e9)
        assert state_numbers(opt) == count, rule


def quadratic(p=12):
    (a, b) = tensors((p, p), (p,))
    h = a @ a.mT + torch.eye(p, dtype=torch.float64)
    w = torch.zeros(p, dtype=torch.float64, requires_grad=True)
    return h, b, w, lambda: w @ h @ w / 2 - b @ w


def test_newton_takes_one_step_on_a_quadratic():
    h, b, w, loss = quadratic()
    NewtonCG([w], tolerance=1e-14, iterations=100).step(loss)
    assert torch.allclose(w.detach(), torch.linalg.solve(h, b), atol=1e-10)


def test_conjugate_gradients_solve_the_damped_system_and_count_products():
    h, b, _, _ = quadratic()
    answer, count = conjugate_gradients(lambda v: h @ v, b, 0.5, 1e-12, 200)
    assert torch.allclose(answer, -torch.linalg.solve(h + 0.5 * torch.eye(12), b), atol=1e-8)
    assert 12 <= count < 30
    assert conjugate_gradients(lambda v: h @ v, b, 0.5, 0.5, 200)[1] < count


def test_where_the_curvature_is_negative_newton_still_goes_down():
    w = torch.tensor([0.1, 1.0], dtype=torch.float64, requires_grad=True)
    opt = NewtonCG([w])

    def loss():
        return (w[0] ** 2 - 1) ** 2 + w[1] ** 2

    values = [float(opt.step(loss)) for _ in range(12)]
    assert all(after <= before for before, after in itertools.pairwise(values))
    assert float(loss().detach()) < 1e-12


def test_newton_counts_its_work_in_gradients():
    _, _, w, loss = quadratic()
    opt = NewtonCG([w], tolerance=1e-14, iterations=5)
    opt.step(loss)
    assert opt.param_groups[0]["work"] == pytest.approx(1 + 1 + 2 * 5 + 1 / 3)


def test_newton_refuses_what_makes_no_sense():
    w = torch.zeros(2, requires_grad=True)
    with pytest.raises(Problem, match="damping"):
        NewtonCG([w], damping=-1)
    with pytest.raises(Problem, match="one group"):
        NewtonCG([{"params": [w]}, {"params": [torch.zeros(1, requires_grad=True)]}])


def loss(model):
    """A loss of a model of four inputs."""
    return model(torch.ones(2, 4, dtype=next(model.parameters()).dtype)).square().sum()


def test_coupled_decay_is_that_of_adam_and_decoupled_that_of_adamw():
    for coupled, peer in ((True, torch.optim.Adam), (False, torch.optim.AdamW)):
        model = torch.nn.Linear(4, 3, dtype=torch.float64)
        twin = copy.deepcopy(model)
        opt = optimiser("adam", model, 1, 0, "none", 1)
        restart(opt, copy.deepcopy(opt.state_dict()), 0.1)
        theirs = peer(twin.parameters(), 0.1, weight_decay=0.05)
        for _ in range(3):
            move(opt, functools.partial(loss, model), 0.05, coupled, 1e9)
            theirs.zero_grad()
            loss(twin).backward()
            theirs.step()
        for a, b in zip(model.parameters(), twin.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-12)


def test_a_restart_forgets_all_but_the_rate():
    for rule in ("sgd", "adagrad", "adam", "adafactor", "muon", "shampoo"):
        model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
        opt = optimiser(rule, model, 1, 0, "none", 9)
        weights, fresh = copy.deepcopy(model.state_dict()), copy.deepcopy(opt.state_dict())
        ends = []
        for _ in range(2):
            model.load_state_dict(weights)
            restart(opt, fresh, 0.01)
            for _ in range(3):
                move(opt, functools.partial(loss, model), 0.0, False, 1e9)
            ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        assert torch.equal(*ends), rule


def test_a_trial_that_is_lost_stays_where_it_is():
    model = torch.nn.Linear(2, 1)
    before = copy.deepcopy(model.state_dict())
    opt = optimiser("sgd", model, 1, 0, "none", 1)
    found = move(opt, lambda: model(torch.full((1, 2), torch.nan)).sum(), 0.0, False, 7.0)
    assert found == 7.0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_rates_are_spread_evenly_around_the_middle():
    assert grid(0.1, 3) == pytest.approx([0.1 / 3, 0.1, 0.3])
    assert len(grid(1.0, 6)) == 6


def test_decay_leaves_gradients_alone_where_it_is_decoupled():
    p = torch.ones(2, requires_grad=True)
    p.grad = torch.zeros(2)
    decay(torch.optim.SGD([p], 0.5), 0.1, coupled=False)
    assert torch.equal(p.grad, torch.zeros(2))
    assert torch.allclose(p.detach(), torch.full((2,), 0.95))
