"""translation: networks that read an English sentence and write a French one, with and without attention.

A network without attention must put a sentence into one vector, its reader's last state. With attention it looks back
at every word that it writes: c_t = sum_s a_ts m_s, where a_t = softmax_s(score(h_t, m_s)) weighs what the reader
made of each word of the source. The score is v tanh(W h + U m) (Bahdanau et al. 2014, A.1.2) or h W m (Luong et al.
2015, eq. 8); the transformer (Vaswani et al. 2017) has nothing but attention.

    etudes run translation                    4 minutes on two cores, 5 variants, 5 seeds
    etudes run translation --scale tatoeba    2 hours on a GPU, 5 variants, 3 seeds: all of Tatoeba

To expect: with either attention a BLEU about twice that without, a gain that is larger for two sentences joined, and
attention that goes through the source mostly in order.

Departures from the papers: small networks, sub-words and Adam; Luong's attention does not feed its result back, so that
all words of a given translation are taken at once; the transformer has its norms before each part; long sentences are
short ones, joined.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from etudes.core import (
    Claim,
    Paper,
    Run,
    Scale,
    Study,
    Variant,
    above,
    at_least,
    between,
    difference,
    higher,
    positive,
    within,
)
from etudes.core.claims import Trial
from etudes.data.batches import Batches
from etudes.data.tokens import Tokenizer
from etudes.measure.error import evaluation_mode
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves, pictures
from etudes.studies.language.translation.corpus import DRAWN, corpus, curriculum
from etudes.studies.language.translation.findings import flat, held_out, measure, translations_of
from etudes.studies.language.translation.networks import Translator, luong_scores
from etudes.studies.language.translation.scores import bleu
from etudes.studies.language.translation.training import loss_of, mean_loss, network
from etudes.tools.translator import length_groups
from etudes.train import Adam, adam, descend, fitted, seeded, weights


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "tatoeba-eng-fra"  # pairs of English and French sentences
    longest: Annotated[int, at_least(0)] = 8  # words and marks of a sentence; 0: any number
    often: Annotated[int, at_least(0)] = 5  # times that the training part has every word of a sentence, at least
    descriptions: bool = True  # whether sentences begin as in the tutorial: I am, he is, they're ...
    pieces: Annotated[int, at_least(257)] = 1400  # tokens of the byte-level BPE that both languages share
    first: Annotated[float, within(0, 1)] = 0.2  # share of the examples, the shortest, that training begins with
    joined: Annotated[int, at_least(2)] = 2  # sentences that the longest training examples are joined of
    tested: Annotated[int, at_least(1)] = 250  # test examples of each length; lengths go to one more than in training
    network: Literal["gru", "transformer"] = "gru"  # what reads and writes
    attention: Literal["none", "luong", "bahdanau"] = "luong"  # of the GRU
    teacher: Annotated[float, within(0, 1)] = 1.0  # share of examples that go on from the true words, not the own ones
    embedding: Annotated[int, at_least(2)] = 48  # numbers in a token's vector, and the transformer's width
    width: Annotated[int, at_least(2)] = 64  # units of the GRU that writes
    heads: Annotated[int, at_least(1)] = 4  # of the transformer
    layers: tuple[int, int] = (2, 1)  # of the transformer that read, and that write
    dropout: Annotated[float, within(0, 1)] = 0.0  # share of vectors' numbers set to zero in training
    beam: Annotated[int, at_least(1)] = 5  # translations that the beam search keeps
    clip: Annotated[float, positive] = 1.0  # largest norm of a gradient
    batch: Annotated[int, at_least(1)] = 16  # examples a step, over all processes together
    lr: Annotated[float, positive] = 5e-3  # peak learning rate
    schedule: Schedule = "warmup"  # learning rate over the steps


def load_network(cfg: Config, folder: Path) -> tuple[Translator, Tokenizer]:
    """The network of a finished run, and what cuts its sentences into tokens."""
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    return weights.load(folder / "model.safetensors", network(cfg, tokenizer.size)), tokenizer


def train(cfg: Config, run: Run) -> None:
    d = corpus(run, cfg.dataset, cfg.longest, cfg.often, cfg.descriptions, cfg.pieces)
    run.note(data=d.source)
    examples = curriculum(d.tokens["train"], cfg.joined, run.rng("curriculum"))
    groups = length_groups([[example[side] for example in examples] for side in (0, 1)], cfg.batch, run)
    order = Batches(len(groups), 1, run.seed("order"))
    model = seeded(run, "init", lambda: network(cfg, d.tokenizer.size))
    opt, schedule = adam(model, cfg, betas=(0.9, 0.98))

    def step(i: int) -> dict[str, Tensor]:
        known = min(1.0, cfg.first + 2 * (1 - cfg.first) * i / cfg.steps)  # groups go from short sentences to long
        rows = groups[int(known * order.at(i).item())]
        own = run.rng("teacher", i).random(len(rows)) >= cfg.teacher if cfg.teacher < 1 else None
        loss = loss_of(model, [examples[row] for row in rows], d.tokenizer.start, own)
        return {"train/loss": descend(loss, opt, schedule, cfg.clip)}

    held = [held_out(cfg, run, d, "validation", parts) for parts in range(1, cfg.joined + 1)]

    def evaluate() -> dict[str, float]:
        with evaluation_mode(model):
            texts = flat(translations_of(d, model, test) for test in held)
            return {"validation/bleu": bleu(texts, flat(test.references for test in held))}

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))
    with evaluation_mode(model), run.autocast(), torch.no_grad():
        trained = [held_out(cfg, run, d, "test", parts) for parts in range(1, cfg.joined + 1)]
        every = [example for test in trained for example in test.examples]
        run.result(**{"test/loss": mean_loss(model, every, d.tokenizer.start, cfg.batch)})
        measure(cfg, run, d, model, trained)
    weights.save(run.path("model.safetensors"), model)
    if run.leader:
        d.tokenizer.save(run.path("tokenizer.json"))


BLEU = "test/bleu"


def wider_gap(trial: Trial) -> float:
    """What attention adds to the BLEU of two sentences joined, minus what it adds to that of one."""
    two, one = (difference("luong", "none", f"{BLEU}-{parts}") for parts in (2, 1))
    return two(trial) - one(trial)


def larger_loss(trial: Trial) -> float:
    """What the transformer loses of its BLEU from two sentences joined to three, minus what Luong's attention loses."""
    transformer, luong = (difference((v, f"{BLEU}-2"), (v, f"{BLEU}-3")) for v in ("transformer", "luong"))
    return transformer(trial) - luong(trial)


