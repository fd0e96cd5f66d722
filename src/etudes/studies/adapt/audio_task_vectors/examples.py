"""What the networks hear: spoken digits, environmental sounds and notes as pictures of mel bands, in three parts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from etudes.audio.features import log_mel, mel_energies, wave
from etudes.core import Run
from etudes.data.audio import Clips, resample, sounds
from etudes.data.tones import FAMILIES, ONSETS, PITCHES, RATE, notes

SECOND = RATE  # samples of a window
FRAME, HOP, BANDS = 512, 125, 40  # samples, samples, mel bands: 65 frames a window
FRAMES = SECOND // HOP + 1
HELD_TAKES = 10  # takes of a digit below this are not learnt from: 0 to 4 are tested on, 5 to 9 choose
CLASSES = {"digits": 10, "speakers": 5, "sounds": 10, "pitch": len(PITCHES), "family": len(FAMILIES),
           "onset": len(ONSETS)}  # fmt: skip
FIRST = 2  # speakers of the first group, whom the base hears; the second group has the rest of those learnt from
KINDS = {"digits": "digits", "speakers": "digits", "sounds": "sounds", "pitch": "notes", "family": "notes",
         "onset": "notes"}  # task: which recordings it is about  # fmt: skip
TASKS = tuple(CLASSES)
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Examples:
    """Pictures float [n, 1, bands, frames] by kind, classes [n] by task, and the rows of each part by kind.

    The speakers are `first`, `second` and `new`: two groups of those learnt from, and one that is not.
    """

    x: dict[str, Tensor]
    y: dict[str, Tensor]
    rows: dict[str, dict[str, Tensor]]
    clips: Tensor  # of each window of a sound, the number of its recording

    def part(self, task: str, part: str) -> tuple[Tensor, Tensor]:
        """Pictures and classes of a task's part."""
        return self.of(KINDS[task], task, part)

    def of(self, kind: str, task: str, part: str) -> tuple[Tensor, Tensor]:
        """The same of the recordings of a kind, such as the noisy ones."""
        rows = self.rows[kind][part]
        return self.x[kind][rows].float(), self.y[task][rows]

    def subset(self, kind: str, share: float, rng: np.random.Generator) -> Tensor:
        """Rows, drawn, as many as a share of the training part; of spoken digits by the first speakers alone."""
        rows = self.rows[kind].get("train-first", self.rows[kind]["train"])
        count = max(1, round(share * len(self.rows[kind]["train"])))
        return rows[torch.from_numpy(rng.permutation(len(rows))[:count])]


def make_features(digits: str, noises: str, made: int, snr: float, body: str) -> tuple[dict[str, Tensor], list[dict]]:
    """Tensors of everything heard by a body, and what the sets say of themselves. Pictures are kept with 16 bits.

    Noise at `snr` decibels is drawn once a
    recording.
    """
    spoken, around = sounds(digits, 1.0), sounds(noises)
    voices = _all(spoken.train, spoken.test)
    rng = np.random.default_rng(0)
    clean = wave(voices.x)
    noisy = in_noise(clean, voices.lengths, snr, rng)
    environment = _all(around.train, around.test)
    windows, clips = _windows(environment, around.rate)
    drawn = notes(made, rng)
    names = sorted({*voices.groups})
    found = {
        "digits": hear(clean, body), "noisy": hear(noisy, body), "sounds": hear(windows, body),
        "notes": hear(drawn.x, body), "y/digits": voices.y, "takes": voices.takes,
        "speakers": torch.tensor([names.index(name) for name in voices.groups]), "y/sounds": environment.y[clips],
        "folds": torch.tensor([int(fold) for fold in environment.groups])[clips], "clips": clips,
        "y/pitch": drawn.pitch, "y/family": drawn.family, "y/onset": drawn.onset,
    }  # fmt: skip
    return found, [spoken.source, around.source]


