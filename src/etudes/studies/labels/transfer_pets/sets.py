"""What is learnt: the set of a task, which of its pictures have labels, how they are changed, what is kept of them."""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from etudes.core import Run
from etudes.core.files import appearing
from etudes.data.augment import affine, flip, photometric
from etudes.data.images import Images, images, unit
from etudes.data.labels import balanced_subset
from etudes.measure.error import predictions
from etudes.studies.labels.transfer_pets.networks import SHARED_SEED, in_colour

if TYPE_CHECKING:
    from etudes.studies.labels.transfer_pets import Config

Strength = Literal["none", "small", "large"]
_CATS = (
    "abyssinian,bengal,birman,bombay,british shorthair,egyptian mau,maine coon,persian,ragdoll,russian blue,siamese,"
    "sphynx"
)
CATS = tuple(_CATS.split(","))  # of the 37 breeds; the others are dogs
_ANIMALS = (
    "Leopards,bass,butterfly,cougar_face,crab,crayfish,crocodile,crocodile_head,dalmatian,dolphin,dragonfly,elephant,"
    "emu,flamingo,hawksbill,hedgehog,ibis,kangaroo,llama,nautilus,rhino,rooster,scorpion,sea_horse,starfish,"
    "stegosaurus,tick,trilobite"
)
ANIMALS = tuple(_ANIMALS.split(","))  # of Caltech-101: those with more than 32 training pictures
CHUNK = 20  # pictures that go through frozen stages at once: more would leave the processor's cache


def only_classes(d: Images, names: tuple[str, ...]) -> Images:
    """The set with these classes alone, numbered in this order."""
    number = torch.full((d.classes,), -1)
    number[[d.labels.index(name) for name in names]] = torch.arange(len(names))
    y, test_y = number[d.y], number[d.test_y]
    kept, test_kept = y >= 0, test_y >= 0
    return replace(
        d,
        x=d.x[kept],
        y=y[kept],
        test_x=d.test_x[test_kept],
        test_y=test_y[test_kept],
        classes=len(names),
        labels=names,
    )


def cats_and_dogs(d: Images) -> Images:
    """The set with two classes in place of breeds: cat 0, dog 1."""
    dog = torch.tensor([name.lower().replace("_", " ") not in CATS for name in d.labels]).long()
    return replace(d, y=dog[d.y], test_y=dog[d.test_y], classes=2, labels=("cat", "dog"))


def opened_target(cfg: "Config") -> Images:
    """The set of the task: breeds or animals, the far set, or cats and dogs; in colour, square, of `side` pixels."""
    d = in_colour(images({"near": cfg.near, "far": cfg.far, "cats": cfg.pets}[cfg.target]))
    if cfg.target == "cats":
        d = cats_and_dogs(d)
    elif cfg.target == "near" and cfg.classes == "animals":
        d = only_classes(d, ANIMALS)
    elif cfg.classes == "later":
        d = only_classes(d, d.labels[d.classes // 2 :])
    side = (cfg.side or d.shape[1]) // cfg.shrink
    return d if d.shape[1:] == (side, side) else d.resize(side)


def labelled_rows(y: Tensor, share: float, rng: numpy.random.Generator) -> Tensor:
    """The rows, ascending, of a share of each class of y: [n], rounded, and of one picture at least.

    From one generator a larger share holds all that a smaller one has.
    """
    order = torch.from_numpy(rng.permutation(len(y)))
    found = []
    for label in y.unique().tolist():
        rows = order[y[order] == label]
        found.append(rows[: max(1, round(share * len(rows)))])
    return torch.cat(found).sort().values


def split_rows(cfg: "Config", y: Tensor, run: Run) -> tuple[Tensor, Tensor, Tensor]:
    """Rows with labels, rows without, and rows held out for validation (at most `held_out`)."""
    rows = balanced_subset(y, cfg.examples, run.rng("subset")) if cfg.examples else torch.arange(len(y))
    known = rows[labelled_rows(y[rows], cfg.share, run.rng("labels"))]
    others = rows[~torch.isin(rows, known)]
    away = torch.ones(len(y), dtype=torch.bool)
    away[rows] = False
    away = away.nonzero()[:, 0]
    return known, others, away[torch.from_numpy(run.rng("held out").permutation(len(away)))][: cfg.held_out]


def augment(x: Tensor, strength: Strength, rng: numpy.random.Generator) -> Tensor:
    """Pictures [n, 3, h, w] in [0, 1], each changed by chance.

    "small": mirrored, turned by up to 5 degrees, moved by up to a sixteenth, scaled by up to a tenth. "large": turned
    by up to 30 degrees, moved by up to a quarter, scaled by 0.7 to 1.4, sheared by up to 15 degrees; light and contrast
    by up to 0.4, and colour by up to 0.8.
    """
    if strength == "none":
        return x
    side = x.shape[-1]
    x = flip(x, rng)
    if strength == "small":
        return affine(x, rng, degrees=5, shift=side / 16, scale=(0.9, 1.1))
    x = affine(x, rng, degrees=30, shift=side / 4, scale=(0.7, 1.4), shear=15)
    return photometric(x, rng, brightness=0.4, contrast=0.4, saturation=0.8)


@torch.no_grad()
def through(lower: nn.Module, x: Tensor) -> Tensor:
    """What the frozen stages give for pictures uint8 or in [0, 1]."""
    return torch.cat([lower(unit(part)).float() for part in x.split(CHUNK)])


def kept_outputs(cfg: "Config", run: Run, lower: nn.Sequential, d: Images) -> Images:
    """The set with what the frozen stages give in place of its pictures: made once for all seeds and variants."""
    if not len(lower):
        return d
    decides = {"network": cfg.deeper if cfg.deep else cfg.network, "weights": cfg.weights, "base": cfg.base_steps}
    decides |= {"set": d.name, "classes": d.classes, "side": d.shape[1], "stages": len(lower)}

    def make(own: Run) -> None:
        own.note(data=d.source)
        outputs = {"x": through(lower, d.x), "test_x": through(lower, d.test_x)}
        with appearing(own.path("outputs.safetensors")) as draft:
            save_file({name: t.cpu().contiguous() for name, t in outputs.items()}, draft)
        own.result(**{"train/pictures": len(d.x)})

    found = load_file(run.once("lower", decides, make, seed=SHARED_SEED).folder / "outputs.safetensors")
    return replace(d, x=found["x"].to(run.device), test_x=found["test_x"].to(run.device))


def own_outputs(lower: nn.Module, d: Images, rows: Tensor) -> Images:
    """The same for stages that are this run's own: of these rows of the training part, 0 elsewhere, and of the test."""
    outputs = through(lower, d.x[rows])
    x = outputs.new_zeros(len(d.x), *outputs.shape[1:])
    x[rows] = outputs
    return replace(d, x=x, test_x=through(lower, d.test_x))


def augmented_copies(cfg: "Config", run: Run, lower: nn.Module, d: Images, rows: Tensor) -> Tensor | None:
    """What the frozen stages give for `views` changed copies of these rows: [views, n, ...]; None for none."""
    if not cfg.views or cfg.augment == "none":
        return None
    x = unit(d.x[rows])
    return torch.stack([through(lower, augment(x, cfg.augment, run.rng("view", k))) for k in range(cfg.views)])


def class_error(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """The share of pictures named wrongly, first as the mean over classes of each class's share, then of all."""
    wrong = (predictions(model, x, CHUNK) != y).double()
    return torch.stack([wrong[y == k].mean() for k in y.unique()]).mean().item(), wrong.mean().item()
