"""The engine against plain code, as ratios in one run: etudes bench engine

loop   `fit`, with its seeding, autocast context, log and checkpoints, over a bare loop doing the same steps of about
       one millisecond. Goal: at most 1.03.
data   pictures a second of training and evaluating the three-block VGG, in an epoch's proportion of five to one, fed by
       our batches and augmentation (one uint8 tensor, flip and shift, standardised in the network, the default
       precision), over the same network in fp32 fed by a DataLoader with two workers that crops, flips and standardises
       one PIL picture at a time, as tutorials do. Goal: at least 2.5 where the processor has bf16. The line adds which
       share of our time goes to the pictures: the rest is the network, which both sides have.
feed   pictures a second of the two, without a network: training pictures alone.

Both sides compute with one thread, as a run does by default; the DataLoader has its two workers besides. They take
turns of a few seconds, and the median of the ratios of neighbouring turns is told: machines drift.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from etudes.core.environment import environment
from etudes.core.run import Run
from etudes.core.spec import Spec
from etudes.data.augment import flip, shift
from etudes.data.batches import Batches
from etudes.data.images import Images, images, unit
from etudes.data.sources import reachable
from etudes.measure.error import error_rate
from etudes.nn.norm import Standardise
from etudes.nn.vgg import vgg
from etudes.train.loop import fit
from etudes.train.precision import has_bf16
from etudes.train.recipe import Sgd, descend, seeded, sgd

BATCH = 128


def turns(count: int, ours: Callable[[], float], theirs: Callable[[], float]) -> str:
    """Medians of both and of their ratio over `count` turns A B, B A, A B ..., after one turn each to warm up."""
    ours(), theirs()
    pairs = []
    for turn in range(count):
        first, second = (ours, theirs) if turn % 2 == 0 else (theirs, ours)
        a, b = first(), second()
        pairs.append((a, b) if turn % 2 == 0 else (b, a))
    ratios = [a / b for a, b in pairs]
    mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    return f"{mine:.4g} against {other:.4g}, ratio {statistics.median(ratios):.3f} ({spread})"


def make_run(folder: Path, precision: str) -> Run:
    folder.mkdir(parents=True, exist_ok=True)
    return Run(Spec("bench", "laptop", "plain", 0, {}, precision), folder)


def loop_milliseconds(steps: int, engine: bool) -> float:
    """Milliseconds a step of a small dense network, by `fit` or by a bare loop."""
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "run", "fp32")
        cfg = Sgd(steps=steps)
        model = seeded(run, "init", lambda: nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 10)))
        opt, schedule = sgd(model, cfg)
        x, y = torch.randn(256, 256), torch.randint(10, (256,))

        def step(i: int) -> dict[str, Tensor]:
            return {"train/loss": descend(functional.cross_entropy(model(x), y), opt, schedule)}

        begun = time.perf_counter()
        if engine:
            fit(run, {"model": model, "opt": opt, "schedule": schedule}, step, steps, log_every=cfg.log_every)
        else:
            for i in range(steps):
                step(i)
        return 1000 * (time.perf_counter() - begun) / steps


class Transformed(Dataset):
    """CIFAR as tutorials read it: one PIL picture at a time, padded, cropped, flipped, made a standardised tensor."""

    def __init__(self, x: Tensor, y: Tensor, d: Images, augment: bool) -> None:
        self.pictures = [Image.fromarray(picture) for picture in x.permute(0, 2, 3, 1).numpy()]
        self.labels, self.augment = y.tolist(), augment
        self.mean, self.std = d.mean[:, None, None], d.std[:, None, None]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        picture = self.pictures[i]
        if self.augment:
            picture = ImageOps.expand(picture, 4)
            left, top = torch.randint(9, (2,)).tolist()
            picture = picture.crop((left, top, left + 32, top + 32))
            if torch.rand(()) < 0.5:
                picture = ImageOps.mirror(picture)
        x = torch.from_numpy(numpy.array(picture)).permute(2, 0, 1).float() / 255
        return (x - self.mean) / self.std, self.labels[i]


def our_pictures(d: Images, run: Run) -> Callable[[int], tuple[Tensor, Tensor]]:
    """A function of a step: its pictures [BATCH, c, h, w] and labels [BATCH]."""
    batches = Batches(len(d.x), BATCH, run.seed("order"))

    def pictures(i: int) -> tuple[Tensor, Tensor]:
        pick = batches.at(i)
        x = unit(shift(flip(d.x[pick], run.rng("flip", i)), run.rng("shift", i), pixels=4, mode="zeros"))
        return x, d.y[pick]

    return pictures


def ours_fed(d: Images, run: Run, steps: int) -> float:
    pictures = our_pictures(d, run)
    begun = time.perf_counter()
    for i in range(steps):
        pictures(i)
    return steps * BATCH / (time.perf_counter() - begun)


def theirs_fed(training: DataLoader, steps: int) -> float:
    batches = iter(training)
    next(batches)  # the workers' start is not counted
    begun = time.perf_counter()
    for _ in range(steps):
        next(batches)
    return steps * BATCH / (time.perf_counter() - begun)


def ours_a_second(d: Images, run: Run, model: nn.Module, steps: int) -> float:
    opt, schedule = sgd(model, Sgd(steps=steps, lr=0.01))
    pictures = our_pictures(d, run)
    begun = time.perf_counter()
    for i in range(steps):
        x, y = pictures(i)
        with run.autocast():
            loss = functional.cross_entropy(model(x).float(), y)
        descend(loss, opt, schedule)
    with run.autocast():
        error_rate(model, d.test_x, d.test_y)
    return (steps * BATCH + len(d.test_x)) / (time.perf_counter() - begun)


def theirs_a_second(training: DataLoader, testing: DataLoader, model: nn.Module, steps: int) -> float:
    opt = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    batches = iter(training)
    next(batches)  # the workers' start is not counted
    begun = time.perf_counter()
    model.train()
    for _ in range(steps):
        x, y = next(batches)
        opt.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        opt.step()
    model.eval()
    with torch.no_grad():
        wrong = sum(int((model(x).argmax(1) != y).sum()) for x, y in testing)
    assert 0 <= wrong <= len(testing.dataset)
    return (steps * BATCH + len(testing.dataset)) / (time.perf_counter() - begun)


def compare_data(steps: int = 40) -> str:
    real = bool(reachable("cifar10"))
    d = images("cifar10") if real else noise()  # as fast on random pictures, and the line says so
    held = steps * BATCH // 5
    d = replace(d, x=d.x[:10_000], y=d.y[:10_000], test_x=d.test_x[:held], test_y=d.test_y[:held])
    settings = {"batch_size": BATCH, "num_workers": 2, "persistent_workers": True}
    training = DataLoader(Transformed(d.x, d.y, d, augment=True), shuffle=True, drop_last=True, **settings)
    testing = DataLoader(Transformed(d.test_x, d.test_y, d, augment=False), **settings)
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "run", "bf16" if has_bf16() else "fp32")
        mine = seeded(run, "init", lambda: nn.Sequential(Standardise(d.mean, d.std), vgg(3, 10)))
        theirs = vgg(3, 10)
        told = turns(
            5,
            lambda: ours_a_second(d, run, mine, steps),
            lambda: theirs_a_second(training, testing, theirs, steps),
        )
        share = statistics.median(
            ours_a_second(d, run, mine, steps) * 5 / 6 / ours_fed(d, run, steps) for _ in range(3)
        )  # five in six pictures are trained on
        fed = turns(5, lambda: ours_fed(d, run, 20 * steps), lambda: theirs_fed(training, steps))
    kind = "CIFAR-10" if real else "random"
    return (
        f"data  {kind} pictures a second, {run.spec.precision}, {told}; goal at least 2.5; "
        f"{share:.1%} of our time goes to the pictures\n"
        f"feed  {kind} pictures a second, {fed}"
    )


def noise() -> Images:
    x, y = torch.randint(256, (12_000, 3, 32, 32), dtype=torch.uint8), torch.randint(10, (12_000,))
    return Images("random", x, y, x[10_000:], y[10_000:], 10, tuple("0123456789"), {})


def main() -> None:
    torch.set_num_threads(1)
    facts = environment()
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    print(f"{facts['host']}; {torch.get_num_threads()} threads; {libraries}")
    told = turns(11, lambda: loop_milliseconds(1000, True), lambda: loop_milliseconds(1000, False))
    print(f"loop  milliseconds a step, {told}; goal at most 1.03", flush=True)
    print(compare_data())


if __name__ == "__main__":
    main()
