import math

import pytest
import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.measure.bits import bits_per_byte, nats, unigram_bits


class Bytes:
    start = 256

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def lost_bytes(self, text: str) -> int:
        return text.count("?")


class Summing(nn.Module):
    """A causal network that sees how far it looks back: its logits depend on the mean of all tokens before."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(257, 8)
        self.head = nn.Linear(8, 257)

    def forward(self, tokens):
        assert tokens.shape[1] > 0
        seen = self.embedding(tokens).cumsum(1) / torch.arange(1, tokens.shape[1] + 1)[:, None]
        return self.head(seen * 5)


def naive(model, tokens, window, stride):
    """Each token's loss from the window that first reaches it, one forward pass a token."""
    found = []
    for target in range(1, len(tokens)):
        begin = 0
        while begin + window < target:
            begin += stride
        logits = model(tokens[None, begin:target])[0, -1]
        found.append(-logits.double().log_softmax(-1)[tokens[target]])
    return torch.stack(found).detach() if found else torch.zeros(0).double()


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 30])
@pytest.mark.parametrize(("window", "stride"), [(8, 8), (8, 3), (8, 1), (40, 5)])
def test_every_token_is_scored_once_by_the_first_window_that_reaches_it(length, window, stride):
    model = Summing()
    tokens = torch.randint(257, (length,), generator=torch.Generator().manual_seed(length))
    assert torch.allclose(nats(model, tokens, window, stride), naive(model, tokens, window, stride), atol=1e-5)


def test_a_batch_of_windows_scores_as_one_at_a_time(monkeypatch):
    tokens = torch.randint(257, (100,), generator=torch.Generator().manual_seed(1))
    whole = nats(Summing(), tokens, 10, 4)
    monkeypatch.setattr("etudes.measure.bits.ENTRIES", 1)
    assert torch.allclose(nats(Summing(), tokens, 10, 4), whole, atol=1e-6)


class Even(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(257))

    def forward(self, tokens):
        return self.bias.expand(*tokens.shape, 257)


def test_a_network_that_knows_nothing_needs_the_bits_of_its_vocabulary():
    works = ["Il était une fois", "", "œuf"]
    assert bits_per_byte(Even(), Bytes(), works, 4, 4) == pytest.approx(math.log2(257))
    assert bits_per_byte(Even(), Bytes(), ["ab?d"], 4, 4) == pytest.approx(math.log2(257) + 8 / 4)


def test_the_mode_of_the_network_is_given_back():
    model = Even().train()
    bits_per_byte(model, Bytes(), ["text"], 4, 2)
    assert model.training


def test_bad_input_is_told_in_a_sentence():
    with pytest.raises(Problem, match="stride of 5"):
        nats(Even(), torch.tensor([1, 2, 3]), 4, 5)
    with pytest.raises(Problem, match="no text"):
        bits_per_byte(Even(), Bytes(), [""], 4, 4)
    with pytest.raises(Problem, match="no text"):
        unigram_bits(["text"], [""])


def test_unigram_bits_are_those_of_the_counts():
    # "a" was seen twice and "b" once among three bytes, and each of the 256 once more.
    wanted = -(3 * math.log2(3 / 259) + math.log2(2 / 259) + 2 * math.log2(1 / 259)) / 6
    assert unigram_bits(["aab"], ["aaab", "cd"]) == pytest.approx(wanted)
