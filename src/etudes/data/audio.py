"""Labelled recordings, held whole as samples of 16 bits.

Spoken digits are split by take, or by speaker; environmental sounds by their authors' folds. Of a set the recordings
of one group are never learnt from and asked about at once where the group is held out.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from etudes.core.errors import Problem
from etudes.data import copies
from etudes.data.sources import (
    SOURCES,
    Source,
    copy_path,
    decoded_copies,
    find,
    mirror_folder,
    originals_folder,
    read_first,
    read_mirror,
)
from etudes.data.sources.carriers import digest
from etudes.data.tones import RATE, noises, words

TASK = "sound"
TAKES = 5  # of each speaker and digit, numbers 0 to 4: the test part, as the set's authors have it
FOLDS = 5  # of ESC-10 and ESC-50; the last is the test part
RATES = {"spoken-digits": 8000, "esc10": 16000, "drawn-words": RATE, "drawn-noises": RATE}  # samples a second
GROUPS = {"spoken-digits": ("speaker", "take"), "esc10": ("fold", "freesound_id")}  # the columns of group and take
Row = tuple[np.ndarray, int, str, int]  # samples int16 [n], class, group, take
_ESC50 = {"dog": "dog_bark", "crying_baby": "baby_cry", "sneezing": "person_sneeze", "crackling_fire": "fire_crackling"}


@dataclass(frozen=True, eq=False)
class Clips:
    """Recordings int16 [n, samples], silent beyond `lengths` int64 [n]; classes `y` int64 [n]; the group of each, its
    speaker or fold; and `takes` int64 [n], which tell those of a group and class apart."""

    x: Tensor
    lengths: Tensor
    y: Tensor
    groups: tuple[str, ...]
    takes: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Sequence[int] | Tensor) -> "Clips":
        """The rows given by their numbers, or by a mask bool [n]."""
        index = torch.as_tensor(rows)
        index = index.nonzero().flatten() if index.dtype == torch.bool else index.long()
        groups = tuple(self.groups[i] for i in index.tolist())
        return Clips(self.x[index], self.lengths[index], self.y[index], groups, self.takes[index])

    def of(self, *groups: str) -> Tensor:
        """Which rows bool [n] are of these groups. Problem where one has none."""
        if missing := {*groups} - {*self.groups}:
            raise Problem(f"there are no recordings of '{min(missing)}'; there are {', '.join(sorted({*self.groups}))}")
        return torch.tensor([group in groups for group in self.groups], dtype=torch.bool)


@dataclass(frozen=True, eq=False)
class Sounds:
    """A set of labelled recordings: those to learn from and those to test on."""

    name: str
    rate: int  # samples a second
    train: Clips
    test: Clips
    labels: tuple[str, ...]
    source: dict[str, str]  # dataset, kind, says, fingerprint

    @property
    def majority_error(self) -> float:
        """The test error of always saying the most frequent training class: the trivial baseline."""
        return (self.test.y != self.train.y.mode().values).double().mean().item()


def sounds(name: str, seconds: float = 0.0, held_out: Sequence[str] = ()) -> Sounds:
    """The recordings of a declared name, cut or filled up with silence to so many seconds (0: to the longest).

    Without `held_out` the test part is the authors': takes 0 to 4 of the spoken digits, the last of the folds. With it
    the test part is what is of these groups, speakers or folds, and the rest is the training part. Problem for an
    unknown name or group, a set of another task, and where no source can be reached or one is damaged.
    """
    source = find(name)
    if source.task != TASK:
        known = ", ".join(s.name for s in SOURCES.values() if s.task == TASK)
        raise Problem(f"'{name}' is a {source.task} set, no recordings; sounds() reads {known}")
    rate = RATES.get(source.name, 0)
    clips, kind = _whole(name)
    if seconds:
        clips = fitted_to(clips, round(seconds * rate))
    away = clips.of(*held_out) if held_out else _official(source.name, clips)
    train, test = clips.take(~away), clips.take(away)
    if not len(train) or not len(test):
        raise Problem(f"with {', '.join(held_out)} held out of {name} nothing is left to learn from")
    counts = f"{len(train):,} + {len(test):,} recordings at {rate / 1000:g} kHz"
    split = f"held out: {', '.join(held_out)}" if held_out else "the authors' test part"
    says = ", ".join(filter(None, [source.folder, counts, split, source.says]))
    about = {"dataset": source.name, "kind": kind, "says": says, "fingerprint": fingerprint(train, test)}
    return Sounds(source.name, rate, train, test, source.classes, about)


def fitted_to(clips: Clips, samples: int) -> Clips:
    """The clips cut at `samples`, or with silence up to there. Problem where nothing would be left."""
    if samples < 1:
        raise Problem(f"recordings need one sample or more, not {samples}")
    x = torch.nn.functional.pad(clips.x, (0, max(0, samples - clips.x.shape[1])))[:, :samples]
    return replace(clips, x=x.contiguous(), lengths=clips.lengths.clamp(max=samples))


def fingerprint(*parts: Clips) -> str:
    """The sha256, in hex, of samples, lengths, classes, groups and takes."""
    total = hashlib.sha256()
    for part in parts:
        for tensor in (part.x, part.lengths, part.y, part.takes):
            array = tensor.contiguous().numpy()
            total.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
        total.update("\n".join(part.groups).encode())
    return total.hexdigest()


def _official(name: str, clips: Clips) -> Tensor:
    return clips.of(str(FOLDS)) if name in ("esc10", "drawn-noises") else clips.takes < TAKES


@lru_cache(maxsize=4)
def _read(name: str, kind: str, key: str) -> Clips:
    source = find(name)
    if kind == "embedded":
        draw = words if name == "drawn-words" else noises
        x, lengths, y, groups, takes = draw(np.random.default_rng(0))
        return Clips(x, lengths, y, tuple(str(group) for group in groups.tolist()), takes)
    path = copy_path(source, kind, key)
    if found := _load(path):
        return found
    if kind == "originals":
        folder = originals_folder(source)
        assert folder is not None
        rows = {"spoken-digits": read_spoken_digits, "esc10": read_esc10}[source.name](folder)
    else:
        tables = read_mirror(source)
        rows = [row for split in tables for row in _rows(source, tables[split])]
    return _save(path, name, clips_of(rows))


def _whole(name: str) -> tuple[Clips, str]:
    """All recordings of a set, in the order of its files, and the kind of source that they came from."""
    source = find(name)

    def read(kind: str) -> tuple[Clips, str]:
        if kind == "cache":
            for path in decoded_copies(source):
                if found := _load(path):
                    return found, kind
            raise Problem("the decoded copies there are damaged")
        if kind == "embedded":
            return _read(source.name, kind, ""), kind
        folder = {"originals": originals_folder, "mirror": mirror_folder}.get(kind, lambda source: None)(source)
        if folder is None:
            raise Problem(f"recordings are not read from the {kind}")
        return _read(source.name, kind, digest(folder)), kind

    return read_first(source, read)


def clips_of(rows: Iterable[Row]) -> Clips:
    """Rows as Clips, silent up to the longest. Problem without a row."""
    waves, classes, groups, takes = zip(*rows, strict=True) if (rows := list(rows)) else ((),) * 4
    if not waves:
        raise Problem("there is no recording to read; give a set with recordings")
    lengths = [len(wave) for wave in waves]
    x = np.zeros((len(waves), max(lengths)), np.int16)
    for row, wave in zip(x, waves, strict=True):
        row[: len(wave)] = wave
    return Clips(torch.from_numpy(x), torch.tensor(lengths), torch.tensor(classes), tuple(groups), torch.tensor(takes))


def decode(data: bytes | Path, rate: int) -> np.ndarray:
    """Samples int16 [n] at `rate` a second, of a file that libsndfile reads (WAV, FLAC, Ogg); several channels are
    averaged, another rate is changed by a polyphase filter. Problem for what is no sound."""
    try:
        import soundfile
    except ImportError:
        raise Problem("recordings are decoded by soundfile; install it: pip install 'etudes[sound]'") from None
    try:
        x, own = soundfile.read(io.BytesIO(data) if isinstance(data, bytes) else data, dtype="int16", always_2d=True)
    except (RuntimeError, OSError):  # soundfile's errors are RuntimeErrors
        where = data.name if isinstance(data, Path) else "a recording"
        raise Problem(f"{where} is no sound that can be read; fetch the set again") from None
    if x.shape[1] == 1 and own == rate:
        return x[:, 0]
    return _sixteen_bits(resample(x.mean(1) / 2**15, own, rate))


def resample(x: np.ndarray, old: int, new: int) -> np.ndarray:
    """Waves float [..., n] of `old` samples a second as such of `new`: [..., ceil(n * new / old)], by a polyphase
    filter of SciPy, which lets no frequency fold back."""
    from scipy.signal import resample_poly

    shared = gcd(old, new)
    return resample_poly(x, new // shared, old // shared, axis=-1) if old != new else x


def _sixteen_bits(x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x * 2**15), -(2**15), 2**15 - 1).astype(np.int16)


def _rows(source: Source, table: Any) -> Iterable[Row]:
    import datasets

    group, take = GROUPS[source.name]
    if missing := {"audio", "label", group, take} - {*table.column_names}:
        raise Problem(f"{source.folder} has no column '{min(missing)}' but {', '.join(table.column_names)}")
    if isinstance(table.features["audio"], datasets.Audio):
        table = table.cast_column("audio", datasets.Audio(decode=False))
    for row in table.with_format("arrow")[:].to_pylist():
        if not 0 <= row["label"] < len(source.classes):
            raise Problem(
                f"{source.folder} has the class {row['label']}; its classes are 0 to {len(source.classes) - 1}"
            )
        yield decode(row["audio"]["bytes"], RATES[source.name]), row["label"], str(row[group]), row[take]


def read_spoken_digits(folder: Path) -> list[Row]:
    """The recordings of the authors' repository: recordings/7_jackson_32.wav, which are digit, speaker and take.

    Raises Problem where there is none, or one is called otherwise.
    """
    rows = []
    for path in sorted((folder / "recordings").glob("*.wav")):
        digit, speaker, take = path.stem.split("_") if path.stem.count("_") == 2 else ("", "", "")
        if not (digit.isdecimal() and int(digit) < 10 and take.isdecimal()):
            raise Problem(f"{path.name} is not called DIGIT_SPEAKER_TAKE.wav; take the repository as it is")
        rows.append((decode(path, RATES["spoken-digits"]), int(digit), speaker, int(take)))
    if not rows:
        raise Problem(f"{folder} holds no recordings/*.wav; take the repository as it is")
    return rows


def read_esc10(folder: Path) -> list[Row]:
    """The recordings of ESC-10 in the repository of ESC-50: meta/esc50.csv and audio/*.wav, at 16 kHz here."""
    table = folder / "meta" / "esc50.csv"
    if not table.is_file():
        raise Problem(f"{folder} holds no meta/esc50.csv; take the repository of ESC-50 as it is")
    with table.open(encoding="utf-8", newline="") as file:
        entries = [entry for entry in csv.DictReader(file) if entry["esc10"] == "True"]
    labels = SOURCES["esc10"].classes
    rows = []
    for entry in entries:
        label = labels.index(_ESC50.get(entry["category"], entry["category"]))
        samples = decode(folder / "audio" / entry["filename"], RATES["esc10"])
        rows.append((samples, label, entry["fold"], int(entry["src_file"])))
    return rows


# Decoded copies

_TENSORS = ("x", "lengths", "y", "takes")


def _save(path: Path, name: str, clips: Clips) -> Clips:
    about = {"groups": json.dumps(clips.groups), "fingerprint": fingerprint(clips)}
    copies.save(path, name, {name: getattr(clips, name) for name in _TENSORS}, about)
    return clips


def _load(path: Path) -> Clips | None:
    def make(tensors: list[Tensor], about: copies.About) -> Clips | None:
        clips = Clips(groups=tuple(json.loads(about["groups"])), **dict(zip(_TENSORS, tensors, strict=True)))
        return clips if fingerprint(clips) == about["fingerprint"] else None

    return copies.load(path, _TENSORS, make)
