"""The networks: a body that hears, and one output layer that is drawn once and never learnt."""

import itertools

import torch
from torch import Tensor, nn

from etudes.core import Run
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import Carrier, fetch
from etudes.nn.norm import GROUPS, GroupNorm
from etudes.studies.adapt.audio_task_vectors.examples import BANDS, CLASSES, FRAMES, TASKS
from etudes.train import seeded

FEATURES = 64  # numbers that the small body gives
SCALE = 8.0  # of the logits of the pretrained body, whose features have a length of one
RESEMBLYZER = Carrier(
    registry="pypi",
    package="Resemblyzer",
    version="0.1.4",
    path="resemblyzer/pretrained.pt",
    sha256="39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
)


class Ear(nn.Module):
    """Pictures [n, 1, bands, frames] to features [n, 64]: three convolutions with group normalisation, and a linear
    layer that sees every channel, band and moment of the last.

    Most of its weights are in the linear layer, where tasks with directions of their own disturb each other least.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = (1, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                GroupNorm(min(GROUPS, after), after),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(4 * width * -(-BANDS // 8) * -(-FRAMES // 8), FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(x).flatten(1))


class VoiceEncoder(nn.Module):
    """Resemblyzer's encoder (Wan et al. 2018, arXiv:1710.10467): an LSTM of three layers over frames of 40 mel
    energies, a linear layer on its last state, and lengths of one: [n, 1, 40, frames] to [n, 256]."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(BANDS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, x: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(x[:, 0].transpose(1, 2))
        return nn.functional.normalize(self.linear(hidden[-1]).relu(), dim=1)


def pretrained_encoder() -> VoiceEncoder:
    """The encoder with the weights of the package Resemblyzer 0.1.4, of which nothing is run."""
    state = torch.load(fetch(RESEMBLYZER, cache_folder()), map_location="cpu", weights_only=True)["model_state"]
    encoder = VoiceEncoder()
    encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
    return encoder


class Listener(nn.Module):
    """A body, and the fixed output layer of all tasks: rows at right angles, of length one, drawn once.

    As in the paper, whose CLIP heads are never learnt, the layer is no part of any task vector. One layer for all tasks
    keeps them from speaking with the same numbers: each has its own directions in the features.
    """

    def __init__(self, body: nn.Module, features: int, scale: float, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.body, self.scale = body, scale
        rows = torch.linalg.qr(torch.randn(features, sum(CLASSES.values())))[0].T
        self.register_buffer("heads", rows.contiguous())
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x: Tensor) -> Tensor:
        """The logits [n, classes of all tasks] of pictures [n, 1, bands, frames]."""
        return self.scale * nn.functional.linear(self.body((x - self.mean) / self.std), self.heads)


def of_task(logits: Tensor, task: str) -> Tensor:
    """The task's own logits [n, classes] of those of all."""
    begin = sum(CLASSES[name] for name in TASKS[: TASKS.index(task)])
    return logits[:, begin : begin + CLASSES[task]]


def network(run: Run, body: str, width: int, x: Tensor, stream: str) -> Listener:
    """The network with its first weights, drawn by the stream; the output layer is that of the seed, whatever the
    stream. `x`: pictures whose mean and deviation are taken for the small body."""
    with torch.random.fork_rng():
        torch.manual_seed(run.seed("heads"))
        if body == "resemblyzer":
            listener = Listener(nn.Identity(), 256, SCALE, torch.zeros(()), torch.ones(()))
        else:
            listener = Listener(nn.Identity(), FEATURES, 1.0, x.mean(), x.std())
    own = seeded(run, stream, lambda: pretrained_encoder() if body == "resemblyzer" else Ear(width))
    listener.body = own
    return listener.to(run.device)
