import io
import json

import numpy
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from etudes.core.run import execute
from etudes.data.images import images
from etudes.measure.error import evaluation_mode
from etudes.measure.size import count_parameters
from etudes.nn.efficientnet import EfficientNetLite
from etudes.nn.norm import BatchNorm
from etudes.studies.labels.transfer_pets import STUDY, Config
from etudes.studies.labels.transfer_pets.findings import larger_gain
from etudes.studies.labels.transfer_pets.freezing import ADAPT_BATCH, adapt, freeze, lowest_moved, optimiser
from etudes.studies.labels.transfer_pets.networks import (
    Frozen,
    Staged,
    in_colour,
    lite_stages,
    resnet_stages,
    small_network,
    small_stages,
)
from etudes.studies.labels.transfer_pets.objectives import Marginal, loss_each, pseudo_labels, pseudo_loss, rise
from etudes.studies.labels.transfer_pets.sets import (
    ANIMALS,
    CATS,
    augment,
    augmented_copies,
    cats_and_dogs,
    class_error,
    labelled_rows,
    only_classes,
    split_rows,
)
from etudes.tools.resnets import MEAN, STD, plain_resnet

VARIANTS = {spec.variant: spec.config for spec in STUDY.plan("laptop", seeds=1)}


def network(classes=4):
    torch.manual_seed(0)
    stages = small_stages(small_network(5)).eval()
    return Staged(stages, nn.Linear(32, classes))


def with_statistics(model):
    """The model with running statistics that are not those of the start."""
    for layer in model.modules():
        if isinstance(layer, BatchNorm):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return model


# Stages


def test_stages_of_efficientnet_are_the_network():
    torch.manual_seed(0)
    lite = with_statistics(EfficientNetLite("lite2")).eval()
    stages, x = lite_stages(lite), torch.rand(2, 3, 32, 32)
    assert len(stages) == 8
    assert torch.equal(stages(x), lite.features(x))
    held = {id(p) for p in stages.parameters()}
    assert held == {id(p) for name, p in lite.named_parameters() if not name.startswith("classify")}


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_stages_of_a_resnet_are_the_network_on_standardised_pictures(name):
    torch.manual_seed(0)
    model = with_statistics(plain_resnet(name)).eval()
    stages, x = resnet_stages(name, model), torch.rand(2, 3, 64, 64)
    standard = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    assert len(stages) == 5
    assert torch.allclose(model[-1](stages(x)), model(standard), atol=1e-5)
    assert next(sum(isinstance(m, nn.Conv2d) for m in stage.modules()) for stage in stages) == 1


def test_stages_of_the_small_network_are_the_network():
    model = with_statistics(small_network(5)).eval()
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(model[-1](small_stages(model)(x)), model(x))


def test_the_papers_network_has_the_parameters_of_resnet_34_with_a_head_for_37_breeds():
    with torch.device("meta"):
        residual = plain_resnet("resnet34")
        model = Staged(resnet_stages("resnet34", residual), nn.Linear(residual[-1].in_features, 37))
    assert count_parameters(model) == 21_303_653  # 21,797,672 less 1,000 x 513, and 37 x 513
    (config,) = {(c["network"], c["near"], c["pets"], c["side"]) for c in (s.config for s in STUDY.plan("paper"))}
    assert config == ("resnet34", "oxford-pets", "oxford-pets", 224)
    assert STUDY.idea is freeze


# What moves


