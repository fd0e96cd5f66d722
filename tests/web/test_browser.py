"""The pages in a real browser: no complaint, no call elsewhere, no sideways scrolling; what can be clicked works."""

import itertools
import json
import os
import re
from pathlib import Path

import pytest

from coins import make_study
from etudes.core import catalogue
from etudes.reports.build import read
from etudes.reports.drawings import draw

STUDIES = [name for name in catalogue.names() if catalogue.reported_scales(name)]
PAGES = ["/", "/compare", "/data", "/glossary", "/reading", "/live", "/demos", *(f"/study/{name}" for name in STUDIES)]
SCALES = {name: catalogue.reported_scales(name) for name in STUDIES}
PAGES += [f"/files/{name}/laptop/report.html" for name in ("mixup", "cifar-training")]
PAIRS = [f"/compare/{name}/{found[0]}/{found[1]}" for name, found in SCALES.items() if len(found) > 1]
SHOTS = os.environ.get("ETUDES_SHOTS", "")  # a folder to leave screenshots in


def settle(page, address: str) -> None:
    answer = page.goto(address, wait_until="load")
    assert answer is None or answer.ok
    page.evaluate("document.fonts.ready")
    for picture in page.locator("img").all():
        picture.evaluate("img => { img.loading = 'eager'; return img.decode() }")


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_opens_without_a_complaint(chromium, server, width):
    page = chromium(width)
    for address in [*PAGES, *PAIRS]:
        settle(page, server + address)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{address} scrolls sideways: {wide} pixels"
        assert page.complaints == [], address
        if "/files/" not in address:
            assert page.evaluate("[...document.fonts].some(f => f.family.includes('Serif') && f.status === 'loaded')")
        if SHOTS:
            name = address.strip("/").replace("/", "-") or "home"
            page.screenshot(path=str(Path(SHOTS) / f"{name}-{width}.png"))


@pytest.mark.parametrize("address", ["/study/mixup", "/data"])
def test_tables_of_many_columns_are_stacked_on_a_phone(chromium, server, address):
    page = chromium(390)
    settle(page, server + address)
    rows = page.locator("table.stacked tbody tr")
    for cell in (rows.first.locator("th"), rows.last.locator("td").last):
        box = cell.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["width"] > 300  # and not a word a line


@pytest.mark.parametrize("address", ["/study/mixup", "/files/mixup/laptop/report.html"])
def test_a_technical_word_is_explained_by_key_and_click(chromium, server, address):
    page = chromium(390)
    settle(page, server + address)
    word = page.locator("main").get_by_role("button", name=re.compile("^test error$", re.IGNORECASE))
    meaning = page.locator("#term-test-error")
    assert not meaning.is_visible()
    word.focus()
    page.keyboard.press("Enter")
    assert meaning.is_visible()
    box = meaning.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.keyboard.press("Escape")
    assert not meaning.is_visible()
    word.click()
    assert meaning.is_visible()
    assert page.complaints == []


def test_the_numbers_are_stacked_on_a_phone_and_framed_on_a_desk(chromium, server):
    for width in (390, 1280):
        page = chromium(width)
        settle(page, f"{server}/study/char-lstm")
        cell = page.locator("#numbers table.numbers tbody td").first
        box = cell.bounding_box()
        assert box["x"] + box["width"] <= width
        page.locator("#numbers summary").click()
        frame, head = page.locator("#numbers details .scroll"), page.locator("#numbers details tbody th").first
        frame.evaluate("part => { part.scrollLeft = 500 }")
        if width == 1280:
            assert frame.evaluate("part => part.scrollLeft") == 500
            assert head.bounding_box()["x"] == pytest.approx(frame.bounding_box()["x"], abs=1), "the first column stays"
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True])
def test_a_chart_answers_who_points_at_it(chromium, server, dark):
    page = chromium(1280, dark=dark)
    settle(page, f"{server}/study/mixup")
    assert not page.evaluate("performance.getEntriesByType('resource').some(e => e.name.endsWith('vega.js'))")
    figure = page.locator("#test-error-against-noise")
    figure.locator(".chart").focus()  # by key as by the pointer
    entry = figure.get_by_role("button").first
    entry.wait_for(timeout=120_000)
    faint = "figure => [...figure.querySelectorAll('[opacity=\"0.06\"]')].length"
    assert figure.evaluate(faint) == 0
    entry.focus()
    page.keyboard.press("Enter")
    page.wait_for_function(f"() => ({faint})(document.querySelector('#test-error-against-noise')) > 0")
    seeds = figure.get_by_role("checkbox", name="single seeds")
    hidden = "figure => [...figure.querySelectorAll('[opacity=\"0\"]')].length"
    before = figure.evaluate(hidden)
    seeds.uncheck()
    page.wait_for_function(f"() => ({hidden})(document.querySelector('#test-error-against-noise')) > {before}")
    seeds.check()
    figure.locator(".mark-symbol.role-mark path").last.hover(force=True)
    tip = page.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    assert "test error" in tip.inner_text()
    inks = figure.locator("svg text").first.evaluate("t => getComputedStyle(t).fill")
    assert inks == ("rgb(233, 230, 223)" if dark else "rgb(27, 28, 30)")
    assert page.complaints == []


