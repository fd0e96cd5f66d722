"""The texts of the study: Italian and its dialects, cleaned once, and what of them a run learns and is asked.

A corpus is cleaned by `etudes.data.corpus`: lines in another language, lines that stand there twice and training lines
that share 13 words in a row with what is held out are left out, and counted.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from etudes.core import Problem, Run
from etudes.core.files import write_json
from etudes.data.corpus import SHORT, Identifier, Work, build, plain, read_folder, split_works
from etudes.data.dialects import LANGUAGES, dialect_texts, identification_lines
from etudes.data.text import SPLITS, Texts, beginnings, fingerprint, texts
from etudes.measure.bits import unigram_bits
from etudes.measure.ngrams import ngrams

if TYPE_CHECKING:
    from etudes.studies.language.dialect_lora import Config

FOLDER = "folder:"  # a dataset of this beginning is a folder of the user's
ITALIAN, ENGLISH, VENETIAN = "it", "en", "vec"
RELATED = ("lmo", "lij", "scn")  # dialects after which Venetian is asked about as well
TOLD_APART = ("it", "en", "vec", "scn", "lmo", "lij", "nap")
KNOWN = 1500  # lines of a set from which a language is learnt to be told apart
ORDERS = 6  # bytes of the longest n-gram
SHARED_SEED = 0  # corpora and tests are the same under all seeds


@dataclass(frozen=True)
class Corpus:
    """Documents of one language in three parts, and what was counted when they were cleaned and measured."""

    texts: Texts
    counts: dict[str, float]

    def draw(self, share: float, rng: np.random.Generator) -> list[str]:
        """A share of the training documents, at least one, in their order."""
        documents = self.texts.train
        chosen = rng.permutation(len(documents))[: max(1, round(share * len(documents)))]
        return [documents[i] for i in sorted(chosen)]


def home(cfg: "Config", language: str) -> str:
    """The set that has the language's documents: all but Neapolitan stand in the main one."""
    return cfg.messages if language == "nap" and not cfg.dataset.startswith(FOLDER) else cfg.dataset


def corpus(cfg: "Config", run: Run, language: str, name: str = "") -> Corpus:
    """The cleaned corpus of a language, from the set `name` (its home unless named), made once for all runs."""
    name = name or home(cfg, language)
    settings = {"set": name, "language": language, "messages": cfg.messages, "tested": cfg.tested}

    def make(own: Run) -> None:
        parts, source = _parts(name, language)
        known = _known(cfg, name, language, parts)
        found = build(parts, language, Identifier(known))
        works = {split: [work.text for work in getattr(found, split)] for split in SPLITS}
        left_out = {"all": found.lines, "foreign": found.foreign, "repeated": found.repeated}
        left_out["overlapping"] = found.overlapping
        tested = beginnings(works["test"], cfg.tested)
        own.result(
            **{f"train/lines-{what}": count for what, count in left_out.items()},
            **{f"test/bits-per-byte-{ORDERS}-grams": ngram_bits(works["train"], tested)},
            **{"test/bits-per-byte-unigram": unigram_bits(works["train"], tested)},
        )
        about = source | {"fingerprint": fingerprint(works)}
        own.note(data=about)
        write_json(own.path("works.json"), {"works": works, "source": about})

    made = run.once("corpus", settings, make, seed=SHARED_SEED)
    kept = json.loads((made.folder / "works.json").read_text(encoding="utf-8"))
    works = {split: tuple(kept["works"][split]) for split in SPLITS}
    return Corpus(Texts(name, **works, source=kept["source"]), dict(made.metrics))


def italian_corpora(cfg: "Config", run: Run) -> dict[str, Corpus]:
    """{set: its Italian}, of the sets that have some: a folder of the user's need not."""
    sets = dict.fromkeys(name for name in (cfg.dataset, cfg.messages) if not name.startswith(FOLDER))
    return {name: corpus(cfg, run, ITALIAN, name) for name in sets}


def _parts(name: str, language: str) -> tuple[dict[str, list[Work]], dict[str, str]]:
    """The works of a set or a folder in one language, and what is said of their source."""
    if name.startswith(FOLDER):
        found = [work for work in read_folder(Path(name.removeprefix(FOLDER))) if work.language == language]
        licences = ", ".join(sorted({work.licence for work in found}))
        says = f"{len(found)} works of a folder of the user's ({licences})"
        return split_works(found), {"dataset": "own-folder", "kind": "folder", "says": says}
    d = dialect_texts(name, language)
    works = {
        split: [Work(f"{split}-{i}", language, "", text) for i, text in enumerate(getattr(d, split))]
        for split in SPLITS
    }
    return works, d.source


