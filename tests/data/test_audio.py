import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from etudes.core.errors import Problem
from etudes.data import audio
from etudes.data.audio import clips_of, decode, fitted_to, resample, sounds
from etudes.data.sources import SOURCES

soundfile = pytest.importorskip("soundfile")


def recording(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-(2**15), 2**15, n).astype(np.int16)


def encoded(x: np.ndarray, rate: int, kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, x, rate, format=kind)
    return file.getvalue()


def head(folder: Path, splits: dict[str, list[dict]], features: dict) -> None:
    import datasets

    lines = ""
    (folder / "data").mkdir(parents=True)
    for split, rows in splits.items():
        columns = {name: [row[name] for row in rows] for name in features}
        file = folder / "data" / f"{split}-00000-of-00001.parquet"
        plain = features | {"audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
        table = datasets.Dataset.from_dict(columns, features=datasets.Features(plain))
        table.cast_column("audio", features["audio"]).to_parquet(file)  # to encode an Audio would need torchcodec
        lines += f"  - split: {split}\n    path: data/{split}-*.parquet\n"
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{lines}---\n")


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "cache"))
    audio._read.cache_clear()


SAID = {  # digit, speaker, take: samples
    (digit, speaker, take): recording(20 + 3 * digit + take, 100 * digit + take)
    for digit in (0, 7)
    for speaker in ("george", "theo")
    for take in (0, 4, 5, 49)
}


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both sets with a few recordings each, in the columns and codecs of their mirrors."""
    import datasets

    root = tmp_path / "mirror"
    text, whole = datasets.Value("string"), datasets.Value("int64")
    stored = {"bytes": datasets.Value("binary"), "path": text}
    rows = [
        {"audio": {"bytes": encoded(x, 8000, "FLAC"), "path": f"{digit}_{speaker}_{take}.wav"},
         "label": digit, "speaker": speaker, "take": take}
        for (digit, speaker, take), x in SAID.items()
    ]  # fmt: skip
    columns = {"audio": stored, "label": datasets.ClassLabel(names=[*"0123456789"]), "speaker": text, "take": whole}
    parts = {"train": [row for row in rows if row["take"] > 4], "test": [row for row in rows if row["take"] < 5]}
    head(root / "Jakobovski" / "free-spoken-digit-dataset", parts, columns)

    rows = [
        {"audio": {"bytes": encoded(recording(1600, i) // 4, 16000, "OGG"), "path": f"{i}.ogg"}, "label": i % 10,
         "fold": 1 + i % 5, "filename": f"{i}.ogg", "esc50_category": "", "esc50_target": 0, "freesound_id": i}
        for i in range(20)
    ]  # fmt: skip
    columns = {"audio": datasets.Audio(sampling_rate=16000, decode=False),
               "label": datasets.ClassLabel(names=[*SOURCES["esc10"].classes]), "fold": whole, "filename": text,
               "esc50_category": text, "esc50_target": whole, "freesound_id": whole}  # fmt: skip
    head(root / "karolpiczak" / "ESC-10", {"train": rows}, columns)
    monkeypatch.setenv("ETUDES_MIRROR", str(root))
    return root


def check_digits(d: audio.Sounds) -> None:
    for part in (d.train, d.test):
        for i, (y, speaker, take) in enumerate(zip(part.y.tolist(), part.groups, part.takes.tolist(), strict=True)):
            wanted = SAID[y, speaker, take]
            assert part.x[i, : part.lengths[i]].tolist() == wanted.tolist()
            assert not part.x[i, part.lengths[i] :].any()
    assert len(d.train) + len(d.test) == len(SAID)


def test_spoken_digits_are_split_by_take(mirror: Path) -> None:
    d = sounds("spoken-digits")
    check_digits(d)
    assert {*d.test.takes.tolist()} == {0, 4}
    assert {*d.train.takes.tolist()} == {5, 49}
    assert (d.rate, d.labels[7], d.source["kind"]) == (8000, "seven", "mirror")
    assert d.train.x.dtype == torch.int16


def test_a_speaker_is_held_out(mirror: Path) -> None:
    d = sounds("spoken-digits", held_out=["theo"])
    check_digits(d)
    assert ({*d.train.groups}, {*d.test.groups}) == ({"george"}, {"theo"})
    with pytest.raises(Problem, match=r"there are no recordings of 'theodor'; there are george, theo$"):
        sounds("spoken-digits", held_out=["theodor"])
    with pytest.raises(Problem, match="with george, theo held out of spoken-digits nothing is left"):
        sounds("spoken-digits", held_out=["george", "theo"])


def test_sounds_of_folds(mirror: Path) -> None:
    d = sounds("esc10")
    assert (d.rate, len(d.train), len(d.test)) == (16000, 16, 4)
    assert {*d.test.groups} == {"5"}
    assert {*sounds("esc10", held_out=["2"]).test.groups} == {"2"}
    near = d.test.x[0].double() - torch.from_numpy(recording(1600, int(d.test.takes[0])) // 4).double()
    assert near.std() < d.test.x[0].double().std()  # Vorbis keeps the sound, not the samples


def test_a_decoded_copy_is_believed_if_it_is_whole(mirror: Path, tmp_path: Path) -> None:
    first = sounds("spoken-digits")
    copy = next((tmp_path / "cache" / "sounds").rglob("mirror-*.safetensors"))
    audio._read.cache_clear()
    assert sounds("spoken-digits").source == first.source
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(bytes(data))
    audio._read.cache_clear()
    assert sounds("spoken-digits").source == first.source


def test_without_the_mirror_its_copy_serves(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sounds("spoken-digits")
    monkeypatch.delenv("ETUDES_MIRROR")
    second = sounds("spoken-digits")
    assert (first.source["kind"], second.source["kind"]) == ("mirror", "cache")
    assert first.source["fingerprint"] == second.source["fingerprint"]


def test_the_authors_repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ETUDES_MIRROR", raising=False)
    with pytest.raises(Problem, match="no folder free-spoken-digit-dataset"):
        sounds("spoken-digits")
    folder = tmp_path / "cache" / "free-spoken-digit-dataset" / "recordings"
    folder.mkdir(parents=True)
    for (digit, speaker, take), x in SAID.items():
        (folder / f"{digit}_{speaker}_{take}.wav").write_bytes(encoded(x, 8000, "WAV"))
    d = sounds("spoken-digits")
    check_digits(d)
    assert d.source["kind"] == "originals"
    (folder / "3_theo.wav").write_bytes(b"")
    with pytest.raises(Problem, match=r"3_theo\.wav is not called DIGIT_SPEAKER_TAKE\.wav"):
        sounds("spoken-digits")

    folder = tmp_path / "cache" / "ESC-50-master"
    (folder / "audio").mkdir(parents=True)
    (folder / "meta").mkdir()
    with (folder / "meta" / "esc50.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
        for fold, category, small in ((1, "dog", True), (5, "rain", True), (2, "cat", False)):
            table.writerow([f"{fold}.wav", fold, 0, category, small, 100 + fold, "A"])
    for fold in (1, 5):
        (folder / "audio" / f"{fold}.wav").write_bytes(encoded(recording(4410, fold), 44100, "WAV"))
    d = sounds("esc10")
    assert [d.labels[y] for y in (*d.train.y, *d.test.y)] == ["dog_bark", "rain"]
    assert d.train.x.shape == (1, 1600)


def test_lengths_are_cut_and_filled() -> None:
    clips = clips_of([(np.array([1, 2, 3], np.int16), 0, "a", 0), (np.array([4], np.int16), 1, "b", 1)])
    assert clips.x.tolist() == [[1, 2, 3], [4, 0, 0]]
    short, long = fitted_to(clips, 2), fitted_to(clips, 5)
    assert (short.x.tolist(), short.lengths.tolist()) == ([[1, 2], [4, 0]], [2, 1])
    assert (long.x.tolist(), long.lengths.tolist()) == ([[1, 2, 3, 0, 0], [4, 0, 0, 0, 0]], [3, 1])
    assert clips.take(clips.of("b")).y.tolist() == [1]
    with pytest.raises(Problem, match="one sample or more, not 0"):
        fitted_to(clips, 0)
    with pytest.raises(Problem, match="no recording to read"):
        clips_of([])


def test_another_rate_keeps_tones_and_folds_none_back(tmp_path: Path) -> None:
    ticks = np.arange(16000) / 16000
    low, high = np.sin(2 * np.pi * 440 * ticks), np.sin(2 * np.pi * 7000 * ticks)
    slow = resample(low, 16000, 8000)
    assert np.allclose(slow[100:-100], low[::2][100:-100], atol=0.01)
    assert np.abs(resample(high, 16000, 8000)[100:-100]).max() < 0.01
    file = tmp_path / "stereo.wav"
    both = (np.stack([low, np.zeros_like(low)], 1) * 20000).astype(np.int16)
    file.write_bytes(encoded(both, 16000, "WAV"))
    assert np.abs(decode(file, 8000)[100:-100] - 10000 * low[::2][100:-100]).max() < 200
    file.write_bytes(b"no sound")
    with pytest.raises(Problem, match=r"stereo\.wav is no sound that can be read"):
        decode(file, 8000)


def test_other_sets_and_columns(mirror: Path) -> None:
    import datasets

    with pytest.raises(Problem, match=r"'mnist' is a classification set, no recordings; sounds\(\) reads spoken"):
        sounds("mnist")
    folder = mirror / "karolpiczak" / "ESC-10"
    for file in folder.rglob("*.parquet"):
        file.unlink()
    datasets.Dataset.from_dict({"audio": ["a"], "label": [0]}).to_parquet(folder / "data" / "train-0.parquet")
    with pytest.raises(Problem, match=r"has no column '(fold|freesound_id)' but audio, label"):
        sounds("esc10")
