import math

import numpy as np
import pytest
import torch

from etudes.audio.features import hertz, log_mel, mel, mel_energies, mel_filters, stft, wave
from etudes.core.errors import Problem


def noise(n: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=n).astype(np.float32))


def test_spectra_are_those_of_a_loop() -> None:
    x, size, hop = noise(50), 16, 5
    found = stft(x, size, hop, centred=False)
    assert found.shape == (9, (50 - 16) // 5 + 1)
    for frame in range(found.shape[1]):
        for k in range(9):
            total = 0j
            for n in range(size):
                window = 0.5 - 0.5 * math.cos(2 * math.pi * n / size)
                total += (
                    x[frame * hop + n].item()
                    * window
                    * complex(math.cos(2 * math.pi * k * n / size), -math.sin(2 * math.pi * k * n / size))
                )
            assert found[k, frame].item() == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize(("size", "hop"), [(256, 80), (200, 80), (64, 64)])
def test_spectra_are_those_of_scipy(size: int, hop: int) -> None:
    from scipy.signal import ShortTimeFFT, get_window

    x = noise(1000)
    theirs = ShortTimeFFT(get_window("hann", size), hop, 1.0).stft(x.numpy(), p0=0, p1=(1000 + hop) // hop)
    # SciPy turns each frame so that phases are those at its middle; sizes are alike.
    ours = stft(x, size, hop).abs().numpy()
    frames = min(ours.shape[1], theirs.shape[1])
    assert frames >= 1000 // hop
    assert np.allclose(ours[:, :frames], np.abs(theirs[:, :frames]), atol=1e-4)


def test_spectra_are_those_of_torch() -> None:
    x = noise(999).reshape(3, 333)
    theirs = torch.stft(x, 128, 40, window=torch.hann_window(128), pad_mode="constant", return_complex=True)
    assert torch.allclose(stft(x, 128, 40), theirs, atol=1e-5)


def test_features_are_those_of_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    x = noise(4000).numpy()
    for rate, size, bands in ((8000, 256, 32), (16000, 400, 40), (22050, 2048, 128)):
        theirs = librosa.filters.mel(sr=rate, n_fft=size, n_mels=bands)
        assert np.allclose(mel_filters(rate, size, bands).numpy(), theirs, atol=1e-7)
        theirs = librosa.feature.melspectrogram(
            y=x, sr=rate, n_fft=size, hop_length=size // 4, n_mels=bands, pad_mode="constant"
        )
        ours = mel_energies(torch.from_numpy(x), rate, size, size // 4, bands)
        assert np.allclose(ours.numpy(), theirs, rtol=1e-3, atol=1e-6)
    points = np.array([0.0, 60, 999, 1000, 1001, 4000, 11025])
    assert np.allclose(mel(points), librosa.hz_to_mel(points))
    assert np.allclose(mel(points, "htk"), librosa.hz_to_mel(points, htk=True))
    htk = librosa.filters.mel(sr=16000, n_fft=512, n_mels=26, fmin=100, fmax=7000, htk=True)
    assert np.allclose(mel_filters(16000, 512, 26, 100, 7000, "htk").numpy(), htk, atol=1e-7)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_mels_turn_back_into_hertz(scale: str) -> None:
    points = np.linspace(0, 8000, 101)
    assert np.allclose(hertz(mel(points, scale), scale), points)
    assert (np.diff(mel(points, scale)) > 0).all()
    if scale == "htk":
        assert mel(np.array(1000.0), scale) == pytest.approx(1000, abs=0.1)


def test_a_band_has_an_area_of_one_and_a_tone_its_band() -> None:
    filters = mel_filters(16000, 1024, 40)
    area = filters.sum(1) * 16000 / 1024
    assert ((area[10:] - 1).abs() < 0.1).all()
    tone = torch.sin(2 * math.pi * 2000 * torch.arange(16000) / 16000)
    energies = mel_energies(tone, 16000, 1024, 256, 40)
    middle = energies[:, energies.shape[1] // 2]
    assert filters[middle.argmax(), 2000 * 1024 // 16000] == filters[:, 2000 * 1024 // 16000].max()
    silent = log_mel(torch.zeros(2, 800), 8000, 256, 80, 32)
    assert silent.shape == (2, 32, 11)
    assert torch.allclose(silent, torch.tensor(math.log(1e-6)))


def test_samples_of_16_bits() -> None:
    x = torch.tensor([-(2**15), 0, 2**14], dtype=torch.int16)
    assert wave(x).tolist() == [-1, 0, 0.5]
    assert wave(wave(x)).tolist() == [-1, 0, 0.5]


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(Problem, match="100 samples are shorter than a frame of 256"):
        stft(torch.zeros(100), 256, 80, centred=False)
    with pytest.raises(Problem, match="a size of 2 samples and a hop of 1 or more, not 256 and 0"):
        stft(torch.zeros(100), 256, 0)
    with pytest.raises(Problem, match="mel bands hold no bin of a frame of 64 samples; take fewer bands"):
        mel_filters(8000, 64, 40)
    with pytest.raises(Problem, match="lie between 0 and 4000 hertz, not from 100 to 5000"):
        mel_filters(8000, 256, 20, 100, 5000)
