"""The study of sparsity: masks, schedules, penalties, rounding and bytes against loops, closed forms and peers."""

import dataclasses
import json

import numpy
import pytest
import torch
from torch import nn
from torch.nn.utils import prune as peer

from etudes.core import Problem
from etudes.core.record import load
from etudes.core.run import execute
from etudes.data.images import images
from etudes.measure.size import count_parameters
from etudes.studies.dynamics.sparsity import STUDY, Config, kernels
from etudes.studies.dynamics.sparsity.findings import (
    class_errors,
    count_connected,
    int8_logits,
    neurons,
    noisy_error,
    reference,
)
from etudes.studies.dynamics.sparsity.idea import neuron_masks, prune, share_left, shrink
from etudes.studies.dynamics.sparsity.networks import logits_and_activity, network
from etudes.studies.dynamics.sparsity.quantise import int8_linear, quantise, round_weights
from etudes.studies.dynamics.sparsity.storage import csr, file_bytes, from_csr
from etudes.studies.dynamics.sparsity.training import Examples, Held
from etudes.train import pruning
from etudes.train.arithmetic import state

TINY = Config(**STUDY.plan("smoke")[0].config)
METHODS = ("dense", "magnitude", "gradual", "neurons", "l1", "l1-gradient")


class Draws:
    """Of a run, what data and draws ask for."""

    device = torch.device("cpu")

    def rng(self, stream, *index):
        return numpy.random.default_rng(1 + len(stream) + sum(index))

    def note(self, **facts):
        self.facts = facts

    def result(self, **numbers):
        self.numbers = numbers


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """{variant: metrics} of the smoke scale's first seed."""
    folder = tmp_path_factory.mktemp("runs")
    specs = STUDY.plan("smoke", variants=METHODS, seeds=1)
    for spec in specs:
        execute(STUDY, spec, folder)
    return {record.spec.variant: record.metrics for record in load(specs, folder)}


def lenet(dataset="digits", **changes):
    torch.manual_seed(0)
    return network(dataclasses.replace(TINY, **changes), images(dataset))


