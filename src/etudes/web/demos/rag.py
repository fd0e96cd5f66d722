"""A page that answers from one's own documents: the sentence that answers, marked in its passage, and on demand a
language model's words."""

import atexit
import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from etudes.core.errors import Problem, unknown
from etudes.generate.chat import Chat, chat
from etudes.retrieval.answer import write_answer
from etudes.retrieval.chunks import Chunk
from etudes.retrieval.documents import READERS, Document, read_document
from etudes.retrieval.embedders import Embedder, embedder
from etudes.retrieval.index import Entry, Index
from etudes.retrieval.quote import Quoter, Sentence, embed_sentences, quoter
from etudes.retrieval.search import Hit, Mode, Searcher, in_index, with_passage
from etudes.web.demos import KEEP, look, talk
from etudes.web.demos.talk import Answer, Passage, conversation

FOLDER = "documents"  # below the root of the runs
QUESTION, MOST, PASSAGES = 500, 200, 10  # characters of a question, documents, passages of an answer
AROUND = 240  # characters shown before and behind a passage
SECONDS = 120.0  # after which the language model is stopped
TOKENS = 80
SMALL = "smollm2-135m"
POLL = 3.0  # seconds after which a tab asks whether another one has changed something
MODES = {
    "hybrid": "by words and meaning",
    "dense": "by meaning",
    "bm25": "by words",
    "reranked": "both, looked at again",
}
LEAD = (
    "The sentence that answers is quoted and marked in its passage; where that is not sure, the page says so. "
    "Documents and the talk stay on this machine and are kept until you delete them."
)
PROGRESS = gr.Progress()
OPEN = """
element.addEventListener('click', event => {
  const link = event.target.closest('[data-passage]');
  const passage = link && element.querySelector('#' + link.dataset.passage);
  if (!passage) return;
  passage.open = true;
  passage.querySelector('summary').focus();
  (passage.querySelector('mark') || passage).scrollIntoView({block: 'nearest', behavior: 'smooth'});
});
"""


SAVE = """text => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], {type: 'text/markdown'}));
  link.download = 'talk.md';
  link.click();
}"""


class Library:
    """The documents of this server, in an index that is kept in a folder, what searches them, and the talk about them.

    `changes` counts the changes of documents and of the talk: what tabs compare.
    """

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self.folder, self.index, self._lock = folder, Index(folder, embedder), threading.RLock()
        self._found: tuple[Searcher, Quoter] | None = None
        self.turns, self.changes = talk.load(folder / "talk.json"), (0, 0)

    def add(self, path: Path, told: Callable[[float], None]) -> Document:
        """Index a file; another one of the same name gets a number. Raises Problem where it cannot be read or the shelf
        is full."""
        if len(self.index.documents()) >= MOST:
            raise Problem(f"{MOST} documents are here, which is the most; delete some first")
        document = self._named(read_document(path, path.name))
        self.index.add(document, lambda done, chunks: told(done / chunks / 2))
        self._forget()
        entry = next(listed for listed in self.index.documents() if listed.name == document.name)
        embed_sentences(self.index, entry, self.folder / "sentences", lambda done, most: told((1 + done / most) / 2))
        told(1.0)
        return document

    def _named(self, document: Document) -> Document:
        held, path, number = {listed.name for listed in self.index.documents()}, Path(document.name), 1
        while document.name in held and self.index.text(document.name) != document.text:
            number += 1
            document = dataclasses.replace(document, name=f"{path.stem} ({number}){path.suffix}")
        return document

    def remove(self, names: Sequence[str]) -> None:
        """Take documents out. Raises Problem for a name that is not there, and for none."""
        if not names:
            raise Problem("tick the documents to delete first")
        held = [listed.name for listed in self.index.documents()]
        for name in names:
            if name not in held:
                raise unknown("document", str(name), held)
            self.index.remove(name)
        self._forget()

    def _forget(self) -> None:
        with self._lock:
            self._found, self.changes = None, (self.changes[0] + 1, self.changes[1])

    def tools(self) -> tuple[Searcher, Quoter]:
        """What searches and what quotes the documents that are here now."""
        with self._lock:
            if not self._found:
                self._found = in_index(self.index), quoter(self.index, self.folder / "sentences")
            return self._found

    def keep(self, turns: Sequence[Answer]) -> None:
        """Make the talk this one, here and in its file."""
        with self._lock:
            self.turns, self.changes = tuple(turns)[-talk.MOST :], (self.changes[0], self.changes[1] + 1)
            talk.save(self.folder / "talk.json", self.turns)


_opening = threading.Lock()


def library(folder: Path, name: str) -> Library:
    """The library in a folder, opened once however many tabs ask for it at once."""
    with _opening:
        return _library(folder, name)


@functools.cache
def _library(folder: Path, name: str) -> Library:
    found = Library(folder, embedder(name))
    atexit.register(found.index.close)  # its folder's lock falls with it
    return found


