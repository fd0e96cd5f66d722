import numpy as np
import pytest

from etudes.core.errors import Problem
from etudes.data.spans import corrupt, drop, restore, span_mask


def loop(tokens, mask, first, end):
    """What corrupt does, token by token."""
    text, answer, span = [], [], first - 1
    for i, token in enumerate(tokens):
        if not mask[i]:
            text.append(token)
            continue
        if i == 0 or not mask[i - 1]:
            span += 1
            text.append(span)
            answer.append(span)
        answer.append(token)
    return [*text, end], [*answer, end]


@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_a_loop_makes(seed):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(2, 90, 40).tolist()
    mask = rng.random(40) < 0.4
    assert corrupt(tokens, mask, 100, 1) == loop(tokens, mask, 100, 1)


def test_the_example_of_the_paper():
    words = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week", "."]
    mask = np.array([word in ("for", "inviting", "last") for word in words])
    text, answer = corrupt(range(len(words)), mask, 100, 99)
    spelt = {**dict(enumerate(words)), 99: "<end>", 100: "<X>", 101: "<Y>"}
    assert " ".join(spelt[i] for i in text) == "Thank you <X> me to your party <Y> week . <end>"
    assert " ".join(spelt[i] for i in answer) == "<X> for inviting <Y> last <end>"


def test_without_marks_what_is_left_and_what_is_missing_are_the_tokens_in_order():
    words = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week", "."]
    mask = np.array([word in ("for", "inviting", "last") for word in words])
    text, answer = drop(range(len(words)), mask, 100, 99)
    spelt = {**dict(enumerate(words)), 99: "<end>", 100: "<gap>"}
    assert " ".join(spelt[i] for i in text) == "Thank you me to your party week . <gap> <end>"
    assert " ".join(spelt[i] for i in answer) == "<gap> for inviting last <end>"
    again, whole = restore(range(len(words)), mask, 100, 99)
    assert again == text
    assert " ".join(spelt[i] for i in whole) == f"<gap> {' '.join(words)} <end>"


@pytest.mark.parametrize(("length", "taken", "spans"), [(100, 15, 5), (64, 10, 3), (2, 1, 1), (7, 1, 1), (512, 77, 26)])
def test_as_many_tokens_and_spans_are_taken_out_as_the_length_says(length, taken, spans):
    for seed in range(10):
        mask = span_mask(length, 0.15, 3.0, np.random.default_rng(seed))
        assert mask.shape == (length,)
        assert mask.sum() == taken
        assert (np.diff(mask.astype(int)) == 1).sum() == spans
        assert not mask[0]
        assert mask[-1]


def test_every_cut_is_as_likely():
    """Of 6 tokens 2 are taken out in 2 spans: three ways to cut the four that stay."""
    found = {}
    for seed in range(3000):
        mask = span_mask(6, 0.34, 1.0, np.random.default_rng(seed))
        found[mask.tobytes()] = found.get(mask.tobytes(), 0) + 1
    assert len(found) == 3
    assert all(900 < count < 1100 for count in found.values())


def test_a_high_rate_leaves_a_token_before_each_span():
    mask = span_mask(10, 0.9, 1.0, np.random.default_rng(0))
    assert mask.sum() == 9
    assert not mask[0]


@pytest.mark.parametrize(("length", "rate", "mean"), [(1, 0.15, 3), (9, 0, 3), (9, 1, 3), (9, 0.15, 0.5)])
def test_what_cannot_be_is_refused(length, rate, mean):
    with pytest.raises(Problem, match="spans are taken out of a text of at least 2 tokens"):
        span_mask(length, rate, mean, np.random.default_rng(0))
