"""What the server answers: pages, files, refusals."""

import dataclasses
import html
import io
import json
import math
import re
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from coins import make_study, toss
from etudes import run
from etudes.cli import main
from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.files import write_json
from etudes.core.record import load
from etudes.core.run import execute
from etudes.core.spec import Paper
from etudes.data.sources import SOURCES
from etudes.exhibits.sound import save_sound
from etudes.reports import cards, exports, intervals, render
from etudes.reports.build import build, read
from etudes.reports.charts import bars, curves, pictures
from etudes.web import app as server
from etudes.web import gallery, live, search, shelf
from etudes.web.live import Log, Watch, curve
from etudes.web.pages import COURSES, Pages, file_of
from etudes.web.runs import groups as runs_of
from etudes.web.runs import in_words
from etudes.web.runs import left as runs_left

BASE = "http://127.0.0.1:7860"
STUDIES = [name for name in catalogue.names() if catalogue.reported_scales(name)]


@pytest.fixture(scope="module")
def client(runs):
    with TestClient(server.application(runs), base_url=BASE, raise_server_exceptions=False) as client:
        yield client


VOID = {"meta", "link", "input", "img", "br", "wbr", "path", "circle", "rect", "line", "hr"}


class Outline(HTMLParser):
    """What is checked of every page: ids, links, labels, headings, that each tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict] = []
        self.fields: list[dict] = []
        self.headings: list[int] = []
        self.open: list[str] = []
        self.labelled = 0
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in found:
            self.ids.append(found["id"])
        self.links += [found[name] for name in ("href", "src", "action", "data-live") if found.get(name)]
        if tag == "img":
            self.images.append(found)
        if tag in ("input", "select") and found.get("type") != "hidden":
            self.fields.append(found | {"labelled": "label" in self.open or "aria-label" in found})
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.inline += [f"{tag} {name}" for name in found if name == "style" or name.startswith("on")]
        if tag == "script" and "src" not in found:
            self.inline.append("script")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open, tag
            assert self.open.pop() == tag


ADDRESSES = [
    "/",
    "/?q=label+noise",
    "/compare",
    "/data",
    "/glossary",
    "/reading",
    "/live",
    "/demos",
    "/study/nothing",
    "/data/nothing",
]


@pytest.mark.parametrize("address", [*ADDRESSES, *(f"/study/{name}" for name in STUDIES)])
def test_every_page_is_sound(client, address):
    answer = client.get(address)
    assert answer.status_code == (404 if "nothing" in address else 200)
    page = Outline(answer.text)
    assert not page.open
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert len(page.ids) == len(set(page.ids))
    assert not page.inline, "the policy forbids what is written into a page"
    assert all(field["labelled"] for field in page.fields)
    assert all("alt" in image for image in page.images)
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_says_what_its_report_says(client, name):
    folder = catalogue.committed_folder(name, _first(name))
    saved = json.loads((folder / "report.json").read_text())
    text = client.get(f"/study/{name}").text
    shown = html.unescape(re.sub(r"</?button[^>]*>", "", text))  # of words that can be looked up
    assert saved["study"]["question"] in shown
    counted = re.findall(r'<article class="claim ([a-z-]+)">', text)
    assert counted == [verdict["verdict"].replace(" ", "-") for verdict in saved["verdicts"]]
    assert text.count('<svg class="forest"') == sum(bool(verdict["values"]) for verdict in saved["verdicts"])
    for chart in {path.stem for path in folder.glob("charts/*.svg")} - {"thumbnail"}:
        assert f'<figure id="{chart}">' in text
    for picture in folder.glob("pictures/*.png"):
        assert f"/pictures/{picture.name}" in text
    for row in saved["table"]:
        assert row["variant"] in shown
    seen = [v for v in saved["verdicts"] if v["verdict"] == "undecided" and v["sees"] is not None]
    assert shown.count(" with 80 % power") == len(seen)  # what could have been seen stands beside each
    assert ("Not registered." in shown) == (saved.get("registration") is None)


def test_a_study_says_first_what_came_out(client):
    text = client.get("/study/mixup").text
    places = [text.index(f'id="{part}"') for part in ("answer", "claims", "idea", "numbers", "charts", "variants")]
    assert places == sorted(places)
    answer = text[places[0] : places[1]]
    assert (
        answer.index("claims</button> hold at laptop scale") < answer.index('class="reading') < answer.index("<figure")
    )
    assert "def mix(" in text
    assert "src/etudes/studies/labels/mixup.py" in text
    main = text[places[3] :].partition("<details>")[0]
    assert "test error" in main
    assert "test/error" not in main
    assert "0.9 in all variants." in main
    targets, ids = (re.findall(rf'{name}="(term-[a-z0-9-]+)"', text) for name in ("popovertarget", "popover id"))
    assert targets
    assert sorted(targets) == sorted(ids)  # each marked once, and each told


def test_the_gallery_is_filtered_by_the_server_too(client):
    def shown(query: str) -> set[str]:
        cards = re.findall(
            r'<article class="card"[^>]*>.*?<h2><a [^>]*>([a-z-]+)</a>', client.get(query).text, re.DOTALL
        )
        hidden = re.findall(
            r'<article class="card"[^>]* hidden>.*?<h2><a [^>]*>([a-z-]+)</a>', client.get(query).text, re.DOTALL
        )
        return set(cards) - set(hidden)

    saved = {
        name: json.loads((catalogue.committed_folder(name, _first(name)) / "report.json").read_text())
        for name in STUDIES
    }
    cards = {name: report["study"] for name, report in saved.items()}

    def among(query: str) -> set[str]:
        return shown(query) & set(STUDIES)  # a study without a report may come at any time

    assert among("/") == set(STUDIES)
    assert among("/?family=labels") == {name for name, card in cards.items() if card["family"] == "labels"}
    assert "mixup" in among("/?q=ZHANG+pairs")
    assert shown("/?q=phlogiston") == set()
    refuted = {n for n, card in cards.items() if any(claim["verdict"] == "refuted" for claim in card["claims"])}
    assert among("/?verdict=refuted") == refuted
    assert among("/?origin=A") == {name for name, card in cards.items() if card["origin"].startswith("A")}


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("transformer", "llama-fr"),  # all of which stand in method cards alone
        ("attention", "llama-fr"),
        ("Frechet", "ddpm-sdedit"),
        ("u-net", "ddpm-sdedit"),
        ("glove", "just-one"),
        ("eltec", "llama-fr"),
        ("dropout adam", "cifar-training"),
        ("bm25", "rag"),
    ],
)
def test_method_cards_variants_and_data_are_searched(client, asked, wanted):
    library = client.app.state.pages.shelf
    assert wanted in [card["name"] for card in gallery.choose(library, asked, "", "", "") if not card["hidden"]]


def test_titles_and_questions_come_before_method_cards():
    among = search.index([("a net", "of gates"), ("gates", ""), ("none", "none")])
    assert search.find(among, "gat", 3) == [1, 0]
    assert search.find(among, "", 3) == [0, 1, 2]
    assert search.find(among, "net gates", 3) == [0]
    assert search.find(search.index([("Fréchet's U-Net, 2015 of 12", "")]), "frechet unet 2015", 1) == [0]
    assert "net" in search.index([("U-Net", "")])


def test_what_is_searched_does_not_weigh_on_the_page(client):
    """With 72 studies a page of 1.3 kB a card stays under 100 kB; the words come once, from a file of their own."""
    text = client.get("/").text
    cards = text.count('<article class="card"')
    assert len(text) < 3000 + 1400 * cards
    words = client.get("/words.js")
    assert words.headers["content-type"].startswith("text/javascript")
    assert len(words.content) < 6000 * cards
    assert '<script src="/words.js" defer>' in text
    assert "words.js" not in client.get("/data").text


def test_cards_say_in_words_what_came_out(client):
    text = client.get("/").text
    for name in STUDIES:
        saved = json.loads((catalogue.committed_folder(name, _first(name)) / "report.json").read_text())
        verdicts = [claim["verdict"] for claim in saved["study"]["claims"]]
        held = verdicts.count("supported") or "none"
        assert f"{held} of {len(verdicts)} claims supported" in text
    assert gallery.outcome({"supported": 7}) == "7 of 7 claims supported"
    assert gallery.outcome({"refuted": 1, "undecided": 1}) == "none of 2 claims supported, 1 refuted, 1 undecided"
    assert gallery.outcome({"not judged": 1}) == "1 claim, not judged yet"


def test_datasets_lead_to_the_studies_that_read_them(client):
    text = client.get("/data").text
    read, free = text.split('id="free"')
    rows = dict(re.findall(r'<tr id="([a-z0-9-]+)">(.*?)</tr>', text, re.DOTALL))
    assert set(rows) == set(SOURCES)
    assert 'href="/study/mixup"' in rows["cifar10"]
    assert 'href="/study/word-lstm"' in rows["tatoeba-eng-fra"], "what a tool learns from is read too"
    for name in ("cifar100", "imgur5k"):
        assert f'id="{name}"' in free
    for name in STUDIES:
        folder = catalogue.committed_folder(name, _first(name))
        for entry in json.loads((folder / "report.json").read_text())["data"]:
            if entry["dataset"] in SOURCES:
                assert f'id="{entry["dataset"]}"' in read
                assert f'href="/study/{name}"' in rows[entry["dataset"]]
    assert 'href="/data#cifar10"' in client.get("/study/mixup").text, "and back"
    assert "unknown" not in text
    assert all('data-name="licence"></td>' not in row for row in rows.values())


def test_pages_name_the_course_and_not_its_letter(client):
    assert all(study.origin[:1] in COURSES for study in map(catalogue.find, catalogue.names()))
    home, page = client.get("/").text, client.get("/study/edge-of-stability").text
    assert f'<option value="C">{COURSES["C"]}</option>' in home
    assert f"dynamics · {COURSES['D']}<" in page
    assert "D7" not in page


def _first(name: str) -> str:
    scales = catalogue.reported_scales(name)
    return "laptop" if "laptop" in scales else scales[0]


def test_wrong_questions_get_one_clear_sentence(client):
    for address, words in {
        "/?family=labelz": "did you mean 'labels'",
        "/study/mixupp": "did you mean 'mixup'?</p>",
        "/study/mixup/lapto": "did you mean 'laptop'",
        "/compare?study=mixup&a=laptop&b=moon": "no report of mixup 'moon'",
        "/live/run/coins/laptop/none/0": "no run",
        "/demo/none": "no such demo",
    }.items():
        answer = client.get(address)
        assert answer.status_code == 404, address
        assert words in html.unescape(answer.text).lower(), address
    missing = client.get("/compare/runs?a=x")
    assert missing.status_code == 422
    assert "wrong value for: b" in missing.text
    assert client.post("/").status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/files/mixup/laptop/../../../pyproject.toml",
        "/files/mixup/laptop/%2e%2e/%2e%2e/%2e%2e/pyproject.toml",
        "/files/mixup/laptop/..%2f..%2f..%2fpyproject.toml",
        "/files/mixup/%2e%2e/laptop/report.json",
        "/files/%2e%2e/mixup/report.json",
        "/files/mixup/laptop//etc/passwd",
        "/files/mixup/laptop/report.json%00.svg",
        "/study/..%2f..%2fetc",
        "/study/mixup/..%2flaptop",
        "/live/run/../../../etc/passwd",
        "/live/data/..%2f..%2f..%2fetc%2fpasswd",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
    ],
)
def test_no_path_leaves_what_is_offered(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert "root:" not in answer.text
    assert "[project]" not in answer.text
    assert "FastAPI(" not in answer.text


def test_files_of_a_report_are_as_written(client):
    folder = catalogue.committed_folder("mixup")
    for name in ("report.json", "report.md", "charts/train-misses.svg"):
        assert client.get(f"/files/mixup/laptop/{name}").content == (folder / name).read_bytes()
    assert not (folder / "report.html").exists()  # these are made when asked for
    made = read(folder, catalogue.find("mixup"))
    for kind in ("html", "ipynb"):
        assert client.get(f"/files/mixup/laptop/report.{kind}").text == render.render(made, kind)
    for name, content in exports.files(made, "csv").items():
        answer = client.get(f"/files/mixup/laptop/{name}")
        assert answer.content == content
        assert answer.headers["content-type"].startswith("text/csv")
    archive = zipfile.ZipFile(io.BytesIO(client.get("/files/mixup/laptop/latex.zip").content))
    assert {"report.tex", "references.bib", "parts/claims.tex"} <= {*archive.namelist()}
    assert all(f"mixup-{name}" in client.get("/study/mixup").text for name in shelf.MADE)
    report = client.get("/files/mixup/laptop/report.html")
    assert report.headers["content-type"].startswith("text/html")
    assert "script-src" not in report.headers["content-security-policy"]
    assert "default-src 'none'; style-src 'unsafe-inline'" in report.headers["content-security-policy"]
    picture = client.get("/files/mixup/laptop/charts/train-misses.svg")
    assert picture.headers["content-type"].startswith("image/svg+xml")


def test_a_chart_with_hover_is_made_when_it_is_asked_for(client):
    assert not catalogue.committed_folder("mixup").joinpath("charts/train-misses.json").exists()
    spec = client.get("/files/mixup/laptop/charts/train-misses.json").json()
    assert spec["layer"]
    assert len(spec["datasets"]["data-0"]["rows"]) == len(
        [
            t
            for t in read(catalogue.committed_folder("mixup"), catalogue.find("mixup")).trials
            if "train/misses" in t["metrics"]
        ]
    )
    assert client.get("/files/mixup/laptop/charts/nothing.json").status_code == 404
    page = client.get("/study/mixup").text
    assert 'data-chart="/files/mixup/laptop/charts/train-misses.json"' in page
    assert 'data-vega="/static/vega.js"' in page


def test_the_gallery_shows_a_picture_to_be_read_in_its_own_pixels():
    forms = {card["name"]: card["form"] for card in shelf.Shelf({}).cards()}
    assert (forms["char-lstm"], forms["doom-dqn"], forms["mixup"]) == ("whole", "pixels", "drawn")


def test_only_this_machine_by_its_own_name(client):
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:7860", "192.168.0.2:7860", ""):
        answer = client.get("/", headers={"host": host})
        assert answer.status_code == 421, host
        assert "mixup" not in answer.text
    for host in ("127.0.0.1:7860", "localhost:1", "localhost", "[::1]:7860", "LOCALHOST"):
        assert client.get("/demos", headers={"host": host}).status_code == 200, host
    assert server.HOST == "127.0.0.1"


def test_pages_of_other_sites_are_refused(client):
    assert client.get("/", headers={"origin": "https://evil.example"}).status_code == 403
    assert client.get("/", headers={"origin": "null"}).status_code == 403
    assert client.get("/", headers={"origin": BASE}).status_code == 200


def test_large_bodies_are_refused(client):
    assert client.post("/", content=b"x" * (server.BODY + 1)).status_code == 413
    assert client.post("/", content=(b"x" * 1024 for _ in range(8))).status_code == 405
    assert client.post("/", headers={"content-length": "many"}).status_code == 413


def test_a_reader_who_leaves_is_no_fault(runs):
    """A body that never comes, to a page that reads it."""
    from starlette.requests import Request

    from etudes.web.app import Guard

    async def reads(scope, receive, send):
        await Request(scope, receive).body()
        reached.append("the end")

    async def left():
        return {"type": "http.disconnect"}

    reached: list[str] = []
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"127.0.0.1")]}
    with pytest.raises(StopIteration):  # it ends at once; a loop of our own is refused beside a browser's
        Guard(reads, None)(scope, left, None).send(None)
    assert reached == []


def test_a_fault_shows_a_page_without_its_trace(runs, monkeypatch):
    application = server.application(runs)
    monkeypatch.setattr(Pages, "demos", lambda self: 1 / 0)
    with TestClient(application, base_url=BASE, raise_server_exceptions=False) as client:
        answer = client.get("/demos")
    assert answer.status_code == 500
    assert "could not be made" in answer.text
    assert "ZeroDivisionError" not in answer.text
    assert "Traceback" not in answer.text


EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


def test_a_sound_of_a_run_plays_on_its_page(tmp_path, monkeypatch):
    def beep(cfg, run):
        toss(cfg, run)
        save_sound(run.path("beep.wav"), np.sin(np.arange(4000) / 9), 8000)

    study = make_study(program=beep, charts=(pictures("beep.wav", variants=("plain",)),))
    plan = study.plan("smoke")
    for spec in plan:
        execute(study, spec, tmp_path / "runs")
    render.keep(build(study, plan, load(plan, tmp_path / "runs")), tmp_path / "results" / "coins" / "laptop")
    monkeypatch.setattr(catalogue, "names", lambda: {"coins": "games"})
    monkeypatch.setattr(catalogue, "find", lambda name: study)
    monkeypatch.setattr(catalogue, "committed_folder", lambda name, scale="laptop": tmp_path / "results" / name / scale)
    with TestClient(server.application(tmp_path / "none"), base_url=BASE) as client:
        page = client.get("/study/coins")
        (source,) = re.findall(r'<audio controls [^>]*src="([^"]+)"', page.text)
        assert "media-src 'self'" in page.headers["content-security-policy"]
        sound = client.get(source)
        assert sound.headers["content-type"].startswith("audio/")
        (kept,) = (tmp_path / "runs" / "coins" / "smoke" / "plain").glob("0-*/beep.wav")
        assert sound.content == kept.read_bytes()
        alone = client.get("/files/coins/laptop/report.html")
        assert "data:audio/wav;base64," in alone.text
        assert "media-src data:" in alone.headers["content-security-policy"]


@pytest.fixture
def hostile(runs, tmp_path, monkeypatch):
    """A study whose every word is an attack, reported, in a catalogue of its own."""
    plain = make_study(charts=(bars("test/score", title=EVIL), curves("score")))
    claim = dataclasses.replace(next(iter(plain.claims.values())), where=EVIL)
    variant = dataclasses.replace(plain.variants[1], says=EVIL)
    study = make_study(
        question=EVIL, paper=Paper(EVIL, EVIL, 2020, f"javascript:alert('{EVIL}')"), claims={EVIL: claim},
        charts=plain.charts, variants=(plain.variants[0], variant),
    )  # fmt: skip
    plan = study.plan("smoke")
    report = build(study, plan, load(plan, runs))
    committed, manual = tmp_path / "results", tmp_path / "docs"
    render.write(report, committed / "coins" / "laptop")
    manual.mkdir()
    (manual / "coins.md").write_text(
        f"# coins\n\n{EVIL}\n\n[a](javascript:alert(3)) [b](../../secret.txt) ![c](x.png)\n"
    )
    monkeypatch.setattr(catalogue, "names", lambda: {"coins": "games"})
    monkeypatch.setattr(catalogue, "find", lambda name: study)
    monkeypatch.setattr(catalogue, "committed_folder", lambda name, scale="laptop": committed / name / scale)
    monkeypatch.setattr(cards, "folder", lambda: manual)
    with TestClient(server.application(runs), base_url=BASE) as client:
        yield client


def test_what_a_study_says_stays_words(hostile):
    for address in ("/", "/study/coins", f"/?q={EVIL}", "/compare"):
        text = hostile.get(address).text
        assert "<script>alert" not in text, address
        assert "<img src=x" not in text, address
        page = Outline(text)
        assert not [link for link in page.links if link.lower().startswith("javascript")], address
        assert not page.inline
    text = hostile.get("/study/coins").text
    assert html.escape("<script>alert(1)</script>", quote=False) in text
    assert "secret.txt" not in text


def test_a_report_of_another_revision_is_named_and_not_shown(hostile, tmp_path):
    path = tmp_path / "results" / "coins" / "laptop" / "report.json"
    saved = json.loads(path.read_text())
    saved["study"]["revision"] = 7
    write_json(path, saved)
    text = hostile.get("/study/coins").text
    assert "revision 7" in text
    assert "not judged" in text


def test_pages_change_when_a_report_does(hostile, tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "PAUSE", 0.0)
    assert "heads or tails" not in hostile.get("/").text
    path = tmp_path / "results" / "coins" / "laptop" / "report.json"
    saved = json.loads(path.read_text())
    saved["study"]["question"] = "heads or tails"
    write_json(path, saved)
    assert "heads or tails" in hostile.get("/").text


def test_the_first_page_waits_for_no_large_library(tmp_path):
    made = "import sys; from pathlib import Path; from etudes.web.app import application; "
    made += f"application(Path({str(tmp_path)!r})).state.pages.home('attention'); "
    subprocess.run([sys.executable, "-c", made + "assert not {'torch', 'numpy'} & set(sys.modules)"], check=True)


def test_a_page_is_made_once(monkeypatch, runs):
    made = []
    monkeypatch.setattr(Pages, "data", lambda self: made.append(1) or "<p>data</p>")
    with TestClient(server.application(runs), base_url=BASE) as client:
        for _ in range(3):
            client.get("/data")
    assert len(made) == 1


def test_runs_are_shown_as_they_are(client, runs):
    study = make_study()
    states = Watch({"": runs}).runs()
    plan = study.plan("laptop")
    assert states[plan[0].key].state == "finished"
    stopped = states[plan[2].key]
    assert (stopped.state, stopped.done, stopped.steps) == ("stopped", 2, 5)
    text = client.get("/live").text
    assert "2 of 8 finished" not in text  # coins is no study of the catalogue: its plan is not known
    assert "1 stopped" in text
    page = html.unescape(client.get(f"/live/run/{plan[2].key}").text)
    assert "stopped at step 2 of 5" in page
    part = client.get(f"/live/data/{plan[0].key}").json()
    assert part["state"] == "finished"
    assert "test score" in part["html"]
    both = client.get("/compare/runs", params={"a": plan[0].key, "b": plan[1].key}).text
    assert "shift" in both
    assert "B − A" in both


def test_runs_that_are_alike_are_told_apart_and_shared_ones_explained(tmp_path):
    study = make_study()
    (spec, *_) = study.plan("smoke")
    others = [dataclasses.replace(spec, config={**spec.config, "steps": steps}) for steps in (3, 4)]
    shared = [dataclasses.replace(spec, variant="tokens", config={"pieces": pieces}) for pieces in (10, 20)]
    for each in others:
        execute(study, each, tmp_path)
    for each in shared:
        folder = tmp_path / each.study / each.scale / "once" / Path(each.key).relative_to(f"{each.study}/{each.scale}")
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(json.dumps(dataclasses.asdict(each)))
        (folder / "result.json").write_text('{"train/tokens": 5}')
    watch = Watch({"": tmp_path})
    (group,) = runs_of(watch)
    assert group["counts"]["finished"] == 2
    assert {group["apart"][each.key] for each in others} == {"steps 3", "steps 4"}
    assert {group["apart"][run.key] for run in group["shared"]} == {"pieces 10", "pieces 20"}
    with TestClient(server.application(tmp_path), base_url=BASE) as client:
        text = client.get("/live").text
        page = client.get(f"/live/run/{group['shared'][0].key}").text
    assert "Shared by these runs (2)" in text
    assert "<small>pieces 20</small>" in text
    assert "made once" in page


def test_the_runs_that_the_last_command_asked_for_are_counted(tmp_path):
    study = make_study()
    run(study, "smoke", variants=["plain"], seeds=1, root=tmp_path)
    (group,) = runs_of(Watch({"": tmp_path}))
    assert (group["finished"], group["planned"], group["others"]) == (1, 1, 0)
    run(study, "smoke", variants=["plain"], seeds=2, root=tmp_path)
    run(study, "smoke", seeds=1, root=tmp_path)
    (group,) = runs_of(Watch({"": tmp_path}))
    variants = len(study.variants)
    assert (group["finished"], group["planned"], group["others"]) == (variants, variants, 1)
    (tmp_path / study.name / "smoke" / "plan.json").write_text("[1")
    (group,) = runs_of(Watch({"": tmp_path}))
    assert group["planned"] == 0, "a plan that cannot be read is none"


def test_the_time_left_is_told(tmp_path):
    """A run at work, half through its hundred steps at two a second; three more of the plan wait, as long each."""
    folder = tmp_path / "coins" / "smoke" / "plain" / "0-a"
    folder.mkdir(parents=True)
    spec = {"study": "coins", "scale": "smoke", "variant": "plain", "seed": 0, "config": {"steps": 100}}
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "log.jsonl").write_text("".join(f'{{"step": {i}, "loss": 1}}\n' for i in range(10, 51)))
    (folder / "times.txt").write_text("".join(f"{7 + i / 2}\n" for i in range(10, 51)))
    keys = ["coins/smoke/plain/0-a", *(f"coins/smoke/plain/{i}-a" for i in (1, 2, 3))]
    (tmp_path / "coins" / "smoke" / "plan.json").write_text(json.dumps({"runs": keys}))
    watch = Watch({"": tmp_path})
    (state,) = watch.runs().values()
    assert math.isnan(state.left)  # it is not at work
    working = dataclasses.replace(state, state="running", left=25.0)
    assert runs_left([working], set(keys)) == 25 + 3 * 50
    assert math.isnan(runs_left([state], set(keys)))
    from filelock import FileLock

    if Path("/proc/locks").exists():
        with FileLock(folder / "lock"):
            (state,) = Watch({"": tmp_path}).runs().values()
        assert state.left == pytest.approx(25)
    assert [in_words(seconds) for seconds in (3, 42, 174, 4000)] == [
        "about 5 s", "about 40 s", "about 3 min", "about 1 h 05 min",
    ]  # fmt: skip
    assert in_words(math.nan) == ""


@pytest.fixture(scope="module")
def two_people(tmp_path_factory):
    """The server over the folders of two people: both ran mixup, one with a variant of her own."""
    root = tmp_path_factory.mktemp("class")
    for who, choice in {"anna": {"vary": {"mine": {"alpha": 0.4}}, "seeds": 2}, "ben": {"variants": ["mixup"]}}.items():
        found = run("mixup", "smoke", root=root / who / "runs", **{"seeds": 1} | choice)
        render.keep(found, found.folder(root / who / "runs"))
    roots = [root / who / "runs" for who in ("anna", "ben")]
    with TestClient(server.application(*roots), base_url=BASE, raise_server_exceptions=False) as client:
        yield client


def test_folders_of_several_people_bear_their_names(tmp_path):
    names = ["class/anna/runs", "class/ben/runs", "class/ben lee/runs"]
    assert list(shelf.tell_apart([tmp_path / name for name in names])) == ["anna", "ben", "ben-lee"]
    assert list(shelf.tell_apart([tmp_path / "a b", tmp_path / "a-b"])) == ["a-b-1", "a-b-2"]
    assert shelf.tell_apart([tmp_path]) == {"": tmp_path}
    with pytest.raises(Problem, match="twice"):
        shelf.tell_apart([tmp_path, tmp_path / "x" / ".."])


def test_reports_of_several_people_stand_side_by_side(two_people):
    sources = two_people.app.state.pages.shelf.sources("mixup")
    labels = [source.label for source in sources.values()]
    assert labels[0] == "laptop"
    assert "anna: smoke, 2 seeds, mine beside erm" in labels
    assert "ben: smoke, 1 seed, mixup alone" in labels
    assert "/compare/mixup" in two_people.get("/compare").text
    text = html.unescape(two_people.get("/compare/mixup").text)
    assert text.count('<th scope="row"><a href="/study/mixup/') == len(sources)
    claims = catalogue.find("mixup").claims
    assert text.count('<article class="pair"') == len(claims)
    assert all(text.count(label) >= len(claims) for label in labels)
    assert "not judged at scale smoke" in text
    assert "anna" in two_people.get("/live").text


def test_own_variants_stand_beside_the_committed_ones(two_people):
    sources = two_people.app.state.pages.shelf.sources("mixup")
    (own,) = [name for name, source in sources.items() if "mine" in source.label]
    page = html.unescape(two_people.get(f"/compare/mixup/laptop/{own}").text)
    numbers = page[page.index('id="numbers"') :]
    assert '<th scope="row">mine</th>' in numbers
    assert '<th scope="row">mixup</th>' in numbers
    assert '<th scope="row">erm</th>' in numbers


def test_nothing_is_compared_with_itself(client, runs):
    answer = client.get("/compare?study=mixup&a=laptop&b=laptop")
    assert answer.status_code == 404
    assert "compared with itself" in answer.text
    key = make_study().plan("laptop")[0].key
    assert "compared with itself" in client.get("/compare/runs", params={"a": key, "b": key}).text


def test_a_claim_of_several_reports_is_drawn_on_one_axis(two_people):
    text = two_people.get("/compare/mixup").text
    first = text[text.index('id="claim-1"') : text.index('id="claim-2"')]
    report = read(catalogue.committed_folder("mixup"), catalogue.find("mixup"))
    alone = intervals.axis(report.verdicts[:1])
    (mean,) = re.findall(r'class="mean" cx="([\d.]+)"', first)  # the others ran no variant that the claim reads
    assert float(mean) == pytest.approx(alone.x(report.verdicts[0].mean), abs=0.2)


def test_what_a_run_folder_says_stays_words(tmp_path):
    folder = tmp_path / "coins" / "smoke" / "x" / "0-abc"
    folder.mkdir(parents=True)
    spec = {"study": EVIL, "scale": EVIL, "variant": EVIL, "seed": 0, "config": {EVIL: EVIL, "steps": 5}}
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "log.jsonl").write_text(json.dumps({"step": 1, EVIL: 1.0}) + "\n")
    for name, text in {"1-a": "no json", "2-b": '{"study": 1}', "3-c": "[]"}.items():
        (folder.parent / name).mkdir()
        (folder.parent / name / "spec.json").write_text(text)
    with TestClient(server.application(tmp_path), base_url=BASE) as client:
        texts = [client.get(address).text for address in ("/live", "/live/run/coins/smoke/x/0-abc")]
        parts = [client.get(a).json()["html"] for a in ("/live.json", "/live/data/coins/smoke/x/0-abc")]
    for text in texts + parts:
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert "&lt;script&gt;alert" in text


def test_a_locked_run_is_at_work(runs):
    from filelock import FileLock

    if not Path("/proc/locks").exists():
        pytest.skip("this system does not tell who holds a lock")
    key = make_study().plan("laptop")[2].key
    with FileLock(runs / key / "lock"):
        assert Watch({"": runs}).runs()[key].state == "running"
    assert Watch({"": runs}).runs()[key].state == "stopped"


def test_a_log_is_read_on_from_where_it_was(tmp_path):
    path = tmp_path / "log.jsonl"
    log = Log(path)
    assert log.read() == {}
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1')
    assert log.read()["loss"] == ([1.0], [2.0])
    offset = log.offset
    with open(path, "a") as file:
        file.write('.5, "error": 0.5}\nno json\n')
    assert log.read() == {"loss": ([1.0, 2.0], [2.0, 1.5]), "error": ([2.0], [0.5])}
    assert log.offset > offset
    path.write_text('{"step": 1, "loss": 9.0}\n')  # cut, as by a run that resumes
    assert log.read() == {"loss": ([1.0], [9.0])}


def test_a_long_log_keeps_its_shape(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(f'{{"step": {i}, "loss": {i * i}}}\n' for i in range(10_000)))
    steps, values = Log(path).read()["loss"]
    assert 1000 < len(steps) <= 2049
    assert all(value == step * step for step, value in zip(steps, values, strict=True))
    assert steps[-1] > 9_950


def test_a_curve_places_its_points():
    drawn = curve("loss", {"": ([0, 10], [1.0, 3.0])})
    (line,) = drawn["lines"]
    start, end = (tuple(map(float, point.split(","))) for point in line["path"][1:].split("L"))
    assert start[0] < end[0]
    assert start[1] > end[1], "larger values stand higher"
    assert curve("empty", {"": ([], [])})["lines"] == []
    flat = curve("flat", {"": ([5], [2.0])})
    assert flat["lines"][0]["last"] == "2"
    assert live.LEFT + 100 < flat["lines"][0]["end"][0] < live.WIDTH - 100, "a single step stands in the middle"
    same = curve("same", {"": ([0, 10], [0.24, 0.24 + 1e-9])})
    assert [text for _, text in same["y"]] == ["0.240"], "no number twice"


def test_settings_bear_their_comments():
    rows = {row["name"]: row for row in shelf.fields(make_study())}
    assert rows["steps"] == {"name": "steps", "says": "lines of the log", "values": [2, 5], "varied": False}
    assert rows["shift"]["varied"]


def test_a_port_that_is_taken_is_named():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Problem, match="cannot serve at port"):
            server.serve([Path("runs")], taken.getsockname()[1])


def test_without_the_extra_the_command_names_it(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "etudes.web.app")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["serve"]) == 2
    assert "need fastapi; `pip install 'etudes[web]'`" in capsys.readouterr().err


def test_addresses_become_files():
    assert file_of("/") == "index.html"
    assert file_of("/study/mixup/laptop") == "study/mixup/laptop.html"
    assert file_of("/static/site.css") == "static/site.css"


def test_the_command_asks_for_what_it_needs(capsys):
    assert main(["report", "--format", "site"]) == 2
    assert "--all --format site" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert "name the study" in capsys.readouterr().err


def test_a_demo_is_mounted_when_it_is_first_opened(runs, monkeypatch):
    gradio = pytest.importorskip("gradio", reason="needs the extra 'web'")
    from etudes.web.demos import Demo

    built = []

    def build(root):
        built.append(root)
        with gradio.Blocks() as blocks:
            gradio.Interface(lambda text: text[::-1], "text", "text", api_name="turn")
        return blocks

    monkeypatch.setattr(server, "demos", lambda: (Demo("turn", "Turn", "Turns words.", "mixup", build),))
    with TestClient(server.application(runs), base_url=BASE) as client:
        assert client.get("/").status_code == 200
        assert not built, "the gallery waits for no demo"
        first = client.get("/demo/turn")
        assert first.status_code == 200
        assert str(first.url).endswith("/demo/turn/")
        assert "gradio" in first.text
        assert "http" not in first.headers["content-security-policy"]
        kinds = [part["type"] for part in client.get("/demo/turn/config").json()["components"]]
        assert kinds.count("html") == 1, "the way back to the pages"
        assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
        assert client.get("/").headers["content-security-policy"] == server.STRICT
        client.get("/demo/turn")
        assert built == [runs]
        called = client.post("/demo/turn/gradio_api/call/turn", json={"data": ["abc"]})
        answer = client.get(f"/demo/turn/gradio_api/call/turn/{called.json()['event_id']}").text
        assert '["cba"]' in answer
        assert (
            client.post(
                "/demo/turn/gradio_api/call/turn", json={}, headers={"origin": "https://evil.example"}
            ).status_code
            == 403
        )


def test_a_demo_that_cannot_be_built_says_why(runs, monkeypatch):
    pytest.importorskip("gradio", reason="needs the extra 'web'")
    from etudes.web.demos import Demo

    def build(root):
        raise Problem("no network was trained; run `etudes run mixup` first")

    monkeypatch.setattr(server, "demos", lambda: (Demo("none", "None", "Nothing.", "mixup", build),))
    with TestClient(server.application(runs), base_url=BASE) as client:
        answer = client.get("/demo/none")
    assert answer.status_code == 503
    assert "no network was trained" in html.unescape(answer.text).lower()
