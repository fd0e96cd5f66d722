"""translation: networks that read an English sentence and write a French one, with and without attention.

A network without attention must put a sentence into one vector, its reader's last state. With attention it looks back
at every word that it writes: c_t = sum_s a_ts m_s, where a_t = softmax_s(score(h_t, m_s)) weighs what the reader
made of each word of the source. The score is v tanh(W h + U m) (Bahdanau et al. 2014, A.1.2) or h W m (Luong et al.
2015, eq. 8); the transformer (Vaswani et al. 2017) has nothing but attention.

    etudes run translation                    MINUTES minutes on two cores, 6 variants, 5 seeds
    etudes run translation --scale tatoeba    an hour on a GPU, 3 seeds: all of Tatoeba

To expect: TODO

Departures from the papers: small networks, sub-words and Adam; Luong's attention does not feed its result back, so that
all words of a given translation are taken at once; the transformer has its norms before each part; long sentences are
short ones, joined.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from etudes.core import Claim, Paper, Run, Scale, Study, Variant, above, between, difference, higher
from etudes.core.claims import Trial
from etudes.data.batches import Batches
from etudes.data.tokens import Tokenizer
from etudes.measure.error import evaluation_mode
from etudes.measure.size import count_parameters
from etudes.nn.translator import pad
from etudes.reports.charts import bars, curves, pictures
from etudes.studies.language.translation.config import Config
from etudes.studies.language.translation.corpus import DRAWN, corpus, curriculum
from etudes.studies.language.translation.decoding import own_words
from etudes.studies.language.translation.findings import directed, measure, quality, test_set
from etudes.studies.language.translation.networks import (
    GruTranslator,
    TransformerTranslator,
    Translator,
    luong_scores,
)
from etudes.tools.translator import length_groups
from etudes.train import adam, descend, fitted, seeded, weights


def network(cfg: Config, vocabulary: int) -> Translator:
    """The network of a variant. A transformer's layers are as wide inside as makes its parameters those of the GRU with
    Luong's attention, or as nearly as whole units can."""
    attention = "luong" if cfg.network == "transformer" else cfg.attention
    gru = GruTranslator(vocabulary, cfg.embedding, cfg.width, attention, cfg.dropout)
    if cfg.network == "gru":
        return gru

    def make(inner: int) -> Translator:
        return TransformerTranslator(vocabulary, cfg.embedding, cfg.heads, cfg.layers, inner, cfg.dropout)

    one, two = (count_parameters(make(inner)) for inner in (1, 2))
    return make(max(1, 1 + round((count_parameters(gru) - one) / (two - one))))


def loss_of(
    model: Translator, examples: list[tuple[list[int], list[int]]], end: int, own: np.ndarray | None = None
) -> Tensor:
    """The mean cross-entropy in nats of the true next tokens; what is filled up counts nothing.

    own: bool [n], the examples that are read on from the network's own most probable words and not from the true ones.
    """
    device = next(model.parameters()).device
    sources, lengths = (t.to(device) for t in pad([source for source, _ in examples], end))
    targets, sizes = pad([[model.vocabulary, *target, end] for _, target in examples], end)
    given, wanted = targets[:, :-1].to(device), targets[:, 1:].to(device)
    counted = (torch.arange(1, targets.shape[1]) < sizes[:, None]).to(device)
    memory, state = model.read(sources, lengths)
    if own is not None and own.any():
        rows = torch.from_numpy(own).to(device)
        words = own_words(model, memory, state, given.shape[1] - 1)
        given = torch.where(rows[:, None], torch.cat([given[:, :1], words], 1), given)
    outputs, _, _ = model.look(given, memory, state)
    return functional.cross_entropy(model.logits(outputs[counted]).float(), wanted[counted])


def load_network(cfg: Config, folder: Path) -> tuple[Translator, Tokenizer]:
    """The network of a finished run, and what cuts its sentences into tokens."""
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    return weights.load(folder / "model.safetensors", network(cfg, tokenizer.size)), tokenizer


