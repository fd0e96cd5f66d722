"""Doom by ViZDoom, through gymnasium and without a window."""

import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
import vizdoom
from torch.nn import functional
from vizdoom.gymnasium_wrapper.base_gymnasium_env import VizdoomEnv

from etudes.rl import guard

ENGINE = Path(vizdoom.__file__).parent / "vizdoom"
SHAPE = (1, 30, 45)  # of a frame: the screen in grey, made small


class Doom(gymnasium.Env):
    """A scenario of ViZDoom: small grey frames uint8 [1, 30, 45] of the player's view.

    An action presses up to `buttons` buttons at once for `repeat` tics of 1/35 s; its reward is the sum of theirs.

    `over` and `cut` are told apart by counting the actions here, with the game's own clock switched off: when that
    stops a game there is no last frame, and the value of what would follow could not be asked for. After an end there
    is no frame either; the one returned is black, and nothing may be learnt from it.

    The same seed and actions give the same frames, whatever was played before. A started game is a process of its own,
    which writes into a folder of its own; `close` ends both, and so does the end of this process, even by SIGKILL.
    """

    def __init__(self, scenario: str, buttons: int = 1, repeat: int = 12) -> None:
        config = Path(vizdoom.scenarios_path) / f"{scenario}.cfg"
        plain = vizdoom.DoomGame()
        plain.load_config(str(config))
        self.repeat, self.limit = repeat, -(-plain.get_episode_timeout() // repeat)
        options = {"screen_resolution": "RES_160X120", "screen_format": "GRAY8", "episode_timeout": 0}
        self.env = VizdoomEnv(str(config), frame_skip=repeat, max_buttons_pressed=buttons, **options)
        self.env.game.set_render_hud(False)
        names = [button.name.lower().replace("_", " ") for button in self.env.game.get_available_buttons()]
        self.actions: Sequence[str] = tuple(
            " + ".join(name for name, on in zip(names, pressed, strict=True) if on) or "nothing"
            for pressed in self.env.button_map
        )
        self.shape = SHAPE
        self.action_space = gymnasium.spaces.Discrete(len(self.actions))
        self.observation_space = gymnasium.spaces.Box(0, 255, SHAPE, np.uint8)
        self.litter: tempfile.TemporaryDirectory[str] | None = None
        self.time, self.film = 0, list[np.ndarray]()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.time = 0
        if not self.env.game.is_running():
            self._prepare()
        seen, _ = self.env.reset(seed=seed)
        return self._frame(seen), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward, over, tics = 0.0, False, 0
        while not over and tics < self.repeat:
            seen, gained, over, _, _ = self.env.step(np.int64(action))
            reward, tics = reward + gained, tics + self.env.frame_skip
            if self.env.frame_skip < self.repeat and not over:
                self.film.append(seen["screen"][..., 0])
        self.time += 1
        return self._frame(seen), float(reward), over, not over and self.time >= self.limit, {}

    def screens(self, tics: int) -> list[np.ndarray]:
        """The list that from now on gets the screen, uint8 [h, w], every so many tics (`repeat`: no more)."""
        self.env.frame_skip, self.film = tics, []
        return self.film

    def close(self) -> None:
        self.env.close()
        if self.litter:
            self.litter.cleanup()

    def _prepare(self) -> None:
        """Make the folder of a game that is about to start, and let a guard start its engine there."""
        self.close()
        self.litter = tempfile.TemporaryDirectory(prefix="etudes-doom-")
        folder = Path(self.litter.name)
        self.env.game.set_doom_config_path(str(folder / "doom.ini"))
        if os.name == "posix":
            command = [sys.executable, "-IS", guard.__file__, str(os.getpid()), folder, ENGINE]
            start = folder / "start"  # ViZDoom asks for a single file
            start.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, command))} "$@"\n')
            start.chmod(0o700)
            self.env.game.set_vizdoom_path(str(start))

    def _frame(self, seen: dict[str, np.ndarray]) -> np.ndarray:
        x = torch.from_numpy(seen["screen"]).permute(2, 0, 1)[None]
        return functional.interpolate(x, size=SHAPE[1:], mode="bilinear", antialias=True)[0].numpy()
