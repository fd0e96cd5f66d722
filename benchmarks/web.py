"""Fifty readers of the pages at once, over loopback: etudes bench web

The server is `etudes serve` in a process of its own, over 300 run folders; the readers share its cores. Each opens one
page after another without a pause, in an order of its own, and reads each to its end; the table has the median and the
95th percentile of the milliseconds from a request to its last byte. Before that, the first page of a server that has
just been started. Goals: p95 under 300 ms, the first page within 3 s.
"""

import asyncio
import dataclasses
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.table import Table

from etudes.core import catalogue

READERS, SECONDS, GOAL, FIRST, RUNS = 50, 15.0, 300.0, 3.0, 300


def addresses() -> list[str]:
    """The pages, a filter, a search, the words that pages search with, and the list of runs."""
    studies = [name for name in catalogue.names() if "laptop" in catalogue.reported_scales(name)]
    found = ["/", "/?family=labels", "/?q=attention", "/words.js", "/compare", "/data", "/live", "/live.json"]
    found.append("/static/site.css")
    return found + [f"/study/{name}" for name in studies] + [f"/files/{name}/laptop/report.json" for name in studies]


def folders(root: Path) -> None:
    """Runs of mixup, as `etudes run` leaves them: every third without a result."""
    study = catalogue.find("mixup")
    for spec in study.plan("laptop", seeds=RUNS // len(study.variants)):
        folder = root / spec.key
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(json.dumps(dataclasses.asdict(spec)))
        (folder / "log.jsonl").write_text("".join(f'{{"step": {i}, "train/loss": {1 / i}}}\n' for i in range(1, 37)))
        if spec.seed % 3:
            (folder / "result.json").write_text('{"test/error": 0.6}')


async def read(port: int, address: str) -> float:
    """The milliseconds from the request to the answer's last byte."""
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{address}: {answer[:60]!r}")
    return 1000 * (time.perf_counter() - begun)


async def visit(port: int, pages: list[str], until: float, seed: int, found: dict[str, list[float]]) -> None:
    order = random.Random(seed)
    while time.perf_counter() < until:
        address = order.choice(pages)
        found.setdefault(address, []).append(await read(port, address))


async def crowd(port: int) -> dict[str, list[float]]:
    pages, found = addresses(), {}
    for address in pages:
        await read(port, address)
    until = time.perf_counter() + SECONDS
    await asyncio.gather(*(visit(port, pages, until, seed, found) for seed in range(READERS)))
    return found


def begin(root: str) -> tuple[subprocess.Popen, int, float]:
    """The server's process, its port, and the seconds until its first page was there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "etudes", "serve", "--port", str(port), "--root", root])
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60).read()
            return process, port, time.perf_counter() - begun
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    raise RuntimeError("the server did not start")


def main() -> None:
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as root:
        folders(Path(root))
        process, port, first = begin(root)
        try:
            found = asyncio.run(crowd(port))
        finally:
            process.terminate()
            process.wait()
    groups: dict[str, list[float]] = {}
    for address, times in found.items():
        kind = address if address.count("/") == 1 else f"/{address.split('/')[1]}/…"
        groups.setdefault(kind, []).extend(times)
    every = [ms for times in groups.values() for ms in times]
    console = Console()
    table = Table(
        "page", "requests", "median ms", "p95 ms", box=None, title=f"{READERS} readers, {os.cpu_count()} cores"
    )
    for kind, times in [*sorted(groups.items()), ("all", every)]:
        table.add_row(kind, str(len(times)), f"{statistics.median(times):.0f}", f"{p95(times):.0f}")
    console.print(table)
    console.print(f"load of the machine before: {load:.1f}, which should be near 0")
    console.print(f"{len(every) / SECONDS:.0f} pages a second; the first page of a new server after {first:.2f} s")
    said = [f"p95 {p95(every):.0f} ms of {GOAL:.0f}", f"first page {first:.2f} s of {FIRST:g}"]
    met = p95(every) < GOAL and first < FIRST
    console.print(("Goals met: " if met else "Goals missed: ") + ", ".join(said))


def p95(times: list[float]) -> float:
    return sorted(times)[int(0.95 * (len(times) - 1))]


if __name__ == "__main__":
    main()
