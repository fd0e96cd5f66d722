"""llama-fr: a small Llama and a small GPT learn French from novels, letter by letter or in pieces of words.

A decoder predicts each token from those before it. Llama (Touvron et al. 2023) changed GPT's block: rotary positions,
root-mean-square normalisation, a gated SwiGLU layer, and later queries that share keys and values. Everything is scored
in bits per byte of the original text, by which networks with any tokenizers can be compared.

    etudes run llama-fr                      blocks, tokenizers, sizes and amounts of text
    etudes run llama-fr --scale novelist     one network of 6 million parameters, for samples
    etudes generate llama-fr "Il était une fois"

Departures from the paper: a millionth of its arithmetic, on French novels of 1870 to 1920; the output layer shares its
weights with the embedding, as in GPT-2. Networks with another tokenizer take as many steps as cost the same
arithmetic: a large vocabulary makes each step dearer, and each token longer.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW

from etudes.core.claims import Claim, above, below, difference, within
from etudes.core.errors import Problem
from etudes.core.files import appearing, write_text
from etudes.core.run import Run
from etudes.core.spec import Paper, Scale, Study, Variant
from etudes.data.text import Texts, beginnings, texts
from etudes.data.tokens import Tokenizer, Windows, bpe, characters, ids, pretrained
from etudes.generate.samples import samples
from etudes.generate.sampling import choice, generate
from etudes.measure.bits import bits_per_byte, unigram_bits
from etudes.measure.size import count_parameters
from etudes.nn.gpt import GPT
from etudes.nn.llama import Llama
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves, pictures
from etudes.train import weights
from etudes.train.distribute import part, shard, wait
from etudes.train.loop import fit
from etudes.train.recipe import Recipe, descend, scheduled, seeded

BITS = "test/bits-per-byte"
REFERENCE = 4096  # the vocabulary whose steps are counted
BEGINNINGS = ("", "Il était une fois", "— Vous ne savez pas", "Le lendemain matin, elle")


@dataclass(frozen=True)
class Config(Recipe):
    dataset: str = "eltec-fra"  # a text set, as listed by `etudes data`
    unseen: str = "sequoia"  # text of another register, of which the test part is tested
    characters: Annotated[int, above(0)] = 0  # of the training works, from their beginnings; 0: all
    share: Annotated[float, within(0, 1)] = 1.0  # of these characters that is trained on
    tested: Annotated[int, above(1000)] = 200_000  # characters of each held-out part's works, from their beginnings
    tokenizer: Literal["characters", "bpe-4096", "bpe-8192", "mistral-32k", "camembert-base"] = "bpe-4096"  # to tokens
    block: Literal["llama", "gpt"] = "llama"  # whose layers
    width: Annotated[int, above(1)] = 128  # of the stream that passes all layers
    widen: Annotated[float, above(0)] = 1.0  # the width, as a multiple of `width`
    depth: Annotated[int, above(1)] = 4  # layers
    head: Annotated[int, above(2)] = 32  # width of an attention head
    groups: Annotated[int, above(1)] = 2  # Llama's query heads to one of keys and values
    context: Annotated[int, above(2)] = 128  # tokens that are seen at once
    duration: Annotated[float, above(0)] = 1.0  # steps, as a multiple of `steps`
    batch: Annotated[int, above(1)] = 4  # windows a step, over all processes together
    lr: Annotated[float, above(0)] = 3e-3  # peak learning rate of AdamW at `width`
    schedule: Schedule = "warmup"  # learning rate over steps
    momentum: Annotated[float, within(0, 1)] = 0.9  # AdamW's first decay rate; its second is 0.95
    weight_decay: Annotated[float, above(0)] = 0.1  # AdamW's, on matrices
    clip: Annotated[float, above(0)] = 1.0  # largest norm of a gradient


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


def affordable(cfg: Config, model: GPT | Llama, vocabulary: int) -> int:
    """Steps that cost the arithmetic of cfg.duration * cfg.steps with the reference vocabulary."""
    cheaper = arithmetic(cfg, model, REFERENCE) / arithmetic(cfg, model, vocabulary)
    return max(1, round(cfg.duration * cfg.steps * cheaper))


def tokenized(cfg: Config, run: Run, d: Texts) -> tuple[Tokenizer, Tensor]:
    """The tokenizer, made from the training works, and their tokens int64 [n]; shared by the variants of a seed."""

    def make(own: Run) -> None:
        kind, _, size = cfg.tokenizer.partition("-")
        made = {"characters": lambda: characters(d.train), "bpe": lambda: bpe(d.train, int(size))}
        tokenizer = made[kind]() if kind in made else pretrained(cfg.tokenizer)
        tokens = ids(tokenizer, d.train)
        if own.leader:
            tokenizer.save(own.path("tokenizer.json"))
            with appearing(own.path("tokens.safetensors")) as draft:
                save_file({"tokens": tokens.int()}, draft)
        own.result(**{"train/tokens": len(tokens)})

    asked = {name: asdict(cfg)[name] for name in ("dataset", "characters", "share", "tokenizer")}
    folder = run.once("tokens", asked, make)
    wait()  # until the leader has written
    return Tokenizer.load(folder / "tokenizer.json"), load_file(folder / "tokens.safetensors")["tokens"].long()


@torch.no_grad()
def agreement(model: GPT | Llama, tokens: Tensor, count: int) -> float:
    """The share of `count` greedy tokens after tokens: int64 [n] that are the same with and without the cache."""
    with_cache = generate(model, tokens[None], count, choice(temperature=0))[0]
    whole = tokens
    for _ in range(count):
        whole = torch.cat([whole, model(whole[None])[0, -1:].argmax(-1)])
    return (with_cache == whole[len(tokens) :]).double().mean().item()


def restored(cfg: Config, folder: Path) -> tuple[GPT | Llama, Tokenizer]:
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    return weights.load(folder / "model.safetensors", network(cfg, tokenizer.size)), tokenizer


def train(cfg: Config, run: Run) -> None:
    d = texts(cfg.dataset).take(cfg.characters)
    if cfg.share < 1:
        d = d.take(max(1, round(cfg.share * sum(map(len, d.train)))))
    run.note(data=d.source)
    tokenizer, tokens = tokenized(cfg, run, d)
    held_out = {"validation": beginnings(d.validation, cfg.tested), "test": beginnings(d.test, cfg.tested)}

    model = seeded(run, "init", lambda: network(cfg, tokenizer.size))
    shard(model)
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": matrices, "weight_decay": cfg.weight_decay}, {"params": others, "weight_decay": 0.0}]
    # Adam's best rate falls as the width grows (Yang et al. 2022, arXiv:2203.03466, table 3).
    opt = AdamW(groups, lr=cfg.lr / cfg.widen, betas=(cfg.momentum, 0.95), fused=True)
    steps = affordable(cfg, model, tokenizer.size)
    schedule = scheduled(opt, replace(cfg, steps=steps))
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

    parts = {"model": model, "opt": opt, "schedule": schedule}
    final = fit(run, parts, step, steps, evaluate=evaluate, eval_every=cfg.eval_every, log_every=cfg.log_every)

    model.eval()
    with run.autocast():
        run.result(**final, parameters=count_parameters(model))
        run.result(**{BITS: bits(held_out["test"]), "train/bits-per-byte": bits(beginnings(d.train, cfg.tested))})
        run.result(**{f"{BITS}-unseen": bits(beginnings(texts(cfg.unseen).test, cfg.tested))})
    run.result(**{f"{BITS}-unigram": unigram_bits(d.train, held_out["test"])})
    run.result(**{"train/tokens": steps * cfg.batch * cfg.context})
    prompt = torch.tensor([tokenizer.start, *tokenizer.encode(held_out["test"][0][:40])][: cfg.context // 2])
    count = min(50, cfg.context // 2)
    run.result(**{"test/cache-agreement": agreement(model, prompt.to(run.device), count)})
    told = samples(model, tokenizer, BEGINNINGS, cfg.context // 2, run.seed("samples"))
    weights.save(run.path("model.safetensors"), model)
    if run.leader:
        write_text(run.path("samples.txt"), told)
        tokenizer.save(run.path("tokenizer.json"))


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
    threads=1,
    generator=restored,
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
            {"dataset": "python", "unseen": "python", "characters": 60_000, "tested": 3000, "depth": 1, "context": 32}
            | {"batch": 2, "steps": 4},
            seeds=1,
            minutes=0.3,
            judges=False,
            variants=("llama", "gpt", "letters", "bpe-8192", "narrow", "wide", "brief", "little-text"),  # not borrowed
        ),
        "laptop": Scale(
            {"characters": 3_000_000, "tested": 20_000, "steps": 300, "eval_every": 150},
            seeds=3,
            minutes=8,
            offline={"dataset": "python", "unseen": "python"},
        ),
        "novelist": Scale(
            {"width": 256, "depth": 6, "head": 64, "context": 256, "batch": 8, "lr": 2e-3}
            | {"steps": 2400, "eval_every": 200, "tested": 200_000},
            seeds=1,
            minutes=20,
            judges=False,
            variants=("llama",),
        ),
        "paper": Scale(
            {"dataset": "oscar-fr", "width": 4096, "depth": 32, "head": 128, "groups": 1, "context": 2048}
            | {"batch": 2048, "lr": 3e-4, "steps": 250_000, "eval_every": 1000},
            seeds=3,
            minutes=1e6,
            variants=("llama",),
        ),
    },
    claims=(
        *(
            Claim(name, f"{says} needs fewer bits per byte", where, difference("llama", other, BITS), below(0))
            for name, other, where, says in (
                (
                    "pieces of words pay",
                    "letters",
                    "sec. 2.1",
                    "for the same arithmetic, text in 4,096 pieces of words",
                ),
                ("Llama's block is better", "gpt", "sec. 2.2", "Llama's block, beside GPT's of the same size,"),
                ("tokens help", "brief", "sec. 3, figure 1", "a network that saw four times as many tokens"),
                ("new text beats text again", "little-text", "sec. 2.1", "as much training on twenty times the text"),
            )
        ),
        Claim(
            "but not by much",
            "the two blocks differ by less than 0.1 bits per byte",
            "sec. 2.2, which gives no figure",
            difference("llama", "gpt", BITS),
            within(-0.1, 0.1),
        ),
        Claim(
            "parameters help",
            "of three widths, trained on as many tokens, each step up needs fewer bits",
            "sec. 3, figure 1",
            lambda t: max(t["llama"][BITS] - t["narrow"][BITS], t["wide"][BITS] - t["llama"][BITS]),
            below(0),
        ),
        Claim(
            "another register costs",
            "newspapers, encyclopedias, leaflets and debates need at least 0.01 bits per byte more than novels",
            "no paper",
            lambda t: t["llama"][f"{BITS}-unseen"] - t["llama"][BITS],
            above(0.01),
        ),
        Claim(
            "the cache changes nothing",
            "greedy tokens are the same with and without cached keys and values",
            "no paper",
            lambda t: min(t[name]["test/cache-agreement"] for name in ("llama", "gpt")),
            above(0.99),
        ),
    ),
    charts=(
        bars(BITS, f"{BITS}-unseen", "train/bits-per-byte"),
        curves("validation/bits-per-byte"),
        curves("train/loss", says="In nats a token: only losses of one tokenizer can be compared."),
        pictures("samples.txt", says="Beginnings and how the network went on, in three ways."),
    ),
    origin="A3",
)
