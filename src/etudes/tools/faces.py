"""What a network that tells people apart sees in pictures of faces: features to compare sets of faces by."""

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, max_pool2d, pad, relu

from etudes.core.errors import Problem
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import Carrier, fetch

_PACKAGE, _VERSION, _MODEL = "@vladmandic/face-api", "1.7.15", "package/model/face_recognition_model"
WEIGHTS = Carrier(
    registry="npm",
    package=_PACKAGE,
    version=_VERSION,
    path=f"{_MODEL}.bin",
    sha256="b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589",
)
MANIFEST = Carrier(
    registry="npm",
    package=_PACKAGE,
    version=_VERSION,
    path=f"{_MODEL}-weights_manifest.json",
    sha256="cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b",
)
FEATURES = 128
SIDE = 150  # pixels that it looks at
MEAN = (122.782, 117.001, 104.298)  # of red, green and blue, in 0 .. 255
BLOCKS = (  # in order; where a stage begins the picture is halved
    "conv32_1", "conv32_2", "conv32_3", "conv64_down", "conv64_1", "conv64_2", "conv64_3", "conv128_down", "conv128_1",
    "conv128_2", "conv256_down", "conv256_1", "conv256_2", "conv256_down_out",
)  # fmt: skip


class FaceNet(nn.Module):
    """The residual network of 29 layers by which dlib and face-api.js tell people apart (MIT; King 2017,
    http://blog.dlib.net/2017/02/high-quality-face-recognition-with-deep.html).

    Pictures [n, 1 or 3, h, w] in [0, 1], squares, to features [n, 128]: of the same person they are less than about 0.6
    apart. `tensors` are face-api's by their names, filters [out, in, k, k].
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for layer in _layers():
            try:
                filters, bias, scale, shift = (
                    tensors[f"{layer}/{name}"]
                    for name in ("conv/filters", "conv/bias", "scale/weights", "scale/biases")
                )
            except KeyError as error:
                raise Problem(f"the network of faces lacks {error}; fetch it again") from None
            name = layer.replace("/", "_")
            self.register_buffer(f"{name}_weight", filters * scale[:, None, None, None])  # the scale is part of it
            self.register_buffer(f"{name}_bias", bias * scale + shift)
        self.register_buffer("fc", tensors["fc"])
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        x = interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False).expand(-1, 3, -1, -1)
        x = relu(self._convolve((255 * x - self.mean) / 256, "conv32_down", 2))
        x = max_pool2d(x, 3, 2)
        for block in BLOCKS:
            halves = "down" in block
            inside = relu(self._convolve(x, f"{block}_conv1", 1 + halves))
            inside = self._convolve(inside, f"{block}_conv2", 1)
            around = avg_pool2d(x, 2, 2) if halves else x
            missing = around.shape[2] - inside.shape[2], around.shape[1] - inside.shape[1]
            inside = pad(inside, (0, missing[0], 0, missing[0]))
            x = relu(inside + pad(around, (0, 0, 0, 0, 0, max(0, -missing[1]))))
        return x.mean((2, 3)) @ self.fc

    def _convolve(self, x: Tensor, layer: str, stride: int) -> Tensor:
        weight, bias = getattr(self, f"{layer}_weight"), getattr(self, f"{layer}_bias")
        return conv2d(x, weight, bias, stride, padding=0 if stride > 1 else weight.shape[-1] // 2)


def face_network() -> FaceNet:
    """The network with its weights, fetched once. Raises Problem where they cannot be had."""
    weights, manifest = (fetch(carrier, cache_folder()) for carrier in (WEIGHTS, MANIFEST))
    return FaceNet(read_weights(weights, manifest)).eval()


def read_weights(weights: Path, manifest: Path) -> dict[str, Tensor]:
    """face-api's tensors by name, float32, in the manifest's order: numbers of four bytes, or of one byte each, whose
    value is byte * scale + min. Filters come as [k, k, in, out] and go as [out, in, k, k]."""
    data, found = weights.read_bytes(), {}
    for entry in json.loads(manifest.read_text(encoding="utf-8"))[0]["weights"]:
        scale = entry.get("quantization")
        kind = np.dtype(scale["dtype"] if scale else entry["dtype"])
        size = math.prod(entry["shape"]) * kind.itemsize
        if size > len(data):
            raise Problem(f"{weights} is shorter than its manifest says; fetch it again")
        values, data = np.frombuffer(data[:size], kind).reshape(entry["shape"]), data[size:]
        tensor = torch.from_numpy(values * scale["scale"] + scale["min"] if scale else values.copy()).float()
        found[entry["name"]] = tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor
    return found


def _layers() -> list[str]:
    return ["conv32_down", *(f"{block}/conv{i}" for block in BLOCKS for i in (1, 2))]
