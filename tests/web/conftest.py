"""A server as a user starts it, on a port of its own, and a browser that may call nobody else."""

import contextlib
import importlib.util
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("fastapi") is None:  # it comes with the extra 'web'
    collect_ignore_glob = ["*"]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders in the format of `execute`: one finished, one stopped, one more of another scale."""
    from coins import make_study
    from etudes.core.run import execute

    root = tmp_path_factory.mktemp("runs")
    study = make_study()
    for spec in [*study.plan("smoke"), *study.plan("laptop")[:3]]:
        execute(study, spec, root)
    stopped = root / study.plan("laptop")[2].key
    (stopped / "result.json").unlink()
    lines = (stopped / "log.jsonl").read_bytes().splitlines(keepends=True)
    (stopped / "log.jsonl").write_bytes(b"".join(lines[:2]) + b'{"step": 3, "sco')
    return root


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, Path]:
    """What the command that makes the site of files returned and said, and the folder of the site."""
    from etudes.cli import main

    folder, said = tmp_path_factory.mktemp("built") / "new", io.StringIO()
    with contextlib.redirect_stdout(said):
        status = main(["report", "--all", "--format", "site", "--out", str(folder)])
    return status, said.getvalue(), folder


@pytest.fixture(scope="session")
def site(command: tuple[int, str, Path]) -> Path:
    """The site of files."""
    return command[2]


@pytest.fixture(scope="session")
def server(runs: Path) -> Iterator[str]:
    """The address of `etudes serve`, in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "etudes", "serve", "--port", str(port), "--root", str(runs)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/static/icon.svg", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                if process.poll() is not None:
                    raise RuntimeError(process.communicate()[0]) from None
                time.sleep(0.1)
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        try:
            said, _ = process.communicate(timeout=30)
            assert process.returncode == 0, said
            assert "Traceback" not in said
        finally:
            process.kill()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Debian's chromium, without a window and without calling home; one for all tests, as Playwright's loop is."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on this machine; apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync_api.sync_playwright() as playwright:
        profile = str(tmp_path_factory.mktemp("profile"))
        found = playwright.chromium.launch(executable_path=path, args=[*FLAGS, f"--disk-cache-dir={profile}"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def chromium(browser: Any) -> Callable:
    """A new page of the browser: chromium(width, dark=False), with what went wrong in `page.complaints`."""

    def page(width: int = 1280, *, dark: bool = False, script: bool = True):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
        )
        opened = context.new_page()
        opened.complaints = []
        opened.on("console", lambda m: opened.complaints.append(m.text) if m.type in ("error", "warning") else None)
        opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.on("requestfailed", lambda r: opened.complaints.append(f"failed: {r.url}"))
        opened.on(
            "request",
            lambda r: (
                None
                if r.url.startswith(("http://127.0.0.1:", "data:", "blob:", "file://"))
                else opened.complaints.append(f"called {r.url}")
            ),
        )
        return opened

    return page
