import contextlib
import time

import pytest

from etudes.core.errors import Problem
from etudes.retrieval.documents import MOST_BYTES, join_words, parse, read_document, read_documents
from pdf_files import pdf


def test_each_kind_gives_its_text_and_title():
    assert parse("a.txt", "\ufeffdéjà vu".encode()).text == "déjà vu"
    assert parse("a.txt", "déjà".encode("utf-16")).text == "déjà"
    assert parse("a.txt", b"words").title == "a"
    assert parse("a.md", b"intro\n\n## The *head* ##\n\nwords").title == "The head"
    found = parse("a.pdf", pdf("first page", "second page"))
    assert found.title == "A book"
    assert [found.page(found.text.index(word)) for word in ("first", "second")] == [1, 2]
    assert parse("a.txt", b"words").page(2) == 0


def test_a_page_gives_what_its_readers_see():
    found = parse(
        "a.html",
        b"<html><head><title>T &amp; t</title><script>evil()</script><style>p{}</style></head><body><h1>One</h1>"
        b"<p>two\n three &lt;b&gt;</p><ul><li>four<li>five</ul><script>alert(1)</script><pre>a\n  b</pre></body>",
    )
    assert found.title == "T & t"
    assert "evil" not in found.text
    assert "alert" not in found.text
    assert [line for line in found.text.split("\n") if line] == ["One", "two three <b>", "four", "five", "a", "  b"]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b" \n ", "holds no text"),
        ("a.txt", b"\xff\x00\xfa", "no text in UTF-8"),
        ("a.txt", b"a\0b", "zero bytes"),
        ("a.exe", b"MZ", r"documents end in \.txt"),
        ("noending", b"x", "of no kind"),
        ("a.pdf", b"%PDF-1.4 broken", "no whole PDF"),
        ("a.pdf", b"nothing of the kind", "no whole PDF"),
        ("a.pdf", pdf("some text")[:200], "no whole PDF|holds no text"),
        ("a.pdf", pdf(""), "pictures"),
        ("a.txt", b"x" * (MOST_BYTES + 1), "at most 10 MB"),
        ("a.html", b"<script>x()</script>", "holds no text"),
        ("a.html", b"<p>\xe9t\xe9</p>", "no text in UTF-8"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
def test_what_is_no_document_is_told_in_a_sentence(name, data, says):
    with pytest.raises(Problem, match=says) as caught:
        parse(name, data)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_gives_its_documents_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.md").write_text("# C\nc")
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.txt").write_text("x")
    assert [d.name for d in read_documents(tmp_path)] == ["a.txt", "b/c.md"]
    assert read_document(tmp_path / "a.txt").digest != read_document(tmp_path / "b" / "c.md").digest
    with pytest.raises(Problem, match="no file or folder"):
        read_documents(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Problem, match="holds no documents"):
        read_documents(tmp_path / "empty")


def lines(found):
    return [line for line in found.text.split("\n") if line]


def test_a_cell_stands_with_its_header_and_its_row():
    table = b"<table><caption>Menu</caption><tr><th>Drink<th>Price</tr><tr><td>Tea<td>4 <b>EUR</b></tr>"
    table += b"<tr><td>Milk<br>warm</td><td></td></tr></table><p>Ask.</p><table><tr><td>a<td>b</table>"
    assert lines(parse("a.html", table)) == [
        *("Menu", "Drink | Price", "Drink: Tea | Price: 4 EUR", "Drink: Milk warm", "Ask.", "a | b"),
    ]
    markdown = b"| Drink | Price |\n|---|---|\n| **Tea** | 40 |\n"
    assert lines(parse("a.md", markdown)) == ["Drink | Price", "Drink: Tea | Price: 40"]


def test_markdown_is_read_without_its_marks():
    found = parse("a.md", b"# Keys\n\nThe *blue* key [opens](http://x) `attic`.\n\n- one\n- <b>two</b>\n")
    assert found.title == "Keys"
    assert lines(found) == ["Keys", "The blue key opens attic.", "one", "<b>two</b>"]


def test_a_page_without_a_body_is_read():
    page = b"<!doctype html><html lang=en><head><meta charset=utf-8><title>Hours</title><p>Open at nine.</p></html>"
    assert lines(parse("a.html", page)) == ["Open at nine."]
    assert parse("a.html", page).title == "Hours"


@pytest.mark.parametrize("declared", ["<meta charset='latin1'>", "<meta content='text/html; charset=ISO-8859-15'>"])
def test_a_page_is_read_in_the_charset_that_it_names(declared):
    page = f"<html><head>{declared}<title>Été</title></head><body>fermée".encode("latin1")
    assert (parse("a.html", page).title, lines(parse("a.html", page))) == ("Été", ["fermée"])
    assert lines(parse("a.html", "<meta charset='nonsense'><p>été".encode())) == ["été"]


@pytest.mark.parametrize(
    "hostile",
    ["<a " * 20_000, "<!--" * 15_000, "<a '" * 15_000 + ">", "<script>" * 8_000, "<td>" * 15_000, "</" * 30_000 + ">"],
    ids=lambda text: text[:8],
)
def test_hostile_markup_is_soon_done_with(hostile):
    begun = time.process_time()
    with contextlib.suppress(Problem):
        parse("a.html", f"<p>words</p>{hostile}".encode())
    assert time.process_time() - begun < 8


def test_a_picture_written_into_a_page_is_no_hindrance():
    page = f"<p>before<img src='data:image/png;base64,{'A' * 300_000}'>after</p>".encode()
    assert lines(parse("a.html", page)) == ["beforeafter"]


def test_words_are_as_readers_see_them():
    assert parse("a.txt", "The o\ufb03ce \ufb01les, cafe\u0301, hy\u00adphen, 9\u00a0km".encode()).text == (
        "The office files, café, hyphen, 9 km"
    )
    assert join_words("a replace-\nment of well-\nknown and well-known, 1990-\n1995, Smith-\nJones") == (
        "a replacement of well-known and well-known, 1990-\n1995, Smith-Jones"
    )


def test_a_bad_page_is_named_and_the_others_are_read(monkeypatch):
    pypdf = pytest.importorskip("pypdf")
    plain = pypdf.PageObject.extract_text

    def extract(page, *args, **how):
        text = plain(page, *args, **how)
        if "damaged" in text:
            raise ValueError("too many operators")
        return text

    monkeypatch.setattr(pypdf.PageObject, "extract_text", extract)
    found = parse("a.pdf", pdf("the blue key", "damaged", "the red key"))
    assert found.left_out == ("page 2 of a.pdf is left out, for it cannot be read (too many operators)",)
    assert [found.page(found.text.index(word)) for word in ("blue", "red")] == [1, 3]
    with pytest.raises(Problem, match="no page that can be read"):
        parse("a.pdf", pdf("damaged"))


def test_a_bad_file_is_named_and_the_others_are_read(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "b.txt").write_bytes(b"\xff\x00\xfa")
    told = []
    assert [d.name for d in read_documents(tmp_path, told.append)] == ["a.txt"]
    assert told == ["b.txt is no text in UTF-8; save it in UTF-8"]
    (tmp_path / "a.txt").unlink()
    with pytest.raises(Problem, match=r"b\.txt is no text"):
        read_documents(tmp_path, told.append)
