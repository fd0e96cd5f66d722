"""unlearning: make a network that knows 6 and not 3 forget 6 and learn 3, and look for what is left of 6.

The course's way: find the weights that matter for 6, freeze all others, and train these on 3 and against 6. It stands
beside networks that never saw a 6, and beside SalUn and SCRUB. The new way draws the weights that matter for 6 anew,
and goes on with no 6 at all, with 3, a few retained digits, and what the first network says of these, its 6 left out:

    w <- m w' + (1 - m) w,    m = 1 where |w dz_6 / dw| is among the highest tenth, w' as before any training.

    etudes run unlearning                   2 minutes on two cores, 14 variants, 5 seeds
    etudes run unlearning --scale spoken    2 minutes, 14 variants and 3 seeds: spoken digits
    etudes run unlearning --scale paper     900 minutes on a GPU, 6 variants and 1 seed: ResNet-18 on CIFAR-10

`--until decided` goes on to 20 seeds. Look at the maps of features first. To expect: an answer is soon forgotten, and
what it was read from stays; with weights drawn anew 6 has to be learnt again, at a price in retained digits.

Departures from the paper at laptop scale: digits and a small network; a class to forget and one to learn at once; SalUn
and SCRUB are rebuilt by their equations, and see but 20 retained pictures a class, with as many steps as all others.
"""

import copy
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, between, higher, lower, positive, within
from etudes.reports.charts import bars, pictures, plane
from etudes.studies.adapt.unlearning.examples import Examples, batches, read
from etudes.studies.adapt.unlearning.findings import draw_map, errors, leftovers
from etudes.studies.adapt.unlearning.idea import Weights, free_answer, freeze, most_salient, redraw, saliency
from etudes.studies.adapt.unlearning.losses import Forgetting, ascent, divergence, penalty, quietly, random_labels
from etudes.studies.adapt.unlearning.networks import Kind, learn, network, original, references
from etudes.train import Adam, adam, descend, fitted, seeded, weights


@dataclass(frozen=True)
class Config(Adam):
    dataset: str = "mnist-5k"  # a picture set, as listed by `etudes data`, or "spoken-digits"
    examples: Annotated[int, at_least(0)] = 300  # training pictures a class; 0: all that are not held out
    held_out: Annotated[int, at_least(1)] = 100  # pictures a class for validation and for probes
    forgets: Annotated[int, at_least(0)] = 6  # the class to forget
    learns: Annotated[int, at_least(0)] = 3  # the class to learn, which the network has never seen
    network: Kind = "small"  # two convolutions and two dense layers, or the pre-activation ResNet-18
    width: Annotated[int, at_least(1)] = 8  # channels of its first stage
    features: Annotated[int, at_least(1)] = 16  # of the small network, below its last layer
    pretraining_steps: Annotated[int, at_least(1)] = (
        500  # steps from scratch, of the first network and of those without 6
    )
    pretraining_lr: Annotated[float, positive] = 2e-3  # their peak learning rate
    references: Annotated[int, at_least(1)] = 3  # networks that never saw the class, which all are measured beside
    start: Literal["original", "retrained"] = "original"  # what is unlearnt from; "retrained": another one without 6
    unlearns: bool = True  # whether anything is done to it
    forgetting: Forgetting = "none"  # what is asked of pictures of the class; "divergence" is SCRUB with its teacher
    strength: Annotated[float, positive] = 1.0  # of that loss
    rehearsal: bool = True  # whether retained classes are shown too
    rehearsed: Annotated[int, at_least(0)] = 20  # pictures of each that are still at hand; 0: all
    teaching: Annotated[float, at_least(0)] = 0.0  # weight of what the first network says of them, its 6 left out
    weights: Weights = "all"  # what the weights to be changed are chosen by
    share: Annotated[float, within(0, 1)] = 1.0  # of the weights that are chosen
    draws: bool = False  # draw the chosen weights anew and train all, in place of training the chosen alone
    dropped: bool = False  # leave the class's logit out of the answers, whatever the weights say
    steps: Annotated[int, at_least(1)] = 100  # of unlearning
    batch: Annotated[int, at_least(4)] = 64  # retained pictures a step, and a quarter of it of each, new and forgotten
    lr: Annotated[float, positive] = 8e-3  # peak learning rate of unlearning
    shots: Annotated[int, at_least(1)] = 10  # pictures a class for probes, and of the class for relearning
    probes: Annotated[int, at_least(1)] = 20  # probes, each on other pictures
    relearning_steps: Annotated[int, at_least(3)] = 30  # steps of relearning
    relearning_lr: Annotated[float, positive] = 2e-3  # its learning rate


LOOKED_AT = 100  # pictures of the class by which weights are chosen
MOST = 0.6  # of the steps of SCRUB, within which it also forgets


