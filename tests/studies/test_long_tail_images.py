import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.core.record import load
from etudes.core.run import execute
from etudes.data.listed import LISTS
from etudes.losses import imbalance
from etudes.measure.size import count_parameters
from etudes.nn.norm import Standardise
from etudes.nn.plain import plain_cnn
from etudes.studies.labels.long_tail_images import STUDY, findings, methods, networks, sets


def config(variant="plain", scale="smoke", **changed):
    return dataclasses.replace(STUDY.config(**STUDY.plan(scale, variants=[variant])[0].config), **changed)


def stub():
    """What draws like a run."""
    return SimpleNamespace(
        rng=lambda name, *i: np.random.default_rng([len(name), *i]), device=torch.device("cpu"), seed=lambda *a: 3
    )


def task(counts=(12, 6, 3), side=8):
    """Pictures of so many of each class, and two of each class to validate and to test on."""
    draw = torch.Generator().manual_seed(0)

    def part(sizes):
        y = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        return sets.Part(torch.randint(256, (len(y), 1, side, side), generator=draw, dtype=torch.uint8), y)

    even = [2] * len(counts)
    return sets.Task(part(counts), part(even), part(even), (1, side, side), torch.zeros(1), torch.ones(1))


def performed(root, *variants, **changed):
    """The metrics of smoke runs, in their order."""
    plan = [spec for name in variants for spec in STUDY.plan("smoke", variants=[name], seeds=1, **changed)]
    for spec in plan:
        execute(STUDY, spec, root)
    return [record.metrics for record in load(plan, root)]


# Pictures


def test_shots_are_those_of_the_papers():
    found = sets.shots(torch.tensor([1280, 101, 100, 20, 19, 5]), many=100, few=20)
    assert {name: group.nonzero()[:, 0].tolist() for name, group in found.items()} == {
        "many": [0, 1],
        "medium": [2, 3],
        "few": [4, 5],
    }


def test_the_laptop_scale_has_shots_of_all_kinds():
    cfg = config(scale="laptop")
    y = torch.arange(10).repeat_interleave(cfg.examples + cfg.held_out)
    rows, _ = sets.split_rows(y, cfg, stub())
    counts = torch.bincount(y[rows])
    assert sorted(counts.tolist(), reverse=True) == [500, 299, 179, 107, 64, 38, 23, 13, 8, 5]
    assert [int(group.sum()) for group in sets.shots(counts, cfg.many, cfg.few).values()] == [4, 3, 3]


def test_validation_is_balanced_and_apart_from_a_tail_made_to_measure():
    y = torch.arange(4).repeat(30)
    cfg = config(held_out=6, examples=16, ratio=8.0)
    rows, held = sets.split_rows(y, cfg, stub())
    assert torch.bincount(y[held]).tolist() == [6] * 4
    assert sorted(torch.bincount(y[rows]).tolist()) == [2, 4, 8, 16]
    assert len(torch.cat([rows, held]).unique()) == len(rows) + len(held)


def test_a_natural_tail_is_all_that_is_not_held_out():
    y = torch.repeat_interleave(torch.arange(3), torch.tensor([9, 20, 4]))
    rows, held = sets.split_rows(y, config(held_out=3, profile="natural"), stub())
    assert torch.bincount(y[rows]).tolist() == [6, 17, 1]
    assert torch.cat([rows, held]).sort().values.tolist() == list(range(33))
    with pytest.raises(Problem, match="leaves a class without a picture"):
        sets.split_rows(y, config(held_out=4, profile="natural"), stub())


def test_pictures_are_changed_in_training_alone():
    some, rows = task().train, torch.arange(20)
    assert sets.view(some, rows, 8).equal(some.x[rows].float() / 255)
    plain = sets.changed_view(some, rows, config(augment=False), stub(), 0)
    assert plain.equal(sets.view(some, rows, 8))
    first, again, other = (sets.changed_view(some, rows, config(augment=True), stub(), i) for i in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)
    assert not first.equal(plain)


