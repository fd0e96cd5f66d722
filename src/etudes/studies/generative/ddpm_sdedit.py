"""ddpm-sdedit: pictures from noise by denoising diffusion, and edits by the same network without more training.

The chain x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) noise turns pictures into noise; a U-Net learns to guess the
noise in x_t, and walking back makes pictures (Ho et al. 2020). SDEdit noises a guide, such as a rough painting, to the
share t0 of the chain and walks back from there (Meng et al. 2021, arXiv:2108.01073).

    etudes run ddpm-sdedit                 8 minutes on two cores, 5 variants, 5 seeds: sneakers of Fashion-MNIST
    etudes run ddpm-sdedit --scale cars    15 minutes, one variant and seed: automobiles of CIFAR-10, in colour

Distances between sets of pictures are Fréchet distances in the last hidden layer of a small classifier, trained once a
seed on the same set: no FID, and comparable within one seed alone. Departures from the paper: one class of small
pictures, a small network and 100 levels at laptop scale; everywhere the smaller of its two variances, no warm-up of
the learning rate, no clipping of gradients. `blend` is a tutorial's method and no diffusion.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from etudes.core.claims import Claim, above, below, within
from etudes.core.errors import Problem
from etudes.core.run import Run
from etudes.core.spec import Paper, Scale, Study, Variant
from etudes.data.augment import flip
from etudes.data.batches import Batches
from etudes.data.images import images, unit
from etudes.exhibits.sheets import save_sheet
from etudes.generate.diffusion import SCHEDULES, Blend, Diffusion, ddim, ddpm, sdedit, unblend
from etudes.generate.guides import hole, strokes
from etudes.measure.chain import chain_error
from etudes.measure.size import count_parameters
from etudes.measure.yardstick import Yardstick
from etudes.nn.unet import UNet
from etudes.optim.schedules import Schedule
from etudes.reports.charts import bars, curves, pictures
from etudes.train import weights
from etudes.train.distribute import part
from etudes.train.ema import EMA
from etudes.train.judge import judge
from etudes.train.loop import fit
from etudes.train.recipe import Recipe, descend, scheduled, seeded


@dataclass(frozen=True)
class Config(Recipe):
    dataset: str = "cifar10"  # a picture set, as listed by `etudes data`
    side: Annotated[int, above(8)] = 32  # pixels of a side, resized and cropped to a square
    only: Annotated[int, above(-1)] = -1  # the class that is generated; -1: all
    flips: bool = False  # random flips left to right
    process: Literal["linear", "cosine", "blend"] = "linear"  # schedule of the variances; or the tutorial's blend
    predicts: Literal["noise", "data", "velocity"] = "noise"  # what the network learns; the blend has its own target
    levels: Annotated[int, above(21)] = 1000  # of noise, T; the blend has 16
    few: Annotated[int, above(1)] = 10  # strides in which the chain is walked back too
    width: Annotated[int, above(4)] = 128  # channels of the U-Net at full resolution, a multiple of 4; below, twice
    stages: Annotated[int, above(1)] = 4  # resolutions, each half of the one before
    blocks: Annotated[int, above(0)] = 2  # residual blocks a resolution, on the way down
    attend: Annotated[int, above(0)] = 16  # pixels of the side at which it attends; 0: in its middle alone
    dropout: Annotated[float, within(0, 1)] = 0.1  # share of values set to zero in residual blocks
    lr: Annotated[float, above(0)] = 2e-4  # of Adam
    schedule: Schedule = "constant"  # learning rate
    momentum: Annotated[float, within(0, 1)] = 0.9  # beta1 of Adam
    weight_decay: Annotated[float, above(0)] = 0.0  # L2 penalty of Adam
    average: Annotated[float, within(0, 1)] = 0.9999  # highest decay of the averaged weights, which sample
    samples: Annotated[int, above(16)] = 10_000  # pictures to generate
    guides: Annotated[int, above(8)] = 1000  # test pictures painted roughly and redrawn
    tones: Annotated[int, above(2)] = 5  # of a painting, in each channel
    judge: Annotated[int, within(1, 16)] = 8  # channels of the classifier's stem; distances are in 4 times as many
    judging: Annotated[int, above(1)] = 2000  # training steps of the classifier


def drawn(run: Run, stream: str, x: Tensor, draw: Callable[[Tensor, torch.Generator], Tensor]) -> Tensor:
    """draw(x, generator), 250 of x at a time, from the range [-1, 1] to pictures in [0, 1]."""
    with run.autocast():
        made = [draw(p, torch.Generator().manual_seed(run.seed(stream, i))) for i, p in enumerate(x.split(250))]
    return ((torch.cat(made) + 1) / 2).clamp(0, 1)


def show(run: Run, file: str, columns: Sequence[Tensor]) -> None:
    """Save a sheet whose columns are pictures [n, c, h, w], some fifty pixels each."""
    scale = max(1, 48 // columns[0].shape[-1])
    save_sheet(run.path(file), torch.stack(list(columns), 1).flatten(0, 1), len(columns), scale)


def generate(cfg: Config, run: Run, process: Diffusion | Blend, models: dict[str, nn.Module], y: Yardstick) -> None:
    """Samples of the averaged model, and their numbers beside those of the data and of noise."""
    start = torch.randn(cfg.samples, *y.test.shape[1:], generator=torch.Generator().manual_seed(run.seed("start")))
    start = start.to(run.device)
    sampler = unblend if isinstance(process, Blend) else ddpm
    made = drawn(run, "sample", start, partial(sampler, models["averaged"], process))
    show(run, "samples.png", made[: min(64, len(made) // 8 * 8)].chunk(8))
    trained_on = y.train[torch.from_numpy(run.rng("floor").permutation(len(y.train))[: cfg.samples]).to(run.device)]
    noise = (y.train.mean(0) + y.train.std(0) * start).clamp(0, 1)
    found = {
        "test/frechet": y.distance(made),
        "test/frechet-floor": y.distance(trained_on),
        "test/frechet-noise": y.distance(noise),
        "test/confidence": y.confidence(made),
        "test/confidence-of-test": y.confidence(y.test),
        "test/nearest": y.nearest(made),
        "test/nearest-of-test": y.nearest(y.test),
    }
    if isinstance(process, Diffusion):
        walks = {"ddim": ("averaged", 0.0), "ancestral": ("averaged", 1.0), "no-average": ("plain", 0.0)}
        for name, (model, eta) in walks.items():
            made = drawn(run, "few", start, partial(ddim, models[model], process, steps=cfg.few, eta=eta))
            found[f"test/frechet-few-{name}"] = y.distance(made)
        x, chance = 2 * y.train[:256] - 1, torch.Generator().manual_seed(run.seed("chain"))
        found["train/chain-error"] = chain_error(process.betas, process.alpha_bar, x, chance)
    run.result(**found)


def edit(cfg: Config, run: Run, process: Diffusion | Blend, model: nn.Module, y: Yardstick) -> None:
    """Rough paintings of test pictures redrawn by SDEdit at each t0, and holes in test pictures filled."""

    def redraw(x: Tensor, t0: float, mask: Tensor | None = None) -> Tensor:
        sampler = unblend if isinstance(process, Blend) else ddpm
        return drawn(run, "edit", x, lambda x, g: sdedit(model, process, x, t0, g, mask=mask, sampler=sampler))

    real = y.test[: cfg.guides]
    signed = strokes(2 * real - 1, brush=2 * (cfg.side // 8) + 1, tones=cfg.tones)
    guides = (signed + 1) / 2
    run.result(**{"test/frechet-guides": y.distance(guides)})
    columns, far = [real[:8], guides[:8]], []
    for percent in (20, 40, 60, 80):  # 100 t0
        edited = redraw(signed, percent / 100)
        far.append((edited - guides).square().mean((1, 2, 3)).sqrt().mean().item())
        found = {"test/sdedit-l2": far[-1], "test/sdedit-frechet": y.distance(edited)}
        found["test/sdedit-confidence"] = y.confidence(edited)
        run.log(percent, **found)
        run.result(**{f"{name}-{percent}": value for name, value in found.items()})
        columns.append(edited[:8])
    show(run, "edits.png", columns)
    run.result(**{"test/sdedit-least-rise": min(after - before for before, after in pairwise(far))})

    mask, columns, changes = hole(cfg.side, cfg.side).to(run.device), [real[:6]], []
    for fill, t0, times in ((torch.zeros_like(signed[:6]), 1.0, 3), (signed[1:7], 0.6, 2)):
        given = torch.where(mask.bool(), fill, 2 * real[:6] - 1)
        redrawn = redraw(given.repeat(times, 1, 1, 1), t0, mask).unflatten(0, (times, -1))
        changes.append(((redrawn - (given + 1) / 2) * (1 - mask)).abs().max().item())
        columns += [(given + 1) / 2, *redrawn]
    show(run, "redraws.png", columns)
    run.result(**{"test/mask-change": max(changes)})


def train(cfg: Config, run: Run) -> None:
    d = images(cfg.dataset)
    if not -1 <= cfg.only < d.classes:
        raise Problem(f"ddpm-sdedit: only is {cfg.only}; the classes of {cfg.dataset} are 0 to {d.classes - 1}")
    run.note(data=d.source)
    d = d.resize(cfg.side)
    classifier, missed = judge(run, d, cfg.judge, cfg.judging)
    chosen = [x if cfg.only < 0 else x[labels == cfg.only] for x, labels in ((d.x, d.y), (d.test_x, d.test_y))]
    y = Yardstick(classifier, *(unit(x).contiguous().to(run.device) for x in chosen), cfg.only)

    process = Blend() if cfg.process == "blend" else Diffusion(SCHEDULES[cfg.process](cfg.levels), cfg.predicts)
    attention = [stage for stage in range(cfg.stages) if cfg.side >> stage == cfg.attend]
    shape = (d.shape[0], cfg.width, (1, *[2] * (cfg.stages - 1)), cfg.blocks, attention, cfg.dropout)
    model = seeded(run, "init", lambda: UNet(*shape))
    opt = torch.optim.Adam(model.parameters(), cfg.lr, (cfg.momentum, 0.999), weight_decay=cfg.weight_decay)
    schedule, averaged = scheduled(opt, cfg), EMA(model, cfg.average)
    batches = Batches(len(y.train), cfg.batch, run.seed("order"))

    def loss(net: nn.Module, x: Tensor) -> Tensor:
        noise, t = torch.randn_like(x), torch.randint(process.steps, (len(x),), device=x.device)
        return (net(process.add_noise(x, noise, t), t).float() - process.target(x, noise, t)).square().mean()

    def step(i: int) -> dict[str, Tensor]:
        x = y.train[batches.at(i).to(run.device)]
        (x,) = part(2 * (flip(x, run.rng("flip", i)) if cfg.flips else x) - 1)
        value = descend(loss(model, x), opt, schedule)
        averaged.update()
        return {"train/loss": value}

    def evaluate() -> dict[str, float]:
        return {"test/loss": loss(averaged.model, 2 * y.test[:500] - 1).item()}

    parts = {"model": model, "opt": opt, "schedule": schedule, "averaged": averaged}
    final = fit(run, parts, step, cfg.steps, evaluate=evaluate, eval_every=cfg.eval_every, log_every=cfg.log_every)
    run.result(**final, parameters=count_parameters(model), **{"test/judge-error": missed})
    if run.leader:
        weights.save(run.path("model.safetensors"), averaged.model)
    generate(cfg, run, process, {"plain": model, "averaged": averaged.model}, y)
    edit(cfg, run, process, averaged.model, y)


def _better(name: str, says: str, where: str, low: tuple[str, str], high: tuple[str, str], *paper: float) -> Claim:
    """The claim that one (variant, Fréchet distance) is lower than another; their ratio is the number."""
    return Claim(name, says, where, lambda t: t[low[0]][low[1]] / t[high[0]][high[1]], below(1), *paper)


SMALL = {"levels": 100, "stages": 3, "blocks": 0, "attend": 0, "dropout": 0.0, "batch": 64, "judging": 300}
GREY = SMALL | {"side": 16, "width": 16, "tones": 3, "lr": 2e-3, "judge": 6, "samples": 256, "guides": 160}
SNEAKERS = GREY | {"dataset": "fashion-mnist", "only": 7, "steps": 400}
TINY = GREY | {"dataset": "digits", "side": 8, "levels": 21, "few": 5, "width": 4, "stages": 2, "steps": 8}
COLOUR = SMALL | {"flips": True, "width": 32, "lr": 1e-3, "judge": 4, "samples": 200, "guides": 64}
CARS = COLOUR | {"only": 1, "steps": 1800}
ALONE = {"seeds": 1, "judges": False, "variants": ("ddpm",)}
FEW = {"log_every": 2, "samples": 40, "guides": 16, "judge": 2, "judging": 10}
SDEDIT = "Meng et al. 2021, sec. 3"
EDITS = "A row: a test picture, the painting made of it, and the painting redrawn at t0 = 0.2, 0.4, 0.6 and 0.8."
REDRAWS = """A row: a test picture; its middle erased, and three redrawings at t0 = 1; its middle painted over as in the
next row's painting, and two redrawings at t0 = 0.6."""