def states(model, steps=2):
    """The state before and after steps of SGD on random pictures."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    opt = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    torch.manual_seed(1)
    for _ in range(steps):
        opt.zero_grad()
        functional.cross_entropy(model(torch.rand(8, 3, 8, 8)), torch.arange(8) % 4).backward()
        opt.step()
    return before, model.state_dict()


def moved_names(model):
    before, after = states(model)
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("depth", [0, 1, 9])
@pytest.mark.parametrize("norms", ["frozen", "parameters", "statistics", "both", "adapted"])
def test_exactly_what_was_chosen_moves(norms, depth, everywhere):
    model = network()
    freeze(model, depth, norms, everywhere)
    of_norms = {f"{name}." for name, layer in model.named_modules() if isinstance(layer, BatchNorm)}
    trained = [f"stages.{k}." for k in range(3)][3 - min(depth, 3) :]
    expected = {"head.weight", "head.bias"}
    for name in model.state_dict():
        inside = any(name.startswith(stage) for stage in trained)
        if not any(name.startswith(norm) for norm in of_norms):
            constant = name.endswith((".mean", ".std"))  # of Standardise
            expected |= {name} if inside and not constant else set()
        elif inside or everywhere:
            is_parameter = name.endswith(("weight", "bias"))
            kinds = {"both": True, "parameters": is_parameter, "statistics": not is_parameter}
            expected |= {name} if kinds.get(norms, False) else set()
    assert moved_names(model) == expected


def test_pytorchs_own_training_mode_moves_statistics_of_frozen_norms_and_ours_does_not():
    model = network()
    freeze(model, 0, "frozen", everywhere=False)
    assert moved_names(model) == {"head.weight", "head.bias"}
    nn.Module.train(model)
    for layer in model.norms().values():
        nn.Module.train(layer)
    moved = moved_names(model)
    assert {name.rsplit(".", 1)[1] for name in moved - {"head.weight", "head.bias"}} == {
        "running_mean", "running_var", "num_batches_tracked",
    }  # fmt: skip


def test_an_evaluation_gives_back_what_follows_and_frozen_stages_stay():
    model = network()
    freeze(model, 1, "statistics", everywhere=False)
    lower = Frozen(small_stages(small_network(5))[:1])
    with evaluation_mode(nn.Sequential(lower, model)):
        assert not any(layer.training for layer in model.norms().values())
    assert {name for name, layer in model.norms().items() if layer.training} == model.following
    assert all(name.startswith("stages.2.") for name in model.following)
    assert not any(layer.training for layer in lower.modules())


def test_what_no_step_changes_is_what_is_kept():
    model = network()
    assert [lowest_moved(model, depth, "both", everywhere=False) for depth in (0, 1, 3, 9)] == [3, 2, 0, 0]
    assert lowest_moved(model, 0, "statistics", everywhere=True) == 0
    assert lowest_moved(model, 0, "frozen", everywhere=True) == 3


def test_adapted_norms_have_the_statistics_of_the_pictures_and_the_weights_stay():
    model = network()
    x = torch.rand(2 * ADAPT_BATCH, 3, 8, 8)
    before = {name: tensor.clone() for name, tensor in model.stages.state_dict().items()}
    adapt(model.stages, x)
    first = next(layer for layer in model.stages.modules() if isinstance(layer, BatchNorm))
    with torch.no_grad():
        inputs = model.stages[0][1](model.stages[0][0](x))  # what the first norm sees: no norm is before it
    halves = [half.var((0, 2, 3)) for half in inputs.split(ADAPT_BATCH)]
    assert torch.allclose(first.running_mean, inputs.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(first.running_var, sum(halves) / 2, rtol=1e-4)
    moved = {name for name, tensor in model.stages.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.rsplit(".", 1)[1] for name in moved} == {"running_mean", "running_var", "num_batches_tracked"}
    assert not any(layer.training for layer in model.stages.modules())


def test_every_stage_has_a_rate_and_a_schedule_of_its_own():
    model = network()
    freeze(model, 2, "both", everywhere=False)
    cfg = Config(depth=2, decay=0.5, body_lr=0.4, head_lr=3.0, gradual=True, schedule="constant", steps=8)
    opt, schedule = optimiser(cfg, model)
    peaks = [group["initial_lr"] for group in opt.param_groups]
    assert peaks == [0.4, 0.2, 3.0]
    own = [{id(p) for p in part.parameters()} for part in (model.stages[2], model.stages[1], model.head)]
    assert [{id(p) for p in group["params"]} for group in opt.param_groups] == own
    seen = []
    for _ in range(4):
        seen.append([group["lr"] for group in opt.param_groups])
        opt.step()
        schedule.step()
    assert seen == [[0.4, 0.0, 3.0]] * 2 + [[0.4, 0.2, 3.0]] * 2  # the lower one rests for a quarter
    freeze(model, 0, "both", everywhere=True)
    opt, _ = optimiser(Config(everywhere=True, norm_lr=0.7, head_lr=3.0), model)
    assert {group["initial_lr"] for group in opt.param_groups[:-1]} == {0.7}
    nag, _ = optimiser(Config(optimiser="nag", nag_lr=0.5), network().requires_grad_(False))
    assert nag.defaults["nesterov"]


# Losses


def test_losses_are_their_sums():
    torch.manual_seed(0)
    logits, y = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    for i in range(5):
        scores = logits[i].tolist()
        margin = sum(max(0.0, 1 + s - scores[y[i]]) for j, s in enumerate(scores) if j != y[i])
        assert loss_each(logits, y, "margin")[i].item() == pytest.approx(margin, abs=1e-5)
        logistic = sum(numpy.log1p(numpy.exp(-s if j == y[i] else s)) for j, s in enumerate(scores))
        assert loss_each(logits, y, "logistic")[i].item() == pytest.approx(logistic, abs=1e-5)
    peer = functional.multi_margin_loss(logits, y, reduction="none") * 4
    assert torch.allclose(loss_each(logits, y, "margin"), peer, atol=1e-6)
    assert torch.equal(loss_each(logits, y, "softmax"), functional.cross_entropy(logits, y, reduction="none"))


def test_pseudo_labels_count_where_they_are_sure_and_carry_no_gradient():
    weak = torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.2, 0.0]], requires_grad=True)
    strong = torch.randn(2, 3, requires_grad=True)
    label, sure = pseudo_labels(weak, 0.9)
    assert (label.tolist(), sure.tolist()) == ([0, 1], [True, False])
    loss = pseudo_loss(strong, label, sure)
    assert loss.item() == pytest.approx(-strong.log_softmax(1)[0, 0].item() / 2, abs=1e-6)  # over both pictures
    loss.backward()
    assert weak.grad is None
    assert torch.equal(strong.grad[1], torch.zeros(3))


def test_aligned_probabilities_say_no_class_more_often_than_another():
    torch.manual_seed(0)
    logits = torch.randn(400, 4) + torch.tensor([2.0, 0.0, 0.0, -1.0])
    marginal = Marginal(4)
    for _ in range(200):
        marginal.align(logits.softmax(1))
    assert torch.allclose(marginal.mean, logits.softmax(1).mean(0), atol=1e-5)
    expected = numpy.array([p / marginal.mean.numpy() for p in logits.softmax(1).numpy()])
    expected /= expected.sum(1, keepdims=True)
    assert torch.allclose(marginal.align(logits.softmax(1)), torch.from_numpy(expected), atol=1e-5)
    counts = [torch.bincount(pseudo_labels(logits, 0.0, m)[0], minlength=4).float().std() for m in (None, marginal)]
    assert counts[1] < counts[0] / 2
    first = Marginal(4).align(logits.softmax(1))
    uniform = 0.9 / 4 + 0.1 * logits.softmax(1).mean(0)
    assert torch.allclose(first[0] * (logits[0].softmax(0) / uniform).sum(), logits[0].softmax(0) / uniform, atol=1e-6)


def test_the_weight_of_pictures_without_labels_rises():
    assert [rise(i, 100) for i in (0, 20, 50, 80, 99)] == pytest.approx([0, 0, 0.5, 1, 1])


# Pictures


def test_labels_are_a_share_of_every_class_nested_and_one_at_least():
    y = torch.tensor([0] * 20 + [1] * 10 + [2] * 3)
    rows = {share: labelled_rows(y, share, numpy.random.default_rng(0)) for share in (0.01, 0.1, 0.5, 1.0)}
    counts = {share: torch.bincount(y[found]).tolist() for share, found in rows.items()}
    assert counts == {0.01: [1, 1, 1], 0.1: [2, 1, 1], 0.5: [10, 5, 2], 1.0: [20, 10, 3]}
    for fewer, more in ((0.01, 0.1), (0.1, 0.5), (0.5, 1.0)):
        assert set(rows[fewer].tolist()) <= set(rows[more].tolist())


class Draws:
    def rng(self, *address):
        return numpy.random.default_rng(abs(hash(address)) % 2**32)


def test_pictures_with_labels_without_and_held_out_have_nothing_in_common():
    y = torch.arange(4).repeat_interleave(10)
    known, others, away = split_rows(Config(examples=6, share=0.5, held_out=5), y, Draws())
    assert (len(known), len(others), len(away)) == (12, 12, 5)
    assert len({*known.tolist(), *others.tolist(), *away.tolist()}) == 29
    assert torch.bincount(y[known]).tolist() == [3] * 4


def test_pictures_are_changed_by_chance_alone_and_within_their_range():
    x = torch.rand(6, 3, 16, 16)
    assert augment(x, "none", numpy.random.default_rng(0)) is x
    distances = []
    for strength in ("small", "large"):
        found = augment(x, strength, numpy.random.default_rng(0))
        assert found.shape == x.shape
        assert found.min() >= 0
        assert found.max() <= 1 + 1e-6
        assert torch.equal(found, augment(x, strength, numpy.random.default_rng(0)))
        distances.append((found - x).abs().mean())
    assert distances[0] < distances[1]


def test_cats_are_the_breeds_whose_files_begin_with_a_capital(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("ETUDES_MIRROR", str(tmp_path))
    monkeypatch.setenv("ETUDES_CACHE", str(tmp_path / "cache"))
    names = ["Abyssinian", "Bengal", "american_bulldog"]

    def png(grey):
        file = io.BytesIO()
        Image.new("RGB", (96, 80), (grey,) * 3).save(file, "png")
        return {"bytes": file.getvalue(), "path": None}

    features = datasets.Features(
        image=datasets.Image(),
        label=datasets.ClassLabel(names=names),
        image_id=datasets.Value("string"),
        label_cat_dog=datasets.ClassLabel(names=["cat", "dog"]),
        trimap=datasets.Image(),
    )
    rows = {"image": [png(40 * k) for k in range(3)], "label": [2, 0, 1], "image_id": ["a", "b", "c"]}
    rows |= {"label_cat_dog": [1, 0, 0], "trimap": [png(k) for k in range(3)]}
    folder = tmp_path / "oxford-iiit-pet" / "three-breeds" / "data"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
    breeds = images("three-breeds")
    assert (breeds.labels, breeds.shape) == (tuple(names), (3, 80, 80))
    d = cats_and_dogs(breeds)
    assert d.y.tolist() == rows["label_cat_dog"]
    assert (d.labels, d.classes, len(CATS)) == (("cat", "dog"), 2, 12)
    assert [name.lower() in CATS for name in names] == [name[0].isupper() for name in names]


def test_some_classes_of_a_set_keep_their_pictures_under_new_numbers():
    d = images("digits")
    some = only_classes(d, ("7", "2"))
    assert (some.classes, some.labels) == (2, ("7", "2"))
    assert torch.equal(some.x[some.y == 1], d.x[d.y == 2])
    assert torch.equal(some.test_x[some.test_y == 0], d.test_x[d.test_y == 7])
    assert len({*ANIMALS}) == 28


def test_the_error_counts_every_class_alike():
    class Zeros(nn.Module):
        def forward(self, x):
            return nn.functional.one_hot(torch.zeros(len(x)).long(), 3).float()

    y = torch.tensor([0, 0, 0, 0, 1, 2])
    assert class_error(Zeros(), torch.zeros(6, 1, 2, 2), y) == pytest.approx((2 / 3, 1 / 3))


# The study


def numbers(variant, root, **changes):
    (spec,) = STUDY.plan("smoke", variants=(variant,), seeds=1, **changes)
    execute(STUDY, spec, root)
    return json.loads((root / spec.key / "result.json").read_text())


@pytest.mark.parametrize("variant", ["head", "last-two", "sketches-adapted", "tenth-consistency"])
def test_what_is_kept_gives_what_is_computed_anew(variant, tmp_path):
    kept, anew = (numbers(variant, tmp_path, kept=kept, steps=6) for kept in (True, False))
    assert {name: pytest.approx(value, abs=1e-6) for name, value in kept.items()} == anew


def test_copies_are_as_many_as_asked_for_each_changed_by_chance():
    lower, d = Frozen(nn.Sequential(nn.Flatten())), in_colour(images("digits"))
    rows = torch.arange(5)
    assert augmented_copies(Config(views=3), Draws(), lower, d, rows) is None
    copies = augmented_copies(Config(views=3, augment="small"), Draws(), lower, d, rows)
    assert copies.shape == (3, 5, 3 * 64)
    assert not torch.equal(copies[0], copies[1])
    assert torch.equal(copies, augmented_copies(Config(views=3, augment="small"), Draws(), lower, d, rows))


def test_gains_are_compared_within_a_seed():
    trial = {"a": {"test/error": 0.5}, "b": {"test/error": 0.2}, "c": {"test/error": 0.4}, "d": {"test/error": 0.3}}
    assert larger_gain(("a", "b"), ("c", "d"))(trial) == pytest.approx(0.2)


def test_variants_that_are_compared_differ_in_what_their_names_say():
    def difference(a, b):
        return {field for field in VARIANTS[a] if VARIANTS[a][field] != VARIANTS[b][field]}

    assert difference("last", "head") == {"depth"}
    assert difference("last-two", "last-two-gradual") == {"gradual"}
    assert difference("last-two", "last-two-same") == {"decay"}
    assert difference("cats-adam", "cats-nag") == difference("head", "head-nag") == {"optimiser"}
    assert difference("one", "last-two") == difference("one-head", "head") == {"share"}
    assert difference("tenth-small", "tenth") == {"augment"}
    assert difference("one-aligned", "one-head") == {"unlabelled", "threshold", "aligned"}
    assert difference("one-aligned", "one-any") == {"aligned"}
    assert difference("one-any", "one-sure") == {"threshold"}
    assert difference("sketches-adapted", "sketches") == difference("head-adapted", "head") == {"norms"}
    assert difference("norms-frozen", "norms-statistics") == difference("norms-both", "last-two") == {"norms"}
    assert difference("logistic", "last-two") == difference("margin", "last-two") == {"loss"}
    assert difference("deeper-head", "head") == {"deep"}