def test_lists_of_files_are_learnt_from(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ETUDES_MIRROR", raising=False)
    folder = tmp_path / "cache" / "ImageNet_LT"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, sizes in {"train": (9, 4, 2), "validation": (2, 2, 2), "test": (2, 2, 2)}.items():
        lines = [f"{split}/{c}-{i}.JPEG {c}" for c, size in enumerate(sizes) for i in range(size)]
        (folder / split).mkdir()
        for line in lines:
            Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / line.split()[0], "jpeg")
        (folder / LISTS[split]).write_text("\n".join(lines))
    how = {"dataset": "imagenet-lt", "profile": "natural", "side": 8, "many": 5, "few": 3}
    retrained, undersampled = performed(tmp_path, "retrained", "undersampled", **how)
    assert retrained["train/pictures"] == undersampled["train/pictures"] == 15
    assert retrained["test/accuracy-majority"] == pytest.approx(1 / 3)
    assert 0 <= retrained["test/accuracy-few"] <= 1


# Networks


@pytest.mark.parametrize(("scale", "parameters"), [("paper", 25_557_032), ("resnet10", 5_418_792)])
def test_the_networks_for_imagenet_lt_are_the_papers(scale, parameters):
    cfg = config(scale=scale)
    lists = task([1] * 1000)
    with torch.device("meta"):
        assert count_parameters(networks.layers(cfg, dataclasses.replace(lists, shape=(3, 224, 224)))) == parameters
    assert cfg.steps == pytest.approx(90 * 115_846 / 512, rel=0.005)
    assert cfg.later_steps == pytest.approx(10 * 115_846 / 512, rel=0.005)
    assert (cfg.side, cfg.profile, cfg.many, cfg.few) == (224, "natural", 100, 20)


def test_the_network_for_small_colour_pictures_has_32_layers():
    model = networks.layers(config(scale="cifar"), dataclasses.replace(task([1] * 10), shape=(3, 32, 32)))
    three = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(three) + 1 == 32  # and the last layer


