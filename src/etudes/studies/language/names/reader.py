"""The network that reads a name letter by letter and says its language; and how names become numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from etudes.core.errors import Problem
from etudes.core.files import write_text
from etudes.data.names import plain
from etudes.measure.error import evaluation_mode
from etudes.nn.recurrent import Kind, Recurrent
from etudes.train import weights

if TYPE_CHECKING:
    from etudes.studies.language.names import Config

Part = Literal["all", "first", "last"]
END = 0  # fills a name up to the length of the longest one; a letter that training never met counts as this too
SORTED = 16  # batches whose names are sorted by length together


def alphabet(names: Sequence[str]) -> str:
    """The characters of the names, each once, in order."""
    return "".join(sorted(set("".join(names))))


def encode(names: Sequence[str], letters: str) -> tuple[Tensor, Tensor]:
    """(ids int64 [n, t] filled up with END, lengths [n]): the letter letters[i] is i + 1. Raises Problem on no name."""
    lengths = torch.tensor([len(name) for name in names])
    if not len(names) or lengths.min() < 1:
        raise Problem("a name needs at least one letter; type one")
    place = {letter: i + 1 for i, letter in enumerate(letters)}
    longest = int(lengths.max())
    rows = [[place.get(letter, END) for letter in name] + [END] * (longest - len(name)) for name in names]
    return torch.tensor(rows), lengths


class NameReader(nn.Module):
    """Names to logits [n, languages], read from the state after a name's last letter.

    `part` is what is read of a name, 3 letters or all; `backwards` reads these from their end; `accents` keeps them.
    """

    def __init__(
        self,
        kind: Kind,
        letters: str,
        languages: Sequence[str],
        hidden: int,
        layers: int = 1,
        dropout: float = 0.0,
        part: Part = "all",
        backwards: bool = False,
        accents: bool = False,
    ) -> None:
        super().__init__()
        self.letters, self.languages = letters, tuple(languages)
        self.part, self.backwards, self.accents = part, backwards, accents
        self.recurrent = Recurrent(kind, len(letters) + 1, hidden, layers, dropout)
        self.recurrent.head = nn.Linear(hidden, len(languages))

    def spell(self, name: str) -> str:
        """The letters of the name in the order in which they are read."""
        return spell(name, self.part, self.backwards, self.accents)

    def encode(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What `forward` takes, of names as they are written."""
        return encode([self.spell(name) for name in names], self.letters)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Logits [n, languages] of ids [n, t], of which the first lengths [n] are a name's."""
        return self.recurrent(x)[torch.arange(len(x), device=x.device), lengths - 1]


def spell(name: str, part: Part = "all", backwards: bool = False, accents: bool = False) -> str:
    """The small letters of a name as a network reads them."""
    letters = " ".join(name.casefold().split()) if accents else plain(name)
    letters = {"all": letters, "first": letters[:3], "last": letters[-3:]}[part]
    return letters[::-1] if backwards else letters


def letter_by_letter(network: NameReader, name: str) -> Tensor:
    """Probabilities [letters, languages] of the languages after each letter that the network has read: what it would
    say if the name ended there. The rows are in the order of `network.spell(name)`, and the last one is the answer.
    """
    x, _ = network.encode([name])
    with evaluation_mode(network):
        return network.recurrent(x.to(network.recurrent.head.weight.device))[0].float().softmax(-1).cpu()


def guesses(network: NameReader, names: Sequence[str]) -> Tensor:
    """The most probable language int64 [n] of each name."""
    x, lengths = network.encode(names)
    device = network.recurrent.head.weight.device
    found = torch.empty_like(lengths)
    with evaluation_mode(network):
        for rows in lengths.argsort(stable=True).split(500):  # a batch is as long as its longest name
            logits = network(x[rows, : lengths[rows].max()].to(device), lengths[rows].to(device))
            found[rows] = logits.argmax(-1).cpu()
    return found


def sampling_weights(languages: Tensor, evenness: float) -> Tensor:
    """How likely each row is drawn, float64 [n], from its language int64 [n]: a language of n names has the share
    n^(1 - evenness) of the draws, up to a factor. 0 draws all names alike, 1 all languages, as the tutorials do."""
    sizes = languages.bincount()[languages].double()
    return sizes**-evenness


def rows_at(weights: Tensor, lengths: Tensor, seed: int, i: int, batch: int) -> Tensor:
    """The rows [batch] of step i, drawn with these weights: names of like lengths, as the longest sets the work.

    SORTED batches are drawn at a time, with replacement, sorted by length, cut, and taken in a drawn order.
    """
    chance = torch.Generator().manual_seed((seed + i // SORTED) % 2**63)
    pool = torch.multinomial(weights, SORTED * batch, replacement=True, generator=chance)
    turn = torch.randperm(SORTED, generator=chance)
    return pool[lengths[pool].argsort(stable=True)].split(batch)[int(turn[i % SORTED])]


def network(cfg: "Config", letters: str, languages: Sequence[str]) -> NameReader:
    """The untrained network of a variant."""
    shape = (cfg.hidden, cfg.layers, cfg.dropout, cfg.part, cfg.backwards, cfg.accents)
    return NameReader(cfg.kind, letters, languages, *shape)


def keep_words(folder: Path, model: NameReader) -> None:
    """Write the network's letters and languages beside its weights: what `network_of` needs."""
    write_text(folder / "letters.txt", model.letters)
    write_text(folder / "languages.txt", "\n".join(model.languages))


def network_of(cfg: "Config", folder: Path) -> NameReader:
    """The network of a finished run of a variant that reads names, in evaluation mode."""
    letters = (folder / "letters.txt").read_text(encoding="utf-8")
    languages = (folder / "languages.txt").read_text(encoding="utf-8").split("\n")
    return weights.load(folder / "model.safetensors", network(cfg, letters, languages))
