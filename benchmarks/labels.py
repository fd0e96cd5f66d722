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

pirl      steps a second of PIRL with a puzzle: the study's own step (views and patches by batch), over a
          plain loop in the order of VISSL and solo-learn: a DataLoader whose dataset crops, resizes, mirrors and
          recolours one picture at a time with Pillow, twice, and cuts the patches of the second; one forward for
          pictures, one for patches, and as many negatives, shared by a batch. Both have the same network, batches and
          optimiser, and compute in fp32, as the study does. Goal: at least 2.
          Beforehand both compute the loss of the same views, patches, orders and negatives, with fixed statistics of
          batch normalisation, and the differences are told.

MixMatch has two sizes: the laptop scale's network and pictures, and WRN-16-2 on 32 pixels. PIRL has its laptop scale.
Pictures are drawn at random: speed does not depend on what they show.

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
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, RandomSampler

from etudes.core.environment import environment
from etudes.core.run import Run
from etudes.data.images import Images
from etudes.studies.labels.mixmatch import Config
from etudes.studies.labels.mixmatch.idea import draw_mixing, guess_labels, mixmatch_batch, mixmatch_loss
from etudes.studies.labels.mixmatch.training import Nets, Pictures, loss_of, network, split_rows
from etudes.studies.labels.pirl import STUDY as PIRL
from etudes.studies.labels.pirl import Config as PirlConfig
from etudes.studies.labels.pirl import training as pirl
from etudes.studies.labels.pirl.idea import MemoryBank, pirl_loss
from etudes.train import EMA, descend, scheduled, seeded, sgd, shown
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


# PIRL: theirs, then ours.


class Puzzles(Dataset):
    """Of each picture, its number, a view of it, and the shuffled patches of another view: one picture at a time."""

    def __init__(self, cfg: PirlConfig, d: Images) -> None:
        self.cfg = cfg
        self.pictures = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in d.x]

    def __len__(self) -> int:
        return len(self.pictures)

    def view(self, picture: Image.Image) -> numpy.ndarray:
        side, draw = picture.width, numpy.random
        share, shape = draw.uniform(self.cfg.smallest_crop, 1), numpy.exp(draw.uniform(*numpy.log((3 / 4, 4 / 3))))
        w, h = (min(side, max(1, round(side * (share * s) ** 0.5))) for s in (shape, 1 / shape))
        left, top = draw.randint(side - w + 1), draw.randint(side - h + 1)
        picture = picture.resize((side, side), Image.Resampling.BILINEAR, (left, top, left + w, top + h))
        if draw.rand() < 0.5:
            picture = ImageOps.mirror(picture)
        for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            picture = change(picture).enhance(draw.uniform(1 - pirl.LIGHT, 1 + pirl.LIGHT))
        return numpy.asarray(picture, numpy.float32).transpose(2, 0, 1) / 255

    def __getitem__(self, i: int) -> tuple[int, numpy.ndarray, numpy.ndarray]:
        cfg, first, second = self.cfg, self.view(self.pictures[i]), self.view(self.pictures[i])
        cell = second.shape[-1] // cfg.grid
        cut = []
        for place in numpy.random.permutation(cfg.grid**2):
            top, left = numpy.random.randint(cell - cfg.patch - cfg.gap + 1, size=2) + cell * numpy.array(
                divmod(place, cfg.grid)
            )
            cut.append(second[:, top : top + cfg.patch, left : left + cfg.patch])
        return i, first, numpy.stack(cut)


def plain_nce(z: Tensor, own: Tensor, others: Tensor, temperature: float) -> Tensor:
    z = z / z.norm(dim=1, keepdim=True)
    positive = torch.exp((z * own).sum(1) / temperature)
    negative = torch.exp(torch.mm(z, others.t()) / temperature)
    below = positive + negative.sum(1)
    return (-torch.log(positive / below) - torch.log(1 - negative / below[:, None]).sum(1)).mean()


def plain_pirl(
    cfg: PirlConfig, model: pirl.Network, first: Tensor, cut: Tensor, own: Tensor, others: Tensor
) -> tuple[Tensor, Tensor]:
    """The loss of views [n, c, h, w] and patches [n, p, c, s, s], and the representations of the views."""
    heads = model.heads
    picture = heads["f"](model.body(first))
    parts = heads["patch"](model.body(cut.reshape(-1, *cut.shape[2:])))
    changed = heads["g"](parts.reshape(len(first), -1))
    terms = [plain_nce(z, own, others, cfg.temperature) for z in (changed, picture)]
    return cfg.mix * terms[0] + (1 - cfg.mix) * terms[1], picture


