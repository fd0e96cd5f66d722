"""Games of Doom: those that runs kept, and fresh ones of a trained agent, action by action."""

import base64
import functools
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from PIL import Image

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.record import Record
from etudes.rl.games import open_games
from etudes.train import weights
from etudes.web.demos import look, networks
from etudes.web.demos.networks import Offer

STUDY, WEIGHTS = "doom-dqn", "network.safetensors"
SECONDS, ACTIONS = 30.0, 600  # after which playing is given up
ENOUGH = 8  # actions that are worth watching
EVERY = 4  # tics between two pictures of a film of Doom
HEIGHT = 240  # pixels at least of a picture that is shown
LEGENDS = {
    "grid": {255: "the agent", 120: "the goal, +10", 60: "a wall", 30: "the pit, -10", 0: "free floor"},
    "chain": {255: "the agent", 0: "free; the left end pays 1, the right end 10"},
}  # what a grey level of a made-up game is
OFFERS = (Offer(STUDY, "laptop", ("dqn",)),)


@dataclass(frozen=True)
class Watched:
    """Games in a row: before each action what the network saw, uint8 [h, w], and all values; then what the action got.

    `begins` has the first action of each game; `film` has more pictures, where the game gives them.
    """

    names: tuple[str, ...]
    begins: tuple[int, ...]
    seen: tuple[np.ndarray, ...]
    values: tuple[tuple[float, ...], ...]
    rewards: tuple[float, ...]
    film: tuple[np.ndarray, ...]

    @property
    def total(self) -> str:
        """What it came to, in words."""
        games, actions = _count(len(self.begins), "game"), _count(len(self.seen), "action")
        return f"{games}, {actions}, rewards of {sum(self.rewards):g} in all"


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}{'s' * (n != 1)}"


def play_games(record: Record, seed: int) -> Watched:
    """Fresh games of the run's agent, always taking the action of highest value: that of the seed, and those of the
    next seeds until ENOUGH actions can be watched, as a good agent may need but one. Raises Problem where it cannot be
    played here."""
    cfg = catalogue.find(STUDY).config(**record.spec.config)
    from etudes.studies.rl.doom_dqn import network

    begun = time.monotonic()
    with open_games(1, cfg.game, cfg.buttons) as (game,), torch.inference_mode():
        model = weights.load(record.folder / WEIGHTS, network(cfg, game))
        screens = game.screens(EVERY) if hasattr(game, "screens") else None  # of Doom, finer than what the network sees
        begins, seen, values, rewards = [], [], [], []
        over = True
        while (not over or len(seen) < ENOUGH) and len(seen) < ACTIONS and time.monotonic() - begun < SECONDS:
            if over:
                frame, _ = game.reset(seed=seed + len(begins))
                begins.append(len(seen))
            found = model(torch.from_numpy(frame[None]))[0] / cfg.reward_scale
            seen.append(frame[0].copy())
            values.append(tuple(found.tolist()))
            frame, reward, ended, cut, _ = game.step(int(found.argmax()))
            rewards.append(float(reward))
            over = ended or cut
        film = tuple(screens or seen)
        return Watched(tuple(game.actions), tuple(begins), tuple(seen), tuple(values), tuple(rewards), film)


def legend(game: str) -> str:
    """What is seen in the network's picture of a game, as HTML."""
    if game not in LEGENDS:
        return '<p class="soft">The screen of Doom in grey, as small as the network sees it.</p>'
    entries = "".join(
        f'<span><i style="background:rgb({grey},{grey},{grey})"></i> {words}</span>'
        for grey, words in LEGENDS[game].items()
    )
    return f'<p class="legend greys">{entries}</p>'


def film(episode: Watched) -> str:
    """The games as an address of a GIF that moves, as fast as the game."""
    frames = [_large(picture).quantize(32, dither=Image.Dither.NONE) for picture in episode.film]
    seconds = 12 / 35 * len(episode.seen) / len(episode.film)
    file = io.BytesIO()
    frames[0].save(file, "gif", save_all=True, append_images=frames[1:], duration=round(1000 * seconds), loop=0)
    return "data:image/gif;base64," + base64.b64encode(file.getvalue()).decode()


