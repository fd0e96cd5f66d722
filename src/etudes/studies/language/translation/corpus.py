"""Short sentences in common words, and longer ones made by joining them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etudes.core import Run
from etudes.core.errors import Problem
from etudes.core.files import read_json, write_json
from etudes.data.pairs import Pair, Pairs, pairs, split_pairs
from etudes.data.tokens import Tokenizer, bpe
from etudes.studies.language.translation.scores import bleu, nearest_translations, words

SPLITS = ("train", "validation", "test")
Tokens = list[int]
Example = tuple[Tokens, Tokens]  # English and French, without the tokens that begin and end
DESCRIPTIONS = (
    "i am",
    "i'm",
    "he is",
    "he's",
    "she is",
    "she's",
    "you are",
    "you're",
    "we are",
    "we're",
    "they are",
    "they're",
)  # what the sentences of the PyTorch tutorial begin with
DRAWN = "drawn-phrases"  # what stands in where Tatoeba cannot be had


@dataclass(frozen=True, eq=False)
class Corpus:
    """Pairs of a register, split, with their tokens; the tokenizer's `start` ends a sentence."""

    tokenizer: Tokenizer
    texts: dict[str, list[Pair]]
    tokens: dict[str, list[Example]]
    source: dict[str, str]


def letters(sentence: str) -> str:
    """The sentence without case and marks: those alike in it are the same sentence to a split."""
    return " ".join(word for word in words(sentence) if word[0].isalpha())


def register(d: Pairs, longest: int, often: int, beginnings: Sequence[str] = ()) -> dict[str, list[Pair]]:
    """The pairs of each split whose sentences have at most `longest` words and marks (0: any number), whose English one
    begins with any of the beginnings (none: as it likes), and whose every word the training pairs that begin so have
    `often` times. Each English sentence keeps its first translation.

    A held-out pair is left out if either side stands in an earlier split in other case or with other marks.
    """
    starts = tuple(f"{start} " for start in beginnings)
    found = {s: [p for p in getattr(d, s) if not starts or f"{p[0]} ".lower().startswith(starts)] for s in SPLITS}
    counts = [Counter(word for pair in found["train"] for word in words(pair[side])) for side in (0, 1)]

    def fits(sentence: str, count: Counter[str]) -> bool:
        pieces = words(sentence)
        return (not longest or len(pieces) <= longest) and all(count[piece] >= often for piece in pieces)

    kept: dict[str, list[Pair]] = {}
    met: tuple[set[str], set[str]] = (set(), set())
    for split in SPLITS:
        chosen: dict[str, Pair] = {}
        for pair in found[split]:
            if all(map(fits, pair, counts)):
                plain = letters(pair[0]), letters(pair[1])
                if plain[0] not in met[0] and plain[1] not in met[1]:
                    chosen.setdefault(plain[0], pair)
        kept[split] = list(chosen.values())
        for side in (0, 1):
            met[side].update(letters(pair[side]) for pair in kept[split])
    if not all(kept.values()):
        raise Problem(f"a split has no pair of {longest} words at most, each seen {often} times; allow longer or rarer")
    return kept


def phrases() -> Pairs:
    """Drawn pairs of a made-up grammar, in which adjectives follow nouns in French: what runs without Tatoeba."""
    who = {"I": "je", "you": "tu", "Tom": "Tom", "Mary": "Marie", "we": "nous", "they": "ils"}
    does = {"see": "voir", "want": "vouloir", "know": "savoir", "like": "aimer", "buy": "acheter", "lose": "perdre"}
    kind = {"": "", "red": "rouge", "big": "large", "old": "antique", "young": "jeune", "sad": "triste"}
    what = {"house": "maison", "car": "voiture", "book": "livre", "dog": "chien", "cat": "chat", "boat": "bateau"}
    made = [
        (f"{a} {b} the {c} {d}.".replace("  ", " "), f"{x} {y} le {w} {z}.".replace(" .", "."))
        for a, x in who.items()
        for b, y in does.items()
        for c, z in kind.items()
        for d, w in what.items()
    ]
    return split_pairs(made, "drawn")


def corpus(run: Run, dataset: str, longest: int, often: int, descriptions: bool, size: int) -> Corpus:
    """The register of a set of pairs with a byte-level BPE of `size` tokens of its training part, made once for all."""
    settings = {"dataset": dataset, "longest": longest, "often": often, "descriptions": descriptions, "size": size}

    def make(own: Run) -> None:
        d = phrases() if dataset == DRAWN else pairs(dataset)
        kept = register(d, longest, often, DESCRIPTIONS if descriptions else ())
        tokenizer = bpe([" " + sentence for pair in kept["train"] for sentence in pair], size)
        tokens = {s: [[tokenizer.encode(" " + side) for side in pair] for pair in kept[s]] for s in SPLITS}
        counts = ", ".join(f"{split} {len(part):,}" for split, part in kept.items())
        short = f" of at most {longest} words and marks" if longest else ""
        kind = " that begin with a pronoun and a form of to be" if descriptions else ""
        rare = f", without words met fewer than {often} times" if often > 1 else ""
        says = f"{d.source['says']}; of these, {counts} pairs with English sentences{short}{kind}{rare}"
        if own.leader:
            tokenizer.save(own.path("tokenizer.json"))
            source = d.source | {"dataset": dataset, "says": says}
            write_json(own.path("corpus.json"), {"texts": kept, "tokens": tokens, "source": source})
        english, french = zip(*kept["test"], strict=True)
        own.result(**{"test/bleu-copied": bleu(english, french)})
        own.result(**{"test/bleu-nearest": bleu(nearest_translations(english, kept["train"]), french)})

    made = run.once("corpus", settings, make, seed=0)
    run.result(**made.metrics)
    folder = made.folder
    d = read_json(folder / "corpus.json", f"delete {folder}")
    texts = {split: [tuple(pair) for pair in part] for split, part in d["texts"].items()}
    return Corpus(Tokenizer.load(folder / "tokenizer.json"), texts, d["tokens"], d["source"])


def combinations(n: int, count: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """The rows int64 [count, parts] of sentences to be joined: none twice in one, and none used again before all were.

    What a long sentence is made of is the whole process: `parts` short ones, drawn, one after the other.
    """
    rounds = -(-count // max(1, n // parts))
    if parts < 1 or n < parts:
        raise Problem(f"{n} sentences cannot be joined by {parts}; take more sentences")
    drawn = [rng.permutation(n)[: n // parts * parts].reshape(-1, parts) for _ in range(rounds)]
    return np.concatenate(drawn)[:count]


def join(examples: Sequence[Example], rows: Sequence[Sequence[int]]) -> list[Example]:
    """One example for each row of indices: their English tokens one after the other, and their French ones."""
    return [tuple([token for i in row for token in examples[i][side]] for side in (0, 1)) for row in rows]


def curriculum(examples: Sequence[Example], longest: int, rng: np.random.Generator) -> list[Example]:
    """The training examples of one epoch: every sentence once, in joins of 1, 2 ... `longest` that are equally many."""
    each = max(1, len(examples) // (longest * (longest + 1) // 2))
    order = rng.permutation(len(examples))
    made, start = [], 0
    for parts in range(1, longest + 1):
        rows = order[start : start + each * parts].reshape(-1, parts)
        made += join(examples, rows)
        start += each * parts
    return made
