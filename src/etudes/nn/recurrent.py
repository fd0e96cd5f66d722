"""Recurrent language networks: plain, LSTM and GRU, with or without layer normalisation."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from etudes.core.errors import Problem, unknown

Kind = Literal["rnn", "lstm", "gru"]
State = tuple[tuple[Tensor, ...], ...]  # a layer's (hidden,) or, of an LSTM, (hidden, cell); each [n, hidden]
FUSED = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
BLOCKS = {"rnn": ("candidate",), "lstm": ("input", "forget", "candidate", "output"), "gru": ("reset", "update", "new")}
GATES = {"rnn": (), "lstm": ("input", "forget", "output"), "gru": ("reset", "update")}


class Recurrent(nn.Module):
    """Tokens [n, t] to logits [n, t, vocabulary] of the token after each, by a network that keeps a state.

    The layers are PyTorch's own (Elman's network with tanh, the LSTM, and the GRU whose reset gate acts on the product
    with the hidden state), or `Normalised` ones. Dropout acts on what a layer hands up, to the next one or to the
    logits, and never from one token to the next (Zaremba et al. 2014, arXiv:1409.2329). A matrix of every block starts
    as Glorot's uniform for inputs, orthogonal for hidden states (Saxe et al. 2013, arXiv:1312.6120), and the forget
    gate's bias at 1 (Gers et al. 2000; Jozefowicz et al. 2015, "An empirical exploration of recurrent network
    architectures"). The head is scaled so that the logits of random tokens have unit variance (Mishkin and Matas 2015,
    arXiv:1511.06422): what an LSTM hands up is small at first, and with small logits above it learns several times
    slower. Raises Problem on unknown kinds and impossible sizes.
    """

    context = 0  # no limit

    def __init__(
        self, kind: Kind, vocabulary: int, hidden: int, layers: int = 1, dropout: float = 0.0, layer_norm: bool = False
    ) -> None:
        super().__init__()
        if kind not in FUSED:
            raise unknown("recurrent network", kind, FUSED)
        if min(vocabulary, hidden, layers) < 1 or not 0 <= dropout < 1:
            raise Problem(
                f"a recurrent network needs a vocabulary, hidden units and layers, and dropout in [0, 1), "
                f"not {vocabulary}, {hidden}, {layers} and {dropout:g}"
            )
        self.kind, self.hidden = kind, hidden
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.layers = nn.ModuleList(
            Normalised(kind, hidden) if layer_norm else FUSED[kind](hidden, hidden, batch_first=True)
            for _ in range(layers)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, vocabulary)
        for layer in self.layers:
            _start(layer, kind)
        self._scale_head(vocabulary)

    @torch.no_grad()
    def _scale_head(self, vocabulary: int) -> None:
        nn.init.zeros_(self.head.bias)
        x = self.watch(torch.randint(vocabulary, (16, 32)), self.start(16))[-1]["hidden"]
        self.head.weight /= self.head(x).std() + 1e-8

    def start(self, n: int) -> State:
        """The state before any token: zeros."""
        zero = self.head.weight.new_zeros(n, self.hidden)
        return tuple((zero, zero) if self.kind == "lstm" else (zero,) for _ in self.layers)

    def next(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits [n, t, vocabulary] after each of the tokens [n, t], and the state after the last."""
        x, after = self.embedding(tokens), []
        for layer, before in zip(self.layers, state, strict=True):
            if isinstance(layer, Normalised):
                seen = walk(layer, self.kind, x, before)
                x, last = seen["hidden"], tuple(seen[name][:, -1] for name in ("hidden", "cell") if name in seen)
            else:
                # PyTorch's state is layers first
                given = tuple(part[None] for part in before)
                x, kept = layer(x, given if self.kind == "lstm" else given[0])
                last = tuple(part[0] for part in (kept if self.kind == "lstm" else (kept,)))
            x = self.dropout(x)
            after.append(last)
        return self.head(x), tuple(after)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.next(tokens, self.start(len(tokens)))[0]

    def watch(self, tokens: Tensor, state: State) -> list[dict[str, Tensor]]:
        """What goes on in each layer at each of the tokens [n, t]: {"hidden", "cell" of an LSTM, its gates: [n, t, h]}.

        The same function as `next`, but step by step, and without dropout.
        """
        x, seen = self.embedding(tokens), []
        for layer, before in zip(self.layers, state, strict=True):
            seen.append(walk(layer, self.kind, x, before))
            x = seen[-1]["hidden"]
        return seen


class Normalised(nn.Module):
    """The weights of one layer, named as PyTorch's, whose products are normalised over the units (Ba et al. 2016,
    arXiv:1607.06450).

    LSTM: LN(W_x x) + LN(W_h h) over all four blocks together, and LN(c) before the output (eq. 20-22). GRU: the same
    for both gates together, and for each product of the new state (supplement). Plain: LN(W_x x + W_h h) (eq. 4). Each
    LN has a gain and a shift of its own, so that the paper's further bias, which would do nothing, is left out.
    """

    def __init__(self, kind: Kind, hidden: int) -> None:
        super().__init__()
        blocks = len(BLOCKS[kind])
        self.weight_ih_l0 = nn.Parameter(torch.empty(blocks * hidden, hidden))
        self.weight_hh_l0 = nn.Parameter(torch.empty(blocks * hidden, hidden))
        sizes = {"rnn": (), "lstm": (4 * hidden,), "gru": (2 * hidden, hidden)}[kind]
        self.norms_ih = nn.ModuleList(nn.LayerNorm(size) for size in sizes)
        self.norms_hh = nn.ModuleList(nn.LayerNorm(size) for size in sizes)
        self.norm = nn.Identity() if kind == "gru" else nn.LayerNorm(hidden)


