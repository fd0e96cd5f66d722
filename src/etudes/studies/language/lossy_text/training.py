"""What the variants of a seed share: the lines with their embeddings, and the networks that write."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from etudes.core import Run
from etudes.core.files import read_json, write_json
from etudes.data import copies
from etudes.data.batches import Batches
from etudes.data.sources import cache_folder
from etudes.data.text import SPLITS
from etudes.data.tokens import Tokenizer, bpe
from etudes.retrieval.embedders import embedder
from etudes.studies.language.lossy_text.codes import (
    Codec,
    dequantise,
    float_codec,
    product_codec,
    quantise,
    scalar_codec,
)
from etudes.studies.language.lossy_text.compressor import invert
from etudes.studies.language.lossy_text.lines import lines
from etudes.studies.language.lossy_text.network import Writer, loss_of, pad
from etudes.tools.translator import length_groups
from etudes.train import Adam, adam, descend, fit, seeded, weights

if TYPE_CHECKING:
    from etudes.studies.language.lossy_text import Config

END = 0  # the token that begins and ends a line: the first of every tokenizer of `bpe`
CLIP = 1.0  # largest norm of a gradient
BLOCK = 1000  # vectors that are compared with all at once


@dataclass(frozen=True, eq=False)
class Corpus:
    """Lines of each split, their embeddings float32 [n, width], and sub-words learnt from the training lines."""

    lines: dict[str, list[str]]
    vectors: dict[str, np.ndarray]
    tokenizer: Tokenizer
    source: dict[str, str]

    def tokens(self, texts: Sequence[str], context: int) -> list[list[int]]:
        """Each text's tokens, at most `context`."""
        return [self.tokenizer.encode(text)[:context] for text in texts]


def corpus(cfg: "Config", run: Run) -> Corpus:
    """The lines that all seeds share, embedded once: `trained` for training, of the other splits `pool` each."""
    name = cfg.second if cfg.reads == "second" else cfg.dataset
    settings = {"dataset": name, "embedder": cfg.embedder, "trained": cfg.trained, "pool": cfg.pool}

    def make(own: Run) -> None:
        d = lines(name)
        kept: dict[str, Any] = {"source": d.source}
        for split in SPLITS:
            every = getattr(d, split)
            some = own.rng(split).permutation(len(every))[: cfg.trained if split == "train" else cfg.pool]
            kept[split] = [every[i] for i in some]
            np.save(own.path(f"{split}.npy"), embed(cfg.embedder, kept[split]))
        write_json(own.path("lines.json"), kept)
        bpe(kept["train"], cfg.vocabulary).save(own.path("tokenizer.json"))
        own.result(**{"train/lines": len(kept["train"])})

    return _read(run.once("corpus", settings | {"vocabulary": cfg.vocabulary}, make, seed=0).folder)


def embed(name: str, texts: Sequence[str]) -> np.ndarray:
    """The embeddings float32 [n, width] of texts, kept in the cache, for they take minutes and are always the same."""
    model = embedder(name)
    if name == "hashing":
        return model.encode(texts)
    asked = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    path = cache_folder() / "embeddings" / f"{name.replace('/', '-')}-{asked[:16]}.safetensors"

    def whole(tensors: list[Tensor], about: copies.About) -> np.ndarray | None:
        found = tensors[0].numpy()
        return found if about["fingerprint"] == hashlib.sha256(found.tobytes()).hexdigest() else None

    kept = copies.load(path, ["vectors"], whole)
    if kept is None:
        kept = model.encode(texts)
        about = {"fingerprint": hashlib.sha256(kept.tobytes()).hexdigest()}
        copies.save(path, "embeddings", {"vectors": torch.from_numpy(kept)}, about)
    return kept


@cache
def _read(folder: Path) -> Corpus:
    kept = read_json(folder / "lines.json", f"delete {folder}")
    vectors = {split: np.load(folder / f"{split}.npy") for split in SPLITS}
    return Corpus(
        {split: kept[split] for split in SPLITS}, vectors, Tokenizer.load(folder / "tokenizer.json"), kept["source"]
    )


