"""What a network writes, in the usual ways, side by side."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from etudes.generate.sampling import beam, choice, generate


def samples(model: nn.Module, tokenizer: Any, beginnings: Sequence[str], length: int, seed: int) -> str:
    """Each beginning and `length` more tokens of the network's: greedy, by beam search and drawn; as one text.

    The draws, of temperature 0.8 from the nucleus of 0.95, are seeded by `seed` and the beginning's place.
    """
    device = next(model.parameters()).device
    told = []
    for number, text in enumerate(beginnings):
        tokens = torch.tensor([[tokenizer.start, *tokenizer.encode(text)]], device=device)
        drawn = choice(0.8, top_p=0.95, generator=torch.Generator(device).manual_seed(seed + number))
        found = {
            "greedy": generate(model, tokens, length, choice(temperature=0))[0],
            "beam of 4": beam(model, tokens, length, 4)[0][0],
            "temperature 0.8, nucleus 0.95": generate(model, tokens, length, drawn)[0],
        }
        for way, after in found.items():
            told.append(f"[{text or 'from nothing'} | {way}]\n{text}{tokenizer.decode(after.tolist())}\n")
    return "\n".join(told)
