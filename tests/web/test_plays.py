"""The demos that need no server: their numbers are Python's, and their pages work as files."""

import shutil
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from etudes.core.errors import Problem
from etudes.generate import sampling
from etudes.measure.sharpness import hessian_product, sharpness
from etudes.web import plays
from etudes.web.pages import Pages
from etudes.web.shelf import Shelf
from etudes.web.site import STATIC

pytest.importorskip("gradio", reason="the networks that come along need etudes[web]")
LARGEST = 150_000  # bytes of a page with its scripts


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The pages of all plays, as the exported site has them."""
    made = tmp_path_factory.mktemp("plays")
    shutil.copytree(STATIC, made / "static")
    (made / "play").mkdir()
    pages = Pages(Shelf({}), served=False)
    for play in plays.PLAYS:
        if play.slug in plays.collect():
            (made / "play" / f"{play.slug}.html").write_text(pages.play(play))
    return made


def opened(chromium, folder: Path, slug: str, *how, **more):
    if slug not in plays.collect():
        pytest.skip("its network does not come along")
    page = chromium(*how, **more)
    page.goto((folder / "play" / f"{slug}.html").as_uri())
    return page


def test_a_page_is_small(folder):
    for page in (folder / "play").iterdir():
        scripts = [folder / "static/plays/chart.js", folder / f"static/plays/{page.stem}.js"]
        assert sum(path.stat().st_size for path in [page, *scripts]) <= LARGEST, page.name
        assert "</script>" not in page.read_text().split('id="data">')[1].split("</script>\n")[0]


def test_what_has_no_network_is_left_out(monkeypatch):
    def missing():
        raise Problem("no network")

    monkeypatch.setattr(plays, "PLAYS", (plays.Play("a", "a", "a", "mixup", missing), plays.PLAYS[0]))
    assert list(plays.collect.__wrapped__()) == ["edge-of-stability"]


@pytest.mark.parametrize("slug", [play.slug for play in plays.PLAYS])
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_a_page_works_as_a_file(chromium, folder, slug, width, dark):
    page = opened(chromium, folder, slug, width, dark=dark)
    slider = page.get_by_role("slider").first
    before, value = page.locator("main").inner_text(), slider.input_value()
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.input_value() != value
    page.wait_for_timeout(300)
    assert page.locator("main").inner_text() != before
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.complaints == []
    assert page.get_by_role("link", name="Demos").count() == 1


def test_the_descent_is_the_one_of_the_package(chromium, folder):
    page = opened(chromium, folder, "edge-of-stability")
    page.evaluate("now = null")  # the page's own training would only take time
    log = page.evaluate(
        "(() => { const t = new Training(network, 0.6, 101, 20); while (!t.over) t.step(); return t.log; })()"
    )
    data = plays.descent()
    x, y = torch.tensor(data["inputs"]).double(), torch.tensor(data["labels"])
    flat = torch.tensor(data["weights"]).double()
    sizes = [x.shape[1], plays.WIDTH, plays.WIDTH, data["classes"]]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        h, at = x, 0
        for i, (n, m) in enumerate(pairwise(sizes)):
            h = torch.nn.functional.linear(
                h.tanh() if i else h, flat[at : at + n * m].view(m, n), flat[at + n * m :][:m]
            )
            at += n * m + m
        return (h - torch.nn.functional.one_hot(y, data["classes"])).square().sum() / (2 * len(x))

    expected = []
    for step in range(101):
        flat = flat.detach().requires_grad_()
        value = loss(flat)
        if step % 20 == 0:
            product = hessian_product(lambda flat=flat: loss(flat), [flat])
            expected.append((step, value.item(), sharpness(product, len(flat), np.random.default_rng(0))))
        flat = flat - 0.6 * torch.autograd.grad(value, flat)[0]
    assert [line["step"] for line in log] == [step for step, *_ in expected]
    assert [line["loss"] for line in log] == pytest.approx([value for _, value, _ in expected], rel=1e-8)
    assert [line["sharpness"] for line in log] == pytest.approx([value for *_, value in expected], rel=0.01)


@pytest.mark.parametrize(
    "how", [(1.0, 0, 1.0), (0.5, 0, 1.0), (1.0, 5, 1.0), (1.3, 0, 0.7), (0.8, 20, 0.9), (0.0, 0, 1.0)]
)
def test_letters_are_drawn_as_python_draws_them(chromium, folder, how):
    page = opened(chromium, folder, "generation")
    temperature, k, p = how
    logits = 3 * torch.randn(50, 60, generator=torch.Generator().manual_seed(1))
    logits[:, 7] = logits[:, 9]  # equals
    chosen = sampling.choice(temperature, k, p, torch.Generator().manual_seed(2))(logits)
    u = torch.rand(len(logits), 1, generator=torch.Generator().manual_seed(2))[:, 0]
    drawn = page.evaluate(
        "([rows, u, how]) => rows.map((logits, i) => pick(settle(logits, how), u[i]))",
        [logits.tolist(), u.tolist(), {"temperature": temperature, "k": k or 60, "p": p}],
    )
    assert drawn == chosen.tolist()


def test_the_odds_are_the_network_s_own(chromium, folder):
    page = opened(chromium, folder, "generation")
    from etudes.core import catalogue
    from etudes.web.demos import generation, networks

    record = next(iter(networks.find_records(catalogue.find("char-lstm"), plays.TRAINED).values()))
    start = plays.TEXT[:15]
    piece = next(generation.pieces(*generation.restore(record), start, 1, generation.Setting("greedy"), 0))
    odds = page.evaluate("settle(data.logits[14], {})")
    assert max(odds) == pytest.approx(piece.probability, abs=2e-3)
    page.locator("#temperature").fill("0")
    page.get_by_role("button", name="Draw a letter").click()
    assert page.locator("#text mark").inner_text() == piece.text
    assert page.locator("#finding").inner_text().startswith("1 of ")


def test_mixtures_and_answers_are_python_s(chromium, folder):
    page = opened(chromium, folder, "mixup")
    from etudes.web.demos import mixup

    records = next(iter(mixup.pairs(plays.TRAINED).values()))
    models, d = (
        [mixup.network(records[v])[0] for v in (mixup.PLAIN, mixup.MIXED)],
        mixup.network(records[mixup.PLAIN])[1],
    )
    chosen = plays._pictures(d, models, mixup.first_pair(records))
    assert len(set(d.test_y[chosen].tolist())) == len(chosen) == plays.CHOICE
    for i, j in list(combinations(range(len(chosen)), 2))[::4]:
        mixture = mixup.mixture(d, chosen[i], chosen[j], 0.25)
        pixels = page.evaluate("([i, j]) => [...mix(pictures[i], pictures[j], 0.25)]", [i, j])
        assert np.allclose(np.array(pixels) / 255, mixture.flatten(), atol=1e-6)
        for which, model in enumerate(models):
            expected = mixup.probabilities(model, mixture)[0]
            said = page.evaluate("([which, i, j]) => [answer(which, i, j, 5), answer(which, j, i, 15)]", [which, i, j])
            assert np.allclose(said, expected, atol=1e-3)
    page.locator("#first").select_option("1")  # the one that is the second
    assert page.locator("#second").input_value() != "1"


def test_the_exported_site_leads_to_each():
    pages = Pages(Shelf({}), served=False)
    home, listed = pages.data(), pages.demos()
    assert 'href="demos.html"' in home
    assert "etudes serve" in listed
    for play in plays.PLAYS:
        if play.slug in plays.collect():
            assert f'href="play/{play.slug}.html"' in listed
            assert f'href="../play/{play.slug}.html"' in pages.study(play.study)
