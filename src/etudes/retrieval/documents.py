"""Documents as text, each with a title and, of a PDF, where its pages begin."""

import bisect
import hashlib
import io
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from etudes.core.errors import Problem

MOST_BYTES = 10_000_000
_HIDDEN = {"script", "style", "template", "noscript", "head"}
_BLOCKS = {"p", "div", "section", "article", "ul", "ol", "dl", "table", "pre", "blockquote", "header", "footer", "main"}
_LINES = {"br", "li", "tr", "dt", "dd", "hr"}
_HEADINGS = {f"h{k}" for k in range(1, 7)}


@dataclass(frozen=True)
class Document:
    """One document. All positions are characters of its `text`."""

    name: str  # the file's, or its path below the folder that was read
    title: str
    text: str
    pages: tuple[int, ...] = ()  # where each page begins; () for what has no pages

    @property
    def digest(self) -> str:
        """The sha256 of its name and text, in hex."""
        return hashlib.sha256(f"{self.name}\0{self.text}".encode("utf-8", "surrogatepass")).hexdigest()

    def page(self, position: int) -> int:
        """The page, counted from 1, that a character stands on; 0 where there are no pages."""
        return bisect.bisect_right(self.pages, position)


def read_documents(path: Path) -> list[Document]:
    """The document in a file, or all of a folder and the folders in it, by name; hidden ones are left out.

    Raises Problem for what is not there, a folder without documents, and any document that cannot be read.
    """
    if path.is_file():
        return [read_document(path)]
    if not path.is_dir():
        raise Problem(f"there is no file or folder {path}")
    files = [f for f in sorted(path.rglob("*")) if f.suffix.lower() in READERS and f.is_file()]
    files = [f for f in files if not any(part.startswith(".") for part in f.relative_to(path).parts)]
    if not files:
        raise Problem(f"{path} holds no documents; they end in {', '.join(READERS)}")
    return [read_document(f, f.relative_to(path).as_posix()) for f in files]


def read_document(path: Path, name: str = "") -> Document:
    """The document in a file. Raises Problem as `parse` does."""
    if path.stat().st_size > MOST_BYTES:
        raise _too_long(name or path.name, path.stat().st_size)
    return parse(name or path.name, path.read_bytes())


def parse(name: str, data: bytes) -> Document:
    """The document in the bytes of a file of that name, whose ending says its kind; the name is never opened.

    Raises Problem for more than 10 MB, another kind, an empty file, and one that is not what its name says.
    """
    kind = Path(name).suffix.lower()
    if kind not in READERS:
        raise Problem(f"{name} is of no kind that is read; documents end in {', '.join(READERS)}")
    if len(data) > MOST_BYTES:
        raise _too_long(name, len(data))
    if not data:
        raise Problem(f"{name} is empty; give a document with text")
    title, text, pages = READERS[kind](name, data)
    if not text.strip():
        remedy = "its pages may be pictures: run text recognition first" if kind == ".pdf" else "give one with text"
        raise Problem(f"{name} holds no text; {remedy}")
    return Document(name, " ".join(title.split())[:200] or Path(name).stem, text, pages)


def _too_long(name: str, size: int) -> Problem:
    return Problem(f"{name} has {size / 1e6:.1f} MB; at most {MOST_BYTES / 1e6:.0f} MB are read, so cut it in parts")


Read = tuple[str, str, tuple[int, ...]]  # title, text, pages


def _decoded(name: str, data: bytes) -> str:
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise Problem(f"{name} is no text in UTF-8; save it as such") from None
    if "\0" in text:
        raise Problem(f"{name} holds zero bytes, so it is no text; give a document of its true kind")
    return text


def _read_text(name: str, data: bytes) -> Read:
    return "", _decoded(name, data), ()


def _read_markdown(name: str, data: bytes) -> Read:
    text = _decoded(name, data)
    heading = re.search(r"^#{1,6}\s+(.+?)\s*#*$", text, flags=re.MULTILINE)
    return heading[1] if heading else "", text, ()


def _read_html(name: str, data: bytes) -> Read:
    page = _Page()
    page.feed(_decoded(name, data))
    page.close()
    return page.title, page.text(), ()


class _Page(HTMLParser):
    """The words that a reader of the page sees, blocks apart by an empty line."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title, self._parts, self._hidden, self._in_title, self._kept = "", [], 0, False, 0

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self._in_title |= tag == "title"
        self._hidden += tag in _HIDDEN
        self._kept += tag == "pre"
        if tag == "body":  # a head that was never closed ends here
            self._hidden = 0
        self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        self._hidden = max(0, self._hidden - (tag in _HIDDEN))
        self._kept = max(0, self._kept - (tag == "pre"))
        self._break(tag)

    def _break(self, tag: str) -> None:
        if tag in _BLOCKS | _HEADINGS:
            self._parts.append("\n\n")
        elif tag in _LINES:
            self._parts.append("\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._hidden:
            words = data if self._kept else re.sub(r"\s+", " ", data)
            begins = not self._parts or self._parts[-1].endswith("\n")
            self._parts.append(words.lstrip(" ") if begins and not self._kept else words)

    def text(self) -> str:
        return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", "".join(self._parts))).strip("\n") + "\n"


def _read_pdf(name: str, data: bytes) -> Read:
    try:
        import pypdf
    except ImportError:
        raise Problem(f"{name} is read by pypdf; install etudes[retrieval]") from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of every small fault, and we of great ones
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Problem(f"{name} is locked by a password; save it without one")
        texts = [page.extract_text() for page in reader.pages]
        title = str((reader.metadata or {}).get("/Title") or "")
    except Problem:
        raise
    except Exception as error:  # what a damaged file raises is of many kinds
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Problem(f"{name} is no whole PDF ({words}); open it in a viewer and save it again") from None
    pages, text = [], ""
    for one in texts:
        pages.append(len(text))
        # A lone half of a character, as broken fonts give, cannot be stored.
        text += one.encode("utf-8", "replace").decode().replace("\0", "") + "\n\n"
    return title, text if any(one.strip() for one in texts) else "", tuple(pages)


READERS: dict[str, Callable[[str, bytes], Read]] = {
    ".txt": _read_text,
    ".md": _read_markdown,
    ".html": _read_html,
    ".htm": _read_html,
    ".pdf": _read_pdf,
}
