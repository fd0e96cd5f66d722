"""Files that runs leave: in the report's folder, its Markdown, its page, its notebook, and read back."""

import base64
import dataclasses
import hashlib
import html.parser
import io
import json
import re
import shutil
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy
import pytest
from PIL import Image

from coins import make_study
from etudes.core.claims import Claim, above
from etudes.core.errors import Problem
from etudes.core.files import read_json
from etudes.core.record import load
from etudes.core.run import Run, execute
from etudes.core.spec import Study, Variant
from etudes.reports import drawings, left, render
from etudes.reports.build import build, read
from etudes.reports.charts import bars, pictures
from etudes.reports.report import Report

VARIANTS = (Variant("plain"), Variant("shifted", {"shift": -1.0}, "one <lower> & out"), Variant("far", {"shift": 9.0}))


def png(value: int, width: int = 66, height: int = 34) -> bytes:
    file = io.BytesIO()
    Image.fromarray(numpy.full((height, width), value, numpy.uint8)).save(file, "png")
    return file.getvalue()


def toss(cfg: object, run: Run) -> None:
    """Plain leaves a picture from its second seed on, shifted from its first, far none."""
    run.result(**{"test/score": float(run.rng("score").normal())})
    if run.spec.variant == "shifted" or (run.spec.variant == "plain" and run.spec.seed > 0):
        run.path("samples.png").write_bytes(png(100 + 10 * run.spec.seed + (run.spec.variant == "plain")))


SHOWN = pictures("samples.png", title='Samples "drawn"', says="Each row <b>is</b> a run.")


def study(*charts: object, program: Callable = toss, variants: Sequence[Variant] = VARIANTS) -> Study:
    return make_study(charts=charts or (bars("test/score"), SHOWN), program=program, variants=variants)


def made(chosen: Study, root: Path) -> Report:
    plan = chosen.plan("laptop")
    for spec in plan:
        execute(chosen, spec, root)
    return build(chosen, plan, load(plan, root))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def report(root: Path) -> Report:
    return made(study(), root)


