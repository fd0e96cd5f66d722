import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.web.demos import networks, pace
from etudes.web.demos.networks import ALONG, Offer, Training

QUICK = Offer("mixup", "smoke", ("erm", "mixup"))


def test_networks_are_found_by_their_weights(root, tmp_path):
    study = catalogue.find("char-lstm")
    assert list(networks.find_records(study, root)) == ["char-lstm · lstm · smoke", f"char-lstm · lstm-2 · {ALONG}"]
    shutil.copytree(root / "char-lstm", tmp_path / "char-lstm")
    for path in (tmp_path / "char-lstm").rglob("model.safetensors"):
        path.unlink()
    assert list(networks.find_records(study, tmp_path)) == [f"char-lstm · lstm-2 · {ALONG}"]


def test_a_damaged_run_hides_no_other(root, tmp_path):
    study = catalogue.find("mixup")
    shutil.copytree(root / "mixup", tmp_path / "mixup")
    next((tmp_path / "mixup" / "smoke" / "erm").glob("*/spec.json")).write_text("{")
    own = [name for name in networks.find_records(study, tmp_path) if ALONG not in name]
    assert own == ["mixup · mixup · smoke"]


def test_a_network_is_described_by_its_record(root):
    records = networks.find_records(catalogue.find("char-lstm"), root)
    record = records["char-lstm · lstm · smoke"]
    words = networks.describe(record, "test/bits-per-byte", "Bits")
    assert f"{record.metrics['parameters']:,.0f} parameters" in words
    assert f"Bits: {record.metrics['test/bits-per-byte']:.3g}" in words
    assert "scale smoke, seed 0" in words
    assert words.endswith("Trained on python.")
    words = networks.describe(records[f"char-lstm · lstm-2 · {ALONG}"], "test/bits-per-byte", "Bits")
    assert f"it {ALONG}" in words
    assert words.endswith("Trained on shakespeare (public domain).")


def test_the_largest_network_of_a_variant_on_offer_is_the_first(root):
    offers = (Offer("ddpm-sdedit", "laptop", ("ddpm",)), Offer("ddpm-sdedit", "cars", ("ddpm",)))
    known = networks.find_records(catalogue.find("ddpm-sdedit"), root)
    along = f"ddpm-sdedit · ddpm · {ALONG}"
    assert sorted(known) == sorted([along, "ddpm-sdedit · blend · smoke", "ddpm-sdedit · ddpm · smoke"])
    assert networks.first_choice(known, offers) == along, "and none of a smoke scale"
    assert networks.first_choice({}, offers) is None

    def own(variant: str, scale: str):
        record = known["ddpm-sdedit · ddpm · smoke"]
        return dataclasses.replace(record, spec=dataclasses.replace(record.spec, variant=variant, scale=scale))

    known |= {"blend": own("blend", "cars")}
    assert networks.first_choice(known, offers) == along, "and none that is no diffusion"
    known |= {"laptop": own("ddpm", "laptop")}
    assert networks.first_choice(known, offers) == "laptop"
    known |= {"cars": own("ddpm", "cars")}
    assert networks.first_choice(known, offers) == "cars"


def test_names_are_looked_up_and_never_paths(root):
    known = networks.find_records(catalogue.find("char-lstm"), root)
    with pytest.raises(Problem, match=r"no trained network '\.\./"):
        networks.choose(known, "../../etc/passwd")
    with pytest.raises(Problem, match="train one below"):
        networks.choose({}, "any")


def test_a_training_is_watched_to_its_end_and_trains_the_next_seed_then(tmp_path):
    training, seen = Training(), []
    assert training.message() == ""
    training.start(QUICK, tmp_path)
    with pytest.raises(Problem, match="another network is being trained"):
        training.start(QUICK, tmp_path)
    while training.running:
        seen.append(training.progress()[0])
        assert "training mixup" in training.message()
        time.sleep(0.2)
    assert training.failure() == ""
    assert "trained in" in training.message()
    assert all(0 <= done < 1 for done in seen)
    assert seen[-1] > seen[0]
    found = networks.find_records(catalogue.find("mixup"), tmp_path)
    assert sorted(name for name in found if ALONG not in name) == ["mixup · erm · smoke", "mixup · mixup · smoke"]
    again, seeds = networks._rest(catalogue.find("mixup"), QUICK, tmp_path)
    assert seeds == 2
    assert {spec.seed for spec in again} == {1}


