"""Sounds made by adding sines and noise: notes of instruments, words of made-up voices, and noises.

Everything follows from a generator; where no recordings can be had, words and noises stand in for them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from etudes.core.errors import Problem

RATE = 8000  # samples a second
FAMILIES = ("string", "reed", "flute", "bell", "brass")
ONSETS = ("struck", "soft", "swelling")  # by how long a note takes to its full loudness
PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
RISE = ((0.003, 0.01), (0.06, 0.12), (0.3, 0.5))  # seconds of each onset, from and to
LOWEST, OCTAVES = 48, 3  # the C below middle C, as MIDI counts, and how many octaves from there
PARTIALS = 14  # sines of a note at most, none above half the rate
WORDS, VOICES, TAKES = 10, 6, 12  # of the drawn words, as many digits and speakers as in the spoken ones
NOISES, FOLDS, PER_FOLD = 10, 5, 4  # of the drawn noises


@dataclass(frozen=True, eq=False)
class Notes:
    """Notes float32 [n, samples] in [-1, 1], with the pitch class, family and onset int64 [n] of each."""

    x: Tensor
    pitch: Tensor
    family: Tensor
    onset: Tensor


def notes(n: int, rng: np.random.Generator, seconds: float = 1.0) -> Notes:
    """n notes of any pitch class in three octaves, of five families and with three onsets, all independent.

    A family is a law of the sizes of its partials: a string's fall as 1 / k and die the sooner the higher they are, a
    reed has odd ones alone, a flute hardly more than its first two, a bell's are stretched, and a brass's grow with
    its loudness. Notes are tuned up to 20 cents wrong, and hiss a little. Problem where n is below 1.
    """
    if n < 1:
        raise Problem(f"there are notes from 1 on, not {n}")
    samples = round(seconds * RATE)
    labels = [torch.from_numpy(rng.integers(len(names), size=n)) for names in (PITCHES, FAMILIES, ONSETS)]
    octave = rng.integers(OCTAVES, size=n)
    cents = rng.uniform(-20, 20, n)
    first = 440 * 2 ** ((LOWEST + 12 * octave + labels[0].numpy() + cents / 100 - 69) / 12)
    low, high = (torch.tensor([rise[end] for rise in RISE])[labels[2]] for end in (0, 1))
    rise = low + (high - low) * torch.from_numpy(rng.random(n)).float()
    bright = torch.from_numpy(rng.uniform(0.8, 1.25, n)).float()
    x = torch.cat(
        [
            _sung(torch.from_numpy(first[part]).float(), labels[1][part], rise[part], bright[part], samples)
            for part in np.split(np.arange(n), range(200, n, 200))
        ]
    )
    x += torch.from_numpy(rng.normal(0, 0.002, x.shape).astype(np.float32))
    loud = torch.from_numpy(rng.uniform(0.2, 0.9, n)).float()
    return Notes(x / x.abs().amax(1, keepdim=True) * loud[:, None], *labels)


def _sung(first: Tensor, family: Tensor, rise: Tensor, bright: Tensor, samples: int) -> Tensor:
    """Waves [n, samples] of a first partial in hertz [n], a family [n], a rise in seconds [n] and a brightness [n]."""
    time = torch.arange(samples) / RATE
    swell = 1 - torch.exp(-3 * time / rise[:, None])
    turn = torch.polar(torch.ones(len(first), samples), 2 * torch.pi * first[:, None] * time)
    wave, x = torch.ones_like(turn), torch.zeros(len(first), samples)
    string, reed, flute, bell, brass = (family == k for k in range(len(FAMILIES)))
    for k in range(1, PARTIALS + 1):
        wave = wave * turn
        sine = wave.imag
        stretched = k * (1 + 0.012 * k * k) ** 0.5
        if bell.any():
            sine = torch.where(bell[:, None], torch.sin(2 * torch.pi * (first * stretched)[:, None] * time), sine)
        heard = torch.where(bell, first * stretched, first * k) < RATE / 2
        size = torch.where(string | brass, 1 / k, 0.0) + torch.where(reed, (k % 2) / k**0.7, 0.0)
        size = size + torch.where(flute, 8.0 ** (1 - k), 0.0) + torch.where(bell, 0.75 ** (k - 1), 0.0)
        size = size * bright ** (k - 1) * heard
        fall = torch.where(string, 1.5 * k**0.5, torch.where(bell, 2.0 + 0.5 * k, 0.1))[:, None]
        loudness = torch.where(brass[:, None], swell ** (1 + 0.3 * k), swell) * torch.exp(-fall * time)
        x += size[:, None] * loudness * sine
    return x


def words(rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Samples int16 [n, 3200], lengths, words, voices and takes int64 [n] of ten made-up words of two vowels each.

    A voice has a pitch and a size of its throat, by which all resonances are moved; takes differ in pitch, pace and
    loudness. A vowel is two resonances, between which a word glides.
    """
    word, voice, take = (torch.from_numpy(a.ravel()) for a in np.indices((WORDS, VOICES, TAKES)))
    n, samples = len(word), round(0.4 * RATE)
    low, high = rng.uniform(280, 850, (2, WORDS)), rng.uniform(950, 2700, (2, WORDS))
    pitch = np.linspace(100, 240, VOICES)[voice] * rng.uniform(0.94, 1.06, n)
    throat = np.linspace(1.12, 0.9, VOICES)[rng.permutation(VOICES)][voice] * rng.uniform(0.98, 1.02, n)
    lengths = torch.from_numpy(rng.integers(samples * 6 // 10, samples + 1, n))
    ticks = torch.arange(samples)
    place = (ticks / lengths[:, None]).clamp(max=1)
    pitches = torch.from_numpy(pitch).float()[:, None] * (1.05 - 0.1 * place)
    turn = torch.polar(torch.ones_like(place), 2 * torch.pi * torch.cumsum(pitches, 1) / RATE)
    wave, x = torch.ones_like(turn), torch.zeros_like(place)
    resonances = []
    for ends in (low, high):
        begin, end = (torch.from_numpy(ends[i][word.numpy()] * throat).float()[:, None] for i in (0, 1))
        resonances.append(begin + (end - begin) * place)
    for k in range(1, 13):
        wave = wave * turn
        hertz = k * pitches
        size = sum(1 / (1 + ((hertz - centre) / 90) ** 2) for centre in resonances) + 0.02
        x += size / k**0.5 * wave.imag
    x = x * torch.sin(torch.pi * place).clamp_min(0) ** 0.5
    x += torch.from_numpy(rng.normal(0, 0.01, x.shape).astype(np.float32))
    return _sixteen_bits(x * (ticks < lengths[:, None]), rng), lengths, word, voice, take


def noises(rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Samples int16 [n, 8000], lengths, classes, folds from 1 on, and takes int64 [n] of ten kinds of noise.

    A kind is a band of frequencies, how wide it is, and how often a second it comes and goes.
    """
    kind, fold, take = (torch.from_numpy(a.ravel()) for a in np.indices((NOISES, FOLDS, PER_FOLD)))
    n = len(kind)
    centre = np.geomspace(250, 3200, NOISES)[rng.permutation(NOISES)][kind] * rng.uniform(0.85, 1.18, n)
    width = (np.array([0.1, 0.5] * (NOISES // 2))[kind] * centre)[:, None]
    beats = np.array([0.0, 3.0, 9.0] * NOISES)[:NOISES][kind] * rng.uniform(0.9, 1.1, n)
    hertz = np.fft.rfftfreq(RATE, 1 / RATE)
    shape = np.exp(-0.5 * ((hertz - centre[:, None]) / width) ** 2) + 0.01
    spectra = np.fft.rfft(rng.normal(size=(n, RATE))) * shape
    x = np.fft.irfft(spectra, RATE)
    time = np.arange(RATE) / RATE
    x *= 1 + 0.9 * np.sin(2 * np.pi * (beats[:, None] * time + rng.random((n, 1)))) * (beats > 0)[:, None]
    x = torch.from_numpy((x / np.abs(x).max(1, keepdims=True)).astype(np.float32))
    return _sixteen_bits(x, rng), torch.full((n,), RATE), kind, fold + 1, take


def _sixteen_bits(x: Tensor, rng: np.random.Generator) -> Tensor:
    loud = torch.from_numpy(rng.uniform(0.3, 0.95, len(x)).astype(np.float32))
    return (x / x.abs().amax(1, keepdim=True) * loud[:, None] * (2**15 - 1)).round().to(torch.int16)