def codec_of(cfg: "Config", c: Corpus, run: Run) -> Codec:
    """The variant's codec, learnt from the training lines' embeddings."""
    width = c.vectors["train"].shape[1]
    if cfg.quantiser == "scalar":
        return scalar_codec(c.vectors["train"], cfg.bits, max(1, round(cfg.kept * width)), cfg.centred)
    if cfg.quantiser == "product":
        return product_codec(c.vectors["train"], width // cfg.piece, cfg.bits, run.rng("centroids"))
    return float_codec(width)


def pass_through(codec: Codec, vectors: np.ndarray) -> np.ndarray:
    """The vectors as they come out of the codec."""
    return vectors if codec.kind == "float" else dequantise(codec, quantise(codec, vectors))


def writer(cfg: "Config", c: Corpus, conditions: int) -> Writer:
    found = Writer(c.tokenizer.size, cfg.width, c.vectors["train"].shape[1], conditions, cfg.prefix, cfg.context)
    found.fit_scale(torch.from_numpy(c.vectors["train"]))
    return found


def common_fields(cfg: "Config") -> dict[str, Any]:
    """The fields that decide the networks of all variants."""
    names = ("dataset", "second", "reads", "embedder", "trained", "pool", "vocabulary", "width", "prefix", "context")
    recipe = ("steps", "batch", "lr", "schedule", "guessed", "corrector_steps")
    return {name: getattr(cfg, name) for name in (*names, *recipe)}


def learn(
    run: Run, cfg: "Config", model: Writer, tokens: Sequence[Sequence[int]], states: Callable[[Tensor], Any], steps: int
) -> None:
    """Train the model on lines of tokens, each given the state that `states(rows)` makes, and keep its weights."""
    recipe = Adam(steps=steps, batch=cfg.batch, lr=cfg.lr, schedule=cfg.schedule)
    opt, schedule = adam(model, recipe, betas=(0.9, 0.98))
    groups = length_groups([tokens, tokens], min(cfg.batch, len(tokens)), run)  # of like lengths: little is filled up
    order = Batches(len(groups), 1, run.seed("order"))

    def step(i: int) -> dict[str, Tensor]:
        rows = groups[order.at(i).item()]
        loss = loss_of(model, [tokens[row] for row in rows], END, states(torch.tensor(rows)))
        return {"train/loss": descend(loss, opt, schedule, CLIP)}

    fit(run, {"model": model, "opt": opt, "schedule": schedule}, step, steps, log_every=20)
    weights.save(run.path("model.safetensors"), model)
    run.result(parameters=sum(p.numel() for p in model.parameters()))


def inverter(cfg: "Config", c: Corpus, run: Run, kind: str = "inverter", codec: Codec | None = None) -> Writer:
    """The zero-step inverter (Morris et al. 2023, sec. 3), of vectors as they are or as they come out of a codec."""
    codes = {"quantiser": cfg.quantiser, "bits": cfg.bits, "kept": cfg.kept, "piece": cfg.piece, "centred": cfg.centred}
    vectors = c.vectors["train"] if codec is None else pass_through(codec, c.vectors["train"])
    own = codes if codec is not None else {}
    return _writer_of(cfg, c, run, kind, own, c.lines["train"], vectors)


def language_model(cfg: "Config", c: Corpus, run: Run, texts: Sequence[str]) -> Writer:
    """The inverter that is given zeros: a model of the texts, one for each training line, of the same size."""
    return _writer_of(cfg, c, run, "model", {"words_kept": cfg.words_kept}, texts, None)


def _writer_of(
    cfg: "Config",
    c: Corpus,
    run: Run,
    kind: str,
    own_fields: dict[str, Any],
    texts: Sequence[str],
    vectors: np.ndarray | None,
) -> Writer:
    def make(own: Run) -> None:
        model = seeded(own, "init", lambda: writer(cfg, c, 1))
        x = torch.zeros(len(texts), 1, model.vector, device=own.device)
        if vectors is not None:
            x = model.conditions_of(torch.from_numpy(vectors).to(own.device))
        learn(own, cfg, model, c.tokens(texts, cfg.context), lambda rows: model.read(x[rows]), cfg.steps)

    found = run.once(kind, common_fields(cfg) | own_fields, make)
    return weights.load(found.folder / "model.safetensors", writer(cfg, c, 1)).to(run.device)


def nearest_others(vectors: np.ndarray) -> np.ndarray:
    """The row of the nearest other one of each of vectors [n, width] of unit norm, int64 [n]."""
    found = []
    for begin in range(0, len(vectors), BLOCK):
        likeness = vectors[begin : begin + BLOCK] @ vectors.T
        likeness[np.arange(len(likeness)), begin + np.arange(len(likeness))] = -np.inf
        found.append(likeness.argmax(1))
    return np.concatenate(found)


def corrector(cfg: "Config", c: Corpus, run: Run) -> Writer:
    """The corrector (sec. 3): it begins with the inverter's weights, and learns to write a training line from its
    embedding and a hypothesis. This is the inverter's own guess for the first `guessed` lines, and for the others the
    nearest other training line, whose embedding is known already."""
    base = inverter(cfg, c, run)

    def make(own: Run) -> None:
        texts, e = c.lines["train"], c.vectors["train"]
        guesses = invert(base, c.tokenizer, e[: cfg.guessed])
        near = nearest_others(e)[cfg.guessed :]
        hypotheses = [*guesses, *(texts[i] for i in near)]
        h = np.concatenate([embedder(cfg.embedder).encode(guesses), e[near]])
        model = seeded(own, "init", lambda: writer(cfg, c, 3))
        model.load_state_dict(base.state_dict(), strict=False)
        x = model.conditions_of(*(torch.from_numpy(vectors).to(own.device) for vectors in (e, h)))
        rows, lengths = (t.to(own.device) for t in pad(c.tokens(hypotheses, cfg.context), c.tokenizer.start))
        tokens = c.tokens(texts, cfg.context)
        learn(own, cfg, model, tokens, lambda i: model.read(x[i], rows[i], lengths[i]), cfg.corrector_steps)

    found = run.once("corrector", common_fields(cfg), make)
    return weights.load(found.folder / "model.safetensors", writer(cfg, c, 3)).to(run.device)