def answer(shelf: Library, question: str, k: int, mode: str) -> Answer:
    """The documents' answer, its passage first. Raises Problem on what cannot be asked."""
    question = look.limit(question, QUESTION).strip()
    if not question:
        raise Problem("write a question first")
    if mode not in get_args(Mode):
        raise unknown("search mode", str(mode), get_args(Mode))
    if not 1 <= k <= PASSAGES:
        raise Problem(f"1 to {PASSAGES} passages are shown, not {k}")
    if not shelf.index.documents():
        raise Problem("there are no documents yet; add some first")
    searcher, quotes = shelf.tools()
    hits = searcher.search(question, k, mode)
    found = quotes.quote(question)
    if found is None:
        return Answer(question, passages=tuple(_passage(shelf, hit) for hit in hits))
    if found.verdict != "absent":
        hits = with_passage(hits, found.sentence.document, found.sentence.start, searcher.chunks)
    passages = [_passage(shelf, hit) for hit in hits]
    if found.verdict != "absent":
        passages[0] = _passage(shelf, hits[0], found.sentence, found.score)
    return Answer(question, found.verdict, found.sentence.text, tuple(passages))


def _passage(shelf: Library, hit: Hit, sentence: Sentence | None = None, score: float = 0.0) -> Passage:
    text, chunk = shelf.index.text(hit.chunk.document), hit.chunk
    first, past = max(0, chunk.start - AROUND), chunk.end + AROUND
    if sentence:
        first, past = min(first, sentence.start), max(past, sentence.end)
    scores = dict(hit.scores) | ({"sentence": score} if sentence else {})
    quoted = (sentence.start - first, sentence.end - first) if sentence else None
    own = (chunk.start - first, chunk.end - first)
    return Passage(chunk.document, chunk.page, chunk.start, text[first:past], own, quoted, scores)


def put_in_words(given: Answer, model: Callable[[], Chat]) -> Iterator[Answer]:
    """The answer in a language model's words, again and again while they grow. Raises Problem where there is none."""
    if given.verdict == "absent":
        raise Problem("the documents hold no answer to put in other words; ask another question")
    yield dataclasses.replace(given, model="a language model", said="", state="it is being loaded …")
    writer = model()
    found = dataclasses.replace(given, model=writer.name, said="", state="it reads the passages …")
    yield found
    hits = [Hit(Chunk(p.document, p.begin, 0, p.text[p.own[0] : p.own[1]]), 0.0) for p in given.passages]
    begun = last = time.monotonic()
    for piece in write_answer(given.question, hits, writer, TOKENS):
        found = dataclasses.replace(found, said=found.said + piece, state="it writes …")
        now = time.monotonic()
        if now - last > 0.2:
            last = now
            yield found
        if now - begun > SECONDS:
            break
    yield dataclasses.replace(found, state="")


def shelf_list(documents: Sequence[Entry]) -> str:
    if not documents:
        return '<p class="soft">No documents yet.</p>'
    rows = "".join(
        f"<tr><td>{escape(d.name)}</td><td>{escape(d.title)}</td><td class=n>{d.chunks:,}</td>"
        f"<td class=n>{d.characters:,}</td></tr>"
        for d in documents
    )
    head = "<tr><th>document</th><th>title</th><th>passages</th><th>characters</th></tr>"
    table = f'<table class="plain"><thead>{head}</thead><tbody>{rows}</tbody></table>'
    return f'<div class="scroll" tabindex="0">{table}</div>'


def put(shelf: Library, paths: Sequence[str], told: Callable[[float, str], None]) -> list[str]:
    """Index the files; why some, or some of their pages, could not be."""
    problems: list[str] = []
    for path in map(Path, paths):
        try:
            document = shelf.add(path, functools.partial(told, name=path.name))
            problems += document.left_out
            if document.name != path.name:
                problems.append(f"another {path.name} is here already, so this one is called {document.name}")
        except Problem as problem:
            problems.append(str(problem))
    return problems


def build(root: Path, embedder: str = "e5-small") -> gr.Blocks:
    """The page over the documents that are kept in root/documents, in the vectors of `embedder`."""
    shelf = functools.partial(library, root / FOLDER, embedder)
    with gr.Blocks(title="Ask your documents", delete_cache=KEEP) as page:
        look.title("Ask your documents", LEAD)
        gr.HTML(talk.STYLE)
        line = gr.HTML(look.loading_note("Opening the index …"))
        seen = gr.State((-1, -1))
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                shelf_parts = _shelf()
            with gr.Column(scale=3, min_width=300):
                form = _form()
                shown = gr.HTML(conversation(()), js_on_load=OPEN)
                with gr.Row():
                    export, forget = gr.Button("Save the talk"), gr.Button("Delete the talk")
                written = gr.Textbox(visible="hidden", label="The talk in Markdown")
        _wire_shelf(page, shelf, shelf_parts, line)
        _wire_talk(shelf, form, shown, seen, forget)
        export.click(lambda: talk.markdown(shelf().turns), None, written, show_progress="hidden").then(
            None, written, None, js=SAVE
        )
        _wire_tabs(page, shelf, (shelf_parts[1], shelf_parts[2], shown, seen), form[-1])
    return page


