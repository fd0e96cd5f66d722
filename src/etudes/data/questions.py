"""Questions with answers that stand in a text, and questions that no text answers.

Two sets: `xquad`, whose questions were written by people who saw the paragraph (Artetxe, Ruder and Yogatama 2020,
arXiv:1910.11856, sec. 4; the English ones are SQuAD's), and `debian-faq`, written for this project by reading the
sections of Debian's FAQ and asking in other words than theirs, 25 and more of them about what it does not say.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from etudes.core.errors import Problem, unknown
from etudes.data.sources import SOURCES, cache_folder, read_first, read_hub, read_mirror
from etudes.data.sources.carriers import fetch

ASKED = Path(__file__).parent / "debian_faq_questions.json"
PARAGRAPHS = 5  # of each of XQuAD's articles, in order

Split = Literal["validation", "test"]


@dataclass(frozen=True)
class Passage:
    """A text that questions are asked about. `group` names what it is a part of: an article, a chapter."""

    name: str
    title: str
    text: str
    group: str


@dataclass(frozen=True)
class Question:
    """A question; its answer stands in the passage of that name at start:end. Without an answer, passage is ""."""

    text: str
    answer: str
    passage: str
    start: int
    split: Split

    @property
    def end(self) -> int:
        return self.start + len(self.answer)


@dataclass(frozen=True, eq=False)
class Questions:
    """A set of questions about passages; no group of passages is in two splits."""

    name: str
    passages: tuple[Passage, ...]
    questions: tuple[Question, ...]
    source: dict[str, str]  # dataset, kind, says, fingerprint


def questions(name: str) -> Questions:
    """The questions of "xquad", "debian-faq" or "capitals" (generated, tiny).

    Raises Problem for another name, and where no source of the set can be reached.
    """
    if name == "capitals":
        return capitals()
    if name not in ("xquad", "debian-faq"):
        raise unknown("set of questions", name, ["xquad", "debian-faq", "capitals"])
    source = SOURCES[name]
    if name == "debian-faq":

        def carried(kind: str) -> Questions:
            assert source.carrier is not None
            text = gzip.decompress(fetch(source.carrier, cache_folder()).read_bytes()).decode()
            return of_faq(sections(text), json.loads(ASKED.read_text(encoding="utf-8")), kind)

        return read_first(source, carried)

    def read(kind: str) -> Questions:
        tables = read_mirror(source) if kind == "mirror" else read_hub(source)
        rows = next(iter(tables.values()))
        if not {"context", "question", "answers"} <= {*rows.column_names}:
            raise Problem(f"{source.folder} needs the columns context, question, answers; copy it again")
        return of_squad([dict(row) for row in rows], kind)

    return read_first(source, read)


def _group_split(group: str, share: float = 0.25) -> Split:
    """A group's split, by its hash: about `share` of the groups are for validation."""
    return "validation" if int(hashlib.sha256(group.encode()).hexdigest(), 16) % 1000 < 1000 * share else "test"


def of_squad(rows: Sequence[dict], kind: str) -> Questions:
    """The questions of rows in SQuAD's layout, split by article."""
    texts = list(dict.fromkeys(row["context"] for row in rows))
    passages = {
        text: Passage(f"p{i:03}", f"paragraph {i}", text, f"article {i // PARAGRAPHS}") for i, text in enumerate(texts)
    }
    found = []
    for row in rows:
        passage = passages[row["context"]]
        answer, start = row["answers"]["text"][0], row["answers"]["answer_start"][0]
        if passage.text[start : start + len(answer)] != answer:
            raise Problem(
                f"the answer of question '{row['question']}' does not stand where it should; get the set again"
            )
        found.append(Question(row["question"], answer, passage.name, start, _group_split(passage.group)))
    says = "English XQuAD, which is part of SQuAD's development set, split by article"
    return _assemble("xquad", tuple(passages.values()), found, kind, says)


