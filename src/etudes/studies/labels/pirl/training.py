"""The pictures of a seed, the network with its heads, and what each pretext makes of a step's pictures."""

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Problem, Run
from etudes.data.augment import flip, photometric
from etudes.data.crops import patches, resized_crop
from etudes.data.images import Images, unit
from etudes.losses.contrastive import nt_xent
from etudes.nn.bottleneck import resnet50
from etudes.nn.norm import BatchNorm, Standardise, recalibrate
from etudes.nn.resnet import preact_resnet
from etudes.studies.labels.pirl.idea import MemoryBank, permutation_set, pirl_loss
from etudes.train import HeldOut, descend, fitted, hold_out, opened, seeded, sgd, shown
from etudes.train.distribute import processes

if TYPE_CHECKING:
    from etudes.studies.labels.pirl import Config

BLOCKS = 4
LIGHT = 0.4  # by how much light, contrast and colour of a view change
TURNS = 4


def pictures_of(cfg: "Config", run: Run) -> HeldOut:
    """The pictures of a run on its device, tested on `tested` of them. Problem where too many are held out."""
    d, _ = opened(cfg, run)
    return hold_out(d, cfg.held_out, run, cfg.tested)


def small_blocks(channels: int, width: int) -> list[nn.Sequential]:
    """Four blocks of one convolution each, normalised by batch, then ReLU: width, 2, 4 and 4 times as many channels.

    The first, of 4x4, the second and the last, of 3x3, halve the picture.
    """
    sizes = ((width, 4, 2), (2 * width, 3, 2), (4 * width, 3, 1), (4 * width, 3, 2))
    blocks = []
    for out, kernel, stride in sizes:
        blocks.append(nn.Sequential(nn.Conv2d(channels, out, kernel, stride, 1, bias=False), BatchNorm(out), nn.ReLU()))
        channels = out
    return blocks


def encoder_blocks(cfg: "Config", channels: int) -> tuple[list[nn.Sequential], int]:
    """The encoder in four blocks, and the channels of the last. Those of ResNets end with their four stages.

    For 3 channels ResNet-50 has 23,508,032 parameters, and PreAct ResNet-18 11,166,976.
    """
    if cfg.network == "small":
        return small_blocks(channels, cfg.width), 4 * cfg.width
    if cfg.network == "resnet50":
        layers, ends, features = resnet50(channels, 1), (0, 7, 11, 17, 20), 2048
    else:
        layers, ends, features = preact_resnet(channels, 1, 64, (2, 2, 2, 2)), (0, 3, 5, 7, 11), 512
    return [nn.Sequential(*layers[a:b]) for a, b in itertools.pairwise(ends)], features


class Network(nn.Module):
    """The encoder, pictures [n, c, h, w] in [0, 1] to means over places [n, features], whose blocks are body.1 to
    body.4; and the heads of a pretext. All pretexts of a seed begin with the same encoder."""

    def __init__(self, cfg: "Config", d: Images) -> None:
        super().__init__()
        blocks, features = encoder_blocks(cfg, d.shape[0])
        self.body = nn.Sequential(Standardise(d.mean, d.std), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.heads = nn.ModuleDict(heads(cfg, features, d.classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)

    def of_patches(self, cut: Tensor, head: str) -> Tensor:
        """Patches [n, p, c, s, s], in order, to what the head makes of each one's representation: [n, p * size]."""
        return self.heads[head](self.body(cut.flatten(0, 1))).view(len(cut), -1)


def heads(cfg: "Config", features: int, classes: int) -> dict[str, nn.Module]:
    """What a pretext needs beside the encoder: linear layers f and g of PIRL (sec. 2.2), one that names a turn or an
    order, SimCLR's projection by one hidden layer, or one that names classes."""
    size, pieces = cfg.size, cfg.grid**2
    if cfg.pretext == "pirl" and cfg.transform == "rotation":
        return {"f": nn.Linear(features, size), "g": nn.Linear(features, size)}
    if cfg.pretext == "pirl":
        both = {"f": nn.Linear(features, size), "patch": nn.Linear(features, size)}
        return both | {"g": nn.Linear(pieces * size, size)}
    if cfg.pretext == "predict" and cfg.transform == "jigsaw":
        return {"patch": nn.Linear(features, size), "order": nn.Linear(pieces * size, cfg.orders)}
    if cfg.pretext == "simclr":
        return {"f": nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, size))}
    return {"predict": {"turn": nn.Linear(features, TURNS)}, "classes": {"class": nn.Linear(features, classes)}}.get(
        cfg.pretext, {}
    )


def pictures_a_step(cfg: "Config") -> int:
    """How many pictures a step sees, so that the network looks at `batch` views whatever the pretext is.

    A picture is looked at twice by PIRL, once if one of its terms has no weight, twice by SimCLR, in all four turns by
    the task of naming turns; the patches of a puzzle are one view. Raises Problem where that does not divide the batch.
    """
    views = {"pirl": 2 if cfg.mix > 0 else 1, "simclr": 2, "predict": TURNS if cfg.transform == "rotation" else 1}
    each = views.get(cfg.pretext, 1)
    if cfg.batch % each:
        raise Problem(f"a batch of {cfg.batch} views does not hold pictures in {each} views each; take a multiple")
    return cfg.batch // each


def view(cfg: "Config", x: Tensor, run: Run, i: int, which: str) -> Tensor:
    """Pictures x: [n, c, h, w] as a view of step i: a random crop, mirrored by chance, in another light."""
    x = resized_crop(flip(x, run.rng(f"flip {which}", i)), run.rng(f"crop {which}", i), (cfg.smallest_crop, 1.0))
    return photometric(x, run.rng(f"light {which}", i), LIGHT, LIGHT, LIGHT if x.shape[1] == 3 else 0)


