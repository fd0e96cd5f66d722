import itertools
import json
import math

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.core.run import execute
from etudes.data.augment import affine, flip, photometric, shift
from etudes.measure.size import count_parameters
from etudes.nn.vgg import vgg
from etudes.studies.convnets.cifar_architecture import STEPS, STUDY, Config, augment, network

SHAPE = (3, 32, 32)


def built(step, shape=SHAPE, classes=10, **options):
    return network(Config(**{"norm": "none", "width": 8} | STEPS[step] | options), shape, classes)


@pytest.mark.parametrize(("shape", "width"), [(SHAPE, 32), ((1, 16, 16), 8)])
def test_the_first_step_is_the_tutorials_vgg(shape, width):
    ours, theirs = built("vgg", shape, width=width), vgg(shape[0], 10, shape[1], width=width)
    assert count_parameters(ours) == count_parameters(theirs)
    assert width != 32 or count_parameters(ours) == 550_570
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.copy_(mine)
    x = torch.rand(4, *shape)
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)


def naive(weights, x, step, blocks, depth):
    """The logits of a network without normalisation, from its parameters in order and this loop alone."""
    weights = iter(weights)

    def conv(y, stride=1, padding=1):
        return functional.conv2d(y, next(weights), next(weights), stride, padding)

    for block in range(blocks):
        for pair in range(depth):
            begins = block > 0 and pair == 0
            stride = 2 if step in ("stride", "residual") and begins else 1
            y = conv(conv(x, stride).clamp_min(0))
            if step == "residual":
                y = y + (conv(x, stride, 0) if pair == 0 else x)
            x = y.clamp_min(0)
        if step in ("vgg", "gap"):
            x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2))
    x = (x.flatten(1) @ next(weights).T + next(weights)).clamp_min(0) if step == "vgg" else x.mean((2, 3))
    logits = x @ next(weights).T + next(weights)
    assert not list(weights)
    return logits


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("blocks", "depth"), [(3, 1), (4, 1), (2, 2)])
def test_each_step_is_the_naive_loop(step, blocks, depth):
    model, x = built(step, blocks=blocks, depth=depth), torch.rand(3, *SHAPE)
    for bias in (p for p in model.parameters() if p.ndim == 1):
        nn.init.normal_(bias)
    with torch.no_grad():
        assert torch.allclose(model(x), naive(model.parameters(), x, step, blocks, depth), rtol=1e-4, atol=1e-5)


def multiply_adds(model, shape=SHAPE):
    found = []

    def count(layer, given, made):
        found.append(made[0].numel() * layer.weight[0].numel())

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    model(torch.zeros(1, *shape))
    return sum(found)


