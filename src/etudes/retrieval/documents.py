"""Documents as text, each with a title and, of a PDF, where its pages begin."""

import bisect
import codecs
import hashlib
import io
import logging
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from etudes.core.errors import Problem
from etudes.retrieval.markup import html_text, markdown_text

MOST_BYTES = 10_000_000
_LIGATURES = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}  # of "fi", "ffl" ...
_ODD = _LIGATURES | dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff")) | {0xA0: " ", 0x202F: " "}
_BROKEN = re.compile(r"(\w*[^\W\d_])-[ \t]*\n[ \t]*([^\W\d_]\w*)")
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Document:
    """One document. All positions are characters of its `text`."""

    name: str  # the file's, or its path below the folder that was read
    title: str
    text: str
    pages: tuple[int, ...] = ()  # where each page begins; () for what has no pages
    left_out: tuple[str, ...] = ()  # what could not be read of it, a sentence each

    @property
    def digest(self) -> str:
        """The sha256 of its name and text, in hex."""
        return hashlib.sha256(f"{self.name}\0{self.text}".encode("utf-8", "surrogatepass")).hexdigest()

    def page(self, position: int) -> int:
        """The page, counted from 1, that a character stands on; 0 where there are no pages."""
        return bisect.bisect_right(self.pages, position)


def read_documents(path: Path, tell: Callable[[str], None] = lambda sentence: None) -> list[Document]:
    """The document in a file, or all of a folder and the folders in it, by name; hidden ones are left out.

    Documents and pages that cannot be read are told, a sentence each, and left out. Raises Problem for what is not
    there, and where there is no document that can be read.
    """
    if not path.is_file() and not path.is_dir():
        raise Problem(f"there is no file or folder {path}")
    files = [path] if path.is_file() else [f for f in sorted(path.rglob("*")) if f.suffix.lower() in READERS]
    if path.is_dir():
        files = [f for f in files if not any(part.startswith(".") for part in f.relative_to(path).parts)]
    found, problems = [], []
    for file in filter(Path.is_file, files):
        try:
            found.append(read_document(file, file.relative_to(path).as_posix() if path.is_dir() else file.name))
        except Problem as problem:
            problems.append(problem)
        except OSError as error:
            problems.append(Problem(f"{file.name} cannot be opened ({error.strerror}); see to its permissions"))
    if not found:
        raise problems[0] if problems else Problem(f"{path} holds no documents; they end in {', '.join(READERS)}")
    for sentence in [*map(str, problems), *(part for document in found for part in document.left_out)]:
        tell(sentence)
    return found


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
    title, text, pages, left_out = READERS[kind](name, data)
    if not text.strip():
        remedy = "its pages may be pictures: run text recognition first" if kind == ".pdf" else "give one with text"
        raise Problem(f"{name} holds no text; {remedy}")
    return Document(name, " ".join(title.split())[:200] or Path(name).stem, text, pages, left_out)


def _too_long(name: str, size: int) -> Problem:
    return Problem(f"{name} has {size / 1e6:.1f} MB; at most {MOST_BYTES / 1e6:.0f} MB are read, so cut it in parts")


def tidy(text: str) -> str:
    """The text as its readers see it: no ligatures, soft hyphens or protected spaces, accents on their letters."""
    return unicodedata.normalize("NFC", text).translate(_ODD)


def join_words(text: str) -> str:
    """The text without hyphens at the ends of lines, but of words that have one within a line too."""
    if "-" not in text:
        return text
    hyphenated = set(re.findall(r"\w+-\w+", text))

    def whole(found: re.Match[str]) -> str:
        kept = f"{found[1]}-{found[2]}" in hyphenated or not found[2][0].islower()
        return f"{found[1]}{'-' * kept}{found[2]}"

    return _BROKEN.sub(whole, text)


Read = tuple[str, str, tuple[int, ...], tuple[str, ...]]  # title, text, pages, what was left out


def _decode(name: str, data: bytes, charset: str = "utf-8-sig") -> str:
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else charset)
    except UnicodeDecodeError:
        raise Problem(f"{name} is no text in {charset.removesuffix('-sig').upper()}; save it in UTF-8") from None
    if "\0" in text:
        raise Problem(f"{name} holds zero bytes, so it is no text; give a document of its true kind")
    return text.replace("\r\n", "\n")


def _read_text(name: str, data: bytes) -> Read:
    return "", join_words(tidy(_decode(name, data))), (), ()


def _read_markdown(name: str, data: bytes) -> Read:
    return *markdown_text(name, tidy(_decode(name, data))), (), ()


def _read_html(name: str, data: bytes) -> Read:
    title, text = html_text(name, _decode(name, data, _charset(data)))
    return tidy(title), tidy(text), (), ()


def _charset(data: bytes) -> str:
    """The character set that a page names in its first kilobyte, else UTF-8."""
    found = _CHARSET.search(data[:1024])
    try:
        name = codecs.lookup(found[1].decode()).name if found else "utf-8"
    except LookupError:
        return "utf-8-sig"
    # As browsers take them: who says Latin 1 or ASCII means Windows' superset.
    return {"iso8859-1": "cp1252", "ascii": "cp1252", "utf-8": "utf-8-sig"}.get(name, name)


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
        pages = list(reader.pages)
        title = str((reader.metadata or {}).get("/Title") or "")
    except Problem:
        raise
    except Exception as error:  # what a damaged file raises is of many kinds
        raise Problem(f"{name} is no whole PDF ({_words(error)}); open it in a viewer and save it again") from None
    places, text, left_out = [], "", []
    for number, page in enumerate(pages, start=1):
        places.append(len(text))
        try:
            # A lone half of a character, as broken fonts give, cannot be stored.
            own = page.extract_text().encode("utf-8", "replace").decode().replace("\0", "")
        except Exception as error:
            left_out.append(f"page {number} of {name} is left out, for it cannot be read ({_words(error)})")
            own = ""
        text += join_words(tidy(own)) + "\n\n"
    if len(left_out) == len(pages) > 0:
        raise Problem(f"{name} has no page that can be read; open it in a viewer and save it again")
    return tidy(title), text if text.strip() else "", tuple(places), tuple(left_out)


def _words(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


READERS: dict[str, Callable[[str, bytes], Read]] = {
    ".txt": _read_text,
    ".md": _read_markdown,
    ".html": _read_html,
    ".htm": _read_html,
    ".pdf": _read_pdf,
}
