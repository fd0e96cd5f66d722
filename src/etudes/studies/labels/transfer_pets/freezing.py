"""What of a pretrained network is trained: its last stages, its norms' parameters, its norms' statistics."""

from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from etudes.data.images import unit
from etudes.nn.norm import recalibrate
from etudes.optim.schedules import SCHEDULES
from etudes.studies.labels.transfer_pets.networks import Staged

if TYPE_CHECKING:
    from etudes.studies.labels.transfer_pets import Config

Norms = Literal["frozen", "parameters", "statistics", "both", "adapted"]
MOMENTUM = 0.9  # of Nesterov's accelerated gradient
ADAPT_BATCH = 64  # pictures whose statistics are averaged


def freeze(model: Staged, depth: int, norms: Norms, everywhere: bool) -> None:
    """Choose, in place, what a step moves: all weights of the last `depth` stages, and always the head.

    Of batch normalisation, in those stages or `everywhere`: "parameters", scales and shifts follow the gradient;
    "statistics", running means and variances follow the batch, and the batch is normalised by its own; "both"; or
    "frozen", neither. Norms elsewhere have neither. "adapted" is frozen here: what comes before the steps is `adapt`.
    """
    stages = [*model.stages]
    top = stages[max(0, len(stages) - depth) :]
    model.requires_grad_(False)
    for part in (*top, model.head):
        part.requires_grad_(True)
    inside = {id(layer) for part in (stages if everywhere else top) for layer in part.modules()}
    for layer in model.norms().values():
        layer.requires_grad_(id(layer) in inside and norms in ("parameters", "both"))
    follows = norms in ("statistics", "both")
    model.following = frozenset(name for name, layer in model.norms().items() if follows and id(layer) in inside)
    model.train()


def lowest_moved(model: Staged, depth: int, norms: Norms, everywhere: bool) -> int:
    """How many stages, from the picture on, no step can change: what they give can be kept."""
    moves = everywhere and norms not in ("frozen", "adapted")
    return 0 if moves else max(0, len(model.stages) - depth)


def adapt(stages: nn.Sequential, x: Tensor) -> None:
    """Replace, in place, the statistics of all norms by those of pictures x: uint8 or in [0, 1] (Li et al. 2016,
    arXiv:1603.04779, algorithm 1, AdaBN), as averages over batches; the weights stay."""
    recalibrate(stages, (unit(part) for part in x.split(ADAPT_BATCH)))
    stages.eval()


def optimiser(cfg: "Config", model: Staged) -> tuple[Optimizer, LambdaLR]:
    """Adam, or SGD with Nesterov's momentum, with a learning rate and a schedule for each stage that is trained.

    Stage k from the top, counted from 0, has the rate body_lr x decay^k. Where the recipe is gradual it rests for the
    first k / (2 depth) of the steps (Howard & Ruder 2018, arXiv:1801.06146, sec. 3.3, unfreeze by epochs). Norms of
    stages whose weights are frozen have norm_lr.
    """
    groups, begins = [], []
    for k, stage in enumerate(reversed([*model.stages])):
        parameters = [p for p in stage.parameters() if p.requires_grad]
        if parameters:
            groups.append({"params": parameters, "lr": cfg.body_lr * cfg.decay**k if k < cfg.depth else cfg.norm_lr})
            begins.append(k / (2 * cfg.depth) if cfg.gradual else 0.0)
    alone = {"adam": cfg.alone_lr, "nag": cfg.nag_lr}[cfg.optimiser]
    groups.append({"params": [*model.head.parameters()], "lr": cfg.head_lr if groups else alone})
    begins.append(0.0)
    opt: Optimizer
    if cfg.optimiser == "nag":
        opt = SGD(groups, lr=cfg.nag_lr, momentum=MOMENTUM, nesterov=True)
    else:
        opt = Adam(groups, lr=cfg.head_lr)
    factor = SCHEDULES[cfg.schedule]

    def factor_from(begin: float):
        return lambda step: factor(step, cfg.steps) if step >= begin * cfg.steps else 0.0

    return opt, LambdaLR(opt, [factor_from(begin) for begin in begins])
