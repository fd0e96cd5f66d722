import dataclasses
import math

import numpy
import pytest
import torch

from draws import Draws
from etudes.core import Problem
from etudes.data.images import images, unit
from etudes.measure.size import count_parameters
from etudes.studies.labels.pirl import STUDY, Config, training
from etudes.studies.labels.pirl.findings import measure_patches, measure_turns
from etudes.studies.labels.pirl.idea import MemoryBank, invariance, nce, permutation_set, pirl_loss
from etudes.studies.labels.pirl.training import (
    Network,
    Pretext,
    pictures_a_step,
    pictures_of,
    pretrain,
    quarter_turns,
    shuffled_patches,
    view,
)
from etudes.train import HeldOut


def config(variant="pirl-jigsaw", **fields):
    plan = STUDY.plan("smoke", variants=[variant])[0].config
    return dataclasses.replace(Config(**plan), **fields)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def nce_by_a_loop(z, own, others, temperature):
    total = 0.0
    for v, m in zip(z.tolist(), own.tolist(), strict=True):
        positive = math.exp(cosine(v, m) / temperature)
        negatives = [math.exp(cosine(v, row) / temperature) for row in others.tolist()]
        below = positive + sum(negatives)
        total -= math.log(positive / below) + sum(math.log(1 - negative / below) for negative in negatives)
    return total / len(z)


def test_the_loss_is_that_of_equations_3_and_4_by_a_loop():
    z, own, others = numbers(5, 4), numbers(5, 4, seed=1), numbers(7, 4, seed=2)
    for temperature in (0.07, 0.5):
        expected = nce_by_a_loop(z, own, others, temperature)
        assert nce(z, own, others, temperature).item() == pytest.approx(expected, rel=1e-4)


def test_the_loss_has_its_ends():
    own, others = torch.eye(4)[:2], -torch.eye(4)[:2]
    assert nce(own, own, others, 0.05).item() == pytest.approx(0, abs=1e-6)
    alike = torch.ones(3, 4)
    n = 5
    each = math.log(n + 1) - n * math.log(1 - 1 / (n + 1))
    assert nce(alike, alike, torch.ones(n, 4)).item() == pytest.approx(each, rel=1e-5)
    worst = nce(own, -own, own[:1], 0.001)
    assert math.isfinite(worst.item())
    z = numbers(3, 4).requires_grad_()
    nce(z, -z.detach(), z.detach()[:1], 0.001).backward()
    assert torch.isfinite(z.grad).all()


def test_the_gradient_draws_to_the_own_row_and_away_from_the_others():
    z = torch.tensor([[1.0, 0.2, 0.1]], requires_grad=True)
    own, others = torch.tensor([[0.0, 1, 0]]), torch.tensor([[0.0, 0, 1]])
    nce(z, own, others, 0.5).backward()
    assert (z.grad @ own.T).item() < 0 < (z.grad @ others.T).item()


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 1.0])
def test_lambda_weighs_the_two_terms_of_equation_5(weight):
    picture, changed, own, others = (numbers(4, 6, seed=s) for s in range(4))
    expected = weight * nce_by_a_loop(changed, own, others, 0.07)
    expected += (1 - weight) * nce_by_a_loop(picture, own, others, 0.07)
    assert pirl_loss(picture, changed, own, others, weight).item() == pytest.approx(expected, rel=1e-4)


def test_a_loss_without_negatives_or_temperature_is_refused():
    z = numbers(2, 3)
    with pytest.raises(Problem, match="at least one negative"):
        nce(z, z, z[:0])
    with pytest.raises(Problem, match="must be above 0"):
        nce(z, z, z, 0)


def test_rows_of_the_memory_are_unit_running_means():
    start, new = numbers(6, 3) * 10, numbers(2, 3, seed=1) * 5
    bank = MemoryBank(start, 0.5)
    before = bank.rows.clone()
    assert torch.allclose(bank.rows.norm(dim=1), torch.ones(6))
    bank.update(torch.tensor([4, 1]), new)
    for picture, row in ((4, 0), (1, 1)):
        mean = 0.5 * before[picture] + 0.5 * new[row] / new[row].norm()
        assert torch.allclose(bank.rows[picture], mean / mean.norm(), atol=1e-6)
    others = [0, 2, 3, 5]
    assert torch.equal(bank.rows[others], before[others])


def test_the_memory_is_the_same_in_whatever_order_pictures_come():
    features = numbers(12, 5)
    banks = []
    for order in (torch.arange(12), torch.randperm(12, generator=torch.Generator().manual_seed(3))):
        bank = MemoryBank(numbers(12, 5, seed=1))
        for batch in order.split(4):
            bank.update(batch, features[batch])
        banks.append(bank.rows)
    assert torch.equal(*banks)


