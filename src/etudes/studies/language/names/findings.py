"""How good guesses of languages are, where they go wrong, and what nobody could know."""

from collections.abc import Mapping, Sequence

import numpy as np

from etudes.core.errors import Problem
from etudes.data.names import Row, plain

Labels = np.ndarray  # int64 [n]


def confusion(truth: Labels, guess: Labels, languages: int) -> np.ndarray:
    """How often [truth, guess] came together, int64 [languages, languages]."""
    return np.bincount(truth * languages + guess, minlength=languages**2).reshape(languages, languages)


def macro_f1(truth: Labels, guess: Labels, languages: int) -> float:
    """The mean over the languages of F1 = 2 TP / (2 TP + FP + FN), in [0, 1]; 0 for a language without a hit.

    Raises Problem where a language is in no truth: its F1 would say nothing.
    """
    table = confusion(truth, guess, languages)
    if not table.sum(1).all():
        raise Problem("macro F1 needs a name of every language; hold out more names")
    return float((2 * table.diagonal() / (table.sum(0) + table.sum(1))).mean())


def right_languages(rows: Sequence[Row]) -> list[set[str]]:
    """Of each row all languages that its name has among the rows."""
    of_name: dict[str, set[str]] = {}
    for name, language in rows:
        of_name.setdefault(plain(name), set()).add(language)
    return [of_name[plain(name)] for name, _ in rows]


def scores(rows: Sequence[Row], guess: Labels, languages: Sequence[str]) -> dict[str, float]:
    """{f1, error}: of rows without repetitions. A name of two languages is two rows, one of which is missed for sure in
    f1; `error` is the share of rows whose guess is none of the languages of the name."""
    truth = labels(rows, languages)
    missed = [languages[g] not in right for g, right in zip(guess, right_languages(rows), strict=True)]
    return {"f1": macro_f1(truth, guess, len(languages)), "error": float(np.mean(missed))}


def baselines(train: Sequence[Row], test: Sequence[Row], languages: Sequence[str]) -> dict[str, float]:
    """The scores of always naming the largest language of `train`, and the best that can be had of names alone.

    f1-ceiling is of an oracle that knows all languages of each name and names the rarest; accuracy-ceiling is the share
    of rows that any rule from names to languages gets at most. `seen` is the share of rows whose name is in `train`.
    """
    sizes = np.bincount(labels(train, languages), minlength=len(languages))
    right = right_languages(test)
    known = {plain(name) for name, _ in train}
    oracle = np.array([min(map(languages.index, of_name), key=lambda i: sizes[i]) for of_name in right])
    majority = scores(test, np.full(len(test), sizes.argmax()), languages)
    return {
        "f1-majority": majority["f1"],
        "error-majority": majority["error"],
        "f1-ceiling": macro_f1(labels(test, languages), oracle, len(languages)),
        "accuracy-ceiling": len({plain(name) for name, _ in test}) / len(test),
        "seen": float(np.mean([plain(name) in known for name, _ in test])),
    }


def labels(rows: Sequence[Row], languages: Sequence[str]) -> Labels:
    """The place of each row's language among the languages."""
    place = {language: i for i, language in enumerate(languages)}
    return np.array([place[language] for _, language in rows])


def within_families(
    truth: Labels, guess: Labels, families: Labels, rng: np.random.Generator, shuffles: int = 200
) -> tuple[float, float]:
    """The share of errors between languages of one family, and the same by chance.

    truth, guess: [errors], never equal at one place; families: [languages]. By chance the guesses are dealt anew among
    the errors; pairs that come out right are no errors and are left out. Raises Problem where there are no errors.
    """
    if not len(truth) or (truth == guess).any():
        raise Problem("confusions are counted among errors alone; there must be some, and nothing else")
    dealt = np.stack([rng.permutation(guess) for _ in range(shuffles)])
    wrong = dealt != truth
    together = (families[dealt] == families[truth]) & wrong
    return float((families[truth] == families[guess]).mean()), float(together.sum() / max(1, wrong.sum()))


def confusions_text(table: np.ndarray, languages: Sequence[str], most: int = 15) -> str:
    """The `most` frequent confusions, a line each, and how many rows of each language are named rightly."""
    wrong = table - np.diag(table.diagonal())
    lines = ["what is confused most, of how many", ""]
    for place in np.argsort(-wrong, axis=None, kind="stable")[:most]:
        truth, guess = divmod(int(place), len(languages))
        if wrong[truth, guess]:
            count = f"{wrong[truth, guess]:4} of {table[truth].sum():5}"
            lines.append(f"{languages[truth]:>12} taken for {languages[guess]:<12} {count}")
    lines += ["", "named rightly, of how many", ""]
    lines += [f"{name:>12} {table[i, i]:5} of {table[i].sum():5}" for i, name in enumerate(languages)]
    return "\n".join(lines) + "\n"


def family_places(languages: Sequence[str], families: Mapping[str, str]) -> Labels:
    """The number of each language's family."""
    order = sorted(set(families.values()))
    return np.array([order.index(families[language]) for language in languages])
