"""How alike translations and references are."""

import math
from collections import Counter
from collections.abc import Sequence

from etudes.core.errors import Problem

ORDER, BETA = 6, 2  # of chrF: longest n-grams; how many times as much recall counts as precision
WORDS = 4  # of BLEU: longest n-grams


def chrf(written: Sequence[str], references: Sequence[str]) -> float:
    """chrF2 of a corpus, in [0, 1]: the F-score of character n-grams, n = 1 .. 6, white space left out.

    Precision and recall are each averaged over the n of which both sides have n-grams, then joined with recall
    counting twice as much. Popović 2015, chrF: character n-gram F-score for automatic MT evaluation; as in sacrebleu's
    signature nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no. Raises Problem unless there are as many of both, and some.
    """
    if len(written) != len(references) or not written:
        raise Problem(f"{len(written)} translations cannot be compared with {len(references)} references")
    pairs = [("".join(a.split()), "".join(b.split())) for a, b in zip(written, references, strict=True)]
    precisions, recalls = [], []
    for n in range(1, ORDER + 1):
        counts = [(_ngrams(a, n), _ngrams(b, n)) for a, b in pairs]
        ours = sum(a.total() for a, b in counts if b)  # where the reference is shorter than n, none count
        theirs = sum(b.total() for _, b in counts)
        if ours and theirs:
            shared = sum((a & b).total() for a, b in counts)
            precisions.append(shared / ours)
            recalls.append(shared / theirs)
    if not precisions:
        return 0.0
    precision, recall = (sum(shares) / len(shares) for shares in (precisions, recalls))
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall) if precision + recall else 0.0


def bleu(written: Sequence[str], references: Sequence[str]) -> float:
    """BLEU of a corpus, in [0, 1]: the geometric mean of the precisions of word n-grams, n = 1 .. 4, times
    exp(1 - reference words / written words) where less is written than the references have.

    White space divides words. Papineni et al. 2002, BLEU: a method for automatic evaluation of machine translation,
    sec. 2.3; an n of which nothing matches has a precision of 1 / (2^k n-grams), being the k-th such, as in sacrebleu's
    signature nrefs:1|case:mixed|eff:no|tok:none|smooth:exp. Raises Problem unless there are as many of both, and some.
    """
    if len(written) != len(references) or not written:
        raise Problem(f"{len(written)} translations cannot be compared with {len(references)} references")
    pairs = [(a.split(), b.split()) for a, b in zip(written, references, strict=True)]
    ours, theirs = (sum(map(len, side)) for side in zip(*pairs, strict=True))
    logs, missing = 0.0, 0
    for n in range(1, WORDS + 1):
        counts = [(_ngrams(a, n), _ngrams(b, n)) for a, b in pairs]
        total = sum(a.total() for a, _ in counts)
        shared = sum((a & b).total() for a, b in counts)
        if not total or (n == 1 and not shared):
            return 0.0
        missing += not shared
        logs += math.log((shared or 0.5**missing) / total)
    return math.exp(min(0.0, 1 - theirs / ours) + logs / WORDS)


def _ngrams(text: Sequence[str], n: int) -> Counter[Sequence[str]]:
    return Counter(
        text[i : i + n] if isinstance(text, str) else tuple(text[i : i + n]) for i in range(len(text) - n + 1)
    )
