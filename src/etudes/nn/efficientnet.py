"""EfficientNet-Lite: mobile networks of inverted residual blocks, wider and deeper by one rule.

Papers: EfficientNet, Tan and Le 2019, arXiv:1905.11946; the blocks are MobileNetV2's, Sandler et al. 2018,
arXiv:1801.04381. The Lite form (TensorFlow's repository tpu, efficientnet/lite) has no squeeze-and-excitation, ReLU6 in
place of swish, and neither its stem and head nor the depth of its first and last stage grow. Local departures: neither
dropout nor drop-connect.
"""

import math

from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import unknown
from etudes.nn.norm import BatchNorm

SIZES = {"lite0": (1.0, 1.0, 224), "lite1": (1.0, 1.1, 240), "lite2": (1.1, 1.2, 260)}  # width, depth, pixels of a side
# Of each stage: blocks, pixels of the filter, stride, widening inside, channels out.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip
STEM, HEAD = 32, 1280


def scale_channels(channels: int, width: float) -> int:
    """So many times the channels, rounded to a multiple of 8, and never down by more than a tenth."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


def pad_same(x: Tensor, size: int, stride: int) -> Tensor:
    """The picture with zeros around it as TensorFlow's "SAME" has it: so that ceil(side / stride) pixels come out, and
    where that is uneven one more below and to the right."""
    pixels = []
    for side in x.shape[:-3:-1]:
        total = max(0, (math.ceil(side / stride) - 1) * stride + size - side)
        pixels += [total // 2, total - total // 2]
    return functional.pad(x, pixels) if any(pixels) else x


class InvertedResidual(nn.Module):
    """1 x 1 to `widening` times the channels, k x k on each of them apart, 1 x 1 to the channels out; x is added where
    the shape stays. [n, channels, h, w] to [n, out, ceil(h / stride), ceil(w / stride)]."""

    def __init__(self, channels: int, out: int, size: int, stride: int, widening: int) -> None:
        super().__init__()
        inside = channels * widening
        self.size, self.stride, self.adds = size, stride, stride == 1 and channels == out
        self.expand = nn.Conv2d(channels, inside, 1, bias=False) if widening > 1 else None
        self.expand_norm = BatchNorm(inside, eps=1e-3, momentum=0.01) if widening > 1 else None
        self.depthwise = nn.Conv2d(inside, inside, size, stride, groups=inside, bias=False)
        self.depthwise_norm = BatchNorm(inside, eps=1e-3, momentum=0.01)
        self.project = nn.Conv2d(inside, out, 1, bias=False)
        self.project_norm = BatchNorm(out, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        inside = x
        if self.expand is not None:
            inside = functional.relu6(self.expand_norm(self.expand(x)))
        inside = self.depthwise(pad_same(inside, self.size, self.stride))
        inside = functional.relu6(self.depthwise_norm(inside))
        inside = self.project_norm(self.project(inside))
        return x + inside if self.adds else inside


class EfficientNetLite(nn.Module):
    """Pictures [n, 3, h, w] in [0, 1] to logits [n, classes]. Raises Problem on a size that is not lite0, 1 or 2."""

    def __init__(self, size: str = "lite0", classes: int = 1000) -> None:
        super().__init__()
        if size not in SIZES:
            raise unknown("size of EfficientNet-Lite", size, SIZES)
        width, depth, _ = SIZES[size]
        self.stem, self.stem_norm = nn.Conv2d(3, STEM, 3, 2, bias=False), BatchNorm(STEM, eps=1e-3, momentum=0.01)
        blocks, before = [], STEM
        for stage, (count, pixels, stride, widening, channels) in enumerate(STAGES):
            out = scale_channels(channels, width)
            ends = stage in (0, len(STAGES) - 1)
            for i in range(count if ends else math.ceil(count * depth)):
                blocks.append(InvertedResidual(before, out, pixels, stride if i == 0 else 1, widening))
                before = out
        self.blocks = nn.Sequential(*blocks)
        self.head, self.head_norm = nn.Conv2d(before, HEAD, 1, bias=False), BatchNorm(HEAD, eps=1e-3, momentum=0.01)
        self.classify = nn.Linear(HEAD, classes)

    def features(self, x: Tensor) -> Tensor:
        """Of pictures [n, 3, h, w] in [0, 1] what the last layer sees [n, 1280]."""
        x = self.stem(pad_same((255 * x - 127) / 128, 3, 2))
        x = self.blocks(functional.relu6(self.stem_norm(x)))
        return functional.relu6(self.head_norm(self.head(x))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))
