import copy

import pytest
import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.train.arithmetic import cosine, match, minus, norm, plus, put, random_like, scaled, state


def make(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 3))


def flat(weights) -> torch.Tensor:
    return torch.cat([weights[name].double().flatten() for name in sorted(weights)])


def test_a_vector_put_onto_its_base_gives_back_what_was_learnt():
    base, tuned = state(make(0)), state(make(1))
    assert torch.allclose(flat(plus(base, minus(tuned, base))), flat(tuned), atol=1e-6)


def test_the_operations_are_those_of_flat_vectors():
    base, a, b = state(make(0)), state(make(1)), state(make(2))
    generator = torch.Generator().manual_seed(3)
    assert torch.allclose(flat(minus(a, b)), flat(a) - flat(b))
    total = plus(base, scaled(a, 0.3), scaled(b, -2))
    assert torch.allclose(flat(total), flat(base) + 0.3 * flat(a) - 2 * flat(b), atol=1e-6)
    assert norm(a) == pytest.approx(flat(a).norm().item())
    assert cosine(a, b) == pytest.approx(torch.cosine_similarity(flat(a), flat(b), dim=0).item())
    assert cosine(a, scaled(a, -0.5)) == pytest.approx(-1)
    assert cosine(a, scaled(a, 0)) == 0
    assert norm(random_like(a, generator, each=False)) == pytest.approx(norm(a), rel=1e-5)


def test_nothing_is_changed_in_place():
    model = make(0)
    base = state(model)
    total = plus(base)
    total["0.weight"].zero_()
    assert base["0.weight"].abs().sum() > 0
    base["0.weight"].zero_()
    assert model[0].weight.abs().sum() > 0


def test_a_random_vector_has_the_length_of_every_tensor_and_is_orthogonal_to_it():
    vector = state(make(0))
    vector["a.tensor.of.zeros"] = torch.zeros(5)
    vector["wide"] = torch.randn(300, 300, generator=torch.Generator().manual_seed(1))
    noise = random_like(vector, torch.Generator().manual_seed(2))
    for name, tensor in vector.items():
        assert noise[name].norm().item() == pytest.approx(tensor.norm().item(), rel=1e-4, abs=1e-12), name
    assert abs(cosine(vector, noise)) < 0.02
    again = random_like(vector, torch.Generator().manual_seed(2))
    assert all(torch.equal(noise[name], again[name]) for name in noise)
    assert cosine(noise, random_like(vector, torch.Generator().manual_seed(4))) < 0.02


def test_statistics_of_batch_normalisation_are_in_or_out_as_one_says_and_counters_never():
    model = make(0)
    assert set(state(model)) == {"0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"}
    assert set(state(model, buffers=True)) - set(state(model)) == {"1.running_mean", "1.running_var"}
    other = make(1)
    model(torch.randn(8, 2, 5, 5))
    put(other, state(model))
    assert torch.equal(other[0].weight, model[0].weight)
    assert not torch.equal(other[1].running_mean, model[1].running_mean)
    put(other, state(model, buffers=True))
    assert torch.equal(other[1].running_mean, model[1].running_mean)


def test_put_reaches_the_very_parameters():
    model = make(0)
    weight = model[0].weight
    assert put(model, state(make(1))) is model
    assert model[0].weight is weight
    assert torch.equal(weight, make(1)[0].weight)
    assert weight.requires_grad


@pytest.mark.parametrize("function", [minus, plus, cosine, match])
def test_names_that_differ_are_named(function):
    a, b = state(make(0)), state(make(1))
    del b["0.bias"]
    with pytest.raises(Problem, match=r"only one of the two has 0\.bias$"):
        function(a, b)
    with pytest.raises(Problem, match=r"0\.bias"):
        function(b, a)


def test_shapes_that_differ_are_named_and_never_broadcast():
    a, b = state(make(0)), state(make(1))
    b["0.bias"] = torch.zeros(1)
    with pytest.raises(Problem, match=r"0\.bias has the shapes \[4\] and \[1\]"):
        plus(a, b)
    with pytest.raises(Problem, match=r"0\.bias"):
        put(make(0), b)


def test_weights_of_another_architecture_are_refused():
    with pytest.raises(Problem, match="and 2 more"):
        minus(state(make(0)), state(nn.Sequential(nn.Linear(2, 2))) | {"other": torch.zeros(1)})
    with pytest.raises(Problem, match="only one"):
        put(make(0), state(make(0)[0]))


def test_whole_numbers_are_refused():
    model = make(0)
    with pytest.raises(Problem, match=r"1\.num_batches_tracked can not be added"):
        minus(model.state_dict(), copy.deepcopy(model).state_dict())


def test_shared_weights_are_counted_once():
    layer = nn.Linear(3, 3)
    assert set(state(nn.Sequential(layer, layer))) == {"0.weight", "0.bias"}


def test_a_state_is_laid_out_in_order_whatever_the_network_is():
    network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    assert not network.weight.is_contiguous()
    taken = state(network)["weight"]
    assert taken.is_contiguous()
    assert torch.equal(taken, network.weight)
