"""The demo that fills gaps in French sentences: its functions, and its page in a browser."""

import re

import pytest

from etudes.core.errors import Problem
from etudes.studies.language.roberta_fr.cloze import complete
from etudes.web.demos import roberta_fr as demo
from etudes.web.demos import ship
from watching import LONG, watch


@pytest.fixture(scope="module")
def record(root):
    (found,) = (r for name, r in demo.readers(root).items() if name.endswith("smoke"))
    return found


@pytest.fixture(scope="module")
def shipped():
    return next(iter(demo.readers(ship.TRAINED / "none").values()))


def test_the_odds_are_those_of_the_study(shipped):
    for sentence in demo.EXAMPLES:
        (best,) = complete(*demo.network(shipped), sentence, demo.BEST)
        html = demo.fill(shipped, sentence)
        shares = [float(share) / 100 for share in re.findall(r'class="n">([\d.]+) %', html)]
        assert shares == pytest.approx([odds for _, odds in best], abs=6e-4)
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) < 1


def test_what_comes_along_has_learnt_some_french(shipped):
    (best,) = complete(*demo.network(shipped), "Il ne <mask> rien.", 50)
    (anywhere,) = complete(*demo.network(shipped), "<mask>", 50)
    assert best != anywhere, "what stands around a gap counts"
    assert "Il est" in re.sub(r"</?mark>", "", demo.fill(shipped, "Il est ... seul.")), "the space is kept"


@pytest.mark.parametrize("gap", ["<mask>", "...", "…", "____", "<masque>"])
def test_a_gap_may_be_written_in_several_ways(gap):
    assert demo.sentence_of(f"Il ouvrit la {gap} et sortit.") == "Il ouvrit la <mask> et sortit."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no gap yet"),
        ("Il ouvrit la porte.", "there is no gap yet; write <mask> or"),
        ("... " * 4, "has 4 gaps; leave at most 3"),
        ("a" * 10_000, "10,000 characters; give at"),
        ("mot " * 45 + "...", "tokens, and the network reads"),
    ],
)
def test_what_cannot_be_filled_is_one_sentence(shipped, text, words):
    with pytest.raises(Problem, match=words):
        demo.fill(shipped, text)


def test_what_is_typed_is_text(record):
    html = demo.fill(record, "<b>Il</b> ... & ...")
    assert "<b>" not in html
    assert "&lt;b&gt;Il" in html
    assert "gap 2 of 2" in html


def test_a_gap_is_filled_in_a_browser(browser, server):
    for watched in watch(browser, server, 390):
        page = watched.open("roberta-fr")
        page.get_by_text("With the likeliest pieces").wait_for()  # one is filled before anybody asks
        page.get_by_label("French sentence with a gap").fill("Elle ... dans la <mask>.")
        page.get_by_role("button", name="Fill", exact=True).click()
        page.get_by_text("gap 2 of 2").wait_for(timeout=LONG)
        assert page.locator(".answer mark").count() == 2
        page.get_by_label("French sentence with a gap").fill("Elle est dans la rue.")
        page.get_by_label("French sentence with a gap").press("Enter")
        page.locator(".toast-body").get_by_text("there is no gap yet").wait_for()
        assert page.locator(".answer mark").count() == 2, "what is shown stays"


def test_without_a_network_it_offers_to_train_one(browser, empty):
    for watched in watch(browser, empty, 1280):
        page = watched.open("roberta-fr")
        page.get_by_role("button", name="Train", exact=True).wait_for()
        page.get_by_text("No network is trained yet").wait_for()
