"""One run over two processes that exchange messages over the loopback: as data parallelism, and in shards."""

import json
import os
import runpy
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from etudes.core.catalogue import find
from etudes.core.errors import Problem
from etudes.core.run import Run, execute
from etudes.train.loop import fit

# Sums in another order differ by a rounding. Muon rounds to bf16, and what falls to the other side differs by 2^-8.
PLAIN, ROUNDED = {"rel": 1e-5, "abs": 1e-5}, {"rel": 1e-2, "abs": 0.03}
# At Muon's full rate six steps of digits turn such a difference into many errors more or fewer.
FIELDS = {"cifar-speed": {"lr": 0.03}}
CASES = [("llama-fr", "llama", PLAIN, 1e-4), ("cifar-speed", "sgd", PLAIN, 1e-4), ("cifar-speed", "full", ROUNDED, 0.2)]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def quiet(**more: str) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"} | more


def launched(way: str, arguments: list[str]) -> None:
    launch = ["-m", "accelerate.commands.launch", way, "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", free_port(), "-m", "etudes"]
    done = subprocess.run(
        [sys.executable, *launch, *arguments], env=quiet(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]


def workers(command: list[str], fsdp: bool, **env: str) -> list[subprocess.Popen[str]]:
    """Two processes with what `accelerate launch` would tell them, to be killed one by one."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    meeting |= {"ACCELERATE_USE_FSDP": str(fsdp).lower()} | env
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env=quiet(RANK=str(rank), LOCAL_RANK=str(rank), **meeting),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def spec_of(study, variant: str, **fields):
    return find(study).plan("smoke", variants=(variant,), seeds=1, precision="fp32", **fields)[0]


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_same(one: Path, two: Path, numbers: dict[str, float], apart: float) -> None:
    """That two finished runs have the same steps, numbers within a tolerance, and weights as near to each other."""
    processes = [json.loads((folder / "env.json").read_text())["processes"] for folder in (one, two)]
    assert processes == [1, 2]
    assert [line["step"] for line in lines(two)] == [line["step"] for line in lines(one)]
    for mine, theirs in zip(lines(two), lines(one), strict=True):
        assert mine == pytest.approx(theirs, **numbers)
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, two)]
    assert results[1] == pytest.approx(results[0], **numbers)
    weights = [load_file(folder / "model.safetensors") for folder in (one, two)]
    assert {name: w.shape for name, w in weights[0].items()} == {name: w.shape for name, w in weights[1].items()}
    flat = [torch.cat([w[name].flatten().double() for name in sorted(weights[0])]) for w in weights]
    assert (flat[1] - flat[0]).norm() / flat[0].norm() < apart


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The root of the runs of one process."""
    root = tmp_path_factory.mktemp("alone")
    for study, variant, _, _ in CASES:
        execute(find(study), spec_of(study, variant, **FIELDS.get(study, {})), root)
    return root


@pytest.mark.parametrize("study", ["llama-fr", "cifar-speed"])
@pytest.mark.parametrize("way", ["--multi_gpu", "--use_fsdp"])
def test_two_processes_give_the_records_of_one(alone, tmp_path, study, way):
    cases = [case for case in CASES if case[0] == study]
    variants = ",".join(variant for _, variant, _, _ in cases)
    arguments = ["run", study, "--scale", "smoke", "--precision", "fp32", "--variants", variants]
    fields = FIELDS.get(study, {})
    arguments += [word for name, value in fields.items() for word in (f"--{name}", str(value))]
    launched(way, [*arguments, "--root", str(tmp_path)])
    for _, variant, numbers, apart in cases:
        key = spec_of(study, variant, **fields).key
        assert_same(alone / key, tmp_path / key, numbers, apart)


def kill(processes: list[subprocess.Popen[str]], folder: Path, beyond: int) -> None:
    """Kill both as soon as they have saved a later step than `beyond`."""
    while saved(folder) <= beyond:
        assert all(process.poll() is None for process in processes), processes[0].communicate()[1][-3000:]
        time.sleep(0.01)
    for process in processes:
        process.kill()
        process.communicate()
    assert not (folder / "result.json").exists()


def saved(folder: Path) -> int:
    progress = folder / "progress.json"
    return json.loads(progress.read_text())["checkpoints"][-1]["step"] if progress.exists() else 0


def test_begun_by_one_continued_in_shards_and_ended_as_copies_it_is_the_same_run(tmp_path, monkeypatch):
    steps, root = 30, tmp_path / "killed"
    study, spec = find("llama-fr"), spec_of("llama-fr", "llama", steps=steps, log_every=2)
    execute(study, spec, tmp_path / "straight")

    def interrupt(key: str, done: int, steps: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    monkeypatch.setenv("ETUDES_SAVE_SECONDS", "0")
    with pytest.raises(KeyboardInterrupt):
        execute(study, spec, root, interrupt)
    command = ["-m", "etudes", "run", "llama-fr", "--scale", "smoke", "--precision", "fp32", "--variants", "llama"]
    command += ["--steps", str(steps), "--log-every", "2", "--root", str(root)]
    folder = root / spec.key
    assert saved(folder) == 4
    kill(workers(command, fsdp=True), folder, beyond=8)
    times = (folder / "times.txt").read_text().splitlines()
    processes = workers(command, fsdp=False)
    told = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told[0][-3000:]
    assert_same(tmp_path / "straight" / spec.key, folder, {"rel": 1e-4, "abs": 1e-4}, 1e-3)
    after = (folder / "times.txt").read_text().splitlines()
    assert len(after) == len((folder / "log.jsonl").read_text().splitlines())
    assert after[:4] == times[:4]  # what had been saved was not done again


HELD = """
import json, sys, torch
from pathlib import Path
from etudes.nn.llama import Llama
from etudes.train import checkpoint
from etudes.train.distribute import join, rank, shard, wait

join()
torch.manual_seed(0)
model = Llama(500, 64, 2, 4, 2, 168, 16)
shard(model)
opt = torch.optim.AdamW(model.parameters(), lr=1e-3)
tokens = torch.arange(32).view(2, 16)

def step():
    model(tokens).float().logsumexp(-1).sum().backward()
    opt.step()

def held():
    parameters = list(model.parameters())
    tensors = [*parameters, *(p.grad for p in parameters), *(t for s in opt.state.values() for t in s.values())]
    own = [t.to_local() if hasattr(t, "to_local") else t for t in tensors]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in own}.values())  # some share one

step()
before, path, parts = held(), Path(sys.argv[1]), {"model": model, "opt": opt}
if rank() == 0:
    checkpoint.save(path, parts)
else:
    assert not any(tensor.ndim for tensor in checkpoint.collect(parts)[0].values())  # only the leader has it all
wait()
checkpoint.load(path, parts, torch.device("cpu"))
print(json.dumps([sum(p.numel() for p in model.parameters()), before, held()]))
"""


def test_each_of_two_processes_holds_half_of_parameters_gradients_and_averages(tmp_path):
    processes = workers(["-c", HELD, str(tmp_path / "checkpoint")], fsdp=True)
    told = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told[0][1][-3000:]
    for parameters, before, after in (json.loads(out) for out, _ in told):
        whole = 4 * 4 * parameters  # parameters, gradients and two averages, of four bytes each
        assert before == after == pytest.approx(whole / 2, rel=1e-3)
    state = load_file(tmp_path / "checkpoint")
    assert sum(tensor.numel() for tensor in state.values()) == pytest.approx(3 * parameters, rel=1e-3)


def test_a_study_that_does_not_shard_its_network_says_so(coins, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    run = Run(coins.plan("smoke")[0], tmp_path)
    with pytest.raises(Problem, match="keeps its network whole in every process; launch it with --multi_gpu"):
        fit(run, {"model": torch.nn.Linear(2, 2)}, lambda i: {}, 1)


def test_the_planned_seconds_are_those_of_messages_sent_round_a_ring():
    bench = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "scaling.py"))
    link, n, size = bench["Link"]("", 1e-4, 1e9), 5, 10**6
    seconds = 3.0 / n
    for _gathering in (False, True):  # of n parts, each is summed on its way round and then told on another
        for _hop in range(n - 1):
            seconds += link.latency + size / n / link.bandwidth
    assert bench["step_seconds"](3.0, size, link, n) == pytest.approx(seconds)
    sent = {size: bench["step_seconds"](0.0, size, link, 2) for size in (10**3, 10**5, 10**7)}
    found = bench["fitted"](sent, 2)
    assert (found.latency, found.bandwidth) == pytest.approx((link.latency, link.bandwidth))
    copies, shards = (bench["memory"](10**9, 10**7, 8, kind) for kind in (False, True))
    assert copies["held"] == 8 * shards["held"] == 16e9
