from collections import Counter

import numpy
import pytest
import torch

from etudes.core.errors import Problem
from etudes.measure.ranking import auroc
from etudes.nn.recurrent import Recurrent
from etudes.studies.language.char_lstm.cells import (
    activations,
    best,
    causes,
    detectors,
    features,
    heat_map,
    middle,
    saturation,
    spans,
)


def marked(text, name, middle=3):
    """The characters of the text after which the feature holds."""
    return "".join(c for c, holds in zip(text, features(text, middle)[name], strict=True) if holds)


def test_features_hold_where_they_should():
    assert marked("ab\nabcd\n\nabc", "late-in-line") == "cdc"
    assert marked("KING:\nno\n\nROMEO:\nyes", "first-line") == "KING:\nROMEO:"
    assert marked('say "yes" or “no” x', "in-quotes") == '"yes“no'
    assert marked("f(a[1], {b}) + c", "in-brackets") == "(a[1], {b}"
    assert marked('")" stray "\n\nnot', "in-quotes") == '")"\n'
    assert marked("(a\nb\n\nc) d", "in-brackets") == "(a\nb\n"


def test_auroc_is_the_share_of_pairs_in_order():
    rng = numpy.random.default_rng(0)
    values, holds = rng.integers(5, size=(40, 6)).astype(float), rng.random(40) < 0.3
    high, low = values[holds], values[~holds]
    pairs = (high[:, None] > low[None]) + 0.5 * (high[:, None] == low[None])
    assert auroc(values, holds) == pytest.approx(pairs.mean((0, 1)))


def test_auroc_agrees_with_a_peer_with_ties():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = numpy.random.default_rng(1)
    values, holds = rng.integers(4, size=(200, 3)).astype(float), rng.random(200) < 0.4
    peer = [metrics.roc_auc_score(holds, values[:, cell]) for cell in range(3)]
    assert auroc(values, holds) == pytest.approx(peer)


def test_auroc_needs_both_kinds_of_places():
    with pytest.raises(Problem, match="take more"):
        auroc(numpy.zeros((3, 1)), numpy.ones(3, bool))


def test_half_of_the_characters_are_early_in_their_line():
    text = "ab\nabcdef\n\nabcd"
    places = [i for line in text.split("\n") for i, _ in enumerate(line, start=1)]
    assert middle(text) == int(numpy.median(places)) == 2
    assert middle("") == 0


class Letters:
    """A tokenizer with a token for every character, and three for é."""

    def encode(self, text):
        return [token for c in text for token in ([200, 201, 202] if c == "é" else [ord(c)])]


def test_spans_are_where_the_tokens_of_a_character_begin_and_end():
    assert spans(Letters(), "aéb").tolist() == [0, 1, 4, 5]
    assert spans(Letters(), "").tolist() == [0]


def test_what_is_watched_is_what_the_network_does_after_each_character(monkeypatch):
    monkeypatch.setattr("etudes.studies.language.char_lstm.cells.WARM", 2)
    torch.manual_seed(0)
    model = Recurrent("lstm", 256, 3, 2)
    text = "abcdéfgh" * 4  # of 40 tokens, in eight rows of five
    seen = activations(model, Letters(), text)
    tokens = torch.tensor(Letters().encode(text)).view(8, 5)
    layers = model.watch(tokens, model.start(8))
    last = numpy.cumsum([3 if c == "é" else 1 for c in text]) - 1
    assert seen["at"].tolist() == [i for i in range(32) if last[i] % 5 >= 2]
    assert set(seen) == {"at", "units", "input", "forget", "output"}
    for name, part in (("units", "cell"), ("forget", "forget")):
        both = torch.cat([layer[part] for layer in layers], -1).flatten(0, 1).detach()
        assert numpy.array_equal(seen[name], both[last[seen["at"]]].numpy())


