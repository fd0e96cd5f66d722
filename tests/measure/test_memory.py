import pytest
import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.measure.memory import StepMemory, largest_batch, peak_memory, step_memory, try_step


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))


def test_the_parts_of_a_step_by_hand():
    model, x = small(), torch.randn(7, 3, 6, 6)
    found = step_memory(model, lambda: model(x).sum())
    weights = 4 * (8 * 27 + 8 + 5 * 288 + 5)
    # Kept: the pictures, for the filter's gradient, and what the ReLU gives, for its own and for the dense layer's.
    assert found == StepMemory(weights, weights, 2 * weights, 4 * (7 * 3 * 36 + 7 * 8 * 36))
    assert found.total == 4 * weights + found.activations
    assert step_memory(model, lambda: model(x).sum(), moments=0).optimiser == 0


def test_what_is_frozen_has_no_gradient_and_what_lies_before_the_first_trained_layer_keeps_nothing():
    model, x = small(), torch.randn(7, 3, 6, 6)
    model[0].requires_grad_(False)
    found = step_memory(model, lambda: model(x).sum())
    assert found.gradients == 4 * (5 * 288 + 5)
    assert found.activations == 4 * 7 * 8 * 36
    assert found.weights == step_memory(small(), lambda: model(x).sum()).weights


def test_activations_grow_with_the_batch_and_the_rest_does_not():
    model = small()
    one, ten = (step_memory(model, lambda n=n: model(torch.randn(n, 3, 6, 6)).sum()) for n in (1, 10))
    assert ten.activations == 10 * one.activations
    assert (ten.weights, ten.gradients, ten.optimiser) == (one.weights, one.gradients, one.optimiser)


def test_the_peak_is_the_most_that_lives_at_once():
    def step():
        first = torch.empty(1_000_000)
        second = torch.empty(500_000)
        del first
        third = torch.empty(250_000)
        del second, third

    assert peak_memory(step) == 6_000_000


def test_the_peak_of_a_step_is_at_least_what_the_formula_says_it_must_be():
    model = nn.Sequential(nn.Linear(64, 4096), nn.ReLU(), nn.Linear(4096, 8))
    x = torch.randn(512, 64)
    opt = torch.optim.Adam(model.parameters())

    def step():
        opt.zero_grad()
        model(x).square().sum().backward()
        opt.step()

    step()
    opt.zero_grad()
    found, parts = peak_memory(step), step_memory(model, lambda: model(x).square().sum())
    kept = parts.activations - x.numel() * 4  # the input lives before
    assert kept <= found <= 3 * kept + parts.gradients + 2 * parts.weights


def test_a_device_without_a_count_is_told():
    with pytest.raises(Problem, match="cpu and cuda"):
        peak_memory(lambda: None, "meta")


@pytest.mark.parametrize("most", [1, 2, 3, 37, 64, 1000])
def test_the_largest_batch_is_found_with_few_tries(most):
    tries = []

    def fits(n):
        tries.append(n)
        return n <= most

    assert largest_batch(fits) == most
    assert len(tries) <= 2 * most.bit_length() + 2
    assert largest_batch(lambda n: True, most=50) == 50
    assert largest_batch(lambda n: False) == 0


def test_a_step_without_enough_memory_does_not_fit_and_other_errors_are_not_hidden():
    def step(n):
        if n > 5:
            raise MemoryError

    assert largest_batch(try_step(step, "cpu")) == 5
    with pytest.raises(RuntimeError, match="another"):
        try_step(lambda n: (_ for _ in ()).throw(RuntimeError("another")), "cpu")(1)
