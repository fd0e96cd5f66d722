"""multimodal-birds: a network sees a photo and reads a title. How should it join them, and which of them does it use?

An encoder makes tokens of each modality m, h_m is their mean, and a fusion makes a class of them:

    joint      p = softmax(b relu(a [h_1, h_2]))                           features are joined
    late       log p = sum_m log softmax(b_m relu(a_m h_m)) + constant     decisions are added
    gated      p = softmax(b sum_m z_m tanh(a_m h_m)),  z = sigmoid(c [h_1, h_2])

Early fusion lets the words meet the pixels, and attention looks at places of the picture and words together. With
modality dropout some training examples lack one modality.

    etudes run multimodal-birds                  3 minutes on two cores, 16 variants, 5 seeds
    etudes run multimodal-birds --scale cub      the birds of CUB-200-2011 with ten captions each, 3 seeds: 120 minutes
    etudes run multimodal-birds --scale paper    ResNet-50 and BERT, pretrained: 600 minutes on a GPU, 3 seeds

To expect: photo and title together err less often than either; without dropout the network falls apart where the photo
is missing; on made-up birds, whose limits are known, joined features can learn what no adding of decisions can.

Departures from the papers: photos of products with titles for birds and videos, small networks and one set of rates for
all ways of fusion; the weights of the blended losses are equal, where Wang et al. estimate them.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor
from torch.nn import functional

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, positive, within
from etudes.core.errors import Problem
from etudes.data.batches import Batches
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves
from etudes.studies.labels.multimodal_birds import sets
from etudes.studies.labels.multimodal_birds.claims import CLAIMS, ERROR
from etudes.studies.labels.multimodal_birds.findings import ablations, error, majority_error, probes, read_tokens
from etudes.studies.labels.multimodal_birds.fusion import draw_kept
from etudes.studies.labels.multimodal_birds.networks import build
from etudes.studies.labels.multimodal_birds.sets import Task, pair_anew
from etudes.train import Adam, adam, descend, fitted, part, seeded


@dataclass(frozen=True)
class Config(Adam):
    kind: Literal["pairs", "birds", "digits"] = "pairs"  # of examples: real pairs, made-up birds, or spoken digits
    pairs: str = "product-photos"  # the real pairs: a set with captions of `etudes data`, or drawn-birds
    spoken: str = "spoken-digits"  # the recordings: a set of `etudes data`
    side: Annotated[int, at_least(0)] = 0  # height of the real pairs' pictures, in pixels; 0: the set's own
    learnt: Annotated[int, at_least(0)] = 3000  # training examples; 0: all
    tested: Annotated[int, at_least(0)] = 0  # examples of validation and of test, at most; 0: all
    noise: Annotated[float, at_least(0)] = 0.4  # deviation of what is added to pictures of digits; white is 1
    modalities: tuple[str, ...] = ()  # which are read, of picture, sound and words; (): all
    way: Literal["joint", "early", "late", "gated", "attention", "blended"] = "joint"  # of fusion
    drop: Annotated[float, within(0, 1)] = 0.0  # chance that a training example lacks one of its modalities
    anew: bool = False  # whether words are given to other examples of the same class, in all splits
    width: Annotated[int, at_least(4)] = 48  # numbers that a place or a word is turned into
    hidden: Annotated[int, at_least(1)] = 128  # units of the joint fusion; others have as many as make its size
    picture_network: Literal["small", "resnet18", "resnet50"] = "small"  # what reads pictures
    text_network: str = "bag"  # what reads words: a bag of them, or a sentence encoder of etudes.tools.encoders
    pretrained: bool = True  # whether a ResNet and a sentence encoder begin with pretrained weights
    steps: Annotated[int, at_least(1)] = 240  # optimiser steps
    longer: Annotated[int, at_least(1)] = 1  # so many times as many steps
    batch: Annotated[int, at_least(1)] = 48  # examples a step
    lr: Annotated[float, positive] = 8e-3  # peak learning rate of Adam
    schedule: Schedule = "cosine"  # learning rate over the steps


def open_task(cfg: Config, run: Run) -> Task:
    """The examples of the config's kind, of its modalities alone."""
    if cfg.kind == "birds":
        task = sets.birds(run, cfg.learnt or 3000, cfg.tested or 3000)
    elif cfg.kind == "digits":
        task = sets.digits(run, cfg.spoken, cfg.noise, cfg.learnt, cfg.tested)
    else:
        task = sets.pairs(run, cfg.pairs, cfg.side, cfg.learnt, cfg.tested, 2 if cfg.text_network == "bag" else 0)
    task = pair_anew(task, run) if cfg.anew else task
    if strange := [name for name in cfg.modalities if name not in task.modalities]:
        raise Problem(f"{cfg.kind} have no {strange[0]}; they have {', '.join(task.modalities)}")
    chosen = cfg.modalities or task.modalities
    return task.with_splits(**{split: some.only(chosen).to(run.device) for split, some in task.splits.items()})


