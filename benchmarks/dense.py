"""Pictures made, segmented and read, against what people take, in one run: etudes bench dense

unet   training pictures a second of a U-Net of four levels, each from a picture in memory to the step of Adam: a window
       of 96 pixels is cut, mirrored, and deformed elastically with its mask; then the network in the project's default
       precision. Against MONAI's BasicUNet of the same size, but for its last step up, which halves no channels (0.2 %
       more parameters), with MONAI's own transforms, a DataLoader of two workers, and its DiceCELoss as ours is:
       cross-entropy plus soft Dice over the batch. MONAI's side runs at its default, fp32, and given bf16 autocast.
       Goal: at least 1.5 times MONAI at its default.
gan    generator steps a second of WGAN-GP, each with five steps of the critic: our loop against one that works in the
       order of Zeleni9/pytorch-wgan (models/wgan_gradient_penalty.py): three backward passes a step of the critic, of
       which that of the samples goes on through the generator, and a DataLoader that makes its pictures one by one.
       Both have the same networks, and 28,000 drawn pictures of 32 pixels. The study itself trains in fp32 alone. Goal:
       at least 1.5 times.
ctc    lines a second of prefix beam search over frames of 80 classes, without a language model, against pyctcdecode
       with as many prefixes and the same threshold below which a class begins nothing; and the share of lines of which
       both say the same. Goal: at least 1.

Both sides compute with one thread, as a run does by default; the DataLoader has its two workers besides. They take
turns of some steps, and the median of the ratios of neighbouring turns is told: machines drift. A peer that is not
installed is named and left out.
"""

import contextlib
import copy
import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from engine import turns
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from etudes.core.environment import environment
from etudes.core.run import Run
from etudes.core.spec import Spec
from etudes.data.batches import Batches
from etudes.data.images import unit
from etudes.data.masks import Masks, masks
from etudes.generate.ctc import beam
from etudes.losses.segmentation import segmentation_loss
from etudes.nn.segmentation import SegmentationUNet
from etudes.studies.generative import wgan_gp
from etudes.studies.generative.unet.windows import Windows, plainly
from etudes.studies.generative.wgan_gp.domains import Domain
from etudes.studies.generative.wgan_gp.networks import picture_critic, picture_generator
from etudes.train.distribute import part
from etudes.train.precision import has_bf16
from etudes.train.recipe import Adam, adam, descend, seeded

WIDTH, DEPTH, WINDOW, BATCH, PIXELS = 16, 4, 96, 8, 3.0
PICTURES, CRITIC_STEPS, NOISE, SIDE = 64, 5, 100, 32
LETTERS, PREFIXES, LEAST = 80, 16, -5.0
BF16 = "bf16" if has_bf16() else "fp32"
Turn = Callable[[], float]  # makes some steps; pictures a second


def training_set() -> Masks:
    """30 pictures of 128 x 128 pixels: four of the drawn cells make one."""
    d = masks("drawn-cells")
    quarters = [part[:120].unflatten(0, (30, 2, 2)) for part in (d.x, d.y[:, None])]
    x, y = (q.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3) for q in quarters)
    groups = tuple(map(str, range(len(x))))
    return Masks(d.name, x, y[:, 0], None, groups, x, y[:, 0], None, groups, d.classes, d.source)


def our_turn(d: Masks, run: Run, steps: int) -> tuple[Turn, nn.Module]:
    shape = (1, len(d.classes), WIDTH, DEPTH, "same", True, "instance", 0.1)
    model = seeded(run, "init", lambda: SegmentationUNet(*shape))
    opt, schedule = adam(model, Adam(steps=10**6))
    batches = Batches(len(d.x), BATCH, run.seed("order"))
    windows = Windows.of(d.x, d.y, torch.ones(d.y.shape), batches, WINDOW, 0)
    change, done = plainly(True, PIXELS), iter(range(10**6))

    def turn() -> float:
        begun = time.perf_counter()
        for i in (next(done) for _ in range(steps)):
            x, y, _ = part(*windows.at(run, i, change))
            with run.autocast():
                loss = segmentation_loss("both", model(x), y)
            descend(loss, opt, schedule)
        return steps * BATCH / (time.perf_counter() - begun)

    return turn, model


