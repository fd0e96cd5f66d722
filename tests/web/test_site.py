"""The site of files: whole, relative, and nobody else's folder."""

from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.reports import render
from etudes.reports.build import read
from etudes.web.shelf import Shelf
from etudes.web.site import export

SHELF = Shelf({})
pytestmark = pytest.mark.xdist_group("site")  # which takes long to make, and so is made once


class Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("href", "src", "action") and value]
        self.ids |= {value for name, value in attrs if name == "id" and value}


def test_every_link_leads_to_a_file_of_the_site(site):
    pages = {
        path: Links(path.read_text()) for path in site.rglob("*.html") if "files" not in path.relative_to(site).parts
    }
    assert len(pages) > len(catalogue.names())
    reached = set()
    for path, links in pages.items():
        for link in links.found:
            if urlsplit(link).scheme in ("http", "https"):
                continue
            assert not link.startswith("/"), f"{path}: {link} is not relative"
            target = (path.parent / unquote(urlsplit(link).path)).resolve() if urlsplit(link).path else path
            assert target.is_file(), f"{path}: {link}"
            assert site.resolve() in target.parents or target == path
            reached.add(target)
            anchor = urlsplit(link).fragment
            if anchor and target in {page.resolve() for page in pages}:
                assert anchor in {i for page, found in pages.items() if page.resolve() == target for i in found.ids}, (
                    link
                )
    twice = {site / "study" / name / f"{next(iter(SHELF.sources(name)), '')}.html" for name in catalogue.names()}
    once = {path.resolve() for path in pages if path not in twice}
    assert once <= reached, "pages that no page leads to"


def test_style_names_files_of_the_site(site):
    style = (site / "static" / "site.css").read_text()
    for part in style.split('url("')[1:]:
        assert (site / "static" / part.partition('"')[0]).is_file()
    assert "http" not in style


def test_what_only_a_server_has_is_left_out(site):
    for path in [site / "index.html", *(site / "study").glob("*.html")]:
        text = path.read_text()
        assert ">Runs<" not in text
        assert "local-" not in text
    assert (site / ".nojekyll").exists()


def test_a_report_is_offered_as_it_is_committed(site):
    for name in ("report.json", "report.md"):
        assert (site / "files/mixup/laptop" / name).read_bytes() == (
            catalogue.committed_folder("mixup") / name
        ).read_bytes()
    report = read(catalogue.committed_folder("mixup"), catalogue.find("mixup"))
    for kind in ("html", "ipynb"):
        assert (site / f"files/mixup/laptop/report.{kind}").read_text() == render.render(report, kind)


def test_an_old_site_is_replaced_and_nothing_else(site, tmp_path):
    (site / "study" / "gone.html").write_text("old")
    export(site)
    assert not (site / "study" / "gone.html").exists()
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(Problem, match="no site"):
        export(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_the_command(command):
    status, said, folder = command
    assert status == 0
    assert (folder / "index.html").exists()
    assert "new" in said
