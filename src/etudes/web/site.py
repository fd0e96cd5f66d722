"""The pages as a folder of files with relative links, for GitHub Pages or any server of files."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from etudes.core.errors import Problem
from etudes.core.files import write_text
from etudes.web import plays, shelf, vega
from etudes.web.pages import Pages, file_of
from etudes.web.shelf import Shelf

MARK = ".etudes-site"  # tells a folder that this program filled from one that it must not empty
STATIC = Path(__file__).parent / "static"


def export(folder: Path) -> Path:
    """The folder, with a page for each study and committed report, and what they show and offer.

    An earlier site there is replaced. Raises Problem where the folder holds anything else.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise Problem(f"{folder} holds files that are no site of études; name an empty folder, or a new one")
    library = Shelf({})
    pages = Pages(library, served=False)
    texts = dict(_texts(pages))  # all of them, before the old site goes
    if folder.exists():
        shutil.rmtree(folder)
    write_text(folder / MARK, "")
    write_text(folder / ".nojekyll", "")  # GitHub Pages is to serve the files as they are
    shutil.copytree(STATIC, folder / "static")
    write_text(folder / "words.js", pages.words())
    (folder / "static" / "vega.js").write_bytes(vega.script())
    for address, text in texts.items():
        write_text(folder / file_of(address), text)
    for card in library.cards():
        for source in library.sources(card["name"]).values():
            below = folder / "files" / source.study / source.name
            for name in dict.fromkeys([*library.files(source), *shelf.MADE, *library.live(source)]):
                with contextlib.suppress(Problem):  # from a report that cannot be read nothing is made
                    content = library.content(source, name)
                    (below / name).parent.mkdir(parents=True, exist_ok=True)
                    (below / name).write_bytes(content)
    return folder


def _texts(pages: Pages) -> Iterator[tuple[str, str]]:
    """(address, page) of each page."""
    yield "/", pages.home()
    yield "/data", pages.data()
    yield "/glossary", pages.glossary()
    yield "/reading", pages.reading()
    yield "/compare", pages.compare()
    yield "/demos", pages.demos()
    for play in plays.PLAYS:
        if play.slug in plays.collect():
            yield f"/play/{play.slug}", pages.play(play)
    for name in (card["name"] for card in pages.shelf.cards()):
        yield f"/study/{name}", pages.study(name)
        sources = list(pages.shelf.sources(name))
        for source in sources[1:]:
            yield f"/study/{name}/{source}", pages.study(name, source)
        if sources:  # the first is shown at both addresses, so that what names it leads somewhere
            yield f"/study/{name}/{sources[0]}", pages.study(name, sources[0])
        for i, first in enumerate(sources):
            for second in sources[i + 1 :]:
                yield f"/compare/{name}/{first}/{second}", pages.comparison(name, first, second)
