"""What is measured: bits per byte, how finely a tokenizer cuts, and what n-grams say of what a network writes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from etudes.core import Run
from etudes.data.corpus import Identifier, word_runs
from etudes.data.text import beginnings
from etudes.generate.sampling import choice, generate
from etudes.measure.bits import bits_per_byte
from etudes.measure.writing import distinct, marks, repetition, spelling, words
from etudes.studies.language.dialect_lora.networks import Writer

if TYPE_CHECKING:
    from etudes.studies.language.dialect_lora import Config

BITS = "test/bits-per-byte"
COPIED = 5  # words in a row that stand in the training text


def bits(cfg: "Config", writer: Writer, works: Sequence[str]) -> float:
    """Bits per byte of the works' beginnings, each token given half a context or more where there is that much."""
    asked = beginnings(works, cfg.tested)
    return bits_per_byte(writer.model, writer.tokenizer, asked, cfg.context, cfg.context // 2)


def all_bits(cfg: "Config", run: Run, writer: Writer, asked: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """{BITS + ending: bits per byte} of each group of works that is asked about."""
    writer.model.eval()
    with run.autocast(), torch.no_grad():
        return {f"{BITS}{ending}": bits(cfg, writer, works) for ending, works in asked.items() if works}


def fertility(tokenizer: object, works: Sequence[str]) -> float:
    """Tokens a word of the works, a word being what stands between spaces."""
    return token_count(tokenizer, works) / sum(len(work.split()) for work in works)


def token_count(tokenizer: object, works: Sequence[str]) -> int:
    return sum(len(tokenizer.encode(work)) for work in works)  # type: ignore[attr-defined]


def cutting(
    tokenizer: object, dialect: Sequence[str], italian: Sequence[str], english: Sequence[str]
) -> dict[str, float]:
    """Tokens a word in three languages; and in `premium` the tokens of the documents in dialect over those of the same
    documents in Italian, less 1 (Petrov et al. 2023, arXiv:2305.15425, sec. 3)."""
    return {
        "test/tokens-per-word": fertility(tokenizer, dialect),
        "test/tokens-per-word-italian": fertility(tokenizer, italian),
        "test/tokens-per-word-english": fertility(tokenizer, english),
        "test/premium": token_count(tokenizer, dialect) / token_count(tokenizer, italian) - 1,
    }


def write(writer: Writer, prompts: Sequence[str], length: int, seed: int) -> list[str]:
    """What the network writes after each prompt: `length` tokens, drawn at temperature 0.8 from the nucleus of 0.95."""
    device = next(writer.model.parameters()).device
    found = []
    for number, prompt in enumerate(prompts):
        tokens = torch.tensor([[writer.tokenizer.start, *writer.tokenizer.encode(prompt)]], device=device)
        drawn = choice(0.8, top_p=0.95, generator=torch.Generator(device).manual_seed(seed + number))
        found.append(writer.tokenizer.decode(generate(writer.model, tokens, length, drawn)[0].tolist()))
    return found


def language_of(texts: Sequence[str], dialect: Sequence[str], italian: Sequence[str], length: int = 60_000) -> float:
    """The share of texts that runs of characters tell to be in the dialect and not in Italian, learnt from works."""
    identifier = Identifier({"dialect": beginnings(dialect, length), "italian": beginnings(italian, length)})
    return sum(identifier.language(text) == "dialect" for text in texts) / len(texts)


def read_samples(texts: Sequence[str], train: Sequence[str]) -> dict[str, float]:
    """What n-grams say of written texts, each a share in [0, 1].

    `known-words`: words that the dialect's training text has. `copied`: runs of five words that stand there as they
    are. `distinct-2`: different pairs among all pairs of words and marks. `circles`: texts that end in a phrase said
    three times. No speaker read them: these numbers know spelling, and no sense.
    """
    learnt = set().union(*(word_runs(line, COPIED) for work in train for line in work.split("\n")))
    written = [run for text in texts for run in word_runs(" ".join(text.split()), COPIED)]
    lexicon = frozenset(word for work in train for word in words(work))
    return {
        "test/samples-known-words": spelling(texts, lexicon),
        "test/samples-copied": sum(run in learnt for run in written) / max(1, len(written)),
        "test/samples-distinct-2": distinct([marks(text) for text in texts], 2),
        "test/samples-circles": repetition(texts),
    }


def prompts(works: Sequence[str], count: int) -> list[str]:
    """The first four words of so many held-out works."""
    return [" ".join(work.split()[:4]) for work in works[:count]]


def compare(prompts: Sequence[str], before: Sequence[str], after: Sequence[str]) -> str:
    """Prompts and how both networks went on, to be read."""
    told = []
    for prompt, old, new in zip(prompts, before, after, strict=True):
        told += [f"[{prompt} | untouched]\n{prompt}{old}\n", f"[{prompt} | adapted]\n{prompt}{new}\n"]
    return "\n".join(told)
