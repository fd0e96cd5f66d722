"""What the server answers: pages, files, refusals."""

import dataclasses
import html
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from coins import make_study, toss
from etudes.cli import main
from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.files import write_json
from etudes.core.record import load
from etudes.core.run import execute
from etudes.core.spec import Paper
from etudes.exhibits.sound import save_sound
from etudes.reports import render
from etudes.reports.build import build, read
from etudes.reports.charts import bars, curves, pictures
from etudes.web import app as server
from etudes.web import live, shelf
from etudes.web.live import Log, Watch, curve
from etudes.web.pages import COURSES, Pages, file_of

BASE = "http://127.0.0.1:7860"
STUDIES = [name for name in catalogue.names() if catalogue.reported_scales(name)]


@pytest.fixture(scope="module")
def client(runs):
    with TestClient(server.application(runs), base_url=BASE, raise_server_exceptions=False) as client:
        yield client


VOID = {"meta", "link", "input", "img", "br", "path", "circle", "rect", "line", "hr"}


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


ADDRESSES = ["/", "/?q=label+noise", "/compare", "/data", "/live", "/demos", "/study/nothing", "/data/nothing"]


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
    shown = html.unescape(text)
    assert saved["study"]["question"] in shown
    counted = re.findall(r'<article class="claim ([a-z-]+)">', text)
    assert counted == [verdict["verdict"].replace(" ", "-") for verdict in saved["verdicts"]]
    assert text.count('<svg class="forest"') == sum(bool(verdict["values"]) for verdict in saved["verdicts"])
    for chart in folder.glob("charts/*.svg"):
        assert f'<figure id="{chart.stem}">' in text
    for picture in folder.glob("pictures/*.png"):
        assert f"/pictures/{picture.name}" in text
    for row in saved["table"]:
        assert row["variant"] in shown
    seen = [v for v in saved["verdicts"] if v["verdict"] == "undecided" and v["sees"] is not None]
    assert shown.count(" with 80 % power") == len(seen)  # what could have been seen stands beside each
    assert ("Not registered." in shown) == (saved.get("registration") is None)


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
    assert shown("/?q=no+such+study") == set()
    refuted = {n for n, card in cards.items() if any(claim["verdict"] == "refuted" for claim in card["claims"])}
    assert among("/?verdict=refuted") == refuted
    assert among("/?origin=A") == {name for name, card in cards.items() if card["origin"].startswith("A")}


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
        "/study/mixupp": "did you mean 'mixup'",
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
    forms = {card["name"]: card["form"] for card in shelf.Shelf(None).cards()}
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
    monkeypatch.setattr(shelf, "manual", lambda: manual)
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


def test_a_page_is_made_once(monkeypatch, runs):
    made = []
    monkeypatch.setattr(Pages, "data", lambda self: made.append(1) or "<p>data</p>")
    with TestClient(server.application(runs), base_url=BASE) as client:
        for _ in range(3):
            client.get("/data")
    assert len(made) == 1


def test_runs_are_shown_as_they_are(client, runs):
    study = make_study()
    states = Watch(runs).runs()
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
    assert "test/score" in part["html"]
    both = client.get("/compare/runs", params={"a": plan[0].key, "b": plan[1].key}).text
    assert "shift" in both
    assert "B − A" in both


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
        assert Watch(runs).runs()[key].state == "running"
    assert Watch(runs).runs()[key].state == "stopped"


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
            server.serve(Path("runs"), taken.getsockname()[1])


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
