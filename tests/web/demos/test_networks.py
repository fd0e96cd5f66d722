import shutil
import time

import pytest

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.web.demos import networks
from etudes.web.demos.networks import Offer, Training


def test_networks_are_found_by_their_weights(root, tmp_path):
    study = catalogue.find("char-lstm")
    (name,) = networks.find_records(study, root)
    assert name == "char-lstm · lstm · smoke"
    shutil.copytree(root / "char-lstm", tmp_path / "char-lstm")
    for path in (tmp_path / "char-lstm").rglob("model.safetensors"):
        path.unlink()
    assert networks.find_records(study, tmp_path) == {}


def test_a_damaged_run_hides_no_other(root, tmp_path):
    study = catalogue.find("mixup")
    shutil.copytree(root / "mixup", tmp_path / "mixup")
    next((tmp_path / "mixup" / "smoke" / "erm").glob("*/spec.json")).write_text("{")
    assert list(networks.find_records(study, tmp_path)) == ["mixup · mixup · smoke"]


def test_a_network_is_described_by_its_record(root):
    (record,) = networks.find_records(catalogue.find("char-lstm"), root).values()
    words = networks.describe(record, "test/bits-per-byte", "Bits")
    assert f"{record.metrics['parameters']:,.0f} parameters" in words
    assert f"Bits: {record.metrics['test/bits-per-byte']:.3g}" in words
    assert "scale smoke, seed 0" in words
    assert "Trained on python" in words


def test_names_are_looked_up_and_never_paths(root):
    known = networks.find_records(catalogue.find("char-lstm"), root)
    with pytest.raises(Problem, match=r"no trained network '\.\./"):
        networks.choose(known, "../../etc/passwd")
    with pytest.raises(Problem, match="train one below"):
        networks.choose({}, "any")


def test_a_training_is_watched_to_its_end_and_trains_the_next_seed_then(tmp_path):
    offer = Offer("mixup", "smoke", ("erm", "mixup"))
    assert "seconds" in offer.words
    training, seen = Training(), []
    plan = training.start(offer, tmp_path)
    with pytest.raises(Problem, match="another network is being trained"):
        training.start(offer, tmp_path)
    while training.running:
        seen.append(networks.share(plan, tmp_path, 2))
        time.sleep(0.2)
    assert training.failure() == ""
    assert networks.share(plan, tmp_path, 2) == 1.0
    assert seen == sorted(seen)
    assert sorted(networks.find_records(catalogue.find("mixup"), tmp_path)) == [
        "mixup · erm · smoke",
        "mixup · mixup · smoke",
    ]
    again, seeds = networks._rest(catalogue.find("mixup"), offer, tmp_path)
    assert seeds == 2
    assert {spec.seed for spec in again} == {1}


def test_a_training_can_be_stopped(tmp_path):
    training = Training()
    training.start(Offer("char-lstm", "laptop", ("lstm-2",)), tmp_path)
    training.stop()
    while training.running:
        time.sleep(0.1)
    assert training.failure().startswith("stopped")


def test_what_a_training_says_last_is_told(tmp_path):
    (tmp_path / "mixup").write_text("no folder")
    training = Training()
    training.start(Offer("mixup", "smoke", ("erm",)), tmp_path)
    while training.running:
        time.sleep(0.1)
    assert training.failure()
    assert "Traceback" not in training.failure()
