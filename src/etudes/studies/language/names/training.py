"""Training and measuring: readers of names, the peer that counts 3-grams, and writers."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from etudes.core import Run
from etudes.core.files import write_text
from etudes.data.names import Names, Row
from etudes.nn.recurrent import Recurrent
from etudes.studies.language.names import findings, reader, writers
from etudes.studies.language.names.trigrams import Trigrams
from etudes.train import adam, descend, fitted, part, scheduled, seeded, weights

if TYPE_CHECKING:
    from etudes.studies.language.names import Config

NAMES = 64  # names of a batch, by which steps are counted
Parts = dict[str, list[Row]]


def recipe(cfg: "Config") -> "Config":
    """The config whose steps are those of this variant's own batches."""
    steps = max(1, round(cfg.steps * cfg.share * NAMES / cfg.batch))
    return replace(cfg, steps=steps, eval_every=max(1, steps // 4), log_every=max(1, steps // 50))


def optimiser(
    cfg: "Config", model: torch.nn.Module
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The recipe's optimiser, Adam or plain SGD, and its schedule."""
    if cfg.optimiser == "adam":
        return adam(model, cfg)
    opt = torch.optim.SGD(model.parameters(), cfg.lr)
    return opt, scheduled(opt, cfg)


def read_names(cfg: "Config", run: Run, d: Names, parts: Parts) -> None:
    """Train a reader, and measure it on names that it has not seen and, as the tutorials do, on those that it has."""
    rows = parts["train"]
    spelt = [reader.spell(name, cfg.part, cfg.backwards, cfg.accents) for name, _ in rows]
    letters = reader.alphabet(spelt)
    model = seeded(run, "init", lambda: reader.network(cfg, letters, d.languages))
    x, lengths = reader.encode(spelt, letters)
    y = torch.from_numpy(findings.labels(rows, d.languages))
    own = recipe(cfg)
    opt, schedule = optimiser(own, model)
    draws = reader.sampling_weights(y, cfg.evenness)

    def step(i: int) -> dict[str, Tensor]:
        (mine,) = part(reader.rows_at(draws, lengths, run.seed("order"), i, cfg.batch))
        longest = int(lengths[mine].max())
        logits = model(x[mine, :longest].to(run.device), lengths[mine].to(run.device)).float()
        loss = functional.cross_entropy(logits, y[mine].to(run.device))
        return {"train/loss": descend(loss, opt, schedule, cfg.clip)}

    def guesses(split: str) -> np.ndarray:
        return reader.guesses(model, [name for name, _ in parts[split]]).numpy()

    def evaluate() -> dict[str, float]:
        return split_scores("validation", parts["validation"], guesses("validation"), d)

    run.result(**fitted(run, own, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))
    run.result(**split_scores("train", rows, guesses("train"), d))
    judge(run, d, parts, guesses("test"))
    weights.save(run.path("model.safetensors"), model)
    if run.leader:
        reader.keep_words(run.folder, model)


def split_scores(split: str, rows: list[Row], guess: np.ndarray, d: Names) -> dict[str, float]:
    """The `findings.scores` of guesses under the name of their split."""
    return {f"{split}/{name}": value for name, value in findings.scores(rows, guess, d.languages).items()}


def judge(run: Run, d: Names, parts: Parts, guess: np.ndarray) -> None:
    """The numbers of guesses on the test names, with baselines and confusions."""
    test, truth = parts["test"], findings.labels(parts["test"], d.languages)
    run.result(**split_scores("test", test, guess, d))
    found = findings.baselines(parts["train"], test, d.languages)
    run.result(**{f"test/{name}": value for name, value in found.items()})
    right = findings.right_languages(test)
    wrong = np.array([d.languages[g] not in known for g, known in zip(guess, right, strict=True)])
    if wrong.any():
        families = findings.family_places(d.languages, d.families)
        share, chance = findings.within_families(truth[wrong], guess[wrong], families, run.rng("shuffles"))
        run.result(**{"test/within-families": share, "test/within-families-chance": chance})
    if run.leader:
        table = findings.confusion(truth, guess, len(d.languages))
        write_text(run.path("confusions.txt"), findings.confusions_text(table, d.languages))


def count_trigrams(cfg: "Config", run: Run, d: Names, parts: Parts) -> None:
    """Fit the peer, and measure it as the readers."""
    model = Trigrams(parts["train"], d.languages, cfg.c, cfg.balanced)
    run.result(parameters=model.parameters)
    for split in ("validation", "train"):
        run.result(**split_scores(split, parts[split], model.guesses(parts[split]), d))
    judge(run, d, parts, model.guesses(parts["test"]))


def train_writer(cfg: "Config", run: Run, d: Names, parts: Parts, letters: str) -> Recurrent:
    """A writer that has learnt the training names; its bits per letter go into the run."""
    model = seeded(run, "init", lambda: _writer(cfg, letters, d))
    tokens, targets = writers.sentences(parts["train"], letters, d.languages)
    lengths = (targets != writers.IGNORED).sum(1)
    own = recipe(cfg)
    opt, schedule = optimiser(own, model)
    draws = reader.sampling_weights(tokens[:, 0], cfg.evenness)

    def step(i: int) -> dict[str, Tensor]:
        (mine,) = part(reader.rows_at(draws, lengths, run.seed("order"), i, cfg.batch))
        longest = int(lengths[mine].max())
        loss = writers.loss(model, tokens[mine, :longest].to(run.device), targets[mine, :longest].to(run.device))
        return {"train/loss": descend(loss, opt, schedule, cfg.clip)}

    def evaluate() -> dict[str, float]:
        return {"validation/bits": writers.bits(model, parts["validation"], letters, d.languages)}

    run.result(**fitted(run, own, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))
    run.result(**{"test/bits": writers.bits(model, parts["test"], letters, d.languages)})
    return model


def _writer(cfg: "Config", letters: str, d: Names) -> Recurrent:
    return Recurrent(cfg.kind, len(letters) + 1 + len(d.languages), cfg.hidden, cfg.layers, cfg.dropout)


def write_names(cfg: "Config", run: Run, d: Names, parts: Parts) -> None:
    """Let a writer learn the training names and write; a classifier of the other names says which language it sees."""
    train, test = parts["train"], parts["test"]
    letters = reader.alphabet([reader.spell(name) for name, _ in train])
    apart = Trigrams([*parts["validation"], *test], d.languages, cfg.c, balanced=True)
    if cfg.kind == "trigrams":
        models = writers.trigrams_of(train, letters, d.languages)
        run.result(**{"test/bits": writers.trigram_bits(models, test)})
        rng = run.rng("writing")
        written = {"": {one: [model.draw(rng) for _ in range(cfg.written)] for one, model in models.items()}}
    else:
        model = train_writer(cfg, run, d, parts, letters)
        seed = run.seed("writing")
        written = {
            name: writers.write(model, letters, d.languages, cfg.written, temperature, seed)
            for name, temperature in (("", 1.0), ("-cool", cfg.cool))
        }
        weights.save(run.path("model.safetensors"), model)
    for name, names in written.items():
        asked = [(text or "?", language) for language, some in names.items() for text in some]
        numbers = writers.quality(names, train, test) | {"recognised": recall(apart, asked, d)}
        run.result(**{f"test/{measure}{name}": number for measure, number in numbers.items()})
    run.result(**{"test/recognised-real": recall(apart, train, d)})
    run.result(**{"test/bigrams-real": writers.real_distance(train, test, d.languages)})
    if run.leader:
        write_text(run.path("samples.txt"), writers.samples_text(written[""], train))


def recall(judge: Trigrams, rows: list[Row], d: Names) -> float:
    """The mean over languages of the share of their names that the judge gives to them."""
    truth = findings.labels(rows, d.languages)
    table = findings.confusion(truth, judge.guesses(rows), len(d.languages))
    return float((table.diagonal() / table.sum(1)).mean())
