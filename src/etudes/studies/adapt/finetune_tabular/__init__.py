"""finetune-tabular: a language network reads the rows of a table as text, and says whether somebody smokes.

A row is written as a list (sec. 3.1), and the answer is a word, "yes" or "no"; any other answer is an error:

    age 41 education some college gender female smoker   ->   yes

Rows are ranked by log p(yes | row) - log p(no | row), from which the area under the ROC curve (AUC) is computed.
Gradient boosting and logistic regression learn from the same rows' values.

    etudes run finetune-tabular                           6 minutes on two cores, 5 seeds: a small T5 of our own
    etudes run finetune-tabular --scale smoker-signals    60 minutes, 3 seeds: Kaggle's table, from your folder
    etudes run finetune-tabular --scale paper             on a GPU: Flan-T5 base with 248 million, of the hub

To expect: the network comes near logistic regression, and boosted trees rank better where many rows are known.

Departures from the paper: a T5 of 160,000 parameters for T0 of eleven billion, pretrained on training rows without
answers; MiniLM, which knows English, is read and not trained; LoRA for (IA)^3; lists without marks.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, positive, within
from etudes.data.batches import Batches
from etudes.data.tables import Rows, Table, drawn_chances, table
from etudes.nn.lora import adapt_linear
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves
from etudes.studies.adapt.finetune_tabular.asking import Asker, column_orders
from etudes.studies.adapt.finetune_tabular.cells import Reading, row_network
from etudes.studies.adapt.finetune_tabular.claims import AUC, CLAIMS
from etudes.studies.adapt.finetune_tabular.findings import (
    Scorer,
    answer_scores,
    boosted_trees,
    logistic,
    rank_scores,
    read_answers,
    share_cut,
    vector_reader,
)
from etudes.studies.adapt.finetune_tabular.writing import Writer, Writing, passages_of, writer
from etudes.tools.text_to_text import EncoderDecoder, hub_network
from etudes.train import Adam, descend, fitted, part, scheduled, seeded

WAYS: dict[str, tuple[Writing, ...]] = {  # to write the rows that a network of our own is pretrained on, in turn
    "drawn": ("plain", "names-hidden", "digits"),
    "survey": ("plain", "names-hidden", "words-hidden"),
}


@dataclass(frozen=True)
class Config(Adam):
    table: str = "smoke-ban"  # as listed by `etudes data`
    drawn: bool = True  # whether drawn-smokers is read in its place, whose chances are known
    labels: Annotated[int, at_least(0)] = 4000  # training rows whose answer is known, drawn by the seed; 0: all
    tested: Annotated[int, at_least(0)] = 0  # rows of validation and of test that are asked, at most; 0: all
    method: Literal["full", "lora", "trees", "logistic", "vectors"] = "full"  # what learns
    writing: Writing = "plain"  # how rows are written
    marks: bool = False  # whether marks stand between names and values, as in "age: 41, gender: female"
    shuffled: bool = False  # whether the columns of each training row stand in an order of chance
    network: Literal[  # a small T5 of our own, or Flan-T5 of the hub; random: of its shape
        "own", "flan-t5-small", "flan-t5-base", "flan-t5-large", "flan-t5-base-random"
    ] = "own"
    pretrained: bool = True  # whether it begins with pretrained weights
    width: Annotated[int, at_least(1)] = 64  # of our own
    widen: Annotated[float, positive] = 1.0  # the width, as a multiple of `width`
    depth: Annotated[int, at_least(1)] = 1  # blocks of its encoder, and of its decoder
    head: Annotated[int, at_least(1)] = 16  # width of its attention heads
    vocabulary: Annotated[int, at_least(257)] = 1024  # pieces of words that it reads, at most
    taken: Annotated[float, within(0, 1)] = 0.3  # share of a row's cells that are taken out in its pretraining
    base_steps: Annotated[int, at_least(1)] = 700  # of pretraining
    base_batch: Annotated[int, at_least(1)] = 32  # rows a step of it
    base_lr: Annotated[float, positive] = 3e-3  # its peak learning rate, of Adam
    shorter: Annotated[int, at_least(1)] = 1  # the steps of training are divided by this
    rank: Annotated[int, at_least(1)] = 8  # of the changes of LoRA
    alpha: Annotated[float, positive] = 16.0  # the change is scaled by alpha / rank
    lr: Annotated[float, positive] = 1e-3  # peak learning rate where all is trained
    lora_lr: Annotated[float, positive] = 3e-3  # of LoRA
    schedule: Schedule = "warmup"  # learning rates over the steps
    tree_lr: Annotated[float, positive] = 0.05  # by which each tree of the boosting is scaled
    trees: Annotated[int, at_least(1)] = 100  # how many
    leaves: Annotated[int, at_least(2)] = 6  # of a tree, at most
    read: Annotated[int, at_least(0)] = 1500  # test rows that the embedder reads, at most, and a fifth as many others
    embedder: str = "minilm"  # the pretrained encoder whose vectors are read: minilm, e5-small, hashing
    penalty: Annotated[float, positive] = 1.0  # on the weights that read its vectors


def network(cfg: Config, run: Run, d: Table) -> EncoderDecoder:
    """What is adapted."""
    if cfg.network != "own":
        return hub_network(run, cfg.network, cfg.pretrained, passages_of(d))
    ways: tuple[Writing, ...] = WAYS["drawn" if cfg.drawn else "survey"]
    sizes = (round(cfg.width * cfg.widen), cfg.depth, cfg.head, cfg.vocabulary)
    recipe = Reading(d.name, *sizes, ways, cfg.taken, cfg.base_steps, cfg.base_batch, cfg.base_lr)
    return row_network(run, recipe, d, cfg.pretrained)


def choose_trained(cfg: Config, run: Run, model: EncoderDecoder) -> torch.optim.Optimizer:
    """Prepare the model, in place, for what its method trains; the optimiser of that. LoRA changes all matrices
    of the blocks."""

    def adapt() -> EncoderDecoder:
        adapt_linear(model, cfg.rank, cfg.alpha, lambda name: ".blocks." in name)
        return model

    if cfg.method == "lora":
        seeded(run, "lora", adapt)
    rate = cfg.lora_lr if cfg.method == "lora" else cfg.lr
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate, fused=True)


def train(cfg: Config, run: Run) -> None:
    d = table("drawn-smokers" if cfg.drawn else cfg.table)
    run.note(data=d.source)
    drawn = run.rng("labels").permutation(len(d.train))
    learnt = d.train.at(drawn[: cfg.labels] if cfg.labels else drawn)
    asked = {split: first(rows, cfg.tested) for split, rows in (("validation", d.validation), ("test", d.test))}
    common = np.full(len(asked["test"]), round(learnt.labels.mean()))
    run.result(**{"test/error-majority": answer_scores(common, asked["test"].labels)["error"]})
    if d.name == "drawn-smokers":
        best = rank_scores(drawn_chances(asked["test"].values), asked["test"].labels, 0.5)
        run.result(**{"test/auc-best": best["auc"]})
    if cfg.method in ("full", "lora"):
        train_network(cfg, run, d, learnt, asked)
    else:
        measure_scorer(cfg, run, d, learnt, asked)


def first(rows: Rows, most: int) -> Rows:
    """So many rows at most; 0: all. They stand in an order of chance."""
    return rows.at(np.arange(min(most, len(rows)))) if most else rows


def measure_scorer(cfg: Config, run: Run, d: Table, learnt: Rows, asked: dict[str, Rows]) -> None:
    """Fit what learns without training a network, and report its numbers."""
    odds_of: Scorer
    if cfg.method == "trees":
        odds_of = boosted_trees(d, learnt, cfg.tree_lr, cfg.trees, cfg.leaves, run.seed("trees") % 2**32)
    elif cfg.method == "logistic":
        odds_of = logistic(d, learnt)
    else:
        asked = {split: first(rows, cfg.read if split == "test" else cfg.read // 5) for split, rows in asked.items()}
        how = writer(d, cfg.writing, marks=True)
        odds_of = vector_reader(run, learnt, list(asked.values()), how, cfg.embedder, cfg.penalty)
    cut = share_cut(odds_of(asked["validation"]), learnt.labels.mean())
    for split, rows in asked.items():
        odds = odds_of(rows)
        scores = rank_scores(odds, rows.labels, cut) | answer_scores((odds > 0).astype(int), rows.labels)
        run.result(**{f"{split}/{name}": value for name, value in scores.items()})


def train_network(cfg: Config, run: Run, d: Table, learnt: Rows, asked: dict[str, Rows]) -> None:
    """Adapt the network to the rows, and report its numbers."""
    model = network(cfg, run, d)
    opt = choose_trained(cfg, run, model)
    run.result(**{"train/parameters": sum(p.numel() for p in opt.param_groups[0]["params"])})
    cfg = dataclasses.replace(cfg, steps=max(1, cfg.steps // cfg.shorter))
    schedule = scheduled(opt, cfg)
    batches = Batches(len(learnt), cfg.batch, run.seed("order"))
    asker = Asker(model, writer(d, cfg.writing, cfg.marks), d.target)
    columns = len(d.columns)
    known = None if cfg.shuffled else asker.questions(learnt)

    def step(i: int) -> dict[str, Tensor]:
        rows = part(batches.at(i))[0].numpy()
        if known is None:
            orders = list(column_orders(columns, len(rows), run.rng("columns", i)))
            questions = asker.questions(learnt.at(rows), orders)
        else:
            questions = [known[k] for k in rows]
        loss = model.loss(questions, [asker.answers[label] for label in learnt.labels[rows]])
        return {"train/loss": descend(loss, opt, schedule, 1.0)}

    def evaluate() -> dict[str, float]:
        tokens = {split: asker.questions(rows) for split, rows in asked.items()}
        odds = {split: asker.odds(questions) for split, questions in tokens.items()}
        cut = share_cut(odds["validation"], learnt.labels.mean())
        scores = {"train/tokens": float(np.mean([len(text) for text in tokens["test"]]))}
        for split, rows in asked.items():
            scores |= {f"{split}/{name}": x for name, x in rank_scores(odds[split], rows.labels, cut).items()}
        written = answer_scores(read_answers(asker.write(tokens["test"])), asked["test"].labels)
        orders = list(column_orders(columns, len(asked["test"]), run.rng("columns at test")))
        moved = rank_scores(asker.odds(asker.questions(asked["test"], orders)), asked["test"].labels, cut)
        return scores | {f"test/{name}": x for name, x in written.items()} | {"test/auc-shuffled": moved["auc"]}

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))


TINY = {
    "vocabulary": 300, "width": 8, "head": 8, "base_steps": 2, "base_batch": 4, "steps": 2, "batch": 4, "tested": 40,
    "trees": 2, "embedder": "hashing", "table": "drawn-smokers",
}  # fmt: skip
OFFLINE = {"table": "drawn-smokers", "embedder": "hashing"}
FEW, FIRST, REAL = {"labels": 64, "shorter": 3}, {"pretrained": False}, {"drawn": False}
LORA, TREES, LOGISTIC, VECTORS = ({"method": method} for method in ("lora", "trees", "logistic", "vectors"))
REALS = ("full-real", "lora-real", "words-real", "trees-real", "logistic-real")
BRIEF = (
    "full", "lora", "first", "narrow", "names", "digits", "shuffled", "trees", "logistic", "full-64", "first-64",
    "trees-64", "logistic-64", "full-real", "trees-real", "logistic-real", "vectors-64", "vectors-names-64",
    "logistic-real-64",
)  # fmt: skip
SIGNALS = {"table": "smoker-signals", "steps": 4000, "batch": 32, "base_steps": 2000}
LAPTOP = {"steps": 500, "batch": 32, "tested": 2000}
HUB = ("full", "lora", "names", "digits", "trees", "full-64", "trees-64", *REALS)
FLAN = {"steps": 1000, "batch": 16, "lr": 1e-4, "lora_lr": 1e-3, "marks": True}
SECTIONS = {
    "4,000 rows": ("full", "lora", "first", "narrow", "trees", "logistic"),
    "64 rows": ("full-64", "first-64", "trees-64", "logistic-64"),
    "Rows written otherwise": ("names", "digits", "shuffled"),
    "Survey": ("full-real", "trees-real", "logistic-real"),
    "Survey, 64 rows": ("vectors-64", "vectors-names-64", "logistic-real-64"),
}

STUDY = Study(
    name="finetune-tabular",
    question="Does a language network that reads a table's rows as text rank people as well as boosted trees?",
    paper=Paper(
        "TabLLM: Few-shot Classification of Tabular Data with Large Language Models",
        "Hegselmann, Buendia, Lang, Agrawal, Jiang, Sontag",
        2022,
        "https://arxiv.org/abs/2210.10723",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("full", {}, "all weights of the pretrained network"),
        Variant("lora", LORA, "rank 8 beside all matrices of its blocks"),
        Variant("first", FIRST, "all weights of the copy that is not pretrained"),
        Variant("narrow", {"widen": 0.5}, "all weights of a network half as wide"),
        Variant("names", {"writing": "names-hidden"}, "columns are called f1, f2 ..."),
        Variant("digits", {"writing": "digits"}, "numbers digit by digit"),
        Variant("shuffled", {"shuffled": True}, "columns of each training row in an order of chance"),
        Variant("trees", TREES, "boosted trees on the values"),
        Variant("logistic", LOGISTIC, "logistic regression on the values"),
        Variant("full-64", FEW, "as full, of 64 rows"),
        Variant("first-64", FEW | FIRST, "as first, of 64 rows"),
        Variant("trees-64", FEW | TREES, "as trees, of 64 rows"),
        Variant("logistic-64", FEW | LOGISTIC, "as logistic, of 64 rows"),
        Variant("full-real", REAL, "as full, on the survey"),
        Variant("lora-real", REAL | LORA, "as lora, on the survey"),
        Variant("words-real", REAL | {"writing": "words-hidden"}, "words are called v1, v2 ..., on the survey"),
        Variant("trees-real", REAL | TREES, "as trees, on the survey"),
        Variant("logistic-real", REAL | LOGISTIC, "as logistic, on the survey"),
        Variant("vectors-64", REAL | FEW | VECTORS, "64 rows of the survey as MiniLM reads them"),
        Variant("vectors-names-64", REAL | FEW | VECTORS | {"writing": "names-hidden"}, "columns are called f1, f2"),
        Variant("logistic-real-64", REAL | FEW | LOGISTIC, "as logistic, of 64 rows of the survey"),
    ),
    scales={
        "smoke": Scale(
            TINY, seeds=1, minutes=0.1, judges=False, variants=("full", "lora", "shuffled", "trees", "vectors-64")
        ),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12), minutes=6, variants=BRIEF, offline=OFFLINE),
        "smoker-signals": Scale(SIGNALS, seeds=3, minutes=60, judges=False, variants=REALS),
        "flan-small": Scale(FLAN | {"network": "flan-t5-small"}, seeds=3, minutes=60, judges=False, variants=HUB),
        "paper": Scale(
            FLAN | {"network": "flan-t5-base"},
            seeds=(5, 8, 12),
            minutes=600,
            variants=HUB,
            offline=OFFLINE | {"network": "flan-t5-base-random"},
        ),
    },
    claims=CLAIMS,
    words={
        AUC: "test AUC",
        "test/auc-shuffled": "test AUC, columns shuffled",
        "test/auc-best": "test AUC of the known chances",
        "test/balanced-accuracy": "balanced accuracy of answers",
        "test/balanced-accuracy-cut": "balanced accuracy of cut odds",
        "test/outside": "test answers that are neither yes nor no",
        "test/error": "test error",
        "test/error-majority": "test error of always no",
    },
    charts=(
        bars(AUC, title="How well smokers are ranked", sections=SECTIONS),
        bars(
            AUC,
            "test/auc-shuffled",
            title="Columns in the table's order, and shuffled at test",
            sections={"4,000 rows": ("full", "names", "digits", "shuffled")},
        ),
        bars(
            "test/balanced-accuracy",
            "test/balanced-accuracy-cut",
            title="Answers as they are written, and odds cut at the share of smokers",
            sections={"4,000 rows": ("full", "lora", "trees"), "Survey": ("full-real", "trees-real", "logistic-real")},
        ),
        curves("train/loss", title="Training loss", variants=("full", "lora", "first", "digits", "shuffled")),
    ),
    idea=Writer,
    origin="A7",
    precision="fp32",
)