STUDY = Study(
    name="translation",
    question="Does attention help a small network to translate, and more so the longer the sentence?",
    paper=Paper(
        "Neural Machine Translation by Jointly Learning to Align and Translate",
        "Bahdanau, Cho, Bengio",
        2014,
        "https://arxiv.org/abs/1409.0473",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("none", {"attention": "none"}, "the writer sees the reader's last state"),
        Variant("luong", says="the writer looks back: h W m"),
        Variant("bahdanau", {"attention": "bahdanau"}, "v tanh(W h + U m), two readers"),
        Variant("own-words", {"teacher": 0.5}, "as luong, half of the examples go on from the network's own words"),
        Variant("transformer", {"network": "transformer"}, "attention alone, as many parameters"),
    ),
    scales={
        "smoke": Scale(
            {
                "dataset": DRAWN,
                "descriptions": False,
                "often": 0,
                "pieces": 300,
                "tested": 4,
                "embedding": 16,
                "width": 16,
            }
            | {"beam": 2, "steps": 4, "batch": 8, "log_every": 2},
            seeds=2,
            minutes=0.1,
            judges=False,
        ),
        "laptop": Scale(
            {"steps": 900},
            seeds=(5, 8, 12, 20),
            minutes=4,
            offline={"dataset": DRAWN, "descriptions": False},
        ),
        "tatoeba": Scale(
            {
                "descriptions": False,
                "often": 0,
                "longest": 0,
                "pieces": 8000,
                "embedding": 256,
                "width": 512,
                "layers": (3, 3),
            }
            | {"heads": 8, "dropout": 0.1, "steps": 30_000, "batch": 128, "lr": 1e-3, "tested": 2000}
            | {"eval_every": 3000, "log_every": 100},
            seeds=3,
            minutes=120,
        ),
        "paper": Scale(
            {
                "descriptions": False,
                "often": 0,
                "longest": 0,
                "pieces": 30_000,
                "embedding": 620,
                "width": 1000,
                "heads": 10,
            }
            | {"joined": 3, "layers": (6, 6), "dropout": 0.1, "steps": 250_000, "batch": 80, "lr": 5e-4}
            | {"tested": 3000, "beam": 12, "eval_every": 5000, "log_every": 100},
            seeds=3,
            minutes=14_400,
            offline={"dataset": DRAWN, "descriptions": False},
            variants=("none", "bahdanau"),
        ),
    },
    words={
        BLEU: "BLEU, in per cent",
        f"{BLEU}-1": "BLEU of one sentence",
        f"{BLEU}-2": "BLEU of two sentences joined",
        f"{BLEU}-3": "BLEU of three sentences joined",
        f"{BLEU}-beam": "BLEU by beam search",
        "test/monotony": "order of attention, from -1 to 1",
        "test/attention-own": "share of attention on the sentence being translated",
    },
    idea=luong_scores,
    claims={
        "a GRU that looks back by Luong's attention has a higher BLEU than one without attention": higher(
            "luong", "none", "arXiv:1508.04025, table 1", of=BLEU, paper=2.8
        ),
        "a GRU that looks back by Bahdanau's attention has a higher BLEU than one without attention": higher(
            "bahdanau", "none", "table 1, RNNsearch-50 against RNNencdec-50", of=BLEU, paper=26.75 - 17.82
        ),
        "attention adds more to the BLEU of two sentences joined than to that of one": Claim(
            wider_gap, above(0), "figure 2", number="gain of luong over none with two sentences, minus that with one"
        ),
        "the places that attention peaks at rise with the word written for three in four pairs of words": between(
            "luong", 0.5, np.inf, "sec. 5.2.1, figure 3", of="test/monotony"
        ),
        "of two joined sentences more than two thirds of attention lie on the one being translated": between(
            "luong", 2 / 3, np.inf, "beyond the papers", of="test/attention-own"
        ),
        "for a GRU with attention beam search has a higher BLEU than the most probable word each time": higher(
            ("luong", f"{BLEU}-beam"), ("luong", BLEU), "arXiv:1409.3215, table 1", matters=0.75
        ),
        "for a transformer beam search has a higher BLEU than the most probable word each time": higher(
            ("transformer", f"{BLEU}-beam"), ("transformer", BLEU), "arXiv:1409.3215, table 1", matters=0.75
        ),
        "learning half of the examples from own words gives a higher BLEU than from the true ones": higher(
            "own-words", "luong", "PyTorch tutorial (teacher_forcing_ratio); arXiv:1506.03099, table 1", of=BLEU
        ),
        "attention learnt from own words goes through the source more in order than that learnt from true ones": higher(
            "own-words", "luong", "beyond the papers", of="test/monotony"
        ),
        "at equal parameters and steps a transformer has a higher BLEU than a GRU with attention": higher(
            "transformer", "luong", "arXiv:1706.03762, table 2 (of far larger ones)", of=BLEU
        ),
        "with more sentences joined than in training the transformer loses more BLEU than the GRU": Claim(
            larger_loss,
            above(0),
            "beyond the papers",
            number="BLEU lost from two sentences to three: transformer minus luong",
        ),
    },
    charts=(
        curves(
            "test/bleu-by-length",
            step="sentences joined; in training, at most two",
            title="BLEU against the length of the source",
        ),
        bars(BLEU, f"{BLEU}-beam", title="Quality of translations"),
        pictures(
            "attention.png",
            title="What is looked at",
            says="A row for each token written and a column for each token read, the darker the more attention.",
        ),
        bars("test/monotony", "test/attention-own", title="Order of attention"),
        curves("train/loss", title="Training loss"),
    ),
    origin="C",
    precision="fp32",
)
