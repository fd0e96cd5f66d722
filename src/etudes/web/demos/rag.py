"""A page that answers from one's own documents: passages, a quoted sentence, and a small language model's words."""

import atexit
import dataclasses
import functools
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from etudes.core.errors import Problem, unknown
from etudes.generate.chat import Chat, chat
from etudes.retrieval.answer import ABSENT, Extract, answerable, extract_answer, write_answer
from etudes.retrieval.documents import READERS, read_document
from etudes.retrieval.embedders import Embedder, embedder
from etudes.retrieval.index import Entry, Index
from etudes.retrieval.search import Hit, Mode, in_index
from etudes.web.demos import KEEP, look

FOLDER = "documents"  # below the root of the runs
QUESTION, MOST, PASSAGES = 500, 200, 10  # characters of a question, documents, passages of an answer
TURNS = 20  # of the talk that stay on the page
AROUND = 240  # characters shown before and behind a passage
SECONDS = 120.0  # after which the language model is stopped
TOKENS = 80
SMALL, NONE = "smollm2-135m", "none: quote the documents alone"
MODES = {
    "hybrid": "by words and meaning",
    "dense": "by meaning",
    "bm25": "by words",
    "reranked": "both, looked at again",
}
LEAD = (
    "The nearest passages are found, the best sentence is quoted, and a small language model puts it in its words. "
    "Documents stay on this machine and are kept until you delete them."
)
PROGRESS = gr.Progress()
OPEN = """
element.addEventListener('click', event => {
  const link = event.target.closest('[data-passage]');
  const passage = link && element.querySelector('#' + link.dataset.passage);
  if (!passage) return;
  passage.open = true;
  passage.querySelector('summary').focus();
  passage.scrollIntoView({block: 'nearest', behavior: 'smooth'});
});
"""


class Library:
    """The documents of this server, in an index that is kept in a folder, and what searches them."""

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self.index, self._searcher, self._lock = Index(folder, embedder), None, threading.Lock()

    def add(self, path: Path, told: Callable[[float], None]) -> str:
        """Index a file; its name here. Raises Problem where it cannot be read or the shelf is full."""
        if len(self.index.documents()) >= MOST:
            raise Problem(f"{MOST} documents are here, which is the most; delete some first")
        document = read_document(path, path.name)
        self.index.add(document, lambda done, chunks: told(done / chunks))
        self._searcher = None
        return document.name

    def remove(self, names: Sequence[str]) -> None:
        """Take documents out. Raises Problem for a name that is not there, and for none."""
        if not names:
            raise Problem("tick the documents to delete first")
        held = [listed.name for listed in self.index.documents()]
        for name in names:
            if name not in held:
                raise unknown("document", str(name), held)
            self.index.remove(name)
        self._searcher = None

    def search(self, question: str, k: int, mode: Mode) -> list[Hit]:
        with self._lock:
            searcher = self._searcher = self._searcher or in_index(self.index)
        return searcher.search(question, k, mode)


@dataclass(frozen=True)
class Answer:
    """One turn of the talk: what was asked, what was found, what was said of it."""

    question: str
    hits: tuple[Hit, ...] = ()
    passages: tuple[tuple[str, str], ...] = ()  # of each hit: the text before it, the text behind it
    found: bool = True  # whether the documents seem to hold an answer
    quoted: Extract | None = None
    model: str = ""  # "": no language model was asked
    said: str = ""
    state: str = ""  # what is still going on


@functools.cache
def library(folder: Path, name: str) -> Library:
    found = Library(folder, embedder(name))
    atexit.register(found.index.close)  # its folder's lock falls with it
    return found


