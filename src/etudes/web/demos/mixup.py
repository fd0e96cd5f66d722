"""Two pictures mixed by a slider, and what two networks make of it: one trained on mixtures, one on pictures alone."""

import functools
import itertools
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from torch import Tensor, nn

from etudes.core import catalogue
from etudes.core.errors import Problem, unknown
from etudes.core.record import Record
from etudes.data.images import Images, unit
from etudes.losses.cross_entropy import one_hot
from etudes.studies.labels.mixup import network as make
from etudes.train import weights
from etudes.web.demos import look, networks, pictures
from etudes.web.demos.networks import Offer

STUDY = "mixup"
PLAIN, MIXED = "erm", "mixup"
POINTS = 41  # shares at which both are asked for the curves
LAST = 200  # number of the last test picture that can be chosen
BEST = 12  # pictures that both networks know best, of which the first pair is two
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


def first_pair(both: dict[str, Record]) -> tuple[int, int]:
    """Two test pictures of two classes that show what mixup does: of the BEST that both networks know, the pair between
    which plain training is further from the mixed label than mixup, by the most. (0, 1) where they know no such two.
    """
    models, d = [network(both[variant])[0] for variant in (PLAIN, MIXED)], network(both[PLAIN])[1]
    x, y = unit(d.test_x[: LAST + 1]), d.test_y[: LAST + 1]
    odds = torch.stack([probabilities(model, x) for model in models])
    known = odds[:, torch.arange(len(y)), y].amin(0).masked_fill((odds.argmax(-1) != y).any(0), 0)
    best = sorted(i for i in known.topk(min(BEST, len(y))).indices.tolist() if known[i] > 0)
    found = [(i, j) for i, j in itertools.combinations(best, 2) if y[i] != y[j]]
    if not found:
        return 0, 1
    first, second = torch.tensor(found).T
    labels = one_hot(y, d.classes)
    gain = torch.zeros(len(found))
    for share in (0.3, 0.5, 0.7):
        between, label = (share * of[first] + (1 - share) * of[second] for of in (x, labels))
        plain, mixed = ((probabilities(model, between) - label).abs().sum(1) for model in models)
        gain += plain - mixed
    return found[int(gain.argmax())]


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

    @look.explain
    def begin(scale: str | None, share: float) -> tuple[Any, ...]:
        """The line about the networks, and the pair that shows most with all that is shown of it."""
        both = pairs(root).get(scale or "")
        pair = first_pair(both) if both else (0, 1)
        return about(scale), *pair, *show(scale, *pair, share)

    def refresh(share: float) -> tuple[Any, ...]:
        known = pairs(root)
        scale = first_scale(known)
        return gr.update(choices=list(known), value=scale), *begin(scale, share)

    known = pairs(root)
    with gr.Blocks(title="Between two pictures") as page:
        look.title(
            "Between two pictures",
            "mixup trains on mixtures of two pictures and of their labels. Move the slider: how sure is each network "
            "on the way from one picture to the other?",
        )
        scale = gr.Dropdown(list(known), value=first_scale(known), label="Networks")
        line = gr.HTML(about(first_scale(known)))
        values, drawn = _parts()
        first, second, share = values
        trained = networks.panel(OFFERS, root, not known)
        for slider in values:
            slider.change(
                show, [scale, *values], drawn, show_progress="hidden", trigger_mode="always_last", concurrency_limit=2
            )
        opened = [line, first, second, *drawn]
        scale.input(begin, [scale, share], opened, show_progress="hidden")
        trained.change(refresh, share, [scale, *opened])
        page.load(refresh, share, [scale, *opened], show_progress="hidden")
    return page


def _parts() -> tuple[list[gr.Slider], list[gr.HTML]]:
    """The numbers of the two pictures and the share of the first; what is shown: pictures, answers, curves."""
    with gr.Row():
        first = gr.Slider(0, LAST, 0, step=1, label="First test picture")
        second = gr.Slider(0, LAST, 1, step=1, label="Second test picture")
    gr.HTML(
        f'<p class="soft">The page opens with two of the {BEST} pictures that both networks know best: the pair '
        "between which mixup gains most. Other pairs show less of it, or nothing.</p>"
    )
    share = gr.Slider(0, 1, 0.5, step=0.01, label="Share of the first picture")
    shown = gr.HTML(min_height=150)
    with gr.Row():
        with gr.Column(min_width=280):
            answers = gr.HTML(min_height=300)
        with gr.Column(min_width=300, scale=2):
            chart = gr.HTML(min_height=300)
    return [first, second, share], [shown, answers, chart]