def unlearn(cfg: Config, run: Run, d: Examples, model: nn.Sequential) -> dict[str, float]:
    """Train the network on the new class and, with rehearsal, the retained ones, and as the config says against the
    one to forget; its errors on validation and test pictures."""
    shown = batches(cfg, run, d)
    scores = saliency(model, d.x[d.rows(cfg.forgets)][:LOOKED_AT], cfg.forgets, cfg.weights, run.rng("random weights"))
    mask = most_salient(scores, cfg.share)
    teacher = copy.deepcopy(model).eval()
    if cfg.draws:
        redraw(model, seeded(run, "init redrawn", lambda: network(cfg, d)), mask)
    else:
        freeze(model, free_answer(model, mask, cfg.learns))
    opt, schedule = adam(model, cfg)

    def known(i: int) -> Tensor:
        """The loss on what is to be known."""
        x, y = shown("new", i)
        if not cfg.rehearsal:
            return functional.cross_entropy(model(x), y)
        others, labels = shown("retained", i)
        logits = model(torch.cat([x, others]))
        loss = functional.cross_entropy(logits, torch.cat([y, labels]))
        if cfg.forgetting == "divergence":
            loss = loss + divergence(logits[len(x) :], quietly(teacher, others))
        if cfg.teaching:
            loss = loss + cfg.teaching * divergence(logits[len(x) :], quietly(teacher, others), cfg.forgets)
        return loss

    def forgotten(i: int) -> Tensor:
        """The loss on the class that is to be forgotten."""
        x, _ = shown("old", i)
        logits = model(x)
        if cfg.forgetting == "divergence":
            return -divergence(logits, quietly(teacher, x))
        if cfg.forgetting == "random-labels":
            return random_labels(logits, cfg.forgets, run.rng("labels", i))
        return {"penalty": penalty, "ascent": ascent}[cfg.forgetting](logits, cfg.forgets)

    def step(i: int) -> dict[str, Tensor]:
        if cfg.forgetting == "divergence":  # SCRUB has steps of either kind, and those of forgetting end first
            loss = cfg.strength * forgotten(i) if i % 2 == 0 and i < cfg.steps * MOST else known(i)
        else:
            loss = known(i) + (cfg.strength * forgotten(i) if cfg.forgetting != "none" else 0)
        return {"train/loss": descend(loss, opt, schedule)}

    parts = {"model": model, "opt": opt, "schedule": schedule}
    return fitted(run, cfg, parts, step, lambda: errors(cfg, model, d))


def train(cfg: Config, run: Run) -> None:
    d = read(cfg, run)
    never = cfg.start == "retrained"
    model = learn(cfg, run, d, "retrained", cfg.forgets) if never else original(cfg, run, d)
    run.result(**(unlearn(cfg, run, d, model) if cfg.unlearns else errors(cfg, model, d)))
    run.result(**leftovers(cfg, run, model, d, references(cfg, run, d)))
    weights.save(run.path("model.safetensors"), model)
    draw_map(cfg, run, model, d)


ALONE = {"rehearsal": False}
PENALTY = {"forgetting": "penalty", "weights": "product", "share": 0.3}
SALUN = {"forgetting": "random-labels", "strength": 0.3, "weights": "gradient", "share": 0.5}
SLOW = {"lr": 4e-3}
SCRUB = SLOW | {"forgetting": "divergence", "strength": 0.03}
NEW = {"weights": "product", "share": 0.1, "draws": True, "teaching": 3.0}
TINY = {
    "dataset": "digits",
    "examples": 20,
    "held_out": 20,
    "width": 2,
    "pretraining_steps": 6,
    "steps": 3,
    "references": 1,
}
OFFLINE = {"dataset": "digits", "examples": 100, "held_out": 40}
QUICK = {"shots": 3, "probes": 2, "relearning_steps": 3}
SPOKEN = {"dataset": "spoken-digits", "held_out": 70, "examples": 200, "rehearsed": 100, "steps": 300}
PAPER = {"dataset": "cifar10", "network": "resnet18", "width": 64, "examples": 0, "held_out": 500, "rehearsed": 0}
LONG = {"pretraining_steps": 70_000, "steps": 3_500, "log_every": 100}
RETAINED, ANSWERS = "test/error-retained", "test/divergence-forgotten"
PROBE, AGAIN = "test/probe-excess", "test/relearning"
MAP = """Orange: 6, green: 3, blue: retained digits. Across: how much a probe fitted to held-out pictures takes them for
a 6, and in the shaded half it says so. Up: the direction in which the others vary most."""
MAIN = ("retrained", "dropped", "rehearsal", "salun", "scrub", "redraw")

