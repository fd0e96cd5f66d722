"""HTML and Markdown as the text that a reader sees: blocks apart by an empty line, each row of a table with its header.

A row becomes "Day: Tuesday | Opens: 10 am", so that a cell is found, and quoted, with what it is about.
"""

import re
import time
from html.parser import HTMLParser

from etudes.core.errors import Problem

_HIDDEN = {"script", "style", "template", "noscript"}
_BLOCKS = {
    *("p", "div", "section", "article", "main", "header", "footer", "nav", "aside", "form", "fieldset", "figure"),
    *("ul", "ol", "dl", "li", "dt", "dd", "table", "caption", "pre", "blockquote", "address", "hr"),
    *(f"h{k}" for k in range(1, 7)),
}
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_LONG = re.compile(r"\"[^\"<>]{1000,}\"|'[^'<>]{1000,}'")  # pictures written into an attribute
PIECE, OPEN = 8_000, 16_000  # characters that are read at once, and the longest tag
SECONDS = 5.0  # of the processor, for one page


def html_text(name: str, html: str) -> tuple[str, str]:
    """The page's title and text. Raises Problem where its markup is so broken that reading it would take long."""
    page, begun = _Page(), time.thread_time()
    html = _LONG.sub('""', _COMMENT.sub("", html))
    past = html.rfind(">") + 1  # what opens behind it is no tag, and would be looked at again and again
    html = html[:past] + html[past:].replace("<", "&lt;")
    for i in range(0, len(html), PIECE):
        page.feed(html[i : i + PIECE])
        stuck = len(page.rawdata) > OPEN and not page.cdata_elem
        if stuck or time.thread_time() - begun > SECONDS:
            raise Problem(f"{name} has markup that is never closed; open it in a browser and save it as text")
    page.close()
    return page.title, page.text()


def markdown_text(name: str, text: str) -> tuple[str, str]:
    """The document's title, its first heading, and its text without marks. HTML in it stays as it was typed."""
    from markdown_it import MarkdownIt

    # Every block of the source ends in a line of its own, so that no line of HTML is long.
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    heading = re.search(r"<h[1-6]>(.+?)</h[1-6]>", html)
    title = html_text(name, heading[1])[1] if heading else ""
    return title, html_text(name, html)[1]


class _Page(HTMLParser):
    """What a page says."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title, self._parts = "", []
        self._in_title = self._in_head = False
        self._hidden = self._kept = 0
        self._heads: list[str] = []  # of the table's columns
        self._cells: list[tuple[str, list[str]]] = []  # of the row: th or td, and its words

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self._in_title |= tag == "title"
        self._hidden += tag in _HIDDEN
        self._kept += tag == "pre"
        self._in_head = tag == "head" or (self._in_head and tag != "body" and tag not in _BLOCKS)
        if tag == "table":
            self._end_row()
            self._heads = []
        elif tag == "tr":
            self._end_row()
        elif tag in ("td", "th"):
            self._cells.append((tag, []))
        self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        elif tag == "head":
            self._in_head = False
        elif tag in ("tr", "thead", "tbody", "table"):
            self._end_row()
        self._hidden = max(0, self._hidden - (tag in _HIDDEN))
        self._kept = max(0, self._kept - (tag == "pre"))
        self._break(tag)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif self._hidden or self._in_head:
            return
        elif self._cells:
            self._cells[-1][1].append(data)
        else:
            words = data if self._kept else re.sub(r"\s+", " ", data)
            begins = not self._parts or self._parts[-1].endswith("\n")
            self._parts.append(words.lstrip(" ") if begins and not self._kept else words)

    def _break(self, tag: str) -> None:
        if self._cells:
            self._cells[-1][1].append(" " * (tag in _BLOCKS or tag == "br"))
        elif tag in _BLOCKS:
            self._parts.append("\n\n")
        elif tag == "br":
            self._parts.append("\n")

    def _end_row(self) -> None:
        kinds, texts = [kind for kind, _ in self._cells], [" ".join("".join(w).split()) for _, w in self._cells]
        self._cells = []
        if not any(texts):
            return
        if set(kinds) == {"th"}:
            self._heads, named = texts, texts
        else:
            heads = [*self._heads, *[""] * len(texts)]
            named = [f"{head}: {text}" if head and text else text for head, text in zip(heads, texts, strict=False)]
        self._parts.append("\n\n" + " | ".join(text for text in named if text) + "\n\n")

    def text(self) -> str:
        self._end_row()
        return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", "".join(self._parts))).strip("\n") + "\n"