def train(cfg: Config, run: Run) -> None:
    cfg = dataclasses.replace(cfg, steps=cfg.steps * cfg.longer)
    task = open_task(cfg, run)
    names, learnt, test = task.modalities, task.splits["train"], task.splits["test"]
    sizes = (cfg.picture_network, cfg.text_network, cfg.pretrained)
    model = seeded(run, "init", lambda: build(run, task, cfg.way, cfg.width, cfg.hidden, sizes))
    opt, schedule = adam(model, cfg)
    batches = Batches(len(learnt), cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:
        (rows,) = part(batches.at(i))
        some = learnt.take(rows.to(run.device))
        inputs = sets.choose_caption(some.inputs, run.rng("caption", i))
        kept = draw_kept(len(some), len(inputs), cfg.drop, run.rng("drop", i)) if cfg.drop else None
        trained = model(inputs, kept)[1]
        loss = sum(functional.cross_entropy(logits.float(), some.y) for logits in trained) / len(trained)
        return {"train/loss": descend(loss, opt, schedule)}

    def evaluate() -> dict[str, float]:
        tokens = {split: read_tokens(model, some) for split, some in task.splits.items()}
        found = {f"{split}/error": error(model, tokens[split], some.y) for split, some in task.splits.items()}
        if len(names) > 1:
            found |= ablations(model, names, tokens["train"], tokens["test"], test.y)
        return found | probes(names, tokens["train"], learnt.y, tokens["test"], test.y)

    run.result(**{"test/error-majority": majority_error(learnt.y, test.y)})
    run.result(**fitted(run, cfg, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))


BIRDS, DIGITS = {"kind": "birds"}, {"kind": "digits"}
LONGER = {"longer": 2}  # an interaction of two modalities takes longer to learn
PICTURE, TEXT = {"modalities": ("picture",)}, {"modalities": ("words",)}
REAL = ("picture", "words", "early", "joint", "late", "gated", "attention", "blended", "dropped", "anew")
DRAWN = {"pairs": "drawn-birds", "spoken": "drawn-words"}
TINY = DRAWN | {"learnt": 48, "tested": 24, "steps": 2, "batch": 16, "width": 8, "hidden": 16}
LAPTOP = {"learnt": 3000, "tested": 2000}
CUB = {"pairs": "cub-captions", "learnt": 0, "tested": 0, "batch": 64, "steps": 4000, "width": 128, "hidden": 256}
PAPER = CUB | {
    "side": 224, "picture_network": "resnet50", "text_network": "google-bert/bert-base-uncased", "lr": 5e-5,
    "steps": 9400, "width": 512, "hidden": 1024,
}  # fmt: skip
SECTIONS = {
    "Products": REAL,
    "Made-up birds": ("birds-picture", "birds-words", "birds-joint", "birds-late"),
    "Digits": ("digits", "digits-dropped"),
}
STUDY = Study(
    name="multimodal-birds",
    question="How should a network join a picture and a text, and which of the two does it use?",
    paper=Paper(
        "Multimodal Machine Learning: A Survey and Taxonomy",
        "Baltrusaitis, Ahuja, Morency",
        2019,
        "https://arxiv.org/abs/1705.09406",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("picture", PICTURE, "photos alone"),
        Variant("words", TEXT, "titles alone"),
        Variant("early", {"way": "early"}, "the title meets the photo's pixels"),
        Variant("joint", {}, "features are joined"),
        Variant("late", {"way": "late"}, "decisions are added"),
        Variant("gated", {"way": "gated"}, "gates weigh the modalities"),
        Variant("attention", {"way": "attention"}, "a query looks at places and words"),
        Variant("blended", {"way": "blended"}, "as joint, with a loss for each modality"),
        Variant("dropped", {"drop": 0.5}, "as joint; half of the training examples lack photo or title"),
        Variant("anew", {"anew": True}, "as joint; titles are given to other photos of the same class"),
        Variant("birds-picture", BIRDS | PICTURE, "made-up birds, pictures alone"),
        Variant("birds-words", BIRDS | TEXT, "made-up birds, captions alone"),
        Variant("birds-joint", BIRDS | LONGER, "made-up birds, features are joined"),
        Variant("birds-late", BIRDS | LONGER | {"way": "late"}, "made-up birds, decisions are added"),
        Variant("digits", DIGITS, "spoken digits with a picture and two words each, joined"),
        Variant("digits-dropped", DIGITS | {"drop": 0.5}, "the same; half of the training examples lack one of three"),
    ),
    scales={
        "smoke": Scale(TINY, seeds=2, minutes=0.3, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=3, offline=DRAWN),
        "cub": Scale(CUB, seeds=3, minutes=120, judges=False, variants=REAL, offline=DRAWN),
        "paper": Scale(
            PAPER,
            seeds=3,
            minutes=600,
            judges=False,
            variants=REAL,
            offline=DRAWN | {"side": 0, "text_network": "bert-base-random", "pretrained": False},
        ),
    },
    claims=CLAIMS,
    words={
        ERROR: "test error",
        "test/error-no-picture": "test error without the picture",
        "test/error-no-words": "test error without the words",
        "test/error-shuffled-picture": "test error with another example's picture",
        "test/error-shuffled-words": "test error with another example's words",
        "test/probe-picture": "test error of a linear probe of the picture's encoder",
        "test/probe-words": "test error of a linear probe of the words' encoder",
        "test/error-majority": "test error of always the commonest class",
    },
    charts=(
        bars(ERROR, title="Test error by what is read and how it is joined", sections=SECTIONS),
        bars(
            ERROR,
            "test/error-no-picture",
            "test/error-no-words",
            title="Test error with both, and without one",
            sections={"Products": REAL[2:]},
        ),
        bars(
            "test/error-shuffled-picture",
            "test/error-shuffled-words",
            title="Test error with another product's photo or title",
            sections={"Products": REAL[2:]},
        ),
        bars(
            "test/probe-picture",
            "test/probe-words",
            title="How good an encoder each modality has",
            sections={"Products": REAL},
        ),
        bars(
            "test/error-no-picture",
            "test/error-no-sound",
            "test/error-no-words",
            title="Digits: test error without one of three",
            sections={"Digits": ("digits", "digits-dropped")},
        ),
        curves("train/loss", title="Training loss", variants=REAL[:5]),
    ),
    idea=draw_kept,
    origin="D4",
)