def train(cfg: Config, run: Run) -> None:
    d = corpus(run, cfg.dataset, cfg.longest, cfg.descriptions, cfg.pieces)
    run.note(data=d.source)
    examples = directed(cfg, curriculum(d.tokens["train"], cfg.joined, run.rng("curriculum")))
    groups = length_groups([[example[side] for example in examples] for side in (0, 1)], cfg.batch, run)
    order = Batches(len(groups), 1, run.seed("order"))
    model = seeded(run, "init", lambda: network(cfg, d.tokenizer.size))
    opt, schedule = adam(model, replace(cfg, lr=cfg.lr * cfg.faster), betas=(0.9, 0.98))

    def step(i: int) -> dict[str, Tensor]:
        rows = groups[order.at(i).item()]
        own = run.rng("teacher", i).random(len(rows)) >= cfg.teacher if cfg.teacher < 1 else None
        loss = loss_of(model, [examples[row] for row in rows], d.tokenizer.start, own)
        return {"train/loss": descend(loss, opt, schedule, cfg.clip)}

    held = [test_set(cfg, run, d, "validation", parts) for parts in range(1, cfg.joined + 1)]

    def evaluate() -> dict[str, float]:
        with evaluation_mode(model):
            return {"validation/bleu": quality(d, model, held)[0]}

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))
    with evaluation_mode(model), run.autocast(), torch.no_grad():
        trained = [test_set(cfg, run, d, "test", parts) for parts in range(1, cfg.joined + 1)]
        every = [example for test in trained for example in test.examples]
        run.result(**{"test/loss": loss_of(model, every, d.tokenizer.start)})
        measure(cfg, run, d, model, trained)
    weights.save(run.path("model.safetensors"), model)
    if run.leader:
        d.tokenizer.save(run.path("tokenizer.json"))


BLEU = "test/bleu"
NONE = {"attention": "none"}


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
        Variant("none", NONE, "the writer sees the reader's last state"),
        Variant("none-reversed", NONE | {"reverse": True}, "the same, sources read from their end"),
        Variant("luong", says="the writer looks back: h W m"),
        Variant("bahdanau", {"attention": "bahdanau"}, "v tanh(W h + U m), two readers"),
        Variant("own-words", {"teacher": 0.5}, "as luong, half of the examples go on from the network's own words"),
        Variant("transformer", {"network": "transformer", "faster": 0.5}, "attention alone, as many parameters"),
    ),
    scales={
        "smoke": Scale(
            {"dataset": DRAWN, "descriptions": False, "pieces": 300, "tested": 4, "embedding": 16, "width": 16}
            | {"beam": 2, "steps": 4, "batch": 8, "log_every": 2},
            seeds=2,
            minutes=0.1,
            judges=False,
        ),
        "laptop": Scale(
            {"steps": 400},
            seeds=(5, 8, 12, 20),
            minutes=5,
            offline={"dataset": DRAWN, "descriptions": False},
        ),
        "tatoeba": Scale(
            {"descriptions": False, "longest": 0, "pieces": 8000, "embedding": 256, "width": 512, "layers": (3, 3)}
            | {"heads": 8, "dropout": 0.1, "steps": 30_000, "batch": 128, "lr": 1e-3, "tested": 2000}
            | {"eval_every": 3000, "log_every": 100},
            seeds=3,
            minutes=240,
        ),
        "paper": Scale(
            {"descriptions": False, "longest": 0, "pieces": 30_000, "embedding": 620, "width": 1000, "heads": 10}
            | {"joined": 5, "layers": (6, 6), "dropout": 0.1, "steps": 250_000, "batch": 80, "lr": 5e-4}
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
        "test/bleu-by-length": "BLEU, in per cent",
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
        "the places in the source that attention peaks at rise nearly always with the word written": between(
            "luong", 0.6, np.inf, "sec. 5.2.1, figure 3", of="test/monotony"
        ),
        "where attention steps back it goes more often to one of the three tokens before than with rows shuffled": higher(
            ("luong", "test/local"), ("luong", "test/local-shuffled"), "sec. 5.2.1, figure 3"
        ),
        "of two joined sentences attention lies for more than four fifths on the one that is being translated": between(
            "luong", 0.8, np.inf, "beyond the paper", of="test/attention-own"
        ),
        "beam search has a higher BLEU than taking the most probable word each time": higher(
            ("luong", f"{BLEU}-beam"), ("luong", BLEU), "arXiv:1409.3215, table 1", matters=0.5
        ),
        "learning half of the examples from the network's own words gives a higher BLEU than from the true ones": higher(
            "own-words", "luong", "PyTorch tutorial (teacher_forcing_ratio); arXiv:1506.03099, table 1", of=BLEU
        ),
        "without attention, reading the source from its end gives a higher BLEU": higher(
            "none-reversed", "none", "arXiv:1409.3215, sec. 3.3", of=BLEU, paper=30.6 - 25.9
        ),
        "a transformer has a higher BLEU than a GRU with attention of as many parameters after as many steps": higher(
            "transformer", "luong", "arXiv:1706.03762, table 2 (of far larger ones)", of=BLEU
        ),
        "with more sentences joined than in training the transformer loses more BLEU than the GRU with attention": Claim(
            larger_loss,
            above(0),
            "beyond the paper",
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
        curves("train/loss", "validation/bleu", title="Training"),
    ),
    origin="C",
)
