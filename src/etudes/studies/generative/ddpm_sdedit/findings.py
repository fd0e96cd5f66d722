"""What a trained network makes: samples and edits, and their numbers."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from etudes.core import Run
from etudes.exhibits.sheets import save_sheet
from etudes.generate.diffusion import Blend, Diffusion, ddim, ddpm, sdedit, unblend
from etudes.generate.guides import hole, strokes
from etudes.studies.generative.ddpm_sdedit.chain import chain_error
from etudes.studies.generative.ddpm_sdedit.yardstick import Yardstick


def draw_pictures(run: Run, stream: str, x: Tensor, draw: Callable[[Tensor, torch.Generator], Tensor]) -> Tensor:
    """draw(x, generator), 250 of x at a time, brought from the range [-1, 1] to pictures in [0, 1]."""
    with run.autocast():
        made = [draw(p, torch.Generator().manual_seed(run.seed(stream, i))) for i, p in enumerate(x.split(250))]
    return ((torch.cat(made) + 1) / 2).clamp(0, 1)


def save_columns(run: Run, file: str, columns: Sequence[Tensor]) -> None:
    """Save a sheet whose columns are pictures [n, c, h, w], some fifty pixels each."""
    scale = max(1, 48 // columns[0].shape[-1])
    save_sheet(run.path(file), torch.stack(list(columns), 1).flatten(0, 1), len(columns), scale)


def generate(
    run: Run, process: Diffusion | Blend, models: dict[str, nn.Module], y: Yardstick, count: int, strides: int
) -> None:
    """Put into the result the numbers of `count` samples beside those of the data and of noise, and save some.

    models: {"plain", "averaged"}, the network of the last step and the average that samples. A chain of variances is
    walked back in so many `strides` too.
    """
    start = torch.randn(count, *y.test.shape[1:], generator=torch.Generator().manual_seed(run.seed("start")))
    start = start.to(run.device)
    sampler = unblend if isinstance(process, Blend) else ddpm
    made = draw_pictures(run, "sample", start, partial(sampler, models["averaged"], process))
    save_columns(run, "samples.png", made[: min(64, len(made) // 8 * 8)].chunk(8))
    seen = y.train[torch.from_numpy(run.rng("floor").permutation(len(y.train))[:count]).to(run.device)]
    noise = (y.train.mean(0) + y.train.std(0) * start).clamp(0, 1)
    metrics = {
        "test/frechet": y.distance(made),
        "test/frechet-floor": y.distance(seen),
        "test/frechet-noise": y.distance(noise),
        "test/confidence": y.confidence(made),
        "test/confidence-of-test": y.confidence(y.test),
        "test/nearest": y.nearest(made),
        "test/nearest-of-test": y.nearest(y.test),
    }
    if isinstance(process, Diffusion):
        walks = {"ddim": ("averaged", 0.0), "ancestral": ("averaged", 1.0), "no-average": ("plain", 0.0)}
        for name, (model, eta) in walks.items():
            made = draw_pictures(run, "few", start, partial(ddim, models[model], process, steps=strides, eta=eta))
            metrics[f"test/frechet-few-{name}"] = y.distance(made)
        x, chance = 2 * y.train[:256] - 1, torch.Generator().manual_seed(run.seed("chain"))
        metrics["train/chain-error"] = chain_error(process.betas, process.alpha_bar, x, chance)
    run.result(**metrics)


def edit(run: Run, process: Diffusion | Blend, model: nn.Module, y: Yardstick, count: int, tones: int) -> None:
    """Put into the result the numbers of edits, and save some: `count` test pictures, painted roughly in so many
    `tones`, redrawn by SDEdit at each t0; and holes in test pictures filled."""
    side = y.test.shape[-1]

    def redraw(x: Tensor, t0: float, mask: Tensor | None = None) -> Tensor:
        sampler = unblend if isinstance(process, Blend) else ddpm
        return draw_pictures(run, "edit", x, lambda x, g: sdedit(model, process, x, t0, g, mask=mask, sampler=sampler))

    real = y.test[:count]
    signed = strokes(2 * real - 1, brush=2 * (side // 8) + 1, tones=tones)
    guides = (signed + 1) / 2
    run.result(**{"test/frechet-guides": y.distance(guides)})
    columns, far = [real[:8], guides[:8]], []
    for percent in (20, 40, 60, 80):  # 100 t0
        edited = redraw(signed, percent / 100)
        far.append((edited - guides).square().mean((1, 2, 3)).sqrt().mean().item())
        metrics = {"test/sdedit-l2": far[-1], "test/sdedit-frechet": y.distance(edited)}
        metrics["test/sdedit-confidence"] = y.confidence(edited)
        run.log(percent, **metrics)
        run.result(**{f"{name}-{percent}": value for name, value in metrics.items()})
        columns.append(edited[:8])
    save_columns(run, "edits.png", columns)
    run.result(**{"test/sdedit-least-rise": min(after - before for before, after in pairwise(far))})

    mask, columns, changes = hole(side, side).to(run.device), [real[:6]], []
    for fill, t0, times in ((torch.zeros_like(signed[:6]), 1.0, 3), (signed[1:7], 0.6, 2)):
        guide = torch.where(mask.bool(), fill, 2 * real[:6] - 1)
        redrawn = redraw(guide.repeat(times, 1, 1, 1), t0, mask).unflatten(0, (times, -1))
        changes.append(((redrawn - (guide + 1) / 2) * (1 - mask)).abs().max().item())
        columns += [(guide + 1) / 2, *redrawn]
    save_columns(run, "redraws.png", columns)
    run.result(**{"test/mask-change": max(changes)})
