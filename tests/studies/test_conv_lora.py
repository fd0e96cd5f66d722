import copy
import itertools
import json

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from etudes.core.run import execute
from etudes.data.images import images, unit
from etudes.measure.size import count_parameters
from etudes.nn.lora import LowRankConv, low_rank_filter, merge
from etudes.nn.norm import BatchNorm
from etudes.studies.adapt.conv_lora import STUDY, Config
from etudes.studies.adapt.conv_lora.findings import (
    closed_share,
    dearer_far,
    load_trained,
    measure_memory,
    save_trained,
    trained_tensors,
    validation_rows,
)
from etudes.studies.adapt.conv_lora.methods import choose_trained, last_block, optimiser
from etudes.studies.adapt.conv_lora.networks import Classifier, opened_in_colour, residual_network
from etudes.tools.efficientnet import EfficientNetLite

METHODS = {spec.variant: spec.config for spec in STUDY.plan("laptop", seeds=1)}


def network(width=4, classes=5, seed=0):
    torch.manual_seed(seed)
    return residual_network(width, classes, torch.zeros(3), torch.ones(3))


def prepared(variant, model, **changes):
    cfg = Config(**(METHODS[variant] | changes))
    choose_trained(cfg, model)
    return cfg, optimiser(cfg, model)


def learn(model, opt, steps=3, seed=0):
    torch.manual_seed(seed)
    for _ in range(steps):
        opt.zero_grad()
        functional.cross_entropy(model(torch.rand(8, 3, 16, 16)), torch.arange(8) % 5).backward()
        opt.step()


def test_the_idea_is_the_papers_product_of_matrices():
    a, b = torch.randn(3, 6, 1, 1), torch.randn(4, 3, 1, 1)
    expected = 2.0 * b[:, :, 0, 0] @ a[:, :, 0, 0]
    assert torch.allclose(low_rank_filter(a, b, 2.0)[:, :, 0, 0], expected, atol=1e-6)
    assert STUDY.idea is low_rank_filter


@pytest.mark.parametrize("variant", ["lora", "lora-1k", "lora-kk", "lora-late", "lora-rank-2", "lora-frozen"])
def test_adapted_and_not_yet_trained_it_is_the_base(variant):
    model = network(16).eval()
    x = torch.rand(4, 3, 16, 16)
    before = model(x)
    prepared(variant, model)
    assert torch.equal(model.eval()(x), before)


@pytest.mark.parametrize("variant", ["lora", "lora-1k", "lora-frozen", "lora-late"])
def test_merged_the_trained_network_is_the_same_with_as_many_numbers_as_the_base(variant):
    base = network(16)
    model = copy.deepcopy(base)
    _, opt = prepared(variant, model)
    learn(model, opt)
    model.eval()
    x = torch.rand(4, 3, 16, 16)
    apart = model(x)
    merged = merge(model)
    assert torch.allclose(merged(x), apart, atol=1e-5)
    assert {type(layer) for layer in merged.modules()} == {type(layer) for layer in base.modules()}
    assert [p.shape for p in merged.parameters()] == [p.shape for p in base.parameters()]


@pytest.mark.parametrize("variant", ["head", "lora-frozen", "lora-frozen-near"])
def test_frozen_norms_keep_their_statistics_and_evaluation_does_not_wake_them(variant):
    model = network(16)
    _, opt = prepared(variant, model)
    before = {name: b.clone() for name, b in model.named_buffers()}
    from etudes.measure.error import error_rate

    error_rate(model, torch.rand(6, 3, 16, 16), torch.zeros(6, dtype=torch.long))
    learn(model, opt)
    assert all(torch.equal(before[name], b) for name, b in model.named_buffers())


@pytest.mark.parametrize("variant", ["full", "norms", "lora"])
def test_trained_norms_follow_the_pictures(variant):
    model = network(16)
    _, opt = prepared(variant, model)
    before = {name: b.clone() for name, b in model.named_buffers() if name.endswith("running_mean")}
    learn(model, opt)
    assert not any(torch.equal(before[name], b) for name, b in model.named_buffers() if name in before)