def sections(text: str) -> tuple[Passage, ...]:
    """The numbered sections of the FAQ's plain text, lines joined to paragraphs; what has subsections has its own words
    alone."""
    lines = [line.strip() for line in text.replace("\xa0", " ").splitlines()]
    first = next((i for i, line in enumerate(lines) if line.startswith("Chapter 1. ")), 0)
    kept = "\n".join(line for line in lines[first:] if not re.fullmatch(r"-+", line))
    paragraphs = re.split(r"\n{2,}", re.sub(r"/\n(?=\w)", "/", kept))  # paths and addresses are broken after a slash
    found: list[tuple[str, str, list[str]]] = []
    for paragraph in (" ".join(p.split()) for p in paragraphs):
        heading = re.match(r"(\d+(?:\.\d+)+)\. ", paragraph)
        if heading:
            found.append((heading[1], paragraph, []))
        elif paragraph.startswith("Chapter ") and re.match(r"Chapter \d+\. ", paragraph):
            found.append((paragraph.split()[1], paragraph, []))
        elif found and paragraph:
            found[-1][2].append(paragraph)
    return tuple(
        Passage(number.rstrip("."), title, "\n\n".join([title, *body]), f"chapter {number.split('.')[0]}")
        for number, title, body in found
        if body
    )


def of_faq(passages: Sequence[Passage], asked: Sequence[dict[str, str]], kind: str) -> Questions:
    """The questions {"question", "answer", "section"} about the passages, split by chapter; those without an answer are
    split by their own words. Raises Problem where an answer does not stand in its section."""
    by_name = {passage.name: passage for passage in passages}
    found = []
    for row in asked:
        if not row["answer"]:
            found.append(Question(row["question"], "", "", 0, _group_split(row["question"], 0.4)))
            continue
        passage = by_name.get(row["section"])
        body = passage.text if passage else ""
        # Where a title has the answer too, it is the text below that gives it.
        start = body.find(row["answer"], len(passage.title) if passage else 0)
        if passage is None or start < 0:
            raise Problem(f"section {row['section']} of the FAQ does not hold '{row['answer']}'; it is another version")
        chapter = int(passage.group.split()[1])
        split: Split = "validation" if chapter % 3 == 2 else "test"
        found.append(Question(row["question"], row["answer"], passage.name, start, split))
    says = "Debian's FAQ with questions written for this project, split by chapter"
    return _assemble("debian-faq", tuple(passages), found, kind, says)


_PLACES = (
    ("Norway", "Oslo", "krone"),
    ("Japan", "Tokyo", "yen"),
    ("Kenya", "Nairobi", "shilling"),
    ("Peru", "Lima", "sol"),
    ("Poland", "Warsaw", "zloty"),
    ("Thailand", "Bangkok", "baht"),
    ("Hungary", "Budapest", "forint"),
    ("Ghana", "Accra", "cedi"),
    ("Vietnam", "Hanoi", "dong"),
    ("Denmark", "Copenhagen", "krone"),
    ("Turkey", "Ankara", "lira"),
    ("Chile", "Santiago", "peso"),
)
_WITHOUT = ("What is the capital of Atlantis?", "What is paid with in Utopia?", "Who wrote the third symphony?")


def capitals() -> Questions:
    """Two questions about each of twelve countries and some that have no answer: generated, for trying things out."""
    passages, found = [], []
    for i, (country, capital, money) in enumerate(_PLACES):
        text = f"{country} is a country. The government of {country} sits in its capital {capital}. "
        text += f"Goods there are paid in the local currency, the {money}. Many visitors of {country} travel by train."
        passages.append(Passage(country, country, text, country))
        split: Split = "validation" if i % 3 == 0 else "test"
        for asked, answer in (
            (f"What is the capital of {country}?", capital),
            (f"What is paid with in {country}?", money),
        ):
            found.append(Question(asked, answer, country, text.index(answer), split))
    found += [Question(text, "", "", 0, split) for text in _WITHOUT for split in ("validation", "test")]
    return _assemble("capitals", tuple(passages), found, "embedded", "twelve generated texts of four sentences")


def _assemble(name: str, passages: Sequence[Passage], found: Sequence[Question], kind: str, says: str) -> Questions:
    lines = [f"{p.name}\t{p.text}" for p in passages]
    lines += [f"{q.text}\t{q.answer}\t{q.passage}\t{q.start}\t{q.split}" for q in found]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    counts = ", ".join(f"{split} {sum(q.split == split for q in found):,}" for split in ("validation", "test"))
    told = {"dataset": name, "kind": kind, "says": f"{says}: questions {counts}", "fingerprint": digest}
    return Questions(name, tuple(passages), tuple(found), told)
