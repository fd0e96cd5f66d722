"""The Llama network: a decoder with rotary positions, root-mean-square norms, gated layers and grouped queries.

Papers: LLaMA, Touvron et al. 2023, arXiv:2302.13971, sec. 2.2; Llama 2, arXiv:2307.09288, and The Llama 3 Herd of
Models, arXiv:2407.21783 (grouped queries). Parts: RoFormer, Su et al. 2021, arXiv:2104.09864 (RoPE); Root Mean Square
Layer Normalization, Zhang & Sennrich 2019, arXiv:1910.07467; GLU Variants Improve Transformer, Shazeer 2020,
arXiv:2002.05202 (SwiGLU).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.nn.attention import Read, State, Turn, check, empty_state, initialise, places, self_attention


def angles(context: int, d: int, theta: float) -> Tensor:
    """Angles [context, d / 2], float64: position times theta^(-2i / d) for pair i (Su et al. 2021, sec. 3.2.2)."""
    rates = theta ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    return torch.arange(context, dtype=torch.float64)[:, None] * rates


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [n, heads, t, d] whose pairs (x_i, x_{i + d/2}) are turned by the angles of their positions.

    cos and sin are [t, d]: the cosines twice, and the sines first negative, then positive.

    These pairs are those of transformers' checkpoints ("rotate_half"). Su et al. and Meta's own weights turn neighbours
    (x_{2i}, x_{2i + 1}). Either is the other with the rows of each head's query and key projections permuted, and
    weights of one are wrong in the other without that permutation.
    """
    if x.dtype != cos.dtype:
        cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def rms_norm(x: Tensor, weight: Tensor, eps: Tensor) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis (Zhang & Sennrich 2019, eq. 4).

    In as few calls as there can be: decoding one token waits for these and not for their arithmetic.
    """
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x * torch.addcmul(eps, length, length, value=1 / x.shape[-1]).rsqrt() * weight


def matrix(out: int, into: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(out, into))


class Block(nn.Module):
    """x + attention(norm(x)), then x + down(silu(gate(norm(x))) * up(norm(x))), for x: [n * t, width].

    The matrices are parameters and not layers of their own: calling a layer costs more than the product for one token.
    """

    def __init__(self, width: int, heads: int, kv_heads: int, hidden: int) -> None:
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads
        self.norm1 = nn.Parameter(torch.ones(width))
        self.qkv = matrix(width // heads * (heads + 2 * kv_heads), width)
        self.out = matrix(width, width)
        self.norm2 = nn.Parameter(torch.ones(width))
        self.gate_up = matrix(2 * hidden, width)
        self.down = matrix(width, hidden)

    def forward(self, x: Tensor, n: int, turn: Turn, eps: Tensor, past: Read | None) -> tuple[Tensor, Read]:
        qkv = functional.linear(rms_norm(x, self.norm1, eps), self.qkv)
        seen, read = self_attention(qkv, n, self.heads, self.kv_heads, past, turn)
        x = x + functional.linear(seen, self.out)
        gate, up = functional.linear(rms_norm(x, self.norm2, eps), self.gate_up).chunk(2, -1)
        return x + functional.linear(functional.silu(gate) * up, self.down), read


class Llama(nn.Module):
    """A network tokens int64 [n, t] -> logits [n, t, vocabulary] of the token after each; t is at most `context`.

    `width` is that of the stream, `hidden` that of the gated layer, `kv_heads` the number of heads of keys and values,
    which the `heads` of queries share in groups, `theta` the base of the rotary angles. No biases. Departures from the
    papers: the output's matrix is the embedding's (as in the small ones of Llama 3.2), and weights begin as GPT-2's.
    Raises Problem on sizes that do not fit each other, and on more tokens than the context.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        depth: int,
        heads: int,
        kv_heads: int,
        hidden: int,
        context: int,
        theta: float = 10_000.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        check(vocabulary, width, depth, heads, kv_heads, context)
        self.context, self.theta, self.eps, self.d = context, theta, eps, width // heads
        if self.d % 2 or hidden < 1:
            raise Problem(
                f"rotary positions turn pairs of channels, and a gated layer has some: {self.d} channels a head and "
                f"{hidden} hidden ones cannot be; take an even number a head and at least one hidden channel"
            )
        self.embedding = matrix(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, heads, kv_heads, hidden) for _ in range(depth))
        self.norm = nn.Parameter(torch.ones(width))
        if not self.norm.is_meta:  # else weights are put in and `tabulate` is called; to draw first ones takes seconds
            self.tabulate()
            initialise(self, depth)

    def tabulate(self) -> None:
        """Set what is no weight: the least mean square of norms, and the turns of all positions."""
        self.register_buffer("least", torch.tensor(self.eps), persistent=False)
        turns = angles(self.context, self.d, self.theta)
        self.register_buffer("cos", torch.cat([turns.cos(), turns.cos()], 1).float(), persistent=False)
        self.register_buffer("sin", torch.cat([-turns.sin(), turns.sin()], 1).float(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self._read(tokens, None)[0]

    def start(self, n: int) -> State:
        """The state before any token, for n texts."""
        return empty_state(n, len(self.blocks), self.blocks[0].kv_heads, self.d, self.embedding)

    def next(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits [n, t, vocabulary] after each of the tokens int64 [n, t], and the state after the last."""
        return self._read(tokens, state)

    def last(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits [n, 1, vocabulary] after the last alone of the tokens int64 [n, t], and the state after it."""
        return self._read(tokens, state, last=True)

    def _read(self, tokens: Tensor, state: State | None, last: bool = False) -> tuple[Tensor, State]:
        at = places(state, tokens, self.context)
        cos, sin = self.cos[at], self.sin[at]

        def turn(x: Tensor) -> Tensor:
            return rotate(x, cos, sin)

        x, reads = functional.embedding(tokens, self.embedding).flatten(0, 1), []
        for i, block in enumerate(self.blocks):
            x, read = block(x, len(tokens), turn, self.least, state[i] if state else None)
            reads.append(read)
        if last:
            x = x.view(*tokens.shape, -1)[:, -1]
        logits = functional.linear(rms_norm(x, self.norm, self.least), self.embedding)
        return logits.view(len(tokens), -1, logits.shape[1]), tuple(reads)