def test_a_cell_is_chosen_on_validation_text_and_measured_on_test_text():
    rng = numpy.random.default_rng(0)
    texts = {split: "".join(rng.choice(list("ab()"), size=400)) for split in ("validation", "test")}
    inside = {split: features(text, 3)["in-brackets"].astype(float) for split, text in texts.items()}
    seen = {}
    for split, at in (("validation", numpy.arange(400)), ("test", numpy.arange(50, 350))):
        units = rng.normal(size=(len(at), 3))
        units[:, 1] = -inside[split][at] if split == "validation" else 0.3 * units[:, 1] - inside[split][at]
        units[:, 2] = inside[split][at] if split == "test" else 0
        seen[split] = {"at": at, "units": units}
    found = detectors(texts, seen, 3)
    assert set(found) == {"in-brackets"}  # one line, all of it a first one, with no quotation mark
    cell, sign, area = found["in-brackets"]
    assert (cell, sign) == (1, -1)  # though cell 2 is the best in the test text
    expected = auroc(-seen["test"]["units"][:, [1]], inside["test"][50:350].astype(bool))
    assert area == pytest.approx(expected[0])
    assert 0.9 < area < 1


def test_the_place_in_a_line_is_asked_of_lines_that_are_not_the_first():
    text = "ab\nabcdef\nabcdef\n\n" * 50
    late = features(text, 4)["late-in-line"]
    first = features(text, 4)["first-line"]
    units = numpy.stack([~first, late ^ first], 1).astype(float)  # knows names; knows places, but not in first lines
    same = {"at": numpy.arange(len(text)), "units": units}
    both = {"validation": text, "test": text}
    assert detectors(both, {"validation": same, "test": same}, 4)["late-in-line"] == (1, 1, 1.0)


def test_the_best_cell_may_detect_by_low_values():
    assert best(numpy.array([0.5, 0.7, 0.9])) == (2, 1)
    assert best(numpy.array([0.6, 0.05, 0.9])) == (1, -1)


def test_saturation_is_the_share_of_time_near_the_ends():
    gate = numpy.array([[0.05, 0.5], [0.95, 0.92], [0.09, 0.1], [0.91, 0.9]])
    shut, opened = saturation(gate)
    assert shut.tolist() == [0.5, 0]
    assert opened.tolist() == [0.5, 0.25]


def test_every_miss_has_the_first_cause_that_holds():
    text = "the sea, the ark zebra ab!"
    known = Counter(the=100, sea=100, ark=100, ab=100)
    missed = numpy.ones(len(text), bool)
    missed[[3, 4, 5, 6, 8, 12, 16, 22]] = False  # the spaces and "sea"
    foreseen = numpy.zeros(len(text), bool)
    foreseen[1] = foreseen[7] = True  # the first h; the comma
    found = causes(text, missed, foreseen, known)
    count = missed.sum()
    assert found == {
        "n-gram": 2 / count,
        "recent-word": 3 / count,  # the second "the"
        "rare-word": 5 / count,  # zebra
        "word-start": 3 / count,  # the first t, the a of ark and of ab
        "punctuation": 1 / count,  # !
        "rest": 4 / count,  # the first e, rk, b
    }
    assert count == 18
    assert set(causes(text, numpy.zeros_like(missed), foreseen, known).values()) == {0.0}


def test_a_word_is_recent_for_a_thousand_characters():
    for gap, share in ((900, 1.0), (1100, 0.0)):
        text = "ark" + "." * gap + "ark"
        missed = numpy.zeros(len(text), bool)
        missed[-3:] = True
        assert causes(text, missed, numpy.zeros_like(missed), Counter())["recent-word"] == share


def test_a_heat_map_has_the_colours_of_the_values(tmp_path):
    from PIL import Image

    heat_map(tmp_path / "a.png", "ab\nc  é", numpy.array([1.0, -1, 0.5, 0, 0.0, -0.5, 9.0]), columns=3)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (27, 48)
        corner = lambda column, row: picture.convert("RGB").getpixel((9 * column, 16 * row))  # noqa: E731
        assert corner(0, 0) == corner(0, 2) == (95, 95, 255)  # the last value is clipped
        assert corner(1, 0) == (255, 95, 95)
        assert corner(2, 0) == (175, 175, 255)
        assert corner(0, 1) == corner(1, 2) == (255, 255, 255)
        assert corner(2, 1) == (255, 175, 175)


def test_a_heat_map_of_a_page_is_small_and_the_same_each_time(tmp_path):
    rng = numpy.random.default_rng(0)
    text = "".join(rng.choice(list("abcdefgh,. \n"), size=2000))
    for name in ("a.png", "b.png"):
        heat_map(tmp_path / name, text, numpy.sin(numpy.arange(2000) / 7))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").stat().st_size < 150_000
