"""The demo of names: its functions, and its page in a browser."""

import re

import pytest
import torch

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.studies.language.names.reader import letter_by_letter
from etudes.web.demos import names as demo
from etudes.web.demos import networks, ship
from watching import watch

ALONG = f"names · gru · {networks.ALONG}"


@pytest.fixture(scope="module")
def record(root):
    return demo.readers(root)["names · gru · smoke"]


@pytest.fixture(scope="module")
def shipped():
    return demo.readers(ship.TRAINED / "none")[ALONG]


def test_networks_that_write_names_are_not_asked(root):
    assert "names · writer · smoke" in networks.find_records(catalogue.find("names"), root)
    assert set(demo.readers(root)) == {"names · gru · smoke", ALONG}


def cells(html: str) -> list[list[int]]:
    body = html.split('<table class="heat">')[1].split("</table>")[0].split("<tbody>")[1]
    return [[int(n) for n in re.findall(r">(\d+)</td>", row)] for row in body.split("</tr>")[:-1]]


def test_the_table_holds_the_odds_of_the_study(shipped):
    model = demo.network(shipped)
    odds = letter_by_letter(model, "Martinez")
    html = demo.read(shipped, "Martinez")
    rows = cells(html)
    assert len(rows) == demo.SHOWN + 1
    assert all(len(row) == len("martinez") for row in rows)
    assert rows[0][-1] == round(100 * odds[-1].max().item())
    assert [row[-1] for row in rows[:-1]] == sorted((row[-1] for row in rows[:-1]), reverse=True)
    assert all(abs(sum(column) - 100) <= len(rows) / 2 for column in zip(*rows, strict=True))
    assert f"It says {model.languages[int(odds[-1].argmax())]}, with odds of {odds[-1].max():.0%}" in html
    assert html.count("<tr><td>") == len("martinez")  # of the table in words


def test_a_change_of_mind_is_told_where_it_happens(shipped):
    assert demo.turns(["a", "a", "b", "a", "a"]) == [2, 3]
    assert demo.turns(["a"]) == []
    model = demo.network(shipped)
    odds = torch.full((3, len(model.languages)), 0.01)
    odds[0, 1] = odds[1, 1] = odds[2, 2] = 0.8
    told = demo._answer(model, "abc", odds, 0.23)
    assert f"It says {model.languages[2]}, with odds of 80%" in told
    assert "It has said so since “abc”, and changed its mind once on the way." in told
    assert "since the first letter, and changed its mind never" in demo._answer(model, "ab", odds[:2], 0.23)
    assert "about 2.3 a language that they do not have" in told


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "there is no name yet; type one"),
        ("  \n ", "there is no name yet"),
        ("a" * 10_000, "10,000 characters; give at most 40"),
        ("12345", "knows no letter of this name"),
        ("--'", "knows no letter of this name"),
        ("🎉🎉", "knows no letter of this name"),
        ("Петров", "knows no letter of this name"),
    ],
)
def test_what_is_no_name_is_one_sentence(record, shipped, name, words):
    for one in (record, shipped):
        with pytest.raises(Problem, match=re.escape(words)):
            demo.read(one, name)


def test_signs_that_it_never_met_are_told_and_shown_as_text(shipped):
    html = demo.read(shipped, "<b>4 Müller")
    assert "It has never met" in html
    assert "<b>" not in html
    assert 'scope="col">␣</th>' in html


@pytest.mark.parametrize(
    ("name", "language"),
    [("Nakamura", "Japanese"), ("Papadopoulos", "Greek"), ("Kowalczyk", "Polish"), ("Ivanov", "Russian")],
)
def test_what_comes_along_knows_names(shipped, name, language):
    assert f"It says {language}, with odds of" in demo.read(shipped, name)


def test_the_first_name_changes_the_networks_mind(shipped):
    assert re.search(r"changed its mind [2-9] times", demo.read(shipped, demo.FIRST))


def test_a_name_is_read_as_it_is_typed(browser, server):
    for watched in watch(browser, server, 390):
        page = watched.open("names")
        page.get_by_text("It says").wait_for()  # a name is read before anybody asks
        page.get_by_label("Network", exact=True).first.click()
        page.get_by_role("option", name=networks.ALONG).click()
        page.get_by_text(f"it {networks.ALONG}").wait_for()
        field = page.get_by_label("Surname")
        field.fill("Nakamura")
        page.get_by_text("It says Japanese").wait_for()
        assert page.locator("table.heat thead th").all_inner_texts() == list("nakamura")
        field.press("Tab")  # to the table, which may be scrolled
        assert page.evaluate("document.activeElement.ariaLabel").startswith("Odds in hundredths")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        page.get_by_text("After each letter, in words").click()
        assert "Japanese" in page.locator("details table.plain tbody tr").last.inner_text()
        field.fill("")
        page.get_by_text("there is no name yet; type one.").wait_for()
        assert page.locator(".toast-body").count() == 0


def test_without_a_network_it_offers_to_train_one(browser, empty):
    for watched in watch(browser, empty, 1280):
        page = watched.open("names")
        page.get_by_role("button", name="Train", exact=True).wait_for()
        page.get_by_text("No network is trained yet").wait_for()
