"""What networks hear of a sound: short-time spectra, energies in mel bands, and their logarithm."""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from etudes.core.errors import Problem

QUIET = 1e-6  # added to energies before the logarithm; a full-scale sine has an energy of hundreds
_LINEAR = 200 / 3  # hertz a mel of Slaney's scale, below its knee
_KNEE = 1000.0  # hertz, where Slaney's scale turns logarithmic
_STEP = math.log(6.4) / 27  # of the logarithm, a mel above the knee


def wave(x: Tensor) -> Tensor:
    """Samples int16 as float32 in [-1, 1); float samples as they are."""
    return x if x.is_floating_point() else x.float() / 2**15


def stft(x: Tensor, size: int, hop: int, centred: bool = True) -> Tensor:
    """The complex spectra [..., size // 2 + 1, frames] of waves [..., samples], through a periodic Hann window.

    Frame i is centred on sample i * hop, with zeros beyond the ends; with centred=False it begins there, and the last
    frame ends within the wave. Raises Problem where there is no whole frame.
    """
    if size < 2 or hop < 1:
        raise Problem(f"a spectrum needs a size of 2 samples and a hop of 1 or more, not {size} and {hop}")
    if centred:
        x = torch.nn.functional.pad(x, (size // 2, size // 2))
    if x.shape[-1] < size:
        raise Problem(f"{x.shape[-1]} samples are shorter than a frame of {size}; take a shorter frame")
    frames = x.unfold(-1, size, hop) * torch.hann_window(size, dtype=x.dtype, device=x.device)
    return torch.fft.rfft(frames).transpose(-1, -2)


def mel(hertz: np.ndarray, scale: Literal["slaney", "htk"] = "slaney") -> np.ndarray:
    """Frequencies in mels: 2595 log10(1 + f / 700) (htk), or linear below 1,000 hertz and logarithmic above (slaney,
    as in his Auditory Toolbox)."""
    hertz = np.asarray(hertz, float)
    if scale == "htk":
        return 2595 * np.log10(1 + hertz / 700)
    return np.where(hertz < _KNEE, hertz / _LINEAR, _KNEE / _LINEAR + np.log(np.maximum(hertz, 1e-9) / _KNEE) / _STEP)


def hertz(mels: np.ndarray, scale: Literal["slaney", "htk"] = "slaney") -> np.ndarray:
    """Mels in hertz: the inverse of `mel`."""
    mels = np.asarray(mels, float)
    if scale == "htk":
        return 700 * (10 ** (mels / 2595) - 1)
    knee = _KNEE / _LINEAR
    return np.where(mels < knee, mels * _LINEAR, _KNEE * np.exp((mels - knee) * _STEP))


@lru_cache(maxsize=16)
def mel_filters(
    rate: int, size: int, bands: int, low: float = 0.0, high: float = 0.0, scale: Literal["slaney", "htk"] = "slaney"
) -> Tensor:
    """Triangles [bands, size // 2 + 1] over the bins of a spectrum, evenly spaced in mels from `low` to `high` hertz
    (0: half the rate), each of an area of one hertz (librosa's default).

    Raises Problem where a band is so narrow that no bin lies in it: fewer bands or a longer frame would do.
    """
    high = high or rate / 2
    if not 0 <= low < high <= rate / 2:
        raise Problem(f"mel bands lie between 0 and {rate / 2:g} hertz, not from {low:g} to {high:g}")
    edges = hertz(np.linspace(*mel(np.array([low, high]), scale), bands + 2), scale)
    bins = np.arange(size // 2 + 1) * rate / size
    up = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    down = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    weights = np.maximum(0, np.minimum(up, down)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    if (empty := int((weights.max(1) == 0).sum())) > 0:
        raise Problem(f"{empty} of {bands} mel bands hold no bin of a frame of {size} samples; take fewer bands")
    return torch.from_numpy(weights).float()


def mel_energies(x: Tensor, rate: int, size: int, hop: int, bands: int, centred: bool = True) -> Tensor:
    """Energies [..., bands, frames] of waves [..., samples] in mel bands: filters times squared spectra."""
    power = stft(x, size, hop, centred).abs().square()
    return mel_filters(rate, size, bands).to(x.device) @ power


def log_mel(x: Tensor, rate: int, size: int, hop: int, bands: int, centred: bool = True) -> Tensor:
    """log(energy + 1e-6), natural, of `mel_energies`: float32 [..., bands, frames]."""
    return (mel_energies(x, rate, size, hop, bands, centred) + QUIET).log()