@pytest.fixture(scope="module")
def folder(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("written")
    render.write(report, target)
    return target


class Images(html.parser.HTMLParser):
    """The attributes of a page's pictures, and its other tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.found.append(dict(attrs))


def test_each_variant_shows_the_first_seed_that_has_the_file(report: Report) -> None:
    assert [(p.variant, p.seed, p.content) for p in report.exhibits] == [
        ("plain", 1, png(111)),
        ("shifted", 0, png(100)),
    ]
    assert list(report.chart("samples").exhibits) == list(report.exhibits)
    assert [p.caption for p in report.exhibits] == ["plain, seed 1", "shifted, seed 0: one <lower> & out"]


def test_the_folder_holds_the_files_as_the_runs_left_them(folder: Path, root: Path) -> None:
    assert {p.name: p.read_bytes() for p in (folder / "pictures").iterdir()} == {
        "plain.samples.png": png(111), "shifted.samples.png": png(100),
    }  # fmt: skip
    entries = json.loads((folder / "report.json").read_text())["exhibits"]
    assert [entry["sha256"] for entry in entries] == [hashlib.sha256(png(v)).hexdigest() for v in (111, 100)]
    text = (folder / "report.md").read_text()
    assert 'plain, seed 1\n\n![Samples "drawn": plain](pictures/plain.samples.png)\n' in text
    assert "shifted, seed 0: one &lt;lower> &amp; out\n\n![" in text
    assert "samples.png)\n\nEach row &lt;b>is&lt;/b> a run." in text
    assert "far, seed" not in text


def test_the_page_and_the_notebook_hold_the_pictures_themselves(folder: Path, report: Report) -> None:
    for text in ((folder / "report.html").read_text(), render.summary(report), report.chart("samples")._repr_html_()):
        page = Images(text)
        sources = [str(attributes["src"]).partition("base64,") for attributes in page.found]
        assert [kind for kind, _, _ in sources] == ["data:image/png;"] * 2
        assert [base64.b64decode(data) for _, _, data in sources] == [png(111), png(100)]
        assert page.found[0]["alt"] == 'Samples "drawn": plain'
        assert page.found[0]["width"] == "528"  # 8 x 66, the most within a chart's 560 pixels
        assert "pixelated" in str(page.found[0]["style"])
        assert "lower" not in page.tags
        assert "one &lt;lower&gt; &amp; out" in text
    assert "Each row &lt;b&gt;is&lt;/b&gt; a run." in render.html(report)
    assert "report.chart('samples')" in render.render(report, "ipynb")


def test_a_wide_picture_keeps_its_width() -> None:
    assert left.Exhibit("a", 0, "b.png", png(1, width=700)).width == 700
    assert left.Exhibit("a", 0, "b.png", png(1, width=560)).width == 560
    assert [left.Exhibit("a", 0, "b.png", png(1, width=width)).wide for width in (560, 700)] == [False, True]


def test_read_back_it_is_the_same_report(folder: Path, report: Report, tmp_path: Path) -> None:
    again = read(folder, study())
    assert again.json() == report.json()
    assert list(again.exhibits) == list(report.exhibits)
    render.write(again, tmp_path)
    for name in ("report.json", "pictures/plain.samples.png", "pictures/shifted.samples.png", "charts/test-score.svg"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert Images((tmp_path / "report.html").read_text()).found == Images((folder / "report.html").read_text()).found


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(png(7))], ids=["absent", "another"])
def test_a_committed_report_without_its_pictures_is_told(
    change: Callable[[Path], None], folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    change(tmp_path / "pictures" / "plain.samples.png")
    with pytest.raises(Problem, match=r"plain\.samples\.png is not there as the report was written; run `etudes run"):
        read(tmp_path, study())
    assert read(tmp_path, study(bars("test/score"))).exhibits == []  # no chart shows it any more


def test_a_report_written_before_there_were_pictures_is_read(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    saved = read_json(tmp_path / "report.json", "")
    del saved["exhibits"]
    (tmp_path / "report.json").write_text(json.dumps(saved))
    assert read(tmp_path, study()).exhibits == []


def test_pictures_that_are_gone_are_removed(report: Report, folder: Path, root: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "pictures" / "notes.txt").write_text("mine")
    only = pictures("samples.png", variants=("shifted",))
    assert only.name == "samples-shifted"
    chosen = study(only)
    plan = chosen.plan("laptop")
    render.write(build(chosen, plan, load(plan, root)), tmp_path)
    assert {p.name for p in (tmp_path / "pictures").iterdir()} == {"shifted.samples.png", "notes.txt"}


@pytest.mark.parametrize(
    ("chart", "sentence"),
    [
        (pictures("faces.png"), "no run of coins left a file faces.png"),
        (pictures("samples.png", variants=("far",)), "no run of far left a file samples.png"),
        (pictures("samples.png", variants=("shiftd",)), "no variant of coins 'shiftd'; did you mean 'shifted'?"),
    ],
)
def test_what_is_not_there_is_not_drawn(chart: object, sentence: str, root: Path) -> None:
    chosen = study(chart)
    plan = chosen.plan("laptop")
    report = build(chosen, plan, load(plan, root))
    (drawing,) = drawings.draw(report)
    assert drawing.problem == sentence
    assert f"is not drawn: {sentence}" in render.markdown(report)
    assert "is not drawn: " in render.html(report)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xff\xd8\xff\xe0 a JPEG", "is no PNG file; save it as one"),
        (png(1)[:-20], "is damaged; delete the run's folder"),
        (png(1).replace(b"IDAT", b"IDAX"), "is damaged; delete the run's folder"),
        (png(1)[:8] + b"no chunks at all", "is damaged; delete the run's folder"),
        (png(1) + bytes(left.MOST[".png"]), "but a report shows files of at most 300,000; save a smaller one"),
    ],
    ids=["jpeg", "cut", "chunk", "empty", "large"],
)
def test_a_picture_that_cannot_be_shown_is_told_of_and_the_report_stands(
    content: bytes, sentence: str, tmp_path: Path
) -> None:
    def leave(cfg: object, run: Run) -> None:
        toss(cfg, run)
        if run.spec.variant == "plain":
            run.path("samples.png").write_bytes(content)

    chosen = study(program=leave)
    report = made(chosen, tmp_path / "runs")
    key = next(trial["key"] for trial in report.trials if trial["variant"] == "plain" and trial["seed"] == 0)
    with pytest.raises(Problem) as caught:
        report.chart("samples")
    assert str(caught.value).startswith(f"{key}/samples.png ")
    assert sentence in str(caught.value)
    target = tmp_path / "report"
    render.write(report, target)
    assert {p.name for p in (target / "pictures").iterdir()} == {"shifted.samples.png"}
    assert sentence.replace("_", "\\_") in (target / "report.md").read_text()
    again = read(target, chosen)
    assert again.json() == report.json()
    with pytest.raises(Problem, match="samples"):
        again.chart("samples")


def test_only_files_of_known_kinds_can_be_named() -> None:
    with pytest.raises(Problem, match=r"files of \.png, \.gif, \.txt, \.wav, and 'samples\.jpg' is none"):
        pictures("samples.jpg")


def gif(frames: int) -> bytes:
    file = io.BytesIO()
    first, *others = [Image.new("L", (8, 4), 40 * i) for i in range(frames)]
    first.save(file, "gif", save_all=True, append_images=others, duration=100, loop=0)
    return file.getvalue()


def test_a_gif_moves_in_the_page_and_stands_beside_the_markdown(tmp_path: Path) -> None:
    def leave(cfg: object, run: Run) -> None:
        toss(cfg, run)
        run.path("film.gif").write_bytes(gif(3) if run.spec.variant == "plain" else gif(3)[:-30])

    chosen = study(pictures("film.gif", variants=("plain",)), program=leave)
    report = made(chosen, tmp_path / "runs")
    render.write(report, tmp_path / "report")
    kept = (tmp_path / "report" / "pictures" / "plain.film.gif").read_bytes()
    with Image.open(io.BytesIO(kept)) as film:
        assert film.n_frames == 3
    assert report.exhibits[0].size == (8, 4)
    assert report.exhibits[0].width % 8 == 0
    assert dataclasses.replace(report.exhibits[0], file="x.png", content=png(1)).size == (66, 34)
    assert base64.b64encode(kept).decode() in (tmp_path / "report" / "report.html").read_text()
    assert "plain.film.gif" in (tmp_path / "report" / "report.md").read_text()
    broken = study(pictures("film.gif", variants=("shifted",)), program=leave)
    plan = broken.plan("laptop")
    assert "is damaged" in build(broken, plan, load(plan, tmp_path / "runs")).exhibits[0].problem


def test_two_pictures_never_share_a_name(tmp_path: Path) -> None:
    def leave(cfg: object, run: Run) -> None:
        run.result(**{"test/score": 1.0})
        run.path("b-c.png" if run.spec.variant == "a" else "c.png").write_bytes(png(1))

    claim = Claim(lambda t: t["a"]["test/score"], above(0), "sec. 1")
    two = study(pictures("b-c.png"), pictures("c.png"), program=leave, variants=[Variant("a"), Variant("a-b")])
    names = [picture.path for picture in made(dataclasses.replace(two, claims={"a scores": claim}), tmp_path).exhibits]
    assert len(names) == len(set(names)) == 2


TALE = "Il était <b>une fois</b>\n```\n| un & œuf |\n"


def tale(content: bytes) -> Study:
    def leave(cfg: object, run: Run) -> None:
        toss(cfg, run)
        run.path("tale.txt").write_bytes(content)

    return study(pictures("tale.txt", says="As written."), program=leave)


def test_a_text_is_shown_as_it_is_and_read_back(tmp_path: Path) -> None:
    chosen = tale(TALE.encode())
    report, target = made(chosen, tmp_path / "runs"), tmp_path / "report"
    render.write(report, target)
    assert (target / "texts" / "plain.tale.txt").read_text() == TALE
    assert f"````text\n{TALE}````\n" in (target / "report.md").read_text()
    page = (target / "report.html").read_text()
    assert "<pre>Il était &lt;b&gt;une fois&lt;/b&gt;\n```\n| un &amp; œuf |\n</pre>" in page
    assert page.count("<details open>") == 1, "one is open, the others are folded"
    assert page.count(", seed 0</summary>") + page.count(", seed 0: one &lt;lower&gt; &amp; out</summary>") >= 2
    assert "<pre>" in report.chart("tale")._repr_html_()
    assert read(target, chosen).json() == report.json()
    (target / "texts" / "gone.tale.txt").write_text("of a variant that is no more")
    render.write(report, target)
    assert len(list((target / "texts").iterdir())) == 3


def test_a_played_game_is_a_table_of_its_cards(tmp_path: Path) -> None:
    game = b'{"agent": "giver-0", "gave": "<b>ski"}\n{"agent": "table", "word": "bike", "outcome": "wrong"}\n'
    report, target = made(tale(game), tmp_path / "runs"), tmp_path / "report"
    render.write(report, target)
    assert (
        "| word | giver-0 | outcome |\n| --- | --- | --- |\n| bike | &lt;b>ski | wrong |"
        in (target / "report.md").read_text()
    )
    assert "<tr><td>bike</td><td>&lt;b&gt;ski</td><td>wrong</td></tr>" in (target / "report.html").read_text()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"\xff\xfe\x00", "is no text in UTF-8"), (b"a" * 20_001, "a report shows files of at most 20,000")],
)
def test_a_text_that_cannot_be_shown_is_told(tmp_path: Path, content: bytes, sentence: str) -> None:
    report = made(tale(content), tmp_path)
    with pytest.raises(Problem, match=sentence):
        report.chart("tale")


def wav(n: int = 400, channels: int = 1) -> bytes:
    """A tone written by hand: the header of the format, then samples of 16 bits."""
    samples = (8000 * numpy.sin(numpy.arange(n * channels) / 5)).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, channels, 8000, 16000 * channels, 2 * channels, 16)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def tone(content: bytes) -> Study:
    def leave(cfg: object, run: Run) -> None:
        toss(cfg, run)
        run.path("tone.wav").write_bytes(content)

    return study(pictures("tone.wav", says="A tone."), program=leave)


def test_a_sound_plays_in_the_page_and_is_linked_from_the_markdown(tmp_path: Path) -> None:
    chosen, target = tone(wav()), tmp_path / "report"
    report = made(chosen, tmp_path / "runs")
    render.write(report, target)
    assert (target / "sounds" / "plain.tone.wav").read_bytes() == wav()
    assert "[plain.tone.wav](sounds/plain.tone.wav)" in (target / "report.md").read_text()
    for page in ((target / "report.html").read_text(), report.chart("tone")._repr_html_()):
        sources = re.findall(r'<audio controls [^>]*src="data:audio/wav;base64,([^"]+)"', page)
        assert [base64.b64decode(source) for source in sources] == [wav()] * 3
        assert "<img" not in page
    assert read(target, chosen).json() == report.json()
    (target / "sounds" / "gone.tone.wav").write_bytes(wav())
    render.keep(report, target)
    assert len(list((target / "sounds").iterdir())) == 3


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"OggS" + bytes(100), "is no WAV file of plain samples"),
        (wav()[:30], "is no WAV file of plain samples"),
        (wav()[:20] + b"\x03" + wav()[21:], "is no WAV file of plain samples"),  # of floats, which not all can play
        (wav()[:-100], "holds fewer samples than it says"),
        (wav(0), "holds no samples"),
        (wav(150_001), "a report shows files of at most 300,000"),
    ],
    ids=["ogg", "head", "floats", "cut", "silent", "large"],
)
def test_a_sound_that_cannot_be_played_is_told(tmp_path: Path, content: bytes, sentence: str) -> None:
    report = made(tone(content), tmp_path)
    with pytest.raises(Problem, match=sentence):
        report.chart("tone")
