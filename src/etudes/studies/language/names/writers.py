"""Writers of names: a recurrent network and a trigram model that are told a language, and how good their names are.

A name is the token of its language, its letters, and END. The network learns to foretell each next token.
"""

import collections
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from etudes.data.names import Row, plain
from etudes.generate.sampling import choice, generate
from etudes.measure.error import evaluation_mode
from etudes.nn.recurrent import Recurrent
from etudes.studies.language.names.reader import END, encode, spell

LONGEST = 24  # tokens of a written name; one that has not ended by then is cut
IGNORED = -100  # a target that cross-entropy leaves out
Written = Mapping[str, list[str]]  # names of each language


def by_language(rows: Sequence[Row], languages: Sequence[str]) -> dict[str, list[str]]:
    """The names of the rows as they are read, of each language."""
    found: dict[str, list[str]] = {language: [] for language in languages}
    for name, language in rows:
        found[language].append(spell(name))
    return found


def sentences(rows: Sequence[Row], letters: str, languages: Sequence[str]) -> tuple[Tensor, Tensor]:
    """(tokens, targets) int64 [n, t]: a language's token and a name's letters; these letters and END, then IGNORED."""
    x, lengths = encode([spell(name) for name, _ in rows], letters)
    first = torch.tensor([[len(letters) + 1 + languages.index(language)] for _, language in rows])
    targets = functional.pad(x, (0, 1), value=END)
    behind = torch.arange(targets.shape[1]) > lengths[:, None]
    return torch.cat([first, x], 1), targets.masked_fill(behind, IGNORED)


