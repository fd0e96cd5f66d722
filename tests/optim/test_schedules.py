import pytest
import torch

from etudes.optim.schedules import SCHEDULES, cosine, decay, linear, poly, restarts, warmup


def test_cosine_is_torchs():
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 20)
    for i in range(20):
        assert cosine(i, 20) == pytest.approx(opt.param_groups[0]["lr"])
        opt.step()
        theirs.step()


def test_decay_divides_by_ten_at_a_half_and_at_three_quarters():
    assert [decay(i, 200) for i in (0, 99, 100, 149, 150, 199)] == [1, 1, 0.1, 0.1, 0.01, 0.01]


def test_restarts_are_torchs():
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, T_0=10, T_mult=2)
    for i in range(70):
        assert restarts(i, 70) == pytest.approx(opt.param_groups[0]["lr"])
        opt.step()
        theirs.step()


def test_warmup_rises_to_the_peak_and_falls_as_a_cosine():
    factors = [warmup(i, 100) for i in range(100)]
    assert factors[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert factors[10:] == [cosine(i, 90) for i in range(90)]
    assert warmup(0, 3) == 1  # a line of one step


def test_linear_falls_by_the_same_each_step():
    assert [linear(i, 4) for i in range(5)] == [1, 0.75, 0.5, 0.25, 0]


def test_poly_is_torchs():
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.PolynomialLR(opt, 20, power=0.9)
    for i in range(20):
        assert poly(i, 20) == pytest.approx(opt.param_groups[0]["lr"])
        opt.step()
        theirs.step()


@pytest.mark.parametrize("schedule", SCHEDULES.values())
@pytest.mark.parametrize("steps", [1, 2, 5, 50])
def test_schedules_stay_between_0_and_the_peak_and_reach_it(schedule, steps):
    factors = [schedule(i, steps) for i in range(steps)]
    assert max(factors) == 1
    assert min(factors) > 0
