"""finetune-encoder: a pretrained encoder learns to tell the mood of financial news; what of it has to be trained?

An encoder turns the words of a sentence into vectors; their mean h is the sentence's, and

    p(class) = softmax(W h + b)

its mood. Fine-tuning trains W, b and the encoder itself, down the gradient of -log p of the sentences whose mood is
known. A linear probe trains W and b alone.

    etudes run finetune-encoder                  8 minutes on two cores, 5 seeds: MiniLM, 22 million parameters
    etudes run finetune-encoder --scale paper    on a GPU: BERT and XLM-RoBERTa, base, of the hub

To expect: what is pretrained errs least, and fine-tuning all of it errs less than reading it out as it is.

Departures from the paper: MiniLM of six blocks for BERT, and not pretrained further on financial news; a sentence's
vector is the mean of its tokens'; one or a few passes over about a third of the sentences.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, positive, within
from etudes.core.errors import Problem
from etudes.data.batches import Batches
from etudes.data.sentences import Sentence, Sentences, sentences
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves, plane
from etudes.studies.adapt.finetune_encoder.claims import CLAIMS, ERROR
from etudes.studies.adapt.finetune_encoder.findings import (
    class_scores,
    count_words,
    majority,
    read_classes,
    read_all,
    shared_vectors,
    spread,
    standardise,
)
from etudes.tools.encoders import Encoder, layer_parameters, sentence_encoder, shorten
from etudes.train import Steps, descend, fitted, part, scheduled, seeded

Trained = Literal["all", "but-words", "last-two", "head"]


@dataclass(frozen=True)
class Config(Steps):
    dataset: str = "financial-phrasebank"  # labelled sentences, as listed by `etudes data`
    agreement: Literal[50, 66, 75, 100] = 50  # per cent of a sentence's judges that agreed, at least
    labels: Annotated[int, at_least(0)] = 0  # training sentences whose class is known, drawn anew by each seed; 0: all
    fewer: Annotated[int, at_least(1)] = 1  # known are one in so many of these
    tested: Annotated[int, at_least(0)] = 0  # sentences of validation and of test that are asked, at most; 0: all
    tokens: Annotated[int, at_least(2)] = 64  # of a sentence, at most
    english: str = "minilm"  # the encoder: minilm, e5-small, own, or one of the hub
    multilingual: str = "e5-small"  # the one that knows a hundred languages
    reader: Literal["english", "multilingual", "own", "counts"] = "english"  # what reads; "counts": of words
    pretrained: bool = True  # whether the encoder begins with pretrained weights
    depth: Annotated[int, at_least(0)] = 0  # of its blocks that are kept, from below; 0: all
    trained: Trained = "all"  # what of it: all, all but the vectors of words, the last two blocks, or the head alone
    longer: Annotated[int, at_least(1)] = 1  # so many times as many steps
    decay: Annotated[float, within(0, 1)] = 1.0  # the learning rate of each layer, as a multiple of the one above
    lr: Annotated[float, positive] = 2e-4  # peak learning rate of Adam on pretrained weights
    last_lr: Annotated[float, positive] = 5e-4  # the same where only the last two blocks are trained
    first_lr: Annotated[float, positive] = 2e-4  # the same on first weights
    own_lr: Annotated[float, positive] = 1e-3  # the same on our own small encoder
    head_lr: Annotated[float, positive] = 3e-3  # the same on W and b
    schedule: Schedule = "warmup"  # learning rates over the steps
    probe_penalty: Annotated[float, positive] = 100.0  # on the squares of W, of standardised vectors
    count_penalty: Annotated[float, positive] = 0.1  # the same, of counts of words
    vocabulary: Annotated[int, at_least(257)] = 2048  # pieces of words that our own encoder reads
    width: Annotated[int, at_least(1)] = 96  # of our own
    layers: Annotated[int, at_least(1)] = 2  # blocks of our own


class Classifier(nn.Module):
    """An encoder with W and b on its vectors: rows of tokens -> logits [n, classes]."""

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(encoder.width, classes)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, rows: list[list[int]]) -> Tensor:
        found: Tensor = self.head(self.encoder(rows)).float()
        return found


def layer_rates(layers: int, lr: float, decay: float) -> list[float]:
    """The learning rate of each layer from below: lr of the last, each other `decay` times that above it (Howard and
    Ruder 2018, arXiv:1801.06146, sec. 3.2; the paper's discriminative fine-tuning).

    >>> layer_rates(3, 1.0, 0.5)
    [0.25, 0.5, 1.0]
    """
    return [lr * decay ** (layers - 1 - k) for k in range(layers)]


def choose_trained(model: Classifier, trained: Trained, lr: float, head_lr: float, decay: float) -> torch.optim.Adam:
    """The optimiser of what is trained; all else of the model is frozen, in place."""
    model.requires_grad_(True)
    layers = layer_parameters(model.encoder)
    if trained == "but-words":
        model.encoder.words.requires_grad_(False)
    elif trained != "all":
        for layer in layers[: len(layers) - (2 if trained == "last-two" else 0)]:
            for parameter in layer:
                parameter.requires_grad_(False)
    groups = [
        {"params": [p for p in layer if p.requires_grad], "lr": rate}
        for layer, rate in zip(layers, layer_rates(len(layers), lr, decay), strict=True)
    ]
    groups.append({"params": list(model.head.parameters()), "lr": head_lr})
    return torch.optim.Adam([group for group in groups if group["params"]], fused=True)


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
        settings |= {"sentences": d.source["fingerprint"], "tested": cfg.tested}
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
    asked = {"validation": spread(d.validation, cfg.tested), "test": spread(d.test, cfg.tested)}
    always = class_scores(majority(learnt, asked["test"]), asked["test"], len(d.classes))
    run.result(**{f"test/{name}-majority": always[name] for name in ("error", "macro-f1")})
    if cfg.reader == "counts" or cfg.trained == "head":
        for split, found in probe(cfg, run, d, learnt, asked).items():
            run.result(**report(split, found, asked[split], len(d.classes)))
    else:
        fine_tune(cfg, run, d, learnt, asked)


TINY = {
    "dataset": "drawn-sentences", "english": "own", "multilingual": "own", "vocabulary": 300, "width": 32, "layers": 2,
    "labels": 96, "tested": 24, "steps": 2, "batch": 4, "tokens": 12,
}  # fmt: skip
OFFLINE = {"dataset": "drawn-sentences", "english": "own", "multilingual": "own"}
HUB = {"tokens": 128, "batch": 32, "lr": 2e-5, "last_lr": 5e-5, "first_lr": 2e-5, "head_lr": 1e-3, "steps": 500}
HEAD = {"trained": "head"}
FEW = {"fewer": 8}
ABROAD = {"reader": "multilingual"} | HEAD
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
        Variant("full", {}, "MiniLM, all weights"),
        Variant("last-two", {"trained": "last-two"}, "its last two blocks and the head"),
        Variant("probe", HEAD, "the head alone, on the encoder's vectors"),
        Variant("scratch", {"pretrained": False}, "all weights of its copy that is not pretrained"),
        Variant("own", {"reader": "own", "longer": 8}, "a small encoder of our own, not pretrained, eight times as long"),
        Variant("counts", {"reader": "counts"} | HEAD, "a linear classifier of counts of words"),
        Variant("but-words", {"trained": "but-words"}, "all weights but the words' vectors"),
        Variant("layered", {"decay": 0.7}, "all weights, lower layers more slowly"),
        Variant("full-few", FEW, "all weights, an eighth of the labels"),
        Variant("probe-few", HEAD | FEW, "the head alone, an eighth of the labels"),
        Variant("counts-few", {"reader": "counts"} | HEAD | FEW, "counts of words, an eighth of the labels"),
        Variant("multilingual", ABROAD, "the head alone, on vectors of the multilingual encoder"),
        Variant("multilingual-six", ABROAD | {"depth": 6}, "the same after six of its blocks"),
    ),
    scales={
        "smoke": Scale(TINY, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(
            {"labels": 1024, "tested": 400, "steps": 48, "batch": 16},
            seeds=(5, 8, 12, 20),
            minutes=8,
            offline=OFFLINE,
        ),
    },
    claims=CLAIMS,
    words={ERROR: "test error", "test/macro-f1": "test macro F1"},
    charts=(bars(ERROR, title="Test error by what is trained"),),
    idea=layer_rates,
    origin="A7",
)