def test_networks_are_as_large_as_they_are_said_to_be():
    digits = images("digits")
    mnist = dataclasses.replace(digits, x=torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    colour = dataclasses.replace(digits, x=torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    for scale, pictures, parameters in (("laptop", mnist, 266_610), ("cifar10", colour, 205_274)):
        model = network(Config(**STUDY.plan(scale)[0].config), pictures)
        assert count_parameters(model) == parameters
    assert Config(**STUDY.plan("paper")[0].config).network == "resnet50"  # whose size is tested beside it


def test_magnitude_masks_are_those_of_pytorch():
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    masks = prune(pruning.prunable(model), 0.1)
    layers = [(model[0], "weight"), (model[2], "weight")]
    peer.global_unstructured(layers, pruning_method=peer.L1Unstructured, amount=750 - 75)
    assert torch.equal(masks["0.weight"], model[0].weight_mask.bool())
    assert torch.equal(masks["2.weight"], model[2].weight_mask.bool())


@pytest.mark.parametrize("share", [0.0, 1.1, -0.5])
def test_shares_that_are_none_are_refused(share):
    with pytest.raises(Problem, match="above 0 and at most 1"):
        prune({"w": torch.ones(3)}, share)


def test_the_schedule_is_the_papers_equation():
    final, n, width = 0.95, 12, 10  # s_f, pruning steps, steps between them; s_i = 0, t_0 = 0
    for t in range(0, n * width + 1, width):
        pruned = final + (0 - final) * (1 - (t - 0) / (n * width)) ** 3
        assert share_left(t, n * width, 0.05) == pytest.approx(1 - pruned)
    assert share_left(0, 7, 0.3) == 1
    assert share_left(9, 7, 0.3) == pytest.approx(0.3)


def test_the_proximal_step_minimises_its_function():
    grid = torch.linspace(-3, 3, 60_001, dtype=torch.float64)
    for w in (-2.0, -0.3, 0.0, 0.5, 0.51, 1.7):
        best = grid[((grid - w) ** 2 / 2 + 0.5 * grid.abs()).argmin()]
        assert shrink(torch.tensor([w]), 0.5).item() == pytest.approx(best.item(), abs=1e-4)


def test_an_l1_penalty_gives_exact_zeros_by_proximal_steps_and_none_by_its_gradient(found):
    """Least squares with a penalty: the optimum has zeros, and a gradient walks around them for ever."""
    torch.manual_seed(0)
    x = torch.randn(200, 20)
    y = x[:, :3].sum(1)
    ends = {}
    for proximal in (True, False):
        w = torch.randn(20, generator=torch.Generator().manual_seed(1)).requires_grad_()
        for _ in range(500):
            loss = ((x @ w - y) ** 2).mean() + (0 if proximal else 0.2 * w.abs().sum())
            (grad,) = torch.autograd.grad(loss, w)
            with torch.no_grad():
                w -= 0.05 * grad
                w.copy_(shrink(w, 0.05 * 0.2) if proximal else w)
        ends[proximal] = int((w == 0).sum())
    assert ends == {True: 17, False: 0}
    assert found["l1"]["train/zeros-penalty"] > found["l1-gradient"]["train/zeros-penalty"]


def test_neurons_go_with_their_rows_and_their_columns():
    weights = pruning.prunable(lenet(width=30))
    total = sum(w.numel() for w in weights.values())
    for share in (0.1, 0.4, 1.0):
        masks = neuron_masks(weights, share)
        first, second, last = masks.values()
        assert total * share <= sum(pruning.counts(masks).values()) <= total * (share + 0.04)
        kept = [first.any(1), second.any(1)]
        assert torch.equal(first, kept[0][:, None].expand(first.shape))
        assert torch.equal(second, kept[1][:, None] & kept[0][None])
        assert torch.equal(last, kept[1][None].expand(last.shape))
        norms = next(iter(weights.values())).detach().norm(dim=1)
        assert norms[kept[0]].min() >= norms[~kept[0]].amax() if share < 1 else kept[0].all()


def test_a_network_without_pruned_neurons_is_one_with_narrower_layers():
    model = lenet(width=12)
    model[2].bias.data.uniform_(0.1, 1)  # what neurons that are left out would still say
    masks = neuron_masks(pruning.prunable(model), 0.3)
    pruning.apply(model, masks)
    rows = [masks[f"{i}.weight"].any(1) for i in (2, 4)]
    x = torch.rand(6, 1, 8, 8)
    h = model[1](model[0](x)) @ model[2].weight[rows[0]].T + model[2].bias[rows[0]]
    h = h.relu() @ model[4].weight[rows[1]][:, rows[0]].T + model[4].bias[rows[1]]
    assert torch.allclose(model(x), h.relu() @ model[6].weight[:, rows[1]].T + model[6].bias, atol=1e-5)


def test_neurons_of_convolutions_go_with_all_their_places():
    torch.manual_seed(0)
    chain = {
        "a": torch.randn(4, 3, 3, 3),
        "b": torch.randn(6, 4, 3, 3),
        "c": torch.randn(5, 6 * 4),
        "d": torch.randn(2, 5),
    }
    masks = neuron_masks(chain, 0.3)
    kept = masks["b"].flatten(1).any(1)
    assert torch.equal(masks["c"].any(0), kept.repeat_interleave(4))
    assert not masks["b"][:, ~masks["a"].flatten(1).any(1)].any()
    with pytest.raises(Problem, match="form a chain"):
        neuron_masks({"a": torch.ones(4, 3), "b": torch.ones(2, 7)}, 0.5)


def test_rounding_is_what_a_loop_makes_of_it_and_errs_by_half_a_step():
    torch.manual_seed(0)
    weight = torch.randn(3, 4, 2) * torch.tensor([0.01, 1.0, 5.0]).view(3, 1, 1)
    for bits in (2, 3, 4, 8):
        for by_channel in (True, False):
            integer, scale = quantise(weight, bits, by_channel)
            for row in range(3):
                most = (weight[row] if by_channel else weight).abs().max().item() / (2 ** (bits - 1) - 1)
                assert scale[row].item() == pytest.approx(most)
                expected = [round(w / most) for w in weight[row].flatten().tolist()]
                assert integer[row].flatten().tolist() == expected
            error = (integer * scale - weight).abs()
            assert (error <= scale / 2 + 1e-6).all()
    for bits in (1, 9):
        with pytest.raises(Problem, match="2 to 8"):
            quantise(weight, bits)


def test_rounding_by_channel_is_that_of_pytorch():
    weight = torch.randn(5, 7)
    _, scale = quantise(weight, 8)
    theirs = torch.fake_quantize_per_channel_affine(
        weight, scale.flatten(), torch.zeros(5, dtype=torch.int32), 0, -127, 127
    )
    assert torch.allclose(round_weights({"w": weight}, 8)["w"], theirs)
    assert (quantise(torch.zeros(2, 3), 8)[0] == 0).all()


def test_the_integer_product_is_that_of_rounded_floats():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(9, 33), torch.randn(17, 33), torch.randn(17)
    integer, scale = quantise(weight, 8)
    rounded = round_weights({"x": x, "w": weight}, 8)
    assert torch.allclose(int8_linear(x, integer, scale, bias), rounded["x"] @ rounded["w"].T + bias, atol=1e-4)
    model = lenet()
    pictures = images("digits").test_x[:50]
    exact = model(pictures / 255)
    assert (int8_logits(model, pictures) - exact).abs().max() < 0.03 * exact.abs().max()


def test_compressed_rows_are_those_of_pytorch_and_come_back():
    torch.manual_seed(0)
    weight = torch.randn(6, 5, 2) * (torch.rand(6, 5, 2) < 0.2)
    parts, theirs = csr(weight), weight.flatten(1).to_sparse_csr()
    assert torch.equal(parts["values"], theirs.values())
    assert torch.equal(parts["columns"].long(), theirs.col_indices())
    assert torch.equal(parts["rows"].long(), theirs.crow_indices())
    assert torch.equal(from_csr(parts, weight.shape), weight)
    assert csr(torch.ones(1, 2**15 + 1))["columns"].dtype == torch.int32


def test_bytes_are_those_of_numbers_that_are_written_and_zeros_save_none_by_themselves():
    model = lenet("digits", width=300)
    weights = pruning.prunable(model)
    pruning.apply(model, prune(weights, 0.05))
    sizes = file_bytes(state(model), weights)
    n = sum(w.numel() for w in weights.values())
    kept, biases, outputs = round(0.05 * n), 410, 410
    numbers = {
        "dense": 4 * n,
        "masked": 5 * n,  # larger than without pruning
        "csr": 6 * kept + 4 * (outputs + 3),
        "int8": n + 4 * outputs,
    }
    for kind, size in numbers.items():
        assert 0 < sizes[kind] - (size + 4 * biases) < 1200, kind  # the header
    assert sizes["dense"] == file_bytes(state(lenet(width=300)), pruning.prunable(lenet(width=300)))["dense"]
    assert sizes["csr-int8"] < sizes["csr"] < sizes["int8"] < sizes["dense"]


def test_active_neurons_and_those_of_a_class_are_counted():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 2))
    model[1].weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]).view(4, 1, 1, 2)
    active, used = neurons(model, x, torch.tensor([0, 0, 0, 1]), 2)
    assert active == pytest.approx(5 / 12)  # 1 + 1 + 2 + 1 of four times three
    assert used == pytest.approx((1 + 1) / 6)  # class 0 the first neuron, class 1 the second
    assert count_connected({"w": model[1].weight * torch.tensor([[1.0], [0.0], [1.0]])}) == 2


