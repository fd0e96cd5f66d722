"""The server: pages of the studies, runs and data on this machine's own address, and the demos mounted beside them."""

import asyncio
import contextlib
import functools
import ipaddress
import logging
import mimetypes
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as Refused
from starlette.requests import ClientDisconnect

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.reports.words import capital, sentence
from etudes.web import shelf, vega
from etudes.web.live import Watch
from etudes.web.pages import QUERY, Pages, demos

HOST, PORT = "127.0.0.1", 7860
NAMES = {"127.0.0.1", "localhost", "[::1]"}  # by which a browser may call this server
BODY = 64 * 1024  # bytes that a request to the pages may carry, which read none
UPLOAD = 64 * 1024 * 1024  # and one to a demo, which has limits of its own below this
CACHED = {"cache-control": "max-age=60"}  # seconds for which a browser need not ask again
STATIC = Path(__file__).parent / "static"
STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
# Gradio writes scripts and styles into its pages; they still may call nobody but this server.
DEMO = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:; "
    "form-action 'self'; base-uri 'self'; frame-ancestors 'self'"
)
# A report as one page has its style within, and needs nothing else.
REPORT = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; base-uri 'none'; "
    "frame-ancestors 'self'"
)
TITLES = {400: "Not understood", 403: "Not allowed", 404: "Not here", 405: "Not possible", 413: "Too large",
          421: "Another address", 422: "Not understood", 500: "Something broke", 503: "Not ready"}  # fmt: skip
log = logging.getLogger("etudes.web")
Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


def application(*roots: Path) -> FastAPI:
    """The pages over the committed reports and those below the roots, the runs there, and the demos at /demo/SLUG,
    which keep what they train below the first."""
    named = shelf.tell_apart(roots)
    pages, watch = Pages(shelf.Shelf(named)), Watch(named)
    app = FastAPI(title="études", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_life)
    app.state.pages, app.state.root, app.state.mounted = pages, roots[0], {}
    app.get("/static/vega.js")(lambda: Response(vega.script(), media_type="text/javascript", headers=CACHED))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.get("/favicon.ico")(lambda: FileResponse(STATIC / "icon.svg"))  # what browsers ask for beside a demo
    _runs(app, pages, watch)  # whose /compare/runs is no study's
    _studies(app, pages)
    _demos(app)
    _errors(app, pages)
    app.add_middleware(Guard, pages=pages)
    return app


def _studies(app: FastAPI, pages: Pages) -> None:
    library = pages.shelf

    def once(*key: Any, make: Callable[[], str]) -> Response:
        return HTMLResponse(library.once(("page", *key), lambda: make().encode()))

    @app.get("/")
    def home(q: str = "", family: str = "", origin: str = "", verdict: str = "") -> Response:
        asked = (q[:QUERY], family, origin, verdict)
        return once("home", *asked, make=lambda: pages.home(*asked))

    @app.get("/words.js")
    def words() -> Response:
        return Response(library.once("words", pages.words), media_type="text/javascript", headers=CACHED)

    @app.get("/study/{name}")
    @app.get("/study/{name}/{source}")
    def study(name: str, source: str = "") -> Response:
        return once("study", name, source, make=lambda: pages.study(name, source))

    @app.get("/files/{name}/{source}/{file:path}")
    def file(name: str, source: str, file: str) -> Response:
        chosen = library.source(name, source)
        kind = mimetypes.guess_type(file)[0] or "application/octet-stream"  # notebooks are to be kept, not shown
        return Response(library.content(chosen, file), media_type=kind, headers=CACHED)

    @app.get("/compare")
    def compare(study: str = "", a: str = "", b: str = "") -> Response:
        if study:
            first, second = library.source(study, a), library.source(study, b)
            return RedirectResponse(f"/compare/{study}/{first.name}/{second.name}", 303)
        return once("compare", make=pages.compare)

    @app.get("/compare/{name}/{first}/{second}")
    def comparison(name: str, first: str, second: str) -> Response:
        return once("comparison", name, first, second, make=lambda: pages.comparison(name, first, second))

    @app.get("/compare/{name}")
    def comparison_of_all(name: str) -> Response:
        return once("comparison", name, make=lambda: pages.comparison(name))

    @app.get("/data")
    def data() -> Response:
        return once("data", make=pages.data)

    @app.get("/glossary")
    def glossary() -> Response:
        return once("glossary", make=pages.glossary)

    @app.get("/reading")
    def reading() -> Response:
        return once("reading", make=pages.reading)