class Pictures(Dataset):
    """Pictures float [1, h, w] in [0, 1] with their masks [1, h, w], changed by MONAI's transforms of a dictionary."""

    def __init__(self, d: Masks, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
        self.x, self.y, self.change = d.x.float() / 255, d.y[:, None].float(), change

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return self.change({"image": self.x[i], "label": self.y[i]})


def monai_parts(d: Masks) -> tuple[DataLoader, nn.Module, nn.Module]:
    """MONAI's pictures, its network and its loss. Raises ModuleNotFoundError where it is not installed."""
    from monai import transforms
    from monai.losses import DiceCELoss
    from monai.networks.nets import BasicUNet

    both = ["image", "label"]
    change = transforms.Compose(
        [
            transforms.RandSpatialCropd(both, roi_size=(WINDOW, WINDOW), random_size=False),
            transforms.RandFlipd(both, prob=0.5, spatial_axis=0),
            transforms.RandFlipd(both, prob=0.5, spatial_axis=1),
            # Displacements of the same size on a grid as coarse: a point every 48 pixels.
            transforms.Rand2DElasticd(
                both, spacing=(48, 48), magnitude_range=(PIXELS, PIXELS), prob=1,
                mode=("bilinear", "nearest"), padding_mode="reflection",
            ),
        ]
    )  # fmt: skip
    widths = [WIDTH * 2**level for level in range(DEPTH + 1)]
    model = BasicUNet(spatial_dims=2, in_channels=1, out_channels=len(d.classes), features=(*widths, WIDTH))
    loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True)
    loader = DataLoader(
        Pictures(d, change), BATCH, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True
    )
    return loader, model, loss


def monai_turn(loader: DataLoader, model: nn.Module, loss: nn.Module, precision: str, steps: int) -> Turn:
    opt = torch.optim.Adam(model.parameters(), 1e-3)

    def endless() -> Iterator[Any]:
        while True:
            yield from loader

    batches = endless()

    def turn() -> float:
        begun = time.perf_counter()
        for _ in range(steps):
            pair = next(batches)
            cast = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
            with cast:
                found = loss(model(pair["image"]), pair["label"])
            opt.zero_grad()
            found.backward()
            opt.step()
        return steps * BATCH / (time.perf_counter() - begun)

    return turn


def compare_unet(steps: int = 8) -> str:
    d = training_set()
    try:
        loader, theirs, loss = monai_parts(d)
    except ModuleNotFoundError as missing:
        return f"unet  {missing.name} is not installed, so there is nothing to compare with: pip install monai"
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Spec("bench", "laptop", "plain", 0, {}, BF16), Path(folder))
        ours, mine = our_turn(d, run, steps)
        sizes = [sum(p.numel() for p in model.parameters()) for model in (mine, theirs)]
        for precision in dict.fromkeys(("fp32", BF16)):
            found = turns(5, ours, monai_turn(loader, theirs, loss, precision, steps))
            goal = "; goal at least 1.5" if precision == "fp32" else ""
            lines.append(f"unet  pictures a second, {BF16} against MONAI in {precision}, {found}{goal}")
    lines.append(f"unet  parameters, {sizes[0]:,} against {sizes[1]:,}")
    return "\n".join(lines)


