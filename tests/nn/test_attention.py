import math
from itertools import product

import pytest
import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.nn.attention import SHORT, attend, initialise
from etudes.nn.gpt import GPT
from etudes.nn.llama import Llama


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_hand(q, k, v):
    """Causal attention, a sum for each query."""
    n, heads, t, d = q.shape
    kv_heads, s = k.shape[1:3]
    seen = torch.zeros_like(q)
    for row, head, i in product(range(n), range(heads), range(t)):
        keys, values = k[row, head * kv_heads // heads], v[row, head * kv_heads // heads]
        reach = s - t + i + 1
        scores = torch.stack([q[row, head, i] @ keys[j] / math.sqrt(d) for j in range(reach)])
        weights = scores.exp() / scores.exp().sum()
        seen[row, head, i] = sum(weights[j] * values[j] for j in range(reach))
    return seen


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (4, 1), (1, 1)])
@pytest.mark.parametrize(("t", "s"), [(5, 5), (1, 1), (1, 7), (3, 7)])
def test_attention_is_a_sum_for_each_query(heads, kv_heads, t, s):
    q, k, v = normal(2, heads, t, 6), normal(2, kv_heads, s, 6, seed=1), normal(2, kv_heads, s, 6, seed=2)
    assert torch.allclose(attend(q, k, v), by_hand(q, k, v), atol=1e-5)


@pytest.mark.parametrize(("t", "s"), [(SHORT + 1, SHORT + 1), (3, SHORT + 1)])
def test_long_texts_are_seen_as_short_ones_are(t, s, monkeypatch):
    q, k, v = normal(1, 4, t, 8), normal(1, 2, s, 8, seed=1), normal(1, 2, s, 8, seed=2)
    fused = attend(q, k, v)
    monkeypatch.setattr("etudes.nn.attention.SHORT", s)
    assert torch.allclose(attend(q, k, v), fused, atol=1e-5)


def test_dropout_sets_its_share_of_the_weights_to_zero_and_keeps_the_mean():
    q, k, v = torch.zeros(1, 1, 400, 4), torch.zeros(1, 1, 400, 4), torch.ones(1, 1, 400, 4)
    torch.manual_seed(0)
    seen = attend(q, k, v, dropout=0.25)[0, 0, -100:, 0]  # means over 300 to 400 weights of 0 or 4/3
    assert seen.mean().item() == pytest.approx(1, abs=4 * math.sqrt(1 / 3 / 350 / 100))
    assert seen.std().item() == pytest.approx(math.sqrt(1 / 3 / 350), rel=0.3)


@pytest.mark.parametrize("make", [lambda: GPT(50, 64, 8, 4, 16), lambda: Llama(50, 64, 8, 4, 2, 96, 16)])
def test_weights_begin_as_gpt_2s(make):
    torch.manual_seed(0)
    model = make()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            back = name.split(".")[2:3] in (["out"], ["down"])
            spread = 0.02 / 4 if back else 0.02  # sqrt(2 * 8) = 4
            assert parameter.std().item() == pytest.approx(spread, rel=5 / math.sqrt(2 * parameter.numel())), name
            assert abs(parameter.mean().item()) < 5 * spread / math.sqrt(parameter.numel())
        else:
            assert parameter.unique().tolist() == [0.0 if name.endswith("bias") else 1.0], name


def test_begin_knows_a_way_back_by_its_whole_name():
    model = nn.ModuleDict({"layout": nn.Linear(60, 60), "down": nn.Linear(60, 60)})
    initialise(model, 50)
    assert model["layout"].weight.std() > 0.015
    assert model["down"].weight.std() < 0.004


MODELS = [lambda: GPT(11, 12, 2, 3, 8), lambda: Llama(11, 24, 2, 6, 3, 20, 8)]


def lively(model, seed=0):
    """The model with weights so large that all of its parts matter, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(parameter.ndim < 2, 0.3, generator=generator)
    return model.eval()


@pytest.mark.parametrize("make", MODELS)
def test_a_token_changes_nothing_before_it_and_something_from_it_on(make):
    model = lively(make())
    tokens = torch.randint(11, (2, 8), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = model(tokens)
        for t in range(8):
            other = tokens.clone()
            other[:, t] = (other[:, t] + 1) % 11
            after = model(other)
            assert torch.equal(after[:, :t], before[:, :t])
            assert (after[:, t:] != before[:, t:]).any(-1).all()


@pytest.mark.parametrize("make", MODELS)
def test_a_text_read_in_parts_is_the_text_and_old_states_stay(make):
    model = lively(make())
    tokens = torch.randint(11, (3, 8), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = model(tokens)
        for parts in ((8,), (1,) * 8, (3, 1, 4), (1, 7)):
            state, found, states = model.start(3), [], []
            for part in tokens.split(parts, 1):
                states.append((state, part))
                logits, state = model.next(part, state)
                found.append(logits)
            assert torch.allclose(torch.cat(found, 1), whole, atol=1e-5)
            for (old, part), logits in zip(states, found, strict=True):  # pure: read again, from any of them
                model.next((part + 1) % 11, old)
                assert torch.equal(model.next(part, old)[0], logits)
    assert all(tensor.shape[0] == 3 for read in state for tensor in read)


@pytest.mark.parametrize("make", MODELS)
def test_more_tokens_than_the_context_are_refused(make):
    model = make()
    with pytest.raises(Problem, match="sees 8 tokens at once, not 9; give it fewer, or generate with a window"):
        model(torch.zeros(1, 9, dtype=torch.int64))
    _, state = model.next(torch.zeros(1, 8, dtype=torch.int64), model.start(1))
    with pytest.raises(Problem, match="sees 8 tokens at once, not 9"):
        model.next(torch.zeros(1, 1, dtype=torch.int64), state)


@pytest.mark.parametrize("make", MODELS)
def test_bf16_answers_nearly_as_fp32_does_and_every_parameter_learns(make):
    model = lively(make())
    tokens = torch.randint(11, (2, 8), generator=torch.Generator().manual_seed(1))
    exact = model(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(tokens)
    assert 0 < (rounded - exact).abs().max() < 0.1 * exact.abs().max()
    rounded.float().logsumexp(-1).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(Problem, match="a width of 10 does not fall into 4 heads"):
        GPT(5, 10, 1, 4, 8)
    with pytest.raises(Problem, match="or these into 3 groups"):
        Llama(5, 16, 1, 4, 3, 8, 8)
    with pytest.raises(Problem, match="3 channels a head"):
        Llama(5, 12, 1, 4, 2, 8, 8)
    for wrong in ((0, 8, 1, 2, 8), (5, 8, 0, 2, 8), (5, 8, 1, 0, 8), (5, 8, 1, 2, 0)):
        with pytest.raises(Problem, match="at least 1 each"):
            GPT(*wrong)
    with pytest.raises(Problem, match=r"a share of 1\.5 to zero"):
        GPT(5, 8, 1, 2, 8, dropout=1.5)