def test_activity_is_the_mean_over_layers_and_the_logits_are_the_networks():
    model, x = lenet(), torch.rand(5, 1, 8, 8)
    logits, activity = logits_and_activity(model, x)
    assert torch.equal(logits, model(x))
    h = model[:4](x)
    assert activity.item() == pytest.approx((h.mean().item() + model[4:6](h).mean().item()) / 2)


class Says(nn.Module):
    """Answers by the number on the picture."""

    def __init__(self, answers):
        super().__init__()
        self.answers = answers

    def forward(self, x):
        return nn.functional.one_hot(self.answers[x.flatten(1)[:, 0].round().long()], 4) + 0 * x.flatten(1)[:, :1]


def test_weak_classes_are_those_of_validation_and_errors_those_of_test():
    e = object.__new__(Examples)
    e.y = torch.arange(4).repeat(2)
    e.x = torch.arange(8.0).view(8, 1, 1, 1)
    test_x, test_y = torch.arange(8.0, 16).view(8, 1, 1, 1), e.y
    e.d = dataclasses.replace(images("digits"), test_x=test_x, test_y=test_y, classes=4)
    answers = torch.cat([e.y, test_y])
    answers[:2] = torch.tensor([2, 2])  # errs on classes 0 and 1 of validation
    answers[8], answers[11] = 3, 0  # a test picture of class 0, and one of class 3
    answers[9], answers[13] = 3, 3  # all of class 1
    whole = reference(TINY, e, Says(answers))
    assert whole.weak.tolist() == [True, True, False, False]
    assert whole.errors.tolist() == [0.5, 1.0, 0.0, 0.5]
    assert class_errors(answers[8:], test_y, 5).tolist() == [0.5, 1.0, 0.0, 0.5, 0.0]


