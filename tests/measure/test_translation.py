import math
import random

import pytest

from etudes.core.errors import Problem
from etudes.measure.translation import bleu, chrf


def test_by_hand():
    assert chrf(["abc"], ["abc"]) == 1
    assert chrf(["abc"], ["xyz"]) == 0
    assert chrf(["a b c"], ["ab c"]) == 1  # white space does not count
    assert chrf([""], ["abc"]) == 0
    # "ab" against "abc": one letters 2/2 and 2/3, pairs 1/1 and 1/2; of three letters only the reference has some.
    precision, recall = 1, (2 / 3 + 1 / 2) / 2
    assert chrf(["ab"], ["abc"]) == pytest.approx(5 * precision * recall / (4 * precision + recall))
    assert chrf(["Ab"], ["ab"]) < 1  # case counts
    assert chrf(["the cat is on the mat"], ["the cat sat on the mat"]) == pytest.approx(0.619251512899325)  # sacrebleu


def corpus(n=60):
    rng = random.Random(1)
    word = lambda: "".join(rng.choice("abcdeé") for _ in range(rng.randint(0, 9)))  # noqa: E731
    lines = [" ".join(word() for _ in range(rng.randint(0, 6))) for _ in range(n)]
    return lines, [" ".join(word() if rng.random() < 0.4 else w for w in line.split(" ")) for line in lines]


def test_a_corpus_is_the_naive_sum_and_no_mean_of_sentences():
    written, references = corpus()
    precision, recall = [], []
    for n in range(1, 7):
        hits = ours = theirs = 0
        for a, b in zip(written, references, strict=True):
            a, b = ("".join(text.split()) for text in (a, b))
            grams, left = [a[i : i + n] for i in range(len(a) - n + 1)], [b[i : i + n] for i in range(len(b) - n + 1)]
            ours += len(grams) * bool(left)
            theirs += len(left)
            for gram in grams:
                if gram in left:
                    left.remove(gram)
                    hits += 1
        precision.append(hits / ours)
        recall.append(hits / theirs)
    p, r = sum(precision) / 6, sum(recall) / 6
    assert chrf(written, references) == pytest.approx(5 * p * r / (4 * p + r))
    mean = sum(chrf([a], [b]) for a, b in zip(written, references, strict=True)) / len(written)
    assert abs(chrf(written, references) - mean) > 0.001


def test_a_peer_agrees():
    sacrebleu = pytest.importorskip("sacrebleu")
    written, references = corpus()
    assert chrf(written, references) == pytest.approx(sacrebleu.corpus_chrf(written, [references]).score / 100)
    for a, b in zip(written, references, strict=True):
        assert chrf([a], [b]) == pytest.approx(sacrebleu.corpus_chrf([a], [[b]]).score / 100)


def test_unequal_numbers_are_told():
    with pytest.raises(Problem, match="1 translations cannot be compared with 2"):
        chrf(["a"], ["a", "b"])
    with pytest.raises(Problem, match="0 references"):
        chrf([], [])


def test_bleu_by_hand():
    assert bleu(["a b c d"], ["a b c d"]) == 1
    assert bleu(["a b c d"], ["A b x y"]) == pytest.approx((1 / 4 * 1 / 2 / 3 * 1 / 4 / 2 * 1 / 8) ** 0.25)
    short = math.exp(1 - 6 / 4)  # four words for six
    assert bleu(["a b c d"], ["a b c d e f"]) == pytest.approx(short)
    assert bleu(["a a a a a"], ["a b c d e"]) == pytest.approx((1 / 5 / 2 / 4 / 4 / 3 / 8 / 2) ** 0.25)  # one a counts
    assert bleu(["x"], ["a"]) == bleu([""], ["a"]) == bleu(["a"], ["a"]) == 0  # without a run of four words


def test_bleu_is_that_of_nltk():
    nltk = pytest.importorskip("nltk.translate.bleu_score")
    rng = random.Random(3)
    references = [" ".join(rng.choice("abcdefg") for _ in range(rng.randint(9, 14))) for _ in range(40)]
    written = [" ".join(w for w in line.split() if rng.random() < 0.9) or "a" for line in references]
    theirs = nltk.corpus_bleu([[line.split()] for line in references], [line.split() for line in written])
    assert bleu(written, references) == pytest.approx(theirs)


def test_bleu_refuses_unequal_sides():
    with pytest.raises(Problem, match="cannot be compared"):
        bleu(["a"], [])
