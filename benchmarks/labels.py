"""Learning from few labels against a plain loop, in one run: etudes bench labels

mixmatch  steps a second of MixMatch: the study's own step (pictures as one uint8 tensor, changed as a batch, one
          forward for both guesses, one for all that is learnt from), over a plain loop in the order of
          YU1ut/MixMatch-pytorch: two DataLoaders whose datasets pad, crop and mirror one picture at a time with NumPy,
          one forward for each guess, the mixed batch interleaved and one forward for each of its three chunks, an
          average of the weights parameter by parameter. Ours runs in the project's default precision, and in fp32 as
          theirs. Both have the same network, batches and optimiser. Goal: at least 2 in the default precision.
          Beforehand both compute the loss of the same pictures and its gradient, with the same mixing and with fixed
          statistics of batch normalisation, and the differences are told. With the statistics of each batch one
          forward and three are not the same.

Two sizes: the laptop scale's network and pictures, and WRN-16-2 on 32 pixels, for which pictures are drawn at random:
speed does not depend on what they show.

Both sides compute with one thread, as a run does by default, and take turns; the median of the ratios is told.
"""

import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy
import torch
from engine import make_run, turns
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, RandomSampler

from etudes.core.environment import environment
from etudes.core.run import Run
from etudes.data.images import Images
from etudes.studies.labels.mixmatch import Config
from etudes.studies.labels.mixmatch.idea import draw_mixing, guess_labels, mixmatch_batch, mixmatch_loss
from etudes.studies.labels.mixmatch.training import Nets, Pictures, loss_of, network, split_rows
from etudes.train import EMA, descend, scheduled, seeded
from etudes.train.precision import has_bf16

PRECISIONS = ("bf16", "fp32") if has_bf16() else ("fp32",)
SIZES: dict[str, tuple[Config, int, int]] = {  # recipe, channels and pixels of a side of its pictures
    "laptop": (Config(), 1, 14),
    "WRN-16-2": (Config(batch=16, mirrored=True, network="wide", depth=16), 3, 32),
}


def random_pictures(channels: int, side: int, count: int = 2000) -> Images:
    draws = numpy.random.default_rng(0)
    x = torch.from_numpy(draws.integers(256, size=(count, channels, side, side), dtype=numpy.uint8))
    y = torch.arange(count) % 10
    return Images("random", x, y, x[:10], y[:10], 10, tuple("0123456789"), {})


# Theirs, written after the peer's order of work.


class OneByOne(Dataset):
    """Pictures changed one at a time, `views` times each; the labels are there for those that have them."""

    def __init__(self, cfg: Config, d: Images, rows: Tensor, views: int) -> None:
        self.pictures = (d.x[rows].numpy() / 255).astype(numpy.float32)
        self.labels, self.views, self.mirrored = d.y[rows].tolist(), views, cfg.mirrored
        self.reach = d.shape[-1] // 8

    def __len__(self) -> int:
        return len(self.pictures)

    def change(self, picture: numpy.ndarray) -> Tensor:
        reach, side = self.reach, picture.shape[-1]
        padded = numpy.pad(picture, [(0, 0), (reach, reach), (reach, reach)], mode="reflect")
        top, left = numpy.random.randint(0, 2 * reach + 1, 2)
        picture = padded[:, top : top + side, left : left + side]
        if self.mirrored and numpy.random.rand() < 0.5:
            picture = picture[:, :, ::-1]
        return torch.from_numpy(picture.copy())

    def __getitem__(self, i: int) -> tuple[list[Tensor], int]:
        return [self.change(self.pictures[i]) for _ in range(self.views)], self.labels[i]


def endless(data: OneByOne, batch: int) -> Iterator[tuple[list[Tensor], Tensor]]:
    sampler = RandomSampler(data, replacement=True, num_samples=batch * 10**6)
    yield from DataLoader(data, batch, sampler=sampler, drop_last=True)