class Shelf(Dataset):
    """Pictures [1, h, w] in [-1, 1], made one by one, as ToTensor and Normalize do."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Tensor:
        return (self.x[i].float() / 255 - 0.5) / 0.5


def plain_gan_turn(x: Tensor, generator: nn.Module, critic: nn.Module, precision: str, steps: int) -> Turn:
    """The order of work of pytorch-wgan's loop: three backward passes a step of the critic, of which the one of the
    samples goes on through the generator."""
    loader = DataLoader(Shelf(x), PICTURES, shuffle=True, drop_last=True)
    critic_opt, own = (torch.optim.Adam(network.parameters(), 1e-4, (0.5, 0.999)) for network in (critic, generator))

    def endless() -> Iterator[Tensor]:
        while True:
            yield from loader

    pictures = endless()

    def value(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return critic(x).float().mean()

    def make() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return generator(torch.randn(PICTURES, NOISE)).float()

    def penalty(real: Tensor, made: Tensor) -> Tensor:
        eta = torch.rand(PICTURES, 1, 1, 1)
        between = (eta * real + (1 - eta) * made).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            values = critic(between).float()
        (slope,) = torch.autograd.grad(values, between, torch.ones_like(values), create_graph=True)
        return ((slope.flatten(1).norm(2, dim=1) - 1) ** 2).mean() * 10

    def turn() -> float:
        begun = time.perf_counter()
        for _ in range(steps):
            critic.requires_grad_(True)
            for _ in range(CRITIC_STEPS):
                critic.zero_grad()
                real = next(pictures)
                (-value(real)).backward()
                made = make()
                value(made).backward()
                penalty(real, made.detach()).backward()
                critic_opt.step()
            critic.requires_grad_(False)
            generator.zero_grad()
            (-value(make())).backward()
            own.step()
        critic.requires_grad_(True)
        return steps / (time.perf_counter() - begun)

    return turn


def gan_turn(x: Tensor, run: Run, steps: int) -> tuple[Turn, nn.Module, nn.Module]:
    """Our loop, and its two networks."""
    cfg = wgan_gp.Config(batch=PICTURES, critic_steps=CRITIC_STEPS, noise=NOISE, generator_norm="batch")
    generator = seeded(run, "generator", lambda: picture_generator(NOISE, (1, SIDE, SIDE), 32, "batch", "relu", "conv"))
    critic = seeded(run, "critic", lambda: picture_critic((1, SIDE, SIDE), 32, "layer", "relu"))
    batches, done = Batches(len(x), PICTURES, run.seed("order")), iter(range(10**6))

    def real(i: int) -> Tensor:
        return 2 * unit(x[batches.at(i)]) - 1

    domain = Domain(real, lambda n: generator(torch.randn(n, NOISE)).float(), x[:0], critic, generator)
    critic_opt, own = (wgan_gp.optimiser(cfg, network) for network in (critic, generator))
    constant = [LambdaLR(opt, lambda _: 1.0) for opt in (critic_opt, own)]

    def turn() -> float:
        begun = time.perf_counter()
        for i in (next(done) for _ in range(steps)):
            with run.autocast():
                for k in range(CRITIC_STEPS):
                    wgan_gp.update_critic(cfg, domain, critic_opt, constant[0], i * CRITIC_STEPS + k)
                wgan_gp.update_generator(cfg, domain, own, constant[1], PICTURES)
        return steps / (time.perf_counter() - begun)

    return turn, generator, critic


def compare_gan(steps: int = 2) -> str:
    x = torch.randint(0, 256, (28_000, 1, SIDE, SIDE), dtype=torch.uint8)
    lines = []
    for precision, other in dict.fromkeys((("fp32", "fp32"), (BF16, "fp32"), (BF16, BF16))):
        with tempfile.TemporaryDirectory() as folder:
            run = Run(Spec("bench", "laptop", "plain", 0, {}, precision), Path(folder))
            ours, *networks = gan_turn(x, run, steps)
            theirs = plain_gan_turn(x, *(copy.deepcopy(network) for network in networks), other, steps)
            goal = "; goal at least 1.5" if precision == other else ""
            found = turns(5, ours, theirs)
        lines.append(f"gan   steps a second, {precision} against the loop in {other}, {found}{goal}")
    return "\n".join(lines)


def odds_of_lines(lines: int, frames: int = 100, letters: int = 25) -> Tensor:
    """Logits [lines, frames, LETTERS + 1] as of a trained reader: sharp at the letters of a text drawn at random, blank
    between them, and unsure here and there."""
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(lines, frames, LETTERS + 1, generator=rng) * 2
    logits[:, :, 0] += 12
    for line in logits:
        places = torch.randperm(frames, generator=rng)[:letters]
        line[places, 0] -= 12
        line[places, torch.randint(1, LETTERS + 1, (letters,), generator=rng)] += 11
    return logits.log_softmax(-1)


def compare_ctc(lines: int = 20) -> str:
    try:
        from pyctcdecode import build_ctcdecoder
    except ModuleNotFoundError as missing:
        return f"ctc   {missing.name} is not installed, so there is nothing to compare with: pip install pyctcdecode"
    letters = "".join(chr(0x4E00 + i) for i in range(LETTERS))  # none of which divides words
    decoder, logits = build_ctcdecoder(["", *letters]), odds_of_lines(lines)

    def read_ours(line: Tensor) -> str:
        return "".join(letters[c - 1] for c in beam(line, PREFIXES, least=LEAST))

    def read_theirs(line: Tensor) -> str:
        return decoder.decode(line.numpy(), beam_width=PREFIXES, token_min_logp=LEAST)

    def turn(read: Callable[[Tensor], str]) -> float:
        begun = time.perf_counter()
        for line in logits:
            read(line)
        return lines / (time.perf_counter() - begun)

    found = turns(9, functools.partial(turn, read_ours), functools.partial(turn, read_theirs))
    same = sum(read_ours(line) == read_theirs(line) for line in logits)
    return f"ctc   lines a second against pyctcdecode, {found}; {same} of {lines} texts alike; goal at least 1"


ROWS = (compare_unet, compare_gan, compare_ctc)  # each gives the lines of one comparison


def main() -> None:
    torch.set_num_threads(1)
    facts = environment()
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    print(f"{facts['host']}; {torch.get_num_threads()} threads; {libraries}")
    for row in ROWS:
        print(row(), flush=True)


if __name__ == "__main__":
    main()
