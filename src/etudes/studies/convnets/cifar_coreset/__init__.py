"""cifar-coreset: a small network chooses the training pictures of a large one (selection via proxy).

The proxy, narrower and trained for less, is trained on all pictures; the pictures with the highest score under it are
kept for the large network. Scores: the entropy of its prediction (sec. 2.2); how small the margin is between its two
most probable classes; how often it forgot the picture, or never learnt it (Toneva et al. 2019, arXiv:1812.05159,
sec. 3); a random number.

    etudes run cifar-coreset                  7 minutes on two cores, 16 variants, 5 seeds
    etudes run cifar-coreset --scale paper    all of CIFAR-10 and the authors' 181 epochs

A smaller set can be trained for as many updates as all pictures are ("updates"), for as many epochs, and so for fewer
updates ("epochs"), or for as long as is left after the proxy ("time"). Time is counted in multiply-adds, a backward
pass as two forward ones: seconds differ from run to run, and stand beside the results.

Departures from the paper: VGGs with batch normalisation for ResNet-164 and ResNet-20; at laptop scale 4,000 training
pictures at 16 pixels, without augmentation. As in the paper, all classes compete for the places.
"""

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from etudes.core.claims import Claim, above, below, difference, within
from etudes.core.errors import Problem
from etudes.core.run import Run
from etudes.core.spec import Paper, Scale, Study, Variant
from etudes.data.augment import flip, shift
from etudes.data.batches import Batches
from etudes.data.images import Images, images, unit
from etudes.data.labels import few, symmetric_noise
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.measure.error import error_rate, evaluating
from etudes.measure.size import count_parameters
from etudes.nn.norm import Standardise
from etudes.nn.vgg import vgg
from etudes.reports.charts import against, bars
from etudes.studies.convnets.cifar_coreset.selection import Memory, closeness, entropy, highest, multiply_adds
from etudes.train.distribute import part, wait
from etudes.train.loop import fit
from etudes.train.recipe import Recipe, descend, seeded, sgd


@dataclass(frozen=True)
class Config(Recipe):
    dataset: str = "cifar10"  # a picture set, as listed by `etudes data`
    examples: Annotated[int, above(0)] = 0  # training pictures a class to choose from; 0: all
    side: Annotated[int, above(8)] = 32  # height and width in pixels to which the pictures are brought
    augment: bool = False  # random flips and shifts by up to 4 pixels
    width: Annotated[int, above(1)] = 32  # channels of the large network's first block
    proxy_width: Annotated[int, above(1)] = 8  # channels of the proxy's first block
    proxy_steps: Annotated[int, above(1)] = 1000  # the proxy's optimiser steps
    noise: Annotated[float, within(0, 1)] = 0.0  # share of training labels replaced by random ones
    score: Literal["random", "entropy", "margin", "forgetting"] = "random"  # the pictures highest in it are kept
    share: Annotated[float, within(0.001, 1)] = 1.0  # of the training pictures that are kept
    budget: Literal["updates", "epochs", "time"] = "updates"  # in which the set is equal to all pictures


def network(cfg: Config, d: Images) -> nn.Sequential:
    """Pictures [n, c, side, side] in [0, 1] to logits [n, classes]."""
    return nn.Sequential(
        Standardise(d.mean, d.std), vgg(d.x.shape[1], d.classes, cfg.side, width=cfg.width, kind="batch")
    )


def proxy_cost(cfg: Config, d: Images) -> float:
    """What the proxy's training and its scoring of all pictures cost, in steps of the large network."""
    small, large = (
        multiply_adds(network(replace(cfg, width=width), d), d.shape) for width in (cfg.proxy_width, cfg.width)
    )
    return (3 * cfg.proxy_steps * cfg.batch + len(d.x)) * small / (3 * cfg.batch * large)


def affordable(cfg: Config, kept: int, n: int, cost: float) -> int:
    """The steps that the budget leaves the large network on `kept` of n pictures; cost: the proxy's, in its steps.
    Raises Problem where the proxy has used up all."""
    steps = {"updates": cfg.steps, "epochs": round(cfg.steps * kept / n), "time": int(cfg.steps - cost)}[cfg.budget]
    if steps < 1:
        raise Problem(
            f"cifar-coreset: the proxy costs {cost:.0f} steps of the large network, and {kept} of {n} pictures leave "
            f"none of {cfg.steps} within the budget '{cfg.budget}'; lower proxy_steps or raise steps"
        )
    return steps


