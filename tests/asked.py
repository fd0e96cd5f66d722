"""Sixty questions about ten small documents, all written for this project; fifteen have no answer there.

Half of them is open: what decides on answers may be chosen on it. The other half is sealed and only counts: it is never
looked at one by one. Which is which follows from the questions' own hashes, and the hash of all was committed before
anything was chosen.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from etudes.retrieval.documents import Document, parse
from pdf_files import pdf

FOLDER = Path(__file__).parent / "retrieval" / "questions"
DIGEST = "ec3315008a462dfb75ab518e9eef0e4f01719dbc7cd4daee7c03556b53a706af"

Half = Literal["open", "sealed"]


@dataclass(frozen=True)
class Asked:
    """A question: its language, the document with the answer, and what a right quotation holds; "" where none has."""

    question: str
    language: str
    document: str
    answer: str

    @property
    def key(self) -> str:
        return hashlib.sha256(self.question.encode()).hexdigest()


def files() -> dict[str, bytes]:
    """{name: bytes} of the ten documents; the long one is a PDF with a chapter on each page."""
    found = {path.name: path.read_bytes() for path in sorted((FOLDER / "documents").iterdir())}
    title, _, text = (FOLDER / "harbour.txt").read_text(encoding="utf-8").partition("\n")
    pages = re.split(r"\n(?=Chapter )", text)
    return found | {"harbour.pdf": pdf(*pages, title=title)}


def documents() -> list[Document]:
    return [parse(name, data) for name, data in files().items()]


def questions(half: Half) -> list[Asked]:
    """Every second question, in the order of their hashes, of those with an answer and of those without one."""
    rows = [Asked(**row) for row in json.loads((FOLDER / "questions.json").read_text(encoding="utf-8"))]
    kinds = [sorted((r for r in rows if bool(r.answer) == has), key=lambda r: r.key) for has in (True, False)]
    return [row for kind in kinds for row in kind[("open", "sealed").index(half) :: 2]]


def digest() -> str:
    """The sha256, in hex, of the documents' sources and of all questions with their halves."""
    sources = [FOLDER / "harbour.txt", *sorted((FOLDER / "documents").iterdir())]
    lines = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources]
    lines += [f"{half} {row}" for half in ("open", "sealed") for row in questions(half)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
