"""Sounds, as WAV files that every browser plays."""

import wave
from pathlib import Path

import numpy as np
import torch

from etudes.core.errors import Problem
from etudes.core.files import appearing

PEAK = 2**15 - 1  # the largest sample of 16 bits


def save_sound(path: Path, samples: torch.Tensor | np.ndarray, rate: int) -> None:
    """Write samples [n] (mono) or [channels, n], float in [-1, 1], as a WAV of 16 bits with `rate` samples a second.

    The same bytes for the same samples. Raises Problem on other shapes and types, on values outside [-1, 1] and on a
    rate below 1.
    """
    x = samples.detach().cpu().numpy() if isinstance(samples, torch.Tensor) else np.asarray(samples)
    channels = 1 if x.ndim == 1 else len(x) if x.ndim == 2 else 0
    if channels not in (1, 2) or not x.size or not np.issubdtype(x.dtype, np.floating):
        raise Problem(f"a sound needs float samples [n] or [1 or 2, n], not {x.dtype} {[*x.shape]}")
    if not (np.abs(x) <= 1).all():  # nan too
        raise Problem(f"a sound needs samples in [-1, 1], not {x.min():.3g} to {x.max():.3g}; divide by the peak first")
    if rate < 1:
        raise Problem(f"a sound needs a rate of 1 sample a second or more, not {rate}")
    with appearing(path) as draft, wave.open(str(draft), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(x.astype(np.float64) * PEAK).astype("<i2").T.tobytes())
