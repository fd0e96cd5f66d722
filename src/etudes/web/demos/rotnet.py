"""A picture's nearest neighbours in what networks of rotnet learnt, and by its pixels; also when it is turned."""

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from torch import Tensor
from torch.nn import functional

from etudes.core import catalogue
from etudes.core.errors import Problem, unknown
from etudes.core.record import Record, read
from etudes.data.images import unit
from etudes.studies.labels.rotnet.idea import turn
from etudes.studies.labels.rotnet.layers import block_features
from etudes.studies.labels.rotnet.training import BLOCKS, pretext_network
from etudes.train import weights
from etudes.web.demos import KEEP, look, networks, pictures, ship
from etudes.web.demos.networks import Offer
from etudes.web.demos.rotnet_networks import (
    ASKED,
    HELD_OUT,
    PRETEXTS,
    STUDY,
    SUPERVISED,
    Siblings,
    configs,
    file_of,
    read_siblings,
    siblings,
    supervised_network,
)

OFFERS = (Offer(STUDY, "laptop", PRETEXTS),)
PIXELS = "pixels"
LEARNT = {
    STUDY: "four turns",
    "simclr": "views alike (SimCLR)",
    SUPERVISED: "classes",
    "random": "nothing (first weights)",
}
TURNS = ("upright", "90°", "180°", "270°")
FEWEST, MOST, FIRST = 2, 16, 8  # neighbours
NONE = "No network is trained yet: train three below; it takes a minute."


@functools.lru_cache(maxsize=2)
def _load(folder: Path, names: tuple[str, ...]) -> Siblings:
    record = read(folder)
    held = ship.excerpt(HELD_OUT, folder)
    if held is None:
        return read_siblings(siblings(record))
    cfg = catalogue.find(STUDY).config(**record.spec.config)
    d = pictures.pictures(cfg.dataset, cfg.side)
    models = {name: pretext_network(own, d) for name, own in configs(cfg).items()}
    models[SUPERVISED] = supervised_network(cfg, d)
    models = {name: weights.load(folder / file_of(name), models[name]) for name in LEARNT}
    return Siblings(models, held.x, held.y, d.test_x[:ASKED], d.test_y[:ASKED], d.labels)


def load(record: Record) -> Siblings:
    """The networks and pictures of a run of `rotnet`, shipped or one's own. Raises Problem where the pictures cannot
    be had."""
    return _load(record.folder, tuple(siblings(record)))  # anew when another of them has been trained


def families(root: Path) -> dict[str, Record]:
    """{its name: a run} of `rotnet`, beside which its siblings lie."""
    found = networks.find_records(catalogue.find(STUDY), root, "result.json")
    return {name: record for name, record in found.items() if record.spec.variant == STUDY}


def vectors(s: Siblings, name: str, x: Tensor) -> list[Tensor]:
    """What each block of the network `name` makes of pictures x: [n, c, h, w], as in the study, of length 1: [n, d].
    By "pixels" each block is the pictures themselves."""
    found = [unit(x).flatten(1)] * BLOCKS if name == PIXELS else block_features(s.models[name], x)
    return [functional.normalize(block, dim=1) for block in found]


@functools.lru_cache(maxsize=16)
def _known(s: Siblings, name: str) -> list[Tensor]:
    return vectors(s, name, s.x)


@functools.lru_cache(maxsize=64)
def _tested(s: Siblings, name: str, turned: int) -> list[Tensor]:
    """`vectors` of the test pictures, turned by so many quarters."""
    return vectors(s, name, turn(s.test_x, 2 * turned))


