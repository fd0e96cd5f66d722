"""A report as LaTeX, as PDF and as CSV: from the report, from the command line, and back."""

import csv
import dataclasses
import io
import math
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

from etudes.cli import main
from etudes.core.errors import Problem
from etudes.core.record import load
from etudes.core.spec import Study
from etudes.reports import drawings, exports, latex, manuscript, replication
from etudes.reports.build import build
from etudes.reports.drawings import Drawing
from etudes.reports.left import Exhibit
from etudes.reports.report import Report

EVIL = r"50 % of \a_b & #1 ~x^2 {λ} “é” −1 ± 2, 你 <b> | `c`"
FIRST = next(name for name in (*latex.ENGINES, "") if not name or shutil.which(name))
needs_tex = pytest.mark.skipif(not FIRST, reason="no TeX is installed")


@pytest.fixture(scope="module")
def drawn(report: Report) -> list[Drawing]:
    return drawings.draw(report)


def typeset(files: Mapping[str, bytes], folder: Path, engine: str = FIRST) -> bytes:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return latex.typeset(folder, engine)


def rows(files: Mapping[str, bytes], name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files[name].decode())))


@pytest.mark.parametrize("template", manuscript.templates())
def test_the_folder_is_whole(template: str, report: Report, drawn: list[Drawing]) -> None:
    found = exports.files(report, "tex", template, drawn)
    text = found["report.tex"].decode()
    assert r"\VAR{" not in text
    assert text.isascii()
    for part in re.findall(r"\\input\{([^}]+)\}", text):
        assert f"{part}.tex" in found
    parts = "".join(content.decode() for name, content in found.items() if name.startswith("parts/"))
    pictures = re.findall(r"\\includegraphics\[[^]]*\]\{([^}]+)\}", parts)
    assert len(pictures) == len(report.definition.charts)
    for picture in pictures:
        assert found[picture].startswith(b"%PDF")
    assert parts.isascii()
    claims = found["parts/claims.tex"].decode()
    for row in report.verdict_rows():
        cells = [row["claim"], row["verdict"], row["mean"], row["interval"]]
        assert " & ".join(map(latex.escape, [f"{cells[0]} ({row['where']})", *cells[1:]])) in claims
    assert r"\toprule" in claims
    assert "{Ripple} and {Crest}" in found["references.bib"].decode()


@needs_tex
@pytest.mark.parametrize("template", manuscript.templates())
def test_every_template_compiles(template: str, report: Report, drawn: list[Drawing], tmp_path: Path) -> None:
    assert typeset(exports.files(report, "tex", template, drawn), tmp_path).startswith(b"%PDF")
    log = (tmp_path / "report.log").read_text(errors="replace")
    assert "undefined" not in log.partition("Output written")[0].rpartition("(./report.aux")[2]


@pytest.mark.parametrize("engine", [name for name in latex.ENGINES if shutil.which(name)])
def test_whatever_a_study_says_it_compiles(
    engine: str, waves: Callable[..., Study], root: Path, tmp_path: Path
) -> None:
    claim = dataclasses.replace(next(iter(waves().claims.values())), where=EVIL, number=EVIL)
    paper = dataclasses.replace(
        waves().paper, title=EVIL, authors=f"{EVIL}, Crest and 3 others", url="https://a.b/c_d%20#e"
    )
    study = waves(paper=paper, claims={EVIL: claim}, question=EVIL, words={"test/error": EVIL}, charts=())
    plan = study.plan("laptop")
    picture = io.BytesIO()
    Image.new("P", (40, 30)).save(picture, "gif", save_all=True, append_images=[Image.new("P", (40, 30), 1)])
    exhibits = [
        Exhibit("plain-0", 0, "a_b.film.gif", picture.getvalue(), says=EVIL),
        Exhibit("plain-0", 0, "page.txt", f"{EVIL}\n    [x]\n\n".encode() * 40, says=EVIL),
        Exhibit("plain-0", 0, "sound.wav", b"RIFF", says=EVIL),
    ]
    shown = [Drawing("evil", EVIL, EVIL, exhibits=exhibits), Drawing("gone", EVIL, EVIL, problem=EVIL)]
    found = exports.files(build(study, plan, load(plan, root)), "tex", "course", shown)
    assert found["figures/plain-0-a_b-film.png"].startswith(b"\x89PNG")
    assert b"the first 30 of 120 lines" in found["parts/figure.tex"]
    assert typeset(found, tmp_path, engine).startswith(b"%PDF")


