import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.nn.unet import Attention, ResBlock, UNet, embed


def scramble(model: nn.Module) -> nn.Module:
    """The model with random weights everywhere, also where it starts as 0."""
    torch.manual_seed(1)
    for p in model.parameters():
        nn.init.normal_(p, std=0.1 if p.ndim == 1 else p[0].numel() ** -0.5)
    return model


def small() -> UNet:
    return scramble(UNet(2, 8, (1, 2), blocks=1, attention=(1,)))


def test_the_embedding_is_sines_and_cosines_of_geometric_rates():
    t = torch.tensor([0, 1, 7, 999])
    table = embed(t, 10)
    for row, index in zip(table, t.tolist(), strict=True):
        for i in range(5):
            angle = index / 10_000 ** (i / 4)
            assert row[i].item() == pytest.approx(math.sin(angle), abs=1e-4)
            assert row[5 + i].item() == pytest.approx(math.cos(angle), abs=1e-4)
    assert table.dtype == torch.float32


def test_the_papers_network_has_the_papers_number_of_parameters():
    # 35.7 million (Ho et al. 2020, appendix B), layer by layer.
    time = 128 * 512 + 512 + 512 * 512 + 512

    def block(a, b):
        return 2 * a + 9 * a * b + b + 513 * b + 2 * b + 9 * b * b + b + (a * b + b if a != b else 0)

    down = 2 * block(128, 128) + block(128, 256) + 5 * block(256, 256)
    skips, ups, now = [128] * 4 + [256] * 8, [], 256
    for out in (256, 256, 256, 128):
        for _ in range(3):
            ups.append((now + skips.pop(), out))
            now = out
    attention = 2 * 256 + 4 * (256 * 256 + 256)
    resampling = 9 * 128 * 128 + 128 + 5 * (9 * 256 * 256 + 256)
    ends = 27 * 128 + 128 + 2 * 128 + 27 * 128 + 3
    total = time + down + 2 * block(256, 256) + sum(block(a, b) for a, b in ups) + 6 * attention + resampling + ends
    with torch.device("meta"):
        model = UNet(3, 128, (1, 2, 2, 2), 2, (1,), 0.1)
    assert sum(p.numel() for p in model.parameters()) == total
    assert round(total / 1e6, 1) == 35.7


def test_it_starts_as_0_and_every_parameter_learns():
    model = UNet(2, 8, (1, 2), blocks=1, attention=(1,))
    x, t = torch.randn(3, 2, 8, 8), torch.tensor([0, 5, 9])
    assert torch.equal(model(x, t), torch.zeros(3, 2, 8, 8))
    later = small()
    later(x, t).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in later.parameters())


def test_a_residual_block_is_its_formula():
    block = scramble(ResBlock(8, 16, 12, 0.0))
    x, time = torch.randn(2, 8, 4, 4), torch.randn(2, 12)

    def norm(layer, h):
        parts = h.reshape(2, layer.num_groups, -1)
        parts = (parts - parts.mean(2, keepdim=True)) / (parts.var(2, keepdim=True, correction=0) + 1e-6).sqrt()
        return parts.reshape_as(h) * layer.weight[:, None, None] + layer.bias[:, None, None]

    assert (block.norm1.num_groups, block.norm2.num_groups) == (2, 4)
    h = norm(block.norm1, x)
    h = block.conv1(h * h.sigmoid()) + (time @ block.time.weight.T + block.time.bias)[:, :, None, None]
    h = norm(block.norm2, h)
    wanted = block.shortcut(x) + block.conv2(h * h.sigmoid())
    assert torch.allclose(block(x, time), wanted, atol=1e-5)


def test_attention_is_a_weighted_mean_over_the_places():
    layer = scramble(Attention(8))
    x = torch.randn(2, 8, 3, 4)
    q, k, v = layer.qkv(layer.norm(x)).chunk(3, dim=1)
    seen = torch.zeros_like(x)
    for picture in range(2):
        for place in range(12):
            scores = torch.stack([q[picture].flatten(1)[:, place] @ key for key in k[picture].flatten(1).T]) / 8**0.5
            seen[picture].flatten(1)[:, place] = v[picture].flatten(1) @ scores.softmax(0)
    assert torch.allclose(layer(x), x + layer.out(seen), atol=1e-5)


def test_every_layer_meets_its_skip():
    model = small()
    x, t = torch.randn(3, 2, 8, 8), torch.tensor([0, 5, 9])
    time = model.time(embed(t, 8))
    a = model.stem(x)
    b = model.down[0](a, time)
    c = model.down[1](b)
    d = model.down[2](c, time)
    y = model.middle[1](model.middle[0](d, time), time)
    y = model.up[0](torch.cat([y, d], 1), time)
    y = model.up[1](torch.cat([y, c], 1), time)
    y = model.up[2](y)
    y = model.up[3](torch.cat([y, b], 1), time)
    y = model.up[4](torch.cat([y, a], 1), time)
    assert torch.equal(model(x, t), model.head(y))
    assert (c.shape, d.shape) == ((3, 8, 4, 4), (3, 16, 4, 4))


