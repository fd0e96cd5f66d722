from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from etudes.core.errors import Problem
from etudes.data.labels import asymmetric_noise, balanced_subset, long_tail, lookalikes, symmetric_noise

labels = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(torch.tensor)
shares = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)
seeds = st.integers(0, 2**32)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(labels, shares, seeds)
def test_a_larger_share_spoils_a_superset(y: torch.Tensor, pair: list[float], seed: int) -> None:
    small, large = (symmetric_noise(y, share, 5, rng(seed)) for share in pair)
    touched = small != y
    assert torch.equal(small[touched], large[touched])
    assert int((large != y).sum()) <= round(pair[1] * len(y))
    assert torch.equal(symmetric_noise(y, 0, 5, rng(seed)), y)


def test_exactly_the_share_is_replaced_uniformly() -> None:
    # Labels outside the classes drawn show every replacement, hits of the true label included.
    y = torch.zeros(100_000, dtype=torch.int64)
    noisy = symmetric_noise(y, 0.3, 10, rng(0))
    counts = torch.bincount(noisy, minlength=10)
    expected = 30_000 / 10
    assert torch.all((counts[1:] - expected).abs() < 5 * expected**0.5)
    assert abs(int(counts[0]) - 70_000 - expected) < 5 * expected**0.5
    full = symmetric_noise(y, 1.0, 10, rng(0))
    chosen = rng(0).permutation(len(y))[:30_000]
    naive = y.clone()
    for row in chosen.tolist():
        naive[row] = full[row]
    assert torch.equal(noisy, naive)


@given(labels, shares, seeds)
def test_swap_changes_the_share_of_each_class_and_nests(y: torch.Tensor, pair: list[float], seed: int) -> None:
    mapping = {0: 1, 1: 0, 3: 4}
    small, large = (asymmetric_noise(y, share, mapping, rng(seed)) for share in pair)
    for share, changed in zip(pair, (small, large), strict=True):
        for label in range(5):
            rows = changed[y == label]
            moved = round(share * len(rows)) if label in mapping else 0
            assert Counter(rows.tolist()) == Counter({label: len(rows) - moved}) + Counter({mapping.get(label): moved})
    assert torch.equal(small[small != y], large[small != y])


def test_long_tail_has_the_published_sizes() -> None:
    # CIFAR-10-LT and CIFAR-100-LT with ratio 100 hold 12,406 and 10,847 pictures (Cao et al. 2019, arXiv:1906.07413).
    ten, hundred = torch.arange(10).repeat(5000), torch.arange(100).repeat(500)
    rows = long_tail(ten, 10, 100, rng(0))
    assert torch.bincount(ten[rows]).tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert len(rows) == 12_406
    assert len(long_tail(hundred, 100, 100, rng(0))) == 10_847
    assert len(rows.unique()) == len(rows)
    # A ratio of 2^5 over six classes halves each: whole numbers, which powers in floating point just miss.
    six = torch.arange(6).repeat(224)
    assert torch.bincount(six[long_tail(six, 6, 32, rng(0))]).tolist() == [224, 112, 56, 28, 14, 7]


@given(st.floats(1, 20), st.floats(1, 20), seeds)
def test_a_longer_tail_is_a_subset(one: float, other: float, seed: int) -> None:
    y = torch.arange(5).repeat(20)
    gentle, steep = (set(long_tail(y, 5, r, rng(seed)).tolist()) for r in sorted((one, other)))
    assert steep <= gentle


@given(st.integers(1, 10), st.integers(1, 10), seeds)
def test_few_is_balanced_and_nested(one: int, other: int, seed: int) -> None:
    y = torch.tensor([0] * 10 + [2] * 30 + [1] * 15)
    small, large = (balanced_subset(y, k, rng(seed)) for k in sorted((one, other)))
    assert torch.bincount(y[small]).tolist() == [min(one, other)] * 3
    assert set(small.tolist()) <= set(large.tolist())
    assert torch.equal(small, balanced_subset(y, min(one, other), rng(seed)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda y: symmetric_noise(y, 1.5, 3, rng(0)), "share of labels to change is 1.5"),
        (lambda y: symmetric_noise(y, 0.5, 2, rng(0)), "labels run from 0 to 2, but 2 classes"),
        (lambda y: asymmetric_noise(y, -0.1, {0: 1}, rng(0)), "share of labels to change is -0.1"),
        (lambda y: long_tail(y, 3, 0.5, rng(0)), "ratio"),
        (lambda y: long_tail(y, 3, 1000, rng(0)), "too few for a ratio"),
        (lambda y: balanced_subset(y, 5, rng(0)), "must be 1 to 4"),
        (lambda y: balanced_subset(y, 0, rng(0)), "must be 1 to 4"),
    ],
)
def test_bad_requests_are_named(call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Problem, match=words):
        call(torch.tensor([0, 1, 2] * 4))


@given(n=st.integers(2, 60), classes=st.integers(2, 7), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_noise_over_the_other_classes_makes_each_replaced_label_wrong(n, classes, share, seed):
    y = torch.from_numpy(rng(seed).integers(classes, size=n))
    noisy = symmetric_noise(y, share, classes, rng(seed), others=True)
    assert int((noisy != y).sum()) == round(share * n)
    assert set(noisy.tolist()) <= set(range(classes))


def test_noise_over_the_other_classes_is_uniform_over_them():
    y = torch.full((30_000,), 2)
    counts = symmetric_noise(y, 1.0, 4, rng(0), others=True).bincount(minlength=4)
    assert counts[2] == 0
    assert all(abs(int(count) - 10_000) < 400 for count in counts[[0, 1, 3]])
    with pytest.raises(Problem, match="single class"):
        symmetric_noise(torch.zeros(3, dtype=torch.long), 0.5, 1, rng(0), others=True)


def test_classes_are_mistaken_as_in_the_papers_or_for_the_next():
    assert lookalikes("digits", "0123456789") == {0: 1, 2: 3, 4: 5, 6: 7, 8: 9}
    assert lookalikes("another", "abc") == {0: 1}
    assert lookalikes("mnist-5k", "0123456789") == {7: 1, 2: 7, 3: 8, 5: 6, 6: 5}
    clothes = ["T - shirt / top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag"]
    assert lookalikes("fashion-mnist", [*clothes, "Ankle boot"]) == {9: 7, 7: 5, 2: 6, 4: 3, 3: 4}
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    assert lookalikes("cifar10", names) == {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}
