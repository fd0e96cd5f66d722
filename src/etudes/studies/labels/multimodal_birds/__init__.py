"""multimodal-birds: a network sees a photo and reads a title; how should it join them, and which of them does it use?"""

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
    width: Annotated[int, at_least(4)] = 64  # numbers that a place or a word is turned into
    hidden: Annotated[int, at_least(1)] = 128  # units of the joint fusion; others have as many as make its size
    picture_network: Literal["small", "resnet18", "resnet50"] = "small"  # what reads pictures
    text_network: str = "bag"  # what reads words: a bag of them, or a sentence encoder of etudes.tools.encoders
    pretrained: bool = True  # whether a ResNet and a sentence encoder begin with pretrained weights
    steps: Annotated[int, at_least(1)] = 300  # optimiser steps
    batch: Annotated[int, at_least(1)] = 64  # examples a step
    lr: Annotated[float, positive] = 3e-3  # peak learning rate of Adam
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
    return task.changed(**{split: some.only(chosen).to(run.device) for split, some in task.splits.items()})


def train(cfg: Config, run: Run) -> None:
    task = open_task(cfg, run)
    names, learnt, test = task.modalities, task.splits["train"], task.splits["test"]
    sizes = (cfg.picture_network, cfg.text_network, cfg.pretrained)
    model = seeded(run, "init", lambda: build(run, task, cfg.way, cfg.width, cfg.hidden, sizes))
    opt, schedule = adam(model, cfg)
    batches = Batches(len(learnt), cfg.batch, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:
        some = learnt.take(batches.at(i).to(run.device))
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
STUDY = Study(
    name="multimodal-birds",
    question="How should a network join a picture and a text, and which of them does it use?",
    paper=Paper(
        "Multimodal Machine Learning: A Survey and Taxonomy",
        "Baltrusaitis, Ahuja, Morency",
        2019,
        "https://arxiv.org/abs/1705.09406",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("picture", {"modalities": ("picture",)}),
        Variant("words", {"modalities": ("words",)}),
        Variant("early", {"way": "early"}),
        Variant("joint", {}),
        Variant("late", {"way": "late"}),
        Variant("gated", {"way": "gated"}),
        Variant("attention", {"way": "attention"}),
        Variant("blended", {"way": "blended"}),
        Variant("dropped", {"drop": 0.5}),
        Variant("anew", {"anew": True}),
        Variant("birds-picture", BIRDS | {"modalities": ("picture",)}),
        Variant("birds-words", BIRDS | {"modalities": ("words",)}),
        Variant("birds-joint", BIRDS),
        Variant("birds-late", BIRDS | {"way": "late"}),
        Variant("digits", DIGITS),
        Variant("digits-dropped", DIGITS | {"drop": 0.5}),
    ),
    scales={
        "smoke": Scale(
            {
                "pairs": "drawn-birds",
                "spoken": "drawn-words",
                "learnt": 60,
                "tested": 40,
                "steps": 2,
                "batch": 16,
                "width": 16,
                "hidden": 16,
            },
            seeds=2,
            minutes=0.3,
            judges=False,
        ),
        "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=5, offline={"pairs": "drawn-birds", "spoken": "drawn-words"}),
    },
    claims=CLAIMS,
    words={ERROR: "test error"},
    charts=(bars(ERROR), curves("train/loss")),
    idea=draw_kept,
    origin="D4",
)
