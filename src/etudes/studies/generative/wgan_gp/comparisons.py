"""What the claims compare, of the numbers of one seed."""

import math

from etudes.core import Claim, Trial, above, below

AGREEMENT, FRECHET, LOSS_TRACKS = "test/agreement", "test/frechet", "Arjovsky et al. 2017, sec. 4.2"
KINDS = ("norm", "plain", "mlp", "tanh")  # architectures of pictures


def nearer(a: str, b: str, where: str, of: str = "test/distance") -> Claim:
    """The claim that a distance is lower under variant `a` than under `b`: their ratio is below 1."""
    number = f"{of} of {a} over that of {b}"
    return Claim(lambda trial: trial[a][of] / trial[b][of], below(1), where, number=number, kind="ratio")


def agrees(variant: str) -> Claim:
    """The claim that over a training the estimate is correlated with the exact distance, at more than 0.5."""
    number = f"{AGREEMENT} of {variant}"
    return Claim(lambda trial: trial[variant][AGREEMENT], above(0.5), LOSS_TRACKS, number=number, kind="correlation")


def better_agreement(trial: Trial) -> float:
    """The agreement of the critic's estimate less that of the discriminator's, in Fisher's z."""
    return math.atanh(trial["points-gp"][AGREEMENT]) - math.atanh(trial["points-gan"][AGREEMENT])


def worst_architecture(trial: Trial) -> float:
    """The largest Fréchet distance over the four architectures with the penalty, over that of the GAN."""
    worst = {method: max(trial[f"{method}-{kind}"][FRECHET] for kind in KINDS) for method in ("gp", "gan")}
    return worst["gp"] / worst["gan"]
