"""A tiny study, as a user would write it in a file of their own."""

from dataclasses import dataclass
from typing import Annotated

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, lower
from etudes.reports.charts import bars, curves

PAPER = Paper("On coins", "Bernoulli", 1713, "https://example.org")


@dataclass(frozen=True)
class Config:
    steps: Annotated[int, at_least(1)] = 5  # lines of the log
    shift: float = 0.0  # added to the score
    fair: bool = True  # nothing


def toss(cfg: Config, run: Run) -> None:
    for i in range(cfg.steps):
        run.log(i + 1, score=float(run.rng("toss", i).normal()) + cfg.shift)
    run.result(**{"test/score": float(run.rng("score").normal()) + cfg.shift})


def make_study(**changed: object) -> Study:
    values: dict = {
        "name": "coins",
        "question": "Does shifting shift?",
        "paper": PAPER,
        "config": Config,
        "program": toss,
        "variants": (Variant("plain"), Variant("shifted", {"shift": -1.0}, "one lower")),
        "scales": {
            "smoke": Scale({"steps": 2}, seeds=2, minutes=0.1, judges=False),
            "laptop": Scale({}, seeds=4, minutes=0.1),
        },
        "claims": {"shifted scores lower than plain": lower("shifted", "plain", "sec. 1", of="test/score")},
    }
    return Study(**(values | changed))


STUDY = make_study(charts=(bars("test/score"), curves("score")))