def walk(layer: nn.Module, kind: Kind, x: Tensor, state: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """{"hidden", "cell" of an LSTM, each gate after its sigmoid}, all [n, t, h], of one layer on x: [n, t, h].

    `layer` is PyTorch's or `Normalised`; only its parameters are used. state: (hidden [n, h], cell of an LSTM).
    """
    own = isinstance(layer, Normalised)
    biases = (None, None) if own else (layer.bias_ih_l0, layer.bias_hh_l0)
    inputs = functional.linear(x, layer.weight_ih_l0, biases[0])
    inputs = _normalised(layer.norms_ih, inputs) if own else inputs
    steps: list[dict[str, Tensor]] = []
    for given in inputs.unbind(1):
        held = functional.linear(state[0], layer.weight_hh_l0, biases[1])
        held = _normalised(layer.norms_hh, held) if own else held
        steps.append(_step(kind, given, held, state, layer.norm if own else nn.Identity()))
        state = tuple(steps[-1][name] for name in ("hidden", "cell") if name in steps[-1])
    return {name: torch.stack([step[name] for step in steps], 1) for name in steps[0]}


def _step(kind: Kind, given: Tensor, held: Tensor, state: tuple[Tensor, ...], norm: nn.Module) -> dict[str, Tensor]:
    """One step of one layer, from what the input gives and what the hidden state gives: [n, blocks * h] each."""
    if kind == "rnn":
        return {"hidden": norm(given + held).tanh()}
    if kind == "gru":
        h = given.shape[1] // 3
        reset, update = (given[:, : 2 * h] + held[:, : 2 * h]).sigmoid().chunk(2, 1)
        new = (given[:, 2 * h :] + reset * held[:, 2 * h :]).tanh()
        return {"hidden": new + update * (state[0] - new), "reset": reset, "update": update}
    enter, forget, candidate, leave = (given + held).chunk(4, 1)
    enter, forget, leave = enter.sigmoid(), forget.sigmoid(), leave.sigmoid()
    cell = forget * state[1] + enter * candidate.tanh()
    return {"hidden": leave * norm(cell).tanh(), "cell": cell, "input": enter, "forget": forget, "output": leave}


def _normalised(norms: Sequence[nn.LayerNorm], x: Tensor) -> Tensor:
    if not norms:
        return x
    parts = x.split([norm.normalized_shape[0] for norm in norms], -1)
    return torch.cat([norm(part) for norm, part in zip(norms, parts, strict=True)], -1)


def _start(layer: nn.Module, kind: Kind) -> None:
    """Give the layer's parameters their values before training, drawn from PyTorch's generator."""
    for weight, fill in ((layer.weight_ih_l0, nn.init.xavier_uniform_), (layer.weight_hh_l0, nn.init.orthogonal_)):
        for block in weight.detach().chunk(len(BLOCKS[kind])):
            fill(block)
    own = isinstance(layer, Normalised)
    if not own:
        nn.init.zeros_(layer.bias_ih_l0)
        nn.init.zeros_(layer.bias_hh_l0)
    if kind == "lstm":
        shifts = layer.norms_ih[0].bias if own else layer.bias_ih_l0
        shifts.detach().chunk(4)[BLOCKS["lstm"].index("forget")].fill_(1)


def parameters_of(kind: Kind, vocabulary: int, hidden: int, layers: int) -> int:
    """The number of parameters of a `Recurrent` without layer normalisation."""
    if kind not in BLOCKS:
        raise unknown("recurrent network", kind, BLOCKS)
    return (2 * hidden + 1) * vocabulary + layers * len(BLOCKS[kind]) * (2 * hidden**2 + 2 * hidden)


def hidden_units(kind: Kind, vocabulary: int, layers: int, parameters: int) -> int:
    """The hidden units, at least 1, with which a `Recurrent` has nearest to so many parameters.

    Networks compared at equal hidden units differ in parameters several times over. Raises Problem where one hidden
    unit takes more parameters than that.
    """
    least = parameters_of(kind, vocabulary, 1, layers)
    if parameters < least:
        raise Problem(f"a recurrent network of this vocabulary has {least} parameters or more, not {parameters}")
    a = 2 * layers * len(BLOCKS[kind])  # of a h^2 + b h + vocabulary
    b = a + 2 * vocabulary
    root = (-b + math.sqrt(b**2 + 4 * a * (parameters - vocabulary))) / (2 * a)
    near = range(max(1, math.floor(root)), math.floor(root) + 2)
    return min(near, key=lambda hidden: abs(parameters_of(kind, vocabulary, hidden, layers) - parameters))
