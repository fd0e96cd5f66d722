"""ResNet-18 and -34: residual networks of basic blocks for pictures of photograph size.

Paper: Deep Residual Learning for Image Recognition, He, Zhang, Ren, Sun 2016, arXiv:1512.03385 (table 1, fig. 2).
Shortcuts that change the shape are 1x1 convolutions (option B). Layers stand in the order of `bottleneck.resnet50`.
"""

from torch import Tensor, nn
from torch.nn import functional

from etudes.nn.norm import BatchNorm

DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}  # blocks of each stage; all but the first halve


class BasicBlock(nn.Module):
    """relu(shortcut(x) + f(x)), f being two 3x3 convolutions, each normalised: [n, channels, h, w] to
    [n, out, ceil(h / stride), ceil(w / stride)]."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.norm1 = BatchNorm(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norm2 = BatchNorm(out)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), BatchNorm(out))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.shortcut(x) + self.norm2(self.conv2(y)))


def basic_resnet(size: str, channels: int = 3, classes: int = 1000) -> nn.Sequential:
    """A network [n, channels, h, w] -> logits [n, classes]; "resnet34" has 21,797,672 parameters for 3 channels and
    1,000 classes, "resnet18" 11,689,512."""
    layers: list[nn.Module] = [nn.Conv2d(channels, 64, 7, 2, 3, bias=False), BatchNorm(64), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    before = 64
    for stage, blocks in enumerate(DEPTHS[size]):
        for i in range(blocks):
            layers.append(BasicBlock(before, 64 * 2**stage, stride=2 if stage and i == 0 else 1))
            before = 64 * 2**stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))