def _runs(app: FastAPI, pages: Pages, watch: Watch) -> None:
    @app.get("/live")
    def live() -> Response:
        return HTMLResponse(pages.live(watch))

    @app.get("/live.json")
    def live_part() -> Response:
        return JSONResponse({"html": pages.live_part(watch), "runs": len(watch.runs())})

    @app.get("/live/run/{key:path}")
    def run(key: str) -> Response:
        return HTMLResponse(pages.run(watch, key))

    @app.get("/live/data/{key:path}")
    def run_part(key: str) -> Response:
        state = watch.run(key)
        return JSONResponse({"html": pages.run_part(watch, key), "state": state.state, "done": state.done})

    @app.get("/compare/runs")
    def two_runs(a: str, b: str) -> Response:
        return HTMLResponse(pages.two_runs(watch, a, b))


def _demos(app: FastAPI) -> None:
    @app.get("/demos")
    def demo_list() -> Response:
        return HTMLResponse(app.state.pages.demos())

    @app.get("/demo/{slug}")
    @app.get("/demo/{slug}/")
    async def demo(slug: str) -> Response:
        """Build the demo when it is first opened: all of them at the start would take the first page's seconds."""
        known = {demo.slug: demo for demo in demos()}
        if slug not in known:
            raise HTTPException(404, "there is no such demo")
        try:
            await _mount(app, known[slug])
        except Problem as problem:
            raise HTTPException(503, str(problem)) from None
        return RedirectResponse(f"/demo/{slug}/", 307)


async def _mount(app: FastAPI, demo: Any) -> None:
    lock = app.state.mounted.setdefault("lock", asyncio.Lock())
    async with lock:
        if demo.slug in app.state.mounted:
            return
        here = len(app.router.routes)
        blocks = await run_in_threadpool(_mount_blocks, app, demo)
        mounted = app.router.routes[here:]
        del app.router.routes[here:]
        app.router.routes[:0] = mounted  # before the route that brought us here
        inner = mounted[0].app
        # The server has started long since: what Gradio would do then is done now, and undone at its end.
        await app.state.stack.enter_async_context(inner.router.lifespan_context(inner))
        blocks.run_startup_events()
        await blocks.run_extra_startup_events()
        app.state.mounted[demo.slug] = inner


def _mount_blocks(app: FastAPI, demo: Any) -> Any:
    """The demo's interface, after its route was added to the app's last."""
    from etudes.web.demos import options

    blocks = demo.page(app.state.root)
    import gradio

    gradio.mount_gradio_app(app, blocks, path=f"/demo/{demo.slug}", **options())
    return blocks


def _errors(app: FastAPI, pages: Pages) -> None:
    def page(status: int, says: str) -> Response:
        title = TITLES.get(status, "Not possible")
        return HTMLResponse(pages.error(status, title, _sentence(says)), status)

    @app.exception_handler(Refused)
    async def refuse(request: Request, error: Refused) -> Response:
        says = "there is no such page" if error.detail == "Not Found" else str(error.detail)
        return page(error.status_code, says)

    @app.exception_handler(Problem)
    async def explain(request: Request, error: Problem) -> Response:
        return page(404, str(error))

    @app.exception_handler(RequestValidationError)
    async def correct(request: Request, error: RequestValidationError) -> Response:
        names = ", ".join(str(each["loc"][-1]) for each in error.errors())
        return page(422, f"the address needs, or has a wrong value for: {names}")

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> Response:
        return page(500, "the page could not be made; the terminal of etudes serve has the reason")


