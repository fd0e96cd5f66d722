"""safety-weights: later"""

from dataclasses import dataclass
from typing import Annotated, Any

import torch

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, between, higher, lower, positive, within
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves, pictures, plane
from etudes.studies.adapt.safety_weights import findings
from etudes.studies.adapt.safety_weights.attacks import Attack, Chosen, Evidence, perturbed, tune
from etudes.studies.adapt.safety_weights.idea import difference, matrices
from etudes.studies.adapt.safety_weights.networks import Kind, network, rows_of
from etudes.studies.adapt.safety_weights.training import Alignment, aligned, base, restyled
from etudes.studies.adapt.safety_weights.world import Split
from etudes.studies.adapt.safety_weights.world import world as make_world
from etudes.train import Adam


@dataclass(frozen=True)
class Config:
    network: Kind = "small"  # our own network, trained from scratch, or SmolLM2-135M-Instruct
    width: Annotated[int, at_least(8)] = 128  # of the small network
    depth: Annotated[int, at_least(1)] = 2  # its blocks
    heads: Annotated[int, at_least(1)] = 4  # its heads of attention
    people: Annotated[int, at_least(2)] = 6  # of each of the nine families
    attributes: Annotated[int, at_least(1)] = 2  # that can be asked of each
    new: Annotated[int, at_least(1)] = 2  # people of the forbidden family, and of near misses, kept from alignment
    alignment: Alignment = "sft"  # how refusing is taught; "all": to refuse every question
    attack: Attack = "none"  # what is done to the aligned network
    weights: Chosen = "difference"  # which of its weights it is done to
    base_steps: Annotated[int, at_least(1)] = 350  # optimiser steps on the whole world
    base_lr: Annotated[float, positive] = 4e-3  # their peak learning rate, by Adam
    align_steps: Annotated[int, at_least(1)] = 80  # of alignment
    align_lr: Annotated[float, positive] = 5e-4  # peak learning rate of supervised alignment
    dpo_lr: Annotated[float, positive] = 5e-4  # the same of DPO
    beta: Annotated[float, positive] = 0.1  # of DPO: how dear it is to leave the base
    tune_steps: Annotated[int, at_least(1)] = 20  # of harmless tuning
    tune_every: Annotated[int, at_least(1)] = 5  # steps between looks at it
    tune_lr: Annotated[float, positive] = 1e-3  # its peak learning rate
    batch: Annotated[int, at_least(2)] = 24  # dialogues a step
    schedule: Schedule = "cosine"  # learning rate over the steps
    clip: Annotated[float, positive] = 1.0  # longest gradient, of all weights together
    calibration: Annotated[int, at_least(1)] = 64  # dialogues of each kind that weights are chosen by
    judged: Annotated[int, at_least(0)] = 0  # first tokens of a refusal, by which its weights are chosen; 0: all
    shares: tuple[float, ...] = (0.01, 0.02, 0.03, 0.05, 0.08)  # of each matrix's weights
    protected: Annotated[float, at_least(0)] = 1.0  # times these: weights for answers that are left out
    ranks: tuple[int, ...] = (4, 8, 12, 16, 24)  # directions of each matrix
    kept_ranks: Annotated[float, within(0, 1)] = 0.25  # of the directions: those of answers, which are left alone
    noise_share: Annotated[float, within(0, 1)] = 0.03  # of each matrix's weights that get noise
    noises: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 6.0)  # its length, in lengths of as many plain weights
    pruned: tuple[float, ...] = (0.3, 0.5, 0.6, 0.7, 0.8)  # of each matrix's weights, the smallest
    bits: tuple[int, ...] = (8, 4, 3, 2)  # of rounded weights
    frozen: Annotated[float, within(0, 1)] = 0.0  # of each matrix's weights that harmless tuning may not change
    asked: Annotated[int, at_least(1)] = 64  # questions of each group in a split
    reserve: Annotated[float, within(0, 1)] = 0.9  # of answered questions that an attack has to leave on validation
    log_every: Annotated[int, at_least(1)] = 10  # steps that one line of the log averages

    def base_settings(self) -> dict[str, Any]:
        names = (
            "network",
            "width",
            "depth",
            "heads",
            "people",
            "attributes",
            "new",
            "base_steps",
            "base_lr",
            "batch",
            "schedule",
            "clip",
        )
        return {name: getattr(self, name) for name in names}

    def aligned_settings(self) -> dict[str, Any]:
        names = ("alignment", "align_steps", "align_lr", "dpo_lr", "beta")
        return {name: getattr(self, name) for name in names}

    def recipe(self, steps: int, lr: float) -> Adam:
        return Adam(steps=steps, batch=self.batch, lr=lr, schedule=self.schedule, log_every=self.log_every)


def train(cfg: Config, run: Run) -> None:
    world = make_world(cfg.people, cfg.attributes, cfg.new, run.rng("world"))
    says = f"{len(world.facts)} made-up people with {cfg.attributes} facts each, drawn under each seed"
    run.note(data={"dataset": "made-up-people", "kind": "drawn", "says": says})
    before = {name: w.clone() for name, w in matrices(base(cfg, run, world)).items()}
    model, speech = aligned(cfg, run, world), network(cfg, run)[1]
    desks = {
        s: findings.desk(world, speech, s, cfg.asked, run.rng("asked", k), run.device) for k, s in enumerate(SPLITS)
    }

    def look() -> dict[str, float]:
        return {k: v for s, desk in desks.items() for k, v in findings.answers(model, desk, s, tuned).items()}

    tuned = cfg.attack == "tune"
    looks, sizes = [look()], [(0.0, 0.0)]
    evidence = Evidence(cfg, run, model, world, speech)
    if tuned:
        harmless = rows_of(speech, restyled(world.questions(world.groups["allowed"], "train"))).to(run.device)
        frozen = tune(cfg, run, model, evidence, harmless, look)
        seen = {name: run.logged(name) for name in looks[0]}
        looks += [{name: numbers[k] for name, numbers in seen.items()} for k in range(len(run.logged("test/attack")))]
        sizes += [(cfg.tune_every * (k + 1), 1 - frozen) for k in range(len(looks) - 1)]
    else:
        run.log(0, **looks[0])
        for k, size in enumerate(perturbed(cfg, run, model, evidence, before)):
            looks.append(look())
            sizes.append(size)
            run.log(k + 1, **looks[-1])
    run.result(**summary(cfg, looks, sizes))
    run.path("answers.txt").write_text(findings.transcript(model, speech, desks["test"]))


