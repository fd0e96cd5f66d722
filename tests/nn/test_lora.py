import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.nn.lora import (
    LowRankConv,
    LowRankLinear,
    adapt,
    adapt_linear,
    added_parameters,
    full_rank,
    low_rank_filter,
    merge,
)
from etudes.nn.resnet import preact_resnet
from etudes.nn.t5 import T5, answer_loss

MODES = ("zeros", "reflect", "circular", "replicate")


def drawn(order, rank=2, alpha=3.0, **how):
    """An adapted convolution whose B is not 0 any more."""
    torch.manual_seed(0)
    layer = LowRankConv(nn.Conv2d(8, 12, 3, **how).double(), order, rank, alpha)
    nn.init.normal_(layer.b)
    return layer


def two_paths(layer, order, **how):
    """W x + (alpha / r) B A x with PyTorch's own layers: the factor that looks at pixels has the base's geometry."""
    groups = how.pop("groups", 1)
    inner = layer.a.shape[0]
    looks = {"k-1": (3, 1), "1-k": (1, 3)}[order]
    first = nn.Conv2d(8, inner, looks[0], groups=groups, bias=False, **(how if looks[0] == 3 else {})).double()
    last = nn.Conv2d(inner, 12, looks[1], groups=groups, bias=False, **(how if looks[1] == 3 else {})).double()
    first.weight, last.weight = (nn.Parameter(p.detach().clone()) for p in (layer.a, layer.b))
    return first, last, lambda x: layer.base(x) + layer.scaling * last(first(x))


@pytest.mark.parametrize("order", ["k-1", "1-k"])
@pytest.mark.parametrize(("groups", "rank"), [(1, 2), (2, 1), (1, 7), (2, 3)])
@pytest.mark.parametrize("mode", MODES)
def test_it_is_the_sum_of_both_paths_with_their_gradients_and_merged_it_is_the_same(order, groups, rank, mode):
    for stride, dilation, padding, side in itertools.product((1, 2, 3), (1, 2), (2, 0, "same", "valid"), (5, 11)):
        if stride > 1 and isinstance(padding, str):
            continue  # PyTorch has no such thing
        how = {"stride": stride, "dilation": dilation, "padding": padding, "padding_mode": mode, "groups": groups}
        layer = drawn(order, rank, **how)
        first, last, reference = two_paths(layer, order, **how)
        x = torch.randn(3 if side == 11 else 1, 8, side, side, dtype=torch.double)
        filter_size = layer.base.weight.numel()  # which decides on the way that it is computed
        assert (filter_size > x.numel()) == (side == 5)
        assert (filter_size < 2 * (layer.a.numel() + layer.b.numel())) == (rank > 2)
        ours, theirs = (x.clone().requires_grad_() for _ in range(2))
        out, expected = layer(ours), reference(theirs)
        weight = torch.randn_like(out)
        (out * weight).sum().backward()
        (expected * weight).sum().backward()
        for a, b in ((out, expected), (ours.grad, theirs.grad), (layer.a.grad, first.weight.grad),
                     (layer.b.grad, last.weight.grad)):  # fmt: skip
            assert torch.allclose(a, b, atol=1e-10), how
        assert torch.allclose(layer.merge()(x), out, atol=1e-10), how


def test_the_filter_by_loops():
    a, b = torch.randn(4, 3, 3, 3), torch.randn(6, 2, 1, 1)
    found = low_rank_filter(a, b, 0.5, groups=2)
    for o, i in itertools.product(range(6), range(3)):
        group = o // 3
        expected = 0.5 * sum(b[o, r, 0, 0] * a[2 * group + r, i] for r in range(2))
        assert torch.allclose(found[o, i], expected, atol=1e-6)


