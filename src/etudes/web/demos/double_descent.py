"""The exact theory of double descent: sliders for examples, noise and a penalty, and one experiment drawn beside it."""

import functools
import math
from html import escape
from pathlib import Path

import gradio as gr
import numpy

from etudes.core.errors import Problem
from etudes.studies.dynamics.double_descent import theory
from etudes.web.demos import look

FEATURES = 400  # there are; the answer depends on all of them
EXAMPLES = (20, 50, 100)  # fewest, first and most
NOISE = (0.0, 0.5, 2.0)  # least, first and largest standard deviation of what is added to every answer
POWERS = (-4.0, -1.0, 1.0)  # least, first and largest penalty, as a power of ten
LAST = 50  # number of the last experiment
POINTS = 50  # numbers of features at which the experiment is solved
NONE, CHOSEN, BEST = "none", "that of the slider", "the best for each number of features"
WAYS = (NONE, CHOSEN, BEST)
CUT = 20.0  # times the error of always saying 0, above which nothing is drawn


def counts(n: int) -> list[int]:
    """The numbers of features at which errors are shown: denser around n, where they change most."""
    far = numpy.unique(numpy.linspace(1, FEATURES, POINTS // 2).astype(int))
    near = n + numpy.unique(numpy.linspace(-n / 3, n / 3, POINTS // 2).astype(int))
    return sorted({*far.tolist(), *near[(near > 0) & (near <= FEATURES)].tolist()})


def check(n: int, spread: float, power: float, way: str, number: int) -> None:
    """Raises Problem on what the page does not offer, whatever it sends."""
    if not (EXAMPLES[0] <= n <= EXAMPLES[2] and NOISE[0] <= spread <= NOISE[2]):
        raise Problem(f"take {EXAMPLES[0]} to {EXAMPLES[2]} examples, and a noise of {NOISE[0]:g} to {NOISE[2]:g}")
    if way not in WAYS or not (POWERS[0] <= power <= POWERS[2] and 0 <= number <= LAST):
        raise Problem(f"take a penalty of 10^{POWERS[0]:g} to 10^{POWERS[2]:g}, and an experiment up to {LAST}")


def penalty(p: int, n: int, noise: float, power: float, way: str) -> float:
    """The penalty on the squared weights of p features; 0 is none."""
    return 0.0 if way == NONE else 10**power if way == CHOSEN else theory.best_penalty(p, n, FEATURES, 1.0, noise)


def exact(p: int, n: int, noise: float, power: float, way: str) -> float:
    """The expected test error with p features: with a penalty that of many examples, without one of exactly n."""
    chosen = penalty(p, n, noise, power, way)
    if chosen == 0:  # the best penalty too, where nothing is hidden and there is no noise
        return theory.expected_error(p, n, FEATURES, 1.0, noise)
    return theory.ridge_error(p, n, FEATURES, 1.0, noise, chosen)


@functools.lru_cache(maxsize=4)  # the chart and the words below it ask for the same
def law(n: int, noise: float, power: float, way: str) -> dict[int, float]:
    """{features: the expected test error}, for every number of features."""
    return {p: exact(p, n, noise, power, way) for p in range(1, FEATURES + 1)}


def experiment(n: int, noise: float, power: float, way: str, number: int) -> list[tuple[int, float]]:
    """(features, exact test error of the weights that were fitted) for n drawn examples, of which each p sees more."""
    x, y, beta = theory.draw(n, FEATURES, 1.0, noise, numpy.random.default_rng(number))
    return [
        (p, theory.error(theory.weights(x[:, :p], y, [penalty(p, n, noise, power, way)])[0], beta, noise))
        for p in counts(n)
    ]


def show(n: int, spread: float, power: float, way: str, number: int) -> tuple[str, str]:
    """As HTML: the chart of both errors over features an example, and what is to be seen in it."""
    check(n, spread, power, way, number)
    noise = spread**2
    zero = 1 + noise
    expected = [*law(n, noise, power, way).items()]
    halves = [expected[:n], expected[n:]]
    curves: list[look.Curve] = []
    tried = _below(experiment(n, noise, power, way, number), zero)
    curves.append(("one experiment", look.ORANGE, [p / n for p, _ in tried], [e for _, e in tried], False))
    for name, half in zip(("the exact expectation", ""), halves, strict=True):
        kept = _below(half, zero)
        curves.append((name, look.BLUE, [p / n for p, _ in kept], [e for _, e in kept], False))
    curves.append(("always saying 0", look.GREEN, [0, FEATURES / n], [zero, zero], True))
    chart = look.lines(
        [curve for curve in curves if curve[2]],
        says=f"Test error on {n} examples",
        x_axis="features an example, p / n",
        y_axis="test error",
        log=True,
        until=FEATURES / n,
    )
    return chart, f'<p class="loaded">{escape(finding(n, noise, power, way))}</p>'


def _below(points: list[tuple[int, float]], zero: float) -> list[tuple[int, float]]:
    return [(p, error) for p, error in points if error < CUT * zero]


def finding(n: int, noise: float, power: float, way: str) -> str:
    """What the exact curve says, in words."""
    expected = law(n, noise, power, way)
    before, last = min(expected[p] for p in range(1, n + 1)), expected[FEATURES]
    ends = f"Its least with no more features than examples is {before:.3g}, with all {FEATURES} it is {last:.3g}."
    if math.inf in expected.values():
        return (
            "At p = n the expected error has no bound: least squares multiplies the noise by 1 / (p/n - 1), which is "
            f"{theory.variance(1.1):.3g} at p = 1.1 n and {theory.variance(2):.3g} at p = 2 n. {ends}"
        )
    least, rise = math.inf, 0.0
    for error in expected.values():
        least = min(least, error)
        rise = max(rise, error - least)
    if rise < 1e-9:
        return f"There is no peak: every further feature lowers the expected error. {ends}"
    return f"The expected error rises by {rise:.3g} before it falls again. {ends}"


def build(root: Path) -> gr.Blocks:
    @look.explain
    def draw(n: float, spread: float, power: float, way: str, number: float) -> tuple[str, str]:
        return show(int(n), float(spread), float(power), way, int(number))

    with gr.Blocks(title="The peak of double descent") as page:
        look.title(
            "The peak of double descent",
            f"An answer depends a little on each of {FEATURES} features. A learner who sees more and more of them fits "
            "few examples by least squares. The error grows without bound towards as many features as examples, and "
            "falls after that. With the right penalty on the weights it only falls.",
        )
        with gr.Row():
            n = gr.Slider(EXAMPLES[0], EXAMPLES[2], EXAMPLES[1], step=5, label="Examples, n")
            spread = gr.Slider(NOISE[0], NOISE[2], NOISE[1], step=0.1, label="Noise, standard deviation")
        way = gr.Radio(list(WAYS), value=NONE, label="Penalty on the squared weights")
        with gr.Row():
            power = gr.Slider(POWERS[0], POWERS[2], POWERS[1], step=0.1, label="The penalty, as a power of ten")
            number = gr.Slider(0, LAST, 0, step=1, label="Experiment")
        values = [n, spread, power, way, number]
        first = show(EXAMPLES[1], NOISE[1], POWERS[1], NONE, 0)
        chart = gr.HTML(first[0], min_height=300)
        line = gr.HTML(first[1])
        gr.HTML(
            '<p class="soft">Errors are squared errors on fresh examples, the noise in them included; what hidden '
            "features say is noise as well. Without a penalty the expectation is exact for every n, and of all weights "
            "that fit, those of the least norm are taken; with one it is that of many examples.</p>"
        )
        for part in values:
            part.change(
                draw, values, [chart, line], show_progress="hidden", trigger_mode="always_last", concurrency_limit=2
            )
    return page
