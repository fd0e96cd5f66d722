"""LaTeX that any engine sets: words, tables and listings in plain ASCII, and a folder of it as PDF."""

import math
import re
import shutil
import subprocess
import textwrap
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from etudes.core.errors import Problem

Table = tuple[list[str], list[list[str]]]  # the head and the rows, in words
ENGINES = ("pdflatex", "lualatex", "xelatex", "tectonic")  # in the order in which they are looked for
SECONDS = 120  # that one pass of an engine may take
LINE = 104  # characters that a line of a table has room for
GAP = 3  # of them between two columns
PIECE = 12  # characters of a word too long for a line, such as a hash, after which it may break
ROWS = 12  # of a table that floats; a longer one would not fit on a page
LONG = (24, 16)  # characters of a cell of words beyond which its column breaks lines, with room and without
ROOM = 0.3  # of a line, for all columns that break lines
HEAD = 14  # characters of a line of a column's head
# What tables, figures and links need, without options, which would clash with those of a template. Latin Modern where
# it is installed: without it pdflatex may draw letters as pictures.
PACKAGES = r"""\usepackage{iftex}
\ifPDFTeX\pdfminorversion=7 \usepackage[T1]{fontenc}\fi
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage{array,booktabs,graphicx,longtable,url,xcolor}"""

