import pytest
import torch

from etudes.core.errors import Problem
from etudes.losses.segmentation import pixel_cross_entropy, segmentation_loss, soft_dice


def batch(n=3, classes=3, side=5):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, classes, side, side, generator=generator)
    return (
        logits,
        torch.randint(classes, (n, side, side), generator=generator),
        torch.rand(n, side, side, generator=generator),
    )


def test_weighted_cross_entropy_is_the_naive_loop():
    logits, y, weights = batch()
    total = 0.0
    for i in range(3):
        for r in range(5):
            for c in range(5):
                total -= (weights[i, r, c] * logits[i, :, r, c].log_softmax(0)[y[i, r, c]]).item()
    assert pixel_cross_entropy(logits, y, weights).item() == pytest.approx(total / 75, rel=1e-5)
    plain = pixel_cross_entropy(logits, y)
    assert torch.allclose(plain, torch.nn.functional.cross_entropy(logits, y))
    assert torch.allclose(pixel_cross_entropy(logits, y, torch.full_like(weights, 2)), 2 * plain)


@pytest.mark.parametrize("over", ["picture", "batch"])
def test_soft_dice_is_the_naive_loop(over):
    logits, y, _ = batch()
    p = logits.softmax(1)
    losses = []
    for k in (1, 2):  # not the background
        rows = [[i] for i in range(3)] if over == "picture" else [[0, 1, 2]]
        for some in rows:
            both = sum(p[i, k][y[i] == k].sum() for i in some)
            sizes = sum(p[i, k].sum() + (y[i] == k).sum() for i in some)
            losses.append(1 - (2 * both + 1) / (sizes + 1))
    assert soft_dice(logits, y, over).item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


def test_one_picture_by_itself_is_its_batch_and_empty_ones_cost_nothing():
    logits, y, _ = batch(1)
    assert torch.allclose(soft_dice(logits, y, "picture"), soft_dice(logits, y, "batch"))
    sure = torch.zeros(1, 2, 4, 4)
    sure[:, 0] = 50
    assert soft_dice(sure, torch.zeros(1, 4, 4)).item() == pytest.approx(0, abs=1e-6)


def test_dice_of_a_certain_prediction_is_one_minus_dice():
    y = torch.zeros(1, 8, 8, dtype=torch.long)
    y[0, :4] = 1
    predicted = torch.zeros_like(y)
    predicted[0, 2:6] = 1
    logits = 100.0 * torch.nn.functional.one_hot(predicted, 2).movedim(-1, 1)
    assert soft_dice(logits, y, smooth=0).item() == pytest.approx(1 - 2 * 16 / 64)


def test_losses_by_name():
    logits, y, weights = batch()
    cross, by_picture, by_batch = (
        pixel_cross_entropy(logits, y, weights),
        soft_dice(logits, y),
        soft_dice(logits, y, "batch"),
    )
    expected = {"cross-entropy": cross, "dice": by_picture, "dice-batch": by_batch, "both": cross + by_batch}
    for kind, value in expected.items():
        assert torch.allclose(segmentation_loss(kind, logits, y, weights), value)
    with pytest.raises(Problem, match="did you mean 'dice'"):
        segmentation_loss("dise", logits, y)


def test_dice_agrees_with_a_peer():
    losses = pytest.importorskip("segmentation_models_pytorch.losses")
    logits, y, _ = batch()
    peer = losses.DiceLoss("multiclass", classes=[1, 2], smooth=1.0)
    assert torch.allclose(soft_dice(logits, y, "batch"), peer(logits, y), atol=1e-4)
