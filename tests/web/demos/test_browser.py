"""Every demo in a browser: opened on a wide and a narrow screen, and played with."""

import contextlib
import io
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from etudes.core import catalogue
from etudes.web.demos import DEMOS, UPLOAD, generation, just_one, mixup
from etudes.web.demos.networks import ALONG
from watching import Watched, watch

TITLES = {demo.slug: demo.title for demo in DEMOS}
SMOKE = str(catalogue.find("char-lstm").scales["smoke"].changes["dataset"])  # what the small language network read


@pytest.fixture(params=[1280, 390])
def width(request) -> int:
    return request.param


@pytest.fixture
def watched(browser, server) -> Iterator[Watched]:
    yield from watch(browser, server, 1280)


@pytest.mark.parametrize("slug", TITLES)
def test_a_demo_opens(browser, server, slug, width):
    for watched in watch(browser, server, width):
        page = watched.open(slug)
        assert page.locator("h1").inner_text() == TITLES[slug]
        page.wait_for_timeout(800)
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
        unnamed = "e => !(e.labels?.length || e.ariaLabel || e.getAttribute('aria-labelledby') || e.title)"
        fields = page.locator("main input:visible:not([type=file]), main textarea:visible, main select:visible")
        assert [field.evaluate("e => e.outerHTML") for field in fields.all() if field.evaluate(unnamed)] == []


@pytest.mark.parametrize("slug", TITLES)
def test_a_demo_is_for_everybody(browser, server, slug, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for watched in watch(browser, server, width):
        page = watched.open(slug)
        page.wait_for_timeout(1500)
        for ground in ("light", "dark"):
            assert page.evaluate("document.body.classList.contains('dark')") == (ground == "dark")
            found = axe.run(page).response["violations"]
            assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == [], ground
            page.get_by_role("button", name="Dark page").click()
            page.wait_for_timeout(500)


def test_a_demo_has_the_sites_masthead_fonts_and_colours(watched):
    page = watched.open("edge-of-stability")
    assert page.get_by_label("Sections").get_by_role("link").all_inner_texts()[-1] == "Demos"
    assert page.get_by_role("link", name="edge-of-stability").get_attribute("href") == "/study/edge-of-stability"
    page.evaluate("document.fonts.ready")
    loaded = page.evaluate("[...document.fonts].filter(f => f.status === 'loaded').map(f => f.family).join()")
    assert "Source Serif" in loaded
    assert "Inter" in loaded
    button = page.get_by_role("button", name="Train now")
    style = "(e, name) => getComputedStyle(e)[name]"
    assert button.evaluate(style, "fontWeight") == "500"
    assert button.evaluate(style, "fontFamily").startswith("Inter")
    link = "getComputedStyle(document.documentElement).getPropertyValue('--link')"
    assert page.evaluate(link), "the site's names of colours"
    assert button.evaluate(style, "backgroundColor") == page.locator(".kicker a").first.evaluate(style, "color")


def test_the_choice_of_light_or_dark_is_carried_on(watched):
    def ground() -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))

    page = watched.open("edge-of-stability")
    page.wait_for_timeout(500)
    assert ground() > 600
    toggle = page.get_by_role("button", name="Dark page")
    assert toggle.get_attribute("aria-pressed") == "false"
    toggle.click()
    page.wait_for_timeout(300)
    assert toggle.get_attribute("aria-pressed") == "true"
    assert ground() < 150
    assert page.evaluate("localStorage.getItem('theme')") == "dark", "as on the pages"
    page = watched.open("just-one")
    page.wait_for_timeout(500)
    assert ground() < 150


def test_the_keyboard_reaches_everything(watched):
    page = watched.open("edge-of-stability")
    page.wait_for_timeout(500)
    seen = []
    deepest = "(() => { let e = document.activeElement; while (e.shadowRoot) e = e.shadowRoot.activeElement; "
    deepest += "return [e.ariaLabel || e.innerText || e.type || '', getComputedStyle(e).outlineStyle]; })()"
    while seen[-1:] != ["Stop"] and len(seen) < 40:
        page.keyboard.press("Tab")
        name, outline = page.evaluate(deepest)
        assert outline != "none", name
        seen.append(name.strip())
    assert seen[:3] == ["Skip to the content", "études", "Studies"]
    assert {"Dark page", "edge-of-stability", "checkbox", "Train now", "Stop"} <= set(seen)
    assert any("range slider" in name for name in seen), seen


@pytest.mark.parametrize("slug", ["generation", "ddpm-sdedit", "cifar", "mixup", "doom-dqn"])
def test_a_demo_begins_with_the_network_that_comes_along(watched, slug):
    page = watched.open(slug)
    page.get_by_text(f"it {ALONG}").first.wait_for()
    assert not page.get_by_role("button", name="Train", exact=True).is_visible()