SPECIAL = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "`": r"\textasciigrave{}", '"': r"\textquotedbl{}", "\N{NO-BREAK SPACE}": "~", "–": "--", "—": "---",
    "‘": "`", "’": "'", "“": "``", "”": "''", "„": r"\quotedblbase{}", "«": r"\guillemotleft{}",
    "»": r"\guillemotright{}", "\N{FRACTION SLASH}": "/", "…": r"\dots{}", "•": r"\textbullet{}",
    "°": r"\textdegree{}", "€": r"\texteuro{}", "£": r"\pounds{}", "§": r"\S{}", "©": r"\copyright{}",
    "¡": r"\textexclamdown{}", "¿": r"\textquestiondown{}", "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}",
    "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
    "ð": r"\dh{}", "Ð": r"\DH{}", "þ": r"\th{}", "Þ": r"\TH{}", "đ": r"\dj{}", "Đ": r"\DJ{}",
}  # fmt: skip
MATHEMATICAL = {
    "−": "-", "±": r"\pm", "×": r"\times", "÷": r"\div", "·": r"\cdot", "≤": r"\le", "≥": r"\ge", "≠": r"\ne",
    "≈": r"\approx", "∼": r"\sim", "≪": r"\ll", "≫": r"\gg", "∝": r"\propto", "∞": r"\infty", "∂": r"\partial",
    "∇": r"\nabla", "∑": r"\sum", "∏": r"\prod", "∫": r"\int", "√": r"\surd", "∈": r"\in", "∥": r"\|",
    "‖": r"\|", "←": r"\leftarrow", "→": r"\rightarrow", "↑": r"\uparrow", "↓": r"\downarrow",
    "↔": r"\leftrightarrow", "ε": r"\varepsilon", "ϵ": r"\epsilon", "ϕ": r"\phi", "φ": r"\varphi",
    "ς": r"\varsigma", "µ": r"\mu", "ℓ": r"\ell", "ℝ": r"\mathbf{R}", "𝔼": r"\mathbf{E}", "∘": r"\circ",
    "⊙": r"\odot", "∪": r"\cup", "∩": r"\cap", "⟨": r"\langle", "⟩": r"\rangle", "⌊": r"\lfloor",
    "⌋": r"\rfloor", "⌈": r"\lceil", "⌉": r"\rceil",
}  # fmt: skip
ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": "`", "\N{COMBINING ACUTE ACCENT}": "'",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "^", "\N{COMBINING TILDE}": "~", "\N{COMBINING DIAERESIS}": '"',
    "\N{COMBINING RING ABOVE}": "r", "\N{COMBINING CEDILLA}": "c", "\N{COMBINING CARON}": "v",
    "\N{COMBINING BREVE}": "u", "\N{COMBINING OGONEK}": "k", "\N{COMBINING MACRON}": "=",
    "\N{COMBINING DOT ABOVE}": ".", "\N{COMBINING DOUBLE ACUTE ACCENT}": "H",
}  # fmt: skip
NEW_LINE = r" \\ "
LIGATURES = "-',"  # two of them in a row would become another sign
LONG_WORD = re.compile(r"\S{30,}")
# The letters' names in Unicode; capitals that look like Latin ones are those, for LaTeX has no others.
LETTERS = {
    "ALPHA": "A", "BETA": "B", "GAMMA": "", "DELTA": "", "EPSILON": "E", "ZETA": "Z", "ETA": "H", "THETA": "",
    "IOTA": "I", "KAPPA": "K", "LAMDA": "", "MU": "M", "NU": "N", "XI": "", "PI": "", "RHO": "P", "SIGMA": "",
    "TAU": "T", "UPSILON": "", "PHI": "", "CHI": "X", "PSI": "", "OMEGA": "",
}  # fmt: skip
GREEK = re.compile(f"GREEK (SMALL|CAPITAL) LETTER ({'|'.join(LETTERS)})")


def escape(text: str) -> str:
    """The text as LaTeX that shows it: in ASCII, on one line, safe at the beginning of a row or an item.

    A character for which LaTeX has nothing is named by its code point, as in [U+4E2D].
    """
    plain = unicodedata.normalize("NFC", text)
    parts = ["{}"] if plain[:1] in ("[", "*") else []
    breaks = {i for word in LONG_WORD.finditer(plain) for i in range(word.start() + PIECE, word.end(), PIECE)}
    for i, sign in enumerate(plain):
        parts += [r"\allowbreak{}"] if i in breaks else []
        parts += ["{}"] if sign in LIGATURES and plain[i - 1 : i] == sign else []
        parts.append(_sign(sign))
    return "".join(parts)


def _sign(sign: str) -> str:
    if sign in SPECIAL:
        return SPECIAL[sign]
    if sign in MATHEMATICAL:
        return rf"\ensuremath{{{MATHEMATICAL[sign]}}}"
    if sign.isspace():
        return " "
    if " " < sign <= "~":
        return sign
    if greek := GREEK.fullmatch(unicodedata.name(sign, "")):
        return rf"\ensuremath{{{_greek(*greek.groups())}}}"
    base, *marks = unicodedata.normalize("NFD", sign)
    if base.isascii() and len(marks) == 1 and marks[0] in ACCENTS:
        return rf"\{ACCENTS[marks[0]]}{{{base}}}"
    kind, _, codes = unicodedata.decomposition(sign).rpartition(">")
    simple = "".join(chr(int(code, 16)) for code in codes.split()) if kind else ""
    if not simple:
        return f"[U+{ord(sign):04X}]"
    shown = "".join(map(_sign, simple))
    return {"<super": rf"\textsuperscript{{{shown}}}", "<sub": rf"\textsubscript{{{shown}}}"}.get(kind, shown)


def _greek(case: str, name: str) -> str:
    word = name.lower().replace("lamda", "lambda")
    if case == "SMALL":
        return f"\\{word}"
    return rf"\mathrm{{{LETTERS[name]}}}" if LETTERS[name] else f"\\{word.capitalize()}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str) -> str:
    """A table that floats, in the style of booktabs; one of many rows stands where it is, and goes on over pages.

    Long cells break into lines, numbers stand to the right.
    """
    if len(rows) > ROWS:
        return long_table(head, rows, caption, label)
    body = "\n".join([rf"\begin{{tabular}}{{@{{}}{_columns(head, rows)}@{{}}}}", *_head(head), *map(_row, rows)])
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            rf"\centering\footnotesize\caption{{{escape(caption)}}}\label{{tab:{label}}}",
            body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def long_table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str = "") -> str:
    """A table that stands where it is and goes on over pages, its head repeated."""
    name = rf"\label{{tab:{label}}}" if label else ""
    start = rf"\begin{{longtable}}{{@{{}}{_columns(head, rows)}@{{}}}}"
    lines = [r"{\footnotesize", start, rf"\caption{{{escape(caption)}}}{name}\\", *_head(head), r"\endfirsthead"]
    lines += [*_head(head), r"\endhead", r"\bottomrule", r"\endfoot"]
    return "\n".join([*lines, *map(_row, rows), r"\end{longtable}}"])


def parts(head: Sequence[str], rows: Sequence[Sequence[str]], keep: int = 1) -> list[tuple[list[str], list[list[str]]]]:
    """A wide table as several that fit on a line: each has the first `keep` columns and some of the others."""
    widths = [_width([*textwrap.wrap(name, HEAD), *(row[i] for row in rows)]) + GAP for i, name in enumerate(head)]
    groups: list[list[int]] = []
    for i in range(keep, len(head)):
        if not groups or sum(widths[:keep]) + sum(widths[j] for j in [*groups[-1], i]) > LINE:
            groups.append([])
        groups[-1].append(i)
    chosen = [[*range(keep), *group] for group in groups]
    return [([head[i] for i in own], [[row[i] for i in own] for row in rows]) for own in chosen]


def listing(text: str) -> str:
    """The text as written, line by line, in letters of one width; lines too long for the page are broken."""
    lines = [escape(line).replace(" ", r"\ ") or r"\ " for line in text.expandtabs(4).splitlines()]
    return "\n".join([r"{\footnotesize\ttfamily\raggedright\noindent", "\\\\\n".join(lines), r"\par}"])


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[row[i] for row in rows] for i in range(len(head))]
    widths = [_width([*textwrap.wrap(name, HEAD), *own]) for name, own in zip(head, cells, strict=True)]
    kinds = ["r" if own and all(cell[:1] in "0123456789−–∞" for cell in own) else "l" for own in cells]
    for most in LONG:
        broken = [width > most and kind == "l" for width, kind in zip(widths, kinds, strict=True)]
        fixed = sum(width for width, long in zip(widths, broken, strict=True) if not long)
        room = 1 - (fixed + GAP * len(head)) / LINE
        if room > ROOM:
            break
    weights = [math.sqrt(width) if long else 0.0 for width, long in zip(widths, broken, strict=True)]
    shares = [max(0.08, room * weight / (sum(weights) or 1)) for weight in weights]
    paragraph = r">{{\raggedright\arraybackslash}}p{{{:.2f}\linewidth}}"
    return "".join(
        paragraph.format(share) if long else kind for kind, long, share in zip(kinds, broken, shares, strict=True)
    )


def _width(cells: Sequence[str]) -> int:
    return max(map(len, cells), default=0)


def _head(names: Sequence[str]) -> list[str]:
    lines = [[escape(line) for line in textwrap.wrap(name, HEAD, break_long_words=False)] for name in names]
    cells = ["".join(words) if len(words) < 2 else rf"\shortstack[l]{{{NEW_LINE.join(words)}}}" for words in lines]
    return [r"\toprule", " & ".join(cells) + r" \\", r"\midrule"]


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"


def engine() -> str:
    """The TeX engine at hand. Raises Problem where there is none."""
    for name in ENGINES:
        if shutil.which(name):
            return name
    raise Problem(
        f"a PDF needs TeX, and there is no {', '.join(ENGINES[:-1])} or {ENGINES[-1]} here; install TeX Live or "
        "tectonic, take the folder of `--format tex` to a machine that has it, or print report.html in a browser"
    )


def typeset(folder: Path, engine: str) -> bytes:
    """The PDF of the folder's report.tex with its references. Raises Problem with TeX's first complaint."""
    passes = [[engine, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "report"]] * 3
    if engine == "tectonic":
        passes = [[engine, "report.tex"]]
    elif shutil.which("bibtex"):
        passes.insert(1, ["bibtex", "report"])
    for command in passes:
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=SECONDS,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Problem(f"{command[0]} was not done with report.tex after {SECONDS} seconds") from None
        if done.returncode and command[0] != "bibtex":  # which complains of a report that cites nothing
            output = f"{done.stdout}\n{done.stderr}"
            said = re.search(r"^(?:!|error:) *(.*)", output, re.MULTILINE)
            where = re.search(r"^l\.\d+ .*", output, re.MULTILINE)
            what = " ".join(found[found.lastindex or 0] for found in (said, where) if found)
            raise Problem(f"{command[0]} does not set report.tex: {what or 'it does not say why'}")
    return (folder / "report.pdf").read_bytes()
