"""What is read off the games: the measures of two claims, and the table of pairs."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from etudes.core import Trial
from etudes.reports.charts import Chart
from etudes.reports.look import data
from etudes.studies.games.just_one.players import SOURCES

if TYPE_CHECKING:
    import altair

    from etudes.reports.build import Report

SCORE = "test/score"
GIVER_COUNTS = range(1, 8)  # of givers, in the variants givers-1 to givers-7
PAIRS = {(a, b): "seats" if (a, b) == ("glove", "minilm") else f"{a}-{b}" for a in SOURCES for b in SOURCES}


def best_count_over(count: int) -> Callable[[Trial], float]:
    """A measure: the score with as many givers as are best on validation words, minus that with `count`."""

    def measure(trial: Trial) -> float:
        best = max(GIVER_COUNTS, key=lambda n: trial[f"givers-{n}"]["validation/score"])
        return trial[f"givers-{best}"][SCORE] - trial[f"givers-{count}"][SCORE]

    return measure


def telepathy(trial: Trial) -> float:
    """The mean score where both roles have the same associations, minus that where they have different ones."""
    same = [trial[name][SCORE] for (a, b), name in PAIRS.items() if a == b]
    different = [trial[name][SCORE] for (a, b), name in PAIRS.items() if a != b]
    return float(np.mean(same) - np.mean(different))


def pair_table() -> Chart:
    """Cards won by each pair of giver and guesser, as a table whose cells are shaded."""

    def draw(report: "Report") -> "altair.LayerChart":
        import altair

        scores = {row["variant"]: row["metrics"][SCORE]["mean"] for row in report.table}
        cells = [
            {"giver": a, "guesser": b, "value": scores[name], "label": f"{scores[name]:.1f}"}
            for (a, b), name in PAIRS.items()
            if name in scores
        ]
        x = altair.X("guesser:N", sort=SOURCES, axis=altair.Axis(labelAngle=0))
        y = altair.Y("giver:N", sort=SOURCES)
        shade = altair.Color("value:Q", title="cards won", scale=altair.Scale(scheme="blues"))
        ink = altair.condition(altair.datum.value > 6, altair.value("white"), altair.value("black"))
        source = data(cells)
        shades = source.mark_rect().encode(x, y, shade)
        labels = source.mark_text(fontSize=14).encode(x, y, text="label:N", color=ink)
        return altair.layer(shades, labels).properties(width=330, height=210)

    says = "Means over seeds, of 13 cards; four givers, by seats."
    return Chart("pairs", "Cards won by giver and guesser", draw, says)
