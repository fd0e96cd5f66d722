import dataclasses
import math

import numpy
import pytest
import torch
from torch import nn

from etudes.core import Problem
from etudes.core.record import read
from etudes.core.run import execute
from etudes.data.images import images
from etudes.nn.norm import BatchNorm
from etudes.studies.dynamics.norm_matters import STUDY, Config
from etudes.studies.dynamics.norm_matters.idea import (
    LpNorm,
    NormedConv,
    channel_norms,
    correct_step,
    deviation,
    extreme_factor,
    round_half,
    scaled_to,
    scheduled_norms,
)
from etudes.studies.dynamics.norm_matters.networks import VGG11, convolutions, network
from etudes.studies.dynamics.norm_matters.training import curve_distance, lengths, mimic, optimiser, scheduled

TINY = Config(**STUDY.plan("smoke", variants=("decay",))[0].config)


def pictures(n=6, c=3, side=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(n, c, side, side, generator=generator) + torch.arange(c).float()[:, None, None]


def naive_deviation(values, kind, k):
    """Of the numbers of one channel, by loops."""
    if kind == "l2":
        return math.sqrt(sum(v * v for v in values) / len(values))
    if kind == "l1":
        return math.sqrt(math.pi / 2) * sum(abs(v) for v in values) / len(values)
    largest = sorted((abs(v) for v in values), reverse=True)[:k]
    bounds = 0.5 * (1 + math.sqrt(math.pi * math.log(4))) / math.sqrt(2 * math.log(len(values)))
    return bounds * sum(largest) / k


@pytest.mark.parametrize(("kind", "k"), [("l2", 1), ("l1", 1), ("top", 1), ("top", 10)])
def test_deviations_are_those_of_loops(kind, k):
    x = pictures()
    centred = x - x.mean((0, 2, 3))[:, None, None]
    found = deviation(centred, kind, k)
    for channel in range(3):
        assert found[channel].item() == pytest.approx(naive_deviation(centred[:, channel].flatten().tolist(), kind, k))


def test_on_normal_numbers_l1_gives_their_deviation_and_the_largest_give_it_roughly():
    x = 3 * torch.randn(64, 4, 14, 14, generator=torch.Generator().manual_seed(1))
    assert deviation(x, "l2").tolist() == pytest.approx([3] * 4, rel=0.02)
    assert deviation(x, "l1").tolist() == pytest.approx([3] * 4, rel=0.02)
    assert x.abs().mean().item() == pytest.approx(3 * math.sqrt(2 / math.pi), rel=0.02)  # without its factor
    for k in (1, 10):
        ratios = deviation(x, "top", k) / 3
        assert (ratios > 1).all()
        assert (ratios < 1.7).all()


def test_the_layer_by_l2_is_pytorchs_in_training_with_its_gradients_and_in_evaluation():
    own, peer, x = LpNorm(3, "l2", eps=0.0), nn.BatchNorm2d(3, eps=1e-12), pictures()
    with torch.no_grad():
        for norm in (own, peer):
            norm.weight.copy_(torch.tensor([0.5, 1, 2]))
            norm.bias.copy_(torch.tensor([-1.0, 0, 1]))
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, z = own(one), peer(other)
    assert torch.allclose(y, z, atol=1e-5)
    weights = torch.linspace(-1, 1, y.numel()).view_as(y)
    for output in (y, z):
        (output * weights).sum().backward()
    assert torch.allclose(one.grad, other.grad, atol=1e-5)
    assert torch.allclose(own.weight.grad, peer.weight.grad, rtol=1e-4, atol=1e-4)
    for _i in range(200):  # the averages of deviations and of variances meet where batches are alike
        own(x), peer(x)
    n = x.numel() / 3
    biased = peer.running_var * (n - 1) / n
    assert torch.allclose(own.running_deviation.square(), biased, rtol=1e-4)
    peer.running_var.copy_(biased)
    assert torch.allclose(own.eval()(x), peer.eval()(x), atol=1e-4)


@pytest.mark.parametrize("kind", ["l2", "l1", "top"])
def test_outputs_do_not_depend_on_the_scale_of_inputs(kind):
    norm, x = LpNorm(3, kind, eps=0.0), pictures()
    assert torch.allclose(norm(x), norm(1000 * x), atol=1e-4)


def test_rounding_is_numpys_and_lets_gradients_through():
    x = torch.tensor([1 / 3, 65519.0, 65520.0, 2.0**-24, 2.0**-25, -1000.3], requires_grad=True)
    found = round_half(x)
    with numpy.errstate(over="ignore"):
        assert found.tolist() == x.detach().numpy().astype(numpy.float16).tolist()
    found[:2].sum().backward()
    assert x.grad.tolist() == [1, 1, 0, 0, 0, 0]


def octaves(kind):
    """How many powers of two normal numbers can be multiplied by with a deviation in fp16 right within 5 %."""
    x = torch.randn(64, 1, 14, 14, generator=torch.Generator().manual_seed(2))
    exact = deviation(x, kind).item()
    right = [abs(deviation(2.0**e * x, kind, half=True).item() / 2.0**e / exact - 1) < 0.05 for e in range(-30, 20)]
    return sum(right)


def test_in_half_precision_l1_has_about_twice_the_range_of_l2():
    # L2: squares from 2^-24 to 2^16; L1: numbers themselves
    assert octaves("l1") >= 32
    assert octaves("l2") <= 20
    assert 1.6 < octaves("l1") / octaves("l2") < 2.4


@pytest.mark.parametrize("exponent", [-14, 10])
def test_at_both_ends_l2_loses_in_half_what_l1_keeps(exponent):
    x = 2.0**exponent * torch.randn(64, 2, 8, 8, generator=torch.Generator().manual_seed(3))
    l1, l2 = (deviation(x, kind, half=True) / deviation(x, kind) for kind in ("l1", "l2"))
    assert torch.allclose(l1, torch.ones(2), rtol=0.05)
    assert l2.isinf().all() if exponent > 0 else (l2 < 0.5).all()


def test_an_overflown_deviation_silences_a_channel_and_spares_running_statistics():
    norm, x = LpNorm(2, "l2", half=True), pictures(c=2) * torch.tensor([1000.0, 1.0])[:, None, None]
    y = norm(x.requires_grad_())
    y.square().sum().backward()
    assert (y[:, 0] == 0).all()
    assert y[:, 1].std() > 0.9
    assert x.grad.isfinite().all()
    assert norm.running_deviation.isfinite().all()


def turn(before, after):
    """The angle, in radians, between two rows."""
    cosine = torch.cosine_similarity(before.double().flatten(1), after.double().flatten(1))
    return cosine.clamp(-1, 1).arccos()


@pytest.mark.parametrize(("kind", "power"), [("sgd", 2), ("sign", 1)])
def test_a_corrected_step_turns_as_far_as_at_the_reference_length(kind, power):
    # f depends on the direction alone; one step at length 1, and one at other lengths, corrected
    torch.manual_seed(0)
    direction, target = nn.functional.normalize(torch.randn(2, 4, 50), dim=-1)

    def step(w, lr=1e-3):
        w = w.clone().requires_grad_()
        (nn.functional.normalize(w, dim=1) * target).sum().backward()
        gradient = w.grad.sign() if kind == "sign" else w.grad
        return (w - lr * gradient).detach()

    reference, long = direction, direction * torch.tensor([0.5, 2, 3, 4])[:, None]
    found = correct_step(long, step(long), channel_norms(reference), power)
    assert torch.allclose(turn(long, found), turn(reference, step(reference)), rtol=1e-2)
    assert not torch.allclose(turn(long, step(long)), turn(reference, step(reference)), rtol=0.2)


def test_scheduled_norms_have_the_effective_rate_of_the_schedule():
    reference = torch.tensor([1.0, 2.0])
    norms = scheduled_norms(reference, 0.1)
    assert torch.allclose(0.3 / norms.square(), 0.1 * 0.3 / reference.square())
    weight = torch.randn(2, 3, 3, 3)
    scaled = scaled_to(weight, norms)
    assert torch.allclose(channel_norms(scaled), norms)
    assert torch.allclose(turn(weight, scaled), torch.zeros(2, dtype=torch.float64), atol=1e-3)


def test_weight_normalisation_is_pytorchs_and_the_bounded_one_keeps_every_length():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 5)
    own = NormedConv(3, 4, bounded=False)
    peer = nn.Conv2d(3, 4, 3, padding=1)
    peer.load_state_dict({"weight": own.weight.detach(), "bias": own.bias.detach()})
    assert torch.allclose(own(x), peer(x), atol=1e-5)  # as it begins
    peer = nn.utils.parametrizations.weight_norm(peer)
    with torch.no_grad():
        own.g.mul_(2)
        peer.parametrizations.weight.original0.mul_(2)
    for conv in (own, peer):
        conv(x).square().sum().backward()
    assert torch.allclose(own(x), peer(x), atol=1e-5)
    assert torch.allclose(own.weight.grad, peer.parametrizations.weight.original1.grad, rtol=1e-3, atol=1e-3)
    bounded = NormedConv(3, 4, bounded=True)
    y = bounded(x)
    with torch.no_grad():
        bounded.weight.mul_(torch.tensor([0.1, 1, 2, 30])[:, None, None, None])
    assert torch.allclose(bounded(x), y, atol=1e-5)
    pulses = torch.eye(27).view(27, 3, 3, 3)  # what they give in the middle are the weights that are used
    used = (bounded(pulses)[:, :, 1, 1] - bounded.bias).norm(dim=0)
    assert torch.allclose(used, bounded.rho.expand(4), rtol=1e-4)


