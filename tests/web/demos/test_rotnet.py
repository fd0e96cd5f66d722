"""Neighbours of a picture: they are those of the study's features, counts are right, and the page lets it be turned."""

import dataclasses
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from etudes.core.errors import Problem
from etudes.core.record import read
from etudes.data.images import unit
from etudes.measure.activations import activations
from etudes.web import demos
from etudes.web.demos import networks, pictures, rotnet, ship
from etudes.web.demos.rotnet_networks import open_run, siblings
from watching import LONG, watch

OWN, ALONG = "rotnet · rotnet · smoke", f"rotnet · rotnet · {networks.ALONG}"


@pytest.fixture(scope="module")
def record(root):
    return rotnet.families(root)[OWN]


@pytest.fixture(scope="module")
def own(record):
    return rotnet.load(record)


@pytest.fixture(scope="module")
def along(root):
    return rotnet.load(rotnet.families(root)[ALONG])


@pytest.fixture(scope="module")
def alone():
    """No other demo is there: to build all of them takes a server's seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demos, "DEMOS", tuple(demo for demo in demos.DEMOS if demo.slug == "rotnet"))
        yield


@pytest.fixture(scope="module")
def server(alone, server):
    return server


def ask(s, i=0, block=1, turned=0, k=5):
    return rotnet.answer(s, s.test_x[i][None], int(s.test_y[i]), block, turned, k)


def test_networks_and_pictures_are_those_of_the_run(record, own):
    assert set(own.models) == {"rotnet", "simclr", "random"}
    says = [rotnet.turn_odds(own, torch.rot90(x[None], y, (2, 3))) for y in range(4) for x in own.test_x]
    truth = [name for name in rotnet.TURNS for _ in own.test_x]
    missed = np.mean([max(odds, key=odds.get) != name for odds, name in zip(says, truth, strict=True)])
    assert missed == pytest.approx(record.metrics["test/turn-error"])
    _, _, p = open_run(record)
    assert torch.equal(own.x, p.x)
    seen = {x.numpy().tobytes() for x in p.d.x}
    assert sum(x.numpy().tobytes() in seen for x in own.x) == 0, "none was trained on"


@pytest.mark.parametrize("name", ["simclr", "random", rotnet.PIXELS])
def test_neighbours_are_the_nearest_in_the_features_of_the_block(own, name):
    a = ask(own, 3, block=2, turned=1)

    def features(x):
        if name == rotnet.PIXELS:
            return x.numpy().reshape(len(x), -1) / 255
        maps = activations(own.models[name], x, ["3"])["3"].numpy()  # layer 0 makes pictures standard
        n, c, side, _ = maps.shape
        return maps.reshape(n, c, 2, side // 2, 2, side // 2).mean((3, 5)).reshape(n, -1)

    seen = np.rot90(own.test_x[3].numpy(), 1, (1, 2)).copy()
    known, (asked, upright) = features(own.x), features(torch.stack([torch.from_numpy(seen), own.test_x[3]]))
    cosines = [row @ asked / max(np.linalg.norm(row) * np.linalg.norm(asked), 1e-12) for row in known]
    alike = asked @ upright / (np.linalg.norm(asked) * np.linalg.norm(upright))
    assert np.array_equal(a.x[0].numpy(), seen)
    assert a.found[name].alike == pytest.approx(alike, abs=1e-5)
    assert a.found[name].cosines == pytest.approx(sorted(cosines, reverse=True)[:5], abs=1e-5)
    assert [cosines[row] for row in a.found[name].rows] == pytest.approx(a.found[name].cosines, abs=1e-5)


def test_counts_and_their_averages_agree(own):
    s = dataclasses.replace(own, test_x=own.test_x[:7], test_y=own.test_y[:7])
    for turned in (0, 3):
        all_of = [ask(s, i, 0, turned, 4) for i in range(7)]
        upright = [ask(s, i, 0, 0, 4).found["simclr"].rows for i in range(7)]
        stay = [len({*a.found["simclr"].rows} & {*rows}) for a, rows in zip(all_of, upright, strict=True)]
        same = [sum(own.y[r] == a.y for r in a.found["simclr"].rows) for a in all_of]
        assert [a.stay("simclr") for a in all_of] == stay
        assert [a.same("simclr") for a in all_of] == same
        assert rotnet.usual(s, "simclr", 0, turned, 4) == pytest.approx((np.mean(same), np.mean(stay)))
    assert rotnet.usual(s, "simclr", 0, 0, 4)[1] == 4, "of an upright picture all stay"


def test_classes_are_hidden_until_they_are_asked_for(own):
    a = ask(own, 2, turned=2)
    label = own.labels[a.y]
    hidden = rotnet.draw_neighbours(a, "rotnet", False) + rotnet.finding(a, "rotnet", False)
    captions = re.findall("<figcaption>(.*?)</figcaption>", hidden)
    assert [re.sub(", stays", "", words) for words in captions] == [f"{c:.3f}" for c in a.found["rotnet"].cosines]
    assert hidden.count("stays") == 2 * a.stay("rotnet")  # each in an alt text too
    shown = rotnet.draw_neighbours(a, "rotnet", True)
    assert [words.split(", ")[1] for words in re.findall("<figcaption>(.*?)</figcaption>", shown)] == [
        own.labels[own.y[row]] for row in a.found["rotnet"].rows
    ]
    assert f"{a.same('rotnet')} of 5 are of the picture's class, {label}" in rotnet.finding(a, "rotnet", True)
    assert rotnet.draw_table(a, False).count("? (") == len(a.found)
    assert "?" not in rotnet.draw_table(a, True)
    unknown = dataclasses.replace(a, y=None)
    counts = re.findall(r"(\d+)[,.]", rotnet.finding(unknown, "rotnet", True).partition(" Of the")[0])
    assert sum(map(int, counts)) == 5


def test_what_comes_along_shows_what_was_learnt_and_fetches_nothing(along, monkeypatch):
    monkeypatch.setattr(pictures, "images", lambda name: pytest.fail(f"{name} would be fetched"))
    assert list(along.models) == list(rotnet.LEARNT)
    odds = [rotnet.turn_odds(along, torch.rot90(x[None], 1, (2, 3))) for x in along.test_x[:60]]
    assert np.mean([max(each, key=each.get) == rotnet.TURNS[1] for each in odds]) > 0.6
    of_class = {name: rotnet.usual(along, name, 3, 0, 8)[0] for name in (*rotnet.LEARNT, rotnet.PIXELS)}
    assert of_class["supervised"] > max(of_class["rotnet"], of_class["random"])
    assert min(of_class.values()) > 8 / len(along.labels)


def test_packed_networks_answer_as_before(record, own, tmp_path):
    folder = ship.pack(record, tmp_path)
    ship.write_siblings(record, folder)
    again = rotnet.load(read(folder))
    assert set(again.models) == {*own.models, "supervised"}
    assert torch.equal(again.x, own.x[: len(again.x)])
    assert torch.equal(again.y, own.y[: len(again.y)])
    assert len(again.y) == len(own.y) // ship.COLUMNS * ship.COLUMNS
    for name in own.models:
        for before, after in zip(*(rotnet.vectors(s, name, unit(own.test_x)) for s in (own, again)), strict=True):
            assert torch.allclose(before, after, atol=2e-2)


def test_only_what_has_run_is_offered_and_nothing_is_trained(root, record, tmp_path):
    shutil.copytree(root / "rotnet", tmp_path / "rotnet")
    shutil.rmtree(tmp_path / "rotnet" / "smoke" / "simclr")
    there = read(tmp_path / record.spec.key)
    before = sorted(tmp_path.rglob("*"))
    assert list(siblings(there)) == ["rotnet", "random"]
    assert list(rotnet.load(there).models) == ["rotnet", "random"]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("block", "turned", "k"), [(4, 0, 5), (None, 0, 5), (0, 4, 5), (0, 0, 1), (0, 0, 17)])
def test_limits_hold_whatever_the_page_sends(own, block, turned, k):
    with pytest.raises(Problem, match="take one of 4 blocks, one of 4 turns, and 2 to 16 neighbours"):
        ask(own, 0, block, turned, k)


def test_a_picture_of_one_s_own_has_no_class_and_may_be_a_negative(own, tmp_path):
    path = tmp_path / "dark.png"
    Image.new("RGB", (30, 20), (51, 51, 51)).save(path)
    x, y = rotnet.picture_of(own, 0, str(path), False)
    assert x.shape == (1, *own.x.shape[1:])
    assert y is None
    assert torch.allclose(x, torch.full_like(x, 0.2), atol=0.01)
    assert torch.allclose(rotnet.picture_of(own, 0, str(path), True)[0], 1 - x)
    path.write_bytes(b"not a picture")
    with pytest.raises(Problem, match="no whole picture"):
        rotnet.picture_of(own, 0, str(path), False)


def test_a_picture_is_turned_by_the_keyboard_and_one_is_uploaded(browser, server, tmp_path):
    for watched in watch(browser, server, 390):
        page = watched.open("rotnet")
        status = page.locator("main [role=status]", has_text="Of what class is each?")
        status.wait_for()
        assert page.locator(".near img").count() == 2 * rotnet.FIRST
        shows = page.get_by_label("Show the classes")
        shows.focus()
        page.keyboard.press("Space")
        page.get_by_text(re.compile("[0-8] of 8 are of the picture's class")).wait_for()
        page.get_by_label("upright", exact=True).focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        page.get_by_text(re.compile("neighbours of the upright picture [0-8] stay")).wait_for()
        page.get_by_label("classes", exact=True).check()
        page.get_by_label("4 (last)").check()
        page.get_by_text("in block 4 of a network that learnt classes").wait_for()
        assert page.locator("table.counts tbody tr").count() == len(rotnet.LEARNT) + 1
        page.get_by_text("Or a picture of yours").click()
        _upload(page, tmp_path)


def _upload(page, tmp_path):
    wrong, right = tmp_path / "wrong.png", tmp_path / "right.png"
    wrong.write_bytes(b"not a picture")
    page.locator("input[type=file]").set_input_files(wrong)
    page.locator(".toast-body").get_by_text("no whole picture").wait_for()
    assert page.locator(".near img").count() == 2 * rotnet.FIRST, "what is shown stays"
    page.get_by_label(re.compile("Clear|Remove")).first.click()
    Image.effect_noise((50, 40), 90).save(right)
    page.locator("input[type=file]").set_input_files(right)
    page.get_by_text("The neighbours' classes:").wait_for(timeout=LONG)
    page.get_by_label("range slider for Test picture").press("ArrowRight")
    page.get_by_text("of the picture's class").first.wait_for()
