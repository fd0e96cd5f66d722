"""Sentences whose words have parts of speech, as in treebanks of Universal Dependencies, and where they are from."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from etudes.core.errors import Problem, unknown
from etudes.data.sources import SOURCES, mirror_folder, read_mirror

if TYPE_CHECKING:
    from datasets import DatasetDict

SEQUOIA = SOURCES["sequoia"]
CONTRACTIONS = {("de", "le"): "du", ("de", "les"): "des", ("à", "le"): "au", ("à", "les"): "aux"}
COLUMNS = ("source", "text", "tokens", "upos")
GENRES = ("emea", "europarl", "news_est_republicain", "wikipedia")  # medicines, parliament, a newspaper, Wikipedia
OWN = (  # written for this project, for where no treebank can be had
    "Le/DET maire/NOUN ouvre/VERB la/DET porte/NOUN de/ADP la/DET salle/NOUN .",
    "Les/DET enfants/NOUN jouent/VERB dans/ADP la/DET cour/NOUN ,/PUNCT et/CCONJ ils/PRON rient/VERB .",
    "Elle/PRON a/AUX donné/VERB une/DET lettre/NOUN à/ADP Marie/PROPN .",
    "Ce/DET train/NOUN part/VERB demain/ADV de/ADP Lyon/PROPN .",
    "Nous/PRON avons/AUX vu/VERB trois/NUM petites/ADJ maisons/NOUN .",
    "Il/PRON dit/VERB que/SCONJ le/DET temps/NOUN est/AUX beau/ADJ .",
)


class Word(NamedTuple):
    """A word of a sentence: text[begin:end], and its universal part of speech, such as NOUN."""

    begin: int
    end: int
    tag: str


@dataclass(frozen=True)
class Sentence:
    text: str
    words: tuple[Word, ...]  # in order; those of letters alone that stand in the text as the treebank has them


def sentences(name: str, source: str = "") -> tuple[list[Sentence], dict[str, str]]:
    """The sentences of "sequoia" (all its splits) or "own" (six, in this file), and what is known of their source.

    `source` chooses a part of Sequoia, such as "news_est_republicain"; "": all. The text sets of `etudes.data.text` do
    not hold it: whoever trains on Sequoia must not test here. Problem for other names, and where there is no mirror.
    """
    if name == "own":
        return [_tagged(line) for line in OWN], _source("own", "embedded", f"{len(OWN)} sentences of the project", OWN)
    if name != SEQUOIA.name:
        raise unknown("treebank", name, [SEQUOIA.name, "own"])
    rows = [row for table in _tables().values() for row in table if source in ("", row["source"])]
    if not rows:
        raise Problem(f"{name} has no sentences of source '{source}'; see its column source")
    says = f"{SEQUOIA.folder}: {len(rows):,} sentences of {source or 'all sources'}, of all its splits"
    found = [align(row["text"], row["tokens"], row["upos"]) for row in rows]
    return found, _source(name, "mirror", says, [row["text"] for row in rows])


def genres() -> tuple[dict[str, tuple[list[str], list[int]]], dict[str, str]]:
    """(split -> (sentences, numbers of their GENRES)) of Sequoia, and what is known of their source.

    The splits are the treebank's own; a text that stands twice is kept where it stands first, in the order train,
    validation, test. Problem where there is no mirror, and for a source that is none of GENRES.
    """
    tables, met = _tables(), set()
    found: dict[str, tuple[list[str], list[int]]] = {}
    for split in ("train", "validation", "test"):
        texts, labels = found.setdefault(split, ([], []))
        for row in tables[split]:
            if row["source"] not in GENRES:
                raise unknown("genre", row["source"], GENRES)
            if row["text"].lower() not in met:
                met.add(row["text"].lower())
                texts.append(row["text"])
                labels.append(GENRES.index(row["source"]))
    says = f"{SEQUOIA.folder}: {len(met):,} sentences of {len(GENRES)} genres, none twice"
    return found, _source(SEQUOIA.name, "mirror", says, [text for texts, _ in found.values() for text in texts])


def _tables() -> "DatasetDict":
    if mirror_folder(SEQUOIA) is None:
        raise Problem(
            f"{SEQUOIA.name} cannot be had: set ETUDES_MIRROR to a folder that holds {SEQUOIA.folder}, or take 'own'"
        )
    tables = read_mirror(SEQUOIA)
    if not all({*COLUMNS} <= {*table.column_names} for table in tables.values()):
        raise Problem(f"{SEQUOIA.folder} needs the columns {', '.join(COLUMNS)}; copy the set into the mirror again")
    return tables


def _source(name: str, kind: str, says: str, texts: Iterable[str]) -> dict[str, str]:
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    return {"dataset": name, "kind": kind, "says": says, "fingerprint": digest}


def align(text: str, tokens: Sequence[str], tags: Iterable[str]) -> Sentence:
    """The sentence whose treebank words are found in its text one after the other.

    Treebanks part "du" into "de" and "le": the two are one word here, with the tag of the first. A word that does not
    come next in the text, or has other signs than letters, is left out.
    """
    tagged = [*zip(tokens, tags, strict=True), ("", "")]
    words, at, i = [], 0, 0
    while i + 1 < len(tagged):
        (token, tag), (after, _) = tagged[i : i + 2]
        begin = len(text) - len(text[at:].lstrip())
        joined = CONTRACTIONS.get((token.lower(), after.lower()), "")
        if joined and text[begin:].lower().startswith(joined) and _ends(text, begin + len(joined)):
            end, i = begin + len(joined), i + 2
        elif text.startswith(token, begin):
            end, i = begin + len(token), i + 1
        else:
            i += 1
            continue
        if text[begin:end].isalpha() and _ends(text, end):
            words.append(Word(begin, end, tag))
        at = end
    return Sentence(text, tuple(words))


def _ends(text: str, end: int) -> bool:
    """Whether no letter follows."""
    return end >= len(text) or not text[end].isalpha()


def _tagged(line: str) -> Sentence:
    pairs = [word.rpartition("/")[::2] for word in line.removesuffix(" .").split()]
    text = " ".join(word for word, _ in pairs).replace(" ,", ",") + "."
    return align(text, [word for word, _ in pairs], [tag for _, tag in pairs])
