"""The generator's walk and the critic's landscape: its functions, and the page in a browser."""

import dataclasses
import itertools
import math
import re

import pytest
import torch

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.run import execute
from etudes.train.precision import resolve
from etudes.web.demos import networks
from etudes.web.demos import wgan_gp as demo
from watching import LONG, watch


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Smoke runs of a generator of convolutions, one of an MLP, and one of points."""
    study, root = catalogue.find("wgan-gp"), tmp_path_factory.mktemp("runs")
    for spec in study.plan("smoke", variants=("gp-norm", "gan-mlp", "points-gp"), precision=resolve(study, "auto")):
        execute(study, spec, root)
    return {r.spec.variant: r for r in networks.find_records(study, root).values() if not networks.is_shipped(r)}


@pytest.mark.parametrize("variant", ["gp-norm", "gan-mlp"])
def test_a_way_begins_and_ends_with_its_two_pictures(records, variant):
    record = records[variant]
    ends = [demo.latent(record, number) for number in (3, 4)]
    made = demo.draw(record, torch.stack([demo.between(*ends, share) for share in (0.0, 0.5, 1.0)]))
    assert made.shape == (3, 1, 8, 8)
    assert ((made >= 0) & (made <= 1)).all()
    assert torch.allclose(made[[0, 2]], demo.draw(record, torch.stack(ends)), atol=1e-6)
    assert not torch.allclose(made[0], made[2])
    here, way = demo.walk(record, 3, 4, 0.25)
    assert "0.25 of the way from 3 to 4" in here
    assert way.count("<img") == demo.STOPS


def test_the_way_keeps_the_length_of_noise_and_turns_evenly():
    a, b = torch.eye(2)
    stops = [demo.between(3 * a, 3 * b, i / 4) for i in range(5)]
    assert [stop.norm().item() for stop in stops] == pytest.approx([3] * 5)
    angles = [torch.arccos(x @ y / 9).item() for x, y in itertools.pairwise(stops)]
    assert angles == pytest.approx([math.pi / 8] * 4, rel=1e-3)
    assert torch.allclose(demo.between(a, a, 0.3), a)
    with pytest.raises(Problem, match="between 0 and 1"):
        demo.between(a, b, 1.5)


def test_pictures_have_numbers(records):
    assert torch.equal(demo.latent(records["gp-norm"], 7), demo.latent(records["gp-norm"], 7))
    with pytest.raises(Problem, match="numbers 0 to 10,000"):
        demo.latent(records["gp-norm"], -1)


def test_a_training_is_looked_at_ten_times():
    cfg = demo.settings("clipped weights", "swiss-roll", 0.1, 0.05, 100)
    assert (cfg.method, cfg.data, cfg.clip, cfg.point_steps) == ("wgan", "swiss-roll", 0.05, 600)
    cfg = dataclasses.replace(cfg, point_steps=120, width=8, point_batch=8, tested=32)
    frames = list(demo.train(cfg))
    assert [frame.step for frame in frames] == list(range(0, 21, 2))
    assert all(frame.distance > 0 for frame in frames)
    film, charts = demo.show(frames, 3)
    assert f"step 6: exact distance {frames[3].distance:.2f}" in film
    assert "Exact distance" in charts
    assert demo.show([], 0) == ("", "")
    assert demo.show(frames, 99)[0] == demo.show(frames, 10)[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "magic"}, "magic"),
        ({"data": "moons"}, "moons"),
        ({"penalty": 1e6}, "take a lambda"),
        ({"steps": 10**6}, "generator steps"),
    ],
)
def test_limits_hold_whatever_the_page_sends(change, words):
    first = {"method": next(iter(demo.METHODS)), "data": demo.DATA[0], "penalty": 0.1, "clip": 0.1, "steps": 800}
    with pytest.raises(Problem, match=words):
        demo.settings(**first | change)


def test_the_page_walks_and_trains(browser, server):
    for watched in watch(browser, server, 1280):
        page = watched.open("wgan-gp")
        page.get_by_text(f"it {networks.ALONG}").first.wait_for()
        page.get_by_text("0.50 of the way from 1 to 2").wait_for()
        page.get_by_label("number input for Share of the way").fill("0.25")
        page.keyboard.press("Tab")
        page.get_by_text("0.25 of the way from 1 to 2").wait_for()
        page.get_by_label("number input for Generator steps").fill("100")
        page.keyboard.press("Tab")
        page.get_by_role("button", name="Train on points").click()
        page.get_by_text(re.compile("step 100: exact distance")).wait_for(timeout=4 * LONG)
        page.get_by_label("number input for Look at the training").fill("2")
        page.keyboard.press("Tab")
        page.get_by_text(re.compile("step 20: exact distance")).wait_for()
