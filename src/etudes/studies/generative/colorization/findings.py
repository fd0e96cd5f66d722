"""What is measured of coloured pictures, and of the features learnt by colouring."""

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Run
from etudes.data.batches import Batches
from etudes.data.colour import lab, rgb
from etudes.data.images import Images, unit
from etudes.exhibits.sheets import save_sheet
from etudes.measure.colour import area_under_colour_errors
from etudes.measure.error import evaluation_mode
from etudes.nn.resnet import preact_resnet
from etudes.studies.generative.colorization.bins import rebalancing_weights
from etudes.studies.generative.colorization.painter import Colour
from etudes.train import Adam, adam, descend, fit, seeded, weights


def colorize(x: Tensor, colour: Colour) -> Tensor:
    """sRGB pictures [n, 3, h, w] with the lightness of x and the colours that `colour` gives it."""
    made = []
    for part in x.split(250):
        lightness = lab(part)[:, :1]
        made.append(rgb(torch.cat([lightness, colour(lightness)], 1)))
    return torch.cat(made)


def grey(x: Tensor) -> Tensor:
    """The pictures without colour, of the same lightness: the trivial baseline."""
    return colorize(x, lambda lightness: lightness.new_zeros(len(lightness), 2, *lightness.shape[2:]))


def swap_colours(x: Tensor, rng: numpy.random.Generator) -> Tensor:
    """The pictures with the colours of another of them: the paper's baseline "random"."""
    other = lab(x[torch.from_numpy(rng.permutation(len(x)))])
    return rgb(torch.cat([lab(x)[:, :1], other[:, 1:]], 1))


def unnatural(x: Tensor, rng: numpy.random.Generator) -> Tensor:
    """The pictures in wrong colours, a third each: faded by a random factor, with the colours of another picture, or
    with a and b turned by a random angle of 60 to 300 degrees."""
    values = lab(x)
    kind = torch.from_numpy(rng.integers(3, size=len(x)))
    fade = torch.from_numpy(rng.uniform(0, 0.6, len(x))).float()
    angle = torch.from_numpy(rng.uniform(numpy.pi / 3, 5 * numpy.pi / 3, len(x))).float()
    other = torch.from_numpy(rng.permutation(len(x)))
    ab = values[:, 1:]
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    turned = torch.stack([cos * ab[:, 0] - sin * ab[:, 1], sin * ab[:, 0] + cos * ab[:, 1]], 1)
    choices = torch.stack([ab * fade[:, None, None, None], ab[other], turned])
    return rgb(torch.cat([values[:, :1], choices[kind, torch.arange(len(x))]], 1))


def judge(run: Run, x: Tensor, width: int, steps: int) -> nn.Module:
    """A network [n, 3, h, w] -> [n, 1] that tells natural pictures (high) from unnatural ones, trained apart from all
    variants of a seed on pictures x."""

    def make() -> nn.Sequential:
        return preact_resnet(3, 1, width, (1, 1, 1))

    def learn(own: Run) -> None:
        recipe = Adam(steps=steps, batch=64, lr=3e-3, schedule="linear")
        model, batches = seeded(own, "judge", make), Batches(len(x), recipe.batch, own.seed("judge order"))
        opt, schedule = adam(model, recipe)

        def step(i: int) -> dict[str, Tensor]:
            real = x[batches.at(i)].to(own.device)
            scores = model(2 * torch.cat([real, unnatural(real, own.rng("unnatural", i))]) - 1).flatten()
            target = torch.arange(2 * len(real), device=scores.device) < len(real)
            loss = functional.binary_cross_entropy_with_logits(scores.float(), target.float())
            return {"train/loss": descend(loss, opt, schedule)}

        fit(own, {"model": model, "opt": opt, "schedule": schedule}, step, steps, log_every=10)
        own.result(**{"train/preferred": preference(model, unnatural(x[:500], own.rng("check")), x[:500])})
        weights.save(own.path("model.safetensors"), model)

    made = run.once("judge", {"side": x.shape[-1], "pictures": len(x), "width": width, "steps": steps}, learn)
    return weights.load(made.folder / "model.safetensors", make()).to(run.device).eval()


def preference(net: nn.Module, x: Tensor, true: Tensor) -> float:
    """The share of pairs in which the judge finds the picture x more natural than the true one, both [n, 3, h, w]; half
    for equal ones (the two-alternative forced choice of sec. 3.1, with a network in place of people)."""
    with evaluation_mode(net):
        ours, theirs = (torch.cat([net(2 * part - 1) for part in pictures.split(250)]) for pictures in (x, true))
    return ((ours > theirs).double() + 0.5 * (ours == theirs).double()).mean().item()


def rarities(true: Tensor, centres: Tensor, frequency: Tensor) -> Tensor:
    """How rare the bin of each colour is, [n * h * w], of pictures [n, 3, h, w]: eq. 4 with l = 0, as in sec. 3.1."""
    ab = lab(true)[:, 1:].movedim(1, -1).reshape(-1, 2)
    bins = torch.cat([torch.cdist(few, centres).argmin(1) for few in ab.split(10_000)])
    return rebalancing_weights(frequency.clamp_min(1e-6), centres, 0.0)[bins]


def colour_errors(x: Tensor, true: Tensor, rare: Tensor) -> dict[str, float]:
    """How far the colours of x are from the true ones: the areas under their errors, raw and balanced by how `rare`
    the true colours are, and the root of the mean square."""
    error = (lab(x) - lab(true))[:, 1:].norm(dim=1).flatten()
    return {
        "test/auc": area_under_colour_errors(error, torch.ones_like(error)),
        "test/auc-balanced": area_under_colour_errors(error, rare),
        "test/colour-error": error.square().mean().sqrt().item(),
    }


def probe_error(features: nn.Module, d: Images, steps: int, run: Run) -> float:
    """The test error of a linear classifier on frozen features [n, c, h', w'], pooled to 2 x 2, of lightness."""

    def seen(x: Tensor) -> Tensor:
        with run.autocast(), evaluation_mode(features):  # not the descent: weights cast there would stay as they were
            parts = [features(lab(unit(part))[:, :1] / 50 - 1) for part in x.split(250)]
        return torch.cat([functional.adaptive_avg_pool2d(part.float(), 2).flatten(1) for part in parts])

    train, test = seen(d.x), seen(d.test_x)
    mean, spread = train.mean(0), train.std(0) + 1e-5
    model = seeded(run, "probe", lambda: nn.Linear(train.shape[1], d.classes))
    recipe = Adam(steps=steps, batch=64, lr=3e-3, schedule="linear")
    opt, schedule = adam(model, recipe)
    batches = Batches(len(train), recipe.batch, run.seed("probe order"))
    for i in range(steps):
        rows = batches.at(i).to(train.device)
        descend(functional.cross_entropy(model((train[rows] - mean) / spread), d.y[rows]), opt, schedule)
    with torch.no_grad():
        return (model((test - mean) / spread).argmax(1) != d.test_y).double().mean().item()


def save_colours(run: Run, file: str, rows: list[Tensor]) -> None:
    """Save a sheet whose rows are pictures [n, 3, h, w]: the grey ones, what was made of them, the true ones."""
    save_sheet(run.path(file), torch.cat(rows), len(rows[0]), max(1, 64 // rows[0].shape[-1]))