def answer_parts(
    shelf: Library, question: str, k: int, mode: str, model: Callable[[], Chat] | None
) -> Iterator[Answer]:
    """The answer, again and again while it grows. Raises Problem on what cannot be asked."""
    question = look.limit(question, QUESTION).strip()
    if not question:
        raise Problem("write a question first")
    if mode not in get_args(Mode):
        raise unknown("search mode", str(mode), get_args(Mode))
    if not 1 <= k <= PASSAGES:
        raise Problem(f"1 to {PASSAGES} passages are shown, not {k}")
    if not shelf.index.documents():
        raise Problem("there are no documents yet; add some first")
    hits = tuple(shelf.search(question, k, mode))
    answer = Answer(question, hits, tuple(_around(shelf, hit) for hit in hits), answerable(hits))
    if not answer.found:
        yield answer
        return
    answer = dataclasses.replace(answer, quoted=extract_answer(question, hits, shelf.index.embedder))
    if model is None:
        yield answer
        return
    yield dataclasses.replace(answer, model="language model", state="the language model is being loaded …")
    writer = model()
    answer = dataclasses.replace(answer, model=writer.name, state="it reads the passages …")
    yield answer
    begun = last = time.monotonic()
    for piece in write_answer(question, hits, writer, TOKENS):
        answer = dataclasses.replace(answer, said=answer.said + piece, state="it writes …")
        now = time.monotonic()
        if now - last > 0.2:
            last = now
            yield answer
        if now - begun > SECONDS:
            break
    yield dataclasses.replace(answer, state="")


def _around(shelf: Library, hit: Hit) -> tuple[str, str]:
    text, chunk = shelf.index.text(hit.chunk.document), hit.chunk
    return text[max(0, chunk.start - AROUND) : chunk.start], text[chunk.end : chunk.end + AROUND]


def conversation(answers: Sequence[Answer]) -> str:
    """The talk as HTML, the last turn first. All that documents and people wrote is text in it, never markup."""
    if not answers:
        return look.loading_note(
            "Nothing was asked yet. Every question stands for itself: earlier ones are not remembered."
        )
    turns = [_turn(answer, f"turn-{i}") for i, answer in enumerate(answers)]
    return f'<div class="talk" aria-live="polite">{"".join(reversed(turns))}</div>'


def _turn(answer: Answer, name: str) -> str:
    said = []
    if not answer.found:
        said.append(f'<p class="answer"><b>{escape(ABSENT.capitalize())}.</b> The nearest passages are below.</p>')
    if answer.quoted:
        link = _link(answer.quoted.hit + 1, name)
        said.append(
            f'<p class="kind">Quoted from the documents</p><p class="answer">“{escape(answer.quoted.text)}” {link}</p>'
        )
    if answer.model:
        words = re.sub(r"\[(\d+)\]", lambda n: _citation(int(n[1]), len(answer.hits), name), escape(answer.said))
        state = f' <span class="soft">{escape(answer.state)}</span>' * bool(answer.state)
        kind = f"In the words of {answer.model}, a small model that often errs"
        said.append(f'<p class="kind">{escape(kind)}</p><p class="answer">{words}{state}</p>')
    passages = "".join(
        _passage(i, hit, before, behind, name)
        for i, (hit, (before, behind)) in enumerate(zip(answer.hits, answer.passages, strict=True), start=1)
    )
    return f'<section class="turn"><p class="asked">{escape(answer.question)}</p>{"".join(said)}{passages}</section>'


def _citation(number: int, most: int, name: str) -> str:
    return _link(number, name) if 1 <= number <= most else f"[{number}]"


def _link(number: int, name: str) -> str:
    about = f"Open passage {number}"
    return f'<button type="button" class="cite" data-passage="{name}-{number}" aria-label="{about}">[{number}]</button>'


def _passage(number: int, hit: Hit, before: str, behind: str, name: str) -> str:
    chunk = hit.chunk
    page = f", page {chunk.page}" if chunk.page else ""
    place = f"{chunk.document}{page}, characters {chunk.start:,} to {chunk.end:,}"
    scores = " · ".join(f"{kind} {score:.3g}" for kind, score in hit.scores.items())
    return (
        f'<details class="plain passage" id="{name}-{number}"><summary>[{number}] {escape(place)} '
        f'<span class="soft">{escape(scores)}</span></summary><blockquote><span class="soft">{escape(before)}</span>'
        f'<mark>{escape(chunk.text)}</mark><span class="soft">{escape(behind)}</span></blockquote></details>'
    )


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
    """Index the files; why some could not be."""
    problems = []
    for path in map(Path, paths):
        try:
            shelf.add(path, functools.partial(told, name=path.name))
        except Problem as problem:
            problems.append(str(problem))
    return problems


