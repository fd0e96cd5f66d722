"""Small networks trained for the demos, and a server of the demos alone."""

import dataclasses
import functools
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
pytest.importorskip("gradio", reason="the demos need etudes[web]")

SMALL = {
    "char-lstm": ("lstm",),
    "ddpm-sdedit": ("ddpm", "blend"),
    "cifar-speed": ("full",),
    "mixup": ("erm", "mixup"),
    "doom-dqn": ("dqn",),
    "unet": ("unet", "classes"),
    "ocr-ctc": ("strings",),
    "unlearning": ("dropped", "retrained"),
    "names": ("gru", "writer"),
    "translation": ("luong", "none"),
    "lossy-text": ("float", "lossless"),
    "roberta-fr": ("tiny",),
    "rotnet": ("rotnet", "simclr", "random"),
}


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished smoke runs of every study that a demo shows a network of."""
    from etudes.core import catalogue
    from etudes.sweep.local import perform
    from etudes.train.precision import resolve

    folder = tmp_path_factory.mktemp("runs")
    for name, variants in SMALL.items():
        study = catalogue.find(name)
        perform(study, study.plan("smoke", variants=variants, seeds=1, precision=resolve(study, "auto")), folder)
    return folder


@pytest.fixture(scope="session")
def sent() -> list[bytes]:
    """All that the servers of the demos have sent, but for what is the same for everybody."""
    return []


@pytest.fixture(scope="module")
def server(root: Path, sent: list[bytes]) -> Iterator[str]:
    yield from serving(root, sent)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory, sent: list[bytes]) -> Iterator[str]:
    """A server of the demos where nothing is trained, nothing comes along, and mixup offers what takes seconds."""
    from etudes.web.demos import mixup, networks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "TRAINED", tmp_path_factory.mktemp("nothing") / "trained")
        patch.setattr(mixup, "OFFERS", (networks.Offer("mixup", "smoke", ("erm", "mixup")),))
        yield from serving(tmp_path_factory.mktemp("nothing"), sent)


def recorded(app: Any, sent: list[bytes]) -> Any:
    """The app, every answer of which is written down too."""

    async def called(scope: Any, receive: Any, send: Any) -> None:
        async def kept(message: Any) -> None:
            if not any(part in scope.get("path", "") for part in ("/assets/", "/static/")):
                sent.append(message.get("body", b""))
            await send(message)

        await app(scope, receive, kept)

    return called


def serving(root: Path, sent: list[bytes]) -> Iterator[str]:
    import fastapi
    import uvicorn
    from fastapi.staticfiles import StaticFiles

    from etudes.web import app as site
    from etudes.web.demos import DEMOS, mount, rag

    app = fastapi.FastAPI()
    app.mount("/static", StaticFiles(directory=site.STATIC))  # whose fonts the demos show
    app.get("/favicon.ico")(lambda: fastapi.Response(status_code=204))
    for demo in DEMOS:
        if demo.slug == "rag":  # with vectors that need no files
            demo = dataclasses.replace(demo, build=functools.partial(rag.build, embedder="hashing"))
        mount(app, demo, root)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    running = uvicorn.Server(uvicorn.Config(recorded(app, sent), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    running.should_exit = running.force_exit = True
    thread.join(10)
