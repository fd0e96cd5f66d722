"""SmolLM2 (Allal et al. 2025, arXiv:2502.02737) of a GGUF file, run by our own Llama.

What is written out here and not in the file is how its instructed models hold a talk (ChatML, with a system message of
its own) and how the file's vocabulary was made: bytes as letters, pairs joined (GPT-2's).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from etudes.generate.gguf import Gguf
from etudes.nn.attention import State
from etudes.nn.llama import Llama

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
CONTROL = 3  # the kind of a token that stands for no text, in the file's list of kinds
PARTS = {  # our name of a tensor -> the file's, several where ours has them under each other
    "embedding": ("token_embd",),
    "norm1": ("attn_norm",),
    "qkv": ("attn_q", "attn_k", "attn_v"),
    "out": ("attn_output",),
    "norm2": ("ffn_norm",),
    "gate_up": ("ffn_gate", "ffn_up"),
    "down": ("ffn_down",),
    "norm": ("output_norm",),
}


def talk(messages: Sequence[Mapping[str, str]]) -> str:
    """The messages as the text that the model continues with its answer."""
    if messages and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": SYSTEM}, *messages]
    told = "".join(f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages)
    return told + "<|im_start|>assistant\n"


class SmolTokenizer:
    """The model's tokens. What looks like one of its marks is one, in a text as in a talk."""

    def __init__(self, file: Gguf) -> None:
        pieces, kinds, merges = (file.facts[f"tokenizer.ggml.{name}"] for name in ("tokens", "token_type", "merges"))
        pairs = [tuple(pair.split(" ")) for pair in merges]
        self._tokenizer = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=pairs))
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._tokenizer.decoder = decoders.ByteLevel()
        marks = [piece for piece, kind in zip(pieces, kinds, strict=True) if kind == CONTROL]
        self._tokenizer.add_special_tokens([AddedToken(mark, normalized=False, special=True) for mark in marks])
        self.ends = {file.facts["tokenizer.ggml.eos_token_id"]}

    def prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        return self.encode(talk(messages))

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))


class Network:
    """Our Llama as a chat reads it: its prompt first, of which the last logits alone are asked."""

    def __init__(self, llama: Llama) -> None:
        self.llama, self.context, self.device = llama, llama.context, llama.embedding.device

    def first(self, prompt: Tensor) -> tuple[Tensor, State]:
        return self.llama.last(prompt, self.llama.start(1))

    def next(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        return self.llama.next(tokens, state)

    def repeat(self, state: State, n: int) -> State:
        return tuple((keys.expand(n, -1, -1, -1), values.expand(n, -1, -1, -1)) for keys, values in state)


def network(file: Gguf) -> Llama:
    """The network of a file, in float32 and in evaluation mode."""
    facts = {name.removeprefix("llama."): value for name, value in file.facts.items()}
    heads, kv_heads = facts["attention.head_count"], facts["attention.head_count_kv"]
    with torch.device("meta"):
        llama = Llama(
            facts["vocab_size"],
            facts["embedding_length"],
            facts["block_count"],
            heads,
            kv_heads,
            facts["feed_forward_length"],
            facts["context_length"],
            facts["rope.freq_base"],
            facts["attention.layer_norm_rms_epsilon"],
        )
    room = np.empty(sum(weights.numel() for weights in llama.parameters()), np.float32)  # one piece is had sooner
    weights: dict[str, Tensor] = {}
    at = 0
    for name, like in llama.named_parameters():
        found = room[at : at + like.numel()].reshape(like.shape)
        at, weights[name] = at + like.numel(), torch.from_numpy(found)
        *block, own = name.split(".")
        prefix, row = f"blk.{block[1]}." if block else "", 0
        for part in PARTS[own]:
            size = file.shape(f"{prefix}{part}.weight")[0]
            rows = file.tensor(f"{prefix}{part}.weight", found[row : row + size])
            if part in ("attn_q", "attn_k"):
                rows[:] = _halved(rows, heads if part == "attn_q" else kv_heads)
            row += size
    llama.load_state_dict(weights, assign=True)
    llama.tabulate()
    return llama.eval()


def _halved(matrix: np.ndarray, heads: int) -> np.ndarray:
    """The rows of each head, the even ones first: the file's rotary pairs are neighbours, ours half a head apart."""
    return matrix.reshape(heads, -1, 2, matrix.shape[1]).swapaxes(1, 2).reshape(matrix.shape)


def read(path: Path, device: torch.device) -> tuple[Network, SmolTokenizer]:
    """The network and the tokens of a GGUF file of the model."""
    file = Gguf(path)
    return Network(network(file).to(device)), SmolTokenizer(file)
