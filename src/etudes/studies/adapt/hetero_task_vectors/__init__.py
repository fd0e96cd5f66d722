"""hetero-task-vectors: what a network learnt of a task, as a vector of weights, put into a network of another kind.

A task vector is what training changed, tau = theta_tuned - theta. Negated it makes a network forget the task, two of
them added teach both, and by analogy, tau_d = tau_b - tau_a + tau_c, they teach what nobody trained (fig. 1). Here a
residual network and a vision transformer have one trunk in common, and a vector is one of the trunk alone: learnt in
one network, it can be added in the other.

    etudes run hetero-task-vectors                  4 minutes on two cores, 7 variants, 5 seeds: PACS and clothes
    etudes run hetero-task-vectors --scale paper    900 minutes on a GPU, 7 variants, 3 seeds: ViT-B/16, ResNet-18

`--until decided` goes on to 20 seeds.

Departures from the paper at laptop scale: small networks, pretrained here on some thousand pictures in place of CLIP on
400 million; only the trunk is tuned; the classifiers are learnt in pretraining and then fixed, where CLIP makes them of
class names. Everywhere: the trunk's tokens are averaged, and no token stands for the whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

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
    higher,
    lower,
    positive,
    within,
)
from etudes.reports.charts import bars
from etudes.studies.adapt.hetero_task_vectors import findings
from etudes.studies.adapt.hetero_task_vectors.findings import ADDITION, ANALOGY, Bench, report
from etudes.studies.adapt.hetero_task_vectors.idea import combine
from etudes.studies.adapt.hetero_task_vectors.learning import base, vector
from etudes.studies.adapt.hetero_task_vectors.materials import materials
from etudes.studies.adapt.hetero_task_vectors.networks import KINDS, OTHER, Kind
from etudes.train import Adam
from etudes.train.arithmetic import cosine, plus, random_like, scaled

Source = Literal["own", "other", "random", "apart", "ascent"]


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "pacs"  # a set with domains
    known: tuple[str, ...] = ("photo", "art_painting", "cartoon")  # domains that are pretrained on: the control task
    fresh: str = "sketch"  # the domain whose labels the pretraining has not
    second: tuple[str, ...] = ("elephant", "guitar", "horse")  # classes that the analogy is about; the others are given
    other: str = "fashion-mnist"  # a second set: the target of negation
    examples: Annotated[int, at_least(1)] = 10_000  # training pictures of the second set
    held_out: Annotated[int, at_least(1)] = 1000  # more of them, for validation; of any other task at most so many
    tested: Annotated[int, at_least(1)] = 10_000  # test pictures of a task, at most
    side: Annotated[int, at_least(4)] = 224  # pixels
    patch: Annotated[int, at_least(1)] = 16  # pixels of a token's side
    width: Annotated[int, at_least(1)] = 768  # channels of a token
    heads: Annotated[int, at_least(1)] = 12  # of attention
    stem_blocks: Annotated[int, at_least(1)] = 4  # of the transformer before the trunk
    channels: tuple[int, ...] = (64, 128, 256)  # of the residual network's stages before the trunk
    blocks_a_stage: Annotated[int, at_least(1)] = 2  # residual blocks
    pool: bool = True  # whether the residual network's first convolution has a pool behind it
    trunk: Literal["attention", "mixing"] = "attention"  # how the common part's blocks let tokens meet
    depth: Annotated[int, at_least(1)] = 8  # blocks of the common part
    hidden: Annotated[int, at_least(1)] = 3072  # inside the MLPs of blocks that mix
    agreement: Annotated[float, at_least(0)] = 1.0  # weight of how far the two stems' tokens are from each other
    unlabelled: Annotated[int, at_least(0)] = 16  # pictures of the fresh domain in a batch, for that alone
    task_steps: Annotated[int, at_least(1)] = 2000  # of each task vector
    task_batch: Annotated[int, at_least(1)] = 128  # pictures of such a step
    task_lr: Annotated[float, positive] = 1e-5  # its peak learning rate
    vectors: Source = "own"  # whose vectors a network is given
    modular: bool = False  # whether a router gives each picture one vector, in place of their sum
    module_share: Annotated[float, within(0, 1)] = 1.0  # of a vector's numbers that a module keeps
    trim: Annotated[float, within(0, 1)] = 0.2  # of a vector's numbers that TIES keeps


Vectors = dict[str, Mapping[str, Tensor]]


def given_vectors(cfg: Config, run: Run, b: Bench, own: Vectors, tasks: tuple[str, ...]) -> Vectors:
    """The vectors of the tasks that the variant gives a network: own, or from elsewhere."""
    if cfg.vectors == "random":
        streams = {task: torch.Generator().manual_seed(run.seed(f"random {b.kind} {task}")) for task in tasks}
        return {task: random_like(own[task], streams[task]) for task in tasks}
    if cfg.vectors == "other":
        return {task: vector(cfg, run, b.m, b.model, OTHER[b.kind], task) for task in tasks}
    if cfg.vectors == "apart":
        stranger = base(cfg, run, b.m, (OTHER[b.kind],))
        return {task: vector(cfg, run, b.m, stranger, OTHER[b.kind], task) for task in tasks}
    return own


def measure(cfg: Config, run: Run, b: Bench) -> dict[str, float]:
    """The numbers of one network."""
    if cfg.vectors == "ascent":
        climbed = vector(cfg, run, b.m, b.model, b.kind, "other", ascent=True)
        whole = plus(b.base, climbed)
        least = findings.negation(b, scaled(climbed, -1), findings.CLIMBING)
        found = {"target": b.accuracy(whole, "other"), "control": b.accuracy(whole, "known")}
        return found | {f"{name}-scaled": least[name] for name in found}
    tasks = ADDITION if cfg.modular or cfg.vectors == "apart" else ADDITION + ANALOGY
    own: Vectors = {task: vector(cfg, run, b.m, b.model, b.kind, task) for task in tasks}
    if cfg.modular:
        return findings.modules(b, own, cfg.module_share)
    vectors = given_vectors(cfg, run, b, own, tasks)
    found = findings.before(b) | findings.negation(b, vectors["other"]) | findings.addition(b, vectors)
    if cfg.vectors == "own":
        found |= findings.merging(b, vectors, cfg.trim)
    else:
        found["cosine"] = sum(cosine(vectors[task], own[task]) for task in ADDITION) / len(ADDITION)
    return found | (findings.analogy(b, vectors) if "known first" in vectors else {})


def act(cfg: Config, run: Run) -> None:
    m = materials(cfg, run)
    model = base(cfg, run, m)
    kinds: tuple[Kind, ...] = ("transformer",) if cfg.vectors == "apart" else KINDS
    numbers = {kind: measure(cfg, run, Bench(model, kind, m)) for kind in kinds}
    report(run, numbers)
    run.result(**{f"train/common-share-{kind}": model.common_share(kind) for kind in KINDS})


SMALL = {"side": 32, "patch": 8, "width": 64, "heads": 4, "stem_blocks": 1, "channels": (32, 48), "pool": False}
SHALLOW = {"blocks_a_stage": 1, "trunk": "mixing", "depth": 3, "hidden": 192, "examples": 4000, "held_out": 400}
SHORT = {"tested": 1000, "steps": 300, "batch": 40, "unlabelled": 8, "lr": 4e-3, "schedule": "warmup"}
TASK = {"task_steps": 100, "task_batch": 32, "task_lr": 1e-3}
LAPTOP = SMALL | SHALLOW | SHORT | TASK
DRAWN = {"dataset": "digit-domains", "other": "digits", "second": ("1", "3", "5"), "fresh": "edges"}
DIGITS = DRAWN | {"known": ("upright", "inverted", "mirrored")}
TINY = {"side": 8, "patch": 4, "width": 8, "heads": 2, "channels": (8,), "depth": 1, "hidden": 8, "steps": 4}
BRIEF = {"examples": 100, "held_out": 20, "tested": 50, "batch": 8, "unlabelled": 2, "task_steps": 3, "task_batch": 4}
PAPER = {"steps": 40_000, "batch": 256, "unlabelled": 64, "lr": 3e-4, "schedule": "warmup", "log_every": 100}
MATTERS = 0.02  # of accuracy
BEYOND = "beyond the paper"


def shares(trial: Mapping[str, Mapping[str, float]]) -> float:
    """The accuracy of the sum of two vectors over that of the two specialists."""
    return trial["own"]["test/added"] / trial["own"]["test/specialists"]


STUDY = Study(
    name="hetero-task-vectors",
    question="Does what one network learnt, as a vector of weights, act in a network of another kind?",
    paper=Paper(
        "Editing Models with Task Arithmetic",
        "Ilharco, Ribeiro, Wortsman, Gururangan, Schmidt, Hajishirzi, Farhadi",
        2023,
        "https://arxiv.org/abs/2212.04089",
    ),
    config=Config,
    program=act,
    variants=(
        Variant("own", says="each network is given the vectors that it learnt itself"),
        Variant("other", {"vectors": "other"}, "each is given those that the other kind of network learnt"),
        Variant("random", {"vectors": "random"}, "random vectors, each tensor as long as that of the own vector"),
        Variant("apart", {"vectors": "apart"}, "the transformer is given those of a residual network pretrained apart"),
        Variant("ascent", {"vectors": "ascent"}, "the target task is unlearnt by climbing its loss"),
        Variant("modules", {"modular": True}, "own vectors, of which a router gives each picture one or none"),
        Variant(
            "sparse-modules", {"modular": True, "module_share": 0.2}, "as modules, a fifth of each vector's numbers"
        ),
    ),
    scales={
        "smoke": Scale(LAPTOP | DIGITS | TINY | BRIEF, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=4, offline=DIGITS),
        "paper": Scale(PAPER, seeds=3, minutes=900),
    },
    words={
        "test/target": "accuracy on the task to forget",
        "test/control": "accuracy on the control task",
        "test/added": "mean accuracy on two tasks, vectors added",
        "test/kept": "accuracy on what was known, vectors added",
        "test/analogy": "accuracy on what an analogy taught",
        "test/added-transformer": "the transformer's on two tasks, vectors added",
        "test/target-scaled": "accuracy on the task to forget, by the rule",
        "train/cosine-tasks": "cosine between the vectors of two tasks",
    },
    idea=combine,
    claims={
        "a network's own vector, negated, leaves a lower accuracy on its task than a random one as long": lower(
            "own", "random", "sec. 3, table 1", of="test/target", matters=MATTERS
        ),
        "a vector learnt in the other kind of network, negated, leaves a lower accuracy than a random one": lower(
            "other", "random", BEYOND, of="test/target", matters=MATTERS
        ),
        "climbing the loss of a task to forget it costs more accuracy on the control task than negation": lower(
            "ascent", "own", "sec. 3, table 1", of="test/control", matters=MATTERS
        ),
        "scaled by the same rule, climbing the loss forgets more of the task than negation": lower(
            ("ascent", "test/target-scaled"), ("own", "test/target"), BEYOND, matters=MATTERS
        ),
        "two vectors learnt in the other kind of network, added, give a higher mean accuracy than random ones": higher(
            "other", "random", BEYOND, of="test/added", matters=MATTERS
        ),
        "one network with two vectors added has at least 90 % of the accuracy of two specialists": Claim(
            shares,
            above(0.9),
            "sec. 4, fig. 2",
            0.989,
            number="accuracy of the sum over that of the specialists",
            kind="ratio",
        ),
        "by analogy a network's own vectors raise its accuracy on sketches of classes that have none labelled": higher(
            ("own", "test/analogy"), ("own", "test/analogy-before"), "sec. 5", matters=MATTERS
        ),
        "for sketches of classes that have none labelled an analogy beats the vector of their known pictures": higher(
            ("own", "test/analogy"), ("own", "test/analogy-part"), BEYOND, matters=MATTERS
        ),
        "by analogy vectors of the other kind raise accuracy on sketches of classes that have none labelled": higher(
            ("other", "test/analogy"), ("other", "test/analogy-before"), BEYOND, matters=MATTERS
        ),
        "vectors of a network pretrained apart teach the transformer less than those from the common base": lower(
            ("apart", "test/added-transformer"), ("other", "test/added-transformer"), BEYOND, matters=MATTERS
        ),
        "a router over the two vectors keeps a higher accuracy on what was known than their sum": higher(
            "modules", "own", f"{BEYOND}; Pfeiffer et al. 2023 (arXiv:2302.11529)", of="test/kept", matters=MATTERS
        ),
    },
    charts=(
        bars(
            "test/target",
            "test/added",
            "test/analogy",
            title="Forgetting, adding and analogy, by whose vectors act",
            sections={"A network is given": ("own", "other", "random")},
        ),
        bars("test/target", "test/control", title="Forgetting: the task, and the control beside it"),
        bars("test/added", "test/kept", title="Adding two vectors: what is learnt, and what is kept"),
        bars("test/added-transformer", title="The transformer: vectors from one base and from two"),
    ),
    origin="B5",
    precision="fp32",
)