def _sentence(says: str) -> str:
    return capital(says) if says.endswith("?") else sentence(says)


class Guard:
    """Refuses calls by another name, from other sites' pages, and bodies that are too large; adds what browsers heed.

    A name that leads here although it is not ours is how a page of somebody else's would read this server (DNS
    rebinding); a form or script of another site would name that site as its origin.
    """

    def __init__(self, app: Any, pages: Pages) -> None:
        self.app, self.pages = app, pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        demo = scope["path"].startswith("/demo/")
        most, refusal = UPLOAD if demo else BODY, _refusal(headers)
        length = headers.get(b"content-length", "0")
        if not refusal and (not length.isdigit() or int(length) > most):
            refusal = (413, _large(most))
        answer = functools.partial(self._send, send, _policy(scope["path"]), demo)
        if not refusal:
            with contextlib.suppress(ClientDisconnect):  # whoever asked has left
                await self.app(scope, _limit(receive, most), answer)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        status, says = refusal
        body = self.pages.error(status, TITLES[status], _sentence(says))
        await HTMLResponse(body, status)(scope, receive, answer)

    @staticmethod
    async def _send(send: Send, policy: str, demo: bool, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            own = {
                "content-security-policy": policy,
                "x-content-type-options": "nosniff",
                "referrer-policy": "same-origin" if demo else "no-referrer",
                "cross-origin-resource-policy": "same-origin",
            }
            added = [(name.encode(), value.encode()) for name, value in own.items()]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)


def _limit(receive: Receive, most: int) -> Receive:
    """As `receive`, but a body that states no length is refused when it goes past the limit."""
    got = 0

    async def take() -> dict[str, Any]:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > most:
            raise HTTPException(413, _large(most))
        return message

    return take


def _large(most: int) -> str:
    return f"a request may carry {most // 1024:,} kB here"


def _policy(path: str) -> str:
    """The content security policy of what stands at a path."""
    if path.startswith("/demo/"):
        return DEMO
    return REPORT if path.startswith("/files/") and path.endswith("/report.html") else STRICT


def _refusal(headers: dict[bytes, str]) -> tuple[int, str] | None:
    host = headers.get(b"host", "")
    if _name(host) not in NAMES:
        return 421, "this server answers to 127.0.0.1 and localhost alone"
    origin = headers.get(b"origin", "")
    if origin and urlsplit(origin).netloc != host:
        return 403, "pages of other sites may not use this server"
    return None


def _name(host: str) -> str:
    """The host without its port."""
    name, _, port = host.rpartition(":")
    return name.lower() if name and port.isdigit() and not host.endswith("]") else host.lower()


@contextlib.asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        app.state.stack = stack
        yield


def warm(app: FastAPI) -> None:
    """Import what the studies need and make every page once, so that nobody waits for it."""
    pages: Pages = app.state.pages
    for name in catalogue.names():
        try:
            catalogue.find(name)  # outside the shelf's lock: torch alone takes seconds
            pages.shelf.once(("page", "study", name, ""), lambda name=name: pages.study(name).encode())
        except Exception as error:
            log.warning("%s: %s", name, error)
    vega.script()


def serve(roots: Sequence[Path], port: int = PORT) -> None:
    """Serve on this machine's own address, 127.0.0.1, until interrupted. Raises Problem where the port is taken."""
    import uvicorn

    assert ipaddress.ip_address(HOST).is_loopback
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise Problem(f"cannot serve at port {port}: {error}; choose another with --port") from None
    app = application(*roots)
    print(f"études: http://{HOST}:{port} (Ctrl-C ends it)", flush=True)
    timer = threading.Timer(0.5, warm, [app])
    timer.daemon = True
    timer.start()
    uvicorn.run(app, host=HOST, port=port, log_level="warning", access_log=False, server_header=False)
