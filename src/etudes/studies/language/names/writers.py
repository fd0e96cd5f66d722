"""Writers of names: a recurrent network and a trigram model that are told a language, and how good their names are.

A name is the token of its language, its letters, and END. The network learns to foretell each next token.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from etudes.data.names import Row, plain
from etudes.generate.sampling import choice, generate
from etudes.measure.error import evaluation_mode
from etudes.measure.ngrams import ngrams
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


def trigram_bits(train: Sequence[Row], rows: Sequence[Row], letters: str, languages: Sequence[str]) -> float:
    """The same for a trigram model of each language's training names (`measure.ngrams`)."""
    seen, asked = by_language(train, languages), by_language(rows, languages)
    means = []
    for language in languages:
        tokens = _stream(asked[language], letters)
        shares = ngrams(_stream(seen[language], letters), tokens, len(letters) + 1, 3)[-1]
        between = (tokens[1:] == END) & (tokens[:-1] == END)  # no letter of a name
        means.append(-np.log2(shares[~between]).mean())
    return float(np.mean(means))


def _stream(names: Sequence[str], letters: str) -> np.ndarray:
    """The names in a row, two ENDs before each and behind the last, so that no trigram reaches from one to the next."""
    x, lengths = encode(names, letters)
    pieces = [np.append([END, END], row[:n].numpy()) for row, n in zip(x, lengths, strict=True)]
    return np.concatenate([*pieces, [END, END]])


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


def write_trigrams(train: Sequence[Row], languages: Sequence[str], count: int, rng: np.random.Generator) -> Written:
    """`count` names of each language, drawn from the trigram model that `trigram_bits` measures.

    Witten and Bell's rule as a draw: after a context seen c times with d different letters, one of the c with
    probability c / (c + d), else as after the next shorter context; what no context decides is a letter by chance.
    """
    letters = [*sorted({letter for name, _ in train for letter in spell(name)}), "$"]
    return {
        language: [_draw_name(counts, letters, rng) for _ in range(count)]
        for language, counts in ((one, _successors(seen)) for one, seen in by_language(train, languages).items())
    }


def _successors(names: Sequence[str]) -> dict[str, list[str]]:
    """What came after each context of two letters or fewer; two $ stand before each name and behind the last."""
    found: dict[str, list[str]] = {}
    text = "".join(f"$${name}" for name in names) + "$$"
    for i in range(1, len(text)):
        for n in range(min(2, i) + 1):
            found.setdefault(text[i - n : i], []).append(text[i])
    return found


def _draw_name(counts: Mapping[str, list[str]], letters: Sequence[str], rng: np.random.Generator) -> str:
    text = "$$"
    while len(text) < LONGEST + 2:
        for n in (2, 1, 0):
            seen = counts.get(text[len(text) - n :], [])
            if seen and rng.random() < len(seen) / (len(seen) + len(set(seen))):
                text += seen[rng.integers(len(seen))]
                break
        else:
            text += letters[rng.integers(len(letters))]
        if text.endswith("$"):
            break
    return text.strip("$")


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
