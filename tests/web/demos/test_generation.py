import pytest
import torch

from etudes import api
from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.generate import sampling
from etudes.web.demos import generation, networks
from etudes.web.demos.generation import Piece, Setting, pieces, side_by_side, write_html


@pytest.fixture(scope="module")
def record(root):
    return next(iter(networks.find_records(catalogue.find("char-lstm"), root).values()))


@pytest.mark.parametrize(
    ("setting", "how"),
    [
        (Setting("temperature", temperature=0.7), {"temperature": 0.7}),
        (Setting("top k", k=3), {"top_k": 3}),
        (Setting("nucleus", p=0.6), {"top_p": 0.6}),
        (Setting("greedy"), {"temperature": 0}),
        (Setting("beam search", width=3), {"beam": 3}),
    ],
    ids=lambda value: value.way if isinstance(value, Setting) else "",
)
def test_the_text_is_that_of_the_command(record, setting, how):
    found = list(pieces(*generation.restore(record), "def ", 12, setting, seed=5))
    text = "".join(api.write("char-lstm", "def ", 12, seed=5, record=record, **how))
    assert "".join(piece.text for piece in found) == text.rstrip("\N{REPLACEMENT CHARACTER}")


def test_the_odds_are_those_of_one_pass_over_the_whole_text(record):
    model, tokenizer = generation.restore(record)
    found = list(pieces(model, tokenizer, "def ", 12, Setting("greedy"), 0))
    start = torch.tensor([[tokenizer.start, *tokenizer.encode("def ")]])
    after = sampling.generate(model, start, 12, sampling.choice(0))[0]
    whole = torch.cat([start[0], after])[None]
    with torch.inference_mode():
        odds = model.next(whole, model.start(1))[0][0].float().softmax(-1)
    expected, together = [], 1.0
    for i, token in enumerate(after.tolist()):  # the odds of bytes that make one character are multiplied
        together *= odds[start.shape[1] - 1 + i, token].item()
        if not tokenizer.decode(after[: i + 1].tolist()).endswith(generation.UNREADABLE):
            expected.append(together)
            together = 1.0
    assert [piece.probability for piece in found] == pytest.approx(expected, rel=1e-3)
    assert all(piece.rank == 1 for piece in found)
    assert all(len(piece.others) == 5 for piece in found)


def test_two_settings_are_written_side_by_side(record):
    *_, (left, right) = side_by_side(record, "x", 15, [Setting("greedy"), Setting("greedy")], 0)
    assert left == right
    assert "All pieces as a table" in left


def test_a_beginning_is_in_the_language_of_what_the_network_has_read():
    from etudes.data.commands import table

    known = {row["name"] for row in table()}
    assert set(generation.BEGINNINGS) <= known
    defaults = {str(catalogue.find(name).config().dataset) for name in generation.STUDIES}
    assert defaults <= set(generation.BEGINNINGS)


def test_texts_stay_texts():
    html = write_html("<script>", [Piece('<b>"', 0.5, 2, (("<i>'", 0.25),))])
    assert "<script>" not in html
    assert "<b>" not in html
    assert "<i>" not in html
    assert "50.00 %" in html
    assert "25.0 %" in html


@pytest.mark.parametrize(
    ("setting", "length", "words"),
    [
        (Setting("aloud"), 5, "no way of writing called 'aloud'"),
        (Setting("temperature", temperature=-1), 5, "temperature cannot be -1"),
        (Setting("nucleus", p=2), 5, "cannot be 2"),
        (Setting("beam search", width=99), 5, "1 to 16 beginnings"),
        (Setting("greedy"), 4000, "1 to 400 pieces"),
    ],
)
def test_impossible_settings_are_told(record, setting, length, words):
    with pytest.raises(Problem, match=words):
        list(side_by_side(record, "x", length, [setting], 0))
