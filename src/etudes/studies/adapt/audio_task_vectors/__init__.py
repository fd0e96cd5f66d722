"""audio-task-vectors: what a network has learnt, as a difference of weights that is added, negated and carried over.

A task vector is what tuning on a task changes: v = w_tuned - w_base (sec. 2). Networks that were never trained come
from arithmetic on such vectors (fig. 1):

    forget        w = w_base - c v                    (sec. 3)
    learn many    w = w_base + c (v_1 + ... + v_n)    (sec. 4)
    carry over    w = w_C + c (w_B - w_A)             (sec. 5: A is to B as C is to D, and D is never seen)

Here they are tried on sound: spoken digits, environmental sounds and notes, seen as pictures of mel bands.

    etudes run audio-task-vectors                       3 minutes on two cores, 14 variants, 5 seeds
    etudes run audio-task-vectors --scale pretrained    60 minutes, 14 variants and 1 seed: Resemblyzer's encoder
    etudes run audio-task-vectors --scale paper         120 minutes on a GPU, 14 variants and 3 seeds: a wide network

`--until decided` goes on to 20 seeds. To expect: negating the digits five to nine makes the network never say them,
though it still tells them apart; sums keep most of what each network knows; noise learnt from some speakers helps
others; with vectors from two bases the sum fails.

Departures from the paper: sound for pictures and text, a small network for CLIP, and an output layer that is drawn,
fixed and shared for CLIP's, which comes from its text encoder. The base knows all tasks a little, from a tenth of the
recordings, as CLIP does, and of six speakers it hears two. Negation is of half the digits, the control all else.
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
from etudes.studies.adapt.audio_task_vectors import findings
from etudes.studies.adapt.audio_task_vectors.aims import change
from etudes.studies.adapt.audio_task_vectors.examples import keep_features, make_features, read_examples
from etudes.studies.adapt.audio_task_vectors.idea import add
from etudes.studies.adapt.audio_task_vectors.networks import network
from etudes.studies.adapt.audio_task_vectors.operations import (
    ADDED,
    MOVED,
    OPERATIONS,
    Bench,
    cosines,
    kept_share,
    own_scores,
)
from etudes.train import Adam, weights
from etudes.train.arithmetic import put

Operation = Literal[
    "base", "single", "sum", "sum-random", "sum-two-bases", "sum-trimmed", "negated", "negated-random", "ascent",
    "analogy", "analogy-base", "analogy-random", "clean-second", "noisy-first",
]  # fmt: skip


@dataclass(frozen=True)
class Config:
    operation: Operation = "base"  # what is done with the base and what was tuned from it
    digits: str = "spoken-digits"  # a set of spoken words by six speakers
    noises: str = "esc10"  # a set of sounds in five folds
    notes: Annotated[int, at_least(100)] = 3000  # notes that are drawn, three fifths of them to learn from
    snr: float = 6.0  # decibels of digits over white noise, of the noisy digits
    body: Literal["small", "resemblyzer"] = "small"  # of the network: our own, or the pretrained encoder
    width: Annotated[int, at_least(1)] = 64  # channels of the small body's first convolution
    share: Annotated[float, within(0, 1)] = 0.1  # of the training recordings, which the base learns from
    base_steps: Annotated[int, at_least(1)] = 1000  # optimiser steps of the base
    base_batch: Annotated[int, at_least(1)] = 32  # recordings of each kind a step
    base_lr: Annotated[float, positive] = 2e-3  # peak learning rate of the base, by Adam
    steps: Annotated[int, at_least(1)] = 1000  # optimiser steps of tuning on a task
    batch: Annotated[int, at_least(1)] = 64  # recordings a step of tuning
    lr: Annotated[float, positive] = 2e-4  # peak learning rate of tuning, by Adam
    analogy_lr: Annotated[float, positive] = 5e-4  # the same of the three networks of the analogy
    schedule: Schedule = "cosine"  # learning rate over the steps
    scalings: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0)  # coefficients to choose from
    trimmed_factor: Annotated[float, positive] = 2.0  # times these for sums by TIES, which are shorter
    reserve: Annotated[float, within(0, 1)] = 0.97  # of the control's accuracy, which negation leaves on validation
    log_every: Annotated[int, at_least(1)] = 10  # steps that one line of the log averages

    def hearing(self) -> dict[str, Any]:
        """What decides the features."""
        return {name: getattr(self, name) for name in ("digits", "noises", "notes", "snr", "body")}

    def base_settings(self) -> dict[str, Any]:
        """What decides the base."""
        names = ("width", "share", "base_steps", "base_batch", "base_lr", "schedule")
        return self.hearing() | {name: getattr(self, name) for name in names}

    def tuning(self) -> dict[str, Any]:
        """What decides a tuned network beside its base."""
        return {name: getattr(self, name) for name in ("steps", "batch")}

    def recipe(self, steps: int, batch: int, lr: float) -> Adam:
        """A training's recipe."""
        return Adam(steps=steps, batch=batch, lr=lr, schedule=self.schedule, log_every=self.log_every)