@pytest.mark.parametrize("order", ["k-1", "1-k", "k-k"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_before_the_first_step_nothing_is_changed(order, layout):
    torch.manual_seed(0)
    model = preact_resnet(3, 5, 8, (1, 1)).eval().to(memory_format=layout)
    x = torch.randn(4, 3, 12, 12).to(memory_format=layout)
    before = model(x)
    adapt(model, order, rank=2)
    assert torch.equal(model(x), before)


def test_the_first_gradient_moves_b_alone_and_the_base_never_moves():
    torch.manual_seed(0)
    model = preact_resnet(3, 5, 8, (1, 1))
    names = adapt(model, rank=2)
    base = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    opt = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    for step in range(3):
        opt.zero_grad()
        functional.cross_entropy(model(torch.randn(6, 3, 8, 8)), torch.arange(6) % 5).backward()
        layers = [model.get_submodule(name) for name in names]
        assert all((layer.a.grad.abs().max() == 0) == (step == 0) for layer in layers)
        assert all(layer.b.grad.abs().max() > 0 for layer in layers)
        opt.step()
    assert all(torch.equal(base[name], p) for name, p in model.named_parameters() if name in base)


def test_scaling_is_alpha_over_the_rank():
    layer = drawn("k-1", rank=4, alpha=6.0, bias=False)
    expected = 1.5 * torch.einsum("or,rikl->oikl", layer.b[:, :, 0, 0], layer.a)
    before = layer.base.weight.clone()
    assert torch.allclose(layer.merge().weight - before, expected)


@pytest.mark.parametrize("dilation", [1, 2])
def test_two_wide_factors_are_a_filter_of_2k_minus_1_in_the_interior_and_not_at_padded_borders(dilation):
    layer = drawn("k-k", padding=dilation, dilation=dilation)
    x = torch.randn(2, 8, 16, 16, dtype=torch.double)
    # The filter of both: A over B, written out.
    composed = torch.zeros(12, 8, 5, 5, dtype=torch.double)
    for p, q, u, v in itertools.product(range(3), repeat=4):
        composed[:, :, p + u, q + v] += layer.scaling * layer.b[:, :, p, q] @ layer.a[:, :, u, v]
    merged = layer.base(x) + functional.conv2d(x, composed, padding=2 * dilation, dilation=dilation)
    apart = (layer(x) - merged).abs()
    edge = 2 * dilation
    assert apart[:, :, edge:-edge, edge:-edge].max() < 1e-12
    assert apart.max() > 0.1
    with pytest.raises(Problem, match="cannot be merged"):
        layer.merge()


def test_where_one_cannot_be_merged_nothing_is():
    model = nn.Sequential(LowRankConv(nn.Conv2d(8, 8, 3)), LowRankConv(nn.Conv2d(8, 8, 3), "k-k"))
    nn.init.normal_(model[0].b)
    before = model[0].base.weight.clone()
    with pytest.raises(Problem, match="5 x 5 pixels"):
        merge(model)
    assert isinstance(model[0], LowRankConv)
    assert torch.equal(model[0].base.weight, before)


def test_a_filter_of_one_pixel_is_the_same_in_every_order():
    found = []
    for order in ("k-1", "1-k", "k-k"):
        torch.manual_seed(0)
        layer = LowRankConv(nn.Conv2d(6, 9, 1, 2), order, 2)
        nn.init.normal_(layer.b)
        x = torch.randn(2, 6, 7, 7)
        found.append(layer(x))
        assert torch.allclose(layer.merge()(x), found[-1], atol=1e-5)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_numbers_of_a_and_b():
    base = nn.Conv2d(64, 128, 3)
    assert added_parameters(base, "k-1", 8) == 8 * (64 * 9 + 128)
    assert added_parameters(base, "1-k", 8) == 8 * (64 + 128 * 9)
    assert added_parameters(base, "k-k", 8) == 8 * 9 * (64 + 128)
    layer = LowRankConv(base, "1-k", 8)
    assert layer.a.numel() + layer.b.numel() == added_parameters(base, "1-k", 8)
    assert full_rank(nn.Conv2d(32, 32, 3, groups=32)) == 1
    assert added_parameters(nn.Conv2d(32, 32, 3, groups=32), "k-1", 1) == 32 * 10  # more than the filter's 288


def test_layers_that_a_change_would_not_make_smaller_are_left():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 32, 1))
    assert adapt(copy.deepcopy(model), rank=1) == ["0", "2"]
    assert adapt(copy.deepcopy(model), rank=10) == ["0", "2"]  # 430 numbers for 432, 480 for 512
    assert adapt(copy.deepcopy(model), rank=1, where=lambda name: name == "0") == ["0"]
    with pytest.raises(Problem, match="smaller rank"):
        adapt(model, rank=11)


@pytest.mark.parametrize(
    ("order", "rank", "says"), [("1-1", 2, "no order"), ("k-1", 0, "1 to 4"), ("k-1", 5, "1 to 4")]
)
def test_bad_input_gives_one_sentence(order, rank, says):
    with pytest.raises(Problem, match=says):
        LowRankConv(nn.Conv2d(8, 4, 3), order, rank)


