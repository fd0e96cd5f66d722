"""finetune-encoder: a pretrained encoder learns to tell the mood of financial news; what of it has to be trained?

An encoder turns the words of a sentence into vectors; their mean h is the sentence's, and

    p(class) = softmax(W h + b)

its mood. Fine-tuning trains W, b and the encoder itself, down the gradient of -log p of the sentences whose mood is
known. A linear probe trains W and b alone.

    etudes run finetune-encoder                  6 minutes on two cores, 5 seeds: MiniLM, 22 million parameters
    etudes run finetune-encoder --scale paper    on a GPU: BERT and XLM-RoBERTa, base, of the hub

To expect: what is pretrained errs least, and fine-tuning all of it errs less than reading it out as it is.

Departures from the paper: MiniLM of six blocks for BERT, and not pretrained further on financial news; a sentence's
vector is the mean of its tokens'; one pass over a quarter of the sentences.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, positive, within
from etudes.core.errors import Problem
from etudes.data.batches import Batches
from etudes.data.sentences import Sentence, Sentences, sentences
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves
from etudes.studies.adapt.finetune_encoder.claims import CLAIMS, ERROR
from etudes.studies.adapt.finetune_encoder.findings import (
    class_scores,
    count_words,
    majority,
    read_all,
    read_classes,
    shared_vectors,
    spread,
    standardise,
)
from etudes.studies.adapt.finetune_encoder.tuning import Classifier, Trained, choose_trained
from etudes.tools.encoders import Encoder, sentence_encoder, shorten
from etudes.train import Steps, descend, fitted, part, scheduled, seeded


@dataclass(frozen=True)
class Config(Steps):
    dataset: str = "financial-phrasebank"  # labelled sentences, as listed by `etudes data`
    agreement: Literal[50, 66, 75, 100] = 50  # per cent of a sentence's judges that agreed, at least
    labels: Annotated[int, at_least(0)] = 0  # training sentences whose class is known, drawn anew by each seed; 0: all
    fewer: Annotated[int, at_least(1)] = 1  # known are one in so many of these
    tested: Annotated[int, at_least(0)] = 0  # test sentences that are asked, at most; 0: all
    validated: Annotated[int, at_least(0)] = 0  # the same of validation
    tokens: Annotated[int, at_least(2)] = 64  # of a sentence, at most
    english: str = "minilm"  # the encoder: minilm, e5-small, own, or one of the hub
    multilingual: str = "e5-small"  # the one that knows a hundred languages
    reader: Literal["english", "multilingual", "own", "counts"] = "english"  # what reads; "counts": of words
    pretrained: bool = True  # whether the encoder begins with pretrained weights
    depth: Annotated[int, at_least(0)] = 0  # of its blocks that are kept, from below; 0: all
    trained: Trained = "all"  # what of it: all, all but the vectors of words, the last two blocks, or the head alone
    longer: Annotated[int, at_least(1)] = 1  # so many times as many steps
    decay: Annotated[float, within(0, 1)] = 1.0  # the learning rate of each layer, as a multiple of the one above
    lr: Annotated[float, positive] = 4e-4  # peak learning rate of Adam on pretrained weights
    last_lr: Annotated[float, positive] = 5e-4  # the same where only the last two blocks are trained
    first_lr: Annotated[float, positive] = 2e-4  # the same on first weights
    own_lr: Annotated[float, positive] = 1e-3  # the same on our own small encoder
    head_lr: Annotated[float, positive] = 3e-3  # the same on W and b
    schedule: Schedule = "warmup"  # learning rates over the steps
    probe_penalty: Annotated[float, positive] = 30.0  # on the squares of W, of standardised vectors
    count_penalty: Annotated[float, positive] = 0.03  # the same, of counts of words
    vocabulary: Annotated[int, at_least(257)] = 2048  # pieces of words that our own encoder reads
    width: Annotated[int, at_least(1)] = 96  # of our own
    layers: Annotated[int, at_least(1)] = 2  # blocks of our own


def reader_name(cfg: Config) -> str:
    return {"english": cfg.english, "multilingual": cfg.multilingual}.get(cfg.reader, "own")


def build(cfg: Config, run: Run, near: list[str]) -> Encoder:
    """The encoder that the config names; tokens of our own are made of the texts `near`."""
    own = (cfg.vocabulary, cfg.width, cfg.layers)
    return sentence_encoder(run, reader_name(cfg), cfg.pretrained, near, own, cfg.depth)


Asked = dict[str, tuple[Sentence, ...]]


def probe(cfg: Config, run: Run, d: Sentences, learnt: list[Sentence], asked: Asked) -> dict[str, np.ndarray]:
    """The classes named by a linear classifier of what is not trained: counts of words, or an encoder's vectors."""
    labels, known = [s.label for s in learnt], [s.text for s in learnt]
    found = {}
    if cfg.reader != "counts":
        shown = [s.text for s in (*d.train, *asked["validation"], *asked["test"])]
        settings = {"encoder": reader_name(cfg), "pretrained": cfg.pretrained, "depth": cfg.depth}
        settings |= {
            "own": [cfg.vocabulary, cfg.width, cfg.layers],
            "sentences": d.source["fingerprint"],
            "asked": [cfg.validated, cfg.tested],
        }
        near = [s.text for s in d.train]
        vectors = shared_vectors(run, settings, lambda own: build(cfg, own, near), shown, cfg.tokens)
    for split, part_of in asked.items():
        texts = [s.text for s in part_of]
        if cfg.reader == "counts":
            x, y, penalty = *count_words(known, texts), cfg.count_penalty
        else:
            x, y = standardise(*(np.stack([vectors[text] for text in these]) for these in (known, texts)))
            penalty = cfg.probe_penalty
        found[split] = read_classes(x, labels, y, penalty)
    return found


