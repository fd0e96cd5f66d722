"""Pre-activation residual networks for small pictures.

Paper: Identity Mappings in Deep Residual Networks, He, Zhang, Ren, Sun 2016, arXiv:1603.05027 (fig. 4e, the full
pre-activation), with the 3x3 stem and the four stages (64, 128, 256, 512) that CIFAR code gives it.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from etudes.nn.norm import BatchNorm


class PreActBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), with a 1x1 convolution on the shortcut where the shape changes.

    That shortcut takes the activated input, as in the authors' code (KaimingHe/resnet-1k-layers).
    """

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.norm1 = BatchNorm(channels)
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.norm2 = BatchNorm(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        changes = stride != 1 or channels != out
        self.shortcut = nn.Conv2d(channels, out, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = functional.relu(self.norm1(x))
        straight = x if self.shortcut is None else self.shortcut(active)
        return straight + self.conv2(functional.relu(self.norm2(self.conv1(active))))


def preact_resnet(channels: int, classes: int, width: int, depths: Sequence[int]) -> nn.Sequential:
    """A network [n, channels, h, w] -> logits [n, classes].

    Stage s has depths[s] blocks of width * 2^s channels and, from the second on, halves the picture. PreAct ResNet-18
    is width 64 and depths (2, 2, 2, 2): 11.17 million parameters at 10 classes.
    """
    blocks: list[nn.Module] = []
    before = width
    for stage, depth in enumerate(depths):
        for i in range(depth):
            blocks.append(PreActBlock(before, width * 2**stage, stride=2 if stage and i == 0 else 1))
            before = width * 2**stage
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, 1, 1, bias=False),
        *blocks,
        BatchNorm(before),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(before, classes),
    )
