"""Wrong labels, live: the same small network trained on them with cross entropy and with the symmetric loss."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import gradio as gr

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.spec import Spec
from etudes.web.demos import look
from etudes.web.demos.running import KEYS, train

Log = Sequence[Mapping[str, float]]
STUDY = "symmetric-ce"
DIGITS = {"dataset": "digits", "side": 8, "examples": 80, "validation": 300, "batch": 50, "lr": 0.1}  # shipped along
STEPS, EVERY = 320, 16
MOST, FIRST = 80, 40  # per cent of wrong labels
KINDS = {"another class at random": "symmetric", "the next class, in half of the classes": "asymmetric"}
LOSSES = {"ce": ("cross entropy", look.ORANGE), "sce": ("the symmetric loss", look.BLUE)}
CHARTS = {"test/error": "test error", "train/error-wrong-labels": "share of the wrong labels learnt"}


def plan_runs(percent: int, kind: str) -> dict[str, Spec]:
    """{variant: its run at laptop scale, on digits and with so many wrong labels}. Raises Problem."""
    if not 0 <= percent <= MOST or kind not in KINDS:
        raise Problem(f"take 0 to {MOST} % wrong labels, and one of: {', '.join(KINDS)}")
    changed = DIGITS | {"noise": percent / 100, "kind": KINDS[kind], "steps": STEPS, "eval_every": EVERY}
    study = catalogue.find(STUDY)
    return {name: study.plan("laptop", variants=(name,), seeds=1, **changed)[0] for name in LOSSES}


def series(log: Log, metric: str) -> tuple[list[float], list[float]]:
    """(steps, values) of a log; of wrong labels the share that was learnt."""
    points = [(line["step"], line[metric]) for line in log if metric in line]
    return [x for x, _ in points], [1 - y if "wrong" in metric else y for _, y in points]


def draw(logs: Mapping[str, Log]) -> tuple[str, str]:
    """Two charts as HTML: the test error, and the share of the wrong labels that was learnt."""
    charts = []
    for metric, axis in CHARTS.items():
        found = {name: series(log, metric) for name, log in logs.items()}
        curves = [(*LOSSES[name], *found[name], False) for name in found if found[name][0]]
        says = f"{axis.capitalize()} during training"
        charts.append(look.lines(curves, says=says, x_axis="step", y_axis=axis, most=1, until=STEPS))
    return charts[0], charts[1]


def finding(logs: Mapping[str, Log], percent: int, problem: str) -> str:
    """What the curves show, in words."""
    if problem:
        return problem
    ends = {name: {metric: series(log, metric) for metric in CHARTS} for name, log in logs.items()}
    steps = {name: (found["test/error"][0] or [0])[-1] for name, found in ends.items()}
    for name, (words, _) in LOSSES.items():
        if steps.get(name, 0) < STEPS:
            return f"Training, {words}: step {steps.get(name, 0):.0f} of {STEPS}."
    told = []
    for name, (words, _) in LOSSES.items():
        error, learnt = (ends[name][metric][1] for metric in CHARTS)
        by_heart = f", with {learnt[-1]:.0%} of the wrong labels learnt by heart" if learnt else ""
        told.append(f"{words} ends at a test error of {error[-1]:.1%}{by_heart}")
    return f"At {percent} %: {'; '.join(told)}."


def build(root: Path) -> gr.Blocks:
    folder = tempfile.TemporaryDirectory(prefix="etudes-labels-")  # a repeated setting is there at once
    kept = Path(folder.name)

    @look.explain
    def run(percent: float, kind: str) -> Iterator[tuple[str, str, str]]:
        _ = folder  # lives as long as the page can be asked
        logs: dict[str, Log] = {}
        for name, spec in plan_runs(int(percent), kind).items():
            for log, problem in train(spec, kept):
                logs[name] = log
                yield (*draw(logs), look.loading_note(finding(logs, int(percent), problem)))

    with gr.Blocks(title="Wrong labels") as page:
        look.title(
            "Wrong labels",
            "A share of the labels of written digits is made wrong. One network is trained twice on them: with cross "
            "entropy, and with the symmetric loss, which lets go of labels that look impossible.",
        )
        with gr.Row():
            percent = gr.Slider(0, MOST, FIRST, step=10, label="Wrong labels, in per cent")
            kind = gr.Radio([*KINDS], value=next(iter(KINDS)), label="What they are replaced by")
        gr.HTML(
            look.loading_note("Trained here from the start: two convolutions on 800 digits of 8x8 pixels."),
            js_on_load=KEYS,
        )
        with gr.Row():
            start = gr.Button("Train now", variant="primary")
            stop = gr.Button("Stop")
        shown = [gr.HTML(chart) for chart in draw({})]
        result = gr.HTML()
        event = gr.on(
            [start.click, percent.release, kind.input],
            run,
            [percent, kind],
            [*shown, result],
            show_progress="hidden",
            trigger_mode="always_last",
        )
        stop.click(None, cancels=[event])
    return page