def test_a_network_whose_first_weights_are_larger_is_the_same_network():
    d = images("digits")

    def trained(**changes):
        cfg = dataclasses.replace(TINY, plan=(4, 0, 4), lr=0.05, schedule="constant", **changes)
        torch.manual_seed(0)
        model = network(cfg, d)
        for norm in (m for m in model.modules() if isinstance(m, BatchNorm)):
            norm.eps = 1e-12
        opt = optimiser(model, cfg)
        for i in range(5):
            opt.zero_grad()
            x, y = d.x[64 * i : 64 * i + 64] / 255, d.y[64 * i : 64 * i + 64]
            nn.functional.cross_entropy(model(x), y).backward()
            opt.step()
        return model(d.x[:50] / 255)  # in training mode: running statistics begin at 0 and 1 in both

    assert torch.allclose(trained(), trained(weight_scale=64), atol=1e-3)
    assert torch.allclose(trained(optimiser="adamw"), trained(optimiser="adamw", weight_scale=64), atol=2e-2)


@pytest.mark.parametrize(
    ("decayed", "shares"), [("all", (0.1, 0.1, 0.02)), ("weights", (0.1, 0, 0.02)), ("last", (0, 0, 0.02))]
)
def test_what_decays(decayed, shares):
    cfg = dataclasses.replace(TINY, decayed=decayed, weight_decay=0.1, last_decay=0.02)
    model = network(cfg, images("digits"))
    groups = optimiser(model, cfg).param_groups
    assert tuple(group["weight_decay"] for group in groups) == shares
    assert [len(group["params"]) for group in groups] == [2, 4, 2]
    assert sum(p.numel() for group in groups for p in group["params"]) == sum(p.numel() for p in model.parameters())


