"""A translator between English and French, trained here for want of a better one, and what it makes of lines."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from etudes.core import Run
from etudes.core.files import read_json, write_json
from etudes.data.batches import Batches
from etudes.data.pairs import pairs
from etudes.data.tokens import Tokenizer, bpe
from etudes.measure.error import evaluation_mode
from etudes.measure.translation import chrf
from etudes.nn.translator import Translator, pad, translate
from etudes.train import Adam, adam, descend, fit, seeded, weights

ENGLISH, FRENCH = 0, 1
SET = "tatoeba-eng-fra"
PIECES, BATCH, TESTED = 2000, 64, 500  # of words; sentences a step; held-out pairs to measure on


def back_translation(run: Run, lines: Sequence[str], width: int, steps: int) -> tuple[list[str], dict[str, float]]:
    """The lines translated into French and back (Edunov et al. 2018 call it a round trip), and what the translator is
    worth: chrF both ways on held-out pairs, and of the lines with what they became.

    The translator is a tool, the same for all seeds of a study: it is trained once, under seed 0, and so are the lines
    translated once. The most probable token is taken at each step. Empty lines stay.
    """
    settings = {"set": SET, "pieces": PIECES, "batch": BATCH, "width": width, "steps": steps}
    tool = run.once("translator", settings, lambda own: _learn(own, width, steps), seed=0)

    def make(own: Run) -> None:
        tokenizer = Tokenizer.load(tool.folder / "tokenizer.json")
        model = weights.load(tool.folder / "model.safetensors", Translator(tokenizer.size, width)).to(own.device)
        french = translate_lines(own, model, tokenizer, lines, FRENCH)
        english = translate_lines(own, model, tokenizer, french, ENGLISH)
        own.result(**{"train/chrf-round-trip": chrf(english, lines)})
        if own.leader:
            write_json(own.path("lines.json"), {"lines": english})

    content = {"lines": hashlib.sha256("\n".join(lines).encode()).hexdigest()}
    copy = run.once("back-translation", settings | content, make, seed=0)
    english = read_json(copy.folder / "lines.json", f"delete {copy.folder}")["lines"]
    return english, {**tool.metrics, **copy.metrics}


def _learn(run: Run, width: int, steps: int) -> None:
    """Train a translator, measure it, and leave its weights and its tokenizer in the run's folder."""
    model, tokenizer = train_translator(run, width, steps)
    held_out = pairs(SET).test
    held_out = [held_out[i] for i in run.rng("held out").permutation(len(held_out))[:TESTED]]
    for name, language in (("french", FRENCH), ("english", ENGLISH)):
        lines = translate_lines(run, model, tokenizer, [pair[1 - language] for pair in held_out], language)
        run.result(**{f"test/chrf-{name}": chrf(lines, [pair[language] for pair in held_out])})
    weights.save(run.path("model.safetensors"), model)
    if run.leader:
        tokenizer.save(run.path("tokenizer.json"))


def train_translator(run: Run, width: int, steps: int) -> tuple[Translator, Tokenizer]:
    """A translator after `steps` batches of pairs, alternately into French and into English, and its sub-words."""
    d = pairs(SET)
    run.note(pairs=d.source)
    tokenizer = bpe([sentence for pair in d.train for sentence in pair], PIECES)
    sides = [[tokenizer.encode(pair[side]) for pair in d.train] for side in (ENGLISH, FRENCH)]
    model = seeded(run, "translator", lambda: Translator(tokenizer.size, width))
    recipe = Adam(steps=steps, batch=BATCH, lr=3e-3, schedule="warmup", log_every=20)
    opt, schedule = adam(model, recipe, betas=(0.9, 0.98))
    groups = length_groups(sides, BATCH, run)
    order = Batches(len(groups), 1, run.seed("translator order"))

    def step(i: int) -> dict[str, Tensor]:
        rows, language = groups[order.at(i).item()], (ENGLISH, FRENCH)[i % 2]
        sources, lengths = pad([sides[1 - language][row] for row in rows], tokenizer.start)
        begin, end = [model.vocabulary + language], [tokenizer.start]
        targets, sizes = pad([begin + sides[language][row] + end for row in rows], tokenizer.start)
        wanted = targets[:, 1:].masked_fill(torch.arange(1, targets.shape[1]) >= sizes[:, None], -100)
        logits = model(sources.to(run.device), lengths.to(run.device), targets[:, :-1].to(run.device))
        loss = functional.cross_entropy(logits.float().flatten(0, 1), wanted.flatten().to(run.device))
        return {"train/loss": descend(loss, opt, schedule, 1.0)}

    fit(run, {"model": model, "opt": opt, "schedule": schedule}, step, steps, log_every=recipe.log_every)
    return model, tokenizer


def length_groups(sides: Sequence[Sequence[Sequence[int]]], batch: int, run: Run) -> list[list[int]]:
    """Rows in groups of `batch` with sentences of like lengths, so that little has to be filled up: those of one length
    in one language are ordered by the other's, those alike in both are shuffled. What is over at the end is left out.
    """
    shuffled = run.rng("groups").permutation(len(sides[0]))
    rows = sorted(shuffled.tolist(), key=lambda row: (len(sides[0][row]), len(sides[1][row])))
    bounds = range(0, max(len(rows), batch) + 1, batch)
    return [rows[begin:end] for begin, end in pairwise(bounds)]


def translate_lines(
    run: Run, model: Translator, tokenizer: Tokenizer, lines: Sequence[str], language: int
) -> list[str]:
    """The lines translated into the language; empty ones stay."""
    full = [i for i, line in enumerate(lines) if line.strip()]
    with evaluation_mode(model), run.autocast():
        sentences = translate(model, [tokenizer.encode(lines[i]) for i in full], language, tokenizer.start)
    translations = dict(zip(full, map(tokenizer.decode, sentences), strict=True))
    return [translations.get(i, line) for i, line in enumerate(lines)]
