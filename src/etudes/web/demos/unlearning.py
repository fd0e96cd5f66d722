"""What unlearning left of a digit: the test digits where a network's features put them, and what it answers to each."""

import functools
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from etudes.core import Run, catalogue
from etudes.core.errors import unknown
from etudes.core.record import Record, read
from etudes.measure.probe import fit_probe
from etudes.studies.adapt.unlearning import Config
from etudes.studies.adapt.unlearning.examples import read as read_examples
from etudes.studies.adapt.unlearning.findings import outputs, probabilities
from etudes.studies.adapt.unlearning.networks import network
from etudes.train import weights
from etudes.web.demos import look, networks, pictures
from etudes.web.demos.networks import Offer

STUDY = "unlearning"
VARIANTS = ("original", "dropped", "salun", "scrub", "redraw", "retrained")
OFFERS = (Offer(STUDY, "laptop", VARIANTS),)
Family = dict[str, Record]
SIDE = 500  # of the map, in its own units
PICK = """element.addEventListener("click", (event) => {  // the point that is nearest, which a finger may miss
  let best = 30, number = -1;
  for (const point of element.querySelectorAll("[data-n]")) {
    const { x, y, width, height } = point.getBoundingClientRect();
    const far = Math.hypot(x + width / 2 - event.clientX, y + height / 2 - event.clientY);
    if (far < best) [best, number] = [far, Number(point.dataset.n)];
  }
  if (number >= 0) trigger("click", { number });
});"""


@dataclass(frozen=True, eq=False)
class Answers:
    """The test digits [n, c, h, w], those to forget first, then those to learn; their classes y [n]; a network's
    probabilities [n, classes] of them, a probe's scores [n] for the class to forget, and their places [n, 2]."""

    x: Tensor
    y: Tensor
    odds: Tensor
    scores: Tensor
    places: Tensor
    cfg: Config


@functools.lru_cache(maxsize=32)
def answers(folder: Path) -> Answers:
    """What the network of a run's folder makes of the test digits; its places are those of the study's own map."""
    record = read(folder)
    cfg = catalogue.find(STUDY).config(**record.spec.config)
    run = Run(record.spec, folder, leader=False)  # draws what the run drew: the digits that were held out
    d = read_examples(cfg, run)
    model = weights.load(folder / networks.WEIGHTS, network(cfg, d).to(run.device))
    held, test = (outputs(model[:-1], x).double().cpu() for x in (d.held_x, d.test_x))
    y, probe = d.test_y.cpu(), fit_probe(held, d.held_y.cpu() == cfg.forgets)
    direction, flat = probe.weights[:-1] / probe.weights[:-1].norm().clamp_min(1e-12), (test - probe.mean) / probe.std
    flat = flat - (flat @ direction)[:, None] * direction
    up = flat @ torch.linalg.svd(flat[y != cfg.forgets], full_matrices=False).Vh[0]
    scores, odds = probe.scores(test), probabilities(model, d.test_x, cfg.forgets if cfg.dropped else None).cpu()
    places = torch.stack([scores / 2.5, up / up.abs().max().clamp_min(1e-12)], 1).clamp(-0.98, 0.98)
    order = ((y != cfg.forgets).long() + ((y != cfg.forgets) & (y != cfg.learns)).long()).argsort(stable=True)
    return Answers(d.test_x.cpu()[order], y[order], odds[order], scores[order], places[order], cfg)


def families(root: Path) -> dict[str, Family]:
    """{scale, or that they come along: {variant: a run}}, in the study's order."""
    study, found = catalogue.find(STUDY), dict[str, Family]()
    for record in networks.find_records(study, root).values():
        found.setdefault(networks.origin(record), {})[record.spec.variant] = record
    return {at: {v.name: family[v.name] for v in study.variants if v.name in family} for at, family in found.items()}


def first_family(known: dict[str, Family]) -> str | None:
    return networks.first_choice({name: next(iter(family.values())) for name, family in known.items()}, OFFERS)


def draw_map(seen: Answers, chosen: int) -> str:
    """The test digits as points of an SVG, the chosen one with a ring around it, and what the map says in words."""
    old, new = seen.cfg.forgets, seen.cfg.learns
    kinds = {old: (look.ORANGE, 6), new: (look.GREEN, 5)}
    across, down = (((1 + sign * seen.places[:, i]) / 2 * SIDE).tolist() for i, sign in ((0, 1), (1, -1)))
    at, points = [f'cx="{x:.1f}" cy="{y:.1f}"' for x, y in zip(across, down, strict=True)], []
    for n in reversed(range(len(seen.y))):  # those to forget on top
        colour, size = kinds.get(int(seen.y[n]), (look.BLUE, 4))
        points.append(f'<circle data-n="{n}" {at[n]} r="{size}" fill="{colour}" fill-opacity=".7"/>')
    ring = f'<circle {at[chosen]} r="12" fill="none" stroke-width="3"/>'
    is_old, says, named = seen.y == old, seen.scores > 0, seen.odds.argmax(1) == old
    words = (
        f"Of {int(is_old.sum())} test digits that are a {old} the network names {int((is_old & named).sum())}. From "
        f"its features a probe finds {int((is_old & says).sum())} of them; of {int((~is_old).sum())} others it takes "
        f"{int((~is_old & says).sum())} for a {old}."
    )
    named_kinds = {look.ORANGE: f"{old}, to forget", look.GREEN: f"{new}, to learn", look.BLUE: "others"}
    legend = "".join(f'<span><i style="background:{colour}"></i> {name}</span>' for colour, name in named_kinds.items())
    return (
        f'<p class="legend greys">{legend}</p><svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="{words}" '
        'style="width:100%;max-width:32rem;border:1px solid var(--rule);cursor:pointer;touch-action:manipulation">'
        f'<rect x="{SIDE / 2}" width="{SIDE / 2}" height="{SIDE}" fill="currentColor" fill-opacity=".09"/>'
        f'{"".join(points)}<g stroke="currentColor">{ring}</g></svg><p>{words}</p>'
    )