def _shelf() -> tuple[Any, ...]:
    kinds = list(READERS)
    files = gr.File(label=f"Add {', '.join(kinds)}, 10 MB each", file_count="multiple", file_types=kinds, height=140)
    table = gr.HTML()
    names = gr.CheckboxGroup([], label="Documents to delete")
    return files, table, names, gr.Button("Delete what is ticked")


def _form() -> tuple[Any, ...]:
    question = gr.Textbox(label="Your question", max_length=QUESTION, lines=1, max_lines=3, submit_btn=False)
    with gr.Row():
        start = gr.Button("Ask", variant="primary")
        words = gr.Button("Put it in a model's words")
        stop = gr.Button("Stop")
    with gr.Accordion("How it is answered", open=False):
        mode = gr.Radio([(says, name) for name, says in MODES.items()], value="hybrid", label="Passages are found")
        k = gr.Slider(1, PASSAGES, 4, step=1, label="Passages")
        model = gr.Dropdown(
            [SMALL],
            value=SMALL,
            allow_custom_value=True,
            label="Language model",
            info="or owner/name of the hub, or openai:MODEL of the server at $OPENAI_BASE_URL; the smallest often errs",
        )
        scores = gr.Checkbox(False, label="Show scores")
    return question, start, words, stop, mode, k, model, scores


def _listing(shelf: Library) -> tuple[str, Any]:
    documents = shelf.index.documents()
    return shelf_list(documents), gr.update(choices=[d.name for d in documents], value=[])


def _wire_shelf(page: gr.Blocks, shelf: Callable[[], Library], parts: tuple[Any, ...], line: Any) -> None:
    files, table, names, remove = parts

    @look.explain
    def open_shelf() -> str:
        held = shelf().index
        return look.loading_note(f"Vectors: {held.embedder.name}, passages of {held.size} of its tokens.")

    @look.explain
    def add(paths: list[str] | None, progress: Any = PROGRESS) -> tuple[Any, ...]:
        for problem in put(shelf(), paths or [], lambda done, name: progress(done, desc=f"indexing {name}")):
            gr.Warning(escape(problem), title="", duration=15)
        return (*_listing(shelf()), None)

    @look.explain
    def delete(ticked: list[str]) -> tuple[str, Any]:
        shelf().remove(ticked)
        return _listing(shelf())

    files.upload(add, files, [table, names, files], concurrency_id="rag", show_progress_on=[table])
    remove.click(delete, names, [table, names], concurrency_id="rag")
    page.load(open_shelf, None, line, show_progress="hidden")


def _wire_talk(shelf: Callable[[], Library], form: tuple[Any, ...], shown: Any, seen: Any, forget: Any) -> None:
    question, start, words, stop, mode, k, model, scores = form

    @look.explain
    def ask(text: str, k: float, mode: str, scored: bool) -> tuple[Any, ...]:
        held = shelf()
        held.keep([*held.turns, answer(held, text or "", int(k), mode)])
        return conversation(held.turns, scored), held.changes, ""

    @look.explain
    def say(name: str, scored: bool) -> Iterator[tuple[Any, ...]]:
        held = shelf()
        if not held.turns:
            raise Problem("ask a question first")
        *before, last = held.turns
        for found in put_in_words(last, functools.partial(chat, look.limit(name or "", 100).strip())):
            yield conversation([*before, found], scored), held.changes
        held.keep([*before, found])
        yield conversation(held.turns, scored), held.changes

    def clear(scored: bool) -> tuple[Any, ...]:
        shelf().keep([])
        return conversation((), scored), shelf().changes

    asked = {"show_progress": "minimal", "show_progress_on": [shown], "concurrency_id": "rag"}
    gr.on([start.click, question.submit], ask, [question, k, mode, scores], [shown, seen, question], **asked)
    saying = words.click(say, [model, scores], [shown, seen], **asked)
    stop.click(None, cancels=[saying])
    scores.change(lambda scored: conversation(shelf().turns, scored), scores, shown, show_progress="hidden")
    forget.click(clear, scores, [shown, seen], concurrency_id="rag")


def _wire_tabs(page: gr.Blocks, shelf: Callable[[], Library], parts: tuple[Any, ...], scores: Any) -> None:
    """Every tab shows what is here now: when it is opened, and soon after another one has changed it."""

    def refresh(seen: tuple[int, int], scored: bool) -> Any:
        held = shelf()
        if tuple(seen) == held.changes:
            return gr.skip()
        listed = _listing(held) if seen[0] != held.changes[0] else (gr.skip(), gr.skip())
        told = conversation(held.turns, scored) if seen[1] != held.changes[1] else gr.skip()
        return *listed, told, held.changes

    table, names, shown, seen = parts
    for event in (page.load, gr.Timer(POLL).tick):
        event(look.explain(refresh), [seen, scores], [table, names, shown, seen], show_progress="hidden", queue=False)
