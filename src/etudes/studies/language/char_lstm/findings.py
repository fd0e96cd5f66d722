"""What is looked at in a trained network: its cells and gates, its errors, and what it writes."""

import math
from collections import Counter
from collections.abc import Mapping

import numpy
import torch
from torch import Tensor

from etudes.core import Run
from etudes.data.tokens import Tokenizer
from etudes.generate.sampling import beam, choice, generate
from etudes.measure.writing import distinct, marks, repetition, spelling
from etudes.nn.recurrent import Recurrent
from etudes.studies.language.char_lstm.cells import activations, causes, detectors, heat_map, saturation, spans

WAYS: dict[str, dict[str, float]] = {
    "pure": {},
    "greedy": {"temperature": 0.0},
    "temperature-70": {"temperature": 0.7},
    "nucleus-95": {"top_p": 0.95},
}


def watch_cells(
    run: Run, nets: Mapping[str, Recurrent], tokenizer: Tokenizer, held: Mapping[str, str], middle: int
) -> dict[str, float]:
    """How well one cell, found in validation text, tells each feature of test text, for each network under its suffix;
    and how often the gates of the one without are nearly open or shut there. It draws its cell for the place in line.

    held: {"validation", "test"}, texts.
    """
    metrics: dict[str, float] = {}
    for suffix, net in nets.items():
        seen = {split: activations(net, tokenizer, text) for split, text in held.items()}
        cells = detectors(held, seen, middle)
        metrics |= {f"test/auroc-{name}{suffix}": area for name, (_, _, area) in cells.items()}
        if suffix:
            continue
        for name in sorted(seen["test"].keys() - {"at", "units"}):
            shut, opened = saturation(seen["test"][name])
            metrics |= {f"test/{name}-shut": float(shut.mean()), f"test/{name}-open": float(opened.mean())}
        if "late-in-line" in cells and run.leader:
            cell, sign, _ = cells["late-in-line"]
            at = seen["test"]["at"]
            page = at - at[0] == numpy.arange(len(at))  # the first part of the text that was watched
            values = sign * seen["test"]["units"][page, cell]
            values = (values - values.mean()) / (2 * values.std() + 1e-8)
            heat_map(run.path("cell.png"), "".join(held["test"][i] for i in at[page]), values)
    return metrics


def errors(losses: Tensor, tokenizer: Tokenizer, text: str, foreseen: Tensor, known: Counter[str]) -> dict[str, float]:
    """The share of the text's characters that get less than half of the probability, and of these each cause.

    losses: the `nats` of the text's tokens [n]; foreseen: whether n-gram models foresee them, bool [n].
    """
    begin = spans(tokenizer, text)[:-1]
    missed = numpy.logical_or.reduceat(losses.numpy() > math.log(2), begin)
    by_ngrams = numpy.logical_and.reduceat(foreseen.numpy(), begin)
    shares = {f"test/errors-{cause}": share for cause, share in causes(text, missed, by_ngrams, known).items()}
    return {"test/errors": float(missed.mean()), **shares}


def passages(tokens: Tensor, count: int, length: int) -> Tensor:
    """`count` passages int64 [count, length] of tokens int64 [n], evenly spaced from the first to the last."""
    starts = torch.linspace(0, len(tokens) - length, count).long()[:, None]
    return tokens[starts.to(tokens.device) + torch.arange(length, device=tokens.device)]


def continuations(
    model: Recurrent,
    tokenizer: Tokenizer,
    passages: Tensor,
    prompt: int,
    width: int,
    lexicons: Mapping[str, frozenset[str]],
    seed: int,
) -> dict[str, float]:
    """Distinct pairs and repetitions of the continuations of passages int64 [n, t] after `prompt` tokens, and the share
    of their words that each lexicon has.

    Their own, and those drawn purely; with a beam of `width`, if that is not 0, those of all other ways too.
    """
    prompts, after = passages[:, :prompt], {"human": passages[:, prompt:]}
    count = after["human"].shape[1]
    for way, options in WAYS.items():
        if width or way == "pure":
            draws = torch.Generator(passages.device).manual_seed(seed)
            after[way] = generate(model, prompts, count, choice(**options, generator=draws))
    if width:
        after["beam"] = torch.stack([beam(model, one[None], count, width)[0][0] for one in prompts])
    metrics = {}
    for way, rows in after.items():
        texts = [tokenizer.decode(row.tolist()) for row in rows]
        metrics |= {f"test/{name}-{way}": spelling(texts, lexicon) for name, lexicon in lexicons.items()}
        metrics[f"test/distinct-{way}"] = distinct(map(marks, texts), 2)
        metrics[f"test/repetition-{way}"] = repetition(texts)
    return metrics