def test_in_few_bits_the_trained_convolution_is_the_merged_one():
    torch.manual_seed(0)
    layer = LowRankConv(nn.Conv2d(8, 12, 3, padding=1))
    nn.init.normal_(layer.b)
    x = torch.randn(4, 8, 10, 10, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
        merged = copy.deepcopy(layer).merge()(x)
    assert out.dtype == torch.bfloat16
    assert (out.float() - merged.float()).norm() < 0.01 * merged.float().norm()
    out.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in (layer.a, layer.b))
    exact = LowRankConv(layer.base, rank=8)
    exact.load_state_dict(layer.state_dict())
    exact(x.detach()).square().sum().backward()
    for p, q in ((layer.a, exact.a), (layer.b, exact.b)):
        assert (p.grad - q.grad).norm() < 0.02 * q.grad.norm()


def test_the_weights_are_saved_and_loaded_by_name(tmp_path):
    model = preact_resnet(3, 5, 8, (1, 1))
    adapt(model, rank=2)
    for p in model.parameters():
        nn.init.normal_(p, std=0.1)
    other = preact_resnet(3, 5, 8, (1, 1))
    adapt(other, rank=2)
    other.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(model.eval()(x), other.eval()(x))


def test_pefts_numbers_at_equal_weights_and_what_it_loses():
    """peft has the same change where padding is zeros and dilation 1; elsewhere its A has another geometry."""
    peft = pytest.importorskip("peft")

    def both(**how):
        torch.manual_seed(0)
        base = nn.Conv2d(8, 12, 3, **how)
        config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["0"], init_lora_weights=False)
        theirs = peft.get_peft_model(nn.Sequential(copy.deepcopy(base)), config)
        found = theirs.base_model.model[0]
        ours = LowRankConv(base, "k-1", 4, 8.0)
        ours.load_state_dict(
            {
                "base.weight": base.weight,
                "base.bias": base.bias,
                "a": found.lora_A["default"].weight,
                "b": found.lora_B["default"].weight,
            }
        )
        return ours, theirs

    x = torch.randn(2, 8, 9, 9)
    for how in ({"padding": 1}, {"stride": 2, "padding": 1}, {"stride": 2}):
        ours, theirs = both(**how)
        assert torch.allclose(ours(x), theirs(x), atol=1e-5)
    ours, theirs = both(padding=2, dilation=2)
    with torch.no_grad():
        assert ours(x).shape == (2, 12, 9, 9)
        assert torch.allclose(copy.deepcopy(ours).merge()(x), ours(x), atol=1e-5)
    ours, theirs = both(padding=1, padding_mode="reflect")
    assert torch.allclose(copy.deepcopy(ours).merge()(x), ours(x), atol=1e-5)


def drawn_linear(rank=3, alpha=5.0, dtype=torch.double, **how):
    """An adapted linear layer whose B is not 0 any more."""
    torch.manual_seed(0)
    layer = LowRankLinear(nn.Linear(40, 24, **how).to(dtype), rank, alpha)
    nn.init.normal_(layer.b, std=0.1)
    return layer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(40,), (7, 40), (2, 5, 40)])
def test_a_matrix_and_its_change_by_the_formula_with_gradients_and_merged(bias, shape):
    layer = drawn_linear(bias=bias)
    x = torch.randn(shape, dtype=torch.double, requires_grad=True)
    weight = layer.base.weight + 5 / 3 * sum(torch.outer(layer.b[:, r], layer.a[r]) for r in range(3))
    expected, out = functional.linear(x, weight, layer.base.bias), layer(x)
    assert torch.allclose(out, expected, atol=1e-12)
    wanted = torch.autograd.grad(expected.square().sum(), (x, layer.a, layer.b))
    for a, b in zip(torch.autograd.grad(out.square().sum(), (x, layer.a, layer.b)), wanted, strict=True):
        assert torch.allclose(a, b, atol=1e-10)
    assert torch.allclose(layer.merge()(x), expected, atol=1e-12)


