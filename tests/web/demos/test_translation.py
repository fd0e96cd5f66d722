"""The demo of translations: its functions, and its page in a browser."""

import re

import pytest
import torch

from etudes.core.errors import Problem
from etudes.studies.language.translation.decoding import attention_of
from etudes.web.demos import networks, ship
from etudes.web.demos import translation as demo
from watching import LONG, watch

ALONG = f"translation · luong · {networks.ALONG}"


@pytest.fixture(scope="module")
def record(root):
    return demo.attention_networks(root)["translation · luong · smoke"]


@pytest.fixture(scope="module")
def shipped():
    return demo.attention_networks(ship.TRAINED / "none")[ALONG]


def test_each_network_is_compared_with_its_own_without_attention(root, record, shipped):
    assert set(demo.attention_networks(root)) == {"translation · luong · smoke", ALONG}
    for one in (record, shipped):
        other = demo.plain_network(root, one)
        assert other.spec.variant == "none"
        assert networks.origin(other) == networks.origin(one)
        assert other.spec.seed == one.spec.seed


class Bytes:
    """A tokenizer whose tokens are bytes."""

    def decode(self, tokens):
        return bytes(tokens).decode(errors="replace")


def test_tokens_of_one_letter_are_one_piece():
    tokens = list("né".encode())
    assert demo.whole_pieces(Bytes(), tokens) == (["n", "é"], [slice(0, 1), slice(1, 3)])
    texts, places = demo.whole_pieces(Bytes(), tokens[:-1])  # half a letter at the end
    assert (len(texts), places[-1]) == (2, slice(1, 2))
    assert demo.whole_pieces(Bytes(), []) == ([], [])


def test_the_weights_are_those_of_the_study(shipped):
    model, tokenizer = demo.network(shipped)
    french, across, down, weights = demo.pieces_of_attention(model, tokenizer, demo.FIRST)
    assert "".join(across).strip() == demo.FIRST
    assert "".join(down[:-1]).strip() == french
    assert torch.allclose(weights.sum(1), torch.ones(len(down)), atol=1e-4)
    theirs, written = attention_of(model, tokenizer.encode(f" {demo.FIRST}"), tokenizer.start)
    if len(down) == len(written) + 1 and len(across) == theirs.shape[1]:
        assert torch.allclose(weights, theirs)
    odd = demo.pieces_of_attention(model, tokenizer, "né 🎉")  # letters of several tokens
    assert torch.allclose(odd[3].sum(1), torch.ones(len(odd[2])), atol=1e-4)
    assert "".join(odd[1]).strip() == "né 🎉"


def test_what_comes_along_translates(shipped, tmp_path):
    other = demo.plain_network(tmp_path, shipped)
    html = demo.read(shipped, other, demo.FIRST)
    lines = re.findall(r'lang="fr">(.*?)</p>', html)
    assert lines == ["Il est toujours en retard.", "Il est très en retard."]
    assert "It has met every word of the sentence" in html
    assert html.count("<tr><th") - 1 == html.count("<tr><td>")  # the table in words has a row for each piece


def test_words_that_it_never_met_are_told_as_text(shipped, record, root):
    html = demo.read(shipped, None, "He is <i>zyxing</i> zyxing.")
    assert "It has never met: " in html
    assert html.count("zyxing") >= 1
    assert "<i>" not in html
    assert "Without attention" not in html
    known = ship.english_words(record)  # of a run of one's own, by the sentences that it learnt from
    assert {"see", "house", "."} <= known
    assert "It has never met: giraffe." in demo.read(record, demo.plain_network(root, record), "I see the giraffe.")


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "there is no sentence yet"), (" \n", "there is no sentence"), ("a" * 10_000, "10,000 characters; give at")],
)
def test_what_is_no_sentence_is_one_sentence(record, text, words):
    with pytest.raises(Problem, match=words):
        demo.read(record, None, text)


def test_whoever_wrote_the_sentences_is_named():
    words = (ship.TRAINED / "tatoeba-CREDIT.txt").read_text(encoding="utf-8")
    for told in (words, demo.CREDIT):
        assert "https://tatoeba.org" in told
        assert "https://creativecommons.org/licenses/by/2.0/fr/" in told
        assert "CC BY 2.0 FR" in told


def test_a_sentence_is_translated_in_a_browser(browser, server):
    for watched in watch(browser, server, 390):
        page = watched.open("translation")
        page.get_by_text("With attention", exact=True).wait_for()  # one is translated before anybody asks
        page.get_by_label("Network", exact=True).first.click()
        page.get_by_role("option", name=networks.ALONG).click()
        page.get_by_text(f"it {networks.ALONG}").wait_for()
        page.get_by_label("English sentence").fill("He is zyxing.")
        page.get_by_role("button", name="Translate").click()
        page.get_by_text("It has never met: zyxing.").wait_for(timeout=LONG)
        assert page.locator(".answer").count() == 2
        page.get_by_role("region", name=re.compile("Attention in hundredths")).wait_for()
        page.get_by_text("Where it looked most, in words").click()
        assert "(end)" in page.locator("details table.plain tbody tr").last.inner_text()
        page.get_by_label("English sentence").fill("")
        page.get_by_label("English sentence").press("Enter")
        page.locator(".toast-body").get_by_text("there is no sentence yet").wait_for()
        assert page.locator(".answer").count() == 2, "what is shown stays"


def test_without_a_network_it_offers_to_train_some(browser, empty):
    for watched in watch(browser, empty, 1280):
        page = watched.open("translation")
        page.get_by_role("button", name="Train", exact=True).wait_for()
        page.get_by_text("No network is trained yet").wait_for()
