"""The networks, the pictures, and the teacher of a seed: what all students share."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from etudes.core import Problem, Record, Run
from etudes.data.augment import shift
from etudes.data.batches import Batches
from etudes.data.images import Images, unit
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.measure.error import error_rate, evaluation_mode
from etudes.measure.size import count_parameters
from etudes.nn.norm import Standardise
from etudes.optim.schedules import cosine
from etudes.train import descend, fit, opened, seeded

if TYPE_CHECKING:
    from etudes.studies.labels.distillation import Config

SHARED = ("dataset", "examples", "side", "held_out", "batch", "regularised", "pixels_dropped", "units_dropped",
          "jitter", "teacher_width", "teacher_steps", "teacher_lr", "log_every")  # fmt: skip
LONGEST = 15**0.5  # of the weights that come into a unit (Hinton et al. 2012, arXiv:1207.0580, appendix A.1)


@dataclass(frozen=True)
class Pictures:
    """A set without some of its training pictures, which are held out for validation (`.x`, `.y`)."""

    d: Images
    x: Tensor
    y: Tensor


def pictures(cfg: "Config", run: Run) -> Pictures:
    """The pictures of a run on its device. Problem where more are held out than there are."""
    d, _ = opened(cfg, run)
    if cfg.held_out >= len(d.y):
        raise Problem(f"{cfg.held_out} pictures are to be held out of {len(d.y)}; lower --held-out")
    order = torch.from_numpy(run.rng("held out").permutation(len(d.y))).to(run.device)
    held, rest = order[: cfg.held_out], order[cfg.held_out :]
    return Pictures(d.take(rest), d.x[held], d.y[held])


def network(d: Images, width: int, dropped: tuple[float, float] = (0.0, 0.0)) -> nn.Sequential:
    """Pictures [n, c, h, w] in [0, 1] to logits [n, classes] by two hidden layers of rectified linear units.

    `dropped` are the shares of pixels and of hidden units that dropout sets to zero in training.
    """
    pixels, units = dropped
    layers: list[nn.Module] = [Standardise(d.mean, d.std), nn.Flatten()]
    for inputs, share in ((d.x[0].numel(), pixels), (width, units)):
        layers += [nn.Dropout(share)] * (share > 0) + [nn.Linear(inputs, width), nn.ReLU()]
    return nn.Sequential(*layers, *[nn.Dropout(units)] * (units > 0), nn.Linear(width, d.classes))


def constrain(model: nn.Module) -> None:
    """Scale down, in place, the weights that come into a hidden unit where they are longer than LONGEST."""
    with torch.no_grad():
        for layer in [layer for layer in model.modules() if isinstance(layer, nn.Linear)][:-1]:
            layer.weight.copy_(torch.renorm(layer.weight, 2, 0, LONGEST))


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    """The logits [n, classes] in evaluation mode, without gradients: no unit is dropped, no statistic moves."""
    with evaluation_mode(model):
        return torch.cat([model(unit(some)).float() for some in x.split(1000)])


def train_teacher(cfg: "Config", run: Run, p: Pictures) -> nn.Sequential:
    """A wide network that has learnt the hard labels; where it is regularised, with dropout, bounded weights and
    pictures moved by up to `jitter` pixels (sec. 3)."""
    d = p.d
    dropped = (cfg.pixels_dropped, cfg.units_dropped) if cfg.regularised else (0.0, 0.0)
    model = seeded(run, "init teacher", lambda: network(d, cfg.teacher_width, dropped))
    opt = torch.optim.Adam(model.parameters(), cfg.teacher_lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(opt, lambda step: cosine(step, cfg.teacher_steps))
    batches = Batches(len(d.y), cfg.batch, run.seed("order teacher"))
    labels = one_hot(d.y, d.classes)

    def step(i: int) -> dict[str, Tensor]:
        rows = batches.at(i).to(run.device)
        x = unit(d.x[rows])
        if cfg.regularised:
            x = shift(x, run.rng("jitter", i), pixels=cfg.jitter, mode="zeros")
        loss = descend(cross_entropy(model(x), labels[rows]), opt, schedule)
        if cfg.regularised:
            constrain(model)
        return {"train/loss-teacher": loss}

    parts = {"model": model, "opt": opt, "schedule": schedule}
    fit(run, parts, step, cfg.teacher_steps, log_every=cfg.log_every)
    return model


def teacher(cfg: "Config", run: Run, p: Pictures) -> tuple[Record, Tensor]:
    """The teacher of a seed, trained once for all variants that ask for it: its record, and its logits
    [n, classes] of the training pictures."""

    def make(own: Run) -> None:
        model = train_teacher(cfg, own, p)
        logits = outputs(model, p.d.x)
        sure = logits.softmax(1).amax(1).mean()
        own.result(
            **{
                "test/error-teacher": error_rate(model, p.d.test_x, p.d.test_y),
                "validation/error-teacher": error_rate(model, p.x, p.y),
                "train/error-teacher": (logits.argmax(1) != p.d.y).double().mean(),
                "train/confidence-teacher": sure,
                "train/parameters-teacher": count_parameters(model),
            }
        )
        save_file({"logits": logits.cpu().contiguous()}, own.path("logits.safetensors"))

    record = run.once("teacher", {name: getattr(cfg, name) for name in SHARED}, make)
    return record, load_file(record.folder / "logits.safetensors", device=str(run.device))["logits"]