def loss(model: Recurrent, tokens: Tensor, targets: Tensor) -> Tensor:
    """The mean nats of a letter, END among them."""
    return functional.cross_entropy(model(tokens).float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def bits(model: Recurrent, rows: Sequence[Row], letters: str, languages: Sequence[str]) -> float:
    """Bits per letter, END among them, of the rows' names for a network that knows the language: the mean of languages.

    A letter that training never met has END's token, and costs what END would.
    """
    means = []
    with evaluation_mode(model):
        for language in languages:
            tokens, targets = sentences([row for row in rows if row[1] == language], letters, languages)
            means.append(loss(model, tokens.to(_device(model)), targets.to(_device(model))).item() / np.log(2))
    return float(np.mean(means))


def write(
    model: Recurrent, letters: str, languages: Sequence[str], count: int, temperature: float, seed: int
) -> dict[str, list[str]]:
    """`count` names of each language, drawn letter by letter; temperature 0 takes the most probable ones."""
    device = _device(model)
    choose = choice(temperature, generator=torch.Generator(device).manual_seed(seed))
    first = torch.arange(len(languages), device=device).repeat_interleave(count)[:, None] + len(letters) + 1
    tokens = generate(model, first, LONGEST, choose).cpu().tolist()
    names = ["".join(letters[t - 1] for t in _until_end(row, len(letters))) for row in tokens]
    return {language: names[i * count : (i + 1) * count] for i, language in enumerate(languages)}


def _until_end(tokens: list[int], letters: int) -> list[int]:
    end = next((i for i, token in enumerate(tokens) if token == END or token > letters), len(tokens))
    return tokens[:end]


class LetterTrigrams:
    """What comes after two letters in the names of one language: "^^" before the first, "$" behind the last.

    Interpolated with shorter contexts by Witten and Bell's rule: after a context seen c times with d different letters,
    p_n = (c * share + d * p_{n-1}) / (c + d), down to all `letters` and the end alike. `measure.ngrams` does so for a
    running text.
    """

    def __init__(self, names: Sequence[str], letters: str) -> None:
        self.letters = f"{letters}$"
        self._seen: dict[str, list[str]] = {}  # what came after a context, each time
        for name in names:
            text = f"^^{name}$"
            for i in range(2, len(text)):
                for n in range(3):
                    self._seen.setdefault(text[i - n : i], []).append(text[i])
        self._counts = {context: collections.Counter(seen) for context, seen in self._seen.items()}

    def probability(self, before: str, letter: str) -> float:
        """Of a letter, or "$", after what is before it: "^^" and the letters of the name so far."""
        p = 1 / len(self.letters)
        for n in range(3):
            if counts := self._counts.get(before[len(before) - n :]):
                p = (counts[letter] + len(counts) * p) / (counts.total() + len(counts))
        return p

    def bits(self, name: str) -> list[float]:
        """The bits of each letter of the name, and of its end."""
        text = f"^^{name}$"
        return [-math.log2(self.probability(text[:i], text[i])) for i in range(2, len(text))]

    def draw(self, rng: np.random.Generator) -> str:
        """A name by these probabilities: one of what the context has seen by c / (c + d), else by the next shorter."""
        text = "^^"
        while not text.endswith("$") and len(text) < LONGEST + 2:
            for n in (2, 1, 0):
                context = text[len(text) - n :]
                seen = self._seen.get(context, [])
                if seen and rng.random() < len(seen) / (len(seen) + len(self._counts[context])):
                    text += seen[rng.integers(len(seen))]
                    break
            else:
                text += self.letters[rng.integers(len(self.letters))]
        return text.strip("^$")


def trigrams_of(rows: Sequence[Row], letters: str, languages: Sequence[str]) -> dict[str, LetterTrigrams]:
    """The trigram model of each language."""
    return {language: LetterTrigrams(names, letters) for language, names in by_language(rows, languages).items()}


def trigram_bits(models: Mapping[str, LetterTrigrams], rows: Sequence[Row]) -> float:
    """As `bits`, for trigram models of the languages."""
    asked = by_language(rows, list(models))
    return float(
        np.mean([np.mean([b for name in names for b in models[one].bits(name)]) for one, names in asked.items()])
    )


def bigram_distance(a: Sequence[str], b: Sequence[str]) -> float:
    """Half the summed differences between the shares of bigrams in two lists of names, marks at both ends, in [0, 1]:
    their total variation. Small lists are far from each other by chance: compare lists of equal sizes."""
    shares = []
    grams = [[f"^{name}$"[i : i + 2] for name in names for i in range(len(name) + 1)] for names in (a, b)]
    every = {gram: i for i, gram in enumerate(sorted({*grams[0], *grams[1]}))}
    for found in grams:
        counts = np.bincount([every[gram] for gram in found], minlength=len(every))
        shares.append(counts / counts.sum())
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def quality(written: Written, train: Sequence[Row], test: Sequence[Row]) -> dict[str, float]:
    """{novelty, variety, rediscovered, bigrams} of written names; empty ones count as known and as far as can be.

    novelty: the share that is no training name; variety: that of different ones, by language; rediscovered: the share
    of the new ones that are real names of the test; bigrams: the mean over languages of the bigram distance to the test
    names, of as many names.
    """
    languages = list(written)
    known, held = {plain(name) for name, _ in train}, {plain(name) for name, _ in test}
    names = [name for one in languages for name in written[one]]
    new = [name for name in names if name and name not in known]
    asked = by_language(test, languages)
    distances = [bigram_distance(written[one][: len(asked[one])], asked[one][: len(written[one])]) for one in languages]
    return {
        "novelty": len(new) / len(names),
        "variety": float(np.mean([len(set(written[one])) / len(written[one]) for one in languages])),
        "rediscovered": sum(name in held for name in new) / max(1, len(new)),
        "bigrams": float(np.mean(distances)),
    }


def real_distance(train: Sequence[Row], test: Sequence[Row], languages: Sequence[str]) -> float:
    """The `bigrams` of training names, as many as test names: what names of the same list are apart."""
    seen, asked = by_language(train, languages), by_language(test, languages)
    return float(np.mean([bigram_distance(seen[one][: len(asked[one])], asked[one]) for one in languages]))


def samples_text(written: Written, train: Sequence[Row], most: int = 6) -> str:
    """The first written names of each language; a star marks those that training had."""
    known = {plain(name) for name, _ in train}
    lines = [
        f"{one:>12}  " + ", ".join(f"{n}{'*' * (n in known)}" for n in names[:most]) for one, names in written.items()
    ]
    return "\n".join([*lines, "", "* a name of the training list"]) + "\n"


def _device(model: Recurrent) -> torch.device:
    return model.head.weight.device
