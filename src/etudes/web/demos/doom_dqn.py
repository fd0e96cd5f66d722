"""Episodes of Doom: those that runs kept, and fresh ones of a trained agent, action by action."""

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
SECONDS, ACTIONS = 30.0, 600  # after which an episode is given up
EVERY = 4  # tics between two pictures of a film of Doom
HEIGHT = 240  # pixels at least of a picture that is shown
OFFERS = (Offer(STUDY, "laptop", ("dqn",)),)


@dataclass(frozen=True)
class Watched:
    """An episode: before each action what the network saw, uint8 [h, w], and all values; then what the action got.

    `film` has more pictures, where the game gives them.
    """

    names: tuple[str, ...]
    seen: tuple[np.ndarray, ...]
    values: tuple[tuple[float, ...], ...]
    rewards: tuple[float, ...]
    film: tuple[np.ndarray, ...]


def play_episode(record: Record, seed: int) -> Watched:
    """A fresh episode of the run's agent, always taking the action of highest value. Raises Problem where it cannot
    be played here."""
    cfg = catalogue.find(STUDY).config(**record.spec.config)
    from etudes.studies.rl.doom_dqn import network

    begun = time.monotonic()
    with open_games(1, cfg.game, cfg.buttons) as (game,):
        model = weights.load(record.folder / WEIGHTS, network(cfg, game))
        screens = game.screens(EVERY) if hasattr(game, "screens") else None  # of Doom, finer than what the network sees
        frame, _ = game.reset(seed=seed)
        seen, values, rewards = [], [], []
        over = cut = False
        while not over and not cut and len(seen) < ACTIONS and time.monotonic() - begun < SECONDS:
            with torch.inference_mode():
                found = model(torch.from_numpy(frame[None]))[0] / cfg.reward_scale
            seen.append(frame[0].copy())
            values.append(tuple(found.tolist()))
            frame, reward, over, cut, _ = game.step(int(found.argmax()))
            rewards.append(float(reward))
        return Watched(tuple(game.actions), tuple(seen), tuple(values), tuple(rewards), tuple(screens or seen))


def film(episode: Watched) -> str:
    """The episode as an address of a GIF that moves, as fast as the game."""
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
    words = (
        f"Action {at + 1} of {len(episode.seen)}; it then got {episode.rewards[at]:g}, {_so_far(episode, at):g} in all"
    )
    return _large(episode.seen[at]), f'<p class="soft">{words}</p>{table}'


def reach(episode: Watched) -> dict[str, Any]:
    """The slider over the episode's actions; it needs two ends, even where the first action was the last."""
    count = len(episode.seen)
    return gr.update(maximum=max(2, count), value=1, interactive=count > 1)


def _so_far(episode: Watched, at: int) -> float:
    return sum(episode.rewards[: at + 1])


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
    def play(name: str, seed: float) -> tuple[Any, ...]:
        record = networks.choose(list_records(), name)
        episode = play_episode(record, int(seed))
        if not episode.seen:
            raise Problem("the game ended before the first action; take another seed")
        total = f"{len(episode.seen)} actions, rewards of {sum(episode.rewards):g} in all"
        moving = f'<div class="film">{look.strip([(film(episode), total)])}</div>'
        return episode, moving, reach(episode), *moment(episode, 0)

    @look.explain
    def turn(episode: Watched | None, at: float) -> tuple[Any, ...]:
        if episode is None:
            raise Problem("play an episode first")
        return moment(episode, int(at) - 1)

    with gr.Blocks(title="Doom, played by a network") as page:
        look.title(
            "Doom, played by a network",
            "The network sees one small grey picture and gives every action a value; the highest is taken. Watch an "
            "episode, then go through it action by action.",
        )
        model, line = networks.chooser(list_records, about, OFFERS)
        with gr.Row():
            seed = gr.Number(1, precision=0, minimum=0, maximum=2**31 - 1, label="Seed of the episode")
            start = gr.Button("Play a fresh episode", variant="primary")
        episode = gr.State(None, time_to_live=3600)
        moving = gr.HTML(min_height=200)
        at = gr.Slider(1, 2, 1, step=1, label="Action", interactive=False)
        with gr.Row():
            picture = gr.Image(label="What the network saw before it", interactive=False, buttons=[], type="pil")
            values = gr.HTML()
        start.click(play, [model, seed], [episode, moving, at, picture, values])
        at.input(turn, [episode, at], [picture, values], show_progress="hidden", trigger_mode="always_last")
        networks.renew(page, list_records, about, model, line, OFFERS, root)
    return page
