import dataclasses
import json
import math

import numpy
import pytest
import torch
from torch import nn

from draws import Draws
from etudes.core import Problem
from etudes.core.run import execute
from etudes.data.images import images, unit
from etudes.measure.size import count_parameters
from etudes.studies.labels.rotnet import STUDY, Config, covariance, crossing, shrinking, training
from etudes.studies.labels.rotnet.idea import all_turns, disc, rotation_loss, turn, turned_distance
from etudes.studies.labels.rotnet.layers import best_block, block_features, measure_turns
from etudes.studies.labels.rotnet.training import (
    KEPT,
    labelled_rows,
    network,
    pictures_a_step,
    pictures_of,
    pretext_loss,
    pretext_network,
    pretrain,
    view,
)
from etudes.train import HeldOut


def config(variant="rotnet", **fields):
    plan = STUDY.plan("smoke", variants=[variant])[0].config
    return dataclasses.replace(Config(**plan), **fields)


def pixels(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_quarter_turn_moves_pixels_as_numpy_does_and_changes_none(quarters):
    x = pixels(2, 3, 7, 7)
    turned = turn(x, 2 * quarters)
    for i in range(2):
        for c in range(3):
            assert numpy.array_equal(turned[i, c].numpy(), numpy.rot90(x[i, c].numpy(), quarters))
    assert torch.equal(turn(turned, 8 - 2 * quarters), x)


def test_an_eighth_of_a_turn_is_interpolated_counter_clockwise_and_so_are_all_odd_ones():
    ndimage = pytest.importorskip("scipy.ndimage")
    x = pixels(1, 1, 16, 16)
    x = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x, (4,) * 4), 5, 1, 2)  # smooth, and dark outside
    theirs = ndimage.rotate(x[0, 0].numpy(), 45, reshape=False, order=1)
    assert turn(x, 1)[0, 0].numpy() == pytest.approx(theirs, abs=1e-4)
    assert torch.allclose(turn(x, 3), turn(turn(x, 2), 1), atol=1e-5)
    inside = disc(torch.ones_like(x)).bool()
    assert not torch.allclose(turn(turn(x, 1), 1)[inside], turn(x, 2)[inside], atol=1e-4)  # an odd turn is told by blur


def test_only_square_pictures_are_turned_and_in_2_4_or_8_ways():
    with pytest.raises(Problem, match="only square pictures"):
        turn(pixels(2, 1, 6, 7), 2)
    with pytest.raises(Problem, match="2, 4, 8 ways, not in 3"):
        all_turns(pixels(2, 1, 6, 6), 3)


