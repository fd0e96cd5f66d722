"""The GPT network: a decoder with learned positions, layer normalisation before each part, and GELU.

Paper: Language Models are Unsupervised Multitask Learners, Radford et al. 2019 (GPT-2), sec. 2.3; the decoder itself is
that of Improving Language Understanding by Generative Pre-Training, Radford et al. 2018, and GELU in the form with tanh
that of Hendrycks & Gimpel 2016, arXiv:1606.08415.
"""

from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.nn.attention import Read, State, check, empty_state, initialise, places, self_attention


class Block(nn.Module):
    """x + attention(norm(x)), then x + down(gelu(up(norm(x)))), four times as wide between; dropout on both.

    x is [n * t, width]."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, n: int, past: Read | None) -> tuple[Tensor, Read]:
        rate = self.dropout if self.training else 0.0
        seen, read = self_attention(self.qkv(self.norm1(x)), n, self.heads, self.heads, past, dropout=rate)
        x = x + functional.dropout(self.out(seen), rate)
        hidden = functional.gelu(self.up(self.norm2(x)), approximate="tanh")
        return x + functional.dropout(self.down(hidden), rate), read


class GPT(nn.Module):
    """A network tokens int64 [n, t] -> logits [n, t, vocabulary] of the token after each; t is at most `context`.

    The output's matrix is the embedding's. `dropout` is the share set to zero of the embedded tokens, of the attention
    weights and of what each part adds, as in the paper's code. GPT-2's smallest is vocabulary 50257, width 768, depth
    12, heads 12, context 1024, dropout 0.1: 124,439,808 parameters. Departure: positions begin with the deviation of
    all other matrices, 0.02, where OpenAI's code has 0.01 for them. Raises Problem on sizes that do not fit each other,
    and on more tokens than the context.
    """

    def __init__(self, vocabulary: int, width: int, depth: int, heads: int, context: int, dropout: float = 0.0) -> None:
        super().__init__()
        check(vocabulary, width, depth, heads, heads, context)
        if not 0 <= dropout < 1:
            raise Problem(f"dropout cannot set a share of {dropout} to zero; take 0 (none) or more, below 1")
        self.context, self.dropout = context, dropout
        self.embedding = nn.Embedding(vocabulary, width)
        self.position_embedding = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        initialise(self, depth)

    def forward(self, tokens: Tensor) -> Tensor:
        return self._read(tokens, None)[0]

    def start(self, n: int) -> State:
        """The state before any token, for n texts."""
        weight, heads = self.embedding.weight, self.blocks[0].heads
        return empty_state(n, len(self.blocks), heads, weight.shape[1] // heads, weight)

    def next(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits [n, t, vocabulary] after each of the tokens int64 [n, t], and the state after the last."""
        return self._read(tokens, state)

    def _read(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        at = places(state, tokens, self.context)
        x, reads = self.embedding(tokens) + self.position_embedding.weight[at], []
        x = functional.dropout(x.flatten(0, 1), self.dropout, self.training)
        for i, block in enumerate(self.blocks):
            x, read = block(x, len(tokens), state[i] if state else None)
            reads.append(read)
        logits = functional.linear(self.norm(x), self.embedding.weight)
        return logits.view(*tokens.shape, -1), tuple(reads)