STUDY = Study(
    name="unlearning",
    question="A network is made to forget 6 and to learn 3: what of 6 is left in it?",
    paper=Paper(
        "SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency in Both Image Classification and "
        "Generation",
        "Fan, Liu, Zhang, Wong, Wei, Liu",
        2024,
        "https://arxiv.org/abs/2310.12508",
    ),
    config=Config,
    program=train,
    variants=(
        Variant("original", {"unlearns": False}, "knows 6 and no 3: nothing is done"),
        Variant("retrained", {"start": "retrained", "unlearns": False}, "trained from scratch without 6"),
        Variant("dropped", SLOW | {"dropped": True}, "learns 3 with rehearsal; the answer 6 is left out"),
        Variant("ascent", SLOW | ALONE | {"forgetting": "ascent"}, "all weights, on 3 and up the loss of 6"),
        Variant(
            "course", PENALTY | ALONE | {"lr": 1e-3}, "the weights that matter for 6 by |w grad|, on 3 and against 6"
        ),
        Variant("rehearsal", PENALTY, "as course, with twenty pictures of each retained digit"),
        Variant("rehearsal-fisher", PENALTY | {"weights": "fisher"}, "as rehearsal, by the Fisher information"),
        Variant("rehearsal-random", PENALTY | {"weights": "random"}, "as rehearsal, but as many weights by chance"),
        Variant("salun", SALUN, "as SalUn: random labels for 6, half of the weights"),
        Variant("scrub", SCRUB, "as SCRUB: away from the first network on 6, near it on the others"),
        Variant("redraw", NEW, "new: weights that matter drawn anew, the first network without its 6 as teacher"),
        Variant("redraw-random", NEW | {"weights": "random"}, "as redraw, but as many weights by chance"),
        Variant("redraw-none", {"teaching": 3.0}, "as redraw, but nothing is drawn anew"),
        Variant(
            "redraw-all", NEW | {"weights": "all", "share": 1.0}, "as redraw, but all weights: from scratch, taught"
        ),
    ),
    scales={
        "smoke": Scale(TINY | QUICK, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale({"log_every": 10}, seeds=(5, 8, 12, 20), minutes=2, offline=OFFLINE),
        "spoken": Scale(SPOKEN, seeds=3, minutes=2, judges=False),
        "paper": Scale(PAPER | LONG, seeds=1, minutes=900, judges=False, variants=MAIN),
    },
    claims={
        "with the answer 6 left out a probe finds 6 better in the features than where it was never seen": between(
            "dropped", 0, math.inf, "Golatkar et al. 2020 (arXiv:1911.04933), by a probe", of=PROBE
        ),
        "with the answer 6 left out 6 is learnt again sooner than by a network that never saw it": higher(
            "dropped", "retrained", "Golatkar et al. 2020 (arXiv:1911.04933)", of=AGAIN, matters=0.1
        ),
        "climbing the loss of 6 with no retained digit shown errs more on these than retraining": higher(
            "ascent", "retrained", "sec. 5, gradient ascent", of=RETAINED, matters=0.02
        ),
        "trained against 6 with rehearsal, weights by |w grad| leave a probe less of 6 than as many by chance": lower(
            "rehearsal", "rehearsal-random", "beyond the paper", of="test/probe"
        ),
        "before unlearning the loss tells training sixes from others better than where none was seen": between(
            "original", 0, math.inf, "sec. 5, membership inference", of="test/membership-excess", matters=0.02
        ),
        "after training 6 on random labels a network is less sure about sixes than one that never saw any": lower(
            "salun", "retrained", "beyond the paper", of="test/confidence-forgotten", matters=0.1
        ),
        "drawn anew and taught, a network answers sixes more like retrained ones than after SalUn": lower(
            "redraw", "salun", "new procedure", of=ANSWERS, matters=0.1
        ),
        "drawn anew and taught, a network answers sixes more like retrained ones than after SCRUB": lower(
            "redraw", "scrub", "new procedure", of=ANSWERS, matters=0.1
        ),
        "drawn anew and taught, a network learns 6 again later than one that is only taught": lower(
            "redraw", "redraw-none", "new procedure", of=AGAIN, matters=0.1
        ),
        "with the weights by |w grad| drawn anew 6 is learnt again later than with as many by chance": lower(
            "redraw", "redraw-random", "new procedure", of=AGAIN, matters=0.1
        ),
        "with a share of the weights drawn anew a network errs less on retained digits than with all of them": lower(
            "redraw", "redraw-all", "new procedure", of=RETAINED, matters=0.02
        ),
    },
    charts=(
        plane(
            ("test/probe", AGAIN),
            x="how well a probe finds 6 in the features",
            y="how soon 6 is learnt again",
            title="What is left of 6: the goal is where the retrained network is",
            says="Up and to the right more is left; below and left of the retrained network more is gone than it "
            "ever lacked.",
            variants=("original", *MAIN),
        ),
        bars(ANSWERS, RETAINED, "test/error-new", title="Answers to 6 beside retrained networks; errors on the others"),
        bars(
            "test/probe-excess",
            "test/relearning-excess",
            "test/membership-excess",
            title="What is left, less what networks that never saw a 6 have",
        ),
        pictures("map.png", title="Maps of the features of test pictures", says=MAP),
    ),
    words={
        RETAINED: "error on retained digits",
        "test/error-new": "error on 3",
        "test/probe-excess": "excess of a probe's accuracy for 6",
        "test/probe": "accuracy of a probe for 6",
        AGAIN: "accuracy on 6 while it is learnt again",
        ANSWERS: "distance of answers to 6 from retrained networks'",
        "test/confidence-forgotten": "mean probability of the answer to a 6",
        "test/membership-excess": "excess of membership of training sixes",
    },
    idea=redraw,
    origin="B1",
    precision="fp32",
)
