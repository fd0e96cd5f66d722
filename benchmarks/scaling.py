"""One run over several devices, measured here and planned on paper: etudes bench scaling

Measured    seconds of a step of the networks of `llama-fr` (scale novelist) and `cifar-speed` (scale eight-minutes),
            random data, in one process, in two that exchange nothing, in two that average gradients, and in two with
            shards; bytes that each process holds of parameters, gradients and the optimiser's averages, and that a
            forward pass keeps for the backward one; seconds of gloo's all-reduce between two processes over the
            loopback.
Model       seconds of a step on n devices that average gradients = compute / n + 2 (n - 1) latency
            + 2 (n - 1) / n * bytes / bandwidth, the cost of a ring (Patarasuk & Yuan 2009, Bandwidth optimal
            all-reduce algorithms for clusters of workstations), whose latency and bandwidth are fitted to the loopback
            by least squares. With shards parameters travel twice and gradients once, 3 in place of 2
            (Rajbhandari et al. 2020, arXiv:1910.02054, sec. 7.2). Nothing overlaps: that is how gradients are averaged
            here, and an upper bound for shards on GPUs.
Planned     that model for devices and networks of which only the numbers below are known, nominal as their makers give
            them. Memory a device by Rajbhandari et al., sec. 3; activations by Korthikanti et al. 2022,
            arXiv:2205.05198, eq. 1 without the attention's matrix: 34 bytes a token, channel and layer.

Two processes here share what one has, so that the measured steps test the cost of messages and not what two devices
gain: the prediction starts from two processes that compute side by side and exchange nothing.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from etudes.core.environment import environment
from etudes.core.run import Run
from etudes.core.spec import Spec
from etudes.losses.cross_entropy import cross_entropy
from etudes.nn.airbench import Airbench
from etudes.nn.norm import Standardise
from etudes.studies.convnets import cifar_speed
from etudes.studies.language import llama_fr
from etudes.train.distribute import join, processes, rank, shard, wait
from etudes.train.precision import has_bf16
from etudes.train.recipe import descend, scheduled, seeded

TURNS = 9
SIZES = [4 * 4**k for k in range(5, 13)]  # bytes of a message: 4 KiB to 64 MiB


@dataclass(frozen=True)
class Link:
    name: str
    latency: float  # seconds of one hop
    bandwidth: float  # bytes a second, one way


NOMINAL = (
    Link("1 Gb/s Ethernet", 50e-6, 1e9 / 8),
    Link("10 Gb/s Ethernet", 20e-6, 10e9 / 8),
    Link("100 Gb/s InfiniBand", 2e-6, 100e9 / 8),
    Link("NVLink, 450 GB/s", 2e-6, 450e9),
)
GPU = 400e12  # operations a second that a large network sustains: two fifths of an H100's nominal 989e12 in bf16


def step_seconds(compute: float, size: float, link: Link, n: int, passages: int = 2) -> float:
    """Seconds of a step on n devices; each of `passages` rings sends (n - 1) / n of `size` bytes in n - 1 hops."""
    return compute / n + passages * (n - 1) * (link.latency + size / n / link.bandwidth)


def fitted(seconds: dict[int, float], n: int) -> Link:
    """The link whose all-reduce between n processes takes {bytes: seconds}, with least squares of relative errors."""
    sizes, times = numpy.array(list(seconds), float), numpy.array(list(seconds.values()))
    terms = 2 * (n - 1) * numpy.stack([numpy.ones_like(sizes), sizes / n], 1)
    (latency, inverse), *_ = numpy.linalg.lstsq(terms / times[:, None], numpy.ones_like(times), rcond=None)
    return Link("gloo over the loopback", latency, 1 / inverse)


def memory(parameters: int, largest: int, n: int, shards: bool) -> dict[str, float]:
    """Bytes a device of AdamW's training in fp32 with bf16 autocast: `largest` is a block's parameters.

    Four each for parameters and gradients, eight for two averages; two for the copies in bf16 that autocast makes and
    the backward pass needs; for copies four more, for the message; for shards a block's parameters and gradients.
    """
    held = 16 * parameters / (n if shards else 1)
    return {"held": held, "bf16": 2 * parameters, "passing": 8 * largest if shards else 4 * parameters}


@dataclass
class Case:
    name: str
    model: nn.Module
    opt: Optimizer
    schedule: LRScheduler
    rows: int  # of a batch
    loss: Callable[[int], Tensor]  # of so many rows


def make_run() -> Run:
    folder = tempfile.mkdtemp()
    return Run(Spec("bench", "laptop", "plain", 0, {}, "bf16" if has_bf16() else "fp32"), Path(folder))


def llama(run: Run) -> Case:
    cfg = llama_fr.Config(**llama_fr.STUDY.scales["novelist"].changes)
    model = seeded(run, "init", lambda: llama_fr.network(cfg, llama_fr.REFERENCE))
    shard(model)
    opt = AdamW(model.parameters(), lr=cfg.lr, betas=(cfg.momentum, 0.95), fused=True)
    tokens = torch.randint(llama_fr.REFERENCE, (cfg.batch, cfg.context + 1), generator=torch.Generator().manual_seed(0))

    def loss(rows: int) -> Tensor:
        block = tokens[:rows]
        return functional.cross_entropy(model(block[:, :-1]).flatten(0, 1), block[:, 1:].flatten())

    return Case("llama-fr", model, opt, scheduled(opt, cfg), cfg.batch, loss)


def cifar(run: Run) -> Case:
    cfg = cifar_speed.Config(**cifar_speed.STUDY.scales["eight-minutes"].changes)
    standardise = Standardise([0.5] * 3, [0.25] * 3)
    model = seeded(run, "init", lambda: Airbench(standardise, 10, cfg.width, cfg.residual))
    model.first.weight.requires_grad_(False)
    shard(model)
    opt, schedule = cifar_speed.optimiser(model, cfg)
    x, y = torch.rand(cfg.batch, 3, cfg.side, cfg.side), torch.eye(10)[torch.arange(cfg.batch) % 10]
    return Case("cifar-speed", model, opt, schedule, cfg.batch, lambda rows: cross_entropy(model(x[:rows]), y[:rows]))


def storages(tensors: Iterable[Tensor]) -> dict[int, int]:
    """{address: bytes} of what this process has of tensors, several of which may share one."""
    own = [t.to_local() if hasattr(t, "to_local") else t for t in tensors]
    return {s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in own) if s.nbytes()}


def timed(run: Run, case: Case, exchange: bool) -> float:
    """Seconds until all processes have done a step, each of its rows; without `exchange` gradients are not averaged."""
    wait()
    begun = time.perf_counter()
    with run.autocast():
        loss = case.loss(case.rows // processes())
        if exchange:
            descend(loss, case.opt, case.schedule)
    if not exchange:
        case.opt.zero_grad()
        loss.backward()
        case.opt.step()
    wait()
    return time.perf_counter() - begun


def measured(run: Run, case: Case, apart: bool = False) -> dict[str, float]:
    """Median seconds of a step, `apart` in turns with one that exchanges nothing; bytes that are held and kept."""
    turns = [[timed(run, case, exchange) for exchange in (True, *[False] * apart)] for _ in range(TURNS + 1)]
    seconds = [statistics.median(side) for side in zip(*turns[1:], strict=True)]  # the first warms up
    parameters = list(case.model.parameters())
    gradients = [p.grad for p in parameters if p.grad is not None]
    held = storages([*parameters, *gradients, *(t for s in case.opt.state.values() for t in s.values())])
    saved: list[Tensor] = []
    with run.autocast(), torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        loss = case.loss(case.rows // processes())
    kept = {address: size for address, size in storages(saved).items() if address not in held}
    del loss
    return dict(zip(("seconds", "apart"), seconds, strict=False)) | {
        "held": sum(held.values()),
        "kept": sum(kept.values()),
    }


def message_seconds() -> dict[int, float]:
    """{bytes: median seconds} of an all-reduce."""
    found = {}
    for size in SIZES:
        message, times = torch.ones(size // 4), []
        for _ in range(32):
            wait()
            begun = time.perf_counter()
            torch.distributed.all_reduce(message)
            times.append(time.perf_counter() - begun)
            message.fill_(1.0)
        found[size] = statistics.median(times[2:])
    return found


def child() -> None:
    """One of two processes; the first prints what it measured."""
    join()
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(1)
    shards = os.environ["ACCELERATE_USE_FSDP"] == "true"
    run, found = make_run(), {} if shards else {"messages": message_seconds()}
    for make in (llama, cifar):
        case = make(run)
        found[case.name] = measured(run, case, apart=not shards)
    if rank() == 0:
        print(json.dumps(found))


def two_processes(shards: bool) -> dict[str, dict[str, float]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    meeting["ACCELERATE_USE_FSDP"] = str(shards).lower()
    both = [
        subprocess.Popen(
            [sys.executable, __file__],
            env=os.environ | meeting | {"RANK": str(number), "LOCAL_RANK": str(number)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    told = [process.communicate()[0] for process in both]
    if any(process.returncode for process in both):
        raise SystemExit("the two processes could not measure; what they said stands above")
    return json.loads(told[0])


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    return made


def megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f}"


def tell_measured(console: Console) -> list[tuple[str, float, int, int]]:
    """Print what is measured; of each network its name, seconds of compute, bytes of the message, rows of a batch."""
    torch.set_num_threads(1)
    alone, bytes_, rows, run = {}, {}, {}, make_run()
    for make in (llama, cifar):
        case = make(run)
        alone[case.name], rows[case.name] = measured(run, case), case.rows
        bytes_[case.name] = 4 * sum(p.numel() for p in case.model.parameters() if p.requires_grad)
    copies, shards = two_processes(False), two_processes(True)
    messages = {int(size): seconds for size, seconds in copies["messages"].items()}
    link = fitted(messages, 2)

    found = table("All-reduce between two processes, gloo over the loopback", "bytes", "milliseconds", "as fitted")
    for size, seconds in messages.items():
        found.add_row(f"{size:,}", f"{1000 * seconds:.3f}", f"{1000 * step_seconds(0, size, link, 2):.3f}")
    console.print(found)
    console.print(f"latency of a hop {1e6 * link.latency:.0f} us, bandwidth {link.bandwidth / 1e9:.2f} GB/s\n")

    found = table(
        "Seconds of a step, one thread a process",
        *("network", "message, MB", "one", "two, apart", "two", "as modelled", "two with shards"),
    )
    for name, size in bytes_.items():
        side = copies[name]
        row = [alone[name]["seconds"], side["apart"], side["seconds"], side["apart"] + step_seconds(0, size, link, 2)]
        found.add_row(name, megabytes(size), *(f"{seconds:.3f}" for seconds in [*row, shards[name]["seconds"]]))
    console.print(found)

    found = table("Megabytes of a process", "network", "what", "one", "of two", "of two with shards", "saved")
    for name in bytes_:
        for what, says in (("held", "parameters, gradients, averages"), ("kept", "kept for the backward pass")):
            sizes = [side[name][what] for side in (alone, copies, shards)]
            found.add_row(name, says, *map(megabytes, sizes), f"{1 - sizes[2] / sizes[1]:.0%}")
    console.print(found)
    return [(name, alone[name]["seconds"], bytes_[name], rows[name]) for name in alone]


def tell_planned(
    console: Console, title: str, compute: float, size: float, counts: Sequence[int], passages: int
) -> None:
    found = table(title, "network", *(f"{n}" for n in counts))
    for link in NOMINAL:
        seconds = [step_seconds(compute, size, link, n, passages) for n in counts]
        cells = [f"{1 / s:.3g} ({compute / n / s:.0%})" for n, s in zip(counts, seconds, strict=True)]
        found.add_row(link.name, *cells)
    console.print(found)


def tell_paper(console: Console) -> None:
    """The paper's network, which fits no machine here: steps a second and memory on GPUs, on paper."""
    cfg = llama_fr.Config(**llama_fr.STUDY.scales["paper"].changes)
    with torch.device("meta"):
        model = llama_fr.network(cfg, llama_fr.REFERENCE)
    parameters = sum(p.numel() for p in model.parameters())
    largest = max(sum(p.numel() for p in block.parameters()) for block in model.blocks)
    tokens = cfg.batch * cfg.context
    compute = 6 * llama_fr.arithmetic(cfg, model, llama_fr.REFERENCE) * tokens / GPU
    counts = (8, 64, 512)
    says = f"llama-fr at scale paper, {parameters / 1e9:.2f} billion parameters, {tokens / 1e6:.1f} million tokens"
    for kind, passages in (("copies", 2), ("shards", 3)):
        title = f"{says} a step, planned: steps a second (efficiency) on GPUs, {kind}"
        tell_planned(console, title, compute, 4 * parameters, counts, passages)
    found = table("The same: gigabytes a GPU", "GPUs", "kind", "held", "bf16 copies", "passing", "activations", "all")
    for n in counts:
        activations = 34 * cfg.width * cfg.depth * tokens / n
        for kind in ("copies", "shards"):
            cells = [*memory(parameters, largest, n, kind == "shards").values(), activations]
            found.add_row(str(n), kind, *(f"{size / 1e9:,.1f}" for size in [*cells, sum(cells)]))
    console.print(found)


def main() -> None:
    if "RANK" in os.environ:
        child()
        return
    console = Console(width=120)
    facts = environment()
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    console.print(f"{time.strftime('%d %B %Y')}; {facts['host']}; {libraries}; {make_run().spec.precision}\n")
    for name, seconds, size, rows in tell_measured(console):
        title = f"{name}, planned: steps a second (efficiency) on machines like this one"
        counts = [n for n in (1, 2, 4, 5, 8, 10, 16) if rows % n == 0]  # all take as many rows
        tell_planned(console, title, seconds, size, counts, 2)
    tell_paper(console)


if __name__ == "__main__":
    main()
