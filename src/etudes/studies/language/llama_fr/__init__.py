"""llama-fr: a small Llama and a small GPT learn French from novels, letter by letter or in pieces of words.

A decoder learns p(token | tokens before). Llama (Touvron et al. 2023) changed GPT's block: rotary positions,
root-mean-square normalisation, a gated SwiGLU layer, and later queries that share keys and values (nn/gpt.py and
nn/llama.py are one small file each). Everything is scored in bits per byte of the original text,

    bits = -sum over tokens of log2 p(token | tokens before) / bytes of the text,

by which networks with any tokenizers can be compared.

    etudes run llama-fr                      9 minutes on two cores, 9 variants, 5 seeds: blocks, tokenizers, sizes
    etudes run llama-fr --scale novelist     20 minutes, one network of 6 million parameters, for samples
    etudes generate llama-fr "Il était une fois"

At laptop scale a difference of less than 0.025 bits per byte, a hundredth of all, is taken as too small to matter.

Departures from the paper: a millionth of its arithmetic, on French novels of 1870 to 1920; the output layer shares its
weights with the embedding, as in GPT-2. Networks with another tokenizer take as many steps as cost the same
arithmetic: a large vocabulary makes each step dearer, and each token longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional

from etudes.core import Claim, Paper, Problem, Run, Scale, Study, Trial, Variant
from etudes.core.claims import at_least, below, lower, positive, within
from etudes.core.files import write_text
from etudes.data.text import beginnings, texts
from etudes.data.tokens import Tokenizer, Windows
from etudes.generate.samples import samples
from etudes.measure.bits import bits_per_byte, unigram_bits
from etudes.nn.gpt import GPT
from etudes.nn.llama import Block, Llama
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves, pictures
from etudes.studies.language.llama_fr.reading import tokenize
from etudes.train import Adam, descend, fitted, part, scheduled, seeded, shard, weights

BITS = "test/bits-per-byte"
REFERENCE = 4096  # the vocabulary whose steps are counted
BEGINNINGS = ("", "Il était une fois", "— Vous ne savez pas", "Le lendemain matin, elle")


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "eltec-fra"  # a text set, as listed by `etudes data`
    unseen: str = "sequoia"  # text of another register, of which the test part is tested
    characters: Annotated[int, at_least(0)] = 0  # of the training works, from their beginnings; 0: all
    share: Annotated[float, within(0, 1)] = 1.0  # of these characters that is trained on
    tested: Annotated[int, at_least(1000)] = 200_000  # characters of each held-out part's works, from their beginnings
    tokenizer: Literal["characters", "bpe-4096", "bpe-8192", "mistral-32k", "camembert-base"] = "bpe-4096"  # to tokens
    block: Literal["llama", "gpt"] = "llama"  # whose layers
    width: Annotated[int, at_least(1)] = 128  # of the stream that passes all layers
    widen: Annotated[float, positive] = 1.0  # the width, as a multiple of `width`
    depth: Annotated[int, at_least(1)] = 4  # layers
    head: Annotated[int, at_least(2)] = 32  # width of an attention head
    groups: Annotated[int, at_least(1)] = 2  # Llama's query heads to one of keys and values
    context: Annotated[int, at_least(2)] = 128  # tokens that are seen at once
    duration: Annotated[float, positive] = 1.0  # steps, as a multiple of `steps`
    batch: Annotated[int, at_least(1)] = 4  # windows a step, over all processes together
    lr: Annotated[float, positive] = 3e-3  # peak learning rate of AdamW at `width`
    schedule: Schedule = "warmup"  # learning rate over the steps
    weight_decay: Annotated[float, at_least(0)] = 0.1  # AdamW's, on matrices
    clip: Annotated[float, positive] = 1.0  # largest norm of a gradient


def network(cfg: Config, vocabulary: int) -> GPT | Llama:
    """The decoder; both blocks of about the same size: SwiGLU's three matrices are as large as GPT's two."""
    width = round(cfg.width * cfg.widen)
    if width % cfg.head:
        raise Problem(f"a width of {width} does not fall into heads of {cfg.head}; take a --head that divides it")
    heads = width // cfg.head
    if cfg.block == "gpt":
        return GPT(vocabulary, width, cfg.depth, heads, cfg.context)
    # What shared keys and values save goes into the gated layer, in multiples of 8.
    shared = max(1, heads // cfg.groups)
    hidden = (8 * width + 2 * width * (heads - shared) / heads) / 3
    return Llama(vocabulary, width, cfg.depth, heads, shared, 8 * round(hidden / 8), cfg.context)


def arithmetic(cfg: Config, model: GPT | Llama, vocabulary: int) -> int:
    """Multiply-adds of one token on its way through the network, if its output were for `vocabulary` tokens.

    One for each weight of the layers' matrices and of the output, and context * width a layer for causal attention.
    """
    layers = sum(p.numel() for p in model.blocks.parameters() if p.ndim == 2)
    return layers + (cfg.depth * cfg.context + vocabulary) * round(cfg.width * cfg.widen)


def equal_cost_steps(cfg: Config, model: GPT | Llama, vocabulary: int) -> int:
    """Steps that cost the arithmetic of cfg.duration * cfg.steps with the reference vocabulary."""
    cheaper = arithmetic(cfg, model, REFERENCE) / arithmetic(cfg, model, vocabulary)
    return max(1, round(cfg.duration * cfg.steps * cheaper))


def adamw(cfg: Config, model: GPT | Llama) -> torch.optim.AdamW:
    """AdamW that decays matrices alone. Its best rate falls as the width grows (Yang et al. 2022, arXiv:2203.03466,
    table 3)."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": matrices, "weight_decay": cfg.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=cfg.lr / cfg.widen, betas=(0.9, 0.95), fused=True)