def trained(
    cfg: Config, run: Run, d: Images, labels: Tensor, rows: Tensor, memory: Memory | None = None
) -> tuple[nn.Module, dict[str, float]]:
    """The network after cfg.steps steps on the pictures `rows`, and its errors. A memory sees all that it was shown."""
    model = seeded(run, f"init {cfg.width}", lambda: network(cfg, d))
    opt, schedule = sgd(model, cfg)
    batches = Batches(len(rows), cfg.batch, run.seed("order"))
    parts = {"model": model, "opt": opt, "schedule": schedule} | ({"memory": memory} if memory else {})

    def step(i: int) -> dict[str, Tensor]:
        pick = rows[batches.at(i).to(run.device)]
        x, y = unit(d.x[pick]), one_hot(labels[pick], d.classes)
        if cfg.augment:
            x = shift(flip(x, run.rng("flip", i)), run.rng("shift", i), pixels=4)
        if memory is None:
            x, y = part(x, y)
        logits = model(x)  # with a memory every process sees the whole batch, and all remember the same
        if memory is not None:
            memory.see(pick, logits.argmax(1) == labels[pick])
        return {"train/loss": descend(cross_entropy(logits, y), opt, schedule)}

    def evaluate() -> dict[str, float]:
        found = error_rate(model, d.x[rows], labels[rows])
        return {"test/error": error_rate(model, d.test_x, d.test_y), "train/error": found}

    found = fit(run, parts, step, cfg.steps, evaluate=evaluate, eval_every=cfg.eval_every, log_every=cfg.log_every)
    return model, found


def predicted(run: Run, model: nn.Module, x: Tensor) -> Tensor:
    """The probabilities [n, classes] of pictures [n, c, h, w]."""
    with evaluating(model), run.autocast():
        return torch.cat([model(unit(some)).float().softmax(1) for some in x.split(500)])


def scores(cfg: Config, run: Run, d: Images, labels: Tensor) -> dict[str, Tensor]:
    """Every score [n] of the training pictures, and the proxy's test error; one proxy serves a seed's variants."""
    from safetensors.torch import load_file, save_file

    small = replace(cfg, width=cfg.proxy_width, steps=cfg.proxy_steps, score="random", share=1.0, budget="updates")

    def make(own: Run) -> None:
        memory = Memory(len(d.x)).to(own.device)
        model, found = trained(small, own, d, labels, torch.arange(len(d.x), device=own.device), memory)
        own.result(**found)
        p = predicted(own, model, d.x)
        made = {"entropy": entropy(p), "margin": closeness(p), "forgetting": memory.score()}
        if own.leader:
            save_file(
                made | {"error": torch.tensor(found["test/error"], dtype=torch.float64)}, own.path("scores.safetensors")
            )

    folder = run.once("proxy", asdict(small), make)
    wait()  # until the leader has written
    return load_file(folder / "scores.safetensors", device=str(run.device))


def train(cfg: Config, run: Run) -> None:
    d = images(cfg.dataset)
    run.note(data=d.source)
    if cfg.examples:
        d = d.take(few(d.y, cfg.examples, run.rng("subset")))
    d = d.resized(cfg.side)
    labels = symmetric_noise(d.y, cfg.noise, d.classes, run.rng("label noise"))
    wrong = labels != d.y
    d, labels, wrong = d.to(run.device), labels.to(run.device), wrong.to(run.device)
    n = len(d.x)

    cost, by_proxy = 0.0, {}
    if cfg.score != "random" or cfg.share == 1:
        by_proxy = scores(cfg, run, d, labels)
    if cfg.score == "random":
        score = torch.from_numpy(run.rng("random score").random(n))
    else:
        score, cost = by_proxy[cfg.score], proxy_cost(cfg, d)
    rows = highest(score.cpu(), cfg.share, torch.from_numpy(run.rng("ties").permutation(n))).to(run.device)
    large = replace(cfg, steps=affordable(cfg, len(rows), n, cost))
    model, found = trained(large, run, d, labels, rows)

    run.result(**found, parameters=count_parameters(model))
    run.result(
        **{
            "train/cost": (large.steps + cost) / cfg.steps,
            "train/largest-class": labels[rows].bincount().max().item() / len(rows),
            "test/error-majority": d.majority_error,
        }
    )
    if cfg.budget == "updates" and not cfg.noise:
        run.result(**{"test/error-equal-updates": found["test/error"]})
    if cfg.noise:
        run.result(**{"train/wrong-among-chosen": wrong[rows].double().mean().item()})
    elif cfg.share == 1:
        from scipy.stats import spearmanr

        own = entropy(predicted(run, model, d.x))
        agreement = spearmanr(own.cpu().numpy(), by_proxy["entropy"].cpu().numpy()).statistic
        run.result(**{"train/rank-agreement": agreement, "test/error-proxy": by_proxy["error"].item()})


