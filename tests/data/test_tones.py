import numpy as np
import pytest
import torch

from etudes.core.errors import Problem
from etudes.data.audio import sounds
from etudes.data.tones import FAMILIES, LOWEST, PITCHES, RATE, noises, notes, words


def spectrum(x: torch.Tensor) -> torch.Tensor:
    return torch.fft.rfft(x * torch.hann_window(len(x))).abs()


def test_a_note_has_the_pitch_that_its_label_says() -> None:
    d = notes(60, np.random.default_rng(0))
    assert d.x.shape == (60, RATE)
    assert d.x.abs().max() <= 1
    flute, reed = FAMILIES.index("flute"), FAMILIES.index("reed")
    for i in (d.family == flute).nonzero().flatten().tolist():
        loudest = spectrum(d.x[i]).argmax().item()  # hertz, as the note lasts a second
        semitones = 12 * np.log2(loudest / 440) + 69
        away = (semitones - d.pitch[i].item() + 6) % 12 - 6
        assert away == pytest.approx(0, abs=0.4)
        assert LOWEST - 0.5 < semitones < LOWEST + 36
    for i in (d.family == reed).nonzero().flatten().tolist():
        size = spectrum(d.x[i])
        first = size.argmax().item()
        if 2 * first < RATE // 2 - 10:
            around = [size[k * first - 3 * k : k * first + 3 * k].max() for k in (1, 2)]
            assert around[1] < 0.1 * around[0]  # a reed has odd partials alone


def test_onsets_rise_as_fast_as_they_are_called() -> None:
    d = notes(200, np.random.default_rng(1))
    early = d.x[:, : RATE // 20].abs().amax(1) / d.x.abs().amax(1)
    brass = d.family == FAMILIES.index("brass")
    struck, swelling = (early[(d.onset == k) & brass].mean() for k in (0, 2))
    assert struck > 0.8
    assert swelling < 0.5


def test_notes_follow_from_the_generator_and_labels_are_even() -> None:
    a, b = (notes(300, np.random.default_rng(2)) for _ in range(2))
    assert torch.equal(a.x, b.x)
    assert a.pitch.bincount(minlength=len(PITCHES)).min() > 10
    assert not torch.isnan(a.x).any()
    with pytest.raises(Problem, match="notes from 1 on, not 0"):
        notes(0, np.random.default_rng(0))


def test_words_and_noises_are_whole() -> None:
    x, lengths, word, voice, take = words(np.random.default_rng(0))
    assert x.dtype == torch.int16
    assert len({*zip(word.tolist(), voice.tolist(), take.tolist(), strict=True)}) == len(x) == 720
    assert (x.abs().amax(1) > 5000).all()
    ticks = torch.arange(x.shape[1])
    assert not x[ticks >= lengths[:, None]].any()
    x, lengths, kind, fold, _ = noises(np.random.default_rng(0))
    assert (x.abs().amax(1) > 5000).all()
    assert {*kind.tolist()} == {*range(10)}
    assert {*fold.tolist()} == {1, 2, 3, 4, 5}


def test_the_embedded_sets_are_split_as_those_that_they_stand_in_for() -> None:
    d = sounds("drawn-words")
    assert (len(d.train), len(d.test), d.source["kind"]) == (420, 300, "embedded")
    assert d.test.takes.max() == 4
    assert d.majority_error == pytest.approx(0.9)
    assert {*sounds("drawn-noises").test.groups} == {"5"}
    assert {*sounds("drawn-words", held_out=["3"]).test.groups} == {"3"}