def draw_digit(seen: Answers, number: int) -> str:
    """The digit as a picture, and the network's odds of all classes as bars."""
    x = seen.x[number] / seen.x[number].max().clamp_min(1e-9)
    picture = look.strip([(pictures.address(x, max(1, 128 // x.shape[-1])), f"a {int(seen.y[number])}")])
    odds = {str(k): odd for k, odd in enumerate(seen.odds[number].tolist())}
    return picture + look.bars(odds, "What the network answers")


def draw_table(family: Family, number: int) -> str:
    """What each network of the family answers to a digit, and whether its features give the digit away."""
    rows = []
    for name, record in family.items():
        seen = answers(record.folder)
        sure, says = seen.odds[number].max(0)
        probe = "yes" if seen.scores[number] > 0 else "no"
        rows.append((escape(name), f"{says} ({sure:.0%})", f"{seen.odds[number, seen.cfg.forgets]:.0%}", probe))
    heads = ("network", "answers", f"odds of {seen.cfg.forgets}", f"probe says {seen.cfg.forgets}")
    head = "".join(f'<th scope="col">{word}</th>' for word in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    table = f'<table class="plain"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<p class="soft">The same digit, given to all of them</p>{table}'


def build(root: Path) -> gr.Blocks:
    says = {variant.name: variant.says for variant in catalogue.find(STUDY).variants}

    @look.explain
    def show(origin: str | None, variant: str | None, number: float) -> tuple[str, ...]:
        known = families(root)
        if not known:
            return look.loading_note("No network is trained yet: train them below; it takes a minute."), "", "", ""
        if origin not in known or variant not in known[origin]:
            raise unknown("network", f"{origin}: {variant}", [f"{o}: {v}" for o, f in known.items() for v in f])
        record, seen = known[origin][variant], answers(known[origin][variant].folder)
        n = min(max(int(number), 0), len(seen.y) - 1)
        line = look.loading_note(f"{variant}: {says[variant]}. {networks.describe(record, '', '')}")
        return line, draw_map(seen, n), draw_digit(seen, n), draw_table(known[origin], n)

    def pick(event: gr.EventData) -> int:
        return int(event.number)

    @look.explain
    def select(origin: str | None, variant: str | None) -> tuple[Any, Any]:
        family = families(root).get(origin or "", {})
        chosen = variant if variant in family else next(iter(family), None)
        last = len(answers(family[chosen].folder).y) - 1 if chosen else 1
        return gr.update(choices=list(family), value=chosen), gr.update(maximum=last, value=0)

    @look.explain
    def refresh(variant: str | None) -> tuple[Any, ...]:
        known = families(root)
        first = first_family(known)
        return gr.update(choices=list(known), value=first), *select(first, variant)

    known = families(root)
    with gr.Blocks(title="What unlearning leaves") as page:
        look.title(
            "What unlearning leaves",
            "A network is made to forget 6 and to learn 3. It no longer says 6; do its features still tell sixes from "
            "other digits? The network called retrained has never seen a 6: forgetting should come to that.",
        )
        origin = gr.Dropdown(list(known), value=first_family(known), label="Networks")
        variant = gr.Radio(list(VARIANTS), value=VARIANTS[0], label="Which of them")
        line, number, drawn = _parts()
        trained = networks.panel(OFFERS, root, not known)
        values, quiet = [origin, variant, number], {"show_progress": "hidden"}
        drawn[0].click(pick, None, number, queue=False, **quiet)
        for part in (variant, number):
            part.change(show, values, [line, *drawn], trigger_mode="always_last", concurrency_limit=2, **quiet)
        origin.input(select, [origin, variant], [variant, number], **quiet).then(show, values, [line, *drawn], **quiet)
        for event in (trained.change, page.load):
            event(refresh, variant, values, **quiet).then(show, values, [line, *drawn], **quiet)
    return page


def _parts() -> tuple[gr.HTML, gr.Slider, list[gr.HTML]]:
    """The line about the network, the number of a digit, and what is drawn: the map, the digit and the table."""
    line, number = gr.HTML(), gr.Slider(0, 1, 0, step=1, label="Test digit: the sixes, the threes, then all others")
    with gr.Row():
        with gr.Column(min_width=300, scale=3):
            places = gr.HTML(min_height=400, js_on_load=PICK)
            gr.HTML(
                '<p class="soft">Each point is a test digit; touch one to see it. Across: how much a linear probe, '
                "fitted to the features of other digits, takes it for a 6; in the shaded half it says so. Up: the "
                "direction in which the features of the others vary most.</p>"
            )
        with gr.Column(min_width=280, scale=2):
            digit = gr.HTML(min_height=400)
    return line, number, [places, digit, gr.HTML(min_height=200)]
