"""One variant under one seed: lines to bytes, bytes to lines, and what was kept on the way."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from etudes.core import Problem, Run
from etudes.generate.sampling import choice
from etudes.retrieval.embedders import embedder
from etudes.studies.language.lossy_text import arithmetic
from etudes.studies.language.lossy_text.codes import pack, unpack
from etudes.studies.language.lossy_text.compressor import correct, invert
from etudes.studies.language.lossy_text.measures import overlap
from etudes.studies.language.lossy_text.training import Corpus, codec_of, corrector, inverter, language_model

if TYPE_CHECKING:
    from etudes.studies.language.lossy_text import Config

DICTIONARY = 112_640  # bytes of training lines that zstd has before it, at most: its own default for a dictionary
COUNT = 4  # bytes that tell how many lines a file has, of those that hold texts


@dataclass(frozen=True, eq=False)
class Outcome:
    """The lines that came back, the bytes of the file, and those of them that grow with the lines."""

    texts: list[str]
    file: int
    codes: int


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cosine of each row of a with that of b, [n]."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(1) / np.maximum(norms, 1e-9))


def nearest_of(
    cfg: "Config", received: np.ndarray, write: Callable[[int, list[str], np.ndarray], list[str]]
) -> list[str]:
    """Of 1 + rounds hypotheses of each line the one whose embedding is nearest to the received one.

    write(round, the best texts so far, their embeddings) gives the next ones.
    """
    model = embedder(cfg.embedder)
    best = write(0, [], received)
    vectors = model.encode(best)
    for i in range(1, cfg.rounds + 1):
        texts = write(i, best, vectors)
        fresh = model.encode(texts)
        nearer = cosines(received, fresh) > cosines(received, vectors)
        best = [new if better else old for new, old, better in zip(texts, best, nearer, strict=True)]
        vectors = np.where(nearer[:, None], fresh, vectors)
    return best


def embedding_codes(cfg: "Config", run: Run, c: Corpus, split: str, rows: np.ndarray) -> Outcome:
    """By the embeddings: the whole pool through a file, and some rows of it back in the way that the variant names."""
    codec = codec_of(cfg, c, run)
    data = pack(codec, c.vectors[split])
    received, codes = unpack(data)[rows], codec.code_bytes * len(c.vectors[split])
    near = [c.lines["train"][i] for i in (received @ c.vectors["train"].T).argmax(1)]
    if cfg.method == "nearest":
        return Outcome(near, len(data), codes)
    kind = ("inverter-of-codes", codec) if cfg.trained_on_codes else ("inverter", None)
    base = inverter(cfg, c, run, *kind)
    texts = near if cfg.method == "edit" else invert(base, c.tokenizer, received)
    if cfg.method == "invert":
        seen = c.lines["train"][: len(rows)]
        again = invert(base, c.tokenizer, unpack(pack(codec, c.vectors["train"][: len(rows)])))
        run.result(**{"train/f1": np.mean([overlap(a, b) for a, b in zip(again, seen, strict=True)])})
        return Outcome(texts, len(data), codes)
    model = base if cfg.method == "rerank" else corrector(cfg, c, run)

    def write(i: int, best: list[str], vectors: np.ndarray) -> list[str]:
        if i == 0:
            return texts
        if cfg.method != "rerank":
            return correct(model, c.tokenizer, received, best, vectors)
        chance = torch.Generator(run.device).manual_seed(run.seed("draws", i))
        return invert(base, c.tokenizer, received, choice(cfg.temperature, generator=chance))

    return Outcome(nearest_of(cfg, received, write), len(data), codes)


def text_codes(cfg: "Config", run: Run, c: Corpus, split: str, rows: np.ndarray) -> Outcome:
    """By the words of the whole pool: all of them, or the rarest, without loss."""
    counts = Counter(word for line in c.lines["train"] for word in line.lower().split())
    train, kept = ([keep_words(text, counts, cfg.words_kept) for text in c.lines[part]] for part in ("train", split))
    if cfg.method == "zstd":
        data = zstd(kept, train)
        return Outcome([kept[i] for i in rows], len(data), len(data))
    model = language_model(cfg, c, run, train)
    data = arithmetic.encode(model, [c.tokenizer.encode(text) for text in kept], c.tokenizer.start)
    back = arithmetic.decode(model, data, len(kept), c.tokenizer.start)
    return Outcome([c.tokenizer.decode(back[i]) for i in rows], COUNT + len(data), len(data))


def keep_words(text: str, counts: Mapping[str, int], share: float) -> str:
    """The rarest words of a text by these counts, in the text's order: this share of them, at least one.

    >>> keep_words("this is a fast parser", {"this": 9, "is": 9, "a": 9, "fast": 2, "parser": 1}, 0.4)
    'fast parser'
    """
    words = text.split()
    rare = sorted(range(len(words)), key=lambda i: (counts.get(words[i].lower(), 0), i))
    chosen = sorted(rare[: max(1, round(share * len(words)))])
    return " ".join(words[i] for i in chosen) if share < 1 else text


def zstd(texts: Sequence[str], train: Sequence[str]) -> bytes:
    """The lines as one file, packed at zstd's level 19 after training lines, which as the networks are not
    counted."""
    try:
        import zstandard
    except ImportError:
        raise Problem("this variant packs with zstandard; install etudes[text]") from None
    dictionary = zstandard.ZstdCompressionDict("\n".join(train).encode()[:DICTIONARY])
    return zstandard.ZstdCompressor(level=19, dict_data=dictionary).compress("\n".join(texts).encode())
