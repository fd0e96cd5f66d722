"""What turns sentences into a few bytes and back, of a run of lossy-text or as it comes along with the demos."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from etudes.core import Run, catalogue
from etudes.core.files import write_text
from etudes.core.record import Record
from etudes.data.tokens import Tokenizer
from etudes.retrieval.embedders import embedder
from etudes.studies.language.lossy_text import training
from etudes.studies.language.lossy_text.codes import Codec
from etudes.studies.language.lossy_text.network import Writer
from etudes.train import weights
from etudes.web.demos.halves import halve, shorten

# Variants of lossy-text whose codes are shown, and sentences whose embeddings come along, as the embedder does not.
CODES = ("bits-8", "bits-4", "bits-2", "bits-1", "product-48", "product-12")
EXAMPLES = (
    "She is afraid of dogs.",
    "I bought three books yesterday.",
    "Tom doesn't know where Mary lives.",
    "He never answers my letters.",
    "The train leaves at seven.",
)
INVERTER, LANGUAGE_MODEL = "model.safetensors", "language.safetensors"
LINES = 400  # training lines that zstd has before a sentence


@dataclass(frozen=True, eq=False)
class Compressor:
    """What turns sentences into codes of lossy-text and back: `codecs` by the names of their variants, a language model
    that packs without loss, training lines that zstd may look back at, and embeddings of sentences that need not be
    embedded any more."""

    inverter: Writer
    language_model: Writer
    tokenizer: Tokenizer
    codecs: Mapping[str, Codec]
    lines: Sequence[str]
    known: Mapping[str, np.ndarray]


def compressor(record: Record) -> Compressor:
    """That of a run of lossy-text, shipped or one's own."""
    study, folder = catalogue.find(record.spec.study), record.folder
    cfg = study.config(**record.spec.config)
    if (folder / "codes.safetensors").exists():
        return _read_compressor(folder, cfg)
    # Its lines are there, and its networks where `lossless` ran too.
    run = Run(record.spec, folder, library=record.env["library"], leader=False)
    c = training.corpus(cfg, run)
    changes = _changes()
    codecs = {name: training.codec_of(dataclasses.replace(cfg, **changes[name]), c, run) for name in CODES}
    writers = training.inverter(cfg, c, run), training.language_model(cfg, c, run, c.lines["train"])
    return Compressor(*writers, c.tokenizer, codecs, c.lines["train"][:LINES], {})


def _changes() -> dict[str, Mapping[str, Any]]:
    """{variant: the fields that it changes} of the study."""
    return {variant.name: variant.changes for variant in catalogue.find("lossy-text").variants}


def write_compressor(found: Compressor, embedder_name: str, folder: Path) -> None:
    """Write it into the folder that its run is packed in, with the embeddings of EXAMPLES."""
    whole = folder / "whole.safetensors"
    for model, name in ((found.inverter, INVERTER), (found.language_model, LANGUAGE_MODEL)):
        weights.save(whole, model)
        halve(whole, folder / name)
    whole.unlink()
    found.tokenizer.save(folder / "tokenizer.json")
    shorten(folder / "tokenizer.json")
    tensors = {"known": torch.from_numpy(embedder(embedder_name).encode(EXAMPLES))}
    for name, codec in found.codecs.items():
        tensors |= {f"{name}.mean": torch.from_numpy(codec.mean), f"{name}.table": torch.from_numpy(codec.table)}
    save_file(tensors, folder / "codes.safetensors", metadata={"format": "pt"})
    (folder / "codes.safetensors").chmod(0o644)
    write_text(folder / "lines.txt", "\n".join(found.lines))


def _read_compressor(folder: Path, cfg: Any) -> Compressor:
    tensors = {name: tensor.numpy() for name, tensor in load_file(folder / "codes.safetensors").items()}
    changes = _changes()
    codecs = {
        name: Codec(
            changes[name]["quantiser"],
            changes[name]["bits"],
            *(tensors[f"{name}.{part}"] for part in ("mean", "table")),
        )
        for name in CODES
    }
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    vector = tensors["known"].shape[1]
    shape = (tokenizer.size, cfg.width, vector, 1, cfg.prefix, cfg.context)
    writers = (weights.load(folder / name, Writer(*shape)) for name in (INVERTER, LANGUAGE_MODEL))
    lines = (folder / "lines.txt").read_text(encoding="utf-8").split("\n")
    known = dict(zip(EXAMPLES, tensors["known"], strict=True))
    return Compressor(*writers, tokenizer, codecs, lines, known)