def test_pictures_do_not_see_each_other_and_the_time_matters():
    model = small()
    x, t = torch.randn(3, 2, 8, 8), torch.tensor([4, 70, 150])
    whole = model(x, t)
    alone = torch.cat([model(x[i : i + 1], t[i : i + 1]) for i in range(3)])
    assert torch.allclose(whole, alone, atol=1e-4)
    assert not torch.allclose(whole, model(x, t + 1), atol=1e-3)


def test_channels_last_and_bf16_change_nothing_but_rounding():
    x, t = torch.randn(4, 2, 8, 8), torch.arange(4)
    model = small()
    wanted = model(x, t)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(x, t)
    assert torch.allclose(model.to(memory_format=torch.channels_last)(x, t), wanted, atol=1e-4)
    assert (rounded - wanted).norm() < 0.03 * wanted.norm()


def test_dropout_is_for_training():
    model = scramble(UNet(1, 8, (1,), blocks=1, dropout=0.5))
    x, t = torch.randn(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64)
    assert not torch.equal(model(x, t), model(x, t))
    model.eval()
    assert torch.equal(model(x, t), model(x, t))


def test_what_does_not_fit_is_refused():
    with pytest.raises(Problem, match="10 channels wide; take a multiple of 4"):
        UNet(1, 10)
    with pytest.raises(Problem, match="no level 3"):
        UNet(1, 8, (1, 2), attention=(1, 3))
    with pytest.raises(Problem, match=r"4 divides, not \(10, 8\)"):
        UNet(1, 8)(torch.zeros(1, 1, 10, 8), torch.zeros(1, dtype=torch.int64))


def copy_block(ours, theirs) -> None:
    names = {"norm1": "norm1", "conv1": "conv1", "time": "time_emb_proj", "norm2": "norm2", "conv2": "conv2"}
    if isinstance(ours.shortcut, nn.Conv2d):
        names["shortcut"] = "conv_shortcut"
    for mine, other in names.items():
        getattr(theirs, other).load_state_dict(getattr(ours, mine).state_dict())


def copy_attention(ours, theirs) -> None:
    theirs.group_norm.load_state_dict(ours.norm.state_dict())
    for part, layer in enumerate((theirs.to_q, theirs.to_k, theirs.to_v)):
        layer.weight.data = ours.qkv.weight.detach().chunk(3)[part].flatten(1)
        layer.bias.data = ours.qkv.bias.detach().chunk(3)[part]
    theirs.to_out[0].weight.data, theirs.to_out[0].bias.data = (
        ours.out.weight.detach().flatten(1),
        ours.out.bias.detach(),
    )


def test_it_is_diffusers_network():
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        block_out_channels=(16, 32, 32),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=32,
        norm_num_groups=4,
        norm_eps=1e-6,
        freq_shift=1,
        flip_sin_to_cos=False,
    )
    ours = scramble(UNet(3, 16, (1, 2, 2), 2, (1,)))
    for module in ours.modules():  # theirs has one number of groups for all
        if isinstance(module, nn.GroupNorm):
            module.num_groups = 4
    theirs.conv_in.load_state_dict(ours.stem.state_dict())
    theirs.time_embedding.linear_1.load_state_dict(ours.time[0].state_dict())
    theirs.time_embedding.linear_2.load_state_dict(ours.time[2].state_dict())
    theirs.conv_norm_out.load_state_dict(ours.head[0].state_dict())
    theirs.conv_out.load_state_dict(ours.head[2].state_dict())

    pairs = []
    down, up = iter(ours.down), iter(ours.up)
    for block in theirs.down_blocks:
        pairs += [(next(down), pair) for pair in zip(block.resnets, attentions(block), strict=True)]
        pairs += [(next(down), layer.conv) for layer in block.downsamplers or ()]
    middle = theirs.mid_block
    pairs += [(ours.middle[0], (middle.resnets[0], middle.attentions[0])), (ours.middle[1], (middle.resnets[1], None))]
    for block in theirs.up_blocks:
        pairs += [(next(up), pair) for pair in zip(block.resnets, attentions(block), strict=True)]
        pairs += [(next(up)[1], layer.conv) for layer in block.upsamplers or ()]
    for mine, other in pairs:
        if isinstance(mine, nn.Conv2d):
            other.load_state_dict(mine.state_dict())
        else:
            copy_block(mine.block, other[0])
            if other[1] is not None:
                copy_attention(mine.attention, other[1])
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([3, 700])
    assert functional.mse_loss(ours(x, t), theirs(x, t).sample) < 1e-8 * ours(x, t).square().mean()


def attentions(block):
    return getattr(block, "attentions", None) or [None] * len(block.resnets)
