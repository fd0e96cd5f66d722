"""What is trained of a pretrained network: all of it, its head, its norms, or low-rank changes of its convolutions."""

from typing import TYPE_CHECKING

from torch import nn
from torch.optim import Adam

from etudes.nn.efficientnet import InvertedResidual
from etudes.nn.lora import adapt
from etudes.nn.norm import BatchNorm
from etudes.nn.resnet import PreActBlock
from etudes.studies.adapt.conv_lora.networks import Classifier

if TYPE_CHECKING:
    from etudes.studies.adapt.conv_lora import Config


def last_block(body: nn.Module) -> str:
    """The name of the body's last residual block."""
    return [name for name, part in body.named_modules() if isinstance(part, PreActBlock | InvertedResidual)][-1]


def choose_trained(cfg: "Config", model: Classifier) -> None:
    """Freeze, in place, what the method does not train; low-rank changes are put into the convolutions.

    The head is new and always trained. Norms whose weights are frozen keep their statistics too.
    """
    last = last_block(model.body)
    chosen = {"all": lambda name: True, "late": lambda name: name.startswith(last + ".")}
    chosen["early"] = lambda name: not chosen["late"](name)
    if cfg.method == "lora":
        adapt(model.body, cfg.order, cfg.rank, cfg.scaling * cfg.rank, chosen[cfg.layers])
    else:
        model.body.requires_grad_(cfg.method == "full")
    if trains_norms(cfg):
        for layer in model.modules():
            if isinstance(layer, BatchNorm):
                layer.requires_grad_(True)
    model.head.requires_grad_(True)
    # The whole network, since evaluation gives back the mode of the whole; there is nothing else that the mode changes.
    model.train(trains_norms(cfg))


def trains_norms(cfg: "Config") -> bool:
    """Whether norms are trained, and their statistics follow the pictures."""
    return cfg.method in ("full", "norms") or (cfg.method == "lora" and cfg.norms)


def optimiser(cfg: "Config", model: Classifier) -> Adam:
    """Adam over what is trained: the whole body at one rate, or its norms and its A and B at theirs; the head too."""
    norms = {id(p) for layer in model.modules() if isinstance(layer, BatchNorm) for p in layer.parameters()}
    body = [p for p in model.body.parameters() if p.requires_grad]
    if cfg.method == "full":
        groups = [(cfg.full_lr, body)]
    else:
        groups = [(cfg.alone_lr if cfg.method == "norms" else cfg.norm_lr, [p for p in body if id(p) in norms])]
        rate = cfg.double_lr if cfg.order == "k-k" else cfg.lora_lr
        groups += [(rate if cfg.norms else cfg.frozen_lr, [p for p in body if id(p) not in norms])]
    groups += [(cfg.alone_lr if cfg.method == "head" else cfg.head_lr, [*model.head.parameters()])]
    return Adam([{"params": group, "lr": rate} for rate, group in groups if group])