def test_a_page_opens_anew_when_its_server_was_killed_and_started_again(browser, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        home = f"http://127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "etudes", "serve", "--port", home.rpartition(":")[2], "--root", str(tmp_path)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    @contextlib.contextmanager
    def served() -> Iterator[None]:
        server = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
        try:
            for _ in range(600):
                with contextlib.suppress(httpx.TransportError):
                    httpx.get(f"{home}/static/icon.svg")
                    break
                time.sleep(0.2)
            yield
        finally:
            server.kill()
            server.wait()

    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(120_000)
    with served():
        page.goto(f"{home}/demo/edge-of-stability/")
        page.get_by_role("button", name="Train now").wait_for()
        page.evaluate("window.before = true")
        page.wait_for_timeout(3500)
        assert page.evaluate("window.before"), "it stays while its server does"
    with served():
        page.wait_for_function("!window.before")
        page.get_by_role("button", name="Train now").wait_for()
    context.close()


def test_text_is_written_with_its_odds(watched):
    page = watched.open("generation")
    page.get_by_label("Beginning").fill("<script>window.injected = 1</script>")
    page.get_by_role("button", name="Write").click()
    page.locator(".told [data-odds]").first.wait_for()
    before = ""
    while (now := page.locator(".told").first.inner_html()) != before:  # what is still written replaces all of it
        before = now
        page.wait_for_timeout(1000)
    page.locator(".told [data-odds]").nth(2).click()
    assert "%, number" in page.locator(".odds").first.inner_text()
    page.locator(".told").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".odds").first.inner_text() == page.locator(".told [data-odds]").nth(3).get_attribute(
        "data-odds"
    )
    page.locator("details summary").first.click()
    table = page.locator("table.plain").first
    shown, whole = page.locator(".scroll.whole").first.bounding_box(), table.bounding_box()
    assert whole["width"] <= shown["width"] + 1
    assert whole["height"] <= shown["height"] + 1
    assert page.evaluate("window.injected") is None


def test_the_beginning_follows_the_network_and_keeps_what_was_written(watched):
    page = watched.open("generation")
    beginning = page.get_by_label("Beginning")
    filled = "text => document.querySelector('textarea').value === text"
    page.wait_for_function(filled, arg=generation.BEGINNINGS["shakespeare"])
    page.wait_for_timeout(800)
    page.get_by_label("Network").click()
    page.get_by_role("option", name="smoke").first.click()
    page.wait_for_function(filled, arg=generation.BEGINNINGS[SMOKE])
    beginning.fill("My own")
    page.get_by_label("Network").click()
    page.get_by_role("option", name=ALONG).first.click()
    page.get_by_text(f"it {ALONG}").wait_for()
    page.wait_for_timeout(500)
    assert beginning.input_value() == "My own"


def _stroke(page) -> tuple[float, float]:
    """Paint a stroke over the middle of the pad, which is given back."""
    page.wait_for_timeout(1500)
    canvas = page.locator("canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 50, y - 30)
    page.mouse.down()
    page.mouse.move(x + 50, y + 30, steps=6)
    page.mouse.up()
    page.wait_for_timeout(500)
    return x, y


def test_the_pad_opens_ready_to_paint_on_what_the_network_knows(browser, server, width):
    for watched in watch(browser, server, width):
        page = watched.open("ddpm-sdedit")
        page.locator("button.highlight[aria-label=Brush]").wait_for()
        x, y = _stroke(page)
        clip = {"x": x - 60, "y": y - 60, "width": 120, "height": 120}
        seen = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("L"))
        assert (seen < 10).mean() > 0.1  # the blank of digits
        assert (seen > 245).mean() > 0.1  # the stroke
        swatch = page.locator("button[aria-label=Color] svg").first
        assert swatch.evaluate("e => getComputedStyle(e).stroke") == "rgb(118, 118, 118)"


def test_a_sketch_is_redrawn(watched):
    page = watched.open("ddpm-sdedit")
    page.get_by_role("button", name="Load it").click()
    _stroke(page)
    page.get_by_label("only what is painted over").check()
    page.get_by_role("button", name="Redraw", exact=True).click()
    page.get_by_text("redrawing 4").wait_for()
    assert page.get_by_text("level 0 of").is_visible()


def test_sharpness_is_drawn_while_it_trains(watched):
    page = watched.open("edge-of-stability")
    assert page.locator(".chart svg.wide polyline").count() == 4  # of the committed report, and two thresholds
    page.get_by_label("number input for Steps").fill("500")
    slider = page.get_by_label("range slider for Step size, as a multiple of 0.1")
    slider.focus()
    page.keyboard.press("ArrowRight")  # and letting it go is enough
    page.get_by_text("Sharpness at step size 0.31").wait_for(timeout=90_000)
    page.get_by_text(re.compile(r"times 2.*\(6\.45\)")).wait_for(timeout=90_000)
    assert "3.1" in slider.input_value()
    assert page.locator(".chart svg.wide polyline").count() == 6
    assert page.get_by_text("Nothing is loaded").count() == 0


