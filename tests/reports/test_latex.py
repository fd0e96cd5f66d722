"""Words, tables and listings as LaTeX, and what TeX makes of them where it is installed."""

import shutil
import unicodedata
from pathlib import Path

import pytest

from etudes.core.errors import Problem
from etudes.reports import latex

ENGINES = [
    pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"{name} is not installed"))
    for name in latex.ENGINES
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("50 % of a_b & #1 {x} $5", r"50 \% of a\_b \& \#1 \{x\} \$5"),
        ("~ ^ \\", r"\textasciitilde{} \textasciicircum{} \textbackslash{}"),
        ("< > |", r"\textless{} \textgreater{} \textbar{}"),
        ("−0.01 ± 2 × 3", r"\ensuremath{-}0.01 \ensuremath{\pm} 2 \ensuremath{\times} 3"),
        ("λ, Δ, Α, Ω", r"\ensuremath{\lambda}, \ensuremath{\Delta}, \ensuremath{\mathrm{A}}, \ensuremath{\Omega}"),
        ("é Fréchet naïve ñ Šidák", r"\'{e} Fr\'{e}chet na\"{i}ve \~{n} \v{S}id\'{a}k"),
        ("e\N{COMBINING ACUTE ACCENT}", r"\'{e}"),
        ("R² x₁ ﬁ", r"R\textsuperscript{2} x\textsubscript{1} fi"),
        ("“a” – b…", r"``a'' -- b\dots{}"),
        ("--scale ''", r"-{}-scale '{}'"),
        ("[0.1, 0.2]", "{}[0.1, 0.2]"),
        ("你 🎉", "[U+4F60] [U+1F389]"),
        ("a\nb\tc", "a b c"),
    ],
)
def test_words_are_shown_as_they_are(text: str, shown: str) -> None:
    assert latex.escape(text) == shown


def test_whatever_the_text_it_becomes_ascii() -> None:
    for code in range(0x3000):
        assert latex.escape(chr(code)).isascii(), hex(code)


def test_long_words_may_break() -> None:
    assert r"\allowbreak{}" in latex.escape("a" * 64)
    assert r"\allowbreak" not in latex.escape("overparameterisation")


def test_a_wide_table_becomes_several_that_fit() -> None:
    head = ["variant", "seeds", *(f"metric number {i}" for i in range(9))]
    rows = [["plain", "5", *(f"0.1234 ± 0.00{i}" for i in range(9))]]
    parts = latex.parts(head, rows, keep=2)
    assert len(parts) > 1
    assert [name for names, _ in parts for name in names[2:]] == head[2:]
    for names, body in parts:
        assert names[:2] == head[:2]
        assert body[0][:2] == ["plain", "5"]
        assert sum(len(cell) + latex.GAP for cell in body[0]) <= latex.LINE


def test_a_long_table_goes_on_over_pages() -> None:
    short, long = (latex.table(["a", "b"], [["x", "1"]] * n, "c", "d") for n in (latex.ROWS, latex.ROWS + 1))
    assert r"\begin{table}" in short
    assert r"\begin{longtable}" in long
    for text in (short, long):
        assert text.count(r"\label{tab:d}") == 1
        assert text.index(r"\toprule") < text.index(r"\midrule")
        assert "{@{}lr@{}}" in text


def test_sentences_in_a_table_break() -> None:
    text = latex.table(["claim", "mean"], [["a sentence of more than a few words", "0.5"]], "", "x")
    assert r"p{0." in text
    assert r"\linewidth}r@{}" in text


@pytest.mark.parametrize("engine", ENGINES)
def test_all_that_is_written_compiles(engine: str, tmp_path: Path) -> None:
    """Every sign that has LaTeX of its own, all of Greek and Latin, in words, in a listing and in both tables."""
    latin = "".join(c for c in map(chr, range(0x20, 0x180)) if unicodedata.category(c) != "Cc")
    greek = "".join(c for c in map(chr, range(0x370, 0x400)) if unicodedata.name(c, ""))
    signs = "".join([*latex.SPECIAL, *latex.MATHEMATICAL])
    rows = [[f"{sign} [*] --", "−1", signs[:60]] for sign in ("[a]", "*", "& \\", "#%")]
    body = [latex.escape(text) for text in (latin, greek, signs, "你 🎉 \x00", "Σ" * 99)]
    body += [
        latex.listing(f"def f(x):\n    return {signs}\n\n{latin}"),
        latex.table(["λ & µ", "%", "_"], rows, signs, "a"),
    ]
    body += [latex.long_table(["λ & µ of several words", "%", "_"], rows * 20, latin, "b")]
    lines = [r"\documentclass{article}", latex.PACKAGES, r"\begin{document}", *body, r"\end{document}"]
    (tmp_path / "report.tex").write_text("\n\n".join(lines), encoding="ascii")
    assert latex.typeset(tmp_path, engine).startswith(b"%PDF")


@pytest.mark.parametrize("engine", ENGINES[:1])
def test_what_tex_complains_of_is_said_in_a_sentence(engine: str, tmp_path: Path) -> None:
    (tmp_path / "report.tex").write_text("\\documentclass{article}\n\\begin{document}\n\\nonsense\n\\end{document}\n")
    with pytest.raises(Problem, match=r"does not set report.tex: Undefined control sequence. l.3 \\nonsense"):
        latex.typeset(tmp_path, engine)


def test_without_tex_what_is_needed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Problem, match=r"a PDF needs TeX, .* or print report.html in a browser"):
        latex.engine()
