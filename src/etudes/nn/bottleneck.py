"""ResNet-50: a residual network of bottleneck blocks for pictures of photograph size.

Paper: Deep Residual Learning for Image Recognition, He, Zhang, Ren, Sun 2016, arXiv:1512.03385 (table 1, fig. 5). The
3x3 convolution of a block has the stride, as in most code since; in the paper the first 1x1 has it.
"""

from torch import Tensor, nn
from torch.nn import functional

from etudes.nn.norm import BatchNorm

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # width and blocks; all but the first begin with stride 2


class Bottleneck(nn.Module):
    """relu(shortcut(x) + f(x)), f being 1x1, 3x3 and 1x1 convolutions, each normalised; the output has 4 `width`
    channels."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.norm1 = BatchNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.norm2 = BatchNorm(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.norm3 = BatchNorm(out)
        changes = stride != 1 or channels != out
        self.shortcut = nn.Sequential()
        if changes:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), BatchNorm(out))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        y = functional.relu(self.norm2(self.conv2(y)))
        return functional.relu(self.shortcut(x) + self.norm3(self.conv3(y)))


def resnet50(channels: int, classes: int) -> nn.Sequential:
    """A network [n, channels, h, w] -> logits [n, classes]; 25,557,032 parameters for 3 channels and 1,000 classes."""
    layers: list[nn.Module] = [nn.Conv2d(channels, 64, 7, 2, 3, bias=False), BatchNorm(64), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    before = 64
    for stage, (width, blocks) in enumerate(STAGES):
        for i in range(blocks):
            layers.append(Bottleneck(before, width, stride=2 if stage and i == 0 else 1))
            before = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))