def test_a_cosine_layer_gives_cosines():
    layer, x = networks.Cosine(5, 3, bias=False), torch.randn(4, 5)
    expected = functional.cosine_similarity(x[:, None], layer.weight[None], dim=2)
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_experts_share_the_first_half_and_are_averaged():
    torch.manual_seed(0)
    whole = [plain_cnn(1, 8, 3, (2, 4), 1, 6) for _ in range(3)]
    model = networks.Experts(Standardise([0.0], [1.0]), whole).eval()
    x = torch.rand(5, 1, 8, 8)
    one = [torch.nn.Sequential(*whole[0][: len(net) // 2], *net[len(net) // 2 :]).eval() for net in whole]
    expected = torch.stack([net(x) for net in one])
    assert torch.allclose(model.each(x), expected, atol=1e-6)
    assert torch.allclose(model(x), expected.mean(0), atol=1e-6)
    assert count_parameters(model) < sum(map(count_parameters, whole))


# Methods


def scored(z):
    """A network that gives these logits, whatever it is shown."""
    return lambda x: z


def test_each_method_has_the_loss_of_its_name():
    some = task()
    z, y = torch.randn(21, 3, generator=torch.Generator().manual_seed(1)), some.train.y
    prior = torch.tensor([12, 6, 3]) / 21
    heavy = imbalance.effective_weights(some.counts, 0.999)
    plain = functional.cross_entropy(z, y)
    expected = {
        "plain": plain,
        "oversampled": plain,  # a sampler, and no weights
        "undersampled": plain,
        "weighted": imbalance.weighted_cross_entropy(z, y, heavy),
        "focal": imbalance.focal(z, y, 2.0),
        "balanced": functional.cross_entropy(z + prior.log(), y),
    }
    for name, value in expected.items():
        loss = methods.loss_of(config(name), stub(), some)
        assert loss(scored(z), torch.zeros(21, 1), y, 0).item() == pytest.approx(value.item(), rel=1e-6), name


def test_ldam_weighs_classes_in_the_last_fifth():
    some, cfg = task(), config("ldam", steps=10)
    z, y = torch.randn(21, 3).tanh(), some.train.y
    margins, heavy = imbalance.ldam_margins(some.counts, 0.5), imbalance.effective_weights(some.counts, 0.999)
    loss = methods.loss_of(cfg, stub(), some)
    for step, weights in ((0, torch.ones(3)), (7, torch.ones(3)), (8, heavy)):
        expected = imbalance.ldam(z, y, margins, methods.SCALE, weights).item()
        assert loss(scored(z), z, y, step).item() == pytest.approx(expected, rel=1e-6)


def test_mixup_blends_pictures_and_both_classes():
    x, y = torch.randn(8, 5), torch.arange(8) % 3
    layer = torch.nn.Linear(5, 3)
    ours = methods.mixup(config("mixed"), stub())(layer, x, y, 4)
    rng = stub().rng("mix", 4)
    partners, share = rng.permutation(8), rng.beta(1, 1)
    total = 0.0
    for i, j in enumerate(partners):
        log_p = functional.log_softmax(layer(share * x[i] + (1 - share) * x[j]), 0)
        total -= (share * log_p[y[i]] + (1 - share) * log_p[y[j]]).item()
    assert ours.item() == pytest.approx(total / 8, rel=1e-5)
    none = methods.mixup(config("mixed", strength=0.0), stub())(layer, x, y, 4)
    assert none.item() == pytest.approx(functional.cross_entropy(layer(x), y).item(), rel=1e-6)


def test_classes_are_drawn_alike():
    rows_at = methods.draw_rows(stub(), task((40, 8, 2)).train.y, 3000, 1.0, "draw")
    counts = torch.bincount(task((40, 8, 2)).train.y[rows_at(0)])
    assert counts.tolist() == pytest.approx([1000] * 3, rel=0.1)
    assert rows_at(5).equal(rows_at(5))


def test_without_strength_what_is_done_afterwards_changes_nothing(tmp_path):
    plain, adjusted = performed(tmp_path, "plain", "adjusted", strength=0.0)
    assert plain == adjusted
    ensemble, same = performed(tmp_path, "ensemble", "ensemble-adjusted", strength=0.0)
    assert ensemble == same


def test_one_body_is_trained_for_all_that_mend_the_last_layer(tmp_path):
    performed(tmp_path, "plain", "adjusted", "normalised", "retrained", "smote", "ensemble")
    shared = {path.parent.parent.name for path in tmp_path.rglob("once/**/result.json")}
    assert shared == {"plain-0", "plain-1", "plain-2"}
    assert len([*tmp_path.rglob("once/**/result.json")]) == 3


def test_a_new_last_layer_leaves_the_body_as_it_was(tmp_path, monkeypatch):
    kept = {}
    refit = methods.refit
    monkeypatch.setattr(methods, "refit", lambda *a: kept.setdefault("new", refit(*a)))
    performed(tmp_path, "retrained")
    (file,) = tmp_path.rglob("once/**/model.safetensors")
    before, after = load_file(file), kept["new"].state_dict()
    assert {name for name in before if not before[name].equal(after[name])} == {"last.weight", "last.bias"}


# Findings


def test_recalls_are_shares_of_each_class():
    y = torch.tensor([0, 0, 0, 0, 1, 1, 3])
    found = findings.recalls(torch.tensor([0, 0, 0, 1, 1, 0, 3]), y, 4)
    assert found[[0, 1, 3]].tolist() == [0.75, 0.5, 1.0]
    assert found[2].isnan()  # there is none of it


def test_classes_count_alike_and_by_shots():
    recall, counts = torch.tensor([0.9, 0.6, 0.0, torch.nan]), torch.tensor([80, 15, 5, 0])
    groups = sets.shots(counts, many=50, few=10)
    found = findings.quality(recall, counts, groups)
    assert found["accuracy"] == pytest.approx(0.5)
    assert found["accuracy-as-trained"] == pytest.approx(0.81)
    assert [found[f"accuracy-{name}"] for name in groups] == pytest.approx([0.9, 0.6, 0.0])
    alike = findings.quality(recall, counts, {"few": torch.zeros(4, dtype=torch.bool)})
    assert "accuracy-few" not in alike


def test_recalls_are_logged_from_the_most_frequent_class(tmp_path):
    (spec,) = STUDY.plan("smoke", variants=["plain"], seeds=1)
    execute(STUDY, spec, tmp_path)
    (record,) = load([spec], tmp_path)
    lines = [line for line in record.log if "recall" in line]
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert np.mean([line["recall"] for line in lines]) == pytest.approx(record.metrics["test/accuracy"])
    few = [line["recall"] for line in lines[-3:]]  # of 8, 6 and 5 pictures
    assert np.mean(few) == pytest.approx(record.metrics["test/accuracy-few"])


def test_what_is_won_and_lost_and_overfitted():
    trial = {
        "plain": {"test/accuracy-few": 0.2, "test/accuracy-many": 0.9},
        "balanced": {"test/accuracy-few": 0.5, "test/accuracy-many": 0.8, "train/accuracy-few": 0.9},
    }
    assert findings.won_and_lost("balanced")(trial) == pytest.approx(0.2)
    assert findings.overfit(trial, "balanced") == pytest.approx(0.4)
