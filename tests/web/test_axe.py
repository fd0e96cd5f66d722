"""Every kind of page as axe-core sees it, which finds what keeps readers out: contrast, names, order, the keyboard."""

import pytest

from coins import make_study

PAGES = [
    "/", "/?q=adam", "/data", "/live", "/compare", "/compare/char-lstm", "/compare/char-lstm/laptop/dickinson",
    "/demos", "/study/nothing", "/study/mixup", "/study/cifar-training", "/study/char-lstm", "/glossary", "/reading",
    "/files/mixup/laptop/report.html",
]  # fmt: skip


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(chromium, server, width, dark):
    Axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe
    page = chromium(width, dark=dark)
    plan = make_study().plan("laptop")
    runs = [f"/live/run/{plan[0].key}", f"/compare/runs?a={plan[0].key}&b={plan[1].key}"]
    found = {}
    for address in [*PAGES, *runs]:
        page.goto(server + address, wait_until="load")
        page.evaluate("document.fonts.ready")
        for violation in Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]:
            found[address, violation["id"]] = [node["html"][:200] for node in violation["nodes"]]
    assert found == {}