def interleave(chunks: list[Tensor], batch: int) -> list[Tensor]:
    """The chunks with parts exchanged, so that each holds rows of all; done twice it gives the chunks back."""
    sizes = [batch // len(chunks)] * len(chunks)
    for i in range(batch - sum(sizes)):
        sizes[-i - 1] += 1
    parts = [list(chunk.split(sizes)) for chunk in chunks]
    for i in range(1, len(chunks)):
        parts[0][i], parts[i][i] = parts[i][i], parts[0][i]
    return [torch.cat(part) for part in parts]


def plain_guess(cfg: Config, model: nn.Module, views: list[Tensor]) -> Tensor:
    with torch.no_grad():
        p = sum(torch.softmax(model(view), 1) for view in views) / len(views)
        powers = p ** (1 / cfg.temperature)
        return powers / powers.sum(1, keepdim=True)


def plain_loss(
    model: nn.Module, x: Tensor, y: Tensor, views: list[Tensor], guess: Tensor, mixing: tuple[Tensor, Tensor], by: float
) -> Tensor:
    inputs, targets = torch.cat([x, *views]), torch.cat([y, *[guess] * len(views)])
    order, share = mixing
    wide, flat = share[:, None, None, None], share[:, None]
    mixed = wide * inputs + (1 - wide) * inputs[order]
    wanted = flat * targets + (1 - flat) * targets[order]
    chunks = interleave(list(mixed.split(len(x))), len(x))
    logits = interleave([model(chunk) for chunk in chunks], len(x))
    known = -(functional.log_softmax(logits[0], 1) * wanted[: len(x)]).sum(1).mean()
    p = torch.softmax(torch.cat(logits[1:]), 1)
    return known + by * ((p - wanted[len(x) :]) ** 2).mean()


def plain_turn(cfg: Config, d: Images, known: Tensor, rest: Tensor, base: nn.Module, steps: int) -> Callable[[], float]:
    model, average = copy.deepcopy(base), copy.deepcopy(base)
    opt = torch.optim.AdamW(model.parameters(), cfg.lr, weight_decay=cfg.weight_decay)
    labelled = endless(OneByOne(cfg, d, known, 1), cfg.batch)
    others = endless(OneByOne(cfg, d, rest, cfg.views), cfg.batch)

    def step() -> None:
        ((x,), labels), (views, _) = next(labelled), next(others)
        y = torch.zeros(len(x), d.classes).scatter_(1, labels[:, None], 1)
        guess = plain_guess(cfg, model, views)
        share = torch.from_numpy(numpy.random.beta(cfg.alpha, cfg.alpha, 3 * len(x))).float()
        mixing = (torch.randperm(3 * len(x)), torch.maximum(share, 1 - share))
        loss = plain_loss(model, x, y, views, guess, mixing, cfg.weight)
        opt.zero_grad()
        loss.backward()
        opt.step()
        loss.item()  # it keeps the mean of the losses
        for kept, now in zip(average.parameters(), model.parameters(), strict=True):
            kept.data.mul_(cfg.ema).add_(now.data * (1 - cfg.ema))

    return timed(step, steps)


# Ours.


def our_turn(
    cfg: Config, run: Run, d: Images, rows: tuple[Tensor, Tensor], base: nn.Module, steps: int
) -> Callable[[], float]:
    model = copy.deepcopy(base).to(memory_format=torch.channels_last)
    nets = Nets(model, EMA(model, cfg.ema))
    opt = torch.optim.AdamW(model.parameters(), cfg.lr, weight_decay=cfg.weight_decay)
    schedule, pictures = scheduled(opt, cfg), Pictures(cfg, run, d, *rows)
    at = iter(range(10**9))

    def step() -> None:
        with run.autocast():
            loss = loss_of(cfg, run, pictures, nets, next(at))["train/loss"]
            descend(loss, opt, schedule).item()
        nets.average.update()

    return timed(step, steps)


def timed(step: Callable[[], None], steps: int) -> Callable[[], float]:
    """A turn of some steps: how many it does a second."""

    def turn() -> float:
        begun = time.perf_counter()
        for _ in range(steps):
            step()
        return steps / (time.perf_counter() - begun)

    return turn


def differences(cfg: Config, pictures: Pictures, base: nn.Module) -> tuple[float, float, float]:
    """The plain loop's loss of the same pictures, by how much ours differs, and by which share its gradient does."""
    (x, y), views = pictures.examples(0), pictures.views(0, cfg.views)
    mixing = draw_mixing(len(x) + cfg.views * cfg.batch, cfg.alpha, numpy.random.default_rng(0))
    theirs, ours = copy.deepcopy(base).eval(), copy.deepcopy(base).eval()
    plain = plain_loss(theirs, x, y, list(views), plain_guess(cfg, theirs, list(views)), mixing, cfg.weight)
    guesses = guess_labels(ours(views.flatten(0, 1)).unflatten(0, views.shape[:2]), cfg.temperature)
    inputs, targets = mixmatch_batch(x, y, views, guesses, *mixing)
    loss = mixmatch_loss(ours(inputs), targets, len(x), cfg.weight)
    one, other = (
        torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))])
        for value, model in ((plain, theirs), (loss, ours))
    )
    return plain.item(), abs(loss - plain).item(), ((one - other).norm() / one.norm()).item()


def compare_mixmatch(seconds: float = 1.0, count: int = 5) -> Iterator[str]:
    for name, (recipe, channels, side) in SIZES.items():
        cfg, d = replace(recipe, rise=0), random_pictures(channels, side)
        with tempfile.TemporaryDirectory() as folder:
            run = make_run(Path(folder) / "fp32", "fp32")
            base = seeded(run, "init", lambda cfg=cfg, d=d: network(cfg, d)).to(memory_format=torch.contiguous_format)
            known, _, rest = split_rows(d.y, cfg.labels, run)
            loss, apart, gradient = differences(cfg, Pictures(cfg, run, d, known, rest), base)
            equal = f"the same pictures have a loss of {loss:.6f}; ours differs by {apart:.1g}"
            yield f"mixmatch {name}: {equal}, and its gradient by {gradient:.1g} of its length"
            once = 1 / plain_turn(cfg, d, known, rest, base, 2)()
            steps = max(2, round(seconds / once))
            for precision in PRECISIONS:
                run = make_run(Path(folder) / f"run-{precision}", precision)
                ours = our_turn(cfg, run, d, (known, rest), base, steps)
                found = turns(count, ours, plain_turn(cfg, d, known, rest, base, steps))
                goal = "; goal at least 2" if precision == PRECISIONS[0] else ""
                yield f"mixmatch {name}, ours in {precision}: steps a second {found}{goal}"


PARTS = {"mixmatch": compare_mixmatch}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    numpy.random.seed(0)
    facts = environment()
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    print(f"{facts['host']}; {torch.get_num_threads()} threads; {libraries}")
    for compare in PARTS.values():
        for line in compare():
            print(line, flush=True)


if __name__ == "__main__":
    main()
