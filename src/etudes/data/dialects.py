"""Texts in Italian and in dialects of Italy, split by document; a document is in the same split in every language."""

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from etudes.core.errors import Problem, unknown
from etudes.data.corpus import SHARES
from etudes.data.sources import SOURCES, Source, mirror_folder, unreachable
from etudes.data.text import SPLITS, Texts, fingerprint, split_of

LANGUAGES = {  # code -> name; the first two are those that dialects are compared with
    "it": "Italian",
    "en": "English",
    "vec": "Venetian",
    "scn": "Sicilian",
    "lmo": "Lombard",
    "lij": "Ligurian",
    "nap": "Neapolitan",
    "fur": "Friulian",
    "sc": "Sardinian",
}
SEED = {"it": "ita", "en": "eng", "vec": "vec", "scn": "scn", "lmo": "lmo", "lij": "lij", "fur": "fur", "sc": "srd"}
PLAYS = {"goldoni-le-baruffe-chiozzotte": "validation", "goldoni-i-rusteghi": "test"}  # the other three: training

Rows = list[dict[str, Any]]
Documents = Mapping[str, list[str]]  # name -> lines


def dialect_texts(name: str, language: str) -> Texts:
    """The texts of a declared set in one of LANGUAGES, a line a sentence, message or speech.

    Sets are oldi-seed, i18n-dialects, goldoni (Venetian alone), and drawn-dialects, which is made up. Raises Problem
    for another set, a language that it does not have, and where the mirror does not hold it.
    """
    source = _declared(name)
    readers: dict[str, Callable[[], Mapping[str, Documents]]] = {
        "oldi-seed": lambda: _split(_articles(source, language)),
        "i18n-dialects": lambda: _split(_messages(source, language)),
        "goldoni": lambda: _plays(source, language),
        "drawn-dialects": lambda: _split(drawn_documents(language)),
    }
    if name not in readers:
        raise Problem(f"{name} holds single lines, no texts; take one of {', '.join(readers)}")
    parts = readers[name]()
    works = {split: tuple("\n".join(lines) for lines in parts[split].values()) for split in SPLITS}
    counts = ", ".join(f"{split} {len(works[split])} ({sum(map(len, works[split])):,})" for split in SPLITS)
    says = f"{source.folder}, {LANGUAGES[language]}: documents (characters) {counts}; {source.says}"
    kind = "embedded" if source.embedded else "mirror"
    about = {"dataset": f"{name}-{language}", "kind": kind, "says": says, "fingerprint": fingerprint(works)}
    return Texts(name, **works, source=about)


def identification_lines(most: int = 0) -> dict[str, list[str]]:
    """{language: lines} of ITDI's two parts together, in their order, the first `most` of a language; 0: all.

    They are for trying out what identifies languages. Raises Problem where the mirror does not hold them.
    """
    source = _declared("itdi-2022")
    found: dict[str, list[str]] = {}
    for row in _read(source, "data"):
        lines = found.setdefault(source.classes[int(row["label"])], [])
        if not most or len(lines) < most:
            lines.append(row["text"])
    return found


def describe(name: str) -> Texts:
    """The set in the first language that it has, for `etudes data get`."""
    if name == "itdi-2022":
        lines = {language: "\n".join(found) for language, found in identification_lines().items()}
        says = ", ".join(f"{language} {text.count(chr(10)) + 1:,}" for language, text in lines.items())
        return Texts(name, tuple(lines.values()), (), (), {"says": f"lines: {says}", "kind": "mirror"})
    return dialect_texts(name, "vec" if name == "goldoni" else "it")


def _declared(name: str) -> Source:
    source = SOURCES.get(name)
    if source is None or source.task != "dialects":
        raise unknown("set of dialects", name, [s.name for s in SOURCES.values() if s.task == "dialects"])
    return source


def _read(source: Source, folder: str) -> Rows:
    """The rows of the Parquet files in a folder of the set, those of its training and validation part first."""
    import pyarrow.parquet

    whole = mirror_folder(source)
    if whole is None:
        raise unreachable(source, {})
    files = sorted((whole / folder).glob("*.parquet"), key=lambda file: (file.name.startswith("test"), file.name))
    if not files:
        raise Problem(f"{source.name} has no text in {whole / folder}; copy the set into the mirror again")
    return [row for file in files for row in _rows(file, source, pyarrow.parquet.read_table)]


