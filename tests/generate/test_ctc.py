import itertools
import math

import pytest
import torch
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.generate.ctc import beam, collapse, frames_needed, greedy


def all_texts(logits):
    """{text: probability} by all paths."""
    odds = logits.softmax(-1)
    found = {}
    for path in itertools.product(range(odds.shape[1]), repeat=len(odds)):
        text = tuple(collapse(path))
        found[text] = found.get(text, 0.0) + math.prod(odds[t, c].item() for t, c in enumerate(path))
    return found


def test_neighbours_are_joined_before_blanks_are_left_out():
    assert collapse([1, 1, 0, 1, 2, 2]) == [1, 1, 2]
    assert collapse([0, 0]) == []


def test_greedy_reads_the_likeliest_path_of_the_frames_that_count():
    logits = torch.full((1, 4, 3), -5.0)
    for t, c in enumerate([1, 0, 1, 2]):
        logits[0, t, c] = 5.0
    assert greedy(logits, torch.tensor([4])) == [[1, 1, 2]]
    assert greedy(logits, torch.tensor([3])) == [[1, 1]]


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_is_exact(seed):
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
    texts = all_texts(logits)
    assert sum(texts.values()) == pytest.approx(1)
    assert tuple(beam(logits, 1000)) == max(texts, key=texts.get)


def test_the_probability_of_a_text_is_pytorchs_loss():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).double()
    for text, probability in all_texts(logits).items():
        if text:
            loss = functional.ctc_loss(
                logits.log_softmax(-1)[:, None], torch.tensor([text]), [5], [len(text)], reduction="sum"
            )
            assert loss.item() == pytest.approx(-math.log(probability))


def test_a_path_can_be_likelier_than_a_text():
    logits = torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log()  # blanks: .36; "a" by three paths: .64
    assert greedy(logits[None], torch.tensor([2])) == [[]]
    assert beam(logits, 10) == [1]


def test_a_language_model_decides_where_the_frames_do_not():
    logits = torch.tensor([[0.1, 0.46, 0.44]]).log()
    assert beam(logits, 10) == [1]
    assert beam(logits, 10, lambda prefix, c: math.log(0.9 if c == 2 else 0.1)) == [2]
    for seed in range(4):
        frames = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed))
        scores = {}
        for text, probability in all_texts(frames).items():
            told = sum(math.log(0.7 if c == 2 else 0.3) for c in text)
            scores[text] = math.log(probability) + 0.5 * told + 0.2 * len(text)
        extend = lambda prefix, c: math.log(0.7 if c == 2 else 0.3)  # noqa: E731
        assert tuple(beam(frames, 1000, extend, weight=0.5, bonus=0.2)) == max(scores, key=scores.get)


def test_agrees_with_a_peer():
    decoder = pytest.importorskip("pyctcdecode")
    letters = ["", "a", "b", "c"]
    build = decoder.build_ctcdecoder(letters)
    for seed in range(5):
        logits = 3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))
        theirs = build.decode(logits.log_softmax(-1).numpy(), beam_width=100, token_min_logp=-100, beam_prune_logp=-100)
        assert "".join(letters[c] for c in beam(logits, 100)) == theirs


def test_repeats_need_a_frame_more():
    assert frames_needed([3, 3, 3, 1]) == 6
    assert frames_needed([]) == 0


def test_no_beam_is_refused():
    with pytest.raises(Problem, match="1 or more"):
        beam(torch.zeros(2, 3), 0)