def _known(cfg: "Config", name: str, language: str, parts: dict[str, list[Work]]) -> dict[str, list[str]]:
    """Lines of each language, of training documents, by which languages are told apart."""
    if name.startswith(FOLDER):
        own = [work.text for work in parts["train"]]
        return {language: _lines(own), ITALIAN: _lines(dialect_texts(cfg.messages, ITALIAN).train)}
    known = {}
    for code in {language: None} | dict.fromkeys(TOLD_APART):
        sets = dict.fromkeys(each for each in (home(cfg, code), cfg.messages) if not each.startswith(FOLDER))
        known[code] = [line for each in sets for line in _lines(dialect_texts(each, code).train)]
    return known


def _lines(works: Sequence[str]) -> list[str]:
    """Lines from all over the works that are long enough to say something of their language."""
    lines = [line for work in works for line in map(plain, work.split("\n")) if len(line) >= SHORT]
    return lines[:: max(1, len(lines) // KNOWN)][:KNOWN]


def other_texts(cfg: "Config", run: Run) -> dict[str, list[str]]:
    """Beginnings of works of which nothing is learnt: of Italian novels, and of the dialect from another source.

    Read once for all runs, as the novels are large; "elsewhere" is [] where there is no such source.
    """
    settings = {"novels": cfg.novels, "dataset": cfg.dataset, "messages": cfg.messages, "dialect": cfg.dialect}

    def make(own: Run) -> None:
        books = novels(cfg)
        own.note(data=books.source)
        asked = {"novels": books.test, "elsewhere": _elsewhere(cfg, cfg.dialect)}
        found = {name: beginnings(works, cfg.tested) if works else [] for name, works in asked.items()}
        write_json(own.path("works.json"), found)
        own.result(**{"test/works": sum(map(len, found.values()))})

    made = run.once("others", settings | {"tested": cfg.tested}, make, seed=SHARED_SEED)
    return dict(json.loads((made.folder / "works.json").read_text(encoding="utf-8")))


def novels(cfg: "Config") -> Texts:
    """The Italian novels, or where none can be had made-up Italian."""
    drawn = cfg.novels == "drawn-dialects"
    return dialect_texts(cfg.novels, ITALIAN) if drawn else texts(cfg.novels)


def _elsewhere(cfg: "Config", language: str) -> list[str]:
    """Text of a dialect from another source, in other spellings: a play of Goldoni's, articles in Milanese, lines to be
    identified, the messages of a program."""
    if cfg.dataset.startswith(FOLDER):
        return []
    if cfg.dataset == "drawn-dialects":
        return [work.replace("c", "k") for work in dialect_texts(cfg.dataset, language).test]
    if language == "vec":
        return [*dialect_texts("goldoni", language).test]
    if language == "lmo":
        return [*texts("milanese").test]
    if language == "nap":
        return ["\n".join(identification_lines()[language])]
    return [*dialect_texts(cfg.messages, language).test]


def stretches(works: Sequence[str], characters: int, rng: np.random.Generator) -> list[str]:
    """A stretch of each work from a place that is drawn, about so many characters in all."""
    each = max(1, characters // len(works))
    return [work[(begin := int(rng.integers(max(1, len(work) - each)))) : begin + each] for work in works]


def ngram_bits(train: Sequence[str], test: Sequence[str], orders: int = ORDERS) -> float:
    """Bits per byte of test works for an interpolated n-gram model of the training works' bytes: it reads all of them,
    as often as a network, and is the baseline that knows no other language."""
    learnt, asked = (np.frombuffer("\n".join(works).encode(), np.uint8) for works in (train, test))
    return float(-np.log2(ngrams(learnt, asked, 256, orders)[-1]).mean())


def check_language(cfg: "Config") -> None:
    """Raises Problem where the dialect is none that the set has."""
    if not cfg.dataset.startswith(FOLDER) and cfg.dialect not in LANGUAGES:
        raise Problem(f"'{cfg.dialect}' is no language here; take one of {', '.join(LANGUAGES)}, or a folder of yours")
