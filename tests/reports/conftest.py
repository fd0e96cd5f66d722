"""A study without tensors, run for real: noisy decaying curves, ten variants, five seeds.

Departures: there is no paper, so it
departs from nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from etudes.core.claims import Claim, above, below, within
from etudes.core.files import read_json, write_json
from etudes.core.record import load
from etudes.core.run import Run, execute
from etudes.core.spec import Paper, Scale, Study, Variant
from etudes.reports import render
from etudes.reports.build import build
from etudes.reports.charts import against, bars, curves, grid, plane
from etudes.reports.report import Report


@dataclass(frozen=True)
class Config:
    dataset: str = "waves"
    steps: Annotated[int, above(1)] = 300  # lines of the log
    rate: Annotated[float, above(0)] = 0.02  # of decay a step
    alpha: float = 0.0  # lowers the floor
    noise: Annotated[float, within(0, 1)] = 0.0  # raises the floor
    quick: bool = False  # does nothing


def decay(cfg: Config, run: Run) -> None:
    rng = run.rng("decay")
    floor = 0.3 + 0.4 * cfg.noise - 0.02 * cfg.alpha * (0.5 + cfg.noise) + rng.normal(0, 0.01)
    floor += run.rng(f"own {cfg.alpha} {cfg.noise}").normal(0, 0.004)
    run.note(data={"dataset": cfg.dataset, "kind": "embedded", "says": "made up", "fingerprint": "ab" * 32})
    error = loss = math.nan
    for step in range(1, cfg.steps + 1):
        error = floor + (0.9 - floor) * math.exp(-cfg.rate * step) + rng.normal(0, 0.005)
        loss = 2.3 * math.exp(-cfg.rate * (1 + cfg.alpha) * step) + 0.003 * math.exp(rng.normal())
        evaluated = {"test/error": error} if step % 5 == 0 else {}
        run.log(step, **{"train/loss": loss, "train/bound": 2 / (1 + step / 40), **evaluated})
    run.result(**{"test/error": error, "train/loss": loss, "parameters": 11_173_962})
    if cfg.noise:
        run.result(**{"train/error-wrong": error / 1e4})


GRID = [(noise, alpha) for noise in (0.0, 0.25, 0.5, 0.75, 1.0) for alpha in (0.0, 1.0)]


def study(**changes: object) -> Study:
    values = {
        "name": "waves",
        "question": "Does alpha lower the floor, and does <script>alert(1)</script> | stay words?",
        "paper": Paper("On Made-Up Waves & Floors", "Ripple, Crest", 2018, "https://example.org/waves"),
        "config": Config,
        "program": decay,
        "variants": tuple(
            Variant(f"{'mixed' if a else 'plain'}-{round(100 * n)}", {"noise": n, "alpha": a}, f"noise {n}")
            for n, a in GRID
        ),
        "scales": {
            "smoke": Scale({"steps": 20}, seeds=2, minutes=0.01, judges=False),
            "laptop": Scale({}, seeds=5, minutes=0.1, offline={"dataset": "ripples"}),
        },
        "claims": {
            "with alpha the error is lower": Claim(
                lambda t: t["mixed-0"]["test/error"] - t["plain-0"]["test/error"], below(0), "sec. 1", paper=-0.014
            ),
            "noise raises the error by no more than 0.01": Claim(
                lambda t: t["plain-50"]["test/error"] - t["plain-0"]["test/error"], within(-0.01, 0.01), "table 2"
            ),
            "with alpha the training loss is at most half": Claim(
                lambda t: t["mixed-0"]["train/loss"] / t["plain-0"]["train/loss"], below(0.5), "fig. 3", paper=0.5
            ),
        },
        "charts": (
            bars("test/error"),
            bars("test/error", "train/loss", "train/error-wrong", by="alpha"),
            curves("test/error"),
            curves("test/error", "train/loss", log=True),
            curves("train/loss", facet=True, log=True, reference="train/bound",
                   variants=("plain-0", "mixed-0", "plain-50", "mixed-50")),
            against("noise", "test/error", by="alpha"),
            grid("test/error", "noise", "alpha"),
            plane(("train/loss", "test/error"), log_x=True),
        ),
    }  # fmt: skip
    return Study(**values | changes)


@pytest.fixture(scope="session")
def waves() -> Callable[..., Study]:
    return study


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for scale in ("smoke", "laptop"):
        for spec in study().plan(scale):
            execute(study(), spec, folder)
            note = folder / spec.key / "env.json"  # as from a clean checkout, whatever this one is
            write_json(note, read_json(note, "") | {"commit": "c" * 40})
    return folder


@pytest.fixture(scope="session")
def report(root: Path) -> Report:
    plan = study().plan("laptop")
    return build(study(), plan, load(plan, root))


@pytest.fixture(scope="session")
def written(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    render.write(report, folder)
    return folder
