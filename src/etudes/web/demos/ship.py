"""The small networks that come with the demos, so that each plays at once: which, how they are made, where they lie.

    python -m etudes.web.demos.ship           train all of them and pack them: some seven minutes on two cores
    python -m etudes.web.demos.ship mixup     those of one study

A packed network is the folder of its run without what only reports read, with its matrices in half precision. They are
trained at a seed for tuning, which judges nothing. Of a set that is not part of an installed package its first test
pictures come along, so that nothing need be fetched. Beside the base of audio-task-vectors lie the networks tuned from
it, of which its demo makes task vectors, and an excerpt of what they are tested on. Beside the inverter of lossy-text
lie its codes' tables, some lines for zstd, and the embeddings of a few sentences to begin with. Beside the network of
rotnet lie those of other pretexts and one of classes, and pictures that none of them was trained on.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from etudes.core import Run, catalogue
from etudes.core.errors import Problem, unknown
from etudes.core.files import appearing, write_json, write_text
from etudes.core.record import Record, read
from etudes.data.images import Images, images
from etudes.data.masks import Masks
from etudes.data.sources import SOURCES
from etudes.studies.adapt.audio_task_vectors.examples import KINDS, Examples, read_examples
from etudes.studies.adapt.audio_task_vectors.networks import network
from etudes.studies.adapt.audio_task_vectors.operations import Bench
from etudes.studies.generative.unet.examples import opened
from etudes.studies.language.translation.corpus import corpus
from etudes.studies.language.translation.scores import words
from etudes.train import weights
from etudes.web.demos.compressor import compressor, write_compressor
from etudes.web.demos.halves import halve, shorten, write_halved
from etudes.web.demos.rotnet_networks import (
    HELD_OUT,
    SUPERVISED,
    file_of,
    open_run,
    read_siblings,
    siblings,
    train_supervised,
)

TRAINED = Path(__file__).parent / "trained"
KEPT = (
    "spec.json",
    "result.json",
    "tokenizer.json",
    "letters.txt",
    "languages.txt",
    "episode.gif",
)  # of a run, beside its weights and env.json
EXCERPT, COLUMNS = 200, 20  # test pictures that come along, and how many stand in a row of their sheet
SEGMENTED = 8  # the same of pictures to segment, each above its mask

# What a network that is given away may have been trained on. Whatever is worded otherwise is refused. Of CC-BY-2.0-FR
# the authors are named on the page of the demo and in a file beside the networks.
FREE = {"MIT", "BSD-3-Clause", "PSF-2.0", "CC0-1.0", "CC-BY-4.0", "CC-BY-2.0-FR", "public domain"}
FREE |= {"public domain (no rights claimed in the markup)"}
# Pictures that are made, not fetched.
MADE = {
    "basic": "scenario of ViZDoom: MIT, pictures of Freedoom: BSD-3-Clause",
    "shapes": "drawn by études: MIT",
}


@dataclass(frozen=True)
class Shipment:
    """Variants of a study that are trained at laptop scale with these fields changed."""

    study: str
    variants: tuple[str, ...]
    changes: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()  # variants trained besides, for what they tune from the first


DRAWN_CELLS = {
    "classed": "drawn-cells", "shifted": "", "classed_side": 64, "examples": 0, "width": 4, "steps": 1500, "lr": 8e-3
}  # fmt: skip

# Sounds that are drawn; from two fifths of them the base learns all tasks a little.
DRAWN_SOUNDS = {
    "digits": "drawn-words", "noises": "drawn-noises", "notes": 500, "width": 8, "share": 0.4, "base_steps": 300
}  # fmt: skip
TUNED = ("high", "sounds", "pitch")  # lessons of audio-task-vectors whose networks come along
HEARD = {"digits": 100, "sounds": 40, "notes": 100}  # test pictures of each kind that come along with them
LEVELS = 63  # the most of a pixel of these

# Digits of 8 by 8 pixels, which are part of an installed package.
SMALL_DIGITS = {"dataset": "digits", "examples": 100, "held_out": 40}

# Few tokens and narrow vectors, so that two networks come along; rarer words and more steps, as they are played with.
SMALL_VOCABULARY = {"pieces": 1000, "embedding": 32, "often": 3, "dropout": 0.1, "steps": 5000}

SHIPMENTS = (
    Shipment("char-lstm", ("lstm-2",), {"steps": 2000}),
    Shipment("ddpm-sdedit", ("ddpm",), {"steps": 800}),
    Shipment("mixup", ("erm", "mixup"), {"dataset": "fashion-mnist"}),
    Shipment("cifar-speed", ("full",), {"dataset": "fashion-mnist", "examples": 0, "steps": 600}),
    Shipment("colorization", ("shapes", "shapes-squares"), {"width": 8}),
    Shipment("unet", ("unet",), {"width": 4}),
    Shipment("unet", ("classes",), DRAWN_CELLS),
    Shipment("doom-dqn", ("dqn",), {"steps": 1200}),
    Shipment("ocr-ctc", ("strings",), {"steps": 1500, "warp": 0.2}),
    Shipment("wgan-gp", ("gp-norm",), {"dataset": "fashion-mnist", "only": -1, "channels": 16, "steps": 18_000}),
    Shipment("unlearning", ("original", "dropped", "salun", "scrub", "redraw", "retrained"), SMALL_DIGITS),
    Shipment("names", ("gru",), {"steps": 800}),
    Shipment("translation", ("luong", "none"), SMALL_VOCABULARY),
    Shipment("roberta-fr", ("half-tiny",), {"vocabulary": 600, "steps": 6000}),
    Shipment("lossy-text", ("float",), {"width": 48, "vocabulary": 800, "steps": 3000}, needs=("lossless",)),
    Shipment("rotnet", ("rotnet",), needs=("simclr", "random")),
    Shipment("audio-task-vectors", ("base",), DRAWN_SOUNDS, needs=("single", "negated")),
)


def sources(record: Record) -> list[dict[str, Any]]:
    """What the sets say of themselves that a run was trained on."""
    data = record.env["data"]
    return data if isinstance(data, list) else [data]


def licence(name: str, key: str) -> str:
    """The licence of a set that the run `key` was trained on. Raises Problem where it does not let the network be given
    away."""
    if name in MADE:
        return MADE[name]
    found = SOURCES[name].licence if name in SOURCES else "none known"
    if found not in FREE:
        raise Problem(f"{key} was trained on {name}, whose licence is: {found}; ship no network of it")
    return found


def pack(record: Record, root: Path = TRAINED) -> Path:
    """Put what a demo reads of a run below `root`, in place of what was there of its variant; the new folder.

    Raises Problem where its data are not free or a network is too large.
    """
    data = [{**source, "licence": licence(source["dataset"], record.spec.key)} for source in sources(record)]
    folder = root / record.spec.key
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in sorted(record.folder.glob("*.safetensors")):
        halve(path, folder / path.name)
    for name in KEPT:
        if (record.folder / name).exists():
            shutil.copyfile(record.folder / name, folder / name)
    if (folder / "tokenizer.json").exists():
        shorten(folder / "tokenizer.json")
    write_json(folder / "env.json", {**record.env, "data": data if len(data) > 1 else data[0]})
    return folder


def write_excerpt(d: Images, root: Path = TRAINED) -> None:
    """Write the first EXCERPT test pictures of a set below `root`, as a sheet, with what must be known of them."""
    write_sheet(d, d.test_x[:EXCERPT], d.test_y[:EXCERPT], root, d.name)


def write_sheet(d: Images, x: Tensor, y: Tensor, root: Path, name: str) -> None:
    """Write pictures x: uint8 [n, c, h, w] of a set, n a multiple of COLUMNS, of classes y: [n], as `excerpt` reads
    them."""
    c, h, w = x.shape[1:]
    sheet = x.reshape(-1, COLUMNS, c, h, w).permute(0, 3, 1, 4, 2).reshape(-1, COLUMNS * w, c)
    pixels = sheet.contiguous().numpy()
    with appearing(root / f"{name}.png") as draft:
        Image.fromarray(pixels[..., 0] if c == 1 else pixels).save(draft, "png", optimize=True)
    about = {"source": d.source, "licence": SOURCES[d.name].licence, "labels": d.labels, "shape": (c, h, w)}
    write_json(root / f"{name}.json", about | {"y": y.tolist()})


def excerpt(name: str, root: Path = TRAINED) -> Images | None:
    """The first test pictures of a set of which they come along, or another sheet, as both its parts; None of any
    other."""
    if not (root / f"{name}.png").exists():
        return None
    about = json.loads((root / f"{name}.json").read_text(encoding="utf-8"))
    c, h, w = about["shape"]
    with Image.open(root / f"{name}.png") as file:
        pixels = torch.frombuffer(bytearray(file.tobytes()), dtype=torch.uint8)
    x = pixels.view(-1, h, COLUMNS, w, c).permute(0, 2, 4, 1, 3).reshape(-1, c, h, w)
    y, labels = torch.tensor(about["y"]), tuple(about["labels"])
    return Images(name, x, y, x, y, len(labels), labels, about["source"])


def write_masks_excerpt(d: Masks, root: Path = TRAINED) -> None:
    """Write the first SEGMENTED test pictures of a set in grey with their masks below `root`, as a sheet, with what
    must be known of them."""
    x, y = d.test_x[:SEGMENTED, 0], d.test_y[:SEGMENTED]
    sheet = torch.cat([x, y], 1).permute(1, 0, 2).flatten(1)
    with appearing(root / f"{d.name}.png") as draft:
        Image.fromarray(sheet.contiguous().numpy()).save(draft, "png", optimize=True)
    about = {"source": d.source, "licence": SOURCES[d.name].licence, "classes": d.classes}
    write_json(root / f"{d.name}.json", about)


def masks_excerpt(name: str, root: Path = TRAINED) -> Masks | None:
    """The first test pictures of a set of which they come along with their masks, as both its parts; None of any
    other."""
    if not (root / f"{name}.png").exists():
        return None
    about = json.loads((root / f"{name}.json").read_text(encoding="utf-8"))
    with Image.open(root / f"{name}.png") as file:
        sheet = torch.frombuffer(bytearray(file.tobytes()), dtype=torch.uint8).view(2, file.height // 2, SEGMENTED, -1)
    x, y = sheet.permute(0, 2, 1, 3)
    whole = (x[:, None].contiguous(), y.contiguous(), None, ("",) * SEGMENTED)
    return Masks(name, *whole, *whole, tuple(about["classes"]), about["source"])


def write_vectors(record: Record, folder: Path) -> None:
    """Write beside a packed base of audio-task-vectors the networks tuned from it, what is fixed of all of them, and
    an excerpt of their test pictures."""
    run = Run(record.spec, record.folder, library=record.env["library"], leader=False)
    cfg = catalogue.find(record.spec.study).config(**record.spec.config)
    heard = run.once("features", cfg.hearing(), lambda own: None, seed=0)  # these are there, as are the networks
    d = read_examples(heard.folder, run)
    bench = Bench(run, cfg, d, network(run, cfg.body, cfg.width, d.part("digits", "train")[0], "init"))
    settings = json.dumps({"seed": record.spec.seed, **cfg.base_settings(), **cfg.tuning(), "lr": cfg.lr})
    for name in TUNED:
        about = {"format": "pt", "lesson": name, "settings": settings}
        write_halved(bench.tuned_weights(name), about, folder / f"tuned-{name}.safetensors")
    fixed = {name: tensor.contiguous() for name, tensor in bench.net.named_buffers(recurse=False)}
    save_file(fixed, folder / "fixed.safetensors", metadata={"format": "pt", "settings": settings})
    (folder / "fixed.safetensors").chmod(0o644)
    rows = {kind: _spread(d.rows[kind]["test"], count) for kind, count in HEARD.items()}
    x = torch.cat([d.x[kind][rows[kind]].float() for kind in HEARD])[:, 0]
    low, high = x.min().item(), x.max().item()
    pixels = ((x - low) / (high - low) * LEVELS).round().byte()
    sheet = pixels.view(-1, COLUMNS, *x.shape[1:]).permute(0, 2, 1, 3).flatten(0, 1).flatten(1)
    with appearing(folder / "heard.png") as draft:
        Image.fromarray(sheet.contiguous().numpy()).save(draft, "png", optimize=True)
    y = {task: d.y[task][rows[kind]].tolist() for task, kind in KINDS.items()}
    write_json(folder / "heard.json", {"low": low, "high": high, "shape": list(x.shape), "y": y})


def _spread(rows: Tensor, count: int) -> Tensor:
    """As many of the rows, evenly spread over them."""
    return rows[torch.linspace(0, len(rows) - 1, count).round().long()]


def write_siblings(record: Record, folder: Path) -> None:
    """Write beside a packed run of rotnet the networks of its seed, and the pictures among which neighbours are looked
    for."""
    (cfg, run, p), found = open_run(record), read_siblings(siblings(record))
    models = {**found.models, SUPERVISED: train_supervised(cfg, run, p)}
    whole = folder / "whole.safetensors"
    for name, model in models.items():
        weights.save(whole, model)
        halve(whole, folder / file_of(name))
    whole.unlink()
    count = len(found.y) // COLUMNS * COLUMNS
    write_sheet(p.d, found.x[:count], found.y[:count], folder, HELD_OUT)


def english_words(record: Record) -> set[str]:
    """The English words and marks, in small letters, that a run of translation has learnt from."""
    if (record.folder / "words.txt").exists():
        return set((record.folder / "words.txt").read_text(encoding="utf-8").split("\n"))
    cfg = catalogue.find(record.spec.study).config(**record.spec.config)
    run = Run(record.spec, record.folder, library=record.env["library"], leader=False)  # whose sentences are there
    d = corpus(run, cfg.dataset, cfg.longest, cfg.often, cfg.descriptions, cfg.pieces)
    return {word for english, _ in d.texts["train"] for word in words(english)}


def read_heard(folder: Path) -> Examples:
    """The test pictures that `write_vectors` wrote; of sounds each is a recording of its own."""
    about = json.loads((folder / "heard.json").read_text(encoding="utf-8"))
    n, bands, frames = about["shape"]
    with Image.open(folder / "heard.png") as file:
        sheet = torch.frombuffer(bytearray(file.tobytes()), dtype=torch.uint8).view(-1, bands, COLUMNS, frames)
    x = sheet.permute(0, 2, 1, 3).reshape(n, 1, bands, frames) / LEVELS * (about["high"] - about["low"]) + about["low"]
    parts = dict(zip(HEARD, x.split(list(HEARD.values())), strict=True))
    rows = {kind: {"test": torch.arange(count)} for kind, count in HEARD.items()}
    y = {task: torch.tensor(classes) for task, classes in about["y"].items()}
    return Examples(parts, y, rows, rows["sounds"]["test"])


def write_words(record: Record, folder: Path) -> None:
    """Write beside a packed run of translation with attention the English words that it knows."""
    if record.spec.config["attention"] != "none":
        write_text(folder / "words.txt", "\n".join(sorted(english_words(record))))


def write_tables(record: Record, folder: Path) -> None:
    """Write beside a packed run of lossy-text its codes and the network that packs without loss."""
    write_compressor(compressor(record), record.spec.config["embedder"], folder)


BESIDE: dict[str, Callable[[Record, Path], None]] = {  # what else lies in the folder of a packed run of a study
    "audio-task-vectors": write_vectors,
    "lossy-text": write_tables,
    "rotnet": write_siblings,
    "translation": write_words,
}


def ship(shipments: Sequence[Shipment], runs: Path) -> None:
    """Train the networks below `runs`, where they are not there yet, and pack them with their sets' test pictures."""
    from etudes.sweep.local import perform
    from etudes.train.precision import resolve

    for shipment in shipments:
        study = catalogue.find(shipment.study)
        how = {"variants": shipment.variants + shipment.needs, "tune": True, "precision": resolve(study, "auto")}
        plan = study.plan("laptop", **how, **shipment.changes)
        perform(study, plan, runs)
        for spec in plan:
            if spec.variant not in shipment.variants:
                continue
            record = read(runs / spec.key)
            print(folder := pack(record))
            if write := BESIDE.get(spec.study):
                write(record, folder)
        name = sources(record)[0]["dataset"]
        if name not in SOURCES or SOURCES[name].embedded:
            continue
        if SOURCES[name].task == "classification":
            write_excerpt(images(name))
        if SOURCES[name].task == "segmentation":
            write_masks_excerpt(opened(study.config(**record.spec.config)))


def main() -> None:
    names = [shipment.study for shipment in SHIPMENTS]
    parser = argparse.ArgumentParser(description="Train and pack the networks that come with the demos.")
    parser.add_argument("study", nargs="?", help=f"one of {', '.join(names)}; all by default")
    parser.add_argument("--root", type=Path, default=Path("runs/shipped"), help="folder of the runs")
    asked = parser.parse_args()
    if asked.study and asked.study not in names:
        raise SystemExit(str(unknown("study with shipped networks", asked.study, names)))
    ship([s for s in SHIPMENTS if asked.study in (None, s.study)], asked.root)


if __name__ == "__main__":
    main()