def plain_pirl_turn(cfg: PirlConfig, d: Images, base: pirl.Network, steps: int) -> Callable[[], float]:
    model = copy.deepcopy(base)
    opt = torch.optim.SGD(model.parameters(), cfg.lr, momentum=cfg.momentum, weight_decay=cfg.weight_decay)
    memory = functional.normalize(torch.randn(len(d.x), cfg.size), dim=1)
    n = pirl.pictures_a_step(cfg)
    data = Puzzles(cfg, d)
    sampler = RandomSampler(data, replacement=True, num_samples=n * 10**6)
    batches = iter(DataLoader(data, n, sampler=sampler, drop_last=True))

    def step() -> None:
        rows, first, cut = next(batches)
        others = memory[torch.randint(len(memory), (cfg.negatives,))]
        loss, picture = plain_pirl(cfg, model, first, cut, memory[rows], others)
        opt.zero_grad()
        loss.backward()
        opt.step()
        loss.item()
        with torch.no_grad():
            memory[rows] = functional.normalize(
                cfg.memory * memory[rows] + (1 - cfg.memory) * functional.normalize(picture, dim=1), dim=1
            )

    return timed(step, steps)


def our_pirl_turn(cfg: PirlConfig, run: Run, d: Images, base: pirl.Network, steps: int) -> Callable[[], float]:
    model = copy.deepcopy(base).to(memory_format=torch.channels_last)
    recipe = replace(cfg, batch=pirl.pictures_a_step(cfg))
    opt, schedule = sgd(model, recipe)
    pictures, pretext = shown(recipe, run, d), pirl.Pretext(cfg, run, model, d)
    at = iter(range(10**9))

    def step() -> None:
        i = next(at)
        with run.autocast():
            descend(pretext.loss(i, *pictures(i)), opt, schedule).item()

    return timed(step, steps)


def pirl_differences(cfg: PirlConfig, run: Run, d: Images, base: pirl.Network) -> tuple[float, float, float]:
    """The plain loop's loss of the same views, by how much ours differs, and by which share its gradient does."""
    rows, x = shown(replace(cfg, batch=pirl.pictures_a_step(cfg)), run, d)(0)
    first, second = (pirl.view(cfg, x, run, 0, which) for which in ("first", "second"))
    orders = torch.from_numpy(run.rng("orders", 0).permuted(numpy.tile(numpy.arange(cfg.grid**2), (len(x), 1)), axis=1))
    cut = pirl.shuffled_patches(cfg, second, orders, run, 0)
    bank = MemoryBank(torch.randn(len(d.x), cfg.size))
    others, own = bank.negatives(rows, cfg.negatives, run.rng("negatives", 0)), bank.rows[rows]
    theirs, ours = copy.deepcopy(base).eval(), copy.deepcopy(base).eval()
    plain, _ = plain_pirl(cfg, theirs, first, cut, own, others)
    changed = pirl.changed_representation(cfg, run, ours, second, 0)
    loss = pirl_loss(ours.heads["f"](ours(first)), changed, own, others, cfg.mix, cfg.temperature)
    one, other = (
        torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))])
        for value, model in ((plain, theirs), (loss, ours))
    )
    return plain.item(), abs(loss - plain).item(), ((one - other).norm() / one.norm()).item()


def compare_pirl(seconds: float = 1.0, count: int = 5) -> Iterator[str]:
    cfg = PirlConfig(**PIRL.plan("laptop", variants=["pirl-jigsaw"], seeds=1)[0].config)
    d = random_pictures(3, cfg.side)
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "fp32", "fp32")
        base = seeded(run, "init", lambda: pirl.Network(cfg, d)).to(memory_format=torch.contiguous_format)
        loss, apart, gradient = pirl_differences(cfg, run, d, base)
        equal = f"the same views have a loss of {loss:.6f}; ours differs by {apart:.1g}"
        yield f"pirl laptop: {equal}, and its gradient by {gradient:.1g} of its length"
        steps = max(2, round(seconds * plain_pirl_turn(cfg, d, base, 2)()))
        ours = our_pirl_turn(cfg, run, d, base, steps)
        found = turns(count, ours, plain_pirl_turn(cfg, d, base, steps))
        yield f"pirl laptop, both in fp32: steps a second {found}; goal at least 2"


PARTS = {"mixmatch": compare_mixmatch, "pirl": compare_pirl}


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