def test_a_training_can_be_stopped(tmp_path):
    training = Training()
    training.start(Offer("char-lstm", "laptop", ("lstm-2",)), tmp_path)
    training.stop()
    while training.running:
        time.sleep(0.1)
    assert training.failure().startswith("stopped")
    assert "stopped" in training.message()


def test_what_a_training_says_last_is_told(tmp_path):
    (tmp_path / "mixup").write_text("no folder")
    training = Training()
    training.start(QUICK, tmp_path)
    while training.running:
        time.sleep(0.1)
    assert training.failure()
    assert "Traceback" not in training.failure()


def test_a_training_ends_with_the_process_that_began_it(tmp_path):
    code = f"""
import time
from pathlib import Path
from etudes.web.demos.networks import Offer, TRAINING
TRAINING.start(Offer("char-lstm", "laptop", ("lstm-2",)), Path({str(tmp_path)!r}))
print(TRAINING._process.pid, flush=True)
time.sleep(600)
"""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    server = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(server.stdout.readline()))
    assert child.is_running()
    server.send_signal(signal.SIGKILL)
    server.wait()
    assert not psutil.wait_procs([child], timeout=60)[1], "it went on by itself"


@pytest.mark.parametrize(
    "offer",
    [
        Offer("char-lstm", "laptop", ("lstm-2",)),
        Offer("mixup", "laptop", ("erm", "mixup")),
        Offer("cifar-speed", "eight-minutes", ("full",)),
    ],
)
def test_estimates_are_the_seconds_of_the_committed_runs(offer):
    report = json.loads((catalogue.committed_folder(offer.study, offer.scale) / "report.json").read_text())
    seconds = {v: [t["seconds"] for t in report["trials"] if t["variant"] == v] for v in offer.variants}
    whole = sum(sum(each) / len(each) for each in seconds.values()) / offer.together
    assert pace.estimate(offer.study, offer.scale, offer.variants, offer.together) == pytest.approx(whole + pace.START)


def test_a_scale_without_committed_runs_takes_what_its_study_promises():
    study = catalogue.find("mixup")
    assert pace.of("mixup", "paper", "erm").seconds == pytest.approx(60 * 900 / len(study.variants) / 3)


def test_the_first_steps_tell_how_long_the_rest_takes(tmp_path):
    (spec,) = catalogue.find("char-lstm").plan("laptop", variants=("lstm-2",), seeds=1)
    usual = pace.of("char-lstm", "laptop", "lstm-2")
    begun = time.time() - 20
    assert pace.progress([spec], tmp_path, begun, 1)[1] == pytest.approx(usual.seconds, abs=1)
    folder = tmp_path / spec.key
    folder.mkdir(parents=True)
    (folder / "spec.json").touch()
    (folder / "log.jsonl").write_text('{"step": 500, "train/loss": 1}\n{"st')
    slow = 3 * usual.seconds * usual.share(500)  # three times as long as the committed run
    (folder / "times.txt").write_text(f"1.0\n{slow}\n12")
    done, left = pace.progress([spec], tmp_path, begun, 1)
    assert left == pytest.approx(3 * usual.seconds - slow, rel=0.05)
    assert done == pytest.approx((pace.START + slow) / (pace.START + 3 * usual.seconds), rel=0.05)
    os.utime(folder / "times.txt", (begun, begun))  # the last steps are long done, and something else goes on
    done, left = pace.progress([spec], tmp_path, begun - 1000, 1)
    assert done > (pace.START + slow + 15) / (pace.START + 3 * usual.seconds)
    (folder / "result.json").touch()
    assert pace.progress([spec], tmp_path, begun, 1) == (0.99, 1.0)