def train(cfg: Config, run: Run) -> None:
    def make(own: Run) -> None:
        found, sources = make_features(cfg.digits, cfg.noises, cfg.notes, cfg.snr, cfg.body)
        keep_features(own, found, sources)

    heard = run.once("features", cfg.hearing(), make, seed=0)
    run.note(data=heard.env["data"])
    examples = read_examples(heard.folder, run)
    bench = Bench(run, cfg, examples, network(run, cfg.body, cfg.width, examples.part("digits", "train")[0], "init"))
    own = own_scores(bench, "test")
    if cfg.operation == "single":  # several networks, each heard on its own task
        run.result(**{f"test/{task}": score for task, score in own.items()})
        run.result(**summary(own, own), **{f"test/{t}-majority": s for t, s in findings.chance(examples).items()})
        return
    made, chosen = OPERATIONS[cfg.operation](bench)
    found = bench.scores(made, "test")
    run.result(**{f"test/{name}": score for name, score in found.items()}, **summary(found, own))
    run.result(**{"test/control": findings.control(found), "validation/scaling": chosen})
    run.result(**{"test/noisy": bench.digits(made, "noisy", "test-second")})
    run.result(**{"test/new-speaker": bench.digits(made, "digits", "new")})
    run.result(**{"test/change": change(bench, cfg.operation, made)})
    if cfg.operation == "sum":
        run.result(**cosines(bench))
    weights.save(run.path("model.safetensors"), put(bench.net.body, made))


def summary(found: dict[str, float], own: dict[str, float]) -> dict[str, float]:
    """The shares kept of what each network has on its own task, mean and least, and the mean accuracy of tasks that
    are moved to another base where there are two, and of notes."""
    return {
        "test/kept": kept_share(found, own, ADDED),
        "test/kept-least": min(kept_share(found, own, [task]) for task in ADDED),
        "test/moved": sum(found[task] for task in MOVED) / len(MOVED),
        "test/notes": (found["pitch"] + found["family"]) / 2,
    }


LAPTOP = {"width": 8, "base_steps": 300, "steps": 150}
DRAWN = {"digits": "drawn-words", "noises": "drawn-noises"}
TINY = {"width": 4, "notes": 200, "base_steps": 4, "base_batch": 4, "steps": 2, "batch": 8, "scalings": (0.4, 0.8),
        "log_every": 1}  # fmt: skip
PRETRAINED = {"body": "resemblyzer", "base_steps": 200, "steps": 80, "batch": 32, "base_batch": 16, "lr": 1e-4,
              "base_lr": 1e-3}  # fmt: skip
HIGH, CONTROL, KEPT, NOISY, MOVED_TASKS = "test/high", "test/control", "test/kept", "test/noisy", "test/moved"
MATTERS = 0.02  # of accuracies
BEYOND = "beyond the paper"


def control_kept(trial: Any) -> float:
    """The control's accuracy after negation, over the base's."""
    return trial["negated"][CONTROL] / trial["base"][CONTROL]


def over_each_alone(trial: Any) -> float:
    """Noisy digits of the second speakers: the analogy's accuracy minus the best of what it is made of."""
    return trial["analogy"][NOISY] - max(trial[name][NOISY] for name in ("clean-second", "noisy-first", "analogy-base"))


def least_gain(trial: Any) -> float:
    """The least gain of the sum over the base, of digits, sounds and notes."""
    return min(trial["sum"][of] - trial["base"][of] for of in ("test/digits", "test/sounds", "test/notes"))


