"""finetune-lora: a language network learns to name the mood of financial news, all of it or a low-rank change of it.

A sentence goes in as text, and the answer is written as text: "positive", "neutral" or "negative"; any other answer is
an error. Full fine-tuning trains every matrix W. LoRA (sec. 4.1) keeps W as it is and trains two thin ones beside it,

    W' = W + (alpha / r) B A,    B = 0 at first,

of rank r, for the queries' and values' matrices of all attention.

    etudes run finetune-lora                      5 minutes on two cores, 5 seeds: a small T5 of our own
    etudes run finetune-lora --scale smollm2      30 minutes, 1 seed: SmolLM2 with 135 million parameters
    etudes run finetune-lora --scale paper        on a GPU: Flan-T5 base with 248 million, of the hub

To expect: what is pretrained is better than its unpretrained copy.

Departures from the paper: a T5 of about two million parameters for RoBERTa and GPT-3; pretrained in minutes on
descriptions of Debian's packages and on the training sentences without their labels.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, positive
from etudes.data.batches import Batches
from etudes.data.sentences import Sentence, sentences
from etudes.measure.error import evaluation_mode
from etudes.nn.lora import LowRankLinear, adapt_linear
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves, plane
from etudes.studies.adapt.finetune_lora.claims import CLAIMS, ERROR
from etudes.studies.adapt.finetune_lora.findings import answer_scores, measure_merged, measure_size, read_answers
from etudes.tools.text_to_text import Kind, Pretraining, TextToText, hub_network, own_network, smollm2
from etudes.train import Steps, descend, fitted, part, scheduled, seeded

SHARED_SEED = 0  # one network is adapted under all seeds, as one pretrained network is by everybody
TOGETHER = 128  # sentences that are answered at once
LONGEST = 6  # tokens of an answer, its end among them


@dataclass(frozen=True)
class Config(Steps):
    dataset: str = "financial-phrasebank"  # labelled sentences, as listed by `etudes data`
    agreement: Literal[50, 66, 75, 100] = 50  # per cent of a sentence's judges that agreed, at least
    labels: Annotated[int, at_least(0)] = 0  # training sentences whose class is known; 0: all
    tested: Annotated[int, at_least(0)] = 0  # sentences of validation and of test that are asked, at most; 0: all
    prompt: str = "sentiment: {}"  # what is read; {} stands for the sentence
    tokens: Annotated[int, at_least(1)] = 48  # of a sentence, at most
    network: Kind = "own"  # what is adapted
    pretrained: bool = True  # whether it begins with pretrained weights
    width: Annotated[int, at_least(1)] = 96  # of our own
    widen: Annotated[float, positive] = 1.0  # the width, as a multiple of `width`
    depth: Annotated[int, at_least(1)] = 2  # blocks of its encoder, and of its decoder
    head: Annotated[int, at_least(1)] = 32  # width of its attention heads
    text: str = "debian-graph"  # on which it is pretrained, half of the time; the rest is the training sentences
    characters: Annotated[int, at_least(0)] = 4_000_000  # of that text, about; 0: all
    vocabulary: Annotated[int, at_least(257)] = 4096  # pieces of words that it reads
    base_steps: Annotated[int, at_least(1)] = 1200  # of pretraining
    base_batch: Annotated[int, at_least(1)] = 32  # windows a step of it
    base_tokens: Annotated[int, at_least(8)] = 64  # of a window
    base_lr: Annotated[float, positive] = 3e-3  # its peak learning rate, of Adam
    method: Literal["full", "lora"] = "lora"  # what is trained
    rank: Annotated[int, at_least(1)] = 8  # r
    alpha: Annotated[float, positive] = 16.0  # the change is scaled by alpha / r
    matrices: Literal["qv", "all"] = "qv"  # of which blocks' matrices are changed: queries' and values', or all
    half: Literal["both", "encoder", "decoder"] = "both"  # whose matrices are changed
    full_lr: Annotated[float, positive] = 1e-3  # peak learning rate of Adam where all is trained
    first_lr: Annotated[float, positive] = 1e-3  # the same from first weights
    lora_lr: Annotated[float, positive] = 3e-3  # of A and B
    schedule: Schedule = "warmup"  # learning rates over the steps


def network(cfg: Config, run: Run, near: list[str]) -> TextToText:
    """What is adapted; `near` are the training sentences, of which our own is pretrained too."""
    if cfg.network == "smollm2-135m":
        return smollm2(run)
    if cfg.network != "own":
        return hub_network(run, cfg.network, cfg.pretrained, near)
    sizes = (round(cfg.width * cfg.widen), cfg.depth, cfg.head, cfg.vocabulary)
    recipe = Pretraining(cfg.text, cfg.characters, *sizes, cfg.base_tokens, cfg.base_steps, cfg.base_batch, cfg.base_lr)
    return own_network(run, recipe, near, SHARED_SEED, cfg.pretrained)


def is_changed(name: str, cfg: Config) -> bool:
    """Whether LoRA changes the linear layer of this name, in our T5 or in a Llama of the transformers library."""
    kinds = {"qv": ("q", "v"), "all": ("q", "k", "v", "out", "o", "gate", "up", "down")}[cfg.matrices]
    *place, kind = name.split(".")
    return kind.removesuffix("_proj") in kinds and (cfg.half == "both" or cfg.half in place)


def choose_trained(cfg: Config, run: Run, model: TextToText) -> torch.optim.Optimizer:
    """Prepare the model, in place, for what its method trains; the optimiser of that."""
    if cfg.method == "full":
        model.requires_grad_(True)
        rate = cfg.full_lr if cfg.pretrained else cfg.first_lr
    else:
        seeded(
            run,
            "lora",
            lambda: (adapt_linear(model, cfg.rank, cfg.alpha, lambda name: is_changed(name, cfg)), model)[1],
        )
        rate = cfg.lora_lr
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate, fused=True)


def spread(found: tuple[Sentence, ...], most: int) -> tuple[Sentence, ...]:
    """So many of the sentences at most, from all over their order; 0: all."""
    return found[:: max(1, len(found) // most)][:most] if most else found


def train(cfg: Config, run: Run) -> None:
    d = sentences(cfg.dataset, cfg.agreement)
    run.note(data=d.source)
    model = network(cfg, run, [s.text for s in d.train])
    order = run.rng("labels").permutation(len(d.train))
    learnt = [d.train[i] for i in (order[: cfg.labels] if cfg.labels else order)]
    opt = choose_trained(cfg, run, model)
    schedule = scheduled(opt, cfg)
    batches = Batches(len(learnt), cfg.batch, run.seed("order"))
    asked = {"validation": spread(d.validation, cfg.tested), "test": spread(d.test, cfg.tested)}
    every = (*learnt, *asked["validation"], *asked["test"])
    questions = {s.text: model.question(cfg.prompt, s.text, cfg.tokens) for s in every}
    answers = [model.answer(name) for name in d.classes]

    def loss(of: TextToText, rows: Tensor) -> Tensor:
        batch = [learnt[row] for row in rows.tolist()]
        return of.loss([questions[s.text] for s in batch], [answers[s.label] for s in batch])

    def step(i: int) -> dict[str, Tensor]:
        (rows,) = part(batches.at(i))
        return {"train/loss": descend(loss(model, rows), opt, schedule, 1.0)}

    def write(of: TextToText, split: str) -> list[str]:
        found: list[str] = []
        with evaluation_mode(of):
            for begin in range(0, len(asked[split]), TOGETHER):
                found += of.write([questions[s.text] for s in asked[split][begin : begin + TOGETHER]], LONGEST)
        return found

    def evaluate() -> dict[str, float]:
        found = {}
        for split in asked:
            named = read_answers(write(model, split), d.classes)
            scores = answer_scores(named, [s.label for s in asked[split]], len(d.classes))
            found |= {f"{split}/{name}": value for name, value in scores.items()}
        return found

    labels = [s.label for s in d.train]
    common = max(set(labels), key=labels.count)
    majority = answer_scores([common] * len(asked["test"]), [s.label for s in asked["test"]], len(d.classes))
    run.result(**{f"test/{name}-majority": majority[name] for name in ("error", "macro-f1")})
    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))
    measure_size(run, model, lambda of: loss(of, batches.at(0)))
    measure_merged(run, model, lambda of: write(of, "validation"))


TINY = {
    "dataset": "drawn-sentences", "text": "drawn-packages", "vocabulary": 300, "width": 8, "depth": 1, "head": 4,
    "base_steps": 2, "base_batch": 4, "base_tokens": 16, "steps": 2, "batch": 4, "tokens": 12,
}  # fmt: skip
OFFLINE = {"dataset": "drawn-sentences", "text": "python"}
SMOLLM2 = {
    "network": "smollm2-135m", "prompt": "{}\nThe mood of this news is", "full_lr": 3e-5, "lora_lr": 1e-3,
    "steps": 40, "batch": 8, "tested": 200, "log_every": 1,
}  # fmt: skip
FLAN = {
    "prompt": "Is the mood of this news negative, neutral or positive? {}", "tokens": 128, "full_lr": 1e-4,
    "first_lr": 1e-4, "lora_lr": 1e-3, "steps": 1000, "batch": 16,
}  # fmt: skip
HUB = ("full", "lora", "lora-rank-1", "lora-all", "full-first", "full-128", "lora-128")
FULL, FIRST, NARROW = {"method": "full"}, {"pretrained": False}, {"widen": 0.5}
SECTIONS = {
    "All or low-rank": ("full", "lora"),
    "Without pretraining": ("full-first", "lora-first"),
    "Other low-rank changes": ("lora-rank-1", "lora-all", "lora-decoder"),
    "Half as wide": ("full-narrow", "lora-narrow"),
    "128 labels": ("full-128", "lora-128"),
}

STUDY = Study(
    name="finetune-lora",
    question="Does a low-rank change of a pretrained language network do as well as training all of it?",
    paper=Paper(
        "LoRA: Low-Rank Adaptation of Large Language Models",
        "Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen",
        2021,
        "https://arxiv.org/abs/2106.09685",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("full", FULL, "all weights"),
        Variant("lora", {}, "rank 8 beside queries and values"),
        Variant("full-first", FULL | FIRST, "all weights of the copy that is not pretrained"),
        Variant("lora-first", FIRST, "as lora, of that copy"),
        Variant("lora-rank-1", {"rank": 1}, "rank 1 beside queries and values"),
        Variant("lora-all", {"rank": 2, "matrices": "all"}, "rank 2 beside all matrices of blocks, as many numbers"),
        Variant("lora-decoder", {"rank": 12, "half": "decoder"}, "rank 12 in the decoder alone, as many numbers"),
        Variant("full-narrow", FULL | NARROW, "all weights of a network half as wide"),
        Variant("lora-narrow", NARROW, "as lora, of the network half as wide"),
        Variant("full-128", FULL | {"labels": 128}, "all weights, 128 labels"),
        Variant("lora-128", {"labels": 128}, "as lora, 128 labels"),
    ),
    scales={
        "smoke": Scale(TINY, seeds=1, minutes=0.1, judges=False, variants=("full", "lora", "full-first", "lora-all")),
        "laptop": Scale({"steps": 250, "batch": 16}, seeds=(5, 8, 12, 20), minutes=5, offline=OFFLINE),
        "smollm2": Scale(SMOLLM2, seeds=1, minutes=30, judges=False, variants=("full", "lora"), threads=2),
        "flan-small": Scale(FLAN | {"network": "flan-t5-small"}, seeds=3, minutes=60, judges=False, variants=HUB),
        "flan-large": Scale(FLAN | {"network": "flan-t5-large"}, seeds=3, minutes=400, judges=False, variants=HUB),
        "paper": Scale(
            FLAN | {"network": "flan-t5-base"},
            seeds=(5, 8, 12, 20),
            minutes=600,
            variants=HUB,
            offline=OFFLINE | {"network": "flan-t5-base-random"},
        ),
    },
    claims=CLAIMS,
    words={
        ERROR: "test error",
        "test/macro-f1": "test macro F1",
        "test/outside": "test answers that name no class",
        "parameters": "numbers that are trained",
        "train/trained-share": "share of the network's numbers that is trained",
        "train/megabytes-file": "megabytes of the file of what was trained",
        "train/megabytes-state": "megabytes of gradients and the optimiser's moments",
        "test/error-majority": "test error of always neutral",
    },
    charts=(
        bars(ERROR, title="Test error by what is trained", sections=SECTIONS),
        plane(
            ("parameters", ERROR),
            log_x=True,
            variants=("full", "lora", "lora-rank-1", "lora-all", "full-narrow", "lora-narrow"),
            title="Test error against how much is trained",
        ),
        bars("test/macro-f1", title="Macro F1 by what is trained", sections=SECTIONS),
        bars(
            "train/megabytes-state",
            "train/megabytes-activations",
            title="Memory of a step: what low-rank changes save, and what not",
            sections={"a batch of 16": ("full", "lora", "lora-rank-1")},
        ),
        curves("train/loss", title="Training loss", variants=("full", "lora", "full-first", "lora-first")),
    ),
    idea=LowRankLinear,
    origin="A7",
)
