"""Made-up birds, each with a drawn picture and a caption, of which it is known how well any reader of them can do.

A kind is a colour of the body (4), a song (2) and a crown (2): sixteen kinds. The picture shows the body's colour,
except where leaves hide it, and whether the crown is dark or pale. The caption tells the song and the season, and the
colour where leaves hide it. In winter the crowns of all kinds turn: dark ones are pale, pale ones are dark. So the
crown of a kind is told by picture and caption together, and by neither alone.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from fractions import Fraction
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

COLOURS = {"red": (200, 40, 40), "blue": (50, 70, 200), "green": (60, 150, 50), "yellow": (220, 200, 40)}
SONGS = (("trills", "warbles", "chatters"), ("whistles", "pipes", "flutes"))
SEASONS = (("summer", "june", "july"), ("winter", "january", "snow"))
PLACES = ("by the lake", "on a branch", "near the farm", "in the evening", "at dawn", "over the hills")
HIDDEN, WINTER = Fraction(1, 4), Fraction(1, 4)  # shares of birds behind leaves, and of those seen in winter
SIDE = 16  # pixels


class Bird(NamedTuple):
    body: int  # of COLOURS
    song: int  # of SONGS
    crown: int  # in summer: 0 pale, 1 dark
    winter: int  # 1: seen in winter
    hidden: int  # 1: behind leaves

    @property
    def kind(self) -> int:
        """0 to 15."""
        return 4 * self.body + 2 * self.song + self.crown

    def look(self) -> Hashable:
        """All that the picture tells: the body's colour, unless hidden, and the crown as it is drawn."""
        return None if self.hidden else self.body, self.crown ^ self.winter

    def listen(self) -> Hashable:
        """All that the caption tells: song, season, and the colour of a hidden body."""
        return self.song, self.winter, self.body if self.hidden else None


KINDS = 16
Read = Callable[[Bird], Hashable]


def all_birds() -> Iterator[tuple[Bird, Fraction]]:
    """Every bird that there can be, with its probability: kinds are equally likely."""
    for body, song, crown, winter, hidden in product(range(4), range(2), range(2), range(2), range(2)):
        chance = Fraction(1, KINDS) * (WINTER if winter else 1 - WINTER) * (HIDDEN if hidden else 1 - HIDDEN)
        yield Bird(body, song, crown, winter, hidden), chance


def bayes_accuracy(*reads: Read) -> Fraction:
    """The accuracy of who knows, for all that the `reads` of a bird give together, how likely each kind is, and names
    the likeliest: the sum over all readings r of max_k p(k, r). Nobody is right more often."""
    joint: dict[Hashable, list[Fraction]] = defaultdict(lambda: [Fraction(0)] * KINDS)
    for bird, chance in all_birds():
        joint[tuple(read(bird) for read in reads)][bird.kind] += chance
    return sum((max(row) for row in joint.values()), Fraction(0))


def late_accuracy(*reads: Read) -> Fraction:
    """The accuracy of who knows p(k | r) for each reading r by itself, multiplies them over the readings, and names
    the likeliest kind; of several that are likeliest, any by chance. It is the limit of late fusion here, where all
    kinds are equally likely."""
    alone: list[dict[Hashable, list[Fraction]]] = []
    for read in reads:
        rows: dict[Hashable, list[Fraction]] = defaultdict(lambda: [Fraction(0)] * KINDS)
        for bird, chance in all_birds():
            rows[read(bird)][bird.kind] += chance
        alone.append(rows)
    right = Fraction(0)
    for bird, chance in all_birds():
        scores = [prod(rows[read(bird)][k] for rows, read in zip(alone, reads, strict=True)) for k in range(KINDS)]
        if scores[bird.kind] == max(scores):
            right += chance / scores.count(max(scores))
    return right


LIMITS = {  # shares of birds that can be named right
    "picture": bayes_accuracy(Bird.look),
    "caption": bayes_accuracy(Bird.listen),
    "late": late_accuracy(Bird.look, Bird.listen),
    "both": bayes_accuracy(Bird.look, Bird.listen),
}


def draw_birds(n: int, rng: np.random.Generator) -> list[Bird]:
    """Birds [n] by these probabilities."""
    columns = [rng.integers(4, size=n), rng.integers(2, size=n), rng.integers(2, size=n)]
    columns += [rng.random(n) < float(WINTER), rng.random(n) < float(HIDDEN)]
    return [Bird(*map(int, row)) for row in zip(*columns, strict=True)]


def draw_pictures(birds: list[Bird], rng: np.random.Generator) -> Tensor:
    """uint8 [n, 3, 16, 16]: a body with a head, whose upper half is the crown, on a shaded ground, with noise."""
    n = len(birds)
    across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    x, y = (grid - rng.uniform(-1.5, 1.5, (n, 1, 1)) for grid in (across, down))
    ground = rng.uniform(120, 200, (n, 1, 1, 3)) + 2.0 * (down - SIDE / 2)[None, :, :, None] * rng.uniform(-1, 1)
    picture = np.broadcast_to(ground, (n, SIDE, SIDE, 3)).copy()
    body = ((x - 7) / 4.7) ** 2 + ((y - 10) / 3) ** 2 < 1
    head = ((x - 11) / 2.5) ** 2 + ((y - 5) / 2.5) ** 2 < 1
    hidden, dark = np.array([b.hidden for b in birds], bool), np.array([b.crown ^ b.winter for b in birds], bool)
    paint = np.array([*COLOURS.values()])[[b.body for b in birds]] + rng.normal(0, 15, (n, 3))
    leaves = np.array([30, 60, 30]) + rng.normal(0, 15, (n, 3))
    crown = np.where(dark, 25, 235)[:, None] + rng.normal(0, 10, (n, 3))
    for mask, shade in (
        (body, np.where(hidden[:, None], leaves, paint)),
        (head, np.full((n, 3), 130.0)),
        (head & (y < 5), crown),
    ):
        picture = np.where(mask[..., None], shade[:, None, None], picture)
    picture += rng.normal(0, 12, picture.shape)
    return torch.from_numpy(picture.clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2).contiguous()


def write_caption(bird: Bird, rng: np.random.Generator) -> str:
    """What is said of a bird, in one of many ways, with words that tell nothing."""
    colour = f"a {[*COLOURS][bird.body]} bird behind leaves" if bird.hidden else "a bird"
    song, season = (rng.choice(said) for said in (SONGS[bird.song], SEASONS[bird.winter]))
    return f"{colour} that {song} in {season} {rng.choice(PLACES)}"
