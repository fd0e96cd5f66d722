"""What `etudes ask` does: index documents, find passages, and show answers with what they rest on."""

import contextlib
import hashlib
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from etudes.core.errors import Problem
from etudes.data.sources import cache_folder
from etudes.generate.chat import Chat, chat, check
from etudes.retrieval.answer import ABSENT, answerable, citations, extract_answer, write_answer
from etudes.retrieval.documents import Document, read_documents
from etudes.retrieval.embedders import embedder
from etudes.retrieval.index import Index
from etudes.retrieval.search import Hit, Mode, in_index

NONE = "none"  # the model's name for no model
EXCERPT = 300  # characters of a passage that are shown

Say = Callable[[str], None]


def index_folder(place: Path) -> Path:
    """The folder in the cache of the index of the documents at a path."""
    digest = hashlib.sha256(str(place.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return cache_folder() / "indexes" / f"{place.resolve().name}-{digest[:12]}"


def synchronise(index: Index, documents: Sequence[Document], say: Say) -> None:
    """Make the index hold these documents and no others; what it holds already is not embedded again."""
    names = {document.name for document in documents}
    for listed in index.documents():
        if listed.name not in names:
            index.remove(listed.name)
    for document in documents:
        index.add(document, lambda done, chunks, name=document.name: say(f"\rindexing {name}: {done} of {chunks} "))


def ask(
    place: Path, question: str, *, k: int = 3, mode: Mode = "hybrid", model: str, embed: str, where: str = ""
) -> int:
    """0, after showing the answers to a question from the documents in a file or folder.

    model: of `chat`, or "none"; embed: of `embedder`; where: the index's folder or server, "" for one in the cache.
    """
    if not question.strip():
        raise Problem('ask something: etudes ask DIR-OR-FILE "question"')
    if model != NONE:
        check(model)
    if any("/" in name and not name.startswith("openai:") for name in (model, embed)):
        with contextlib.suppress(ImportError):  # two models are loaded at once, and neither shows its bar
            from transformers.utils import logging

            logging.disable_progress_bar()
    writer = _Loading(model)
    shown = False

    def tell(text: str) -> None:
        nonlocal shown
        shown = True
        print(text, end="", file=sys.stderr, flush=True)

    documents = read_documents(place)
    index = Index(where or index_folder(place), embedder(embed))
    try:
        synchronise(index, documents, tell)
        if shown:
            print(file=sys.stderr)
        hits = in_index(index).search(question, k, mode)
        _show(question, hits, index, writer)
    finally:
        index.close()
    return 0


class _Loading:
    """A chat model that is loaded while the documents are searched."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._failed: Problem | None = None
        self._chat: Chat | None = None
        self._thread = threading.Thread(target=self._load, daemon=True)
        self._thread.start()

    def _load(self) -> None:
        try:
            self._chat = None if self._name == NONE else chat(self._name)
        except Problem as problem:
            self._failed = problem

    def get(self) -> Chat | None:
        """The model, None for "none". Raises Problem where it could not be loaded."""
        self._thread.join()
        if self._failed:
            raise Problem(f"{self._failed}; or add --model none to have the documents quoted alone")
        return self._chat


def _show(question: str, hits: Sequence[Hit], index: Index, writer: _Loading) -> None:
    if not answerable(hits):
        print(f"{ABSENT}; the nearest passages are:\n")
    else:
        quoted = extract_answer(question, hits, index.embedder)
        if quoted:
            print(f"Quoted, the sentence that fits best [{quoted.hit + 1}]:\n  {' '.join(quoted.text.split())}\n")
        model = writer.get()
        if model:
            print(f"In the words of {model.name}, which may be wrong:\n  ", end="", flush=True)
            said = ""
            for piece in write_answer(question, hits, model):
                said += piece
                print(piece, end="", flush=True)
            named = citations(said, hits)
            rests = ", ".join(f"[{n}]" for n in named or range(1, len(hits) + 1))
            print(f"\n  ({'it names' if named else 'it was shown'} {rests})\n")
    for n, hit in enumerate(hits, start=1):
        print(_citation(n, hit))


def _citation(n: int, hit: Hit) -> str:
    chunk = hit.chunk
    page = f", page {chunk.page}" if chunk.page else ""
    scores = ", ".join(f"{name} {score:.3f}" for name, score in hit.scores.items())
    text = " ".join(chunk.text.split())
    text = text if len(text) <= EXCERPT else text[:EXCERPT].rsplit(" ", 1)[0] + " …"
    return f"[{n}] {chunk.document}, characters {chunk.start}-{chunk.end}{page} ({scores})\n    {text}"
