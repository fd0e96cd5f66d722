"""The fault table: each test's first line is a row of `etudes bench faults`."""

import dataclasses
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import victim
from coins import Config as Coins
from coins import make_study
from etudes.cli import main
from etudes.core.errors import Diverged, Problem
from etudes.core.record import load
from etudes.core.run import execute
from etudes.train.loop import fit

TESTS = Path(__file__).parents[1]
MINE = TESTS / "coins.py"
STEPS = 60


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """What an undisturbed run leaves, and the seconds that it takes in a process that has all modules."""
    root = tmp_path_factory.mktemp("straight")
    victim.perform(root / "first", steps=STEPS)
    for name in ("second", "third"):  # the first process also waits for the server that makes them
        begun = time.monotonic()
        child = victim.process(root / name, steps=STEPS)
        child.join(300)
        assert child.exitcode == 0
        assert victim.contents(root / name) == victim.contents(root / "first")
    return victim.contents(root / "first"), time.monotonic() - begun


def finish(root, straight):
    child = victim.process(root, steps=STEPS)
    child.join(300)
    assert child.exitcode == 0
    assert victim.contents(root) == straight
    assert not list(root.rglob("checkpoint-*"))


def test_killed_at_random_moments(straight, tmp_path):
    """SIGKILL at 50 random moments of runs, each resumed: the same bytes"""
    expected, seconds = straight
    chance, kills = random.Random(0), 0
    for attempt in range(500):
        root = tmp_path / str(attempt)
        while kills < 50:
            child = victim.process(root, steps=STEPS)
            child.join(chance.uniform(0.0, seconds))
            if child.exitcode is not None:
                assert child.exitcode == 0
                break
            child.kill()
            child.join()
            kills += 1
        finish(root, expected)
        if kills == 50:
            return
    raise AssertionError(f"only {kills} kills in 500 runs")


@pytest.fixture(scope="module")
def renames(straight, tmp_path_factory):
    """How often an undisturbed run gives a file its name."""
    told, real = [], os.replace
    os.replace = lambda source, target: (told.append(Path(target).name), real(source, target))
    try:
        victim.perform(tmp_path_factory.mktemp("counted"), steps=STEPS)
    finally:
        os.replace = real
    assert [told[0], *told[-2:]] == ["spec.json", "env.json", "result.json"]
    return len(told)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_each_kind_of_rename(straight, renames, tmp_path, when):
    """SIGKILL just before and just after spec, checkpoint, progress, env and result take their names: the same bytes"""
    expected, _ = straight
    killed = 0
    for count in (1, 2, 3, renames // 2, renames // 2 + 1, renames - 3, renames - 2, renames - 1, renames):
        root = tmp_path / str(count)
        child = victim.process(root, steps=STEPS, kill_at=f"{when} {count}")
        child.join(300)
        killed += child.exitcode == -signal.SIGKILL
        finish(root, expected)
    assert killed == 9


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_share_a_plan_and_some_are_killed(tmp_path, workers):
    """2 and 4 workers on one plan, one killed again and again: nothing twice, nothing lost"""
    victim.perform(tmp_path / "alone", seeds=6, steps=60)
    team = [victim.process(tmp_path / "team", seeds=6, steps=60) for _ in range(workers)]
    chance = random.Random(workers)
    for _ in range(6):
        time.sleep(chance.uniform(0.05, 0.3))
        team[0].kill()
        team[0].join()
        team[0] = victim.process(tmp_path / "team", seeds=6, steps=60)
    for child in team:
        child.join(300)
        assert child.exitcode == 0
    assert victim.contents(tmp_path / "team") == victim.contents(tmp_path / "alone")


SLOW = """
import os, time
from coins import make_study
from etudes.train.loop import fit
import torch

class Sum:
    total = 0.0
    def state_dict(self):
        return {"total": self.total}
    def load_state_dict(self, state):
        self.total = state["total"]

def slowly(cfg, run):
    sum_ = Sum()
    with open(os.environ["PERFORMED"], "a") as file:
        file.write(f"{os.getpid()}\\n")
    def step(i):
        time.sleep(float(os.environ["STEP_SECONDS"]))
        sum_.total += float(run.rng("step", i).random())
        return {"train/loss": torch.tensor(sum_.total)}
    fit(run, {"sum": sum_}, step, 40)
    run.result(**{"test/score": sum_.total})

STUDY = make_study(name="slow", program=slowly)
"""


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, and keeps to two cores")
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_command_is_killed_whose_runs_go_side_by_side(tmp_path, kill, start):
    """SIGKILL and SIGTERM to a command alone whose runs go side by side: its processes end with it, it goes on"""
    (tmp_path / "slow.py").write_text(SLOW)
    performed = tmp_path / "performed"
    code = (
        "from pathlib import Path; from etudes.core import catalogue; from etudes.sweep.local import perform;"
        "study = catalogue.find('slow.py');"
        f"perform(study, study.plan('smoke'), Path('runs'), count=2, start={start!r})"
    )
    own = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "ETUDES_SAVE_SECONDS": "0"}
    own |= {"PERFORMED": str(performed), "STEP_SECONDS": "0.2"}
    command = [sys.executable, "-c", code]
    leader = subprocess.Popen(command, cwd=tmp_path, env=own)
    workers: list[int] = []  # one may have written two checkpoints before the other begins
    while (len(workers) < 2 or len(list(tmp_path.rglob("checkpoint-*"))) < 2) and leader.poll() is None:
        time.sleep(0.05)
        workers = [int(pid) for pid in performed.read_text().split()] if performed.exists() else []
    assert len(workers) == 2
    assert all(alive(pid) for pid in workers)
    leader.send_signal(kill)
    assert leader.wait(30) == -kill
    begun = time.monotonic()
    while any(alive(pid) for pid in workers):
        assert time.monotonic() - begun < 2
        time.sleep(0.02)
    fast = own | {"STEP_SECONDS": "0"}
    subprocess.run(command, cwd=tmp_path, env=fast, check=True, timeout=120)
    (tmp_path / "straight").mkdir()
    shutil.copy(tmp_path / "slow.py", tmp_path / "straight")
    subprocess.run(command, cwd=tmp_path / "straight", env=fast, check=True, timeout=120)
    assert victim.contents(tmp_path / "runs") == victim.contents(tmp_path / "straight" / "runs")
    assert len(victim.contents(tmp_path / "runs")) == 3 * 4