def test_the_course_report_has_the_extension_first_and_its_tables_last(report: Report) -> None:
    text = manuscript.files(report, "course", drawn=[])["report.tex"].decode()
    order = [r"\input{parts/comparisons}", r"\input{parts/claims}", r"\appendix", r"\input{parts/all-numbers}"]
    places = [text.index(part) for part in (*order, r"\input{parts/runs}")]
    assert places == sorted(places)
    assert text.count(r"\todo{") > 5


def test_the_reproduction_report_has_the_parts_of_the_challenge(report: Report) -> None:
    text = manuscript.files(report, "reproduction", drawn=[])["report.tex"].decode()
    summary = ["Scope of reproducibility", "Methodology", "Results", "What was easy", "What was difficult"]
    summary.append("Communication with the original authors")
    assert re.findall(r"\\subsection\*\{([^}]+)\}", text) == summary
    sections = ["Introduction", "Scope of reproducibility", "Methodology", "Results", "Discussion"]
    assert re.findall(r"\\section\{([^}]+)\}", text) == sections
    for words in summary[3:]:
        assert re.search(rf"\\subsection\*\{{{words}\}}\n\\todo", text), words


def test_a_courses_own_template(report: Report, tmp_path: Path) -> None:
    own = tmp_path / "course.tex"
    own.write_text("\\documentclass{course}\n\\VAR{packages}\n\\title{\\VAR{title}} % Größe\n\\VAR{numbers}\n")
    text = manuscript.files(report, str(own), drawn=[])["report.tex"].decode()
    assert text.startswith("\\documentclass{course}\n\\usepackage{iftex}")
    assert "\\title{waves on waves, laptop scale} % Größe\n\\input{parts/numbers}" in text
    own.write_text("\\VAR{nmbers}")
    with pytest.raises(Problem, match=r"no place in .*course.tex 'nmbers'; did you mean 'numbers'\?"):
        manuscript.files(report, str(own), drawn=[])
    own.write_text("\\VAR{xyz}")
    with pytest.raises(Problem, match=r"'xyz'; there are: abstract, all-numbers, claim-list, claims"):
        manuscript.files(report, str(own), drawn=[])
    own.write_bytes(b"\xff\xfe")
    with pytest.raises(Problem, match="is no text in UTF-8"):
        manuscript.files(report, str(own), drawn=[])


def test_a_replication_is_a_part_where_there_is_one(report: Report) -> None:
    assert manuscript.files(report, drawn=[])["parts/replication.tex"].strip() == b""
    again = replication.compare(report.definition, "laptop", report.verdicts, report.verdicts)
    text = manuscript.files(dataclasses.replace(report, replication=again), drawn=[])["parts/replication.tex"].decode()
    assert r"\toprule" in text
    assert latex.escape(again.sentences[0]) in text


@needs_tex
def test_a_template_may_load_the_same_packages_with_options(report: Report, tmp_path: Path) -> None:
    options = r"\usepackage[table]{xcolor}", r"\VAR{packages}", r"\usepackage[colorlinks]{hyperref}"
    body = r"\begin{document}\VAR{paper} \VAR{claims}\VAR{numbers}\VAR{runs}\bibliographystyle{plain}"
    body += r"\bibliography{references}"
    own = tmp_path / "own.tex"
    own.write_text("\n".join([r"\documentclass{report}", *options, body, r"\end{document}"]))
    assert typeset(manuscript.files(report, str(own), drawn=[]), tmp_path / "made").startswith(b"%PDF")


def test_what_somebody_wrote_is_kept_and_the_numbers_are_renewed(report: Report, tmp_path: Path) -> None:
    report = dataclasses.replace(report, definition=dataclasses.replace(report.definition, charts=()))
    assert exports.export(report, "tex", tmp_path) == f"Report: {tmp_path}"
    (tmp_path / "report.tex").write_text("mine")
    (tmp_path / "parts" / "claims.tex").write_text("old")
    assert "report.tex is kept as it was" in exports.export(report, "tex", tmp_path, "course")
    assert (tmp_path / "report.tex").read_text() == "mine"
    assert "toprule" in (tmp_path / "parts" / "claims.tex").read_text()


