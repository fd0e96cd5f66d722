import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune as peer

from etudes.core import Problem
from etudes.train import pruning
from etudes.train.arithmetic import state


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 5), nn.Linear(5, 2)
    )


def loop(scores, count, left):
    """The places of the highest scores, one by one, of equal ones the first."""
    kept = [False] * len(scores)
    for _ in range(count):
        best = None
        for i, score in enumerate(scores):
            if left[i] and not kept[i] and (best is None or score > scores[best]):
                best = i
        kept[best] = True
    return kept


def test_what_is_pruned_are_weights_of_dense_and_convolutional_layers():
    assert list(pruning.prunable(network())) == ["0.weight", "4.weight", "5.weight"]
    assert list(pruning.prunable(nn.Linear(2, 2))) == ["weight"]


@pytest.mark.parametrize("seed", range(5))
def test_masks_are_those_of_a_naive_loop_also_where_scores_are_equal(seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (3, 4), "b": (7,)}
    scores = {n: torch.randint(0, 4, shape, generator=generator).float() for n, shape in shapes.items()}
    within = {n: torch.rand(shape, generator=generator) < 0.7 for n, shape in shapes.items()}
    counts = {n: int(mask.sum()) // 2 for n, mask in within.items()}
    found = pruning.layer_masks(scores, counts, within)
    for n in shapes:
        assert found[n].flatten().tolist() == loop(scores[n].flatten(), counts[n], within[n].flatten())
    assert pruning.counts(found) == counts
    flat, left = (torch.cat([part[n].flatten() for n in shapes]) for part in (scores, within))
    together = pruning.global_masks(scores, 6, within)
    assert torch.cat([together[n].flatten() for n in shapes]).tolist() == loop(flat, 6, left)
    assert sum(pruning.counts(together).values()) == 6


def test_magnitude_masks_are_those_of_pytorch():
    model, other = network(), network()
    weights = pruning.prunable(model)
    counts = {n: round(0.3 * w.numel()) for n, w in weights.items()}
    found = pruning.layer_masks(pruning.magnitudes(weights), counts)
    layers = {"0.weight": other[0], "4.weight": other[4], "5.weight": other[5]}
    for n, layer in layers.items():
        peer.l1_unstructured(layer, "weight", amount=weights[n].numel() - counts[n])
        assert torch.equal(found[n], layer.weight_mask.bool())
    together, other = pruning.global_masks(pruning.magnitudes(weights), 40), network()
    total = sum(w.numel() for w in weights.values())
    parts = [(other[i], "weight") for i in (0, 4, 5)]
    peer.global_unstructured(parts, peer.L1Unstructured, amount=total - 40)
    assert all(torch.equal(together[f"{i}.weight"], other[i].weight_mask.bool()) for i in (0, 4, 5))


def test_iterated_masks_are_those_of_pytorch_and_lie_within_one_another():
    generator = torch.Generator().manual_seed(2)
    layer, masks, n = nn.Linear(27, 5), {"weight": torch.ones(5, 27, dtype=torch.bool)}, 135
    for keep in (90, 50, 20):
        weight = torch.randn(5, 27, generator=generator) * masks["weight"]
        before, masks = masks, pruning.layer_masks({"weight": weight.abs()}, {"weight": keep}, masks)
        with torch.no_grad():
            getattr(layer, "weight_orig", layer.weight).copy_(weight)
            layer(torch.zeros(1, 27))  # where the peer makes its weights of them
        peer.l1_unstructured(layer, "weight", amount=n - keep)
        n = keep
        assert torch.equal(masks["weight"], layer.weight_mask.bool())
        assert not (masks["weight"] & ~before["weight"]).any()


def test_random_masks_are_exact_and_uniform():
    weights = {"w": torch.zeros(4, 5)}
    generator = torch.Generator().manual_seed(1)
    total = torch.zeros(4, 5)
    for _ in range(2000):
        mask = pruning.layer_masks(pruning.random_scores(weights, generator), {"w": 5})["w"]
        assert mask.sum() == 5
        total += mask
    assert (total / 2000 - 0.25).abs().max() < 0.05
    again = [pruning.random_scores(weights, torch.Generator().manual_seed(3))["w"] for _ in range(2)]
    assert torch.equal(*again)


@pytest.mark.parametrize("kind", ["adam", "fused", "momentum"])
def test_no_momentum_and_no_decay_moves_a_weight_outside_the_masks(kind):
    model = network()
    opt = {
        "adam": lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.1),
        "fused": lambda p: torch.optim.Adam(p, 0.05, fused=True),
        "momentum": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.1),
    }[kind](list(model.parameters()))
    x, y = torch.randn(8, 1, 5, 5), torch.tensor([0, 1] * 4)

    def step(net):
        opt.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        opt.step()

    for _ in range(3):  # moments of all weights, before there is any mask
        step(model)
    weights = pruning.prunable(model)
    masks = pruning.layer_masks(pruning.magnitudes(weights), {n: w.numel() // 3 for n, w in weights.items()})
    pruning.hold(opt, model, masks)
    before = state(model)
    for _ in range(3):
        step(model)
        for n, mask in masks.items():
            assert (weights[n][~mask] == 0).all()
    for n, weight in model.named_parameters():  # all others train on
        free = masks.get(n, torch.ones_like(weight, dtype=torch.bool))
        assert (weight != before[n])[free].any()


def test_training_under_a_mask_is_training_a_network_without_these_weights():
    """Against a network whose forward pass has the mask, so that no gradient reaches what is outside it."""
    model = nn.Linear(6, 3)
    masks = {"weight": torch.rand(3, 6, generator=torch.Generator().manual_seed(0)) < 0.5}
    other = copy.deepcopy(model)
    peer.custom_from_mask(other, "weight", masks["weight"])
    opts = [torch.optim.Adam(m.parameters(), 0.1) for m in (model, other)]
    pruning.hold(opts[0], model, masks)
    x, y = torch.randn(9, 6), torch.randint(0, 3, (9,))
    for _ in range(5):
        for net, opt in zip((model, other), opts, strict=True):
            opt.zero_grad()
            functional.cross_entropy(net(x), y).backward()
            opt.step()
        other(x)
        assert torch.allclose(model.weight, other.weight_orig * masks["weight"], atol=1e-6)


def test_shares_and_differences_count():
    masks = {"a": torch.tensor([True, True, False, False]), "b": torch.tensor([[True, False]])}
    others = {"a": torch.tensor([True, False, True, False]), "b": torch.tensor([[True, True]])}
    assert pruning.share(masks) == pytest.approx(3 / 6)
    assert pruning.difference(masks, others) == pytest.approx(1 / 3)
    assert pruning.difference(masks, masks) == 0
    assert pruning.difference({"a": torch.zeros(2, dtype=torch.bool)}, {"a": torch.ones(2, dtype=torch.bool)}) == 0


def test_bad_input_is_refused():
    weights = {"a": torch.tensor([1.0, 2.0, 3.0])}
    with pytest.raises(Problem, match="4 weights of a cannot be kept where 3 are left"):
        pruning.layer_masks(weights, {"a": 4})
    with pytest.raises(Problem, match="2 weights of a cannot be kept where 1 are left"):
        pruning.layer_masks(weights, {"a": 2}, {"a": torch.tensor([False, True, False])})
    with pytest.raises(Problem, match="-1 weights of the network"):
        pruning.global_masks(weights, -1)
    with pytest.raises(Problem, match="score of a is not finite"):
        pruning.global_masks({"a": torch.tensor([1.0, torch.nan])}, 1)
    with pytest.raises(Problem, match="name the same layers"):
        pruning.layer_masks(weights, {"b": 1})
    with pytest.raises(Problem, match="do not fit a of shape"):
        pruning.layer_masks(weights, {"a": 1}, {"a": torch.tensor([True])})
    with pytest.raises(Problem, match=r"named weight of shape \[2, 2\] fits no weight"):
        pruning.apply(nn.Linear(3, 2), {"weight": torch.ones(2, 2, dtype=torch.bool)})
