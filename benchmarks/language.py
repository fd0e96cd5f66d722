"""Language networks against the ways that people take, in one run: etudes bench language

Training    a step of `etudes.nn.llama.Llama` by the usual path (bf16 where this machine multiplies it, fused AdamW,
            `descend`) and of transformers' LlamaForCausalLM with the same sizes, the same optimiser and the ordinary
            loop: at its default, fp32, and given bf16 autocast. Goals: 1.5 times its default, and no less than it with
            bf16.
Decoding    greedy tokens one after another by `etudes.generate.sampling`, and by transformers' `generate` with its
            cache and the same weights, in fp32 on both sides; the tokens must be the same. The network is that of the
            study `llama-fr` on a laptop, and the larger one that was trained above. Goal: 3 times.
Recurrent   a step of an LSTM by `etudes.nn.recurrent.Recurrent` and the usual path, and by the plain loop over
            nn.Embedding, nn.LSTM and nn.Linear in fp32. Goal: 1.4 times.

Contenders take turns of a few steps, each round beginning with another one; the tables have medians over the rounds of
tokens a second and of ours over theirs in the same round. A library that cannot be imported is named and left out: pip
install transformers.
"""

import gc
import importlib.metadata
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.environment import environment
from etudes.core.run import Run
from etudes.core.spec import Spec
from etudes.generate.sampling import choice, generate
from etudes.nn.exchange import to_transformers
from etudes.nn.llama import Llama
from etudes.nn.recurrent import Recurrent
from etudes.train.precision import has_bf16
from etudes.train.recipe import Sgd, descend, scheduled, seeded

# of Llama: vocabulary, width, depth, heads, heads of keys and values, width of the gated layer, context
TRAINED = (4096, 256, 4, 8, 4, 704, 128)
DECODED = {"width 128": (4096, 128, 4, 4, 2, 384, 128), "width 256": TRAINED}
BATCH, PROMPT, WRITTEN = 16, 16, 100
VOCABULARY, HIDDEN, LANES, SEQUENCE = 100, 512, 50, 100  # of the LSTM
BF16 = "bf16" if has_bf16() else "fp32"


@dataclass
class Contender:
    name: str
    precision: str
    work: Callable[[], Tensor]  # some tokens' work; a loss, or the tokens
    goal: float = 0.0  # of ours over it


def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def ours(make: Callable[[], nn.Module], tokens: Tensor, folder: Path) -> Contender:
    folder.mkdir()
    run = Run(Spec("bench", "laptop", "plain", 0, {}, BF16), folder)
    model = seeded(run, "init", make)
    opt = adamw(model)
    schedule = scheduled(opt, Sgd(schedule="constant"))

    def step() -> Tensor:
        with run.autocast():
            loss = mean_loss(model(tokens[:, :-1]), tokens[:, 1:])
        return descend(loss, opt, schedule)

    return Contender("études", BF16, step)


def plain(name: str, model: nn.Module, tokens: Tensor, precision: str, goal: float) -> Contender:
    """The ordinary loop over a network that answers with logits, or with an object that has them."""
    opt = adamw(model)

    def step() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            answer = model(tokens[:, :-1])
            loss = mean_loss(getattr(answer, "logits", answer), tokens[:, 1:])
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss.detach()

    return Contender(name, precision, step, goal)


def adamw(model: nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)


class PlainLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, HIDDEN)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(tokens))[0])


def training(folder: Path, transformers: bool) -> list[Contender]:
    tokens = torch.randint(TRAINED[0], (BATCH, TRAINED[-1] + 1))
    found = [ours(lambda: Llama(*TRAINED), tokens, folder)]
    if transformers:
        for precision, goal in {"fp32": 1.5, BF16: 1.0 if BF16 == "bf16" else 1.5}.items():
            peer = to_transformers(Llama(*TRAINED)).train()
            found.append(plain("transformers", peer, tokens, precision, goal))
    return found


def decoding(sizes: tuple[int, ...], transformers: bool) -> list[Contender]:
    model = Llama(*sizes).eval()
    with torch.no_grad():  # as weights begin, the same token would follow for ever
        for parameter in model.parameters():
            parameter.mul_(5)
    prompt = torch.randint(sizes[0], (1, PROMPT))

    def write() -> Tensor:
        return generate(model, prompt, WRITTEN, choice(temperature=0))

    found = [Contender("études", "fp32", write)]
    if transformers:
        peer = to_transformers(model)

        def theirs() -> Tensor:
            whole = peer.generate(prompt, do_sample=False, use_cache=True, max_new_tokens=WRITTEN)
            return whole[:, PROMPT:]

        assert torch.equal(write(), theirs())
        assert len(write().unique()) > WRITTEN // 10
        found.append(Contender("transformers", "fp32", theirs, 3.0))
    return found


def recurrent(folder: Path) -> list[Contender]:
    tokens = torch.randint(VOCABULARY, (LANES, SEQUENCE + 1))
    own = ours(lambda: Recurrent("lstm", VOCABULARY, HIDDEN, 1), tokens, folder)
    return [own, plain("a plain loop", PlainLSTM(), tokens, "fp32", 1.4)]


def compare(found: list[Contender], rounds: int, times: int, tokens: int) -> list[list[float]]:
    """Tokens a second of each contender, round by round, whose work is so many tokens."""
    for contender in found:
        contender.work()
    speeds: list[list[float]] = [[] for _ in found]
    for turn in range(rounds):
        for place in range(len(found)):
            at = (turn + place) % len(found)
            gc.collect()
            begun = time.perf_counter()
            for _ in range(times):
                done = found[at].work()
            speeds[at].append(times * tokens / (time.perf_counter() - begun))
            assert done.isfinite().all()
    return speeds


def told(title: str, found: list[Contender], speeds: list[list[float]]) -> Table:
    table = Table("by", "precision", "tokens/s", "ours/theirs", "goal", title=title, title_justify="left")
    for contender, own in zip(found, speeds, strict=True):
        ratios = [mine / other for mine, other in zip(speeds[0], own, strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        told = (ratio, f"{contender.goal:.1f}") if contender is not found[0] else ("", "")
        table.add_row(contender.name, contender.precision, f"{statistics.median(own):,.0f}", *told)
    return table


def importable() -> bool:
    """Whether transformers is there; its version, or why not, is printed."""
    try:
        import transformers  # noqa: F401
    except Exception as error:  # whatever its import may raise
        print(f"transformers is left out: {type(error).__name__}: {str(error).splitlines()[0]}")
        return False
    print(f"transformers {importlib.metadata.version('transformers')}")
    return True


def main(rounds: int = 11) -> None:
    facts = environment()
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    print(f"{facts['host']}; {torch.get_num_threads()} threads; {libraries}")
    torch.manual_seed(0)
    transformers, console = importable(), Console(width=124)
    with tempfile.TemporaryDirectory() as folder:
        found = training(Path(folder) / "llama", transformers)
        title = f"Training a Llama {TRAINED}, batch {BATCH}"
        console.print(told(title, found, compare(found, rounds, 2, BATCH * TRAINED[-1])))
        for name, sizes in DECODED.items():
            found = decoding(sizes, transformers)
            title = f"Decoding {WRITTEN} greedy tokens after {PROMPT}, {name}"
            console.print(told(title, found, compare(found, rounds, 2, WRITTEN)))
        found = recurrent(Path(folder) / "lstm")
        title = f"Training an LSTM of {HIDDEN}, {LANES} sequences of {SEQUENCE}"
        console.print(told(title, found, compare(found, rounds, 1, LANES * SEQUENCE)))
    print(f"{rounds} rounds")


if __name__ == "__main__":
    main()