STUDY = Study(
    name="audio-task-vectors",
    question="Can what networks have learnt of sounds be taken away, added and carried over by arithmetic on weights?",
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
        Variant("sum", {"operation": "sum"}, "the base plus the vectors of digits, sounds, pitch and family"),
        Variant("sum-trimmed", {"operation": "sum-trimmed"}, "as sum, by TIES: trimmed, one sign a place"),
        Variant("sum-two-bases", {"operation": "sum-two-bases"}, "as sum, three of the vectors from another base"),
        Variant("sum-random", {"operation": "sum-random"}, "as sum, with random vectors of the same lengths"),
        Variant("negated", {"operation": "negated"}, "the base minus the vector of the digits five to nine"),
        Variant("negated-random", {"operation": "negated-random"}, "minus a random vector of the same length"),
        Variant("ascent", {"operation": "ascent"}, "the base after climbing the loss of the digits five to nine"),
        Variant("analogy", {"operation": "analogy"}, "clean-second plus what noise changed for the first speakers"),
        Variant("analogy-base", {"operation": "analogy-base"}, "the base plus what noise changed"),
        Variant("analogy-random", {"operation": "analogy-random"}, "clean-second plus a random vector"),
        Variant("clean-second", {"operation": "clean-second"}, "the base tuned on clean digits of the second speakers"),
        Variant("noisy-first", {"operation": "noisy-first"}, "the base tuned on noisy digits of the first speakers"),
    ),
    scales={
        "smoke": Scale(DRAWN | TINY, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=3, offline=DRAWN),
        "pretrained": Scale(PRETRAINED, seeds=1, minutes=60, judges=False),
        "paper": Scale({}, seeds=3, minutes=120),
    },
    claims={
        "with their vector negated the digits five to nine are found no more often than by guessing": between(
            "negated", -math.inf, 0.15, "sec. 3, table 1", of=HIGH
        ),
        "negation leaves 95 % of the accuracy on everything else": Claim(
            control_kept, above(0.95), "sec. 3", number="accuracy on the control: negated over base", kind="ratio"
        ),
        "a random vector of the same length leaves more of the digits five to nine than negation": higher(
            "negated-random", "negated", "sec. 3, table 1", of=HIGH, matters=MATTERS
        ),
        "gradient ascent on the digits five to nine costs more of everything else than negation": lower(
            "ascent", "negated", "sec. 3, table 1", of=CONTROL, matters=MATTERS
        ),
        "negation hides: if only the five may be answered the network finds more of them than the fifth of guessing": (
            between("negated", 0.2, math.inf, BEYOND, of="test/among", matters=0.05)
        ),
        "the sum of four vectors keeps 85 % of what a network tuned on each task alone has": between(
            "sum", 0.85, math.inf, "sec. 4, fig. 2", of=KEPT
        ),
        "the sum of four vectors is better than the base on digits, on sounds and on notes": Claim(
            least_gain, above(0), "sec. 4", number="the least gain of the three", matters=MATTERS
        ),
        "with vectors from another base the sum is worse on the tasks of these vectors": lower(
            "sum-two-bases", "sum", "sec. 2", of=MOVED_TASKS, matters=MATTERS
        ),
        "vectors of different tasks stand at right angles, up to a cosine of 0.1": between(
            "sum", -math.inf, 0.1, "sec. 4, fig. 5", of="train/cosine"
        ),
        "summing by TIES keeps more of each task than plain summing": higher(
            "sum-trimmed", "sum", "Yadav et al. 2023 (arXiv:2306.01708), table 1", of=KEPT, matters=MATTERS
        ),
        "in noise the analogy understands the second speakers better than each part that it is made of": Claim(
            over_each_alone, above(0), "sec. 5", number="accuracy: analogy minus the best part", matters=MATTERS
        ),
    },
    charts=(
        bars(
            "test/change",
            title="What arithmetic on weights changes, and what random vectors do",
            sections={
                "arithmetic": ("sum", "sum-random", "negated", "negated-random", "analogy", "analogy-random"),
            },
            says="Each changes another accuracy: of four tasks, of the digits five to nine, and in noise.",
        ),
        bars(
            HIGH,
            "test/among",
            CONTROL,
            title="Digits five to nine taken away, and everything else",
            sections={"take away": ("base", "negated", "negated-random", "ascent")},
        ),
        bars(
            KEPT,
            MOVED_TASKS,
            title="Four vectors added",
            sections={"add": ("base", "single", "sum", "sum-trimmed", "sum-two-bases", "sum-random")},
        ),
        bars(
            NOISY,
            title="Digits in noise, by speakers whose noisy digits none has heard",
            sections={
                "carry over": (
                    "base",
                    "clean-second",
                    "noisy-first",
                    "analogy-base",
                    "analogy",
                    "analogy-random",
                )
            },
        ),
        bars("test/new-speaker", title="Digits of a speaker whom no network has heard"),
    ),
    words={
        "test/change": "change of the accuracy aimed at",
        KEPT: "share kept of each task's own accuracy",
        MOVED_TASKS: "accuracy on digits, sounds and pitch",
        HIGH: "accuracy on digits five to nine",
        "test/among": "accuracy on digits five to nine, no others allowed",
        CONTROL: "accuracy on everything else",
        NOISY: "accuracy in noise, second speakers",
        "test/new-speaker": "accuracy on digits of a new speaker",
    },
    idea=add,
    precision="fp32",
    origin="B6",
)