def test_no_letter_of_a_chart_is_cut_or_lies_over_another(chromium, tmp_path):
    """In the widest of the usual fonts, where the machine has it."""
    page = chromium(1280)
    for name in ("cifar-coreset", "edge-of-stability"):
        for drawing in draw(read(catalogue.committed_folder(name), catalogue.find(name))):
            file = tmp_path / f"{drawing.name}.svg"
            file.write_text(drawing.svg.replace("sans-serif", "DejaVu Sans, Verdana, sans-serif"), encoding="utf-8")
            page.goto(file.as_uri())
            boxes = page.evaluate(
                "[...document.querySelectorAll('text')].filter(t => t.textContent.trim()).map(t => {"
                " const b = t.getBoundingClientRect(); return [t.textContent, b.left, b.top, b.right, b.bottom]; })"
            )
            width, height = page.evaluate(
                "[document.documentElement.width, document.documentElement.height].map(l => l.baseVal.value)"
            )
            for text, left, top, right, bottom in boxes:
                assert min(left, top) >= -0.5, (drawing.name, text)
                assert right <= width + 0.5, (drawing.name, text)
                assert bottom <= height + 0.5, (drawing.name, text)
            for (a, *one), (b, *other) in itertools.combinations(boxes, 2):
                across = min(one[2], other[2]) - max(one[0], other[0])
                down = min(one[3], other[3]) - max(one[1], other[1])
                assert across < 1 or down < 4, (drawing.name, a, b)  # lines of a title share their edges


def test_no_chart_of_the_gallery_is_cut_at_its_side(chromium, server):
    page = chromium(1280)
    settle(page, f"{server}/")
    pictures = page.locator(".picture.drawn img")
    shapes = [
        picture.evaluate("i => [i.width / i.height, i.naturalWidth / i.naturalHeight]") for picture in pictures.all()
    ]
    assert shapes
    assert all(shown == pytest.approx(own, rel=0.02) for shown, own in shapes)


def test_the_gallery_is_filtered_while_one_types(chromium, server):
    page = chromium()
    settle(page, f"{server}/")
    shown = page.locator(".gallery .card:visible h2")
    every = shown.count()
    assert every >= len(STUDIES)
    page.get_by_label("Search").press_sequentially("mixed pairs")
    assert shown.all_text_contents()[0] == "mixup", "what its question says comes before what method cards say"
    assert page.get_by_role("status").inner_text() == f"{shown.count()} of {every} shown"
    assert page.url.endswith("/?q=mixed+pairs")
    page.get_by_label("Search").fill("phlogiston")
    assert shown.count() == 0
    assert page.get_by_text("No study has all of that.").is_visible()
    page.get_by_label("Search").fill("")
    page.get_by_role("group", name="Family").get_by_text("language").click()
    assert set(shown.all_text_contents()) == {
        name for name, family in catalogue.names().items() if family == "language"
    }
    page.reload()
    chosen = page.get_by_role("radio", checked=True)
    assert chosen.get_attribute("value") == "language", "the address keeps what was asked"
    chosen.focus()
    for _ in range(len(STUDIES)):
        page.keyboard.press("ArrowLeft")
        if not page.get_by_role("radio", checked=True).get_attribute("value"):
            break
    assert shown.count() == every, "the arrow keys choose among the families"
    page.get_by_label("With a claim").select_option("refuted")
    assert 0 < shown.count() < every
    assert page.complaints == []


def test_the_gallery_is_searched_without_javascript(chromium, server):
    """And in the same order as with it."""
    page, plain = chromium(), chromium(script=False)
    settle(page, f"{server}/")
    for asked in ("sharpness", "transformer", "fréchet", "U-Net", "cifar10 zhang", "learning rate"):
        plain.goto(f"{server}/")
        plain.get_by_label("Search").fill(asked)
        plain.get_by_role("button", name="Show").click()
        plain.wait_for_load_state()
        page.get_by_label("Search").fill(asked)
        here, there = (p.locator(".gallery .card:visible h2").all_text_contents() for p in (page, plain))
        assert here == there, asked
        assert here, asked


def test_light_and_dark(chromium, server):
    def ground(page) -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))

    bright, dark = chromium(), chromium(dark=True)
    for page in (bright, dark):
        settle(page, f"{server}/study/mixup")
    assert ground(bright) > 600
    assert ground(dark) < 150
    toggle = bright.get_by_role("button", name="Dark page")
    assert toggle.get_attribute("aria-pressed") == "false"
    toggle.click()
    assert ground(bright) < 150
    settle(bright, f"{server}/data")
    assert ground(bright) < 150, "the choice is kept from page to page"
    assert bright.complaints == []