def small_disk(tmp_path, script):
    """The process `script` under sh, with a disk of 256 kB at $DISK; skipped where such a disk cannot be made."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=256k tmpfs {disk}"
    inside = ["unshare", "--mount", "--map-root-user", "sh", "-ec"]
    if not shutil.which("unshare") or subprocess.run([*inside, mount], capture_output=True).returncode:
        pytest.skip("no small disk can be made here: unshare and mount are needed")
    path = f"{TESTS.parent / 'src'}:{TESTS}"
    own = os.environ | {"DISK": str(disk), "PYTHONPATH": path, "PYTHON": sys.executable}
    return subprocess.run([*inside, f"{mount}; {script}"], capture_output=True, text=True, env=own, timeout=300)


def test_the_disk_is_full(tmp_path):
    """Disk full: one sentence, finished runs are kept, and with room again the command ends"""
    command = f"$PYTHON -m etudes run {MINE} --scale smoke --root $DISK/runs"
    done = small_disk(
        tmp_path,
        f"{command} --variants plain >&2; cat $DISK/runs/coins/smoke/plain/*/result.json > $DISK/../before;"
        "dd if=/dev/zero of=$DISK/ballast bs=1k 2>/dev/null || true;"
        f"{command} 2> $DISK/../told || echo $? > $DISK/../status;"
        "cat $DISK/runs/coins/smoke/plain/*/result.json > $DISK/../after; rm $DISK/ballast;"
        "rm -rf $DISK/runs/coins/smoke/report*;"  # they take most of so small a disk
        f"{command} --root $DISK/runs; ls $DISK/runs/coins/smoke/*/*/result.json | wc -l > $DISK/../count",
    )
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "told").read_text().strip().splitlines()[-1]
    assert "No space left on device; finished runs are kept" in told
    assert "Traceback" not in (tmp_path / "told").read_text()
    assert (tmp_path / "status").read_text().strip() == "1"
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes() != b""
    assert (tmp_path / "count").read_text().strip() == "4"


NETWORK = """
import torch
from coins import make_study
from etudes.train import weights
from etudes.train.loop import fit

def train(cfg, run):
    model = torch.nn.Linear(500, 500)  # of 1 MB
    if SAVES == "checkpoint":
        fit(run, {"model": model}, lambda i: {"train/loss": torch.tensor(1.0)}, 3)
    else:
        weights.save(run.path("model.safetensors"), model)
    run.result(**{"test/score": 1.0})

