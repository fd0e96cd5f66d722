"""What is played with where there is no server: pages of the exported site, each with its numbers and a script."""

import base64
import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etudes.core.errors import Problem

TRAINED = Path(__file__).parent / "demos" / "trained"  # the networks that come along
EXAMPLES, WIDTH, STEPS, EVERY = 100, 16, 1500, 20  # of the descent: pictures, hidden units, steps, between measurements
SHARES = 21  # of the first picture, from 0 to 1, at which both networks were asked
CHOICE = 6  # pictures to mix
LEAST = 1e-4  # probability of what is worth a row
TEXT = "ROMEO:\nBut soft, what light through yonder window breaks?\nIt is the east, and Juliet is the sun."


@dataclass(frozen=True)
class Play:
    slug: str
    title: str
    says: str
    study: str  # on whose page it is shown
    data: Callable[[], dict[str, Any]]  # what the page and its script read; raises Problem without its network


def descent() -> dict[str, Any]:
    """Pictures standardised pixel by pixel, labels and first weights of a network as in edge-of-stability, but smaller.

    The weights are those of its three layers in turn: a layer's matrix row by row, then its biases.
    """
    import torch

    from etudes.data.images import images, unit

    d = images("digits")
    x = unit(d.x[:EXAMPLES]).reshape(EXAMPLES, -1)
    x = (x - x.mean(0)) / x.std(0).clamp_min(1e-3)
    sizes = [x.shape[1], WIDTH, WIDTH, d.classes]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [torch.nn.Linear(n, m) for n, m in itertools.pairwise(sizes)]
    weights = torch.cat([part.detach().reshape(-1) for layer in layers for part in (layer.weight, layer.bias)])
    return {
        "inputs": _round(x, 3),
        "labels": d.y[:EXAMPLES].tolist(),
        "classes": d.classes,
        "width": WIDTH,
        "weights": _round(weights, 4),
        "steps": STEPS,
        "every": EVERY,
    }


def mixtures() -> dict[str, Any]:
    """Pictures, and what plain training and mixup make of the mixtures of each two: [pairs][networks][shares][classes].

    Pairs are in the order of `itertools.combinations`; the share is the first one's.
    """
    import torch

    from etudes.data.images import unit
    from etudes.web.demos import mixup

    both = mixup.pairs(TRAINED)
    if not both:
        raise Problem("no networks of mixup come along")
    records = next(iter(both.values()))
    (plain, d), (mixed, _) = (mixup.network(records[variant]) for variant in (mixup.PLAIN, mixup.MIXED))
    chosen = _pictures(d, (plain, mixed), mixup.first_pair(records))
    x, shares = unit(d.test_x[chosen]), torch.linspace(0, 1, SHARES)[:, None, None, None]
    odds = [
        [_round(mixup.probabilities(model, shares * x[i] + (1 - shares) * x[j]), 3) for model in (plain, mixed)]
        for i, j in itertools.combinations(range(len(chosen)), 2)
    ]
    return {
        "pictures": [base64.b64encode(d.test_x[i].contiguous().numpy().tobytes()).decode() for i in chosen],
        "shape": d.shape,
        "kinds": d.test_y[chosen].tolist(),
        "labels": d.labels,
        "odds": odds,
        "shares": SHARES,
        "runs": [records[variant].spec.key for variant in (mixup.PLAIN, mixup.MIXED)],
        "dataset": d.name,
    }


def _pictures(d: Any, models: Any, pair: tuple[int, int]) -> list[int]:
    """The pair and the first other test pictures, of a class each, that all the networks know."""
    import torch

    from etudes.data.images import unit
    from etudes.web.demos.mixup import LAST, probabilities

    x, y = unit(d.test_x[: LAST + 1]), d.test_y[: LAST + 1]
    known = torch.stack([probabilities(model, x).argmax(1) == y for model in models]).all(0)
    chosen, kinds = list(pair), {int(y[i]) for i in pair}
    for i in known.nonzero()[:, 0].tolist():
        if len(chosen) < CHOICE and int(y[i]) not in kinds:
            chosen.append(i)
            kinds.add(int(y[i]))
    return chosen


def next_letters() -> dict[str, Any]:
    """A text, and the logits of a network for what comes after each of its first letters: [letters - 1][names].

    What never gets a probability of LEAST there is left out, such as all bytes that are no letters.
    """
    import torch

    from etudes.core import catalogue
    from etudes.web.demos import generation, networks

    records = networks.find_records(catalogue.find("char-lstm"), TRAINED)
    if not records:
        raise Problem("no network of char-lstm comes along")
    record = next(iter(records.values()))
    model, tokenizer = generation.restore(record)
    tokens = tokenizer.encode(TEXT)
    if len(tokens) != len(TEXT):
        raise Problem(f"{record.spec.key} does not read letter by letter")
    with torch.inference_mode():
        logits = model.next(torch.tensor([[tokenizer.start, *tokens]]), model.start(1))[0][0, 1:-1].float()
    kept = (logits.softmax(1).amax(0) >= LEAST).nonzero()[:, 0]
    return {
        "text": TEXT,
        "logits": _round(logits[:, kept], 3),
        "names": [tokenizer.decode([i]) for i in kept.tolist()],
        "run": record.spec.key,
    }


def _round(x: Any, digits: int) -> Any:
    """The numbers of a tensor as nested lists, with so many digits: they are to be sent."""
    return [_round(row, digits) for row in x] if x.ndim else round(x.item(), digits)


PLAYS: tuple[Play, ...] = (
    Play(
        "edge-of-stability",
        "The edge of stability",
        "Choose a step size: a small network is trained in this very page, and its sharpness climbs to 2 / step size.",
        "edge-of-stability",
        descent,
    ),
    Play(
        "mixup",
        "Between two pictures",
        "Mix two pictures and compare a network trained on mixtures with one that never saw any.",
        "mixup",
        mixtures,
    ),
    Play(
        "generation",
        "Which letter comes next?",
        "The odds that a network gives to the next letter; cut them by temperature, top k and nucleus, and draw.",
        "char-lstm",
        next_letters,
    ),
)


@functools.cache
def collect() -> dict[str, dict[str, Any]]:
    """{slug: what its page reads} of the plays whose networks come along, where what these need is installed."""
    data: dict[str, dict[str, Any]] = {}
    for play in PLAYS:
        try:
            data[play.slug] = play.data()
        except (Problem, ImportError):
            continue
    return data