def in_noise(x: Tensor, lengths: Tensor, decibels: float, rng: np.random.Generator) -> Tensor:
    """Waves [n, samples] in white noise, which each is so many decibels louder than over its own length [n]."""
    power = x.square().sum(1) / lengths
    hiss = torch.from_numpy(rng.standard_normal(x.shape, np.float32))
    return x + hiss * (power / 10 ** (decibels / 10)).sqrt()[:, None]


def _all(*parts: Clips) -> Clips:
    x, lengths, y, takes = (torch.cat([getattr(p, key) for p in parts]) for key in ("x", "lengths", "y", "takes"))
    return Clips(x, lengths, y, tuple(group for p in parts for group in p.groups), takes)


def _windows(clips: Clips, rate: int) -> tuple[Tensor, Tensor]:
    """Windows [m, second] of recordings, side by side, and the recording of each [m]; silent ones are left out."""
    slow = torch.from_numpy(resample(wave(clips.x).numpy(), rate, RATE)).float()
    windows = slow[:, : slow.shape[1] // SECOND * SECOND].reshape(len(slow), -1, SECOND)
    loud = windows.abs().amax(2) > 0.01
    loud[:, 0] = True
    return windows[loud], loud.nonzero()[:, 0]


def hear(x: Tensor, body: str, batch: int = 200) -> Tensor:
    """Pictures float16 [n, 1, bands, frames] of waves [n, samples] at 8 kHz: log-mel, or as the body "resemblyzer"
    takes them: 16 kHz, frames of 25 ms every 10, energies, and quiet recordings made as loud as -30 dB.
    """
    found = []
    for part in x.split(batch):
        if body == "resemblyzer":
            loud = part.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)
            fast = torch.from_numpy(resample((part * (10**-1.5 / loud).clamp_min(1)).numpy(), RATE, 2 * RATE)).float()
            found.append(mel_energies(fast, 2 * RATE, 400, 160, BANDS).half())
        else:
            found.append(log_mel(part, RATE, FRAME, HOP, BANDS).half())
    return torch.cat(found)[:, None]


def keep_features(run: Run, found: dict[str, Tensor], sources: list[dict]) -> None:
    """Write the tensors beside the run, and note where they come from."""
    run.note(data=sources)
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, run.path("features.safetensors"))
    run.result(**{"train/recordings": len(found["digits"])})


def read_examples(folder: Path, run: Run) -> Examples:
    """The examples with the parts that this seed draws: who is new, who is in which group, which fold is tested on."""
    kept = load_file(folder / "features.safetensors")
    rng = run.rng("parts")
    order = torch.from_numpy(rng.permutation(int(kept["speakers"].max()) + 1))
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))  # the last is new; the others are numbered anew
    speaker, takes, new = place[kept["speakers"]], kept["takes"], len(order) - 1
    known = speaker < new
    held = {"test": takes < HELD_TAKES // 2, "validation": (takes >= HELD_TAKES // 2) & (takes < HELD_TAKES)}
    held["train"] = takes >= HELD_TAKES
    first, second = speaker < FIRST, known & (speaker >= FIRST)
    voices = {part: _true(known & mask) for part, mask in held.items()}
    voices |= {f"{part}-first": _true(first & mask) for part, mask in held.items()}
    voices |= {f"{part}-second": _true(second & mask) for part, mask in held.items()}
    voices["new"] = _true(~known)
    fold = (kept["folds"] - 1 - int(rng.integers(5))) % 5
    around = {"test": _true(fold == 0), "validation": _true(fold == 1), "train": _true(fold > 1)}
    n = len(kept["notes"])
    mixed = torch.from_numpy(rng.permutation(n))
    drawn = {"test": mixed[: n // 5], "validation": mixed[n // 5 : n // 5 * 2], "train": mixed[n // 5 * 2 :]}
    y = {task: kept[f"y/{task}"] for task in TASKS if task != "speakers"} | {"speakers": speaker}
    x = {kind: kept[kind] for kind in ("digits", "noisy", "sounds", "notes")}
    return Examples(x, y, {"digits": voices, "noisy": voices, "sounds": around, "notes": drawn}, kept["clips"])


def _true(mask: Tensor) -> Tensor:
    return mask.nonzero().flatten()
