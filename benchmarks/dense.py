"""Dense networks against the libraries that people take, in one run: etudes bench dense

unet   training pictures a second of a U-Net of four levels, each from a picture in memory to the step of Adam: a window
       of 96 pixels is cut, mirrored, and deformed elastically with its mask; then the network in the project's default
       precision. Against MONAI's BasicUNet of the same size, but for its last step up, which
       halves no channels (0.2 % more parameters), with MONAI's own transforms, a
       DataLoader of two workers, and its DiceCELoss as ours is: cross-entropy plus soft Dice over the batch. MONAI's
       side runs at its default, fp32, and given bf16 autocast. Goal: at least 1.5 times MONAI at its default.

Both sides compute with one thread, as a run does by default; the DataLoader has its two workers besides. They take
turns of some steps, and the median of the ratios of neighbouring turns is told: machines drift. A peer that is not
installed is named and left out.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from etudes.core.environment import environment
from etudes.core.run import Run
from etudes.core.spec import Spec
from etudes.data.batches import Batches
from etudes.data.masks import Masks, masks
from etudes.losses.segmentation import segmentation_loss
from etudes.nn.segmentation import SegmentationUNet
from etudes.studies.generative.unet.windows import Windows, plainly
from etudes.train.distribute import part
from etudes.train.precision import has_bf16
from etudes.train.recipe import Adam, adam, descend, seeded

WIDTH, DEPTH, WINDOW, BATCH, PIXELS = 16, 4, 96, 8, 3.0
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
            found = compare(ours, monai_turn(loader, theirs, loss, precision, steps))
            goal = "; goal at least 1.5" if precision == "fp32" else ""
            lines.append(f"unet  pictures a second, {BF16} against MONAI in {precision}, {found}{goal}")
    lines.append(f"unet  parameters, {sizes[0]:,} against {sizes[1]:,}")
    return "\n".join(lines)


ROWS = (compare_unet,)  # each gives the lines of one comparison


def main() -> None:
    torch.set_num_threads(1)
    facts = environment()
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    print(f"{facts['host']}; {torch.get_num_threads()} threads; {libraries}")
    for row in ROWS:
        print(row(), flush=True)


if __name__ == "__main__":
    main()