@pytest.mark.parametrize("turns", [2, 4, 8])
def test_all_turns_of_every_picture_are_in_the_batch(turns):
    x = pixels(5, 1, 9, 9)
    seen, which = all_turns(x, turns)
    assert seen.shape == (5 * turns, 1, 9, 9)
    assert torch.bincount(which).tolist() == [5] * turns
    start = disc(x) if turns == 8 else x
    for row in range(5 * turns):
        alone = turn(start[row % 5 : row % 5 + 1], 8 // turns * int(which[row]))[0]
        assert torch.allclose(seen[row], alone, atol=1e-6)


def test_a_disc_lets_no_corner_tell_the_turn():
    ones = disc(torch.ones(1, 1, 8, 8))[0, 0]
    by_hand = [[math.hypot(i - 3.5, j - 3.5) <= 4 for j in range(8)] for i in range(8)]
    assert ones.bool().tolist() == by_hand
    assert torch.equal(torch.rot90(ones), ones)


def test_the_loss_is_the_papers_double_sum():
    x, weight = pixels(3, 1, 4, 4), pixels(16, 4, seed=1)

    def model(seen):
        return seen.flatten(1) @ weight

    total = 0.0
    for i in range(3):
        for y in range(4):
            picture = numpy.rot90(x[i, 0].numpy(), y).reshape(-1).copy()
            logits = (torch.from_numpy(picture) @ weight).tolist()
            total -= math.log(math.exp(logits[y]) / sum(map(math.exp, logits)))
    assert rotation_loss(model, x, 4).item() == pytest.approx(total / 12, rel=1e-5)
    assert rotation_loss(lambda seen: torch.zeros(len(seen), 4), x, 4).item() == pytest.approx(math.log(4))


def test_distance_is_0_for_invariant_features_and_by_a_loop_for_others():
    upright = pixels(6, 3)
    assert turned_distance(upright.expand(4, 6, 3)) == 0
    features = pixels(4, 6, 3, seed=1)
    moved = [math.dist(features[k, i].tolist(), features[0, i].tolist()) for k in (1, 2, 3) for i in range(6)]
    apart = [math.dist(features[0, i].tolist(), features[0, i - 1].tolist()) for i in range(6)]
    assert turned_distance(features) == pytest.approx(sum(moved) / 18 / (sum(apart) / 6), rel=1e-5)
    with pytest.raises(Problem, match="no distance to compare with"):
        turned_distance(torch.ones(4, 6, 3))


def test_every_pretext_asks_the_network_about_as_many_images():
    seen = []

    class Counting(nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return x.flatten(1)[:, :8]

    for variant in ("rotnet-2", "rotnet", "rotnet-8", "simclr"):
        cfg = config(variant)
        x = pixels(pictures_a_step(cfg), 1, 8, 8)
        pretext_loss(cfg, Draws(), Counting(), x, 0)
    assert seen == [16] * 4
    with pytest.raises(Problem, match="a batch of 18 images"):
        pictures_a_step(config(batch=18))


def test_pretexts_begin_with_the_same_blocks_and_differ_in_their_heads():
    d, models = images("digits"), []
    for variant in ("rotnet", "rotnet-2", "simclr", "random"):
        torch.manual_seed(0)
        models.append(pretext_network(config(variant), d))
    weights = [torch.cat([p.flatten() for p in model[:-1].parameters()]) for model in models]
    assert all(torch.equal(weights[0], other) for other in weights[1:])
    assert [model(pixels(2, 1, 8, 8)).shape[1] for model in models] == [4, 2, 3, 4]


def test_contrasted_views_differ_and_are_never_turned():
    x = torch.zeros(64, 1, 14, 14)
    x[:, :, :7] = 1  # light above
    first, second = (view(x, Draws(), 0, which) for which in ("first", "second"))
    assert not torch.equal(first, second)
    assert torch.equal(first, view(x, Draws(), 0, "first"))
    for seen in (first, second):
        assert (seen[:, 0, 2:5, 4:10].mean((1, 2)) > seen[:, 0, 9:12, 4:10].mean((1, 2))).all()


def test_labels_are_nested_by_share_and_no_pretext_sees_one():
    y = torch.arange(300) % 3
    few, more, whole = (labelled_rows(y, share, Draws()) for share in (0.05, 0.25, 1.0))
    assert [len(rows) for rows in (few, more, whole)] == [15, 75, 300]
    assert set(few.tolist()) < set(more.tolist())
    assert torch.bincount(y[few]).tolist() == [5, 5, 5]
    assert len(labelled_rows(y, 0.001, Draws())) == 3
    assert not torch.equal(few, labelled_rows(y, 0.05, Draws(), 1))


def test_pictures_held_out_are_none_of_those_to_train_on():
    p = pictures_of(config(), Draws())
    assert len(p.y) == 100
    assert len(p.d.y) == 300
    assert len(p.d.test_y) == 120
    together = torch.cat([p.x, p.d.x]).flatten(1).unique(dim=0)
    assert len(together) >= 390  # of 400, of which hardly any are the same
    digits = pictures_of(config(dataset="absent", on_digits=True), Draws())
    assert digits.d.name == "digits"
    with pytest.raises(Problem, match="to be held out"):
        pictures_of(config(held_out=400), Draws())


def test_features_are_means_over_places_of_each_blocks_maps_in_evaluation_mode():
    d = images("digits")
    torch.manual_seed(0)
    model = pretext_network(config(), d)
    features = block_features(model, d.x[:30])
    assert [f.shape[1] for f in features] == [3 * 4, 6 * 4, 6 * 4, 6 * 4]
    maps = model.eval()[:2](unit(d.x[:30]))
    assert maps.shape == (30, 3, 4, 4)
    corner = maps[:, :, :2, :2].mean((2, 3))
    assert torch.allclose(features[0].view(30, 3, 2, 2)[..., 0, 0], corner, atol=1e-6)
    assert torch.allclose(block_features(model, d.x[:30], 1)[0], maps.mean((2, 3)), atol=1e-6)


def test_a_network_that_cannot_tell_turns_is_invariant():
    d = images("digits")
    torch.manual_seed(0)
    model = pretext_network(config(width=24), d)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size[0] > 1:  # the middle of every patch alone
            keep = torch.zeros_like(layer.weight)
            keep[..., layer.kernel_size[0] // 2, layer.kernel_size[0] // 2] = 1
            layer.weight.data *= keep
    p = HeldOut(d, d.x[:10], d.y[:10])
    maps = model.eval()[1][:-1](model[0](torch.cat([torch.rot90(unit(d.x[:20]), k, (2, 3)) for k in range(4)])))
    assert turned_distance(maps.mean((2, 3)).view(4, 20, -1)) == pytest.approx(0, abs=1e-5)
    distance, error = measure_turns(config(turned=100), pretext_network(config(), d), p)[0]
    assert distance > 0
    assert 0 <= error <= 1


def test_the_best_block_is_chosen_by_validation():
    assert best_block([(0.3, 0.1), (0.2, 0.9), (0.25, 0.0)]) == 1


def test_measures_of_claims_by_hand():
    errors = {"scratch-1": 0.5, "probe-1": 0.3, "probe-100": 0.2, "scratch-100": 0.15}
    errors |= {"finetuned-1": 0.35, "finetuned-100": 0.12}
    trial = {name: {"test/error": error} for name, error in errors.items()}
    assert crossing(trial) == pytest.approx(0.05)
    assert shrinking(trial) == pytest.approx(0.15 - 0.03)
    trial = {"rotnet": {"test/distance-block4": 0.9}, "simclr": {"test/distance-block4": 0.6}}
    assert covariance(trial) == pytest.approx(1.5)


def test_the_first_weights_have_the_statistics_of_the_pictures(monkeypatch):
    monkeypatch.setattr(training, "seeded", lambda run, stream, make: make())
    cfg = config("random")
    d = pictures_of(cfg, Draws()).d
    torch.manual_seed(0)
    first = pretext_network(cfg, d)
    torch.manual_seed(0)
    model = pretrain(cfg, Draws(), d)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), model.parameters(), strict=True))
    maps = model[1][0](model[0](unit(d.x)))
    assert torch.allclose(model[1][1].running_mean, maps.mean((0, 2, 3)), atol=1e-4)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The numbers of some smoke runs of one seed, and their folder."""
    folder = tmp_path_factory.mktemp("runs")
    for spec in STUDY.plan("smoke", variants=("rotnet", "finetuned-5", "frozen", "digits", "rotnet-8"), seeds=1):
        execute(STUDY, spec, folder)
    results = folder.glob("rotnet/smoke/*/0-*/result.json")
    return folder, {path.parts[-3]: json.loads(path.read_text()) for path in results}


def test_the_pretext_is_learnt_once_for_all_that_use_it(found):
    folder, numbers = found
    assert len([*folder.glob("rotnet/smoke/once/pretext/*")]) == 3  # four turns, eight, and of the digits
    assert "test/turn-error" in numbers["rotnet"]
    assert "test/parity-error" in numbers["rotnet-8"]
    assert "test/turn-error-six-nine" in numbers["digits"]
    assert "test/error-frozen" in numbers["frozen"]
    assert "test/error" in numbers["finetuned-5"]
    best = numbers["rotnet"][f"test/error-block{int(numbers['rotnet']['validation/best-block'])}"]
    assert numbers["rotnet"]["test/error-probe"] == best


def test_frozen_blocks_stay_as_they_were_with_their_statistics(monkeypatch):
    p = pictures_of(config(), Draws())
    torch.manual_seed(3)
    source = pretext_network(config(), p.d).eval()
    kept = {}

    def look(run, recipe, parts, step, evaluate):
        for i in range(2):
            step(i)
        kept.update(parts["model"].state_dict())
        return evaluate()

    monkeypatch.setattr(training, "shared_pretext", lambda cfg, run, d: source)
    monkeypatch.setattr(training, "fitted", look)
    monkeypatch.setattr(training, "seeded", lambda run, stream, make: make())
    for use, same in (("frozen", True), ("finetuned", False)):
        training.train_classes(config(use=use), Draws(), p)
        for name, tensor in source[: KEPT + 1].state_dict().items():
            if name.endswith(("weight", "running_mean")):
                assert torch.equal(kept[name], tensor) is same, (use, name)


def test_turning_is_learnt_where_pictures_have_a_way_up(monkeypatch):
    monkeypatch.setattr(training, "seeded", lambda run, stream, make: make())
    losses = []

    def look(run, parts, step, steps, log_every):
        losses.extend(step(i)["train/loss"].item() for i in range(steps))

    monkeypatch.setattr(training, "fit", look)
    d = images("digits")
    light = d.x[:200] // 4
    light[:, :, :4] += 150  # above
    torch.manual_seed(0)
    pretrain(config("rotnet", steps=40, batch=32, lr=0.05), Draws(), dataclasses.replace(d, x=light, y=d.y[:200]))
    assert losses[0] > 0.8 * math.log(4)
    assert sum(losses[-5:]) / 5 < 0.5 * math.log(4)


def test_the_paper_scale_is_the_papers():
    cfg = Config(**STUDY.plan("paper", variants=["rotnet"])[0].config)
    assert (cfg.dataset, cfg.side, cfg.examples, cfg.turns) == ("cifar10", 0, 0, 4)
    assert cfg.steps == 200 * 390  # epochs of batches of 128 pictures
    assert pictures_a_step(cfg) == 128
    cifar = type("Pictures", (), {"shape": (3, 32, 32), "mean": [0.5] * 3, "std": [0.25] * 3})
    assert count_parameters(pretext_network(cfg, cifar)) == 1_411_140
    assert count_parameters(network(cifar, cfg.width, KEPT + 1, nn.Linear(192, 10))) == 1_005_642
