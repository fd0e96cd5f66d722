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
from etudes.retrieval.answer import citations, write_answer
from etudes.retrieval.documents import Document, read_documents
from etudes.retrieval.embedders import embedder
from etudes.retrieval.grounding import find_unsupported
from etudes.retrieval.index import Index
from etudes.retrieval.quote import Quotation, quoter
from etudes.retrieval.search import Hit, Mode, in_index, with_passage

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
    place: Path,
    question: str,
    *,
    k: int = 3,
    mode: Mode = "hybrid",
    model: str = NONE,
    embed: str,
    where: str = "",
    scores: bool = False,
) -> int:
    """0, after showing the answer to a question from the documents in a file or folder.

    model: of `chat`, or "none"; embed: of `embedder`; where: the index's folder or server, "" for one in the cache;
    scores: whether they are shown.
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

    def tell_left_out(sentence: str) -> None:
        print(f"etudes: {sentence}", file=sys.stderr)

    documents = read_documents(place, tell_left_out)
    index = Index(where or index_folder(place), embedder(embed))
    try:
        synchronise(index, documents, tell)
        if shown:
            print(file=sys.stderr)
        searcher = in_index(index)
        hits = searcher.search(question, k, mode)
        kept = index_folder(place) if not where or "://" in where else Path(where)
        quoted = quoter(index, kept / "sentences").quote(question)
        if quoted and quoted.verdict != "absent":
            hits = with_passage(hits, quoted.sentence.document, quoted.sentence.start, searcher.chunks)
        _show(question, hits, quoted, writer, scores)
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


def _show(question: str, hits: Sequence[Hit], quoted: Quotation | None, writer: _Loading, scores: bool) -> None:
    if quoted is None or quoted.verdict == "absent":
        print("Not in the documents, as far as this can tell; the nearest passages are:\n")
    else:
        sure = f"Quoted from {quoted.sentence.document} [1]:"
        doubt = f"Not sure; the nearest sentence is this, in {quoted.sentence.document} [1]:"
        told = f" (score {quoted.score:.1f})" * scores
        print(f"{sure if quoted.verdict == 'quoted' else doubt}{told}\n  {' '.join(quoted.sentence.text.split())}\n")
        model = writer.get()
        if model:
            _say(question, hits, model)
    for n, hit in enumerate(hits, start=1):
        print(_citation(n, hit, scores))


def _say(question: str, hits: Sequence[Hit], model: Chat) -> None:
    print(f"In the words of {model.name}, which may be wrong:\n  ", end="", flush=True)
    said = ""
    for piece in write_answer(question, hits, model):
        said += piece
        print(piece, end="", flush=True)
    named = citations(said, hits)
    rests = ", ".join(f"[{n}]" for n in named or range(1, len(hits) + 1))
    print(f"\n  ({'it names' if named else 'it was shown'} {rests})")
    for (a, b), missing in find_unsupported(said, [hit.chunk.text for hit in hits]):
        print(f"  (in no passage: {', '.join(missing)}, of “{' '.join(said[a:b].split())}”)")
    print()


def _citation(n: int, hit: Hit, scored: bool) -> str:
    chunk = hit.chunk
    page = f", page {chunk.page}" if chunk.page else ""
    scores = f" ({', '.join(f'{name} {score:.3f}' for name, score in hit.scores.items())})" * scored
    text = " ".join(chunk.text.split())
    text = text if len(text) <= EXCERPT else text[:EXCERPT].rsplit(" ", 1)[0] + " …"
    return f"[{n}] {chunk.document}, characters {chunk.start}-{chunk.end}{page}{scores}\n    {text}"
