"""Which weights matter for a class, and the new procedure: draw these anew."""

from typing import Literal

import numpy
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from etudes.core.errors import Problem

Weights = Literal["all", "product", "fisher", "gradient", "random"]
TOGETHER = 25  # pictures whose gradients are computed side by side


def saliency(model: nn.Module, x: Tensor, label: int, kind: Weights, rng: numpy.random.Generator) -> dict[str, Tensor]:
    """How much each weight matters for a class, from pictures x: [n, c, h, w] of it: {parameter: in its shape}.

    product: the mean over pictures of |w dz / dw|, z the class's logit; of the loss the gradient vanishes where the
    network is sure. fisher: the mean of (d log p / dw)^2, p the class's probability: the diagonal of the empirical
    Fisher information. gradient: |d mean log p / dw|, as in SalUn (arXiv:2310.12508, sec. 4). random: uniform in
    [0, 1). Raises Problem on pictures that are none.
    """
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    if kind in ("all", "random"):
        draws = {name: torch.from_numpy(rng.random(p.shape)).to(p) for name, p in parameters.items()}
        return draws if kind == "random" else {name: torch.ones_like(p) for name, p in parameters.items()}
    if not len(x):
        raise Problem("weights that matter for a class are found from its pictures, and there are none")

    def number(these: dict[str, Tensor], picture: Tensor) -> Tensor:
        logits = functional_call(model, these, (picture[None],))[0].float()
        return logits[label] if kind == "product" else logits.log_softmax(0)[label]

    was_training = model.training
    model.eval()
    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for some in x.split(TOGETHER):
        for name, slopes in vmap(grad(number), (None, 0))(parameters, some).items():
            each = {"product": (parameters[name] * slopes).abs, "fisher": slopes.square}.get(kind, lambda s=slopes: s)
            sums[name] += each().sum(0)
    model.train(was_training)
    return {name: (total / len(x)).abs() for name, total in sums.items()}


def most_salient(scores: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """The highest `share` of all scores together, rounded, of equal ones the first: {parameter: 1 or 0 a weight}."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    chosen = torch.zeros_like(flat)
    chosen[flat.sort(descending=True, stable=True).indices[: round(share * len(flat))]] = 1
    parts = chosen.split([score.numel() for score in scores.values()])
    return {name: part.view_as(score) for (name, score), part in zip(scores.items(), parts, strict=True)}


@torch.no_grad()
def redraw(model: nn.Module, fresh: nn.Module, mask: dict[str, Tensor]) -> None:
    """Draw the weights of the mask anew: w <- m w' + (1 - m) w, with w' those of a network that has learnt nothing.

    What mattered for the class is then gone, and not only hidden; what is left of the others is where training goes on
    from, without any picture of the class. With a mask of ones it is training from scratch, with zeros fine-tuning.

    >>> old, new = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    >>> kept, drawn = old.weight[0, 0].item(), new.weight[0, 1].item()
    >>> redraw(old, new, {"weight": torch.tensor([[0.0, 1.0]])})
    >>> old.weight[0].tolist() == [kept, drawn]
    True
    """
    drawn = dict(fresh.named_parameters())
    for name, weight in model.named_parameters():
        weight.copy_(torch.where(mask[name] > 0, drawn[name], weight))


def free_answer(model: nn.Sequential, mask: dict[str, Tensor], label: int) -> dict[str, Tensor]:
    """The mask with the weights and the bias of a class's own logit in it: no network learns a class without them."""
    last = len(model) - 1
    opened = {name: part.clone() for name, part in mask.items()}
    for name in (f"{last}.weight", f"{last}.bias"):
        opened[name][label] = 1
    return opened


def freeze(model: nn.Module, mask: dict[str, Tensor]) -> None:
    """From now on gradients reach the weights of the mask alone; Adam without weight decay then moves no other."""
    for name, weight in model.named_parameters():
        weight.register_hook(lambda slope, part=mask[name]: slope * part)