def contrast(page, selector: str) -> float:
    """The contrast of the first such element's words with the ground that they stand on (WCAG 2.2)."""
    return page.locator(selector).first.evaluate(
        """element => {
          const channels = (text) => text.match(/[\\d.]+/g).map(Number);
          const linear = (v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
          const light = (rgb) => rgb.slice(0, 3).map(linear)
            .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
          let ground = element, colour;
          do { colour = channels(getComputedStyle(ground).backgroundColor); ground = ground.parentElement; }
          while (colour[3] === 0 && ground);
          const [a, b] = [light(channels(getComputedStyle(element).color)), light(colour)].sort((x, y) => y - x);
          return (a + .05) / (b + .05);
        }"""
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_words_stand_out_from_their_ground(chromium, server, dark):
    page = chromium(dark=dark)
    settle(page, f"{server}/")
    kinds = [".kicker", ".question", ".cited", ".found", ".badge.supported", ".badge.refuted", ".badge.undecided"]
    for selector in kinds:
        assert contrast(page, selector) >= 4.5, selector
    settle(page, f"{server}/study/mixup")
    for selector in (".where", ".key", "figcaption", ".contents a", "dt", ".cited a"):
        assert contrast(page, selector) >= 4.5, selector


def test_the_keyboard_reaches_everything(chromium, server):
    page = chromium()
    settle(page, f"{server}/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.locator(".skip").bounding_box()["x"] >= 0, "seen when it has the focus"
    seen = []
    for _ in range(14):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", seen[-1]
    assert seen[:3] == ["études", "Studies", "Compare"]
    assert {"q", "origin", "verdict", "family"} < set(seen)
    assert STUDIES[0] in seen, "the first of the gallery"


def test_datasets_are_searched(chromium, server):
    page = chromium()
    settle(page, f"{server}/data")
    page.get_by_label("Search").fill("fashion-mnist")
    assert page.locator(".datasets tbody tr:visible th code").all_text_contents() == ["fashion-mnist"]
    page.get_by_label("Search").fill("word-lstm shakespeare")
    assert page.locator(".datasets tbody tr:visible th code").all_text_contents() == ["shakespeare"]


def test_a_command_is_copied(chromium, server):
    page = chromium()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    settle(page, f"{server}/study/mixup")
    page.get_by_role("button", name="Copy").first.click()
    page.get_by_role("button", name="Copied").wait_for(timeout=5000)
    assert page.evaluate("navigator.clipboard.readText()") == "etudes run mixup --scale smoke"


def test_two_reports_are_chosen_and_compared(chromium, server):
    page = chromium()
    name, scales = next((name, found) for name, found in SCALES.items() if len(found) > 1)
    settle(page, f"{server}/compare")
    page.get_by_label(f"First report of {name}").select_option(scales[0])
    page.get_by_label(f"Second report of {name}").select_option(scales[1])
    page.get_by_role("button", name=f"Compare reports of {name}").click()
    page.wait_for_url(f"**/compare/{name}/{scales[0]}/{scales[1]}")
    assert page.locator(".pair").count() == len(catalogue.find(name).claims)
    assert page.complaints == []


def test_a_runs_curve_grows_as_it_is_written(chromium, server, runs):
    page = chromium()
    key = make_study().plan("laptop")[2].key
    settle(page, f"{server}/live")
    page.get_by_text("Stopped (1)").click()
    page.get_by_role("link", name="seed 1").first.click()
    page.wait_for_url(f"**/live/run/{key}")
    assert "stopped at step 2 of 5" in page.locator(".progress").inner_text()
    before = page.locator(".curve .line").get_attribute("d")
    path = runs / key / "log.jsonl"
    kept = path.read_bytes()
    try:
        with open(path, "ab") as file:
            file.write(b're": 3.5}\n' + json.dumps({"step": 4, "score": 9.375}).encode() + b"\n")
        page.get_by_text("stopped at step 4 of 5").wait_for(timeout=10_000)
        assert page.locator(".curve .now").inner_text() == "9.375"
        assert page.locator(".curve .line").get_attribute("d").count("L") == before.count("L") + 2
    finally:
        path.write_bytes(kept)
    assert page.complaints == []


@pytest.mark.xdist_group("site")
def test_the_site_of_files_opens_from_the_disk(chromium, site):
    page = chromium(390)
    settle(page, (site / "index.html").as_uri())
    page.get_by_label("Search").fill("mixed pairs")
    page.locator(".card:visible h2 a").first.click()
    page.wait_for_url("**/study/mixup.html")
    assert page.locator(".claim").count() == len(catalogue.find("mixup").claims)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.complaints == []
