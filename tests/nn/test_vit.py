import pytest
import torch
from torch import nn

from etudes.core.errors import Problem
from etudes.nn.vit import Block, Patches, ViT, blocks


def test_vit_b_16_has_the_published_parameters_and_shapes():
    with torch.device("meta"):
        model = ViT(224, 16, 768, 12, 12, 1000)
        assert model(torch.empty(2, 3, 224, 224)).shape == (2, 1000)
    assert sum(p.numel() for p in model.parameters()) == 86_567_656


@torch.no_grad()
def test_a_block_is_the_equations_written_out():
    torch.manual_seed(0)
    block, x = Block(12, 3, 20), torch.randn(2, 5, 12)
    for p in block.parameters():
        p.add_(0.3 * torch.randn_like(p))
    for i in range(2):
        rows = block.norm1(x[i])
        q, k, v = (rows @ block.qkv.weight.T + block.qkv.bias).split(12, dim=1)
        seen = torch.zeros(5, 12)
        for head in range(3):
            part = slice(4 * head, 4 * head + 4)
            for t in range(5):
                scores = torch.stack([q[t, part] @ k[s, part] for s in range(5)]) / 2
                seen[t, part] = sum(w * v[s, part] for s, w in enumerate(scores.softmax(0)))
        y = x[i] + seen @ block.out.weight.T + block.out.bias
        hidden = nn.functional.gelu(block.norm2(y) @ block.up.weight.T + block.up.bias)
        assert torch.allclose(block(x)[i], y + hidden @ block.down.weight.T + block.down.bias, atol=1e-5)


@torch.no_grad()
def test_patches_are_cut_row_by_row():
    patches = Patches(4, 2, 1, 3)
    x = torch.arange(16.0).view(1, 1, 4, 4)
    for t, (row, column) in enumerate([(0, 0), (0, 2), (2, 0), (2, 2)]):
        pixels = x[0, 0, row : row + 2, column : column + 2].flatten()
        wanted = patches.cut.weight.view(3, 4) @ pixels + patches.cut.bias + patches.places[t]
        assert torch.allclose(patches(x)[0, t], wanted, atol=1e-5)


@torch.no_grad()
def test_the_mean_of_tokens_can_be_read_in_place_of_one():
    torch.manual_seed(0)
    model, x = ViT(8, 4, 8, 2, 2, 3, pool="mean"), torch.randn(2, 3, 8, 8)
    assert torch.allclose(model(x), model.head(model.norm(model.blocks(model.patches(x))).mean(1)), atol=1e-6)
    assert not hasattr(model, "token")
    assert len(blocks(8, 2, 5)) == 5


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(Problem, match="10 channels do not fall into 4 heads"):
        Block(10, 4, 8)
    with pytest.raises(Problem, match="30 pixels does not fall into patches of 16"):
        ViT(30, 16, 8, 1, 2, 3)


THEIRS = {  # our parts -> the ends of theirs, in the names of several versions
    "qkv": ("query", "q_proj", "key", "k_proj", "value", "v_proj"),
    "out": ("attention.output.dense", "o_proj"),
    "norm1": ("layernorm_before",),
    "norm2": ("layernorm_after",),
    "up": ("intermediate.dense", "fc1"),
    "down": (".0.output.dense", ".1.output.dense", "fc2"),
}


def test_it_is_that_of_the_transformers_library():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48, image_size=8, patch_size=4,
        num_labels=5, layer_norm_eps=1e-6, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    theirs, ours = transformers.ViTForImageClassification(config).eval(), ViT(8, 4, 12, 2, 3, 5)
    state = theirs.state_dict()
    places = state["vit.embeddings.position_embeddings"][0]
    new = {
        "patches.cut.weight": state["vit.embeddings.patch_embeddings.projection.weight"],
        "patches.cut.bias": state["vit.embeddings.patch_embeddings.projection.bias"],
        "patches.places": places[1:], "token_place": places[0], "token": state["vit.embeddings.cls_token"][0, 0],
    }  # fmt: skip
    for kind in ("weight", "bias"):
        new |= {f"norm.{kind}": state[f"vit.layernorm.{kind}"], f"head.{kind}": state[f"classifier.{kind}"]}
        for name, ends in THEIRS.items():
            for i in range(2):
                of_layer = {n: t for n, t in state.items() if f"layer.{i}." in n or f"layers.{i}." in n}
                parts = [t for end in ends for n, t in of_layer.items() if n.endswith(f"{end}.{kind}")]
                new[f"blocks.{i}.{name}.{kind}"] = torch.cat(parts)
    ours.load_state_dict(new)
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(ours(x), theirs(x).logits, atol=1e-5)
