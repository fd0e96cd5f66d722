import math

import pytest
import torch

from etudes.nn.gpt import GPT


def by_hand(model: GPT, tokens: list[int], heads: int) -> torch.Tensor:
    """The logits [t, vocabulary] of a GPT of one layer, written out in vectors."""
    block, width = model.blocks[0], model.embedding.weight.shape[1]
    d = width // heads

    def norm(x, layer):
        spread = x - x.mean()
        return spread / math.sqrt((spread @ spread).item() / width + 1e-5) * layer.weight + layer.bias

    def linear(x, layer):
        return layer.weight @ x + layer.bias

    def gelu(x):
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    xs = [model.embedding.weight[token] + model.position_embedding.weight[t] for t, token in enumerate(tokens)]
    parts = [linear(norm(x, block.norm1), block.qkv).split(width) for x in xs]
    logits = []
    for t, x in enumerate(xs):
        seen = []
        for head in range(heads):
            own = slice(head * d, (head + 1) * d)
            scores = [parts[t][0][own] @ parts[s][1][own] / math.sqrt(d) for s in range(t + 1)]
            weights = torch.stack(scores).softmax(0)
            seen.append(sum(weights[s] * parts[s][2][own] for s in range(t + 1)))
        x = x + linear(torch.cat(seen), block.out)
        x = x + linear(gelu(linear(norm(x, block.norm2), block.up)), block.down)
        logits.append(model.embedding.weight @ norm(x, model.norm))
    return torch.stack(logits)


def test_one_layer_is_its_loops():
    model = GPT(9, 12, 1, 3, 8)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5, generator=generator)
        tokens = [3, 1, 4, 1, 5, 0, 2, 6]
        assert torch.allclose(model(torch.tensor([tokens]))[0], by_hand(model, tokens, 3), atol=1e-5)


@pytest.mark.parametrize(("vocabulary", "width", "depth", "heads", "context"), [(7, 8, 1, 2, 5), (100, 48, 3, 6, 16)])
def test_the_number_of_parameters(vocabulary, width, depth, heads, context):
    model = GPT(vocabulary, width, depth, heads, context)
    layer = 12 * width**2 + 13 * width
    assert sum(p.numel() for p in model.parameters()) == (vocabulary + context) * width + depth * layer + 2 * width


def test_gpt_2s_smallest_has_its_number_of_parameters():
    with torch.device("meta"):
        model = GPT(50257, 768, 12, 12, 1024, dropout=0.1)
    assert f"{sum(p.numel() for p in model.parameters()):,}" in GPT.__doc__


def test_dropout_is_for_training_alone():
    model, tokens = GPT(9, 12, 2, 3, 8, dropout=0.5), torch.tensor([[1, 2, 3]])
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))
