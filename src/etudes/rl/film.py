"""An episode to be looked at."""

from collections.abc import Sequence

import numpy as np

from etudes.rl.games import Game, Policy

EVERY, TICS = 4, 35  # tics between two pictures of Doom, and in a second
PACE = 1000 * EVERY // TICS  # milliseconds from one picture to the next
MOST = 20  # pictures of a film
LARGER = 16  # pixels for one of a frame of a small game


def record(game: Game, seeds: Sequence[int], policy: Policy) -> list[np.ndarray]:
    """What is seen in one episode of the policy after another, uint8 [h, w] each, until there are enough pictures.

    Of Doom the screen at every fourth tic; of other games the frames that the policy sees, one for each action.
    """
    tics, seen = getattr(game, "repeat", 0), []
    film = game.screens(EVERY) if tics else None
    for seed in seeds:
        frame, _ = game.reset(seed=seed)
        over = cut = False
        while not over and not cut and len(seen if film is None else film) < MOST:
            if film is None:
                seen.append(frame[0].repeat(LARGER, 0).repeat(LARGER, 1))
            (action,) = policy(frame[None])
            frame, _, over, cut, _ = game.step(int(action))
    if tics:
        game.screens(tics)
    return (seen if film is None else list(film))[:MOST]