def test_a_matrix_merged_in_bf16_is_off_by_its_rounding_alone():
    """Each weight is off by at most 2^-8 of itself, each output by that much of the sum of its sizes; outputs are
    compared in fp32, so that no other rounding is seen."""
    layer = drawn_linear(dtype=torch.bfloat16, bias=False)
    x = torch.randn(64, 40)
    exact = layer.base.weight.float() + layer.change()
    assert layer.a.dtype == layer.b.dtype == torch.float32
    unmerged = layer(x.bfloat16())
    merged = layer.merge().weight
    assert ((merged.float() - exact).abs() <= 2**-8 * exact.abs()).all()
    off = (functional.linear(x, merged.float()) - functional.linear(x, exact)).abs()
    assert (off <= 2**-8 * x.abs() @ exact.abs().T + 1e-6).all()
    assert off.max() > 1e-4
    assert (unmerged.float() - functional.linear(x.bfloat16(), merged).float()).norm() < 0.01 * unmerged.float().norm()


def test_in_few_bits_the_trained_matrix_has_the_exact_gradients():
    layer, exact = drawn_linear(dtype=torch.float), drawn_linear(dtype=torch.float)
    x = torch.randn(64, 40)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    exact(x).square().sum().backward()
    for p, q in ((layer.a, exact.a), (layer.b, exact.b)):
        assert p.grad.dtype == torch.float32
        assert (p.grad - q.grad).norm() < 0.02 * q.grad.norm()


def attention_alone(name):
    return name.endswith((".q", ".v"))


def test_a_text_network_is_adapted_by_names_and_merged():
    torch.manual_seed(0)
    model = T5(30, 16, 2, 2, 8, 24).eval()
    texts, answers = torch.randint(1, 30, (3, 9)), torch.randint(1, 30, (3, 4))
    before = model(texts, answers)
    names = adapt_linear(model, 2, 4.0, attention_alone)
    assert len(names) == 2 * 2 + 2 * 2 * 2  # of each block of the encoder, and twice of each of the decoder
    assert torch.equal(model(texts, answers), before)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"{name}.{factor}" for name in names for factor in "ab"}
    opt = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    for _ in range(3):
        opt.zero_grad()
        answer_loss(model(texts, answers), answers).backward()
        opt.step()
    after = model(texts, answers)
    assert (after - before).abs().max() > 1e-2
    merge(model)
    assert not any(isinstance(layer, LowRankLinear) for layer in model.modules())
    assert torch.allclose(model(texts, answers), after, atol=1e-5)


def test_peft_computes_and_learns_the_same():
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    from etudes.nn.exchange import to_transformers

    torch.manual_seed(0)
    ours = T5(30, 16, 2, 2, 8, 24).eval()
    theirs = peft.get_peft_model(to_transformers(ours), peft.LoraConfig(r=2, lora_alpha=6, target_modules=["q", "v"]))
    assert isinstance(theirs.base_model.model, transformers.T5ForConditionalGeneration)
    names = adapt_linear(ours, 2, 6.0, attention_alone)
    for half in (ours.encoder, ours.decoder):
        stack = theirs.base_model.model.encoder if half is ours.encoder else theirs.base_model.model.decoder
        for block, other in zip(half.blocks, stack.block, strict=True):
            pairs = [(block.own, other.layer[0].SelfAttention)]
            pairs += [(block.other, other.layer[1].EncDecAttention)] if half.writes else []
            for mine, peer in pairs:
                for kind in "qv":
                    layer = getattr(peer, kind)
                    getattr(mine, kind).a.data.copy_(layer.lora_A.default.weight)
    texts, answers = torch.randint(1, 30, (3, 9)), torch.randint(1, 30, (3, 4))
    losses = []
    both = [p for p in ours.parameters() if p.requires_grad], [p for p in theirs.parameters() if p.requires_grad]
    assert sum(p.numel() for p in both[0]) == sum(p.numel() for p in both[1])
    optimisers = [torch.optim.Adam(parameters, 1e-2) for parameters in both]
    for _ in range(5):
        pair = answer_loss(ours(texts, answers), answers), theirs(input_ids=texts, labels=answers).loss
        for opt, loss in zip(optimisers, pair, strict=True):
            opt.zero_grad()
            loss.backward()
            opt.step()
        losses.append([loss.item() for loss in pair])
    assert len(names) == 12
    for mine, peer in losses:
        assert mine == pytest.approx(peer, abs=1e-4)
    assert losses[-1][0] < losses[0][0] - 0.01


def test_bad_ranks_and_names_of_matrices_are_refused():
    with pytest.raises(Problem, match=r"a matrix \[24, 40\] has 1 to 24"):
        LowRankLinear(nn.Linear(40, 24), 25)
    with pytest.raises(Problem, match="no linear layer"):
        adapt_linear(nn.Sequential(nn.Linear(3, 3)), 1, where=lambda name: name == "q")
