"""The networks that come with the demos: each is there, small, free to give away, and of a study as it is now."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.core.record import read
from etudes.core.spec import TUNING
from etudes.data.images import images
from etudes.data.sources import SOURCES
from etudes.measure.error import error_rate
from etudes.web.demos import cifar, doom_dqn, generation, halves, mixup, networks, pictures, ship

SHIPPED = [(shipment.study, variant) for shipment in ship.SHIPMENTS for variant in shipment.variants]


def record_of(study: str, variant: str, root=None):
    file = doom_dqn.WEIGHTS if study == "doom-dqn" else networks.WEIGHTS
    found = networks.find_records(catalogue.find(study), root or ship.TRAINED / "none", file)
    return next((r for r in found.values() if r.spec.variant == variant), None)


@pytest.mark.parametrize(("study", "variant"), SHIPPED)
def test_a_network_comes_with_its_demo(study, variant):
    record = record_of(study, variant)
    assert record, f"{study} was revised: python -m etudes.web.demos.ship {study}"
    assert record.spec.seed >= TUNING, "a seed that never judges"
    assert record.spec.code
    assert record.metrics
    for source in ship.sources(record):
        assert source["licence"] == ship.licence(source["dataset"], record.spec.key)


def test_what_comes_along_is_small():
    files = [path for path in ship.TRAINED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5_000_000
    weights = [path for path in files if path.suffix == ".safetensors"]
    beside = {path.name for path in weights} - {networks.WEIGHTS, doom_dqn.WEIGHTS}
    tuned = {f"tuned-{name}.safetensors" for name in ship.TUNED}
    others = {f"{name}.safetensors" for name in ("simclr", "random", "supervised")}  # of rotnet
    assert beside == tuned | others | {"fixed.safetensors", "codes.safetensors", "language.safetensors"}
    assert len(weights) == len(SHIPPED) + len(beside)
    assert max(path.stat().st_size for path in weights) <= halves.LARGEST


def test_what_comes_along_needs_nothing_fetched(monkeypatch):
    monkeypatch.setattr(pictures, "images", lambda name: pytest.fail(f"{name} would be fetched"))
    pictures.pictures.cache_clear()
    erm, d = mixup.network(record_of("mixup", "erm"))
    assert error_rate(erm, d.test_x, d.test_y) < 0.35
    record = record_of("cifar-speed", "full")
    guesses = [next(iter(cifar.classify(record, x[None].float() / 255))) for x in d.test_x[:40]]
    assert sum(guess == d.labels[y] for guess, y in zip(guesses, d.test_y[:40], strict=True)) >= 28
    model, tokenizer = generation.restore(record_of("char-lstm", "lstm-2"))
    written = "".join(
        p.text for p in generation.pieces(model, tokenizer, "ROMEO:", 200, generation.Setting("greedy"), 0)
    )
    assert " the " in written
    pictures.pictures.cache_clear()


@pytest.mark.parametrize("name", ["cifar10", "imagenette", "stanford-cars", "orl-faces", "oscar-fr", "no such set"])
def test_no_network_is_given_away_whose_data_are_not_free(root, tmp_path, name):
    record = record_of("mixup", "erm", root)
    record = dataclasses.replace(record, env={**record.env, "data": {"dataset": name}})
    with pytest.raises(Problem, match=f"was trained on {name}, whose licence is"):
        ship.pack(record, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_large_network_is_refused(root, tmp_path, monkeypatch):
    monkeypatch.setattr(halves, "LARGEST", 1000)
    with pytest.raises(Problem, match="more than 1,000; ship a smaller network"):
        ship.pack(record_of("mixup", "erm", root), tmp_path)


def test_a_packed_network_answers_as_before(root, tmp_path):
    record = record_of("char-lstm", "lstm", root)
    stale = tmp_path / "char-lstm" / "smoke" / "lstm" / "0-00000000"
    stale.mkdir(parents=True)
    packed = read(ship.pack(record, tmp_path))
    assert not stale.exists()
    assert (packed.spec, packed.metrics) == (record.spec, record.metrics)
    assert packed.env["data"]["licence"] == SOURCES["python"].licence
    (model, tokenizer), (other, _) = generation.restore(record), generation.restore(packed)
    tokens = torch.tensor([tokenizer.encode("def main(")])
    with torch.inference_mode():
        odds, again = (m(tokens).softmax(-1) for m in (model, other))
    assert torch.allclose(odds, again, atol=1e-3)


def test_vectors_are_kept_whole_and_what_is_no_number_in_half_precision_is_refused(tmp_path):
    tensors = {"a": torch.rand(3, 3), "b": torch.tensor([1e-7, 1e7]), "c": torch.tensor(3)}
    save_file(tensors, tmp_path / "whole", metadata={"format": "pt"})
    halves.halve(tmp_path / "whole", tmp_path / "half")
    found = load_file(tmp_path / "half")
    assert found["a"].dtype == torch.float16
    assert torch.equal(found["b"], tensors["b"])
    assert torch.equal(found["c"], tensors["c"])
    save_file({"a": torch.full((2, 2), 1e5)}, tmp_path / "large")
    with pytest.raises(Problem, match="no numbers in half precision"):
        halves.halve(tmp_path / "large", tmp_path / "half")


@pytest.mark.parametrize("channels", [1, 3])
def test_an_excerpt_holds_the_first_test_pictures(tmp_path, channels):
    d = images("digits")
    d = dataclasses.replace(d, x=d.x.repeat(1, channels, 1, 1), test_x=d.test_x.repeat(1, channels, 1, 1))
    ship.write_excerpt(d, tmp_path)
    found = ship.excerpt("digits", tmp_path)
    assert found is not None
    assert torch.equal(found.test_x, d.test_x[: ship.EXCERPT])
    assert torch.equal(found.test_y, d.test_y[: ship.EXCERPT])
    assert (found.labels, found.classes, found.shape) == (d.labels, d.classes, d.shape)
    assert json.loads((tmp_path / "digits.json").read_text())["licence"] == SOURCES["digits"].licence
    assert ship.excerpt("cifar10", tmp_path) is None