SMALL = {"side": 16, "width": 16, "examples": 400, "batch": 100}
GRID = {"random": (10, 30, 50, 90), "entropy": (10, 30, 50, 90), "forgetting": (10, 50), "margin": (50,)}
HALF = {"score": "entropy", "share": 0.5}

STUDY = Study(
    name="cifar-coreset",
    question="Can a small network choose the half of the training pictures that a large one needs?",
    paper=Paper(
        "Selection via Proxy: Efficient Data Selection for Deep Learning",
        "Coleman, Yeh, Mussmann, Mirzasoleiman, Bailis, Liang, Leskovec, Zaharia",
        2020,
        "https://arxiv.org/abs/1906.11829",
    ),
    config=Config,
    program=train,
    threads=1,
    variants=(
        Variant("full", says="all pictures"),
        *(
            Variant(f"{score}-{percent}", {"score": score, "share": percent / 100})
            for score, percents in GRID.items()
            for percent in percents
        ),
        Variant("entropy-50-epochs", HALF | {"budget": "epochs"}, "half of the updates: what the proxy is to save"),
        Variant("entropy-50-time", HALF | {"budget": "time"}, "with its proxy as dear as all pictures"),
        Variant("random-50-noisy", {"share": 0.5, "noise": 0.2}, "a fifth of the labels random"),
        Variant("entropy-50-noisy", HALF | {"noise": 0.2}, "a fifth of the labels random"),
    ),
    scales={
        "smoke": Scale(
            SMALL
            | {"dataset": "digits", "side": 8, "width": 8, "proxy_width": 4, "examples": 20, "batch": 50}
            | {"steps": 8, "proxy_steps": 8, "log_every": 2},
            seeds=1,
            minutes=0.1,
            judges=False,
        ),
        "laptop": Scale(
            SMALL | {"lr": 0.03, "steps": 400, "proxy_steps": 320, "log_every": 20},
            seeds=5,
            minutes=7,
            offline={"dataset": "digits", "side": 8, "examples": 100},
        ),
        "paper": Scale(
            {"width": 64, "proxy_width": 16, "augment": True, "weight_decay": 5e-4, "schedule": "decay"}
            | {"steps": 70_703, "proxy_steps": 70_703, "log_every": 100},
            seeds=5,
            minutes=6000,
        ),
    },
    claims=(
        Claim(
            "half by entropy is enough",
            "the half that the proxy is least sure of gives a test error less than 0.02 (our margin) above that of all",
            "abstract",
            difference("entropy-50", "full"),
            below(0.02),
        ),
        Claim(
            "half by forgetting is enough",
            "so does the half that the proxy forgot most often",
            "core-set selection on CIFAR-10; arXiv:1812.05159, abstract",
            difference("forgetting-50", "full"),
            below(0.02),
        ),
        Claim(
            "entropy beats chance",
            "half of the pictures by entropy give a lower test error than a random half",
            "core-set selection on CIFAR-10",
            difference("entropy-50", "random-50"),
            below(0),
        ),
        Claim(
            "margin is like entropy",
            "the half with the smallest margins does as well, within 0.02 (ours)",
            "no paper",
            difference("margin-50", "entropy-50"),
            within(-0.02, 0.02),
        ),
        Claim(
            "chance wins on small sets",
            "a random tenth of the pictures gives a lower test error than a tenth by entropy",
            "arXiv:2204.08499, abstract; arXiv:2210.15809, sec. 1",
            difference("random-10", "entropy-10"),
            below(0),
        ),
        Claim(
            "the proxy ranks alike",
            "entropies of proxy and large network, both trained on all, have a rank correlation above 0.5 (our mark)",
            "ranking correlation between models",
            lambda trial: trial["full"]["train/rank-agreement"],
            above(0.5),
        ),
        Claim(
            "entropy picks wrong labels",
            "with a fifth of the labels random, more of those chosen by entropy are wrong than of those by chance",
            "arXiv:1812.05159, sec. 4 (of forgetting)",
            difference("entropy-50-noisy", "random-50-noisy", "train/wrong-among-chosen"),
            above(0),
        ),
    ),
    charts=(
        bars("test/error", "train/cost", by="score"),
        against("share", "test/error-equal-updates", by="score"),
        bars("train/largest-class", by="score"),
        bars("train/wrong-among-chosen"),
    ),
    origin="C",
)
