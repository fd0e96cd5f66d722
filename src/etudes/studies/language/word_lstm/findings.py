"""What is counted in held-out text beside the network's own bits: its spelling, unknown words, a trivial baseline."""

from collections.abc import Sequence

import torch

from etudes.data.tokens import Tokenizer, ids
from etudes.data.words import WordTokenizer, pieces


def unigram(tokenizer: Tokenizer | WordTokenizer, train: Sequence[str], works: Sequence[str]) -> float:
    """Bits per byte of the works for whoever knows how often each token occurs in `train`, and no more; one is added to
    every count, and spelling costs what it costs the network. The trivial baseline."""
    counts = torch.bincount(ids(tokenizer, train), minlength=tokenizer.size).double() + 1
    bits = -(counts / counts.sum()).log2()
    total = sum(bits[tokenizer.encode(work)].sum().item() + 8 * tokenizer.lost_bytes(work) for work in works)
    return total / sum(len(work.encode()) for work in works)


def spelling(tokenizer: Tokenizer | WordTokenizer, works: Sequence[str]) -> float:
    """The bits per byte of the works that go into spelling what the tokenizer has no token for."""
    return 8 * sum(map(tokenizer.lost_bytes, works)) / sum(len(work.encode()) for work in works)


def unknown_words(known: WordTokenizer, works: Sequence[str]) -> float:
    """The share of the works' words and marks that are not known."""
    return sum(len(known.strange(work)) for work in works) / sum(len(pieces(work)) for work in works)
