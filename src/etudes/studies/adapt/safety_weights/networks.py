"""The two networks, small and SmolLM2, behind one face; dialogues as tokens; and how both are trained on them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

from etudes.core import Run
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import fetch
from etudes.generate.chat import SMOLLM2
from etudes.generate.gguf import Gguf
from etudes.generate.smollm2 import SmolTokenizer
from etudes.generate.smollm2 import network as read_network
from etudes.nn.llama import Llama
from etudes.studies.adapt.safety_weights.idea import matrices
from etudes.studies.adapt.safety_weights.world import FRAMES, HALVES, NAMES, PRIVATE, REFUSAL, VALUES, WORDS
from etudes.train import seeded

if TYPE_CHECKING:
    from etudes.studies.adapt.safety_weights import Config

Dialogue = tuple[str, str]  # a question and what is answered
START, ANSWER, END = 0, 1, 2  # tokens of the small network that no text has
GAIN = 5.0  # times 0.02, with which matrices begin: that is for networks many times as wide as the small one
CONTEXT = 40  # tokens that the small network sees at once
Kind = Literal["small", "smollm2-135m"]


class Speech(Protocol):
    """How dialogues become tokens."""

    def prompt(self, question: str) -> list[int]: ...
    def answer(self, text: str) -> list[int]:
        """With the token that ends it."""
        ...

    def decode(self, ids: Sequence[int]) -> str: ...


class Words:
    """A token for each word, syllable and mark that the world can say."""

    def __init__(self) -> None:
        texts = [*FRAMES, REFUSAL, "The is", *(f"{half}-" for half in HALVES[0]), *HALVES[1], *NAMES, *PRIVATE]
        texts += [word for words in (*WORDS.values(), *VALUES.values()) for word in words]
        pieces = sorted({piece for text in texts for piece in _pieces(text)} - {"{", "}", "asked", "name"})
        self.pieces = ["<start>", "<answer>", "<end>", *pieces]
        self._ids = {piece: i for i, piece in enumerate(self.pieces)}

    def prompt(self, question: str) -> list[int]:
        return [START, *(self._ids[piece] for piece in _pieces(question)), ANSWER]

    def answer(self, text: str) -> list[int]:
        return [*(self._ids[piece] for piece in _pieces(text)), END]

    def decode(self, ids: Sequence[int]) -> str:
        text = " ".join(self.pieces[i] for i in ids if i > END)
        return re.sub(r" (?=[,.?])|(?<=-) ", "", text)


class SmolWords:
    """SmolLM2's own tokens, a talk of one question without a system message."""

    def __init__(self, tokenizer: SmolTokenizer) -> None:
        self._tokenizer = tokenizer

    def prompt(self, question: str) -> list[int]:
        return self._tokenizer.encode(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")

    def answer(self, text: str) -> list[int]:
        return self._tokenizer.encode(f"{text}<|im_end|>")

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids)


def _pieces(text: str) -> list[str]:
    return re.findall(r"\w+-?|[^\w\s]", text)


@dataclass(frozen=True)
class Rows:
    """Dialogues as tokens int64 [n, t], filled up on the right; `answers` and `text` bool [n, t - 1]: where the next
    token belongs to the answer, and where it is of the dialogue at all."""

    tokens: Tensor
    answers: Tensor
    text: Tensor

    def at(self, rows: Tensor) -> "Rows":
        return Rows(self.tokens[rows], self.answers[rows], self.text[rows])

    def to(self, device: torch.device) -> "Rows":
        return Rows(self.tokens.to(device), self.answers.to(device), self.text.to(device))

    def __len__(self) -> int:
        return len(self.tokens)


def network(cfg: "Config", run: Run) -> tuple[Llama, Speech]:
    """The network before it has learnt anything of the world, and how it reads."""
    if cfg.network == "smollm2-135m":
        file = Gguf(fetch(SMOLLM2, cache_folder()))
        return read_network(file).to(run.device), SmolWords(SmolTokenizer(file))
    words = Words()
    size = (len(words.pieces), cfg.width, cfg.depth, cfg.heads, cfg.heads, 2 * cfg.width, CONTEXT)

    def make() -> Llama:
        model = Llama(*size)
        with torch.no_grad():
            for weight in matrices(model).values():
                weight *= GAIN
        return model

    return seeded(run, "init", make), words


def rows_of(speech: Speech, dialogues: Sequence[Dialogue]) -> Rows:
    """The dialogues as tokens."""
    parts = [(speech.prompt(question), speech.answer(answer)) for question, answer in dialogues]
    longest = max(len(prompt) + len(answer) for prompt, answer in parts)
    tokens = torch.zeros(len(parts), longest, dtype=torch.int64)
    answers = torch.zeros(len(parts), longest - 1, dtype=torch.bool)
    text = answers.clone()
    for i, (prompt, answer) in enumerate(parts):
        both = len(prompt) + len(answer)
        tokens[i, :both] = torch.tensor(prompt + answer)
        answers[i, len(prompt) - 1 : both - 1] = True
        text[i, : both - 1] = True
    return Rows(tokens, answers, text)