def nearest(known: Tensor, asked: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(cosines [n, k], rows int64 [n, k]) of the k of known: [m, d] nearest to each of asked: [n, d], nearest first;
    all of length 1."""
    cosines, rows = (asked @ known.T).topk(k, 1)
    return cosines, rows


def count_shared(rows: Tensor, others: Tensor) -> Tensor:
    """How many of each picture's neighbours, int64 [n, k], are among the others, int64 [n, k]: [n]."""
    return (rows[:, :, None] == others[:, None, :]).any(2).sum(1)


@functools.lru_cache(maxsize=256)
def usual(s: Siblings, name: str, block: int, turned: int, k: int) -> tuple[float, float]:
    """Means over the test pictures, turned by so many quarters: how many of the k neighbours are of the picture's
    class, and how many are neighbours of the upright picture too."""
    known = _known(s, name)[block]
    rows, upright = (nearest(known, _tested(s, name, y)[block], k)[1] for y in (turned, 0))
    same = (s.y[rows] == s.test_y[:, None]).sum(1)
    return same.double().mean().item(), count_shared(rows, upright).double().mean().item()


def turn_odds(s: Siblings, x: Tensor) -> dict[str, float]:
    """The odds of each turn that the network of four turns gives to a picture [1, c, h, w]."""
    with torch.inference_mode():
        odds = s.models[STUDY](unit(x))[0].float().softmax(-1)
    return dict(zip(TURNS, odds.tolist(), strict=True))


@dataclass(frozen=True)
class Near:
    """The nearest pictures in some features: their cosines and rows, whether each is near the upright picture too; and
    the cosine of the picture as it was turned and as it is upright."""

    cosines: list[float]
    rows: list[int]
    stay: list[bool]
    alike: float


@dataclass(frozen=True, eq=False)
class Answer:
    """A picture [1, c, h, w] as it was turned, by so many quarters, of class y, None where that is unknown; and its k
    neighbours in a block, counted from 0, of each network, and by pixels."""

    s: Siblings
    x: Tensor
    y: int | None
    block: int
    turned: int
    k: int
    found: Mapping[str, Near]

    def same(self, name: str) -> int:
        """How many of the neighbours are of the picture's class."""
        return sum(int(self.s.y[row]) == self.y for row in self.found[name].rows)

    def stay(self, name: str) -> int:
        """How many of the neighbours are among those of the upright picture."""
        return sum(self.found[name].stay)


def answer(s: Siblings, x: Tensor, y: int | None, block: int, turned: int, k: int) -> Answer:
    """The neighbours of an upright picture x: [1, c, h, w] that is turned. Raises Problem on choices that are none."""
    if block not in range(BLOCKS) or turned not in range(len(TURNS)) or k not in range(FEWEST, MOST + 1):
        raise Problem(
            f"take one of {BLOCKS} blocks, one of {len(TURNS)} turns, and {FEWEST} to {MOST} neighbours, not others"
        )
    seen, k = turn(x, 2 * turned), min(k, len(s.y))
    found: dict[str, Near] = {}
    for name in (*LEARNT, PIXELS):
        if name in s.models or name == PIXELS:
            both = vectors(s, name, torch.cat([seen, x]))[block]
            cosines, rows = nearest(_known(s, name)[block], both, k)
            stay = torch.isin(rows[0], rows[1]).tolist()
            found[name] = Near(cosines[0].tolist(), rows[0].tolist(), stay, (both[0] @ both[1]).item())
    return Answer(s, seen, y, block, turned, k, found)


def draw_picture(a: Answer) -> str:
    """The picture as it was turned, and the odds of its turn."""
    zoom = max(1, 140 // a.x.shape[-1])
    shown = look.strip([(pictures.address(unit(a.x)[0], zoom), f"the picture, {TURNS[a.turned]}")])
    return shown + look.bars(turn_odds(a.s, a.x), "How far it is turned, as the network of four turns tells it")


def draw_neighbours(a: Answer, name: str, shows: bool) -> str:
    """The neighbours as pictures, each with its cosine and, if `shows`, its class; and whether it stays when turned."""
    zoom, drawn = max(1, 112 // a.x.shape[-1]), []
    near = a.found[name]
    for cosine, row, stays in zip(near.cosines, near.rows, near.stay, strict=True):
        words = [f"{cosine:.3f}", *([a.s.labels[int(a.s.y[row])]] * shows), *(["stays"] * (stays and a.turned > 0))]
        drawn.append((pictures.address(unit(a.s.x[row][None])[0], zoom), ", ".join(words)))
    where = "by pixels alone" if name == PIXELS else f"in block {a.block + 1} of a network that learnt {LEARNT[name]}"
    return (
        f'<p class="soft">The {a.k} nearest {where}, with their cosines</p><div class="near">{look.strip(drawn)}</div>'
    )


def finding(a: Answer, name: str, shows: bool) -> str:
    """What is seen, in a sentence or two."""
    words = "Of what class is each? Guess, then let the classes be shown."
    if shows:
        words = _kinds(a, name) if a.y is None else _same(a, name)
    if a.turned:
        words += f" Of the {a.k} neighbours of the upright picture {a.stay(name)} stay; by pixels {a.stay(PIXELS)}."
    return words


def _same(a: Answer, name: str) -> str:
    assert a.y is not None
    return f"{a.same(name)} of {a.k} are of the picture's class, {a.s.labels[a.y]}; by pixels {a.same(PIXELS)}."


def _kinds(a: Answer, name: str) -> str:
    counts = torch.bincount(a.s.y[a.found[name].rows], minlength=len(a.s.labels)).tolist()
    order = sorted(range(len(counts)), key=lambda i: -counts[i])
    return f"The neighbours' classes: {', '.join(f'{a.s.labels[i]} {counts[i]}' for i in order if counts[i])}."


def draw_table(a: Answer, shows: bool) -> str:
    """What all networks find for this picture, and on average over the test pictures."""
    heads, rows = ["learnt", "of its class"], []
    says = f"Of {a.k} neighbours in block {a.block + 1}; in brackets the average over {len(a.s.test_y)} test pictures"
    if a.turned:
        heads += ["stay", "cosine to upright"]
        says += ", turned alike"
    for name, near in a.found.items():
        same, stay = usual(a.s, name, a.block, a.turned, a.k)
        count = "" if a.y is None else f"{a.same(name)} " if shows else "? "
        rows.append([LEARNT.get(name, "by pixels alone"), f"{count}({same:.1f})"])
        if a.turned:
            rows[-1] += [f"{a.stay(name)} ({stay:.1f})", f"{near.alike:.3f}"]
    head = "".join(f'<th scope="col">{escape(word)}</th>' for word in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
    return (
        f'<p class="soft">{escape(says)}</p><div class="scroll whole" tabindex="0" role="region" '
        f'aria-label="{escape(says)}"><table class="plain counts"><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
        "</table></div>"
    )


def picture_of(s: Siblings, number: float, path: str | None, negative: bool) -> tuple[Tensor, int | None]:
    """(picture [1, c, h, w], its class): a test picture, or an uploaded one, of no class, as it is or as its negative.
    Raises Problem on a file that is no picture."""
    if path is None:
        row = int(number) % len(s.test_y)
        return s.test_x[row][None], int(s.test_y[row])
    x = pictures.square(pictures.open_picture(path), s.x.shape[-1], s.x.shape[1])
    return (1 - x if negative else x), None


def build(root: Path) -> gr.Blocks:
    def list_records() -> dict[str, Record]:
        return families(root)

    def about(name: str | None) -> str:
        record = list_records().get(name or "")
        if not record:
            return look.loading_note(NONE)
        return look.loading_note(networks.describe(record, "test/turn-error", "Error in telling the turn, as a share"))

    @look.explain
    def show(chosen: str | None, learnt: str, *values: Any) -> tuple[str, str]:
        if not chosen:  # nothing is trained yet, as the line above says
            return "", ""
        block, turned, k, shows, number, path, negative = values
        s = load(networks.choose(list_records(), chosen))
        if learnt not in s.models:
            raise unknown("network that learnt", str(learnt), s.models)
        if turned not in TURNS:
            raise unknown("turn", str(turned), TURNS)
        a = answer(s, *picture_of(s, number, path, negative), block, TURNS.index(turned), int(k))
        near = draw_neighbours(a, learnt, shows) + draw_neighbours(a, PIXELS, shows)
        return draw_picture(a), f'<p role="status">{escape(finding(a, learnt, shows))}</p>{near}{draw_table(a, shows)}'

    @look.explain
    def select(chosen: str | None, learnt: str) -> Any:
        records = list_records()
        known = load(records[chosen]).models if chosen in records else LEARNT
        info = None if SUPERVISED in known else "Of classes there is none: the study keeps no such network."
        return gr.update(choices=_choices(known), value=learnt if learnt in known else STUDY, info=info)

    with gr.Blocks(title="Neighbours of a picture", delete_cache=KEEP) as page:
        look.title(
            "Neighbours of a picture",
            "Networks that learnt to tell how far a picture is turned, or what it shows, or nothing: which other "
            "pictures does each take for its like? And does that last when the picture is turned?",
        )
        model, line = networks.chooser(list_records, about, OFFERS)
        values, drawn = _parts()
        learnt, _, _, _, _, number, file, _ = values
        asked, quiet = [model, *values], {"show_progress": "hidden"}
        how = {**quiet, "trigger_mode": "always_last", "concurrency_limit": 2}
        changes = [part.change if isinstance(part, gr.File | gr.Slider) else part.input for part in values]
        gr.on(changes, show, asked, drawn, **how)
        number.input(lambda: None, None, file, **quiet)  # a test picture takes the place of the uploaded one
        gr.on([page.load, model.change], select, [model, learnt], learnt, **quiet).then(show, asked, drawn, **how)
        networks.renew(page, list_records, about, model, line, OFFERS, root)
    return page


def _choices(known: Collection[str]) -> list[tuple[str, str]]:
    return [(words, name) for name, words in LEARNT.items() if name in known]


def _parts() -> tuple[list[Any], list[gr.HTML]]:
    """What is asked, as `show` takes it, and what is drawn: the picture with its turn, and its neighbours."""
    with gr.Row():
        with gr.Column(min_width=300):
            number = gr.Slider(0, ASKED - 1, 0, step=1, label="Test picture")
            turned = gr.Radio(TURNS, value=TURNS[0], label="Turned counter-clockwise")
            learnt = gr.Radio(_choices(LEARNT), value=STUDY, label="The network learnt")
            block = gr.Radio(_blocks(), value=1, label="Block of it")
            k = gr.Slider(FEWEST, MOST, FIRST, step=1, label="Neighbours")
            shows = gr.Checkbox(label="Show the classes")
        with gr.Column(min_width=300):
            picture = gr.HTML(min_height=330)
            with gr.Accordion("Or a picture of yours", open=False):
                file = pictures.upload_field("A picture", "; its middle is taken, as small as the test pictures.")
                negative = gr.Checkbox(label="As a negative: where a dark thing is on a light ground")
    near = gr.HTML(min_height=500)
    return [learnt, block, turned, k, shows, number, file, negative], [picture, near]


def _blocks() -> list[tuple[str, int]]:
    ends = {0: " (first)", BLOCKS - 1: " (last)"}
    return [(f"{block + 1}{ends.get(block, '')}", block) for block in range(BLOCKS)]