def test_no_positive_is_among_the_negatives_and_none_comes_twice():
    bank = MemoryBank(torch.eye(30))
    rows = torch.tensor([3, 29, 11, 0])
    for seed in range(50):
        drawn = bank.negatives(rows, 20, numpy.random.default_rng(seed)).argmax(1)
        assert len(drawn.unique()) == 20
        assert not torch.isin(drawn, rows).any()
    assert set(bank.negatives(rows, 26, numpy.random.default_rng(0)).argmax(1).tolist()) == set(range(30)) - {
        0,
        3,
        11,
        29,
    }
    assert len(bank.negatives(rows, 27, numpy.random.default_rng(0))) == 26


def test_a_bank_that_was_saved_goes_on_as_it_was():
    bank, other = MemoryBank(numbers(4, 3)), MemoryBank(numbers(4, 3, seed=1))
    other.load_state_dict(bank.state_dict())
    for one in (bank, other):
        one.update(torch.tensor([2]), numbers(1, 3, seed=2))
    assert torch.equal(bank.rows, other.rows)


def test_orders_of_four_pieces_are_all_24_and_those_of_nine_far_apart():
    rng = numpy.random.default_rng(0)
    every = permutation_set(4, 24, rng)
    assert sorted(every.sort(1).values.unique(dim=0).tolist()) == [[0, 1, 2, 3]]
    assert len(every.unique(dim=0)) == 24
    assert len(permutation_set(4, 10, rng).unique(dim=0)) == 10
    some = permutation_set(9, 40, rng)
    assert torch.equal(some.sort(1).values, torch.arange(9).expand(40, 9))
    apart = (some[:, None] != some[None]).sum(2) + 9 * torch.eye(40, dtype=torch.long)
    drawn = torch.from_numpy(rng.permuted(numpy.tile(numpy.arange(9), (40, 1)), axis=1))
    by_chance = (drawn[:, None] != drawn[None]).sum(2) + 9 * torch.eye(40, dtype=torch.long)
    assert apart.min() > by_chance.min()
    with pytest.raises(Problem, match="2 pieces and an order"):
        permutation_set(1, 1, rng)


def test_invariance_is_1_for_the_same_features_and_0_for_others():
    features = numbers(200, 8) + 2  # all have something in common, as after a ReLU
    assert invariance(features, 3 * features) == pytest.approx(1)
    assert invariance(features, numbers(200, 8, seed=1) + 2) == pytest.approx(0, abs=0.05)
    changed = features + numbers(200, 8, seed=2)
    rows, others = features.tolist(), changed.tolist()
    own = sum(cosine(a, b) for a, b in zip(rows, others, strict=True)) / 200
    other = sum(cosine(rows[i], others[j]) for i in range(200) for j in range(200) if i != j) / (200 * 199)
    assert invariance(features, changed) == pytest.approx((own - other) / (1 - other), rel=1e-6)
    with pytest.raises(Problem, match="same features"):
        invariance(torch.ones(4, 3), torch.ones(4, 3))


def test_every_pretext_looks_at_as_many_views():
    seen = []

    class Counting(Network):
        def forward(self, x):
            seen[-1] += len(x)
            return super().forward(x)

        def of_patches(self, cut, head):
            seen[-1] += len(cut)
            return super().of_patches(cut, head)

    d = images("digits").resize(12)
    for variant in [v.name for v in STUDY.variants if v.name != "random"]:
        cfg = config(variant)
        model = Counting(cfg, d)
        seen.append(0)
        pretext = Pretext(cfg, Draws(), model, d)
        seen[-1] = 0
        rows = torch.arange(pictures_a_step(cfg))
        assert torch.isfinite(pretext.loss(0, rows, unit(d.x[rows])))
    assert seen == [config().batch] * 9
    with pytest.raises(Problem, match="a batch of 17 views"):
        pictures_a_step(config(batch=17))


def test_pretexts_of_a_seed_begin_with_the_same_encoder():
    d, first = images("digits").resize(12), []
    for variant in ("pirl-jigsaw", "jigsaw", "rotnet", "simclr", "random"):
        torch.manual_seed(0)
        model = Network(config(variant), d)
        first.append(torch.cat([p.flatten() for p in model.body.parameters()]))
    assert all(torch.equal(first[0], other) for other in first[1:])


def test_turns_are_numpys_each_pictures_own():
    x = torch.rand(4, 2, 5, 5)
    y = quarter_turns(x, numpy.array([3, 0, 2, 1]))
    for i, quarters in enumerate((3, 0, 2, 1)):
        assert numpy.array_equal(y[i].numpy(), numpy.rot90(x[i].numpy(), quarters, (1, 2)))


def test_patches_come_in_the_order_that_is_to_be_named():
    cfg = config(grid=2, patch=4, gap=0)
    x = torch.zeros(3, 1, 8, 8)
    x[:, :, :4, 4:], x[:, :, 4:, :4], x[:, :, 4:, 4:] = 1, 2, 3
    orders = torch.tensor([[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]])
    cut = shuffled_patches(cfg, x, orders, Draws(), 0)
    assert torch.equal(cut.mean((2, 3, 4)), orders.float())


