"""graph-task-vectors: what a graph network has learnt, as a difference of weights that is added, negated and carried
over.

A task vector is what tuning on a task changes: v = w_tuned - w_base (sec. 2). Networks that were never trained come
from arithmetic on such vectors (fig. 1):

    forget        w = w_base - c v                    (sec. 3)
    learn many    w = w_base + c (v_1 + ... + v_n)    (sec. 4)
    carry over    w = w_C + c (w_B - w_A)             (sec. 5: A is to B as C is to D, and D is never seen)

Here they are tried on graphs: five tasks on Debian's packages and what they depend on, with the papers of Cora and
Citeseer beside them. --scale molecules has four sets of molecules.

    etudes run graph-task-vectors                      5 minutes on two cores, 15 variants, 5 seeds
    etudes run graph-task-vectors --scale molecules    10 minutes, 15 variants and 1 seed: a graph is what has a class
    etudes run graph-task-vectors --scale paper        60 minutes on a GPU, 15 variants, 3 seeds: a wide network

`--until decided` goes on to 20 seeds. To expect: negating the two rarer toolkits makes the network hardly say them;
the sum keeps what each network knows, and nothing of what comes from a second base; most of it is in the layers over
the graph, not in the table of words; noise learnt on two tasks helps three others a little.

Departures from the paper: graphs for pictures and text, a small graph network for CLIP, and an output layer that is
drawn, fixed and shared for CLIP's, which comes from its text encoder. The base knows all tasks a little, from a tenth
of what there is to learn from, as CLIP does. Scores are macro-F1. Negation is of half of a task's classes, the control
all else.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

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
    higher,
    lower,
    positive,
    within,
)
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars
from etudes.studies.adapt.graph_task_vectors import findings
from etudes.studies.adapt.graph_task_vectors.changes import change
from etudes.studies.adapt.graph_task_vectors.idea import edit
from etudes.studies.adapt.graph_task_vectors.networks import network
from etudes.studies.adapt.graph_task_vectors.operations import (
    OPERATIONS,
    Bench,
    mean_cosine,
    own_scores,
    summary,
)
from etudes.studies.adapt.graph_task_vectors.worlds import open_world
from etudes.train import Adam, weights
from etudes.train.arithmetic import put

Operation = Literal[
    "base", "single", "sum", "sum-words", "sum-layers", "sum-random", "sum-two-bases", "negated", "negated-random",
    "ascent", "analogy", "analogy-base", "analogy-random", "corner-b", "corner-c",
]  # fmt: skip


@dataclass(frozen=True)
class Config:
    operation: Operation = "base"  # what is done with the base and what was tuned from it
    world: Literal["packages", "molecules"] = "packages"  # where tasks come from
    packages: str = "debian-graph"  # the set of packages
    papers: tuple[str, ...] = ("cora", "citeseer")  # graphs beside the packages, as control
    molecules: tuple[str, ...] = ("enzymes", "proteins", "mutag", "ptc")  # sets; the first two make the analogy
    size: Annotated[int, at_least(10)] = 30_000  # packages that are drawn, at most
    least: Annotated[int, at_least(1)] = 120  # packages that a class must have, of those that may be drawn
    shares: tuple[float, ...] = (0.5, 0.2)  # of the packages, to learn from and to choose by; the rest is tested on
    noise: Annotated[int, at_least(0)] = 3  # words of other packages that noise adds for each of a description
    columns: Annotated[int, at_least(1)] = 4096  # words that are told apart
    width: Annotated[int, at_least(1)] = 512  # numbers that a word has, and a node between the two layers
    features: Annotated[int, at_least(1)] = 512  # numbers that a node ends with
    layer: Literal["sage", "gin", "gcn"] = "sage"  # kind of graph layer
    share: Annotated[float, within(0, 1)] = 0.1  # of the rows to learn from, which the base sees of added tasks
    base_steps: Annotated[int, at_least(1)] = 400  # optimiser steps of the base, each with all rows
    base_lr: Annotated[float, positive] = 3e-3  # peak learning rate of the base, by Adam
    steps: Annotated[int, at_least(1)] = 200  # optimiser steps of tuning on a task, each with all rows
    lr: Annotated[float, positive] = 1e-3  # peak learning rate of tuning, by Adam
    analogy_lr: Annotated[float, positive] = 4e-3  # the same of the three networks of the analogy
    schedule: Schedule = "cosine"  # learning rate over the steps
    scalings: tuple[float, ...] = (
        0.1,
        0.2,
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.8,
        1.0,
        1.3,
        1.6,
        2.0,
    )  # coefficients to choose from
    reserve: Annotated[float, within(0, 1)] = 0.98  # of the control's score, which negation leaves on validation rows
    log_every: Annotated[int, at_least(1)] = 10  # steps that one line of the log averages

    def drawing(self) -> dict[str, Any]:
        """What decides the examples."""
        names = ("world", "packages", "papers", "molecules", "size", "least", "shares", "noise", "columns")
        return {name: getattr(self, name) for name in names}

    def base_settings(self) -> dict[str, Any]:
        """What decides the base."""
        names = ("width", "features", "layer", "share", "base_steps", "base_lr", "schedule")
        return self.drawing() | {name: getattr(self, name) for name in names}

    def recipe(self, steps: int, lr: float) -> Adam:
        """A training's recipe."""
        return Adam(steps=steps, lr=lr, schedule=self.schedule, log_every=self.log_every)


