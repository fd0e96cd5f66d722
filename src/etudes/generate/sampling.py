"""Text from a language network: greedy, drawn with a temperature from the top k or the nucleus, or by beam search.

Papers: The Curious Case of Neural Text Degeneration, Holtzman et al. 2020, arXiv:1904.09751 (the nucleus, eq. 2-3; its
sec. 3 sets it beside top-k and temperature); Hierarchical Neural Story Generation, Fan, Lewis, Dauphin 2018,
arXiv:1805.04833 (top-k).

A network has `context` (the most tokens it sees at once, 0 without a limit), start(n) -> state and next(tokens int64
[n, t], state) -> (logits [n, t, v], state); a state is a tuple of tensors, batch first, or of such tuples. All runs on
the network's device.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from etudes.core.errors import Problem

Choose = Callable[[Tensor], Tensor]  # logits [n, v] -> tokens int64 [n]
ROUNDING = 1e-6  # the share of a probability that float32 may be wrong by


def top_k(logits: Tensor, k: int) -> Tensor:
    """The logits [n, v], -inf outside the k largest of each row; 0 and k > v keep all.

    Those equal to the k-th stay too, as in transformers: which of equals to drop would be arbitrary. Raises Problem on
    k < 0.
    """
    if k < 0:
        raise Problem(f"the {k} most probable tokens do not exist; take 1 or more, or 0 for all")
    if k == 0 or k >= logits.shape[-1]:
        return logits
    return logits.masked_fill(logits < logits.topk(k).values[..., -1:], -math.inf)


def nucleus(logits: Tensor, p: float) -> Tensor:
    """The logits [n, v], -inf outside the smallest set of tokens whose probability is at least p; it is never empty.

    The token that crosses p stays. p = 0 keeps one token, p = 1 all. A sum counts as p where it misses it by no more
    than float32's rounding. Of tokens equally probable the later ones stay. Holtzman et al. 2020, eq. 2.

    transformers' TopPLogitsWarper differs in three ways: p = 1 drops tokens whose probability float32 rounds to 0;
    where a set's sum is p exactly, rounding decides whether one token too many stays; among many equals an unstable
    sort decides. Raises Problem on p outside [0, 1].
    """
    if not 0 <= p <= 1:
        raise Problem(f"a nucleus has a probability, which cannot be {p}; take 0 (the most probable token) to 1 (all)")
    if p == 1:
        return logits
    ordered, tokens = logits.float().sort(dim=-1, stable=True)  # rising: the sums of small numbers are exact
    least = ordered.softmax(-1).cumsum(-1)  # the probability of a token and of all that are less probable
    drop = least <= (1 - p) * (1 + ROUNDING)
    drop[..., -1] = False
    return logits.masked_fill(drop.scatter(-1, tokens, drop), -math.inf)


_largest = top_k  # `choice` has an argument of that name


def choice(
    temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, generator: torch.Generator | None = None
) -> Choose:
    """A function (logits [n, v]) -> tokens int64 [n]: drawn, or the most probable ones for temperature 0.

    Logits are divided by the temperature, then reduced to the top k, then to the nucleus, as transformers does. One
    number a row is drawn from `generator` (PyTorch's own unless given), on its device. Raises Problem on a temperature
    below 0, k < 0 and p outside [0, 1].
    """
    if not 0 <= temperature < math.inf:
        raise Problem(f"a temperature cannot be {temperature}; take 0 (the most probable token) or more")
    one = torch.zeros(1, 1)
    _largest(one, top_k)  # a wrong k or p is told here and not at the first token
    nucleus(one, top_p)

    def draw(logits: Tensor) -> Tensor:
        logits = logits.float()
        logits = _largest((logits - logits.amax(-1, keepdim=True)) / temperature, top_k)
        sums = nucleus(logits, top_p).softmax(-1).cumsum(-1)
        device = generator.device if generator else "cpu"
        drawn = torch.rand(len(logits), 1, generator=generator, device=device).to(logits.device)
        # drawn < 1, and so its share of the whole sum is below it: the first sum above exists and has a probability
        return torch.searchsorted(sums, drawn * sums[:, -1:], right=True)[:, 0]

    return (lambda logits: logits.argmax(-1)) if temperature == 0 else draw


def stream(model: nn.Module, prompt: Tensor, count: int, choose: Choose) -> Iterator[Tensor]:
    """The `count` tokens after prompt: int64 [n, t], one for each row at a time, int64 [n].

    The network's state is kept, so that a token costs one token's work. Where the state is as long as the network's
    context it is made anew from the last half of a context. The network is in evaluation mode while it works and as it
    was in between. Raises Problem on an empty prompt and on a count below 1.
    """
    _check(prompt, count)
    return _stream(model, prompt, count, choose)


def generate(model: nn.Module, prompt: Tensor, count: int, choose: Choose) -> Tensor:
    """The `count` tokens after prompt: int64 [n, t], as int64 [n, count]; see `stream`."""
    return torch.stack(list(stream(model, prompt, count, choose)), 1)


def beam(model: nn.Module, prompt: Tensor, count: int, width: int) -> tuple[Tensor, Tensor]:
    """The likeliest continuations int64 [width, count] found, and their log-probabilities [width] in nats, best first.

    Of prompt: int64 [1, t]. After each token the `width` likeliest beginnings go on; there is no length penalty. A
    width of 1 is greedy, one of v^(count - 1) looks at all. There are fewer than `width` rows where fewer continuations
    exist. Windows slide as in `stream`. Raises Problem on an empty prompt or one of several rows, a count or a width
    below 1.
    """
    _check(prompt, count)
    if width < 1 or len(prompt) != 1:
        raise Problem(
            f"a beam search keeps 1 beginning or more and continues one prompt, not {width} and {len(prompt)}; "
            "call it for each prompt"
        )
    text, state, held = prompt, None, 0
    found = torch.zeros(1, device=prompt.device)
    for _ in range(count):
        logits, state, held = _read(model, text, state, held)
        sums = found[:, None] + logits.float().log_softmax(-1)
        found, best = sums.flatten().topk(min(width, sums.numel()))
        rows, tokens = best // sums.shape[1], best % sums.shape[1]
        text = torch.cat([text[rows], tokens[:, None]], 1)
        state = select(state, rows)
    return text[:, prompt.shape[1] :], found


def select(state: Any, rows: Tensor) -> Any:
    """The state of the given rows, int64 [m], of a batch: a tensor's, or a nested tuple's of tensors."""
    if isinstance(state, tuple):
        return tuple(select(part, rows) for part in state)
    return state.index_select(0, rows)


def _stream(model: nn.Module, prompt: Tensor, count: int, choose: Choose) -> Iterator[Tensor]:
    text, state, held = prompt, None, 0
    for _ in range(count):
        logits, state, held = _read(model, text, state, held)
        token = choose(logits)
        text = torch.cat([text[:, -model.context :], token[:, None]], 1) if model.context else token[:, None]
        yield token


def _read(model: nn.Module, text: Tensor, state: Any, held: int) -> tuple[Tensor, Any, int]:
    """Logits [n, v] after the last of text: int64 [n, t], the state that has read it and the tokens that it holds.

    `state` has read all but the last token and holds `held` of them; None has read nothing.
    """
    context = model.context
    if state is not None and (not context or held < context):
        text = text[:, -1:]
    else:
        text = text[:, -context:] if state is None else text[:, -max(1, context // 2) :]
        state, held = model.start(len(text)), 0
    was_training = model.training
    if was_training:  # asked first: to walk through all layers takes as long as a small network's token
        model.eval()
    try:
        with torch.inference_mode():
            logits, state = model.next(text, state)
    finally:
        if was_training:
            model.train()
    # a clone made out of inference mode may be changed, and what comes of it trained on
    return logits[:, -1].clone(), state, held + text.shape[1]


def _check(prompt: Tensor, count: int) -> None:
    if prompt.ndim != 2 or prompt.numel() == 0:
        raise Problem(
            f"a prompt is one token or more in each row, [n, t], not {list(prompt.shape)}; begin with the tokenizer's "
            "start token"
        )
    if count < 1:
        raise Problem(f"{count} tokens cannot be written; take 1 or more")
