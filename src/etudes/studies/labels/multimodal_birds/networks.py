"""Networks of several modalities: an encoder each, which makes tokens, and a fusion, which makes scores of them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from etudes.core import Run
from etudes.data.images import unit
from etudes.measure.size import count_parameters
from etudes.nn.norm import Standardise
from etudes.studies.labels.multimodal_birds.fusion import Answer, fusion, hide, match, pool
from etudes.studies.labels.multimodal_birds.sets import Inputs, Task
from etudes.tools.encoders import sentence_encoder, shorten
from etudes.tools.resnets import imagenet_resnet, plain_resnet

FIRST = 0.1  # deviation of the first vectors of words: as small as what Adam changes in some steps
EARLY = 8  # channels that the words become where they meet the pixels


class Places(nn.Module):
    """Pictures or spectra of mean 0 [n, c, h, w] as tokens [n, places, width]: three convolutions, each of which halves
    them, the first by its stride and the others by a pool."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        few, more = width // 4, width // 2
        self.layers = nn.Sequential(
            *(nn.Conv2d(channels, few, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(few), nn.ReLU()),
            *(nn.Conv2d(few, more, 3, padding=1, bias=False), nn.BatchNorm2d(more), nn.ReLU()),
            nn.MaxPool2d(2, ceil_mode=True),
            *(nn.Conv2d(more, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            nn.MaxPool2d(2, ceil_mode=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten(2).transpose(1, 2)


class ResNetPlaces(nn.Module):
    """The same by a residual network of photograph size, of which the last pooling and layer are taken away."""

    def __init__(self, name: str, pretrained: bool, channels: int, width: int) -> None:
        super().__init__()
        self.colours = nn.Identity() if channels == 3 else nn.Conv2d(channels, 3, 1)
        trunk = imagenet_resnet(name) if pretrained else plain_resnet(name)
        self.trunk, self.out = trunk[:-3], nn.Linear(trunk[-1].in_features, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.trunk(self.colours(x)).flatten(2).transpose(1, 2)).relu()


class Words(nn.Module):
    """Numbers of words [n, length] as tokens [n, length, width]; of the filling, zeros."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        first = FIRST * torch.randn(vocabulary, width)
        self.vectors = nn.Embedding(vocabulary, width, padding_idx=0, _weight=first)
        with torch.no_grad():
            self.vectors.weight[0] = 0

    def forward(self, rows: Tensor) -> Tensor:
        return self.vectors(rows)


class Sentences(nn.Module):
    """Numbers of words [n, length] as one token each [n, 1, width]: the vector of a sentence encoder."""

    def __init__(self, run: Run, name: str, pretrained: bool, vocabulary: Sequence[str], width: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.encoder = sentence_encoder(run, name, pretrained, [" ".join(vocabulary)], (512, 96, 2))
        self.out = nn.Linear(self.encoder.width, width)

    def texts(self, rows: Tensor) -> list[str]:
        return [" ".join(self.vocabulary[number] for number in row if number) for row in rows.tolist()]

    def forward(self, rows: Tensor) -> Tensor:
        tokens = [shorten(self.encoder.encode(text), 64) for text in self.texts(rows)]
        return self.out(self.encoder(tokens))[:, None].relu()


class Network(nn.Module):
    """Inputs of each modality to scores [n, classes]. Where the words meet the pixels, `early` is their layer."""

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        norms: Mapping[str, nn.Module],
        join: nn.Module,
        early: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.encoders, self.norms, self.join = nn.ModuleDict(encoders), nn.ModuleDict(norms), join
        self.early = early

    def tokens(self, inputs: Inputs) -> list[Tensor]:
        """What enters the fusion, of each modality: tokens [n, k, d], or pixels of mean 0 [n, c, h, w]."""
        found = []
        for name, x in inputs.items():
            x = self.norms[name](unit(x)) if name in self.norms else x
            found.append(x if self.early and name == "picture" else self.encoders[name](x))
        return found

    def answer(self, tokens: Sequence[Tensor]) -> Answer:
        """Scores [n, classes] of what `tokens` gives, and all logits that are trained."""
        if self.early:
            pixels, words = tokens
            told = self.early(pool(words))[:, :, None, None].expand(-1, -1, *pixels.shape[2:])
            tokens = [self.encoders["picture"](torch.cat([pixels, told], 1))]
        return self.join(tokens)

    def forward(self, inputs: Inputs, kept: Tensor | None = None) -> Answer:
        """Scores and logits of inputs, without the modalities that are not `kept` [n, modalities]."""
        tokens = self.tokens(inputs)
        return self.answer(tokens if kept is None else hide(tokens, kept))


def standard(x: Tensor) -> Standardise:
    """The mean and deviation of each channel of pictures or spectra [n, c, h, w]."""
    pictures = unit(x).double()
    return Standardise(pictures.mean((0, 2, 3)).tolist(), pictures.std((0, 2, 3)).clamp_min(1e-6).tolist())


def build(run: Run, task: Task, way: str, width: int, hidden: int, sizes: tuple[str, str, bool]) -> Network:
    """The network for the task's modalities. `hidden` units has the joint fusion; others have as many as make the
    network of its size. `sizes`: what reads pictures ("small" or a ResNet), what reads words ("bag" or a sentence
    encoder), and whether those of full size are pretrained."""
    picture, text, pretrained = sizes
    inputs = task.splits["train"].inputs

    def reader(name: str, more: int = 0) -> nn.Module:
        if name == "words" and text == "bag":
            return Words(len(task.vocabulary), width)
        if name == "words":
            return Sentences(run, text, pretrained, task.vocabulary, width)
        channels = inputs[name].shape[1] + more
        if name == "sound" or picture == "small":
            return Places(channels, width)
        return ResNetPlaces(picture, pretrained, channels, width)

    encoders = {name: reader(name) for name in inputs}
    norms = {name: standard(x) for name, x in inputs.items() if x.ndim == 4}
    if len(inputs) == 1 or way == "joint":
        return Network(encoders, norms, fusion(way, len(inputs), width, hidden, task.classes))
    size = count_parameters(fusion("joint", len(inputs), width, hidden, task.classes))
    early, met = None, len(inputs)
    if way == "early":
        early, met = nn.Linear(width, EARLY), 1
        wider = reader("picture", EARLY)
        size -= count_parameters(early) + count_parameters(wider) - count_parameters(encoders["picture"])
        encoders["picture"] = wider
    units = match(lambda units: fusion(way, met, width, units, task.classes), size)
    return Network(encoders, norms, fusion(way, met, width, units, task.classes), early)
