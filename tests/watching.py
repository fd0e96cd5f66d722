"""A page in a browser that keeps what goes wrong on it."""

import re
from collections.abc import Iterator

LONG = 30_000  # milliseconds
LEFT = re.compile("abort|errored out", re.IGNORECASE)  # what Gradio says where a page is left amid an event


class Watched:
    """A page and all that went wrong on it."""

    def __init__(self, page, home: str) -> None:
        self.page, self.home = page, home
        self.errors: list[str] = []
        self.away: list[str] = []
        self.leaving = False
        page.on("console", lambda m: self.note(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.note(str(error)))
        page.on("request", lambda r: None if r.url.startswith((home, "data:", "blob:")) else self.away.append(r.url))

    def note(self, error: str) -> None:
        if not (self.leaving and LEFT.search(error)):
            self.errors.append(error)

    def open(self, slug: str):
        return self._go(lambda: self.page.goto(f"{self.home}/demo/{slug}/"))

    def reload(self):
        return self._go(self.page.reload)

    def _go(self, leave):
        self.leaving = True
        leave()
        self.page.wait_for_selector(".gradio-container h1", timeout=LONG)
        self.leaving = False
        return self.page


def watch(browser, home: str, width: int) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    page.set_default_timeout(LONG)
    found = Watched(page, home)
    yield found
    context.close()
    assert found.errors == []
    assert found.away == []
