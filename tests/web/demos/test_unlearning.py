"""The map of what unlearning left: its places and answers are the study's own, and the page lets digits be touched."""

import numpy as np
import pytest
import torch
from PIL import Image

from etudes.exhibits.plane import plane
from etudes.measure.probe import balanced_accuracy
from etudes.web.demos import networks, unlearning
from watching import watch


def records(root, origin="smoke"):
    return unlearning.families(root)[origin]


@pytest.mark.parametrize("variant", ["dropped", "retrained"])
def test_the_map_and_the_answers_are_those_of_the_study(root, variant):
    record = records(root)[variant]
    seen = unlearning.answers(record.folder)
    old, new = seen.y == 6, seen.y == 3
    ground = torch.linspace(-1, 1, 100).clamp_min(0).expand(100, 100)
    drawn = plane(ground, [seen.places[~(old | new)], seen.places[old], seen.places[new]], 1.0)
    assert np.array_equal(drawn, np.asarray(Image.open(record.folder / "map.png").convert("RGB")))
    found = balanced_accuracy(seen.scores > 0, old)
    assert found == pytest.approx(record.metrics["test/probe-all"], abs=1e-6)
    wrong = seen.odds.argmax(1) != seen.y
    assert wrong[~(old | new)].double().mean().item() == pytest.approx(record.metrics["test/error-retained"])
    assert (~wrong)[old].double().mean().item() == pytest.approx(record.metrics["test/named"])
    assert torch.allclose(seen.odds.sum(1), torch.ones(len(seen.y)))


def test_sixes_come_first_then_threes(root):
    y = unlearning.answers(records(root)["dropped"].folder).y.tolist()
    sixes, threes = y.count(6), y.count(3)
    assert y[: sixes + threes] == [6] * sixes + [3] * threes
    assert {6, 3}.isdisjoint(y[sixes + threes :])


def test_what_is_drawn_says_what_was_computed(root):
    family = records(root)
    seen = unlearning.answers(family["dropped"].folder)
    shown = unlearning.draw_map(seen, 2)
    assert shown.count("data-n=") == len(seen.y)
    assert f"Of {int((seen.y == 6).sum())} test digits that are a 6 the network names 0." in shown
    x, y = (1 + seen.places[2, 0]) / 2 * 500, (1 - seen.places[2, 1]) / 2 * 500
    assert f'cx="{x:.1f}" cy="{y:.1f}" r="12"' in shown
    assert "a 6" in unlearning.draw_digit(seen, 0)
    assert f"{100 * seen.odds[0, 4].item():.1f} %" in unlearning.draw_digit(seen, 0)
    table = unlearning.draw_table(family, 0)
    assert table.index("retrained") < table.index("dropped")
    assert table.count("<tr>") == 1 + len(family)


def test_networks_that_come_along_show_what_unlearning_leaves(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_MIRROR", "")
    family = records(tmp_path, networks.ALONG)
    assert tuple(sorted(family)) == tuple(sorted(unlearning.VARIANTS))
    named, found = {}, {}
    for name, record in family.items():
        assert networks.is_shipped(record)
        seen = unlearning.answers(record.folder)
        old = seen.y == 6
        named[name] = (seen.odds.argmax(1) == 6)[old].double().mean().item()
        found[name] = balanced_accuracy(seen.scores > 0, old)
        assert found[name] == pytest.approx(record.metrics["test/probe-all"], abs=0.03)  # kept in half precision
    assert named.pop("original") > 0.9
    assert max(named.values()) == 0
    assert found["dropped"] > found["retrained"]


def test_a_page_without_networks_offers_to_train_them(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "TRAINED", tmp_path / "none")
    assert unlearning.families(tmp_path) == {}
    assert unlearning.first_family({}) is None


def test_a_network_is_chosen_and_a_digit_is_touched(browser, server):
    for watched in watch(browser, server, 1280):
        page = watched.open("unlearning")
        page.get_by_text(networks.ALONG).first.wait_for()
        page.get_by_text("What the network answers").wait_for()
        page.get_by_label("dropped", exact=True).check()
        page.get_by_text("the network names 0.").first.wait_for()
        number = page.get_by_label("number input for Test digit")
        point = page.locator("[data-n='50']")
        point.scroll_into_view_if_needed()
        box = point.bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_function("document.querySelector('.strip figcaption').innerText === 'a 3'")
        touched = int(number.input_value())
        assert touched > 0
        number.fill("1")
        page.keyboard.press("Tab")
        page.wait_for_function("document.querySelector('.strip figcaption').innerText === 'a 6'")
        page.get_by_label("range slider for Test digit").press("ArrowRight")
        page.wait_for_function("document.querySelector('input[type=number]').value === '2'")
        assert page.locator("table.plain tbody tr").count() == len(unlearning.VARIANTS)