STUDY = Study(
    name="ddpm-sdedit",
    question="Does denoising diffusion make pictures, and can the same network edit them without more training?",
    paper=Paper(
        "Denoising Diffusion Probabilistic Models", "Ho, Jain, Abbeel", 2020, "https://arxiv.org/abs/2006.11239"
    ),
    config=Config,
    program=train,
    variants=(
        Variant("ddpm", says="predicts the noise, linear schedule"),
        Variant("cosine", {"process": "cosine"}, "as ddpm, with the cosine schedule"),
        Variant("data", {"predicts": "data"}, "as ddpm, predicting the clean picture"),
        Variant("velocity", {"predicts": "velocity"}, "as ddpm, predicting a mixture of both"),
        Variant("blend", {"process": "blend"}, "a tutorial's straight line of 16 steps: no diffusion"),
    ),
    scales={
        "smoke": Scale(TINY | FEW, seeds=1, minutes=0.2, judges=False),
        "laptop": Scale(SNEAKERS, seeds=5, minutes=8, offline={"dataset": "digits", "only": -1}),
        "cars": Scale(CARS, minutes=15, **ALONE),
        "stanford-cars": Scale(CARS | {"dataset": "stanford-cars", "side": 48, "only": -1}, minutes=25, **ALONE),
        "faces": Scale(CARS | {"dataset": "orl-faces", "only": -1}, minutes=25, **ALONE),
        "paper": Scale({"steps": 800_000, "flips": True, "log_every": 100}, seeds=1, minutes=9000, judges=False),
    },
    claims=(
        Claim(
            "forward chain",
            "walked step by step, the chain has the mean and variance of its closed form, to within 0.02",
            "eq. 2 and 4",
            lambda trial: trial["ddpm"]["train/chain-error"],
            below(0.02),
        ),
        _better(
            "noise rather than data",
            "predicting the noise gives better samples than predicting the clean picture",
            "sec. 3.2",
            ("ddpm", "test/frechet"),
            ("data", "test/frechet"),
        ),
        _better(
            "cosine schedule",
            "the cosine schedule gives better samples than the linear one",
            "Nichol and Dhariwal 2021 (arXiv:2102.09672), sec. 3.2",
            ("cosine", "test/frechet"),
            ("ddpm", "test/frechet"),
        ),
        _better(
            "few steps",
            "in ten steps DDIM gives better samples than ancestral sampling",
            "Song et al. 2021 (arXiv:2010.02502), table 1",
            ("ddpm", "test/frechet-few-ddim"),
            ("ddpm", "test/frechet-few-ancestral"),
            13.36 / 41.07,
        ),
        _better(
            "better than a blend",
            "diffusion gives better samples than a tutorial's blend of 16 steps",
            "no paper",
            ("ddpm", "test/frechet"),
            ("blend", "test/frechet"),
        ),
        Claim(
            "away from the guide",
            "with each larger t0, SDEdit goes further from its guide",
            f"{SDEDIT}, fig. 3",
            lambda trial: trial["ddpm"]["test/sdedit-least-rise"],
            above(0),
        ),
        _better(
            "towards the data",
            "SDEdit's pictures are nearer to the data at t0 = 0.6 than at 0.2",
            f"{SDEDIT}, fig. 3",
            ("ddpm", "test/sdedit-frechet-60"),
            ("ddpm", "test/sdedit-frechet-20"),
        ),
        Claim(
            "keeps the rest",
            "redrawing a hole changes no pixel outside of it",
            "Meng et al. 2021, algorithm 5",
            lambda trial: trial["ddpm"]["test/mask-change"],
            within(-1e-9, 1e-9),
        ),
    ),
    charts=(
        pictures("samples.png", title="Samples", says="The first 64 of a run, none chosen."),
        bars("test/frechet", "test/confidence", "test/nearest"),
        bars("test/frechet-few-ddim", "test/frechet-few-ancestral", "test/frechet-few-no-average"),
        curves("test/sdedit-l2", "test/sdedit-frechet", title="SDEdit, by strength", step="100 t0"),
        pictures("edits.png", title="SDEdit of rough paintings", says=EDITS),
        pictures("redraws.png", title="Erased and redrawn", says=REDRAWS),
        curves("train/loss", says="The losses are of different targets and cannot be compared."),
    ),
    origin="A4",
)