def _rows(file: Path, source: Source, read: Callable[..., Any]) -> Rows:
    try:
        rows: Rows = read(file, columns=[*source.columns]).to_pylist()
    except (OSError, ValueError, KeyError):
        raise Problem(f"{file} is damaged; copy it into the mirror again, or unset ETUDES_MIRROR") from None
    return rows


def _articles(source: Source, language: str) -> Documents:
    if language not in SEED:
        raise unknown(f"language of {source.name}", language, [*SEED])
    return _grouped((row["url"], row["text"]) for row in _read(source, f"{SEED[language]}_Latn"))


def _messages(source: Source, language: str) -> Documents:
    if language not in LANGUAGES:
        raise unknown(f"language of {source.name}", language, [*LANGUAGES])
    # A module's messages on one thing begin with one word; the module of all pages is too large for one document.
    rows = ((row["key"].removeprefix("extensions-core/"), row["text"]) for row in _read(source, language))
    return _grouped((key.split("-")[0], " ".join(text.split())) for key, text in rows)


def _plays(source: Source, language: str) -> dict[str, Documents]:
    if language != "vec":
        raise unknown(f"language of {source.name}", language, ["vec"])
    plays = _grouped((row["play"], row["text"]) for row in _read(source, "data") if row["play_variety"] == "vec")
    return {split: {p: v for p, v in plays.items() if PLAYS.get(p, "train") == split} for split in SPLITS}


def _grouped(rows: Iterable[tuple[str, str]]) -> Documents:
    """The lines of each document in their order, without those that are empty."""
    found: dict[str, list[str]] = {}
    for name, text in rows:
        if text.strip():
            found.setdefault(name, []).append(text.strip())
    return found


def _split(documents: Documents) -> dict[str, Documents]:
    return {split: {d: v for d, v in documents.items() if split_of(d, SHARES) == split} for split in SPLITS}


# Made up

STEMS = (
    "gatt", "cavall", "nott", "fattor", "mercant", "vicin", "campan", "fontan", "lettor", "amic", "pescator", "cort",
    "pont", "libr", "piazz", "barc", "signor", "giardin", "strad", "montagn", "vent", "cittadin", "castell", "mulin",
    "pastor", "vign", "fest", "scol", "teatr", "palazz",
)  # fmt: skip
VERBS = ("guarda", "trova", "porta", "aspetta", "lascia", "chiama", "saluta", "cerca", "perde", "vende")
LINKS = ("dentro", "vicino", "sotto", "dopo", "senza", "davanti")
RULES: dict[str, tuple[tuple[str, str], ...]] = {
    "it": (),
    "en": (("il ", "the "), ("la ", "the "), ("un ", "a "), ("una ", "a ")),
    "vec": (("il ", "el "), ("tt", "t"), ("ll", "l"), ("zz", "s"), ("c", "ç"), ("nn", "n")),
    "lmo": (("il ", "el "), ("tt", "t"), ("ll", "l"), ("zz", "zz"), ("o ", " "), ("e ", " ")),
    "lij": (("il ", "o "), ("tt", "t"), ("v", "b"), ("r", "l"), ("o ", "u ")),
    "scn": (("il ", "lu "), ("o ", "u "), ("e ", "i "), ("ll", "dd")),
    "nap": (("il ", "'o "), ("la ", "'a "), ("o ", "e "), ("nd", "nn")),
    "fur": (("il ", "al "), ("o ", " "), ("a ", "e ")),
    "sc": (("il ", "su "), ("o ", "u "), ("la ", "sa ")),
}


@functools.cache
def drawn_documents(language: str, count: int = 60, lines: int = 12) -> Documents:
    """Made-up documents, the same at each call: in Italian, and in others by rules of sounds and endings."""
    if language not in RULES:
        raise unknown("language of drawn-dialects", language, [*RULES])
    rng = np.random.default_rng(20220712)
    found = {}
    for document in range(count):
        own = rng.choice(len(STEMS), 6, replace=False)  # a document is about few things
        sentences = [_sentence(rng, [STEMS[i] for i in own]) for _ in range(lines)]
        for there, here in RULES[language]:
            sentences = [s.replace(there, here) for s in sentences]
        found[f"document-{document}"] = [s.strip() + "." for s in sentences]
    return found


def _sentence(rng: np.random.Generator, stems: list[str]) -> str:
    def noun() -> str:
        stem, female = str(rng.choice(stems)), rng.random() < 0.5
        return f"{'la' if female else 'il'} {stem}{'a' if female else 'o'}"

    return f"{noun()} {rng.choice(VERBS)} {noun()} {rng.choice(LINKS)} {noun()} "
