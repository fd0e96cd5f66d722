"""Two pictures mixed by a slider, and what two networks make of it: one trained on mixtures, one on pictures alone."""

import functools
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from torch import Tensor, nn

from etudes.core import catalogue
from etudes.core.errors import Problem, unknown
from etudes.core.record import Record
from etudes.data.images import Images, unit
from etudes.studies.labels.mixup import network as make
from etudes.train import weights
from etudes.web.demos import look, networks, pictures
from etudes.web.demos.networks import Offer

STUDY = "mixup"
PLAIN, MIXED = "erm", "mixup"
POINTS = 41  # shares at which both are asked for the curves
OFFERS = (Offer(STUDY, "laptop", (PLAIN, MIXED)),)


@functools.lru_cache(maxsize=4)
def _network(folder: Path, values: tuple[tuple[str, Any], ...]) -> tuple[nn.Module, Images]:
    cfg = catalogue.find(STUDY).config(**dict(values))
    d = pictures.pictures(cfg.dataset)
    return weights.load(folder / networks.WEIGHTS, make(cfg, d)), d


def network(record: Record) -> tuple[nn.Module, Images]:
    """(network, the set it was trained on) of a run."""
    return _network(record.folder, tuple(record.spec.config.items()))


def pairs(root: Path) -> dict[str, dict[str, Record]]:
    """{scale: {"erm": a run, "mixup": a run}} of the scales, or what comes along, where both have their network."""
    found: dict[str, dict[str, Record]] = {}
    for record in networks.find_records(catalogue.find(STUDY), root).values():
        if record.spec.variant in (PLAIN, MIXED):
            found.setdefault(networks.origin(record), {})[record.spec.variant] = record
    return {scale: both for scale, both in found.items() if len(both) == 2}


def first_scale(known: dict[str, dict[str, Record]]) -> str | None:
    """Which of the pairs to begin with; None without any."""
    return networks.first_choice({scale: both[PLAIN] for scale, both in known.items()}, OFFERS)


def mixture(d: Images, first: int, second: int, share: float) -> Tensor:
    """share * one test picture + (1 - share) * another, [1, c, h, w] in [0, 1] (sec. 1 of the paper)."""
    if not 0 <= share <= 1:
        raise Problem(f"the share of the first picture is between 0 and 1, not {share}")
    one, other = (unit(d.test_x[i % len(d.test_x)][None]) for i in (first, second))
    return share * one + (1 - share) * other


def probabilities(model: nn.Module, x: Tensor) -> Tensor:
    """Probabilities [n, classes] of pictures [n, c, h, w]."""
    with torch.inference_mode():
        return model(x).float().softmax(-1)


def compare(both: dict[str, Record], first: int, second: int, share: float) -> tuple[str, str, str]:
    """As HTML: the pictures and their mixture, each network's most probable classes, and both over all shares."""
    d = network(both[PLAIN])[1]
    names = [d.labels[int(d.test_y[i % len(d.test_y)])] for i in (first, second)]
    ways = [(1.0, f"first: {names[0]}"), (share, f"{share:.2f} of it + {1 - share:.2f}"), (0.0, f"second: {names[1]}")]
    zoom = max(1, 128 // d.shape[-1])
    shown = look.strip([(pictures.address(mixture(d, first, second, s)[0], zoom), words) for s, words in ways])

    answers, curves = [], []
    shares = [i / (POINTS - 1) for i in range(POINTS)]
    line = torch.cat([mixture(d, first, second, s) for s in shares])
    label = {names[0]: share, names[1]: 1 - share} if names[0] != names[1] else {names[0]: 1.0}
    answers.append(look.bars(label, "The mixed label, on which mixup is trained"))
    kinds = [int(d.test_y[i % len(d.test_y)]) for i in (first, second)]
    for variant, words, colour in ((PLAIN, "plain training", look.ORANGE), (MIXED, "mixup", look.BLUE)):
        model = network(both[variant])[0]
        best, which = probabilities(model, mixture(d, first, second, share))[0].topk(3)
        found = {d.labels[i]: odds for i, odds in zip(which.tolist(), best.tolist(), strict=True)}
        answers.append(look.bars(found, f"The network of {words}"))
        odds = probabilities(model, line)
        curves.append((f"{words}: {names[0]}", colour, shares, odds[:, kinds[0]].tolist(), False))
        if kinds[0] != kinds[1]:
            curves.append((f"{words}: {names[1]}", colour, shares, odds[:, kinds[1]].tolist(), True))
    says = "Probability of the two classes over the share of the first picture"
    chart = look.lines(curves, says=says, x_axis="share of the first picture", y_axis="probability", most=1.0)
    return shown, "".join(f'<div style="margin-bottom:1rem">{answer}</div>' for answer in answers), chart


def build(root: Path) -> gr.Blocks:
    def about(scale: str | None) -> str:
        both = pairs(root).get(scale or "")
        if not both:
            return look.loading_note("No pair of networks is trained yet: train it below; it takes a few seconds.")
        lines = (networks.describe(both[v], "test/error", "Test error, as a share") for v in (PLAIN, MIXED))
        return "".join(look.loading_note(line) for line in lines)

    @look.explain
    def show(scale: str | None, first: float, second: float, share: float) -> tuple[str, str, str]:
        if not scale:  # nothing is trained yet, as the line above says
            return "", "", ""
        known = pairs(root)
        if scale not in known:
            raise unknown("pair of networks of scale", scale, known)
        return compare(known[scale], int(first), int(second), float(share))

    def refresh(first: float, second: float, share: float) -> tuple[Any, ...]:
        known = pairs(root)
        scale = first_scale(known)
        return gr.update(choices=list(known), value=scale), about(scale), *show(scale, first, second, share)

    known = pairs(root)
    with gr.Blocks(title="Between two pictures") as page:
        look.title(
            "Between two pictures",
            "mixup trains on mixtures of two pictures and of their labels. Move the slider: how sure is each network "
            "on the way from one picture to the other?",
        )
        scale = gr.Dropdown(list(known), value=first_scale(known), label="Networks")
        line = gr.HTML(about(first_scale(known)))
        with gr.Row():
            first = gr.Slider(0, 200, 3, step=1, label="First test picture")
            second = gr.Slider(0, 200, 10, step=1, label="Second test picture")
        share = gr.Slider(0, 1, 0.5, step=0.01, label="Share of the first picture")
        shown = gr.HTML(min_height=150)
        with gr.Row():
            with gr.Column(min_width=280):
                answers = gr.HTML(min_height=300)
            with gr.Column(min_width=300, scale=2):
                chart = gr.HTML(min_height=300)
        trained = networks.panel(OFFERS, root, not known)
        values, drawn = [first, second, share], [shown, answers, chart]
        for slider in values:
            slider.change(
                show, [scale, *values], drawn, show_progress="hidden", trigger_mode="always_last", concurrency_limit=2
            )
        scale.change(about, scale, line, show_progress="hidden").then(show, [scale, *values], drawn)
        trained.change(refresh, values, [scale, line, *drawn])
        page.load(refresh, values, [scale, line, *drawn], show_progress="hidden")
    return page