def train(cfg: Config, run: Run) -> None:
    examples, aims = open_world(cfg, run)
    bench = Bench(run, cfg, examples, aims, network(run, cfg, examples, "init"))
    own = own_scores(bench, "test")
    if cfg.operation == "single":  # several networks, each asked on its own task
        run.result(**{f"test/{task}": score for task, score in own.items()}, **summary(aims, own, own))
        run.result(**{f"test/{task}-majority": findings.majority(examples, task) for task in examples.tasks})
        return
    made, chosen = OPERATIONS[cfg.operation](bench)
    found = bench.scores(made, "test")
    run.result(**{f"test/{name}": score for name, score in found.items()})
    run.result(**summary(aims, found, own), **{"test/control": aims.control(found), "validation/scaling": chosen})
    run.result(**{f"test/corner-{letter.lower()}": bench.corner(made, letter, "test") for letter in "BCD"})
    run.result(**{"test/change": change(bench, cfg.operation, made)})
    if aims.beside:
        run.result(**{"test/beside": sum(found[task] for task in aims.beside) / len(aims.beside)})
    if cfg.operation == "sum":
        run.result(**{"train/cosine": mean_cosine(bench)})
    weights.save(run.path("model.safetensors"), put(bench.net.body, made))


LAPTOP = {"size": 8000, "width": 64, "features": 64, "share": 0.05, "base_steps": 60, "base_lr": 1e-2, "steps": 40,
          "lr": 2e-3, "analogy_lr": 8e-3}  # fmt: skip
DRAWN = {"packages": "drawn-packages", "papers": ("drawn-papers",), "least": 20}
TINY = {"size": 200, "columns": 256, "width": 8, "features": 48, "base_steps": 4, "base_lr": 1e-2, "steps": 2,
        "lr": 3e-3, "analogy_lr": 3e-3, "scalings": (0.5,), "log_every": 1}  # fmt: skip
MOLECULES = {"world": "molecules", "layer": "gin", "columns": 512, "width": 64, "features": 64, "share": 0.3,
             "base_steps": 100, "base_lr": 3e-3, "steps": 60, "lr": 1e-3, "analogy_lr": 4e-3}  # fmt: skip
HIGH, CONTROL, KEPT, CORNER = "test/toolkit-high", "test/control", "test/kept", "test/corner-d"
MOVED_TASKS = "test/moved"
MATTERS = 0.02  # of macro-F1
BEYOND = "beyond the paper"


def control_kept(trial: Any) -> float:
    """The control's score after negation, over the base's."""
    return trial["negated"][CONTROL] / trial["base"][CONTROL]


def over_each_alone(trial: Any) -> float:
    """Other tasks in noise: the analogy's score minus the best of what it is made of."""
    return trial["analogy"][CORNER] - max(trial[name][CORNER] for name in ("corner-c", "corner-b", "analogy-base"))