def test_text_of_charts_can_be_read_on_a_phone(browser, server):
    for watched in watch(browser, server, 390):
        page = watched.open("edge-of-stability")
        size = """() => [...document.querySelectorAll(".chart text")].map((e) => e.getBoundingClientRect().height)
          .filter((height) => height > 0)"""
        heights = page.evaluate(size)
        assert len(heights) > 5
        assert min(heights) > 9


def test_a_picture_is_classified_and_what_is_none_is_told(watched, tmp_path):
    page = watched.open("cifar")
    path = tmp_path / "<img onerror=alert(1)>.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)).save(path)
    page.locator("input[type=file]").set_input_files(path)
    page.get_by_text("The 5 most probable").wait_for()
    page.get_by_role("button", name="Classify the test picture").click()
    page.get_by_text("in truth").wait_for()
    watched.reload()
    wrong = tmp_path / "wrong.png"
    wrong.write_bytes(b"not a picture")
    page.locator("input[type=file]").set_input_files(wrong)
    page.get_by_text("no whole picture").wait_for()


def test_nothing_lies_over_the_sign_of_the_upload(browser, server, width):
    for watched in watch(browser, server, width):
        page = watched.open("cifar")
        sign = page.locator("button:has(input[type=file]) svg, .icon-wrap svg").first
        sign.wait_for()
        assert sign.evaluate(
            """e => { const b = e.getBoundingClientRect();
            const top = document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2);
            const label = document.querySelector("label[data-testid=block-label]").getBoundingClientRect();
            return label.right < b.left || label.bottom <= b.top; }"""
        )


def test_the_share_of_a_mixture_moves_the_answer(watched, root):
    page = watched.open("mixup")
    page.get_by_text("The mixed label").wait_for()
    numbers = [page.get_by_label(f"number input for {n} test picture").input_value() for n in ("First", "Second")]
    known = mixup.pairs(root)
    assert tuple(map(int, numbers)) == mixup.first_pair(known[mixup.first_scale(known)])
    page.get_by_label("number input for Share of the first picture").fill("0.25")
    page.keyboard.press("Tab")
    page.get_by_text("0.25 of it + 0.75").wait_for()


def test_the_word_is_nowhere_until_it_is_guessed(watched, sent, monkeypatch):
    sent.clear()
    monkeypatch.setattr(just_one.secrets, "randbelow", lambda n: 11)
    page = watched.open("just-one")
    page.get_by_role("button", name="The bots and their words").click()
    page.get_by_label("Words").click()
    page.get_by_role("option", name="made-up").click()
    page.get_by_label("How they choose").click()
    page.get_by_role("option", name="the i-th gives").click()
    page.get_by_role("button", name="New game").click()
    page.get_by_text("The clues:").wait_for()
    page.wait_for_timeout(500)
    how = {"source": "glove", "guesses_by": "wordnet", "style": "seats", "bots": 4, "seed": 11}
    table = just_one.deal(just_one.GUESSER, "made-up", **how)
    said = b"".join(sent).decode(errors="replace")
    assert all(clue in said for clue in table.turn.left)
    shown = said + page.content()  # by whole words: four letters may stand in an address by chance
    assert not [word for word in table.deck if re.search(rf"\b{word}\b", shown)]
    page.get_by_label("Your guess").fill(table.turn.word)
    page.get_by_role("button", name="Say it").click()
    page.get_by_text("the card is won").wait_for()
    page.wait_for_timeout(500)
    said = b"".join(sent).decode(errors="replace")
    assert table.turn.word in said
    assert not [word for word in table.deck[1:] if re.search(rf"\b{word}\b", said + page.content())]


def test_an_episode_is_played(watched):
    page = watched.open("doom-dqn")
    page.get_by_label("Network").click()
    page.get_by_role("option", name="doom-dqn · dqn · smoke").click()  # of a game that needs no Doom
    page.get_by_role("button", name="Play fresh games").click()
    page.get_by_text(re.compile("Action 1 of")).wait_for()
    assert page.locator(".film img").last.get_attribute("src").startswith("data:image/gif")


def test_uploads_have_limits_and_stay_in_their_folder(server):
    address = f"{server}/demo/rag/gradio_api/upload"
    kept = httpx.post(address, files={"files": ("../../../evil.txt", b"words")})
    (path,) = map(Path, kept.json())
    assert path.name == "evil.txt"
    assert ".." not in path.parts
    path.unlink()
    large = httpx.post(address, files={"files": ("large.txt", b"a" * (UPLOAD + 1))}, timeout=30)
    assert large.status_code == 413
    for name in ("/etc/passwd", str(Path(__file__)), "../../etc/passwd"):
        assert httpx.get(f"{server}/demo/rag/gradio_api/file={name}").status_code in (403, 404)