def moment(episode: Watched, at: int) -> tuple[Image.Image, str]:
    """What the network saw before action `at`, from 0, and the value of each action there, as HTML."""
    at = min(max(at, 0), len(episode.seen) - 1)
    values = episode.values[at]
    best = int(np.argmax(values))
    rows = "".join(
        f"<tr><td>{'→ ' * (i == best)}{name}</td><td class=n>{value:.1f}</td></tr>"
        for i, (name, value) in enumerate(zip(episode.names, values, strict=True))
    )
    table = f"<table class=plain><thead><tr><th>action</th><th>value</th></tr></thead><tbody>{rows}</tbody></table>"
    game = sum(begin <= at for begin in episode.begins)
    words = f"Action {at + 1} of {len(episode.seen)}, in game {game} of {len(episode.begins)}; it then got "
    words += f"{episode.rewards[at]:g}, {sum(episode.rewards[: at + 1]):g} in all"
    return _large(episode.seen[at]), f'<p class="soft">{words}</p>{table}'


def reach(episode: Watched) -> dict[str, Any]:
    """The slider over the actions; it needs two ends, even where the first action was the last."""
    count = len(episode.seen)
    return gr.update(maximum=max(2, count), value=1, interactive=count > 1)


def _large(picture: np.ndarray) -> Image.Image:
    zoom = max(1, -(-HEIGHT // picture.shape[0]))
    return Image.fromarray(picture).resize((picture.shape[1] * zoom, picture.shape[0] * zoom), Image.Resampling.NEAREST)


@functools.lru_cache(maxsize=8)
def film_address(path: Path) -> str:
    """The address of the episode that the run kept; "" without."""
    if not path.exists():
        return ""
    return "data:image/gif;base64," + base64.b64encode(path.read_bytes()).decode()


def build(root: Path) -> gr.Blocks:
    study = catalogue.find(STUDY)

    def list_records() -> dict[str, Record]:
        records = networks.find_records(study, root, WEIGHTS)
        return dict(sorted(records.items(), key=lambda named: -named[1].metrics.get("test/return", 0.0)))

    def about(name: str | None) -> str:
        record = list_records().get(name or "")
        if not record:
            return look.loading_note("No agent is trained yet: train one below; the small one plays a made-up game.")
        words = networks.describe(record, "test/return", "Mean sum of rewards over its test episodes")
        kept = film_address(record.folder / "episode.gif")
        picture = look.strip([(kept, "the episode that the run kept")]) if kept else ""
        return look.loading_note(words) + f'<div class="film">{picture}</div>'

    @look.explain
    def watch(name: str, seed: float) -> tuple[Any, ...]:
        record = networks.choose(list_records(), name)
        episode = play_games(record, int(seed))
        if not episode.seen:
            raise Problem("the game ended before the first action; take another seed")
        moving = f'<div class="film">{look.strip([(film(episode), episode.total)])}</div>'
        return episode, moving, reach(episode), *moment(episode, 0)

    def greys(name: str | None) -> str:
        record = list_records().get(name or "")
        return legend(record.spec.config["game"]) if record else ""

    @look.explain
    def turn(episode: Watched | None, at: float) -> tuple[Any, ...]:
        if episode is None:
            raise Problem("play first")
        return moment(episode, int(at) - 1)

    with gr.Blocks(title="Doom, played by a network") as page:
        look.title(
            "Doom, played by a network",
            "The network sees one small grey picture and gives every action a value, what it expects to gain; the "
            "highest is taken. Watch a few games, then go through them action by action.",
        )
        model, line = networks.chooser(list_records, about, OFFERS)
        with gr.Row():
            seed = gr.Number(1, precision=0, minimum=0, maximum=2**31 - 1, label="Seed of the first game")
            start = gr.Button("Play fresh games", variant="primary")
        episode = gr.State(None, time_to_live=3600)
        moving = gr.HTML(min_height=200)
        at = gr.Slider(1, 2, 1, step=1, label="Action", interactive=False)
        with gr.Row():
            with gr.Column(min_width=280):
                picture = gr.Image(label="What the network saw before it", interactive=False, buttons=[], type="pil")
                shades = gr.HTML()
            with gr.Column(min_width=280):
                values = gr.HTML()
        start.click(watch, [model, seed], [episode, moving, at, picture, values])
        at.input(turn, [episode, at], [picture, values], show_progress="hidden", trigger_mode="always_last")
        gr.on([page.load, model.change], greys, model, shades, show_progress="hidden")
        networks.renew(page, list_records, about, model, line, OFFERS, root)
    return page
