"""What decoder networks share: causal attention with a cache of what was read, and how their weights begin.

Papers: Attention Is All You Need, Vaswani et al. 2017, arXiv:1706.03762, sec. 3.2; GQA: Training Generalized
Multi-Query Transformer Models from Multi-Head Checkpoints, Ainslie et al. 2023, arXiv:2305.13245 (groups of query heads
that share their keys and values); Language Models are Unsupervised Multitask Learners, Radford et al. 2019, sec. 2.3
(how weights begin).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import Problem

Read = tuple[Tensor, Tensor]  # keys and values [n, kv_heads, t, d] of the tokens that one layer has read
State = tuple[Read, ...]  # a layer each
Turn = Callable[[Tensor], Tensor]  # what positions do to queries and keys [n, heads, t, d]

SHORT = 512  # tokens up to which a CPU is faster with the whole matrix of scores in memory


def attend(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    """Values [n, heads, t, d] that queries q of that shape see, being the last t of the s positions of k and v.

    k and v are [n, kv_heads, s, d]; query head h looks at their head h // (heads / kv_heads). A query sees its own
    position and those before it. `dropout` is the share of attention weights that are set to zero.

    On a CPU, PyTorch's fused attention is slow backward in bf16: there the scores of short texts are written out, the
    queries of a group stacked as rows, which takes a half to a fifth of the time for 64 to 256 tokens.
    """
    n, heads, t, d = q.shape
    kv_heads, s = k.shape[1:3]
    group = heads // kv_heads
    later = None if t == 1 else torch.ones(t, s, dtype=torch.bool, device=q.device).triu(s - t + 1)
    if t == 1 or s > SHORT or q.device.type != "cpu":
        mask = None if t in (1, s) else ~later
        return functional.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=t == s, enable_gqa=group > 1)
    mask = torch.zeros(t, s, dtype=q.dtype).masked_fill_(later, -math.inf).repeat(group, 1)
    rows, k, v = q.reshape(n * kv_heads, group * t, d), k.reshape(-1, s, d), v.reshape(-1, s, d)
    weights = torch.baddbmm(mask, rows, k.transpose(1, 2), alpha=d**-0.5).softmax(-1)
    return torch.bmm(functional.dropout(weights, dropout), v).view(n, heads, t, d)


def self_attention(
    qkv: Tensor, n: int, heads: int, kv_heads: int, past: Read | None, turn: Turn | None = None, dropout: float = 0.0
) -> tuple[Tensor, Read]:
    """What the tokens of n texts see [n * t, heads * d], and what was read with them, from their projections.

    qkv: [n * t, (heads + 2 * kv_heads) * d], queries before keys before values; `past`: what was read before. Keys are
    kept as turned.
    """
    rows, channels = qkv.shape
    d = channels // (heads + 2 * kv_heads)
    # split_with_sizes, as Tensor.split takes three times as long for one token
    turned, v = qkv.view(n, -1, channels // d, d).transpose(1, 2).split_with_sizes((heads + kv_heads, kv_heads), 1)
    q, k = (turned if turn is None else turn(turned)).split_with_sizes((heads, kv_heads), 1)
    if past is not None:
        k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
    return attend(q, k, v, dropout).transpose(1, 2).reshape(rows, heads * d), (k, v)


def empty_state(n: int, depth: int, kv_heads: int, d: int, like: Tensor) -> State:
    """The state of a decoder before any token, on the device of `like`."""
    empty = like.new_empty(n, kv_heads, 0, d)
    return ((empty, empty),) * depth


def places(state: State | None, tokens: Tensor, context: int) -> slice:
    """The positions of tokens: int64 [n, t], behind those that were read.

    Raises Problem where the context ends before.
    """
    before = state[0][0].shape[2] if state else 0
    after = before + tokens.shape[1]
    if after > context:
        raise Problem(
            f"this network sees {context} tokens at once, not {after}; give it fewer, or generate with a window that "
            "slides (etudes.generate.sampling)"
        )
    return slice(before, after)


def check(vocabulary: int, width: int, depth: int, heads: int, kv_heads: int, context: int) -> None:
    """Raises Problem on sizes that no decoder can have."""
    if min(vocabulary, width, depth, heads, kv_heads, context) < 1:
        raise Problem(
            "a decoder needs a vocabulary, a width, layers, heads and a context of at least 1 each, not "
            f"{vocabulary}, {width}, {depth}, {heads} ({kv_heads} of keys and values) and {context}"
        )
    if width % heads or heads % kv_heads:
        raise Problem(
            f"a width of {width} does not fall into {heads} heads, or these into {kv_heads} groups; take heads that "
            "divide the width, and heads of keys and values that divide the heads"
        )


def initialise(model: nn.Module, depth: int) -> None:
    """Give the matrices of a decoder their first values, as GPT-2 does: normal with deviation 0.02.

    Those that lead back into the stream ("out", "down") have 0.02 / sqrt(2 depth), so that its variance does not grow
    with the depth. Biases begin at 0.
    """
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            back = not {"out", "down"}.isdisjoint(name.split("."))
            nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * depth) if back else 0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