def load_network(cfg: Config, folder: Path) -> tuple[GPT | Llama, Tokenizer]:
    """The decoder of a finished run, and its tokenizer."""
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    return weights.load(folder / "model.safetensors", network(cfg, tokenizer.size)), tokenizer


def train(cfg: Config, run: Run) -> None:
    d = texts(cfg.dataset).take(cfg.characters)
    if cfg.share < 1:
        d = d.take(max(1, round(cfg.share * sum(map(len, d.train)))))
    run.note(data=d.source)
    settings = {"dataset": cfg.dataset, "characters": cfg.characters, "share": cfg.share}
    tokenizer, tokens = tokenize(run, d, cfg.tokenizer, settings)
    held_out = {"validation": beginnings(d.validation, cfg.tested), "test": beginnings(d.test, cfg.tested)}

    model = seeded(run, "init", lambda: network(cfg, tokenizer.size))
    shard(model)
    recipe = replace(cfg, steps=equal_cost_steps(cfg, model, tokenizer.size))
    opt = adamw(cfg, model)
    schedule = scheduled(opt, recipe)
    windows = Windows(tokens, cfg.context, cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:
        (block,) = part(windows.at(i).to(run.device))
        logits = model(block[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), block[:, 1:].flatten())
        return {"train/loss": descend(loss, opt, schedule, cfg.clip)}

    def bits(works: Sequence[str]) -> float:
        return bits_per_byte(model, tokenizer, works, cfg.context, cfg.context // 2)

    def evaluate() -> dict[str, float]:
        return {"validation/bits-per-byte": bits(held_out["validation"])}

    run.result(**fitted(run, recipe, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))
    run.result(**{"train/tokens": recipe.steps * cfg.batch * cfg.context})
    model.eval()
    with run.autocast():
        run.result(**{BITS: bits(held_out["test"]), "train/bits-per-byte": bits(beginnings(d.train, cfg.tested))})
        run.result(**{f"{BITS}-unseen": bits(beginnings(texts(cfg.unseen).test, cfg.tested))})
    run.result(**{f"{BITS}-unigram": unigram_bits(d.train, held_out["test"])})
    writing = samples(model, tokenizer, BEGINNINGS, cfg.context // 2, run.seed("samples"))
    weights.save(run.path("model.safetensors"), model)
    if run.leader:
        write_text(run.path("samples.txt"), writing)
        tokenizer.save(run.path("tokenizer.json"))


def wider_gain(trial: Trial) -> float:
    """The larger change in bits per byte of the two steps from `narrow` to `llama` to `wide`."""
    return max(trial["llama"][BITS] - trial["narrow"][BITS], trial["wide"][BITS] - trial["llama"][BITS])


MARGIN = 0.025  # bits per byte that are too few to matter: a hundredth of what the networks need

STUDY = Study(
    name="llama-fr",
    question="What do Llama's block, pieces of words, size and text each give a small network that learns French?",
    paper=Paper(
        "LLaMA: Open and Efficient Foundation Language Models",
        "Touvron et al.",
        2023,
        "https://arxiv.org/abs/2302.13971",
    ),
    config=Config,
    program=train,
    generator=load_network,
    variants=(
        Variant("llama", says="Llama's block, 4,096 pieces of words"),
        Variant("gpt", {"block": "gpt"}, "GPT's block: learnt positions, layer normalisation, GELU"),
        Variant("letters", {"tokenizer": "characters"}, "characters instead of pieces of words"),
        Variant("bpe-8192", {"tokenizer": "bpe-8192"}, "twice as many pieces"),
        Variant("borrowed", {"tokenizer": "mistral-32k"}, "the 32,768 pieces of a large multilingual model"),
        Variant("narrow", {"widen": 0.5}, "half the width, as many tokens"),
        Variant("wide", {"widen": 1.5}, "one and a half times the width, as many tokens"),
        Variant("brief", {"duration": 0.25}, "a quarter of the tokens"),
        Variant("little-text", {"share": 0.05}, "a twentieth of the text, read again and again"),
    ),
    scales={
        "smoke": Scale(
            {"dataset": "python", "unseen": "python", "characters": 20_000, "tested": 1000, "width": 64, "depth": 1}
            | {"context": 16, "batch": 2, "steps": 12},
            seeds=1,
            minutes=0.1,
            judges=False,
            variants=("llama", "gpt", "letters", "bpe-8192", "narrow", "wide", "brief", "little-text"),  # not borrowed
        ),
        "laptop": Scale(
            {"characters": 3_000_000, "tested": 20_000, "steps": 300, "eval_every": 150},
            seeds=(5, 8, 12, 20),
            minutes=9,
            offline={"dataset": "python", "unseen": "python"},
        ),
        "novelist": Scale(
            {"width": 256, "depth": 6, "head": 64, "context": 256, "batch": 8, "lr": 2e-3}
            | {"steps": 2400, "eval_every": 200, "tested": 200_000},
            seeds=1,
            minutes=20,
            judges=False,
            variants=("llama",),
            threads=2,  # one long run: no other fills the cores
        ),
        "paper": Scale(
            {"dataset": "oscar-fr", "width": 4096, "depth": 32, "head": 128, "groups": 1, "context": 2048}
            | {"batch": 2048, "lr": 3e-4, "steps": 250_000, "eval_every": 1000},
            seeds=3,
            minutes=1e6,
            variants=("llama",),
        ),
    },
    words={
        BITS: "bits per byte of the test text",
        f"{BITS}-unseen": "bits per byte of another register",
        "train/bits-per-byte": "bits per byte of the training text",
        f"{BITS}-unigram": "bits per byte of a unigram",
        "train/tokens": "tokens read in training",
    },
    idea=Block,
    claims={
        "at equal arithmetic a network that reads 4,096 pieces of words needs fewer bits per byte than letters": lower(
            "llama", "letters", "sec. 2.1", of=BITS, matters=MARGIN
        ),
        "a network of Llama's blocks needs fewer bits per byte than one of GPT's of the same size": lower(
            "llama", "gpt", "sec. 2.2", of=BITS, matters=MARGIN
        ),
        "a network trained on four times as many tokens needs fewer bits per byte": lower(
            "llama", "brief", "sec. 3, figure 1", of=BITS, matters=MARGIN
        ),
        "as much training on twenty times the text needs fewer bits per byte than on the same text again": lower(
            "llama", "little-text", "sec. 2.1", of=BITS, matters=MARGIN
        ),
        "of three widths, trained on as many tokens, each step up needs fewer bits per byte": Claim(
            wider_gain,
            below(0),
            "sec. 3, figure 1",
            matters=MARGIN,
            number="bits per byte changed by the less useful step in width",
        ),
    },
    charts=(
        bars(
            BITS,
            f"{BITS}-unseen",
            "train/bits-per-byte",
            title="Bits per byte by block, pieces of words, size and text",
            sections={
                "The block": ("llama", "gpt"),
                "What it reads": ("llama", "letters", "bpe-8192", "borrowed"),
                "Its width": ("narrow", "llama", "wide"),
                "How much it reads": ("llama", "brief", "little-text"),
            },
        ),
        curves("validation/bits-per-byte", title="Validation bits per byte during training"),
        curves(
            "train/loss",
            title="Training loss",
            says="In nats a token: only losses of one tokenizer can be compared.",
        ),
        pictures("samples.txt", title="Samples", says="Beginnings and how the network went on, in three ways."),
    ),
    revisions=(
        "all claims have a margin of 0.025 bits per byte; withdrawn are that the two blocks differ by less than 0.1, "
        "which the margin asks more sharply, that another register needs more bits, as two texts' own bits differ, and "
        "that the cache changes no token, which a test of the program checks.",
    ),
    origin="A3",
)
