import json

import numpy
import pytest
import torch

from etudes.measure.sharpness import hessian_product, sharpness
from etudes.studies.dynamics.edge_of_stability import STUDY, Descent, threshold
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