def fine_tune(cfg: Config, run: Run, d: Sentences, learnt: list[Sentence], asked: Asked) -> None:
    """Train the encoder with its head, and report how well it answers."""
    encoder = build(cfg, run, [s.text for s in d.train])
    model = seeded(run, "head", lambda: Classifier(encoder, len(d.classes))).train()
    rate = cfg.last_lr if cfg.trained == "last-two" else cfg.lr
    rate = cfg.own_lr if cfg.reader == "own" else rate if cfg.pretrained else cfg.first_lr
    opt = choose_trained(model, cfg.trained, rate, cfg.head_lr, cfg.decay)
    cfg = dataclasses.replace(cfg, steps=cfg.steps * cfg.longer)
    schedule = scheduled(opt, cfg)
    batches = Batches(len(learnt), cfg.batch, run.seed("order"))
    rows = [shorten(encoder.encode(s.text), cfg.tokens) for s in learnt]
    labels = torch.tensor([s.label for s in learnt], device=run.device)

    def step(i: int) -> dict[str, Tensor]:
        (mine,) = part(batches.at(i))
        loss = functional.cross_entropy(model([rows[k] for k in mine.tolist()]), labels[mine.to(run.device)])
        return {"train/loss": descend(loss, opt, schedule, 1.0)}

    def evaluate() -> dict[str, float]:
        found: dict[str, float] = {}
        for split, these in asked.items():
            logits = read_all(model, encoder, [s.text for s in these], cfg.tokens)
            found |= report(split, logits.argmax(1), these, len(d.classes))
            found[f"{split}/loss"] = functional.cross_entropy(
                torch.from_numpy(logits), torch.tensor([s.label for s in these])
            ).item()
        return found

    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))


def report(split: str, found: np.ndarray, these: tuple[Sentence, ...], classes: int) -> dict[str, float]:
    return {f"{split}/{name}": value for name, value in class_scores(found, these, classes).items()}


def train(cfg: Config, run: Run) -> None:
    d = sentences(cfg.dataset, cfg.agreement)
    run.note(data=d.source)
    known = (cfg.labels or len(d.train)) // cfg.fewer
    learnt = [d.train[i] for i in run.rng("labels").permutation(len(d.train))[:known]]
    if len({s.label for s in learnt}) < len(d.classes):
        raise Problem(f"{len(learnt)} known sentences do not show all classes of {d.name}; take more --labels")
    asked = {"validation": spread(d.validation, cfg.validated), "test": spread(d.test, cfg.tested)}
    always = class_scores(majority(learnt, asked["test"]), asked["test"], len(d.classes))
    run.result(**{f"test/{name}-majority": always[name] for name in ("error", "macro-f1")})
    if cfg.reader == "counts" or cfg.trained == "head":
        for split, found in probe(cfg, run, d, learnt, asked).items():
            run.result(**report(split, found, asked[split], len(d.classes)))
    else:
        fine_tune(cfg, run, d, learnt, asked)