def test_noise_is_the_same_for_all_networks_and_none_changes_nothing():
    d, model = images("digits"), lenet()
    x, y = d.test_x[:300], d.test_y[:300]
    plain = (model(x / 255).argmax(1) != y).double().mean().item()
    assert noisy_error(model, x, y, 0.0, seed=1) == pytest.approx(plain)
    found = [noisy_error(model, x, y, 0.5, seed=1, batch=batch) for batch in (100, 100)]
    assert found[0] == found[1]
    noise = 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    noisy = (x / 255 + noise).clamp(0, 1)
    expected = (model(noisy).argmax(1) != y).double().mean().item()
    assert noisy_error(model, x, y, 0.5, seed=1, batch=300) == pytest.approx(expected)


def test_trained_networks_keep_as_many_weights_as_they_are_to(found):
    n = sum(w.numel() for w in pruning.prunable(lenet()).values())
    for variant in ("magnitude", "gradual", "l1-gradient"):
        for percent in (10, 2, 1):
            kept = found[variant][f"train/weights-{percent}"] * n / 100
            assert kept == pytest.approx(round(percent * n / 100), abs=1.01), variant
    assert found["neurons"]["train/weights-10"] >= 10
    assert found["dense"]["train/weights-100"] == 100
    assert found["dense"]["test/overlap-100"] == 1


def test_masks_come_back_with_a_checkpoint():
    held, again = Held({"w": torch.tensor([True, False])}), Held({})
    again.load_state_dict(held.state_dict())
    assert again.masks["w"].tolist() == [True, False]


def test_pictures_are_split_without_overlap_and_not_all_can_be_held_out():
    run = Draws()
    e = Examples(TINY, run)
    assert (len(e.y), len(e.d.y)) == (50, 150)
    both = torch.cat([e.x, e.d.x]).flatten(1).double()
    assert len(both.unique(dim=0)) == len(both)
    with pytest.raises(Problem, match="hold out fewer"):
        Examples(dataclasses.replace(TINY, held_out=200), run)


def test_kernels_agree_and_their_seconds_are_medians():
    torch.manual_seed(0)
    x, weight = torch.rand(4, 30), torch.randn(20, 30)
    found = {way: call() for way, call in kernels.ways(x, weight, 0.5).items()}
    assert torch.allclose(found["csr"], found["dense"], atol=1e-5)
    assert torch.allclose(found["masked"], found["dense"], atol=1e-5)
    assert (found["int8"] - found["dense"]).abs().max() < 0.02 * found["dense"].abs().max()
    assert found["narrow"].shape == (4, 10)
    calls = []
    assert 0 <= kernels.seconds(lambda: calls.append(1), warm=2, repeats=3) < 1
    assert len(calls) == 5


def test_what_the_variants_differ_in():
    assert all(set(v.changes) <= {"method"} for v in STUDY.variants)
    assert json.dumps(STUDY.variants[1].changes) == "{}"  # magnitude is the default