def build(root: Path, embedder: str = "minilm") -> gr.Blocks:
    """The page over the documents that are kept in root/documents, in the vectors of `embedder`."""
    folder = root / FOLDER

    def shelf() -> Library:
        return library(folder, embedder)

    def listing() -> tuple[str, Any]:
        documents = shelf().index.documents()
        return shelf_list(documents), gr.update(choices=[d.name for d in documents], value=[])

    @look.explain
    def open_shelf() -> tuple[Any, ...]:
        found = listing()
        held = shelf().index
        return (*found, look.loading_note(f"Vectors: {held.embedder.name}, passages of {held.size} of its tokens."))

    @look.explain
    def add(paths: list[str] | None, progress: Any = PROGRESS) -> tuple[Any, ...]:
        for problem in put(shelf(), paths or [], lambda done, name: progress(done, desc=f"indexing {name}")):
            gr.Warning(escape(problem), title="Not added", duration=15)
        return (*listing(), None)

    @look.explain
    def delete(names: list[str]) -> tuple[str, Any]:
        shelf().remove(names)
        return listing()

    @look.explain
    def ask(question: str, k: float, mode: str, model: str, talk: tuple[Answer, ...]) -> Iterator[tuple[Any, ...]]:
        make = None if model == NONE else functools.partial(chat, look.limit(model or "", 100).strip())
        for answer in answer_parts(shelf(), question or "", int(k), mode, make):
            turns = (*talk, answer)[-TURNS:]
            yield turns, conversation(turns), ""

    with gr.Blocks(title="Ask your documents", delete_cache=KEEP) as page:
        look.title("Ask your documents", LEAD)
        line = gr.HTML(look.loading_note("Opening the index …"))
        talk = gr.State(())
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                table, files, names, remove = _shelf()
            with gr.Column(scale=3, min_width=300):
                question, k, mode, model, start, stop = _question_form()
                shown = gr.HTML(conversation(()), js_on_load=OPEN)
        running = gr.on(
            [start.click, question.submit],
            ask,
            [question, k, mode, model, talk],
            [talk, shown, question],
            show_progress="minimal",
            show_progress_on=[shown],
            concurrency_id="rag",
        )
        stop.click(None, cancels=[running])
        files.upload(add, files, [table, names, files], concurrency_id="rag", show_progress_on=[table])
        remove.click(delete, names, [table, names], concurrency_id="rag")
        page.load(open_shelf, None, [table, names, line], show_progress="hidden")
    return page


def _shelf() -> tuple[Any, ...]:
    kinds = list(READERS)
    files = gr.File(label=f"Add {', '.join(kinds)}, 10 MB each", file_count="multiple", file_types=kinds, height=140)
    table = gr.HTML()
    names = gr.CheckboxGroup([], label="Documents to delete")
    return table, files, names, gr.Button("Delete what is ticked")


def _question_form() -> tuple[Any, ...]:
    question = gr.Textbox(label="Your question", max_length=QUESTION, lines=1, max_lines=3, submit_btn=False)
    with gr.Row():
        start = gr.Button("Ask", variant="primary")
        stop = gr.Button("Stop")
    with gr.Accordion("How it is answered", open=False):
        mode = gr.Radio([(says, name) for name, says in MODES.items()], value="hybrid", label="Passages are found")
        k = gr.Slider(1, PASSAGES, 4, step=1, label="Passages")
        model = gr.Dropdown(
            [SMALL, NONE],
            value=SMALL,
            allow_custom_value=True,
            label="Language model",
            info="or owner/name of the hub, or openai:MODEL of the server at $OPENAI_BASE_URL",
        )
    return question, k, mode, model, start, stop
