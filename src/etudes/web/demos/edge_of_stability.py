"""The edge of stability, live: sharpness against 2 / step size while a small network trains in this process's sight."""

import functools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import gradio as gr

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.spec import Spec
from etudes.reports.build import read
from etudes.web.demos import look
from etudes.web.demos.running import KEYS, train

Series = tuple[list[float], list[float]]  # steps, values
STUDY = "edge-of-stability"
SLOW, FAST, MOST = 0.5, 6.0, 4000  # multiples of the study's first step size, most steps
FIRST, STEPS = 3.0, 2000  # the multiple and the steps that the page opens with
EDGE = "2\N{NO-BREAK SPACE}/\N{NO-BREAK SPACE}step\N{NO-BREAK SPACE}size"  # the threshold, in one line
FAMILY = ("flow", "gd-x1", "gd-x2", "gd-x3", "gd-x4")  # whose curves are laid beside: the same network


def plan_run(multiple: float, steps: int) -> Spec:
    """The study's own run gd-x1 at laptop scale, at `multiple` times its step size. Raises Problem."""
    if not (SLOW <= multiple <= FAST and 100 <= steps <= MOST):
        raise Problem(f"take a step size of {SLOW} to {FAST} times the first, and 100 to {MOST} steps")
    study = catalogue.find(STUDY)
    return study.plan("laptop", variants=("gd-x1",), seeds=1, multiple=round(multiple, 2), steps=steps)[0]


def series(log: Sequence[Mapping[str, float]], spec: Spec) -> dict[str, Series]:
    """{metric: (steps, values)} of a log's lines."""
    names = ("train/sharpness", "train/loss")
    lines = {name: [(line["step"], line[name]) for line in log if name in line] for name in names}
    return {name: ([x for x, _ in found], [y for _, y in found]) for name, found in lines.items()}


@functools.lru_cache(maxsize=1)
def committed_curves() -> dict[str, dict[str, Series]]:
    """{variant: {metric: (steps, values of seed 0)}} of the laptop report that comes with the project; {} without."""
    folder = catalogue.committed_folder(STUDY)
    if not (folder / "report.json").exists():
        return {}
    found: dict[str, dict[str, Series]] = {}
    for curve in read(folder, catalogue.find(STUDY)).curves:
        if curve["seed"] == 0:
            found.setdefault(curve["variant"], {})[curve["metric"]] = curve["steps"], curve["values"]
    return found


def draw(log: Sequence[Mapping[str, float]], spec: Spec, beside: Sequence[str]) -> tuple[str, str]:
    """Two charts as HTML: sharpness with its thresholds, and the loss."""
    found, far = series(log, spec), spec.config["steps"]
    eta = spec.config["gd_step"] * spec.config["multiple"]
    others = {name: curve for name, curve in committed_curves().items() if name in beside}
    colours = dict(zip(FAMILY, ("#808080", "#56B4E9", look.GREEN, "#CC79A7", "#E69F00"), strict=True))
    charts = []
    for metric, log_scale, axis in (("train/sharpness", False, "sharpness"), ("train/loss", True, "training loss")):
        curves: list[look.Curve] = [
            (f"committed {name}", colours[name], *_until(curve[metric], far), False)
            for name, curve in others.items()
            if metric in curve
        ]
        if found[metric][0]:
            curves.append(("now", look.BLUE, *found[metric], False))
        if not log_scale:
            curves += [
                ("", colours[name], *_until(curve["train/threshold"], far), True)
                for name, curve in others.items()
                if "train/threshold" in curve
            ]
            words = f"broken: {EDGE}, now {2 / eta:.3g}"
            curves.append((words, look.ORANGE, [0, far], [2 / eta, 2 / eta], True))
        says = f"{axis.capitalize()} at step size {eta:.3g}"
        charts.append(look.lines(curves, says=says, x_axis="step", y_axis=axis, log=log_scale, until=far))
    return charts[0], charts[1]


def _until(curve: Series, far: float) -> Series:
    kept = [(x, y) for x, y in zip(*curve, strict=True) if x <= far]
    return [x for x, _ in kept], [y for _, y in kept]


def finding(log: Sequence[Mapping[str, float]], spec: Spec, problem: str) -> str:
    """What the curve shows, in words, from its last third."""
    if problem:
        return problem
    steps, values = series(log, spec)["train/sharpness"]
    if not steps or steps[-1] + spec.config["measure_every"] < spec.config["steps"]:
        return f"Training: step {steps[-1] if steps else 0} of {spec.config['steps']:,}."
    limit = 2 / (spec.config["gd_step"] * spec.config["multiple"])
    plateau = sum(values[-max(1, len(values) // 3) :]) / max(1, len(values) // 3)
    where = f"the mean sharpness of the last third is {plateau / limit:.2f} times {EDGE} ({limit:.3g})"
    if max(values) < limit:
        return f"Below the edge: sharpness has not reached the threshold; {where}."
    return f"At the edge: sharpness rose to the threshold and {where}."


def build(root: Path) -> gr.Blocks:
    folder = tempfile.TemporaryDirectory(prefix="etudes-edge-")  # a repeated setting is there at once
    kept = Path(folder.name)

    @look.explain
    def run(multiple: float, steps: float, beside: list[str]) -> Iterator[tuple[str, str, str]]:
        _ = folder  # lives as long as the page can be asked
        spec = plan_run(float(multiple), int(steps))
        for log, problem in train(spec, kept):
            yield (*draw(log, spec, beside), look.loading_note(finding(log, spec, problem)))

    def words(multiple: float) -> str:
        config = catalogue.find(STUDY).config()
        eta = config.gd_step * multiple
        return look.loading_note(
            f"Trained here from the start: two hidden layers of {config.width} units, on {config.examples} "
            f"{config.dataset}, all in every step. {EDGE} is 2 / {eta:.3g} = {2 / eta:.3g}."
        )

    with gr.Blocks(title="The edge of stability") as page:
        look.title(
            "The edge of stability",
            "Sharpness is how strongly the loss curves in its most curved direction: the largest eigenvalue of its "
            f"Hessian. On a quadratic, gradient descent diverges where it is above {EDGE}. Choose a step size: a "
            "network's sharpness climbs to that threshold, and stays there.",
        )
        with gr.Row():
            multiple = gr.Slider(SLOW, FAST, FIRST, step=0.1, label="Step size, as a multiple of 0.1")
            steps = gr.Slider(500, MOST, STEPS, step=100, label="Steps")
        names = [name for name in FAMILY if name in committed_curves()]
        first = [name for name in ("gd-x2",) if name in names]
        beside = gr.CheckboxGroup(names, value=first, label="Curves of the committed report beside it")
        line = gr.HTML(words(FIRST), js_on_load=KEYS)
        with gr.Row():
            start = gr.Button("Train now", variant="primary")
            stop = gr.Button("Stop")
        shown = [gr.HTML(chart) for chart in draw([], plan_run(FIRST, STEPS), first)]
        result = gr.HTML()
        settings = [multiple, steps, beside]
        changed = [multiple.release, steps.release, beside.input]
        event = gr.on(
            [start.click, *changed], run, settings, [*shown, result], show_progress="hidden", trigger_mode="always_last"
        )
        stop.click(None, cancels=[event])
        multiple.change(words, multiple, line, show_progress="hidden", queue=False)
    return page
