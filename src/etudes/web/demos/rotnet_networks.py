"""Networks of one seed of rotnet, with one that learnt classes beside, and pictures that none was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from etudes.core import Run, catalogue
from etudes.core.record import Record, is_finished, read
from etudes.data.images import Images
from etudes.losses.cross_entropy import cross_entropy, one_hot
from etudes.measure.error import error_rate
from etudes.nn.nin import mean_of_places
from etudes.studies.labels.rotnet.training import BLOCKS, network, pictures_of, shared_pretext
from etudes.train import HeldOut, descend, fitted, seeded, sgd, shown, weights

if TYPE_CHECKING:
    from etudes.studies.labels.rotnet import Config

STUDY = "rotnet"
SUPERVISED = "supervised"
PRETEXTS = (STUDY, "simclr", "random")  # variants of the study
GALLERY, ASKED = 1000, 200  # the most pictures among which neighbours are looked for, and of which one is asked about
HELD_OUT = "held-out"  # name of the sheet of the former where they come along


@dataclass(frozen=True, eq=False)
class Siblings:
    """Networks by their names, each of four blocks; pictures uint8 [n, c, h, w] that none was trained on, of classes
    y: int64 [n]; test pictures to ask about, of classes test_y; and the names of the classes."""

    models: Mapping[str, nn.Sequential]
    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor
    labels: tuple[str, ...]


def file_of(name: str) -> str:
    """The file of a network that comes along."""
    return "model.safetensors" if name == STUDY else f"{name}.safetensors"


def configs(cfg: "Config") -> dict[str, "Config"]:
    """{variant: its settings} of the pretexts, from those of `rotnet`."""
    changes = {variant.name: variant.changes for variant in catalogue.find(STUDY).variants}
    return {name: replace(cfg, **changes[name]) for name in PRETEXTS}


def open_run(record: Record) -> tuple["Config", Run, HeldOut]:
    """The settings of a run of `rotnet`, the run, which draws what it drew, and its pictures. Raises Problem where the
    pictures cannot be had."""
    cfg = catalogue.find(STUDY).config(**record.spec.config)
    run = Run(record.spec, record.folder, library=record.env["library"], leader=False)
    return cfg, run, pictures_of(cfg, run)


def siblings(record: Record) -> dict[str, Record]:
    """{variant: a run} of the pretexts that have run under the seed and settings of a run of `rotnet`, and that run."""
    root, found = record.folder.parents[3], {}
    for name, cfg in configs(catalogue.find(STUDY).config(**record.spec.config)).items():
        folder = root / replace(record.spec, variant=name, config=vars(cfg).copy()).key
        if is_finished(folder):
            found[name] = read(folder)
    return found


def read_siblings(records: Mapping[str, Record]) -> Siblings:
    """Of the runs that `siblings` gives, with their pictures. Trains nothing.

    The study keeps no network that learnt classes; that one is among those that come along alone.
    """
    cfg, _, p = open_run(records[STUDY])
    models = {}
    for name, record in records.items():
        run = Run(record.spec, record.folder, library=record.env["library"], leader=False)
        models[name] = shared_pretext(configs(cfg)[name], run, p.d).cpu()  # which is there, as the run is finished
    test = p.d.test_x[:ASKED].cpu(), p.d.test_y[:ASKED].cpu()
    return Siblings(models, p.x[:GALLERY].cpu(), p.y[:GALLERY].cpu(), *test, p.d.labels)


def supervised_network(cfg: "Config", d: Images) -> nn.Sequential:
    """The pretexts' four blocks, and a head that names classes."""
    return network(d, cfg.width, BLOCKS, mean_of_places(cfg.width, d.classes))


def train_supervised(cfg: "Config", run: Run, p: HeldOut) -> nn.Sequential:
    """A network that has learnt the classes of all training pictures, by the recipe of the study's `scratch-100`."""

    def make(own: Run) -> None:
        model = seeded(own, "init classes", lambda: supervised_network(cfg, p.d))
        recipe = replace(cfg, steps=cfg.class_steps, batch=cfg.class_batch, lr=cfg.class_lr)
        opt, schedule = sgd(model, recipe)
        pictures, target = shown(recipe, own, p.d), one_hot(p.d.y, p.d.classes)

        def step(i: int) -> dict[str, Tensor]:
            rows, x = pictures(i)
            return {"train/loss": descend(cross_entropy(model(x), target[rows]), opt, schedule)}

        def evaluate() -> dict[str, float]:
            return {"validation/error": error_rate(model, p.x, p.y)}

        own.result(**fitted(own, recipe, {"model": model, "opt": opt, "schedule": schedule}, step, evaluate))
        weights.save(own.path("model.safetensors"), model)

    record = run.once(SUPERVISED, run.spec.config, make)
    return weights.load(record.folder / "model.safetensors", supervised_network(cfg, p.d).to(run.device))