def test_mimicking_with_the_own_norms_changes_nothing():
    model = network(TINY, images("digits"))
    norms = lengths(model).repeat(TINY.steps, 1)
    before = [conv.weight.detach().clone() for conv in convolutions(model)]
    with torch.no_grad():
        for conv in convolutions(model):
            conv.weight.add_(0.01)
    after = [conv.weight.detach().clone() for conv in convolutions(model)]
    mimic(dataclasses.replace(TINY, mimic="rates"), model, before, norms, 0)
    assert all(torch.allclose(conv.weight, w) for conv, w in zip(convolutions(model), after, strict=True))
    mimic(dataclasses.replace(TINY, mimic="norms", schedule="constant"), model, before, norms, 0)
    assert torch.allclose(lengths(model), norms[1])


def test_with_scheduled_norms_the_convolutions_keep_their_rate_and_others_follow_the_schedule():
    cfg = dataclasses.replace(TINY, mimic="norms", schedule="decay", steps=4)
    opt = optimiser(network(cfg, images("digits")), cfg)
    schedule = scheduled(opt, cfg)
    for _ in range(3):
        opt.step()
        schedule.step()
    assert [group["lr"] / cfg.lr for group in opt.param_groups] == pytest.approx([1, 0.01, 0.01])


def test_the_decayed_run_is_made_once_and_the_rest_are_as_far_from_it_as_they_say(tmp_path):
    records = {}
    for spec in STUDY.plan("smoke", variants=("decay", "corrected", "twin"), seeds=1):
        execute(STUDY, spec, tmp_path)
        records[spec.variant] = read(tmp_path / spec.key)
    (once,) = (tmp_path / "norm-matters" / "smoke" / "once" / "decayed").glob("*")
    assert (once / "norms.safetensors").exists()
    curves = {name: [line["train/loss"] for line in record.log] for name, record in records.items()}
    for name in ("corrected", "twin"):
        expected = numpy.abs(numpy.subtract(curves[name], curves["decay"])).mean()
        assert records[name].metrics["train/distance"] == pytest.approx(expected)
    assert "train/distance" not in records["decay"].metrics
    first = [line["train/effective-rate"] for line in records["corrected"].log]
    assert first == pytest.approx([line["train/effective-rate"] for line in records["decay"].log], rel=1e-5)


def test_the_paper_scale_has_the_papers_network():
    cfg = Config(**STUDY.plan("paper", variants=("decay",))[0].config)
    assert (cfg.plan, cfg.dataset, cfg.batch, cfg.lr, cfg.weight_decay) == (VGG11, "cifar10", 128, 0.1, 5e-4)
    colour = dataclasses.replace(images("digits"), x=torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    model = network(cfg, colour)
    assert sum(p.numel() for p in model.parameters()) == 9_228_362
    assert len(convolutions(model)) == 8
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_what_cannot_be_is_refused():
    with pytest.raises(Problem, match="the 10 largest of 4 numbers"):
        deviation(torch.ones(1, 1, 2, 2), "top", 10)
    with pytest.raises(Problem, match="tells no deviation"):
        extreme_factor(1)
    with pytest.raises(Problem, match="plan is"):
        network(dataclasses.replace(TINY, plan=(0,)), images("digits"))
    with pytest.raises(ValueError, match="shorter"):
        curve_distance([1.0, 2.0], [1.0])