STUDY = make_study(program=train)
"""


@pytest.mark.parametrize("saves", ["checkpoint", "weights"])
@pytest.mark.parametrize("seeds", [1, 2])
def test_the_disk_fills_while_a_network_is_saved(tmp_path, saves, seeds):
    """Disk full while a network or a checkpoint is saved, in one process and side by side: one sentence"""
    study = tmp_path / "network.py"
    study.write_text(NETWORK.replace("SAVES", repr(saves)))
    done = small_disk(
        tmp_path,
        f"export ETUDES_SAVE_SECONDS=0; $PYTHON -m etudes run {study} --scale smoke --variants plain --seeds {seeds} "
        "--root $DISK/runs || echo $? > $DISK/../status; find $DISK > $DISK/../left",
    )
    assert (tmp_path / "status").read_text().strip() == "1"
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"etudes: cannot use {tmp_path}/disk/runs/coins/smoke/plain/")
    assert last.endswith(".safetensors: No space left on device; finished runs are kept")
    assert "safetensors" not in (tmp_path / "left").read_text()


def test_the_root_is_read_only(tmp_path):
    """A root that can only be read: one sentence"""
    done = small_disk(
        tmp_path, f"mount -o remount,ro $DISK; $PYTHON -m etudes run {MINE} --scale smoke --root $DISK/runs"
    )
    assert done.returncode == 1
    assert f"etudes: cannot use {tmp_path}/disk/runs" in done.stderr
    assert os.strerror(errno.EROFS) in done.stderr
    assert "Traceback" not in done.stderr


def test_clocks_jump(tmp_path, monkeypatch):
    """Clocks that jump forward and back by days: the same bytes"""
    victim.perform(tmp_path / "calm", steps=60)
    chance, monotonic, wall = random.Random(0), time.monotonic, time.time
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + chance.uniform(0, 1e6))
    monkeypatch.setattr(time, "time", lambda: wall() + chance.uniform(-1e6, 1e6))
    victim.perform(tmp_path / "wild", steps=60)
    monkeypatch.undo()
    assert victim.contents(tmp_path / "wild") == victim.contents(tmp_path / "calm")


@pytest.fixture
def half(tmp_path):
    """A run killed after some checkpoints."""
    child = victim.process(tmp_path / "half", steps=STEPS, kill_at="after 31")
    child.join(300)
    assert child.exitcode == -signal.SIGKILL
    assert len(list((tmp_path / "half").rglob("checkpoint-*"))) == 3  # the oldest was to be deleted next
    return tmp_path / "half"


@pytest.mark.filterwarnings("ignore:.*going on from the checkpoint before")
@pytest.mark.parametrize("harm", ["cut", "empty", "flipped", "gone"])
@pytest.mark.parametrize("which", ["last", "all"])
def test_checkpoints_are_damaged(straight, half, harm, which):
    """Checkpoints cut short, emptied, with a flipped bit or gone: passed over, the same bytes"""
    found = sorted(half.rglob("checkpoint-*"), key=lambda path: int(path.stem.split("-")[-1]))
    for path in found[-1:] if which == "last" else found:
        damage(path, harm)
    finish(half, straight[0])


def damage(path, harm):
    data = bytearray(path.read_bytes())
    if harm == "gone":
        path.unlink()
    else:
        middle = len(data) // 2
        data[middle] ^= 1
        path.write_bytes({"cut": data[:middle], "empty": b"", "flipped": data}[harm])


@pytest.mark.parametrize("name", ["result.json", "spec.json", "env.json"])
@pytest.mark.parametrize("harm", ["cut", "empty"])
def test_records_are_damaged(tmp_path, name, harm, capsys):
    """Records cut short or emptied: the file is named, and no number is taken from it"""
    command = ["run", str(MINE), "--scale", "smoke", "--root", str(tmp_path)]
    assert main(command) == 0
    path = next(tmp_path.rglob(name))
    damage(path, harm)
    capsys.readouterr()
    assert main(command) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert told[-1].startswith(f"etudes: {path} is not whole; delete {path.parent}")
    shutil.rmtree(path.parent)
    assert main(command) == 0


@pytest.mark.parametrize("harm", ["cut", "empty", "flipped"])
def test_a_dataset_is_damaged(tmp_path, harm, monkeypatch):
    """A mirror's parquet cut short, emptied or with flipped bits: the set is named, and no other source taken"""
    datasets = pytest.importorskip("datasets")
    from etudes.data.text import texts

    folder = tmp_path / "mirror" / "karpathy" / "tiny_shakespeare"
    folder.mkdir(parents=True)
    plain = {"text": ["To be, or not to be.\n\n" * 400]}
    for split in ("train", "validation", "test"):
        datasets.Dataset.from_dict(plain).to_parquet(folder / f"{split}.parquet")
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "cache"))
    assert texts("shakespeare").train
    path = folder / "train.parquet"
    if harm == "flipped":
        data = bytearray(path.read_bytes())
        for i in range(4, len(data) - 8, 7):
            data[i] ^= 0x55
        path.write_bytes(data)
    else:
        damage(path, harm)
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "another"))
    with pytest.raises(Problem, match="shakespeare"):
        texts("shakespeare")


