"""dialect-lora: a network that knows Italian learns a dialect of Italy by low-rank changes of its matrices."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, positive, within
from etudes.core.files import write_text
from etudes.data.tokens import Windows, ids
from etudes.nn.lora import LowRankLinear
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves, pictures
from etudes.studies.language.dialect_lora.claims import BITS, CLAIMS
from etudes.studies.language.dialect_lora.findings import all_bits, cutting, prompts, read_samples, shown, write
from etudes.studies.language.dialect_lora.materials import (
    ITALIAN,
    ORDERS,
    Corpus,
    check_language,
    corpus,
    elsewhere,
    home,
    novels,
)
from etudes.studies.language.dialect_lora.networks import (
    Writer,
    base_settings,
    equal_steps,
    multiply_adds,
    next_token_loss,
    optimiser,
    prepare,
    pretrained,
)
from etudes.train import Adam, descend, fitted, scheduled


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "oldi-seed"  # documents in Italian and dialects, as in `etudes data`, or folder:PATH, one of yours
    messages: str = "i18n-dialects"  # where Neapolitan is read, which that has not
    novels: str = "eltec-ita"  # Italian novels, from which our own network learns too
    dialect: str = "vec"  # the language that is learnt, as a code
    share: Annotated[float, within(0, 1)] = 1.0  # of its training documents that are learnt from
    helper: str = ""  # another dialect from which half of each batch comes, or none
    rehearsal: Annotated[float, within(0, 1)] = 0.0  # share of each batch that is Italian
    method: Literal["lora", "full", "scratch"] = "lora"  # low-rank changes, all weights, or a new small network
    tokens: Literal["base", "own"] = "base"  # whose pieces of words a new network reads: the base's, or the dialect's
    pays_for: Literal["adaptation", "all"] = "adaptation"  # whose arithmetic it has; "all": that of pretraining as well
    rank: Annotated[int, at_least(1)] = 8  # r
    scaling: Annotated[float, positive] = 2.0  # alpha / r
    network: str = "own"  # what is adapted: our own, smollm2-135m, or a causal network owner/name of the hub
    vocabulary: Annotated[int, at_least(257)] = 2048  # pieces of words of our own networks
    width: Annotated[int, at_least(1)] = 96  # of their stream
    depth: Annotated[int, at_least(1)] = 3  # their layers
    head: Annotated[int, at_least(2)] = 32  # width of an attention head
    context: Annotated[int, at_least(2)] = 64  # tokens that are seen at once
    base_steps: Annotated[int, at_least(1)] = 400  # of the base's pretraining
    base_batch: Annotated[int, at_least(1)] = 16  # windows a step of it
    base_lr: Annotated[float, positive] = 3e-3  # its peak learning rate
    novel_characters: Annotated[int, at_least(1000)] = 700_000  # of the novels, as much of each, that it reads
    italian_share: Annotated[float, within(0, 1)] = 0.8  # of the training documents in Italian that it reads
    lora_lr: Annotated[float, positive] = 1e-2  # peak learning rate of A and B
    full_lr: Annotated[float, positive] = 2e-3  # the same of all weights
    scratch_lr: Annotated[float, positive] = 3e-3  # the same of a new network
    schedule: Schedule = "warmup"  # learning rates over the steps
    tested: Annotated[int, at_least(100)] = 40_000  # characters of each held-out text, from its works' beginnings
    samples: Annotated[int, at_least(1)] = 12  # texts that are written
    length: Annotated[int, at_least(1)] = 40  # tokens of each


def mixture(cfg: Config, run: Run, base: Writer, own: Tensor, helper: Tensor | None) -> list[Windows]:
    """The windows of which a step takes so many each: of the dialect, of its helper, and of Italian."""
    italian = round(cfg.rehearsal * cfg.batch)
    other = (cfg.batch - italian) // 2 if helper is not None else 0
    parts = [("order", own, cfg.batch - italian - other), ("helper order", helper, other)]
    parts += [("italian order", base.italian, italian)]
    return [Windows(tokens, cfg.context, n, run.seed(name)) for name, tokens, n in parts if n and tokens is not None]


def untouched(cfg: Config, run: Run, base: Writer, asked: dict[str, list[str]], d: Corpus) -> tuple[list[str], dict]:
    """What the base writes and needs before it is adapted, measured once for the variants of a seed and a dialect."""
    settings = base_settings(cfg) | {name: getattr(cfg, name) for name in ("dialect", "network", "samples", "length")}

    def make(own: Run) -> None:
        own.result(**{f"{name}-untouched": value for name, value in all_bits(cfg, own, base, asked).items()})
        told = write(base, prompts(d.texts.test, cfg.samples), cfg.length, own.seed("samples"))
        write_text(own.path("samples.txt"), "\0".join(told))

    made = run.once("untouched", settings, make)
    return (made.folder / "samples.txt").read_text(encoding="utf-8").split("\0"), dict(made.metrics)


def train(cfg: Config, run: Run) -> None:
    check_language(cfg)
    d = corpus(cfg, run, cfg.dialect)
    names = dict.fromkeys((cfg.messages if ":" in cfg.dataset else home(cfg, cfg.dialect), cfg.dataset, cfg.messages))
    italian = [corpus(cfg, run, ITALIAN, name) for name in names if ":" not in name]
    run.note(data=[d.texts.source, *(c.texts.source for c in italian)])
    base = pretrained(cfg, run, sorted(italian, key=lambda c: c.texts.name))
    asked = {
        "": [*d.texts.test],
        "-italian": [*italian[0].texts.test],
        "-novels": [work[: cfg.tested] for work in novels(cfg).test],
        "-elsewhere": elsewhere(cfg, cfg.dialect),
    }
    old, before = untouched(cfg, run, base, asked, d)
    run.result(**before, **d.counts)

    documents = d.draw(cfg.share, run.rng("documents"))
    size = multiply_adds(base.model, cfg.context), base.model
    writer, lr = prepare(cfg, run, base, documents)
    recipe = replace(cfg, lr=lr)
    if cfg.method == "scratch":
        recipe = replace(recipe, steps=equal_steps(cfg, size[1], writer.model))
    helper = ids(writer.tokenizer, corpus(cfg, run, cfg.helper).texts.train) if cfg.helper else None
    windows = mixture(cfg, run, writer, ids(writer.tokenizer, documents), helper)
    opt = optimiser(writer.model, lr)
    schedule = scheduled(opt, recipe)

    def step(i: int) -> dict[str, Tensor]:
        block = torch.cat([each.at(i) for each in windows]).to(run.device)
        return {"train/loss": descend(next_token_loss(writer.model, block), opt, schedule, 1.0)}

    def evaluate() -> dict[str, float]:
        found = all_bits(cfg, run, writer, {"": d.texts.validation})
        return {"validation/bits-per-byte": found[BITS]}

    run.result(**fitted(run, recipe, {"model": writer.model, "opt": opt, "schedule": schedule}, step, evaluate))
    run.result(**{"train/tokens": recipe.steps * cfg.batch * cfg.context})
    run.result(**all_bits(cfg, run, writer, asked))
    report(cfg, run, writer, d, italian[0], old)


def report(cfg: Config, run: Run, writer: Writer, d: Corpus, italian: Corpus, old: list[str]) -> None:
    """How the tokenizer cuts, and what the network writes."""
    run.result(**cutting(writer.tokenizer, d.texts.test, italian.texts.test))
    begun = prompts(d.texts.test, cfg.samples)
    told = write(writer, begun, cfg.length, run.seed("samples"))
    found = read_samples(told, d.texts.train, italian.texts.train, cfg.dialect)
    run.result(**found)
    run.result(**{"samples/in-dialect-untouched": read_samples(old, d.texts.train, italian.texts.train, cfg.dialect)["samples/in-dialect"]})
    write_text(run.path("samples.txt"), shown(begun, old, told))


DRAWN = {"dataset": "drawn-dialects", "messages": "drawn-dialects", "novels": "drawn-dialects"}
LAPTOP = {"steps": 120, "batch": 8}
TINY = {"vocabulary": 300, "width": 32, "depth": 1, "context": 16, "base_steps": 3, "base_batch": 2, "steps": 3, "batch": 4,
        "novel_characters": 5000, "tested": 600, "samples": 2, "length": 6}

STUDY = Study(
    name="dialect-lora",
    question="What does a network that knows Italian gain and forget when it learns a dialect by low-rank changes?",
    paper=Paper(
        "Camoscio: an Italian Instruction-tuned LLaMA", "Santilli, Rodolà", 2023, "https://arxiv.org/abs/2307.16456"
    ),
    config=Config,
    program=train,
    variants=(
        Variant("venetian", {}, "low-rank changes"),
        Variant("lombard", {"dialect": "lmo"}),
        Variant("ligurian", {"dialect": "lij"}),
        Variant("sicilian", {"dialect": "scn"}),
        Variant("neapolitan", {"dialect": "nap"}),
        Variant("rank-1", {"rank": 1}),
        Variant("rank-32", {"rank": 32}),
        Variant("full", {"method": "full"}),
        Variant("rehearsal", {"rehearsal": 0.25}),
        Variant("italian", {"rehearsal": 1.0}),
        Variant("scratch", {"method": "scratch", "tokens": "own"}),
        Variant("scratch-long", {"method": "scratch", "tokens": "own", "pays_for": "all"}),
        Variant("scratch-italian-pieces", {"method": "scratch", "pays_for": "all"}),
        Variant("few", {"share": 0.05}),
        Variant("few-lombard", {"share": 0.05, "helper": "lmo"}),
        Variant("few-sicilian", {"share": 0.05, "helper": "scn"}),
    ),
    scales={
        "smoke": Scale(LAPTOP | DRAWN | TINY, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12), minutes=7, offline=DRAWN),
    },
    claims=CLAIMS,
    words={BITS: "bits per byte of held-out text"},
    idea=LowRankLinear,
    charts=(bars(BITS, f"{BITS}-untouched"), curves("train/loss"), pictures("samples.txt")),
    origin="B11",
)
