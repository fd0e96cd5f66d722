import itertools

import pytest
import torch

from etudes.core.catalogue import find
from etudes.core.errors import Problem
from etudes.data.images import images
from etudes.measure.size import count_parameters, multiply_adds
from etudes.nn.octave import pool, relative_cost
from etudes.studies.convnets.octave_conv import CLAIMS, GRID, Config, frequency_part, network, seconds
from etudes.studies.convnets.octave_conv.claims import excess

STUDY = find("octave-conv")


def config(variant, scale="laptop"):
    return Config(**STUDY.plan(scale, variants=[variant])[0].config)


def test_frequencies_are_those_of_a_loop_and_add_up():
    x = torch.randint(0, 256, (2, 3, 4, 6), dtype=torch.uint8)
    low, high = (frequency_part(x, which) for which in ("low", "high"))
    assert frequency_part(x, "all") is x
    assert low.dtype == high.dtype == torch.uint8
    for n, c, p, q in itertools.product(*map(range, x.shape)):
        block = x[n, c, p // 2 * 2 : p // 2 * 2 + 2, q // 2 * 2 : q // 2 * 2 + 2].double()
        assert abs(low[n, c, p, q] - block.mean()) <= 0.51
        assert abs(high[n, c, p, q] - (127.5 + (x[n, c, p, q] - block.mean()) / 2)) <= 0.51
    again = low.double() + 2 * (high.double() - 127.5)
    assert (again - x.double()).abs().max() <= 2  # of 255, as both are whole numbers
    assert (pool(high.double()) - 127.5).abs().max() <= 0.51  # nothing is left for the low octave


def test_what_has_no_even_sides_has_no_octaves():
    with pytest.raises(Problem, match="7x7 cannot be halved"):
        frequency_part(torch.zeros(1, 1, 7, 7, dtype=torch.uint8), "low")
    with pytest.raises(Problem, match="alpha is 2; it must be between 0 and 1"):
        STUDY.plan("smoke", variants=["half"], alpha=2.0)


def test_the_small_networks_cost_what_they_should():
    d = images("digits").resize(16)
    costs, sizes = {}, {}
    for name in (*GRID, "half-apart"):
        model = network(config(name), d)
        costs[name], sizes[name] = multiply_adds(model, d.shape), count_parameters(model)
    assert len({sizes[name] for name in GRID if name != "narrow"}) == 1
    assert costs["strided"] == costs["plain"] > costs["eighth"] > costs["quarter"] > costs["half"]
    assert 1 <= costs["narrow"] / costs["half"] < 1.1  # the plain network is not given less
    assert costs["half-apart"] < costs["half"]
    # What lies between octaves of both sides, two 3x3 convolutions of the first stage, follows the formula.
    assert costs["plain"] - costs["half"] > (1 - relative_cost(0.5)) * 2 * 16 * 16 * 9 * 16 * 16


def test_the_paper_scale_is_oct_resnet_50():
    d = images("digits")
    with torch.device("meta"):
        models = {name: network(config(name, "paper"), d) for name in ("plain", "eighth", "half")}
    head = 10 * 2049 - 1000 * 2049 - 2 * 64 * 49  # of ten classes and one channel for a thousand and three
    assert {count_parameters(model) for model in models.values()} == {25_557_032 + head}
    cfg = config("half", "paper")
    assert (cfg.side, cfg.width, cfg.batch) == (224, 64, 64)
    assert cfg.steps == 120 * 1_281_167 // 64


def test_variants_differ_in_what_they_say():
    changes = {variant.name: dict(variant.changes) for variant in STUDY.variants}
    assert changes["plain"] == {}
    assert [changes[name].get("alpha") for name in ("eighth", "quarter", "half", "three-quarters")] == [
        0.125, 0.25, 0.5, 0.75,
    ]  # fmt: skip
    for name, way in (("half-down", "down"), ("half-up", "up"), ("half-apart", "none")):
        assert changes[name] == changes["half"] | {"exchange": way}
    for which in ("low", "high"):
        assert changes[f"octave-{which}"] == changes["three-quarters"] | changes[f"plain-{which}"]


def test_the_loss_on_fine_detail_is_over_that_on_means():
    trial = {
        "octave-high": {"test/error": 0.7}, "plain-high": {"test/error": 0.6},
        "octave-low": {"test/error": 0.53}, "plain-low": {"test/error": 0.5},
    }  # fmt: skip
    assert excess(trial, "high") == pytest.approx(0.1)
    (claim,) = [claim for sentence, claim in CLAIMS.items() if "fine detail" in sentence]
    assert claim.measure(trial) == pytest.approx(0.07)


def test_a_layers_products_follow_the_formula_and_calls_are_timed_in_turn():
    for alpha in (0.0, 0.25, 0.75):
        conv, x = seconds.layer(16, 4, alpha, batch=2)
        assert seconds.products(conv, x) == 2 * 16 * 16 * 9 * 16 * relative_cost(alpha)
    order = []
    found = seconds.seconds([lambda: order.append("a"), lambda: order.append("b")], warm=1, repeats=2)
    assert order == ["a", "b"] * 3
    assert all(0 <= each < 1 for each in found)