TINY = {
    "dataset": "drawn-sentences", "english": "own", "multilingual": "own", "vocabulary": 300, "width": 32, "layers": 2,
    "labels": 96, "tested": 24, "validated": 8, "steps": 2, "batch": 4, "tokens": 12,
}  # fmt: skip
OFFLINE = {"dataset": "drawn-sentences", "english": "own", "multilingual": "own"}
LAPTOP = {"labels": 640, "tested": 500, "validated": 100, "steps": 40, "batch": 16}
PAPER = {  # as FinBERT was trained, six times over nearly all sentences; first weights take a larger rate
    "labels": 2560, "batch": 64, "steps": 240, "lr": 2e-5, "last_lr": 2e-5, "head_lr": 2e-5, "first_lr": 1e-4,
}  # fmt: skip
XLM = "FacebookAI/xlm-roberta-base"
TYPES = {  # scale -> the English encoder and the multilingual one
    "bert-large": ("google-bert/bert-large-uncased", "FacebookAI/xlm-roberta-large"),
    "roberta": ("FacebookAI/roberta-base", XLM),
    "roberta-large": ("FacebookAI/roberta-large", "FacebookAI/xlm-roberta-large"),
    "deberta": ("microsoft/deberta-v3-base", XLM),
    "deberta-large": ("microsoft/deberta-v3-large", "FacebookAI/xlm-roberta-large"),
}
HEAD, FEW = {"trained": "head"}, {"fewer": 4}
COUNTS, ABROAD = {"reader": "counts"} | HEAD, {"reader": "multilingual"}
BRIEF = (
    "full", "last-two", "probe", "own", "counts", "full-few", "probe-few", "counts-few", "multilingual",
    "multilingual-six",
)  # fmt: skip
SECTIONS = {
    "What is trained": ("full", "last-two", "probe"),
    "Not pretrained": ("own", "counts"),
    "A quarter of the labels": ("full-few", "probe-few", "counts-few"),
    "Many languages, head alone": ("multilingual", "multilingual-six"),
}


def hub_scale(english: str, multilingual: str) -> Scale:
    """Three seeds of two encoders of the hub, without verdicts; large ones take half the learning rate."""
    slower = {"lr": 1e-5, "last_lr": 1e-5} if "large" in english else {}
    return Scale(PAPER | {"english": english, "multilingual": multilingual} | slower, 3, 120, judges=False)


STUDY = Study(
    name="finetune-encoder",
    question="What of a pretrained encoder has to be trained to tell the mood of financial news?",
    paper=Paper(
        "FinBERT: Financial Sentiment Analysis with Pre-trained Language Models",
        "Araci",
        2019,
        "https://arxiv.org/abs/1908.10063",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("full", {}, "all weights of the pretrained encoder"),
        Variant("last-two", {"trained": "last-two"}, "its last two blocks and the head"),
        Variant("probe", HEAD, "the head alone, on the encoder's vectors"),
        Variant("own", {"reader": "own", "longer": 4}, "a small encoder from first weights, for four times the steps"),
        Variant("counts", COUNTS, "a linear classifier of counts of words"),
        Variant("full-few", FEW, "all weights, a quarter of the labels"),
        Variant("probe-few", HEAD | FEW, "the head alone, a quarter of the labels"),
        Variant("counts-few", COUNTS | FEW, "counts of words, a quarter of the labels"),
        Variant("multilingual", ABROAD | HEAD, "the head alone, on vectors of an encoder of many languages"),
        Variant("multilingual-six", ABROAD | HEAD | {"depth": 6}, "the same after six of its blocks"),
        Variant("multilingual-full", ABROAD, "all weights of the encoder of many languages"),
        Variant("but-words", {"trained": "but-words"}, "all weights but the words' vectors"),
        Variant("scratch", {"pretrained": False}, "all weights of the encoder's copy that is not pretrained"),
        Variant("layered", {"decay": 0.85}, "all weights, lower layers more slowly"),
    ),
    scales={
        "smoke": Scale(TINY, seeds=1, minutes=0.1, judges=False, variants=BRIEF),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=6, variants=BRIEF, offline=OFFLINE),
        "all-labels": Scale({"steps": 540, "batch": 16}, seeds=1, minutes=60, judges=False),
        "paper": Scale(
            PAPER | {"english": "google-bert/bert-base-uncased", "multilingual": XLM},
            seeds=(5, 8, 12, 20),
            minutes=120,
            offline={"dataset": "drawn-sentences", "english": "bert-base-random", "multilingual": "own"},
        ),
    }
    | {name: hub_scale(*encoders) for name, encoders in TYPES.items()},
    claims=CLAIMS,
    words={
        ERROR: "test error",
        "test/macro-f1": "test macro F1",
        "test/error-agreed": "test error where all judges agreed",
        "test/error-majority": "test error of always the commonest class",
        "parameters": "numbers that are trained",
    },
    charts=(
        bars(ERROR, title="Test error by what is trained", sections=SECTIONS),
        bars("test/macro-f1", title="Macro F1 by what is trained", sections=SECTIONS),
        bars(
            ERROR,
            "test/error-agreed",
            title="Errors on all sentences, and on those on which all judges agreed",
            sections={"All labels": ("full", "last-two", "probe", "own", "counts")},
        ),
        curves("train/loss", title="Training loss", variants=("full", "last-two", "own")),
    ),
    idea=choose_trained,
    origin="A7",
)