def test_what_is_trained_moves_and_nothing_else_does():
    def moves(variant):
        model = network(16)
        _, opt = prepared(variant, model)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        learn(model, opt)
        return {name for name, p in model.named_parameters() if not torch.equal(before[name], p)}

    head = {"head.weight", "head.bias"}
    norms = {
        f"{name}.{kind}"
        for name, layer in network(16).named_modules()
        if isinstance(layer, BatchNorm)
        for kind in ("weight", "bias")
    }
    assert moves("head") == head
    assert moves("norms") == head | norms
    assert moves("full") == {name for name, _ in network(16).named_parameters()}
    changed = moves("lora-frozen")
    assert {name.rsplit(".", 1)[-1] for name in changed - head} == {"a", "b"}
    assert moves("lora") == changed | norms
    late = moves("lora-late") - head - norms
    assert late
    assert all(name.startswith(last_block(network(16).body) + ".", len("body.")) for name in late)


def test_orders_and_layers_are_compared_at_equal_numbers():
    counts = {}
    for variant in ("lora", "lora-frozen", "lora-1k", "lora-kk", "lora-late", "lora-rank-2", "full"):
        model = network(METHODS[variant]["width"], 7)
        prepared(variant, model)
        counts[variant] = count_parameters(model)
    for other in ("lora-1k", "lora-kk", "lora-late"):
        assert counts[other] == pytest.approx(counts["lora"], rel=0.025)
    assert counts["lora"] < 0.07 * counts["full"]
    assert counts["lora-rank-2"] < 0.02 * counts["full"]


def test_every_weight_that_is_trained_is_in_the_optimiser_once_at_its_rate():
    for variant in METHODS:
        model = network(16)
        cfg, opt = prepared(variant, model)
        inside = [p for group in opt.param_groups for p in group["params"]]
        assert len({id(p) for p in inside}) == len(inside)
        assert {id(p) for p in inside} == {id(p) for p in model.parameters() if p.requires_grad}
        rates = {id(p): group["lr"] for group in opt.param_groups for p in group["params"]}
        assert rates[id(model.head.weight)] == (cfg.alone_lr if cfg.method == "head" else cfg.head_lr)
        for layer in model.modules():
            if isinstance(layer, LowRankConv):
                rate = cfg.double_lr if cfg.order == "k-k" else cfg.lora_lr if cfg.norms else cfg.frozen_lr
                assert rates[id(layer.a)] == rates[id(layer.b)] == rate


def test_of_a_depthwise_network_the_convolutions_of_one_pixel_are_changed():
    torch.manual_seed(0)
    lite = EfficientNetLite("lite0", 10)
    lite.classify = nn.Identity()
    model = Classifier(nn.Sequential(lite), nn.Linear(1280, 5))
    prepared("lora", model, rank=4)
    changed = [name for name, layer in model.named_modules() if isinstance(layer, LowRankConv)]
    assert not [name for name in changed if "depthwise" in name]
    assert len(changed) > 30
    assert last_block(model.body) == "0.blocks.15"
    model.eval()
    for layer in model.modules():
        if isinstance(layer, LowRankConv):
            nn.init.normal_(layer.b, std=0.01)
    x = torch.rand(2, 3, 33, 33)
    assert torch.allclose(merge(copy.deepcopy(model))(x), model(x), atol=1e-3)


def test_what_is_saved_with_the_base_is_the_trained_network(tmp_path):
    for variant in ("lora", "lora-frozen", "norms", "head"):
        model = network(16)
        _, opt = prepared(variant, model)
        learn(model, opt)
        save_trained(tmp_path / "trained.safetensors", model)
        again = network(16)
        prepared(variant, again)
        again = load_trained(tmp_path / "trained.safetensors", again).eval()
        x = torch.rand(4, 3, 16, 16)
        assert torch.equal(again(x), model.eval()(x)), variant
        size = sum(t.numel() for t in trained_tensors(model).values())
        assert (tmp_path / "trained.safetensors").stat().st_size < 4 * size + 8000


def test_grey_pictures_get_three_equal_channels():
    d, whole = opened_in_colour("digits", 0), images("digits")
    assert d.x.shape[1] == 3
    assert all(torch.equal(d.x[:, k], whole.x[:, 0]) for k in range(3))
    assert torch.equal(d.test_y, whole.test_y)
    assert opened_in_colour("digits", 16).x.shape[-2:] == (16, 16)


class Draws:
    def rng(self, stream):
        return numpy.random.default_rng(0)


def test_validation_pictures_are_none_of_those_learnt_from():
    taken = torch.arange(0, 40, 2)
    found = validation_rows(taken, 50, 12, Draws())
    assert len(found) == len(set(found.tolist())) == 12
    assert not set(found.tolist()) & set(taken.tolist())
    assert len(validation_rows(taken, 50, 0, Draws())) == 0
    assert len(validation_rows(taken, 50, 100, Draws())) == 30