def test_the_loss_is_not_a_number(tmp_path):
    """A loss that is not a number: that run stops at once, its log is kept, the others go on"""

    def explode(cfg, run):
        fit(run, {}, lambda i: {"train/loss": torch.tensor(float("nan") if cfg.shift and i == 3 else 1.0)}, 5)
        run.result(**{"test/score": 1.0})

    study = make_study(program=explode)
    plan = study.plan("smoke")
    with pytest.raises(Diverged, match="train/loss is nan at step 4"):
        execute(study, plan[1], tmp_path)
    assert len((tmp_path / plan[1].key / "log.jsonl").read_text().splitlines()) == 3
    assert execute(study, plan[0], tmp_path) == "done"
    assert [bool(record.diverged) for record in load(plan, tmp_path)] == [False, True]


@dataclasses.dataclass(frozen=True)
class Batched(Coins):
    batch: int = 2**46  # bytes


@pytest.mark.parametrize(("batch", "remedy"), [(2**46, f"try --batch {2**45}"), (1, "try a smaller network")])
def test_the_memory_does_not_suffice(tmp_path, batch, remedy):
    """Out of memory at a batch size: one sentence with the size to try"""

    def greedy(cfg, run):
        fit(run, {}, lambda i: {"train/loss": torch.empty(2**46, dtype=torch.uint8)[0].float()}, 1)

    study = make_study(program=greedy, config=Batched)
    (spec, *_) = study.plan("smoke", batch=batch)
    with pytest.raises(Problem, match=f"the memory of cpu does not suffice; {remedy}"):
        execute(study, spec, tmp_path)


@pytest.mark.slow
def test_interrupted_anywhere(tmp_path):
    """Ctrl-C at 12 moments, from the first import to the report: status 130 or 0, no traceback, and the same results"""
    command = [sys.executable, "-m", "etudes", "run", "mixup", "--scale", "smoke", "--seeds", "1"]
    own = os.environ | {"OMP_NUM_THREADS": "1", "ETUDES_SAVE_SECONDS": "0"}
    begun = time.monotonic()
    subprocess.run(command, cwd=tmp_path, env=own, check=True, capture_output=True)
    whole = time.monotonic() - begun
    expected = victim.contents(tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs")
    told = []
    for k in range(12):
        child = subprocess.Popen(
            command, cwd=tmp_path, env=own, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        time.sleep(whole * (k + 0.5) / 12)
        child.send_signal(signal.SIGINT)
        told.append((child.communicate(timeout=120)[1], child.returncode))
        if child.returncode == 0:
            shutil.rmtree(tmp_path / "runs")
    for errors, status in told:
        assert "Traceback" not in errors, errors
        assert status in (0, 130, -signal.SIGINT), (status, errors)  # ended by the signal: a shell calls that 130 too
    subprocess.run(command, cwd=tmp_path, env=own, check=True, capture_output=True)
    assert victim.contents(tmp_path / "runs") == expected


NEAR_SENSE = """run show list report generate data bench mixup edge-of-stability llama-fr get smoke laptop paper
erm -1 0 nan 1e999 -- - ../.. --scale --seeds --variants --alpha --lr --root --format --json --help --family
--engine --track"""
words = st.one_of(
    st.sampled_from(NEAR_SENSE.split()),
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(words, max_size=6))
def test_command_lines_are_nonsense(tmp_path, monkeypatch, capsys, arguments):
    """200 command lines of nonsense and near sense: a result or one sentence, never a traceback"""
    from etudes import api, cli
    from etudes.data import commands

    # What would work for minutes or fetch is not performed; all that is checked before it is.
    monkeypatch.setattr(api, "_performed", lambda *_: (_ for _ in ()).throw(Problem("performed")))
    monkeypatch.setattr(commands, "main", lambda *_: 0)
    monkeypatch.setattr(cli.runpy, "run_path", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    told = capsys.readouterr()
    assert status in (0, 1, 2, None)
    assert "Traceback" not in told.err


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.one_of(st.sampled_from(["steps", "batch", "lr", "alpha", "noise", "width", "dataset"]), st.text(max_size=8)),
        st.one_of(st.integers(), st.floats(), st.text(max_size=8), st.booleans(), st.none(), st.lists(st.integers())),
        max_size=4,
    )
)
def test_configs_are_nonsense(fields):
    """200 configs of nonsense and near sense: a plan or one sentence that names the field"""
    from etudes import study

    fields = {name: value for name, value in fields.items() if name not in ("scale", "seeds", "variants", "offline")}
    try:
        told = json.dumps([spec.config for spec in study("mixup").plan("smoke", **fields)])
    except Problem as problem:
        told = str(problem)
    assert all(name in told for name in list(fields)[:1]) or any(name in told for name in fields)
