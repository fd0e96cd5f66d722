import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from etudes.core.errors import Problem
from etudes.exhibits.sound import save_sound


def samples(path: Path) -> tuple[list[list[int]], int]:
    """What the file holds, read byte by byte: the samples of each channel, and how many of them a second has."""
    with wave.open(str(path)) as file:
        assert file.getsampwidth() == 2
        n, channels, content = file.getnframes(), file.getnchannels(), file.readframes(file.getnframes())
        numbers = [int.from_bytes(content[2 * i : 2 * i + 2], "little", signed=True) for i in range(n * channels)]
        return [numbers[c::channels] for c in range(channels)], file.getframerate()


def test_mono_and_stereo_are_written_as_rounded_samples_of_16_bits(tmp_path: Path) -> None:
    x = [0.0, 1.0, -1.0, 0.5, -0.25, 0.1]
    save_sound(tmp_path / "new" / "a.wav", torch.tensor(x), 16000)
    assert samples(tmp_path / "new" / "a.wav") == ([[0, 32767, -32767, 16384, -8192, 3277]], 16000)
    save_sound(tmp_path / "b.wav", np.array([x[:3], x[3:]], np.float64), 8000)
    assert samples(tmp_path / "b.wav") == ([[0, 32767, -32767], [16384, -8192, 3277]], 8000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.wav", "new"]


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    x = torch.sin(torch.arange(1000) / 7).requires_grad_()
    for name in ("a.wav", "b.wav"):
        save_sound(tmp_path / name, x, 22050)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert (tmp_path / "a.wav").stat().st_size == 44 + 2 * 1000


def test_another_reader_hears_the_same(tmp_path: Path) -> None:
    read = pytest.importorskip("scipy.io.wavfile").read
    x = np.random.default_rng(0).uniform(-1, 1, (2, 500)).astype(np.float32)
    save_sound(tmp_path / "a.wav", x, 44100)
    rate, found = read(tmp_path / "a.wav")
    assert rate == 44100
    assert pytest.approx(x, abs=0.5 / 32767 + 1e-6) == found.T / 32767


@pytest.mark.parametrize(
    ("x", "rate", "sentence"),
    [
        (torch.zeros(2, 3, 4), 8000, r"needs float samples \[n\] or \[1 or 2, n\], not float32 \[2, 3, 4\]"),
        (torch.zeros(3, 4), 8000, "needs float samples"),
        (torch.zeros(0), 8000, "needs float samples"),
        (torch.zeros(4, dtype=torch.int16), 8000, "not int16"),
        (torch.tensor([0.0, 1.5]), 8000, r"in \[-1, 1\], not 0 to 1.5; divide by the peak first"),
        (torch.tensor([0.0, torch.nan]), 8000, r"in \[-1, 1\], not nan"),
        (torch.zeros(4), 0, "needs a rate of 1 sample a second or more, not 0"),
    ],
)
def test_what_makes_no_sound_is_told(tmp_path: Path, x: torch.Tensor, rate: int, sentence: str) -> None:
    with pytest.raises(Problem, match=sentence):
        save_sound(tmp_path / "a.wav", x, rate)
    assert list(tmp_path.iterdir()) == []