@pytest.mark.parametrize(
    ("authors", "found"),
    [
        ("Mnih, Silver and 16 others", "{Mnih} and {Silver} and others"),
        ("Touvron et al.", "{Touvron} and others"),
        ("Roudy", "{Roudy}"),
        ("Łukasz & Zoë", r"{\L{}ukasz \& Zo\"{e}}"),
    ],
)
def test_authors_in_bibtex(authors: str, found: str, report: Report) -> None:
    study = {**report.study, "paper": {**report.study["paper"], "authors": authors}}
    text = manuscript.files(dataclasses.replace(report, study=study), drawn=[])["references.bib"].decode()
    assert f"author = {{{found}}}," in text
    assert r"author = {{The \'{e}tudes authors}}," in text
    assert "note = {Version 0.1.0, commit " in text


def test_csv_reads_back_as_the_report(report: Report) -> None:
    def value(text: str) -> float:
        return float(text) if text else math.nan

    found = exports.files(report, "csv")
    assert found.keys() == {"claims.csv", "numbers.csv", "runs.csv", "curves.csv"}
    for row, verdict in zip(rows(found, "claims.csv"), report.verdicts, strict=True):
        assert (row["claim"], row["verdict"], int(row["seeds"])) == (verdict.sentence, verdict.verdict, 5)
        for name, number in (("mean", verdict.mean), ("low", verdict.low), ("high", verdict.high), ("p", verdict.p)):
            assert value(row[name]) == pytest.approx(number, rel=1e-5)
        ends = [value(row[name]) for name in ("expected_low", "expected_high")]
        assert [end for end in ends if not math.isnan(end)] == verdict.claim.expect.ends
        assert value(row["paper"]) == pytest.approx(verdict.claim.paper, nan_ok=True)
    numbers = {(row["variant"], row["metric"]): row for row in rows(found, "numbers.csv")}
    for row in report.table:
        for name, metric in row["metrics"].items():
            read = numbers.pop((row["variant"], name))
            assert (value(read["mean"]), value(read["deviation"])) == (metric["mean"], metric["deviation"])
            assert int(read["seeds"]) == metric["seeds"]
        assert value(numbers.pop((row["variant"], "parameters"))["mean"]) == row["parameters"]
        assert value(numbers.pop((row["variant"], "seconds"))["mean"]) == row["seconds"]
    assert not numbers
    for row, trial in zip(rows(found, "runs.csv"), report.trials, strict=True):
        assert (row["variant"], int(row["seed"]), row["run"]) == (trial["variant"], trial["seed"], trial["key"])
        assert {name: float(row[name]) for name in trial["metrics"]} == trial["metrics"]
    points = iter(rows(found, "curves.csv"))
    for series in report.curves:
        for step, number in zip(series["steps"], series["values"], strict=True):
            row = next(points)
            assert (row["variant"], int(row["seed"]), row["metric"]) == tuple(
                map(series.get, ("variant", "seed", "metric"))
            )
            assert (float(row["step"]), float(row["value"])) == (step, number)
    assert next(points, None) is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--format", "pfd"], "no format 'pfd'; did you mean 'pdf'?"),
        (["--format", "docx"], "no format 'docx'; there are: md, html, ipynb, pdf, tex, csv, site"),
        (["--format", "tex", "--template", "curse"], "no template 'curse'; did you mean 'course'?"),
        (["--format", "tex", "--template", "no/such.tex"], "there are: article, course, reproduction, or the path"),
        (["--template", "course"], "--template goes with --format tex or pdf"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_a_sentence(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", "mixup", *words]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("etudes: ")
    assert sentence in said
    assert not [*tmp_path.iterdir()]


def test_the_command_writes_a_folder_named_by_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", "mixup", "--format", "csv"]) == 0
    assert capsys.readouterr().out == "Report: mixup-csv\n"
    assert {path.name for path in Path("mixup-csv").iterdir()} == {
        f"{n}.csv" for n in ("claims", "numbers", "runs", "curves")
    }


@needs_tex
def test_the_pdf(report: Report, tmp_path: Path) -> None:
    report = dataclasses.replace(report, definition=dataclasses.replace(report.definition, charts=()))
    assert exports.export(report, "pdf", tmp_path / "new" / "waves.pdf") == f"Report: {tmp_path / 'new' / 'waves.pdf'}"
    assert (tmp_path / "new" / "waves.pdf").read_bytes().startswith(b"%PDF")


def test_a_pack_holds_the_files_and_repeats_itself() -> None:
    files = {"report.tex": b"a", "parts/claims.tex": b"b"}
    packed = exports.pack(files)
    assert packed == exports.pack(files)
    archive = zipfile.ZipFile(io.BytesIO(packed))
    assert {name: archive.read(name) for name in archive.namelist()} == files