def test_views_of_a_picture_differ_and_come_again():
    cfg, x = config(), torch.rand(8, 3, 12, 12)
    first, second = (view(cfg, x, Draws(), 0, which) for which in ("first", "second"))
    assert first.shape == x.shape
    assert not torch.allclose(first, second, atol=0.1)
    assert torch.equal(first, view(cfg, x, Draws(), 0, "first"))
    assert first.min() >= 0
    assert first.max() <= 1


def test_pictures_held_out_are_none_of_those_to_train_on():
    p = pictures_of(config(), Draws())
    assert (len(p.y), len(p.d.y), len(p.d.test_y)) == (100, 300, 120)
    assert len(torch.cat([p.x, p.d.x]).flatten(1).unique(dim=0)) >= 390  # of 400, of which hardly any are the same
    with pytest.raises(Problem, match="to be held out"):
        pictures_of(config(held_out=400), Draws())


def test_the_memory_begins_with_the_first_representations_and_follows_the_pictures_numbers():
    cfg = config(memory=0.0)
    d = pictures_of(cfg, Draws()).d
    torch.manual_seed(0)
    model = Network(cfg, d)
    pretext = Pretext(cfg, Draws(), model, d)
    first = torch.nn.functional.normalize(model.heads["f"](model(unit(d.x))), dim=1)  # one batch: the same statistics
    assert torch.allclose(pretext.bank.rows, first, atol=1e-5)
    before = pretext.bank.rows.clone()
    rows = torch.tensor([250, 3, 77, 12, 9, 0, 199, 31])
    pretext.loss(0, rows, unit(d.x[rows]))
    changed = (pretext.bank.rows != before).any(1).nonzero()[:, 0]
    assert changed.tolist() == sorted(rows.tolist())
    alone = torch.nn.functional.normalize(
        model.heads["f"](model(view(cfg, unit(d.x[rows]), Draws(), 0, "first"))), dim=1
    )
    assert torch.allclose(pretext.bank.rows[rows], alone, atol=1e-5)


@pytest.mark.parametrize("variant", ["pirl-jigsaw", "pirl-rotation", "jigsaw", "simclr"])
def test_a_pretext_is_learnt(variant, monkeypatch):
    monkeypatch.setattr(training, "seeded", lambda run, stream, make: make())
    losses = []

    def look(run, recipe, parts, step):
        assert ("bank" in parts) is variant.startswith("pirl")
        losses.extend(step(i)["train/loss"].item() for i in range(recipe.steps))

    monkeypatch.setattr(training, "fitted", look)
    cfg = config(variant, steps=20, batch=32, width=8, size=16, lr=0.1, temperature=0.5, smallest_crop=1.0)
    d = pictures_of(cfg, Draws()).d
    torch.manual_seed(0)
    pretrain(cfg, Draws(), d.take(torch.arange(40)))
    assert sum(losses[-5:]) < 0.97 * sum(losses[:5])


def test_pictures_of_one_colour_tell_neither_turn_nor_cell():
    cfg = config()
    p = pictures_of(cfg, Draws())
    torch.manual_seed(0)
    model = Network(cfg, p.d)
    real = measure_turns(cfg, model, p), measure_patches(cfg, Draws(), model, p)
    assert all(same < 0.999 and 0 <= error < 0.74 for block in zip(*real, strict=True) for same, error in block)
    plain = [x[:, :, :1, :1].clone().fill_(0) for x in (p.d.x, p.d.test_x)]
    for x in plain:
        x += (torch.arange(len(x)) * 7 % 251).byte()[:, None, None, None]
    flat = [x.expand(-1, -1, *p.d.shape[1:]).contiguous() for x in plain]
    p = HeldOut(dataclasses.replace(p.d, x=flat[0], test_x=flat[1]), p.x, p.y)
    for same, error in measure_turns(cfg, model, p):
        assert same == pytest.approx(1, abs=1e-4)
        assert error == pytest.approx(0.75, abs=0.05)
    assert all(error == pytest.approx(0.75, abs=0.05) for _, error in measure_patches(cfg, Draws(), model, p))


def test_the_paper_scale_is_the_papers():
    cfg = Config(**STUDY.plan("paper", variants=["pirl-jigsaw"])[0].config)
    assert (cfg.grid, cfg.negatives, cfg.size, cfg.temperature, cfg.mix, cfg.memory) == (3, 32_000, 128, 0.07, 0.5, 0.5)
    d = type("Pictures", (), {"shape": (3, 64, 64), "mean": [0.5] * 3, "std": [0.25] * 3, "classes": 200})
    with torch.device("meta"):
        model = Network(cfg, d)
    assert count_parameters(model.body) == 25_557_032 - 1000 * 2049
    assert count_parameters(model.heads) == 2 * 2049 * 128 + (9 * 128 + 1) * 128
    blocks = [layer for layer in model.body if isinstance(layer, torch.nn.Sequential)]
    assert [sum(type(part).__name__ == "Bottleneck" for part in block) for block in blocks] == [3, 4, 6, 3]
    torch.manual_seed(0)
    small = Network(dataclasses.replace(cfg, network="resnet18"), d)
    assert small.body(torch.rand(2, 3, 16, 16)).shape == (2, 512)