def shuffled_patches(cfg: "Config", x: Tensor, orders: Tensor, run: Run, i: int) -> Tensor:
    """Patches [n, grid^2, c, size, size] of pictures x: [n, c, h, w], brought into each one's order: [n, grid^2]."""
    cut = patches(x, run.rng("patches", i), cfg.grid, cfg.patch, cfg.gap)
    return cut[torch.arange(len(x), device=x.device)[:, None], orders.to(x.device)]


def changed_representation(cfg: "Config", run: Run, model: Network, x: Tensor, i: int) -> Tensor:
    """g(v_It) [n, size] of views x: [n, c, h, w] that are turned, each by a quarter of its own, or cut and shuffled."""
    if cfg.transform == "rotation":
        return model.heads["g"](model(quarter_turns(x, run.rng("turn", i).integers(TURNS, size=len(x)))))
    order = torch.arange(cfg.grid**2).expand(len(x), -1).numpy()
    orders = torch.from_numpy(run.rng("orders", i).permuted(order, axis=1))
    return model.heads["g"](model.of_patches(shuffled_patches(cfg, x, orders, run, i), "patch"))


def quarter_turns(x: Tensor, quarters: object) -> Tensor:
    """Square pictures x: [n, c, s, s], each turned counter-clockwise by its number of quarters [n], 0 to 3."""
    which = torch.as_tensor(quarters, device=x.device)
    every = torch.stack([torch.rot90(x, k, (2, 3)) for k in range(TURNS)])
    return every[which, torch.arange(len(x), device=x.device)]


class Pretext:
    """The loss of a step by the pretext of a recipe, with what it keeps: a memory bank, the orders of a puzzle."""

    def __init__(self, cfg: "Config", run: Run, model: Network, d: Images) -> None:
        self.cfg, self.run, self.model, self.d = cfg, run, model, d
        self.bank: MemoryBank | None = None
        if processes() > 1:
            raise Problem("a run of pirl is one process, as is its memory; start it without accelerate launch")
        if cfg.pretext == "pirl":
            self.bank = MemoryBank(first_representations(model, d), cfg.memory)
        if cfg.pretext == "predict" and cfg.transform == "jigsaw":
            self.orders = permutation_set(cfg.grid**2, cfg.orders, run.rng("orders"))

    def loss(self, i: int, rows: Tensor, x: Tensor) -> Tensor:
        """The loss, in nats, of step i on pictures x: [n, c, h, w] in [0, 1], which are `rows` of the set."""
        cfg, run, model = self.cfg, self.run, self.model
        first = view(cfg, x, run, i, "first")
        if self.bank is not None:
            return self.pirl(self.bank, i, rows, first, x)
        if cfg.pretext == "simclr":
            both = model.heads["f"](model(torch.cat([first, view(cfg, x, run, i, "second")])))
            return nt_xent(both[: len(x)], both[len(x) :], cfg.temperature)
        if cfg.pretext == "classes":
            return functional.cross_entropy(model.heads["class"](model(first)).float(), self.d.y[rows])
        if cfg.transform == "rotation":
            seen = torch.cat([torch.rot90(first, k, (2, 3)) for k in range(TURNS)])
            which = torch.arange(TURNS, device=x.device).repeat_interleave(len(x))
            return functional.cross_entropy(model.heads["turn"](model(seen)).float(), which)
        drawn = torch.from_numpy(run.rng("order", i).integers(len(self.orders), size=len(x)))
        cut = shuffled_patches(cfg, first, self.orders[drawn], run, i)
        logits = model.heads["order"](model.of_patches(cut, "patch"))
        return functional.cross_entropy(logits.float(), drawn.to(x.device))

    def pirl(self, bank: MemoryBank, i: int, rows: Tensor, first: Tensor, x: Tensor) -> Tensor:
        cfg, run, model = self.cfg, self.run, self.model
        with torch.set_grad_enabled(cfg.mix < 1):
            picture = model.heads["f"](model(first))
        changed = picture
        if cfg.mix > 0:
            changed = changed_representation(cfg, run, model, view(cfg, x, run, i, "second"), i)
        others = bank.negatives(rows, max(1, cfg.negatives // cfg.fewer), run.rng("negatives", i))
        loss = pirl_loss(picture, changed, bank.rows[rows], others, cfg.mix, cfg.temperature)
        bank.update(rows, picture)
        return loss


@torch.no_grad()
def first_representations(model: Network, d: Images) -> Tensor:
    """f(v_I) [n, size] of all training pictures by first weights, with the statistics of each batch."""
    return torch.cat([model.heads["f"](model(unit(some))).float() for some in d.x.split(500)])


def pretrain(cfg: "Config", run: Run, d: Images) -> Network:
    """A network that has learnt the pretext on the set's training pictures; of "none" it has its first weights.

    Last its batch normalisations get the statistics of the training pictures as they are, unlike views and patches.
    """
    model = seeded(run, "init", lambda: Network(cfg, d))
    if cfg.pretext != "none":
        recipe = replace(cfg, batch=pictures_a_step(cfg))
        opt, schedule = sgd(model, recipe)
        pictures, pretext = shown(recipe, run, d), Pretext(cfg, run, model, d)

        def step(i: int) -> dict[str, Tensor]:
            return {"train/loss": descend(pretext.loss(i, *pictures(i)), opt, schedule)}

        parts = {"model": model, "opt": opt, "schedule": schedule}
        fitted(run, recipe, parts | ({"bank": pretext.bank} if pretext.bank else {}), step)
    recalibrate(model, [unit(some) for some in d.x[:2000].split(500)])
    return model