STUDY = Study(
    name="graph-task-vectors",
    question="Can what a graph network has learnt be taken away, added and carried over by arithmetic on its weights?",
    paper=Paper(
        "Editing Models with Task Arithmetic",
        "Ilharco, Ribeiro, Wortsman, Gururangan, Schmidt, Hajishirzi, Farhadi",
        2023,
        "https://arxiv.org/abs/2212.04089",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("base", {"operation": "base"}, "knows all tasks a little"),
        Variant("single", {"operation": "single"}, "the base tuned on each task alone: a network a task"),
        Variant("sum", {"operation": "sum"}, "the base plus the vectors of all five tasks"),
        Variant("sum-words", {"operation": "sum-words"}, "as sum, of each vector only the table of words"),
        Variant("sum-layers", {"operation": "sum-layers"}, "as sum, of each vector only the graph's layers"),
        Variant("sum-two-bases", {"operation": "sum-two-bases"}, "as sum, four of the vectors from another base"),
        Variant("sum-random", {"operation": "sum-random"}, "as sum, with random vectors of the same lengths"),
        Variant("negated", {"operation": "negated"}, "the base minus the vector of the rarer toolkits"),
        Variant("negated-random", {"operation": "negated-random"}, "minus a random vector of the same length"),
        Variant("ascent", {"operation": "ascent"}, "the base after climbing the loss of the rarer toolkits"),
        Variant("analogy", {"operation": "analogy"}, "corner-c plus what noise changed for role and interface"),
        Variant("analogy-base", {"operation": "analogy-base"}, "the base plus what noise changed"),
        Variant("analogy-random", {"operation": "analogy-random"}, "corner-c plus a random vector"),
        Variant("corner-c", {"operation": "corner-c"}, "the base tuned on language, use and toolkit together"),
        Variant("corner-b", {"operation": "corner-b"}, "the base tuned on role and interface in noise"),
    ),
    scales={
        "smoke": Scale(DRAWN | TINY, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=5, offline=DRAWN),
        "molecules": Scale(MOLECULES, seeds=1, minutes=10, judges=False),
        "paper": Scale({}, seeds=3, minutes=60, offline=DRAWN),
    },
    claims={
        "with their vector negated the rarer toolkits are found no more often than by guessing": between(
            "negated", -math.inf, 0.2, "sec. 3, table 1", of=HIGH
        ),
        "negation leaves 95 % of the score on everything else": Claim(
            control_kept, above(0.95), "sec. 3", number="score on the control: negated over base", kind="ratio"
        ),
        "a random vector of the same length leaves more of the rarer toolkits than negation": higher(
            "negated-random", "negated", "sec. 3, table 1", of=HIGH
        ),
        "gradient ascent on the rarer toolkits costs more of everything else than negation": lower(
            "ascent", "negated", "sec. 3, table 1", of=CONTROL
        ),
        "the sum of five vectors keeps 85 % of what a network tuned on each task alone has": between(
            "sum", 0.85, math.inf, "sec. 4, fig. 2", of=KEPT
        ),
        "the sum of five vectors keeps more of the five tasks than the base has": higher(
            "sum", "base", "sec. 4, fig. 2", of=KEPT
        ),
        "with vectors from another base the sum is worse on the tasks of these vectors": lower(
            "sum-two-bases", "sum", "sec. 2", of=MOVED_TASKS, matters=MATTERS
        ),
        "vectors of different tasks stand at right angles, up to a cosine of 0.1": between(
            "sum", -math.inf, 0.1, "sec. 4, fig. 5", of="train/cosine"
        ),
        "the part of the vectors in the graph's layers keeps more of the tasks than the part in the table of words": (
            higher("sum-layers", "sum-words", BEYOND, of=KEPT, matters=0.05)
        ),
        "in noise the analogy knows more of language, use and toolkit than each part that it is made of": Claim(
            over_each_alone, above(0), "sec. 5", number="macro-F1: analogy minus the best part", matters=MATTERS
        ),
    },
    charts=(
        bars(
            "test/change",
            title="What arithmetic on weights changes, and what random vectors do",
            sections={
                "arithmetic": ("sum", "sum-random", "negated", "negated-random", "analogy", "analogy-random"),
            },
            says="Each changes another score: of five tasks, of rarer toolkits, and of three tasks in noise.",
        ),
        bars(
            HIGH,
            "test/toolkit-among",
            CONTROL,
            title="The rarer toolkits taken away, and everything else",
            sections={"take away": ("base", "negated", "negated-random", "ascent")},
        ),
        bars(
            KEPT,
            MOVED_TASKS,
            "test/beside",
            title="Five vectors added",
            sections={
                "add": ("base", "single", "sum", "sum-words", "sum-layers", "sum-two-bases", "sum-random"),
            },
        ),
        bars(
            CORNER,
            title="Language, use and toolkit in noise, in which no network has learnt them",
            sections={
                "carry over": ("base", "corner-c", "corner-b", "analogy-base", "analogy", "analogy-random"),
            },
        ),
    ),
    words={
        "test/change": "change of the score aimed at",
        KEPT: "share kept of each task's own score",
        MOVED_TASKS: "mean macro-F1 of four tasks",
        HIGH: "share found of the rarer toolkits",
        "test/toolkit-among": "share found, no other toolkits allowed",
        CONTROL: "mean macro-F1 on everything else",
        CORNER: "mean macro-F1 of three tasks in noise",
        "test/beside": "macro-F1 on papers",
    },
    idea=edit,
    precision="fp32",
    origin="B7",
)
