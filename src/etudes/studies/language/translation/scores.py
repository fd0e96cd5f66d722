"""Numbers of translations and of attention, as functions of them alone."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from torch import Tensor

from etudes.core.errors import Problem
from etudes.data.words import pieces

LOCAL = 3  # tokens: a step back by no more is a local reordering


def words(sentence: str) -> list[str]:
    """The words and marks of a sentence, in lower case."""
    return [piece.strip().lower() for piece in pieces(sentence)]


def bleu(written: Sequence[str], references: Sequence[str]) -> float:
    """BLEU of a corpus in per cent, by sacrebleu (Post 2018, arXiv:1804.08771): of texts with case and marks, which it
    cuts into words itself. Its signature is nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp.

    Raises Problem unless there are as many of both, and some.
    """
    try:
        import sacrebleu
    except ImportError:
        raise Problem("BLEU is measured by the package sacrebleu; install etudes[text]") from None
    if len(written) != len(references) or not written:
        raise Problem(f"{len(written)} translations cannot be compared with {len(references)} references")
    return sacrebleu.corpus_bleu(list(written), [list(references)]).score


def nearest_translations(sources: Sequence[str], train: Sequence[tuple[str, str]]) -> list[str]:
    """For each source the translation of the training sentence whose words are nearest to its own, by the cosine of
    tf-idf, the first of equals: what one has without any learning."""
    known = [Counter(words(english)) for english, _ in train]
    often = Counter(word for counts in known for word in counts)
    column = {word: i for i, word in enumerate(often)}

    def table(bags: Sequence[Counter[str]]) -> sparse.csr_array:
        entries = [
            (i, column[w], n * math.log(len(train) / often[w]))
            for i, bag in enumerate(bags)
            for w, n in bag.items()
            if w in column
        ]
        rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
        return sparse.csr_array((values, (rows, columns)), shape=(len(bags), len(column)))

    texts = table(known)
    lengths = np.sqrt((texts * texts).sum(1)).clip(1e-9)
    near = (table([Counter(words(source)) for source in sources]) @ texts.T).toarray() / lengths
    return [train[i][1] for i in near.argmax(1)]


def monotony(peaks: Sequence[int]) -> float:
    """Kendall's tau of the places in the source that attention peaks at, word after word: pairs of words in whose order
    the places rise, minus those in whose order they fall, over all pairs that do either. 0 where there is none."""
    places = np.asarray(peaks)
    signs = np.sign(places[None, :] - places[:, None])[np.triu_indices(len(places), 1)]
    return float(signs.sum() / max(1, abs(signs).sum()))


def steps_back(peaks: Sequence[int]) -> tuple[int, int]:
    """How often the peak of attention steps back from one word to the next, and how often by LOCAL tokens at most."""
    jumps = -np.diff(np.asarray(peaks))
    return int((jumps > 0).sum()), int(((jumps > 0) & (jumps <= LOCAL)).sum())


def on_own(weights: Tensor, sizes: Sequence[tuple[int, int]]) -> float:
    """The share of attention [t, s] that lies on the source sentence whose translation is being written, for joined
    sentences with (source, target) tokens `sizes`, of which it is known; the row of the end is left out."""
    s = t = 0
    own = 0.0
    for source, target in sizes:
        own += float(weights[t : t + target, s : s + source].sum())
        s, t = s + source, t + target
    return own / t


def attention_numbers(
    looks: Sequence[Tensor], sizes: Sequence[Sequence[tuple[int, int]]], rng: np.random.Generator
) -> dict[str, float]:
    """The numbers of attention over many joined pairs; "shuffled": of the same rows in a random order."""
    numbers = {"test/attention-own": float(np.mean([on_own(w, z) for w, z in zip(looks, sizes, strict=True)]))}
    peaks = [weights[:-1].argmax(1).numpy() for weights in looks]  # without the end's
    for name, rows in (("", peaks), ("-shuffled", [rng.permutation(row) for row in peaks])):
        back, local = np.sum([steps_back(row) for row in rows], 0)
        numbers[f"test/monotony{name}"] = float(np.mean([monotony(row) for row in rows]))
        numbers[f"test/steps-back{name}"] = float(back / sum(len(row) - 1 for row in rows))
        numbers[f"test/local{name}"] = float(local / max(1, back))
    return numbers
