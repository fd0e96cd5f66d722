"""Turns of a talk about documents: kept in a file, shown as HTML, written out as Markdown.

All that documents, people and models wrote is text in what is shown, never markup.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from etudes.core.errors import Problem
from etudes.core.files import read_json, write_json
from etudes.retrieval.grounding import find_unsupported
from etudes.web.demos import look

MOST = 50  # turns that are kept
Span = tuple[int, int]
SAYS = {
    "quoted": "Quoted from {place}",
    "unsure": "Not sure; the nearest sentence is this, in {place}",
    "absent": "Not in the documents, as far as this can tell. The nearest passages are below.",
}
STYLE = """<style>
.turn mark { background: rgba(var(--mark), .3); font-weight: 600; border-radius: 2px; }
.turn .doubt { text-decoration: underline wavy #b3261e; text-underline-offset: .25em; }
.dark .turn .doubt { text-decoration-color: #ff8a80; }
.turn .scores { display: none; } .scored .turn .scores { display: inline; }
.turn .unsure { font-style: italic; }
.turn blockquote { max-height: none; } .turn blockquote .soft { color: var(--soft) !important; }
.turn .cite { display: inline; min-width: 0; padding: 0 .15rem !important; background: none !important;
  color: var(--link) !important; font: inherit !important; box-shadow: none !important; }
</style>"""


@dataclass(frozen=True)
class Passage:
    """A part of a document with what stands around it; all places are characters of `text`."""

    document: str
    page: int  # counted from 1; 0 where there are no pages
    begin: int  # of the passage in its document
    text: str
    own: Span  # the passage itself
    quoted: Span | None = None  # the sentence
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def place(self) -> str:
        page = f", page {self.page}" if self.page else ""
        return f"{self.document}{page}, characters {self.begin:,} to {self.begin + self.own[1] - self.own[0]:,}"


@dataclass(frozen=True)
class Answer:
    """One turn: what was asked, what was found, and what a language model made of it where one was asked."""

    question: str
    verdict: str = "absent"  # of etudes.retrieval.quote
    quoted: str = ""  # the sentence; it stands in the first passage
    passages: tuple[Passage, ...] = ()
    model: str = ""  # "": no language model was asked
    said: str = ""
    state: str = ""  # what is still going on

    @property
    def doubts(self) -> list[tuple[Span, list[str]]]:
        """The model's sentences of which a number or a name stands in no passage, with what does not."""
        return find_unsupported(self.said, [passage.text for passage in self.passages])


def save(path: Path, answers: Sequence[Answer]) -> None:
    write_json(path, {"turns": [dataclasses.asdict(answer) for answer in answers]})


def load(path: Path) -> tuple[Answer, ...]:
    """The talk that was saved there; an empty one where none was, or what is there is none."""
    try:
        return tuple(map(_answer, read_json(path, "delete it")["turns"])) if path.exists() else ()
    except (Problem, KeyError, TypeError):
        return ()


def _answer(row: dict[str, Any]) -> Answer:
    passages = (
        Passage(**p | {"own": tuple(p["own"]), "quoted": tuple(p["quoted"]) if p["quoted"] else None})
        for p in row["passages"]
    )
    return Answer(**row | {"passages": tuple(passages)})


def conversation(answers: Sequence[Answer], scores: bool = False) -> str:
    """The talk as HTML, the last turn first."""
    if not answers:
        return look.loading_note(
            "Nothing was asked yet. Every question stands for itself: earlier ones are not remembered."
        )
    turns = [_turn(answer, f"turn-{i}") for i, answer in enumerate(answers)]
    return f'<div class="talk{" scored" * scores}" aria-live="polite">{"".join(reversed(turns))}</div>'


def _turn(answer: Answer, name: str) -> str:
    place = answer.passages[0].document if answer.passages else ""
    page = f", page {answer.passages[0].page}" if answer.passages and answer.passages[0].page else ""
    said = [f'<p class="kind">{escape(SAYS[answer.verdict].format(place=place + page))}</p>']
    if answer.verdict != "absent":
        said.append(f'<p class="answer {answer.verdict}">“{escape(_joined(answer.quoted))}” {_link(1, name)}</p>')
    if answer.model:
        state = f' <span class="soft">{escape(answer.state)}</span>' * bool(answer.state)
        said.append(f'<p class="kind">In the words of {escape(answer.model)}, which may be wrong</p>')
        said.append(f'<p class="answer">{_words(answer, name)}{state}</p>')
        if answer.doubts and not answer.state:
            missing = ", ".join(dict.fromkeys(word for _, some in answer.doubts for word in some))
            told = f"What is underlined stands in no passage that it was shown: {missing}"
            said.append(f'<p class="kind">{escape(told)}</p>')
    passages = "".join(_passage(i, passage, name) for i, passage in enumerate(answer.passages, start=1))
    return f'<section class="turn"><p class="asked">{escape(answer.question)}</p>{"".join(said)}{passages}</section>'


def _words(answer: Answer, name: str) -> str:
    """What the model said: sentences in doubt marked, citations as links."""
    parts, at = [], 0
    for (a, b), missing in answer.doubts:
        title = f"in no passage: {', '.join(missing)}"
        parts.append(_cited(answer.said[at:a], answer, name))
        parts.append(f'<span class="doubt" title="{escape(title)}">{_cited(answer.said[a:b], answer, name)}</span>')
        at = b
    return "".join(parts) + _cited(answer.said[at:], answer, name)


def _cited(text: str, answer: Answer, name: str) -> str:
    def link(found: re.Match[str]) -> str:
        return _link(int(found[1]), name) if 1 <= int(found[1]) <= len(answer.passages) else found[0]

    return re.sub(r"\[(\d{1,3})\]", link, escape(text))


def _link(number: int, name: str) -> str:
    about = f"Open passage {number}"
    return f'<button type="button" class="cite" data-passage="{name}-{number}" aria-label="{about}">[{number}]</button>'


def _passage(number: int, passage: Passage, name: str) -> str:
    (a, b), text = passage.own, passage.text
    scores = " · ".join(f"{kind} {score:.3g}" for kind, score in passage.scores.items())
    spans = [(0, a, "soft"), (a, b, ""), (b, len(text), "soft")]
    if passage.quoted:
        c, d = passage.quoted
        before = [(lo, min(hi, c), kind) for lo, hi, kind in spans]
        spans = [*before, (c, d, "mark"), *((max(lo, d), hi, kind) for lo, hi, kind in spans)]
    shown = "".join(_span(text[lo:hi], kind) for lo, hi, kind in spans if lo < hi)
    return (
        f'<details class="plain passage" id="{name}-{number}"><summary>[{number}] {escape(passage.place)} '
        f'<span class="soft scores">{escape(scores)}</span></summary><blockquote>{shown}</blockquote></details>'
    )


def _span(text: str, kind: str) -> str:
    if kind == "mark":
        return f"<mark>{escape(text)}</mark>"
    return f'<span class="{kind}">{escape(text)}</span>' if kind else escape(text)


def markdown(answers: Sequence[Answer]) -> str:
    """The talk as Markdown, in the order in which it went."""
    parts = ["# A talk about documents"]
    for answer in answers:
        parts.append(f"## {_plain(answer.question)}")
        if answer.verdict == "absent":
            parts.append("Not in the documents, as far as this can tell.")
        elif answer.passages:
            doubt = "Not sure; the nearest sentence is:\n\n" * (answer.verdict == "unsure")
            parts.append(f"{doubt}> {_plain(answer.quoted)}\n\n{_plain(answer.passages[0].place)}")
        if answer.model:
            parts.append(f"In the words of {_plain(answer.model)}, which may be wrong: {_plain(answer.said)}")
            missing = [word for _, some in answer.doubts for word in some]
            parts += [f"In no passage that it was shown: {_plain(', '.join(missing))}."] if missing else []
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """A text on one line, in which nothing is markup."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", _joined(text))


def _joined(text: str) -> str:
    return " ".join(text.split())
