import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from etudes.nn.llama import Llama, angles, rms_norm, rotate


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def turned(x: torch.Tensor, positions: list[int], theta: float = 10_000.0) -> torch.Tensor:
    """`rotate` of x: [n, heads, t, d] as if its tokens stood at the positions."""
    at = angles(max(positions) + 1, x.shape[-1], theta)[positions]
    return rotate(x, torch.cat([at.cos()] * 2, 1).to(x), torch.cat([-at.sin(), at.sin()], 1).to(x))


def test_rms_norm_is_its_formula():
    x, weight = normal(3, 4, 10).double(), normal(10, seed=1).double()
    x[0, 0] = 0
    found = rms_norm(x, weight, torch.tensor(1e-5))
    for row, out in zip(x.flatten(0, 1).tolist(), found.flatten(0, 1).tolist(), strict=True):
        rms = math.sqrt(sum(a * a for a in row) / 10 + 1e-5)
        assert out == pytest.approx([a / rms * w for a, w in zip(row, weight.tolist(), strict=True)], rel=1e-6)


def test_rms_norm_has_the_gradient_of_its_formula_at_zero_too():
    x, weight = normal(4, 6).double(), normal(6, seed=1).double()
    x[0] = 0
    found, known = (
        torch.autograd.functional.jacobian(function, x)
        for function in (
            lambda x: rms_norm(x, weight, torch.tensor(1e-2)),
            lambda x: x / (x.pow(2).mean(-1, keepdim=True) + 1e-2).sqrt() * weight,
        )
    )
    assert torch.allclose(found, known, rtol=1e-6)


@pytest.mark.parametrize("d", [2, 4, 10])
def test_rotation_turns_each_pair_by_its_angle(d):
    x = normal(2, 3, 5, d).double()
    found = turned(x, [0, 1, 2, 7, 100], theta=50.0)
    for t, position in enumerate([0, 1, 2, 7, 100]):
        for i in range(d // 2):
            angle = position * 50.0 ** (-2 * i / d)
            pair = torch.complex(x[..., t, i], x[..., t, i + d // 2]) * complex(math.cos(angle), math.sin(angle))
            assert torch.allclose(found[..., t, i], pair.real)
            assert torch.allclose(found[..., t, i + d // 2], pair.imag)


def test_rotation_is_metas_after_the_permutation_that_the_docstring_tells_of():
    d, x = 8, normal(1, 2, 6, 8).double()
    at = angles(6, d, 10_000.0)
    neighbours = torch.view_as_complex(x.unflatten(-1, (d // 2, 2))) * torch.polar(torch.ones_like(at), at)
    metas = torch.view_as_real(neighbours).flatten(-2)
    permuted = torch.cat([torch.arange(0, d, 2), torch.arange(1, d, 2)])
    assert torch.allclose(turned(x[..., permuted], list(range(6))), metas[..., permuted])
    assert not torch.allclose(turned(x, list(range(6))), metas)


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_scores_depend_on_relative_positions_alone(query, key, shift):
    q, k = normal(1, 1, 1, 16).double(), normal(1, 1, 1, 16, seed=1).double()
    here = (turned(q, [query]) * turned(k, [key])).sum()
    there = (turned(q, [query + shift]) * turned(k, [key + shift])).sum()
    assert there.item() == pytest.approx(here.item(), abs=1e-9)


def test_scores_depend_on_the_distance():
    q, k = normal(1, 1, 1, 16), normal(1, 1, 1, 16, seed=1)
    scores = {round((turned(q, [t]) * turned(k, [0])).sum().item(), 3) for t in range(10)}
    assert len(scores) == 10


@pytest.mark.parametrize(
    ("vocabulary", "width", "depth", "heads", "kv_heads", "hidden"), [(7, 8, 1, 2, 2, 12), (100, 48, 3, 6, 2, 40)]
)
def test_the_number_of_parameters(vocabulary, width, depth, heads, kv_heads, hidden):
    model = Llama(vocabulary, width, depth, heads, kv_heads, hidden, 16)
    attention = 2 * width**2 + 2 * width * width * kv_heads // heads
    layer = attention + 3 * width * hidden + 2 * width
    assert sum(p.numel() for p in model.parameters()) == vocabulary * width + depth * layer + width
    assert not {"cos", "sin", "least"} & model.state_dict().keys()


def naive(model: Llama, tokens: list[int], heads: int, kv_heads: int) -> torch.Tensor:
    """The logits [t, vocabulary] of a Llama of one layer, written out in vectors."""
    block, d = model.blocks[0], model.d

    def norm(x, weight):
        return x / math.sqrt((x @ x).item() / len(x) + model.eps) * weight

    def position(x, t):
        out = x.clone()
        for i in range(d // 2):
            angle = t * model.theta ** (-2 * i / d)
            a, b = x[i].item(), x[i + d // 2].item()
            out[i] = a * math.cos(angle) - b * math.sin(angle)
            out[i + d // 2] = a * math.sin(angle) + b * math.cos(angle)
        return out

    xs = [model.embedding[token] for token in tokens]
    parts = [(block.qkv @ norm(x, block.norm1)).split(d) for x in xs]
    logits = []
    for t, x in enumerate(xs):
        seen = []
        for head in range(heads):
            mate = heads + head // (heads // kv_heads)
            q = position(parts[t][head], t)
            scores = torch.stack([q @ position(parts[s][mate], s) / math.sqrt(d) for s in range(t + 1)])
            weights = scores.softmax(0)
            seen.append(sum(weights[s] * parts[s][mate + kv_heads] for s in range(t + 1)))
        x = x + block.out @ torch.cat(seen)
        gate, up = (block.gate_up @ norm(x, block.norm2)).chunk(2)
        x = x + block.down @ (gate * torch.sigmoid(gate) * up)
        logits.append(model.embedding @ norm(x, model.norm))
    return torch.stack(logits)


def test_one_layer_is_its_loops():
    model = Llama(9, 12, 1, 6, 2, 10, 8, theta=20.0, eps=1e-3)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=i) * 0.5)
        tokens = [3, 1, 4, 1, 5, 0, 2, 6]
        assert torch.allclose(model(torch.tensor([tokens]))[0], naive(model, tokens, 6, 2), atol=1e-5)