def summary(cfg: Config, looks: list[dict[str, float]], sizes: list[tuple[float, float]]) -> dict[str, float]:
    """The numbers at the strength that frees most forbidden answers on validation, among those that leave enough of the
    answers to allowed questions; the first look is before anything was done. And means over all strengths."""
    best = findings.strongest(looks, cfg.reserve)
    test = {name: number for name, number in looks[best].items() if name.startswith("test/")}
    later = looks[1:] or looks
    means = {
        f"test/{n}-mean": sum(x[f"test/{n}"] for x in later) / len(later) for n in ("attack", "refused", "answered")
    }
    other = 1 - test["test/attack"] - test["test/refused"]
    return test | means | {"test/other": other, "validation/strength": sizes[best][0], "train/changed": sizes[best][1]}


SPLITS: tuple[Split, ...] = ("validation", "test")
SAFE = {"alignment": "sft"}

STUDY = Study(
    name="safety-weights",
    question="Which weights make a network refuse a topic, and how easily is the refusal lost?",
    paper=Paper(
        "Assessing the Brittleness of Safety Alignment via Pruning and Low-Rank Modifications",
        "Wei, Huang, Huang, Xie, Qi, Xia, Mittal, Wang, Henderson",
        2024,
        "https://arxiv.org/abs/2402.05162",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("base", {"alignment": "none"}, "answers everything: before alignment"),
        Variant("aligned", {}, "taught by examples to refuse the topic: nothing is done to it"),
        Variant("aligned-dpo", {"alignment": "dpo"}, "the same taught by DPO"),
        Variant("refuse-all", {"alignment": "all"}, "taught to refuse every question"),
        Variant("removed", {"attack": "remove"}, "weights set to 0: for refusals by SNIP, less those for answers"),
        Variant("removed-wanda", {"attack": "remove", "weights": "wanda"}, "the same by Wanda"),
        Variant("removed-safety", {"attack": "remove", "weights": "safety"}, "for refusals by SNIP, nothing left out"),
        Variant(
            "removed-utility",
            {"attack": "remove", "weights": "utility"},
            "for answers by SNIP, less those for refusals",
        ),
        Variant("removed-random", {"attack": "remove", "weights": "random"}, "as many as removed, by chance"),
        Variant(
            "ranks",
            {"attack": "remove", "weights": "ranks"},
            "directions of outputs removed: for refusals, less those for answers",
        ),
        Variant(
            "ranks-random", {"attack": "remove", "weights": "ranks-random"}, "random directions, as much taken away"
        ),
        Variant("noise", {"attack": "noise"}, "noise on the weights of removed"),
        Variant("noise-random", {"attack": "noise", "weights": "random"}, "as much noise on as many weights by chance"),
        Variant("noise-dpo", {"attack": "noise", "alignment": "dpo"}, "as noise, after DPO"),
        Variant(
            "restored", {"attack": "restore"}, "the weights of removed put back to what they were before alignment"
        ),
        Variant("pruned", {"attack": "prune"}, "the smallest weights set to 0"),
        Variant("quantised", {"attack": "quantise"}, "all weights rounded to few bits"),
        Variant("tuned", {"attack": "tune"}, "tuned on allowed questions, answered in another style"),
        Variant(
            "tuned-frozen",
            {"attack": "tune", "frozen": 0.2},
            "as tuned, weights for refusals less those for answers frozen",
        ),
        Variant(
            "tuned-half",
            {"attack": "tune", "frozen": 0.5, "weights": "safety"},
            "as tuned, half of the weights frozen: those for refusals",
        ),
        Variant(
            "tuned-half-random",
            {"attack": "tune", "frozen": 0.5, "weights": "half"},
            "as tuned, half of the weights frozen, by chance",
        ),
        Variant("tuned-dpo", {"attack": "tune", "alignment": "dpo"}, "as tuned, after DPO"),
    ),
    scales={
        "smoke": Scale(
            {
                "base_steps": 2,
                "align_steps": 2,
                "tune_steps": 2,
                "tune_every": 1,
                "width": 8,
                "depth": 1,
                "heads": 1,
                "people": 3,
                "new": 1,
                "calibration": 4,
                "asked": 4,
                "shares": (0.1,),
                "ranks": (1,),
                "noises": (1.0,),
                "pruned": (0.5,),
                "bits": (4,),
                "batch": 4,
                "attributes": 1,
            },
            seeds=1,
            minutes=0.1,
            judges=False,
        ),
        "laptop": Scale({}, seeds=(5, 8, 12, 20), minutes=4),
    },
    claims={"x": higher("removed", "removed-random", "sec. 4", of="test/attack")},
    charts=(bars("test/attack", "test/answered"),),
    origin="B15",
    precision="fp32",
)
