import dataclasses

import pytest
import torch
from torch import nn

from etudes.core.catalogue import find
from etudes.core.errors import Problem
from etudes.core.run import execute
from etudes.nn.airbench import Airbench
from etudes.nn.norm import Standardise
from etudes.studies.convnets.cifar_speed import Config, cost, from_six_views, mirror_mask, onto_sphere, optimiser

STUDY = find("cifar-speed")


def test_each_pair_of_epochs_shows_both_sides_of_every_picture():
    first = torch.rand(10) < 0.5
    rows = torch.tensor([3, 7, 3, 7, 3])
    turned = mirror_mask(rows, first, torch.tensor([0, 0, 1, 1, 2]))
    assert turned.tolist() == [first[3], first[7], not first[3], not first[7], first[3]]


def test_six_views_are_weighted_as_in_a_loop():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 6, 5))
    x = torch.rand(4, 3, 6, 6)
    padded = nn.functional.pad(x, (1, 1, 1, 1), "reflect")
    total = torch.zeros(4, 5)
    for down, weight in ((0, 0.125), (1, 0.25), (2, 0.125)):
        view = padded[:, :, down : down + 6, down : down + 6]
        total += weight * (model(view) + model(torch.flip(view, [3])))
    assert torch.allclose(from_six_views(model, x), total, atol=1e-6)


def test_filters_on_the_sphere_have_a_mean_square_of_1_an_output_channel():
    filters = [nn.Parameter(torch.randn(8, 3, 3, 3)), nn.Parameter(torch.randn(4, 8, 3, 3))]
    directions = [p.detach() / p.detach().norm() for p in filters]
    onto_sphere(filters)
    for p, direction in zip(filters, directions, strict=True):
        assert torch.allclose(p.norm() ** 2, torch.tensor(float(len(p))))
        assert torch.allclose(p.detach() / p.norm().detach(), direction, atol=1e-6)


def test_every_learnt_parameter_is_in_one_group_and_the_first_bias_stops_early():
    model = Airbench(Standardise([0.5] * 3, [0.25] * 3), 10, 8, False)
    model.first.weight.requires_grad_(False)
    cfg = Config(steps=80, batch=10)
    opt, schedule = optimiser(model, cfg)
    grouped = [p for group in opt.param_groups for p in group["params"]]
    assert len(grouped) == len({id(p) for p in grouped})
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters() if p.requires_grad}
    rates = []
    for _ in range(80):
        rates.append([group["lr"] for group in opt.param_groups])
        opt.step()
        schedule.step()
    assert rates[0] == [0.12, 0.53, 6.7, 0.53]
    assert [rate[3] > 0 for rate in rates] == [True] * 30 + [False] * 50
    assert all(rate[0] > 0 for rate in rates)


def test_smaller_pictures_take_fewer_multiply_adds():
    model = Airbench(Standardise([0.5] * 3, [0.25] * 3), 10, 8, False)

    def of(small, steps=10):
        return cost(model, dataclasses.replace(Config(side=32, small_side=24, batch=5), small=small, steps=steps), 3)

    def by_hand(side):
        places, total = (side - 1) ** 2, 24 * 12 * (side - 1) ** 2
        for channels, out in ((24, 8), (8, 32), (32, 32)):
            total += 9 * channels * out * places
            places = int(places**0.5) // 2 * (int(places**0.5) // 2)
            total += 9 * out * out * places
        return total + 32 * 10

    assert of(0.0) == 3 * 5 * 10 * by_hand(32)
    assert of(1.0) == 3 * 5 * 10 * by_hand(24)
    assert of(0.3) == 3 * 5 * (3 * by_hand(24) + 7 * by_hand(32))


def test_scales_are_those_that_the_paper_and_the_card_speak_of():
    (spec, *_) = STUDY.plan("paper", variants=["full"])
    assert (spec.config["width"], spec.config["examples"]) == (64, 0)
    assert spec.config["steps"] * spec.config["batch"] == 9.9 * 50_000
    for name, variant in (("eight-minutes", "full"), ("twenty-minutes", "residual")):
        plan = STUDY.plan(name)
        assert {spec.variant for spec in plan} == {variant}
        assert len(plan) == 3
    (spec, *_) = STUDY.plan("tiny-imagenet", variants=["full"])
    assert (spec.config["dataset"], spec.config["side"], spec.config["small_side"]) == ("tiny-imagenet", 64, 48)
    assert spec.config["steps"] * spec.config["batch"] == 20 * 100_000


def test_pictures_are_not_larger_at_first(tmp_path):
    (spec,) = STUDY.plan("smoke", variants=("full",), seeds=1, small_side=40)
    with pytest.raises(Problem, match="--small-side 40 is larger than --side 16"):
        execute(STUDY, spec, tmp_path)
