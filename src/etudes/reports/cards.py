"""What the method cards, docs/studies/NAME.md, say: all of it as HTML, and what reports take from them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.files import read_json
from etudes.reports.report import Report

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

ANSWER, SETTING, READING = "In short", "What was run", "How to read what came out"  # the headings of three sections
ELSEWHERE = "How to read what came out of the committed laptop report is told in the study's method card; these are "
Link = Callable[[str], str]  # from an address of the site, such as /study/mixup, to what leads there; "" for no link


def folder() -> Path:
    """Where the method cards are, in a checkout or inside the installed package. It may not exist."""
    return documents() / "studies"


def documents() -> Path:
    """The folder docs, in a checkout or inside the installed package."""
    package = Path(catalogue.__file__).parents[1]
    checkout = package.parents[1] / "docs"
    return checkout if checkout.is_dir() else package / "docs"


def reading(report: Report) -> str:
    """In Markdown, how to read this report, as the study's card tells it of the runs that are committed.

    Of other runs, a sentence that says so. "" where the card tells nothing.
    """
    text = _sections(report.definition.name).get(READING, "")
    if not text or _is_committed(report):
        return text
    return f"{ELSEWHERE}{'others of your own' if report.scale == 'laptop' else 'at another scale'}."


def opening(report: Report) -> list[str]:
    """Paragraphs without markup: the answer to the study's question and what was run, as its card tells them of the
    committed runs. None of other runs."""
    if not _is_committed(report):
        return []
    sections = _sections(report.definition.name)
    texts = [sections.get(heading, "") for heading in (ANSWER, SETTING)]
    return [" ".join(part.split()) for text in texts for part in re.split(r"\n\s*\n", text) if part.strip()]


def _is_committed(report: Report) -> bool:
    """Whether these are the very runs of the committed laptop report, with the same numbers."""
    if report.committed == catalogue.committed_folder(report.definition.name):
        return True
    file = catalogue.committed_folder(report.definition.name) / "report.json"
    try:
        saved = read_json(file, "", check=lambda value: isinstance(value, dict) and "trials" in value)
    except (Problem, OSError):
        return False
    own, theirs = ({t["key"]: t["metrics"] for t in trials} for trials in (report.trials, saved["trials"]))
    return own == theirs


def _sections(study: str) -> dict[str, str]:
    """{heading: the Markdown below it} of a study's card."""
    path = folder() / f"{study}.md"
    parts = re.split(r"^## (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE) if path.is_file() else [""]
    return {head.strip(): text.strip() for head, text in zip(parts[1::2], parts[2::2], strict=True)}


def without_links(markdown: str) -> str:
    """The Markdown with the words of its links into the project, which lead nowhere from a file that is read alone, and
    without those that only point, "([report](address))"."""
    markdown = re.sub(r"\s\(\[[^\]]+\]\((?!https?:)[^)\s]*\)\)", "", markdown)
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)\s]*\)", r"\1", markdown)


def method(study: str, link: Link) -> str:
    """The study's method card as HTML, without what `opening` and `reading` give; "" where there is none."""
    path = folder() / f"{study}.md"
    if not path.is_file():
        return ""
    taken = rf"^## (?:{ANSWER}|{SETTING}|{READING})\n.*?(?=^## |\Z)"
    return page(re.sub(taken, "", path.read_text(encoding="utf-8"), flags=re.M | re.S), link)


def page(markdown: str, link: Link, *, lower: int = 1) -> str:
    """Markdown of the project as HTML without its title, headings so much lower. Tags in it stay words; links that lead
    into the project's sources become words, those to reports, cards and pages lead there."""
    parser = _parser()
    tokens = parser.parse(markdown)
    if [token.type for token in tokens[:1]] == ["heading_open"] and tokens[0].tag == "h1":
        tokens = tokens[3:]  # the page has a title of its own
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + lower)}"
        if token.type == "inline":
            token.children = _point(token.children or [], link)
    html = str(parser.renderer.render(tokens, parser.options, {}))
    html = re.sub(r"(?<!>)<code>([^<]*)</code>", lambda found: f"<code>{_breakable(found[1])}</code>", html)
    # What scrolls sideways on a small screen is reached by keys too.
    html = html.replace("<pre>", '<pre tabindex="0">')
    return html.replace("<table>", '<div class="scroll" tabindex="0"><table>').replace("</table>", "</table></div>")


def _breakable(code: str) -> str:
    """Code that may go on in a new line within a path or a name, and not within a word."""
    return re.sub(r"([/_.,=])(?=\w)", r"\1<wbr>", code)


def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _point(tokens: "list[Token]", link: Link) -> "list[Token]":
    kept, opened = [], True
    for token in tokens:
        if token.type == "link_open":
            target = _target(str(token.attrs["href"]))
            address: Any = link(target) if target.startswith("/") else target
            opened = bool(address)
            if opened:
                token.attrs["href"] = address
        if token.type == "image" or (token.type in ("link_open", "link_close") and not opened):
            continue
        kept.append(token)
    return kept


def _target(target: str) -> str:
    """The address of the page that a link of the project's documents means, "" for none."""
    if re.match(r"https?://", target):
        return target
    if found := re.fullmatch(r"(?:\.\./)*results/([a-z0-9-]+)/([a-z0-9-]+)/report\.(?:md|html)", target):
        known = found[1] in catalogue.names() and found[2] in catalogue.reported_scales(found[1])
        return f"/study/{found[1]}/{found[2]}" if known else ""
    if found := re.fullmatch(r"(?:\.\./)*reading\.md(#[a-z-]+)?", target):
        return f"/reading{found[1] or ''}"
    if found := re.fullmatch(r"(?:\./|(?:\.\./)?studies/)?([a-z0-9-]+)\.md", target):
        return f"/study/{found[1]}" if found[1] in catalogue.names() else ""
    return ""
