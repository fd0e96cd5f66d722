import pytest

from etudes.core.errors import Problem
from etudes.retrieval.documents import MOST_BYTES, parse, read_document, read_documents
from pdf_files import pdf


def test_each_kind_gives_its_text_and_title():
    assert parse("a.txt", "\ufeffdéjà vu".encode()).text == "déjà vu"
    assert parse("a.txt", "déjà".encode("utf-16")).text == "déjà"
    assert parse("a.txt", b"words").title == "a"
    assert parse("a.md", b"intro\n\n## The *head* ##\n\nwords").title == "The *head*"
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
