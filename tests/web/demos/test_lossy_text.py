"""The demo that compresses a sentence: its functions, and its page in a browser."""

import re
import shutil

import numpy as np
import pytest
import torch

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.record import read
from etudes.studies.language.lossy_text.codes import pack
from etudes.studies.language.lossy_text.training import pass_through
from etudes.web.demos import compressor, networks, ship
from etudes.web.demos import lossy_text as demo
from watching import LONG, watch

ALONG = f"lossy-text · float · {networks.ALONG}"


@pytest.fixture(scope="module")
def record(root):
    return demo.inverters(root)["lossy-text · float · smoke"]


@pytest.fixture(scope="module")
def shipped():
    return demo.inverters(ship.TRAINED / "none")[ALONG]


def test_what_comes_along_needs_no_embedder_for_its_examples(shipped, monkeypatch):
    monkeypatch.setattr(demo, "embedder", lambda name: pytest.fail("it would be fetched"))
    for sentence in compressor.EXAMPLES:
        found = demo.rows(shipped, sentence)
        assert [size for _, size, _ in found[demo.LOSSLESS :]] == [1536, 384, 192, 96, 48, 48, 12]
        assert found[0][1] == len(sentence)
        assert found[1][1] <= len(sentence) + 9  # zstd's own frame
        assert len({back for *_, back in found[demo.LOSSLESS :]}) > 1, "coarser codes lose something else"
        assert found[2][1] < len(sentence) / 2, "a network packs better than either"
    first = demo.rows(shipped, compressor.EXAMPLES[0])
    assert set(first[demo.LOSSLESS][2].lower().split()) & set(compressor.EXAMPLES[0].lower().split()), "words come back"


def test_codes_are_those_of_the_study(record):
    kit = demo.compressor(record)
    variants = {variant.name: variant.changes for variant in catalogue.find("lossy-text").variants}
    assert list(kit.codecs) == list(demo.NAMES)
    x = np.random.default_rng(0).normal(size=(3, len(kit.codecs["bits-8"].mean))).astype(np.float32)
    for name, codec in kit.codecs.items():
        assert (codec.kind, codec.bits) == (variants[name]["quantiser"], variants[name]["bits"])
        one, three = (len(pack(codec, rows)) for rows in (x[:1], x))
        assert three - one == 2 * codec.code_bytes, "the bytes told are those that a further sentence takes"


def test_a_packed_compressor_works_as_before(record, tmp_path):
    before = demo.compressor(record)
    folder = shutil.copytree(record.folder, tmp_path / "packed")
    compressor.write_compressor(before, "hashing", folder)
    after = compressor.compressor(read(folder))
    assert set(after.known) == set(compressor.EXAMPLES)
    assert after.lines == before.lines
    x = next(iter(after.known.values()))[None]
    for name in before.codecs:
        ours, theirs = (pass_through(kit.codecs[name], x) for kit in (before, after))
        assert np.array_equal(ours, theirs)
    for ours, theirs in ((before.inverter, after.inverter), (before.language_model, after.language_model)):
        assert torch.allclose(ours.bias, theirs.bias)
        assert torch.allclose(ours.embedding.weight, theirs.embedding.weight, atol=1e-3)
    assert before.tokenizer.encode("see the house") == after.tokenizer.encode("see the house")


@pytest.mark.parametrize(
    ("text", "back", "html"),
    [
        ("A cat.", "a cat .", "a cat."),
        ("a cat!", "a dog?", "a <del>cat!</del> <ins>dog?</ins>"),
        ("a red cat", "a cat", "a <del>red</del> cat"),
        ("a cat", "a <b>red cat", "a <ins>&lt; b &gt; red</ins> cat"),
        ("one", "two", "<del>one</del> <ins>two</ins>"),
        ("one", "", "<del>one</del>"),
    ],
)
def test_the_difference_is_of_words_and_is_text(text, back, html):
    assert demo.difference(text, back) == html


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "there is no sentence yet"), (" \n", "there is no sentence"), ("a" * 10_000, "10,000 characters; give at")],
)
def test_what_is_no_sentence_is_one_sentence(record, text, words):
    with pytest.raises(Problem, match=words):
        demo.read(record, text)


def test_a_sentence_is_compressed_in_a_browser(browser, server):
    for watched in watch(browser, server, 390):
        page = watched.open("lossy-text")
        page.get_by_label("Network", exact=True).first.click()
        page.get_by_role("option", name="smoke").click()
        page.get_by_text("scale smoke").wait_for()
        page.get_by_label("English sentence").fill("I see the <i>house</i>.")
        page.get_by_role("button", name="Compress").click()
        page.get_by_text(re.compile("The sentence has 23 bytes; without loss zstd")).wait_for(timeout=LONG)
        assert page.locator("table.sent tbody tr").count() == 10
        page.get_by_label("English sentence").fill("")
        page.get_by_label("English sentence").press("Enter")
        page.locator(".toast-body").get_by_text("there is no sentence yet").wait_for()
        assert page.locator("table.sent tbody tr").count() == 10, "what is shown stays"


def test_without_a_network_it_offers_to_train_one(browser, empty):
    for watched in watch(browser, empty, 1280):
        page = watched.open("lossy-text")
        page.get_by_role("button", name="Train", exact=True).wait_for()
        page.get_by_text("No network is trained yet").wait_for()