def test_measures_of_claims():
    errors = {"head": 0.5, "full": 0.3, "lora": 0.35, "norms": 0.41, "lora-near": 0.2, "norms-near": 0.19}
    trial = {name: {"test/error": error} for name, error in errors.items()}
    assert closed_share("lora")(trial) == pytest.approx(0.75)
    assert dearer_far("norms", "lora")(trial) == pytest.approx(0.06 + 0.01)


def test_the_memory_saved_is_that_of_gradients_and_moments_and_activations_stay():
    """Brief's claim d: in fp32, by formula."""
    from etudes.measure.memory import step_memory

    x, y, found = torch.rand(32, 3, 32, 32), torch.arange(32) % 5, {}
    for variant in ("full", "lora", "lora-frozen", "head"):
        model = network(32)
        prepared(variant, model)
        found[variant] = step_memory(model, lambda model=model: functional.cross_entropy(model(x), y))
    full, lora = found["full"], found["lora"]
    assert lora.gradients < 0.07 * full.gradients
    assert lora.optimiser == 2 * lora.gradients
    assert 0.8 < lora.activations / full.activations <= 1.01
    assert 0.8 < found["lora-frozen"].activations / full.activations <= 1.01
    assert found["head"].activations < 0.05 * lora.activations


def test_a_run_leaves_its_numbers_and_what_was_trained(tmp_path):
    found = {}
    for variant in ("lora", "lora-kk", "full"):
        (spec,) = STUDY.plan("smoke", variants=[variant], held_out=9)
        assert execute(STUDY, spec, tmp_path) == "done"
        found[variant] = json.loads((tmp_path / spec.key / "result.json").read_text())
        assert (tmp_path / spec.key / "trained.safetensors").stat().st_size > 0
    names = {
        "validation/error",
        "test/error-majority",
        "test/error-base",
        "train/megabytes-step",
        "train/largest-batch",
    }
    assert all(names <= numbers.keys() for numbers in found.values())
    assert abs(found["lora"]["test/error-merged"] - found["lora"]["test/error"]) < 0.02
    assert not {"test/error-merged"} & {*found["lora-kk"], *found["full"]}
    assert len({numbers["test/error-base"] for numbers in found.values()}) == 1  # one base


def test_variants_differ_in_one_thing_each():
    def changed(name, base):
        return {field for field, value in METHODS[name].items() if value != METHODS[base][field]}

    assert changed("lora-frozen", "lora") == {"norms"}
    assert changed("lora-1k", "lora") == {"order", "rank"}  # the rank for as many numbers
    assert changed("lora-kk", "lora") == {"order", "rank"}
    assert changed("lora-late", "lora") == {"layers", "rank"}
    assert changed("lora-rank-2", "lora") == {"rank"}
    for name in ("full", "lora", "lora-frozen"):
        assert changed(f"{name}-near", name) == {"target"}
    assert all(
        changed(a, b) <= {"method", "rank"} for a, b in itertools.combinations(("full", "head", "norms", "lora"), 2)
    )


def test_the_paper_scale_is_the_larger_network_at_its_own_size():
    for spec in STUDY.plan("paper", seeds=1):
        config = STUDY.config(**spec.config)
        assert (config.network, config.enlarged, config.far, config.examples) == ("lite2", 260, "stanford-cars", 0)


def test_the_base_sees_two_by_two_pixels_as_channels():
    model = network(4)
    x = unit(torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8))
    seen = model.body[1](model.body[0](x))
    assert seen.shape == (2, 12, 8, 8)
    assert torch.equal(seen[:, 0], x[:, 0, ::2, ::2])


def test_measuring_memory_changes_nothing_of_the_network():
    numbers = {}

    class Result:
        def result(self, **found):
            numbers.update(found)

    model = network(16)
    prepared("lora", model)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    measure_memory(Result(), model, torch.rand(8, 3, 16, 16), torch.arange(8) % 5)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    weights = sum(t.numel() * t.element_size() for t in before.values())
    fixed = weights / 1e6 + numbers["train/megabytes-gradients"] + numbers["train/megabytes-optimiser"]
    assert numbers["train/megabytes-step"] == pytest.approx(fixed + numbers["train/megabytes-activations"])
    each = numbers["train/megabytes-activations"] / 8
    assert numbers["train/largest-batch"] == int((1000 - fixed) / each)