@pytest.mark.parametrize("blocks", [3, 4])
def test_what_the_steps_add_and_save(blocks):
    width = 8
    ends = [3, *(width * 2**block for block in range(blocks))]
    pairs = list(itertools.pairwise(ends))
    convolutions = sum(9 * a * b + 9 * b * b + 2 * b for a, b in pairs)
    places = (32 // 2**blocks) ** 2
    dense = ends[-1] * places * 128 + 128 + 1290
    linear = ends[-1] * 10 + 10
    shortcuts = sum(a * b + b for a, b in pairs)
    models = {step: built(step, blocks=blocks) for step in STEPS}
    assert {step: count_parameters(model) for step, model in models.items()} == {
        "vgg": convolutions + dense,
        "gap": convolutions + linear,
        "stride": convolutions + linear,
        "residual": convolutions + linear + shortcuts,
    }
    costs = {step: multiply_adds(model) for step, model in models.items()}
    areas = [(32 // 2**block) ** 2 for block in range(blocks)]
    assert costs["stride"] == costs["gap"]
    extra = sum(a * b * area for (a, b), area in zip(pairs, areas, strict=True))
    assert costs["residual"] - costs["stride"] == extra


@pytest.mark.parametrize(("step", "last", "pooled"), [("gap", 4, 2), ("stride", 4, 4)])
def test_the_fourth_block_sees_4x4_places(step, last, pooled):
    sides = []
    model = built(step, blocks=4)
    for layer in model[:-3]:  # before global averaging, flattening and the linear layer
        layer.register_forward_hook(lambda layer, given, made: sides.append(made.shape[-1]))
    model(torch.zeros(1, *SHAPE))
    assert (sides[-1], last in sides) == (pooled, True)


@pytest.mark.parametrize("step", STEPS)
def test_four_blocks_take_the_smallest_pictures(step):
    assert built(step, (1, 8, 8), 7, blocks=4, norm="batch")(torch.rand(3, 1, 8, 8)).shape == (3, 7)
    assert built(step, (1, 13, 9), 7, blocks=4)(torch.rand(3, 1, 13, 9)).shape == (3, 7)


def test_normalisation_follows_every_convolution_before_sum_and_activation():
    model = built("residual", norm="batch")
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [conv.out_channels for conv in convolutions]
    pair, x = model[0], torch.rand(6, *SHAPE)

    def normal(y):
        return (y - y.mean((0, 2, 3), keepdim=True)) / (y.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()

    first = normal(pair.first[0](x)).clamp_min(0)
    both = normal(pair.second[0](first)) + normal(pair.shortcut[0](x))
    assert torch.allclose(pair(x), both.clamp_min(0), atol=1e-4)


def test_weights_begin_as_he_et_al_draw_them():
    torch.manual_seed(0)
    for layer in built("vgg", width=32).modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = layer.weight[0].numel()
            slack = 5 / math.sqrt(2 * layer.weight.numel())
            assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=slack)
            assert not layer.bias.any()


def test_augmentations_are_those_named_and_stay_in_float32():
    x = torch.rand(6, *SHAPE)

    def rng(name="flip"):
        return numpy.random.default_rng(len(name))

    moved = shift(flip(x, rng("flip")), rng("shift"), pixels=4, mode="zeros")
    expected = {
        "none": x,
        "flip-shift": moved,
        "geometric": affine(moved, rng("affine"), degrees=15, scale=(0.8, 1.25)),
        "photometric": photometric(moved, rng("photometric"), brightness=0.4, contrast=0.4, saturation=0.4),
    }
    with torch.autocast("cpu", torch.bfloat16):
        for kind, pictures in expected.items():
            assert torch.equal(augment(x, kind, rng), pictures), kind
    assert len({pictures.sum().item() for pictures in expected.values()}) == 4


def test_flips_give_every_variant_what_the_augmented_one_has(tmp_path):
    def losses(variant, **options):
        (spec,) = STUDY.plan("smoke", variants=[variant], seeds=1, **options)
        execute(STUDY, spec, tmp_path)
        return [json.loads(line)["train/loss"] for line in (tmp_path / spec.key / "log.jsonl").open()]

    assert losses("residual", flips=True) == losses("augment-flip-shift") != losses("residual")


def test_the_deep_networks_are_the_four_blocks_with_three_times_the_pairs():
    for name in ("stride", "residual"):
        usual, deep = (Config(**STUDY.plan("laptop", variants=[f"{name}-{kind}"])[0].config) for kind in ("4", "deep"))
        changed = {key for key, value in vars(deep).items() if value != getattr(usual, key)}
        assert changed == {"deepened"}
        convolutions = [
            sum(
                isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)
                for layer in network(cfg, SHAPE, 10).modules()
            )
            for cfg in (usual, deep)
        ]
        assert convolutions == [8, 24]
    same = built("residual", depth=6), built("residual", depth=2, deepened=3)
    assert count_parameters(same[0]) == count_parameters(same[1])


def test_the_paper_scale_is_the_papers():
    config = Config(**STUDY.plan("paper", variants=["residual"])[0].config)
    assert (config.batch, config.lr, config.momentum, config.weight_decay) == (128, 0.1, 0.9, 1e-4)
    assert config.steps * config.batch == 200 * 50_000
    assert (config.schedule, config.flips, config.norm, config.examples) == ("decay", True, "batch", 0)
    assert (config.width, config.depth) == (64, 2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"blocks": 6}, "blocks is 6; it must be between 1 and 5"),
        ({"depth": 0}, "depth is 0; it must be at least 1"),
        ({"norm": "bach"}, "did you mean 'batch'"),
        ({"augment": "flip"}, "augment"),
    ],
)
def test_impossible_settings_are_refused_before_anything_runs(options, says):
    with pytest.raises(Problem, match=says):
        STUDY.plan("smoke", variants=["vgg"], **options)


def test_a_width_that_does_not_fall_into_groups_is_refused():
    with pytest.raises(Problem, match="12 channels do not fall into 8 groups"):
        built("residual", norm="group", width=12)
