"""Colours as people see them: sRGB to CIE Lab and back."""

import torch
from torch import Tensor

# sRGB's primaries to CIE XYZ (IEC 61966-2-1), and its white, D65, for which L = 100 and a = b = 0.
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
_BEND = 6 / 29  # of the cube root, below which it is a line


def lab(x: Tensor) -> Tensor:
    """CIE Lab [n, 3, h, w] of sRGB pictures [n, 3, h, w] in [0, 1]: L in [0, 100], a and b in about [-110, 110]."""
    linear = torch.where(x > 0.04045, ((x.clamp_min(0) + 0.055) / 1.055) ** 2.4, x / 12.92)
    xyz = _mixed(linear, torch.tensor(_XYZ, dtype=torch.float64)) / _column(_WHITE, x)
    f = torch.where(xyz > _BEND**3, xyz.clamp_min(1e-12) ** (1 / 3), xyz / (3 * _BEND**2) + 4 / 29)
    return torch.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def rgb(x: Tensor) -> Tensor:
    """sRGB pictures [n, 3, h, w] in [0, 1] of CIE Lab [n, 3, h, w]; colours that sRGB lacks are cut off channel by
    channel."""
    lightness, a, b = x.unbind(1)
    middle = (lightness + 16) / 116
    f = torch.stack([middle + a / 500, middle, middle - b / 200], 1)
    xyz = torch.where(f > _BEND, f**3, 3 * _BEND**2 * (f - 4 / 29)) * _column(_WHITE, x)
    linear = _mixed(xyz, torch.linalg.inv(torch.tensor(_XYZ, dtype=torch.float64)))
    x = torch.where(linear > 0.0031308, 1.055 * linear.clamp_min(1e-12) ** (1 / 2.4) - 0.055, 12.92 * linear)
    return x.clamp(0, 1)


def _mixed(x: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("ij,njhw->nihw", matrix.to(x), x)


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values).to(like)[None, :, None, None]
