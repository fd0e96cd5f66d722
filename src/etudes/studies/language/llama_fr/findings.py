"""What is looked at in trained decoders: whether the cache changes a token, and what the claims measure."""

import torch
from torch import Tensor

from etudes.core import Trial
from etudes.generate.sampling import choice, generate
from etudes.nn.gpt import GPT
from etudes.nn.llama import Llama

BITS = "test/bits-per-byte"


@torch.no_grad()
def cache_agreement(model: GPT | Llama, tokens: Tensor, count: int) -> float:
    """The share of `count` greedy tokens after tokens: int64 [n] that are the same with and without the cache."""
    with_cache = generate(model, tokens[None], count, choice(temperature=0))[0]
    whole = tokens
    for _ in range(count):
        whole = torch.cat([whole, model(whole[None])[0, -1:].argmax(-1)])
    return (with_cache == whole[len(tokens) :]).double().mean().item()


def wider_gain(trial: Trial) -> float:
    """The larger change in bits per byte of the two steps from `narrow` to `llama` to `wide`."""
    return max(trial["llama"][BITS] - trial["narrow"][BITS], trial["wide"][BITS] - trial["llama"][BITS])


def least_agreement(trial: Trial) -> float:
    """The smaller share of greedy tokens of the two blocks that are the same with and without the cache."""
    return min(trial[name]["test/cache-agreement"] for name in ("llama", "gpt"))
