"""What MixMatch does to a batch, and what the methods that it is compared with ask of one."""

import numpy
import torch
from torch import Tensor
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.losses.cross_entropy import cross_entropy


def sharpen(p: Tensor, temperature: float) -> Tensor:
    """Distributions p: [n, c] with less entropy: p^(1/T), divided by its sum (eq. 7). T = 1 leaves them as they are.

    >>> sharpen(torch.tensor([[0.6, 0.4]]), 0.5)
    tensor([[0.6923, 0.3077]])

    Computed from logarithms, so that no power underflows where T is small. Raises Problem unless T is above 0.
    """
    if temperature <= 0:
        raise Problem(f"sharpening needs a temperature above 0, not {temperature}")
    return functional.softmax(p.log() / temperature, dim=-1)


def guess_labels(logits: Tensor, temperature: float) -> Tensor:
    """Guessed labels [n, c] for pictures that were seen in k ways: logits [k, n, c] (eqs. 6 and 7), without gradients.

    The probabilities, not the logits, are averaged over the k views; then they are sharpened.
    """
    return sharpen(functional.softmax(logits.detach().float(), dim=-1).mean(0), temperature)


def draw_mixing(n: int, alpha: float, rng: numpy.random.Generator) -> tuple[Tensor, Tensor]:
    """Partners [n], a random order of the batch, and weights [n] of each row itself: max(l, 1 - l), l ~ Beta(a, a).

    So a mixture is nearer to its own row than to its partner (eqs. 8 and 9), and can be counted as labelled or
    unlabelled as that row was. alpha = 0 draws weights of 1: nothing is mixed.
    """
    partners = torch.from_numpy(rng.permutation(n))
    draws = torch.from_numpy(rng.beta(alpha, alpha, size=n)).float() if alpha else torch.ones(n)
    return partners, torch.maximum(draws, 1 - draws)


def mix(rows: Tensor, partners: Tensor, weights: Tensor) -> Tensor:
    """w_i rows_i + (1 - w_i) rows_partner(i) for rows [n, ...] (eqs. 10 and 11)."""
    partners, weights = partners.to(rows.device), weights.to(rows)
    return torch.lerp(rows[partners], rows, weights.view(-1, *[1] * (rows.ndim - 1)))


def mixmatch_batch(
    x: Tensor, y: Tensor, views: Tensor, guesses: Tensor, partners: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Inputs [b + k n, ...] and targets [b + k n, c] of one step, labelled rows first (algorithm 1, lines 10 to 15).

    x: [b, ...] are labelled pictures with labels y: [b, c]; views: [k, n, ...] unlabelled ones, of which all k views
    bear the same guess of guesses: [n, c]. Partners come from both: labelled and unlabelled pictures mix.
    """
    inputs = torch.cat([x, views.flatten(0, 1)])
    targets = torch.cat([y, guesses.repeat(len(views), 1)])
    return mix(inputs, partners, weights), mix(targets, partners, weights)


def squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean over n and c of (q - softmax(logits))^2, for targets q: [n, c] (eq. 4): at most 2 / c."""
    return (functional.softmax(logits.float(), dim=-1) - targets).square().mean()


def mixmatch_loss(logits: Tensor, targets: Tensor, labelled: int, weight: float) -> Tensor:
    """Cross-entropy on the first `labelled` rows, and `weight` times the squared error on the rest (eqs. 3 to 5)."""
    known, guessed = cross_entropy(logits[:labelled], targets[:labelled]), logits[labelled:]
    return known + weight * squared_error(guessed, targets[labelled:])


def ramp(step: int, rise: int) -> float:
    """The share of its weight that the unlabelled loss has at a step: from 0 linearly to 1 at step `rise` (sec. 4.1).

    >>> [ramp(i, 4) for i in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 1.0]
    """
    return min(1.0, step / rise) if rise else 1.0


def pseudo_label_loss(logits: Tensor, seen: Tensor, threshold: float) -> Tensor:
    """The mean over n of the cross-entropy against the most probable class, where that has at least `threshold`.

    logits: [n, c] learn; seen: [n, c] are the logits that name the class, without gradients. Pictures below the
    threshold count as 0. With seen = logits this is pseudo-labelling (Lee 2013, with the threshold of Oliver et al.
    2018, arXiv:1804.09170); with `seen` of weakly and `logits` of strongly changed pictures it is FixMatch (Sohn et al.
    2020, arXiv:2001.07685, eq. 4).
    """
    confidence, labels = functional.softmax(seen.detach().float(), dim=-1).max(-1)
    each = functional.cross_entropy(logits.float(), labels, reduction="none")
    return (each * (confidence >= threshold)).mean()
