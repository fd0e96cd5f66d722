"""The network of faces: in face-api's layout, layer by layer, on weights that are drawn here."""

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d

from etudes.core.errors import Problem
from etudes.tools import faces


def write(folder, seed=0):
    """A manifest and its weights, small numbers; filters of one stage as four bytes each, the rest as one byte."""
    chance, entries, data, kept = np.random.default_rng(seed), [], b"", {}

    def add(name, shape, low, high):
        nonlocal data
        entry = {"name": name, "shape": shape, "dtype": "float32"}
        if name.startswith("conv64_1/") and name.endswith("filters"):
            values = chance.uniform(low, high, shape).astype("<f4")
        else:
            values, scale = chance.integers(256, size=shape, dtype=np.uint8), (high - low) / 255
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": low}
        data += values.tobytes()
        kept[name] = values if values.dtype != np.uint8 else values * scale + low
        entries.append(entry)

    before = 3
    for layer in faces._layers():
        after = int(layer.split("_")[0].removeprefix("conv"))
        size = 7 if layer == "conv32_down" else 3
        add(f"{layer}/conv/filters", [size, size, before, after], -0.1, 0.1)
        for part, low, high in (("conv/bias", -0.1, 0.1), ("scale/weights", 0.5, 1), ("scale/biases", -0.1, 0.1)):
            add(f"{layer}/{part}", [after], low, high)
        before = after
    add("fc", [256, 128], -0.1, 0.1)
    (folder / "weights").write_bytes(data)
    (folder / "manifest").write_text(json.dumps([{"weights": entries, "paths": ["weights"]}]))
    return folder / "weights", folder / "manifest", kept


def test_weights_are_read_in_their_order_and_layout(tmp_path):
    weights, manifest, kept = write(tmp_path)
    found = faces.read_weights(weights, manifest)
    assert found.keys() == kept.keys()
    for name, values in kept.items():
        expected = values.transpose(3, 2, 0, 1) if values.ndim == 4 else values
        assert np.allclose(found[name].numpy(), expected, atol=1e-6), name


def test_the_first_layers_are_those_of_the_published_network(tmp_path):
    weights, manifest, kept = write(tmp_path)
    net = faces.FaceNet(faces.read_weights(weights, manifest))
    seen = {}

    def convolve(x, layer, stride):
        seen[layer] = x
        return type(net)._convolve(net, x, layer, stride)

    net._convolve = convolve
    x = torch.rand(2, 1, faces.SIDE, faces.SIDE)
    assert net(x).shape == (2, faces.FEATURES)
    rgb = (255 * x.expand(-1, 3, -1, -1) - torch.tensor([122.782, 117.001, 104.298])[:, None, None]) / 256

    parts = ("conv/filters", "conv/bias", "scale/weights", "scale/biases")

    def layer(x, name, stride):
        filters, bias, scale, shift = (torch.from_numpy(np.asarray(kept[f"{name}/{p}"])).float() for p in parts)
        out = conv2d(x, filters.permute(3, 2, 0, 1), bias, stride, padding=0 if stride > 1 else 1)
        return out * scale[:, None, None] + shift[:, None, None]

    out = max_pool2d(layer(rgb, "conv32_down", 2).relu(), 3, 2)
    assert torch.allclose(seen["conv32_1_conv1"], out, atol=1e-4)
    for block in ("conv32_1", "conv32_2", "conv32_3"):
        out = (layer(layer(out, f"{block}/conv1", 1).relu(), f"{block}/conv2", 1) + out).relu()
    assert torch.allclose(seen["conv64_down_conv1"], out, atol=1e-3)
    inside = layer(layer(out, "conv64_down/conv1", 2).relu(), "conv64_down/conv2", 1)
    pooled = avg_pool2d(out, 2, 2)
    whole = torch.zeros(2, 64, *pooled.shape[2:])
    whole[:, :32] += pooled  # the channels that there were, and zeros
    whole[:, :, : inside.shape[2], : inside.shape[3]] += inside  # which lacks a row and a column
    assert torch.allclose(seen["conv64_1_conv1"], whole.relu(), atol=1e-3)


def test_what_lacks_a_part_is_told(tmp_path):
    weights, manifest, _ = write(tmp_path)
    tensors = faces.read_weights(weights, manifest)
    del tensors["conv128_1/conv2/scale/biases"]
    with pytest.raises(Problem, match="conv128_1/conv2/scale/biases"):
        faces.FaceNet(tensors)
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(Problem, match="shorter than its manifest"):
        faces.read_weights(weights, manifest)
