import math

import pytest
import torch
from torch.nn import functional

from etudes.core import Problem
from etudes.losses.distillation import distillation, soften


def draws(n=7, k=5):
    generator = torch.Generator().manual_seed(0)
    return (3 * torch.randn(n, k, generator=generator) for _ in range(2))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_it_is_the_naive_loop_and_torchs_kl_div(temperature):
    student, teacher = draws()
    total = 0.0
    for z, v in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = ([math.exp(a / temperature) for a in row] for row in (v, z))
        total += sum(a / sum(p) * math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q, strict=True))
    ours = distillation(student, soften(teacher, temperature), temperature)
    assert ours.item() == pytest.approx(temperature**2 * total / len(student), rel=1e-4)
    logarithms = (student / temperature).log_softmax(1)
    theirs = functional.kl_div(logarithms, (teacher / temperature).softmax(1), reduction="batchmean")
    assert torch.allclose(ours, temperature**2 * theirs, rtol=1e-4)


def test_its_direction_is_from_the_teacher_and_it_is_zero_where_both_agree():
    student, teacher = draws()
    assert distillation(teacher, soften(teacher, 3.0), 3.0).item() == pytest.approx(0, abs=1e-5)
    there = distillation(student, soften(teacher, 1.0))
    back = distillation(teacher, soften(student, 1.0))
    assert abs(there - back) > 0.1
    # A class that the teacher rules out costs nothing; one that the student rules out costs without end.
    sure = torch.tensor([[1.0, 0.0]])
    assert distillation(torch.tensor([[0.0, 0.0]]), sure).item() == pytest.approx(math.log(2))
    assert distillation(torch.tensor([[-50.0, 0.0]]), sure).item() == pytest.approx(50)


def test_hard_targets_at_temperature_one_are_cross_entropy():
    student, _ = draws()
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    hard = functional.one_hot(labels, 5).float()
    assert torch.allclose(distillation(student, hard), functional.cross_entropy(student, labels))


def gradient(temperature, scaled):
    student, teacher = draws()
    student.requires_grad_()
    distillation(student, soften(teacher, temperature), temperature, scaled=scaled).backward()
    return student.grad


def test_its_gradient_is_equation_two_and_at_high_temperature_equation_four():
    student, teacher = draws()
    n, k = student.shape
    found = gradient(4.0, scaled=False)
    assert torch.allclose(found, (soften(student, 4.0) - soften(teacher, 4.0)) / 4 / n, atol=1e-6)  # eq. 2
    centred = [z - z.mean(1, keepdim=True) for z in (student, teacher)]
    assert torch.allclose(
        gradient(1000.0, scaled=True), (centred[0] - centred[1]) / k / n, rtol=0.02, atol=1e-3
    )  # eq. 4


def test_the_square_of_the_temperature_keeps_the_balance_with_hard_labels():
    """From T = 20 to 200 the soft targets' gradient stays as long as it was; without T^2 it falls to a hundredth."""
    for scaled, ratio in ((True, 1.0), (False, 0.01)):
        change = gradient(200.0, scaled).norm() / gradient(20.0, scaled).norm()
        assert change.item() == pytest.approx(ratio, rel=0.15)


def test_low_precision_gives_a_float32_loss_and_large_logits_a_finite_one():
    student, teacher = draws()
    assert distillation(student.bfloat16(), soften(teacher.bfloat16(), 2.0), 2.0).dtype == torch.float32
    assert distillation(1e4 * student, soften(1e4 * teacher, 1.0)).isfinite()


def test_bad_input_is_refused():
    student, teacher = draws()
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(Problem, match="temperature"):
            soften(teacher, temperature)
        with pytest.raises(Problem, match="temperature"):
            distillation(student, teacher.softmax(1), temperature)
    with pytest.raises(Problem, match="must agree"):
        distillation(student, teacher.softmax(1)[:1])
