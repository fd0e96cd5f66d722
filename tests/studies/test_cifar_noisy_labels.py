import dataclasses

import numpy
import pytest
import torch
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.core.run import execute
from etudes.data.images import images
from etudes.studies.labels.cifar_noisy_labels import (
    STUDY,
    generalised_cross_entropy,
    lookalikes,
    network,
    training_labels,
)


def batch(n=40, classes=7, scale=3.0):
    chance = numpy.random.default_rng(0)
    logits = torch.from_numpy(scale * chance.normal(size=(n, classes))).float()
    return logits, torch.from_numpy(chance.integers(classes, size=n))


@pytest.mark.parametrize("q", [0.1, 0.5, 0.7, 1.0])
def test_the_loss_is_the_naive_loop(q):
    logits, labels = batch()
    losses = []
    for row, label in zip(logits.double().numpy(), labels.tolist(), strict=True):
        p = numpy.exp(row[label]) / numpy.exp(row).sum()
        losses.append((1 - p**q) / q)
    assert generalised_cross_entropy(logits, labels, q).item() == pytest.approx(numpy.mean(losses), rel=1e-5)


def test_its_ends_are_cross_entropy_and_half_the_mean_absolute_error():
    logits, labels = batch()
    entropy = functional.cross_entropy(logits, labels)
    assert torch.allclose(generalised_cross_entropy(logits, labels, 0), entropy)
    assert generalised_cross_entropy(logits, labels, 1e-6).item() == pytest.approx(entropy.item(), rel=1e-4)
    absolute = (functional.one_hot(labels, 7) - logits.softmax(1)).abs().sum(1).mean()
    assert torch.allclose(generalised_cross_entropy(logits, labels, 1), absolute / 2)


@pytest.mark.parametrize("q", [0.0, 0.3, 0.7, 1.0])
def test_its_gradient_is_that_of_cross_entropy_weighted_by_p_to_the_q(q):
    logits, labels = batch()
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(generalised_cross_entropy(logits, labels, q), logits)
    p = logits.detach().softmax(1)
    weight = p.gather(1, labels[:, None]) ** q
    assert torch.allclose(gradient, weight * (p - functional.one_hot(labels, 7)) / len(labels), atol=1e-7)


def test_in_half_precision_it_is_computed_in_single():
    logits, labels = batch()
    ours = generalised_cross_entropy(logits.bfloat16(), labels, 0.7)
    assert ours.dtype == torch.float32
    assert ours.equal(generalised_cross_entropy(logits.bfloat16().float(), labels, 0.7))


def test_a_hopeless_label_leaves_a_finite_loss_and_hardly_a_gradient():
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    loss = generalised_cross_entropy(logits, torch.tensor([1]), 0.7)
    loss.backward()
    assert loss.item() == pytest.approx(1 / 0.7)
    assert logits.grad.abs().max() < 1e-20


def test_classes_are_mistaken_as_in_the_papers_or_for_the_next():
    digits = images("digits")
    assert lookalikes(digits) == {c: (c + 1) % 10 for c in range(10)}
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    pairs = {
        names[a]: names[b]
        for a, b in lookalikes(dataclasses.replace(digits, name="cifar10", labels=tuple(names))).items()
    }
    assert pairs == {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}


class Draws:
    def rng(self, stream, *index):
        return numpy.random.default_rng(0)


def config(variant, scale="smoke", **changed):
    return dataclasses.replace(STUDY.config(**STUDY.plan(scale, variants=[variant])[0].config), **changed)


def test_labels_are_wrong_where_the_variant_says_so():
    rows = torch.arange(500)
    d = images("digits").take(rows)
    assert training_labels(config("gce"), d, rows, Draws()).equal(d.y)
    symmetric = training_labels(config("ce-symmetric-50"), d, rows, Draws())
    assert 0.35 < (symmetric != d.y).double().mean() <= 0.5
    asymmetric = training_labels(config("ce-asymmetric-40"), d, rows, Draws())
    wrong = asymmetric != d.y
    assert asymmetric[wrong].equal((d.y[wrong] + 1) % 10)
    for c in range(10):
        assert wrong[d.y == c].sum() == round(0.4 * int((d.y == c).sum()))


def test_own_labels_must_exist():
    d, rows = images("digits"), torch.arange(10)
    with pytest.raises(Problem, match="no asymmetric noise"):
        training_labels(config("ce-asymmetric-20", labels="own"), d, rows, Draws())
    with pytest.raises(Problem, match=r"0\.25"):
        training_labels(config("ce-symmetric-80", labels="own"), d, rows, Draws())
    with pytest.raises(Problem, match="imagenette"):
        training_labels(config("ce-symmetric-50", labels="own"), d, rows, Draws())


def test_a_run_without_that_noise_says_so(tmp_path):
    spec = STUDY.plan("smoke", variants=["gce-asymmetric-20"], labels="own")[0]
    with pytest.raises(Problem, match="--variants"):
        execute(STUDY, spec, tmp_path)


def test_the_imagenette_scale_asks_for_shares_that_exist():
    from etudes.data.noisy import SHARES

    plan = STUDY.plan("imagenette")
    assert {spec.config["noise"] for spec in plan} == {0.0, 0.25, 0.5}
    assert all(
        spec.config["noise"] in SHARES and spec.config["kind"] == "symmetric" and spec.config["dataset"] == "imagenette"
        for spec in plan
    )


def test_variants_differ_in_what_their_names_say():
    for variant in STUDY.variants:
        cfg = config(variant.name)
        loss, *noise = variant.name.split("-")
        assert cfg.q == {"ce": 0, "gce": 0.7}[loss]
        assert (noise or ["symmetric", "0"]) == [cfg.kind, str(round(100 * cfg.noise))]


def test_the_paper_scale_is_the_papers():
    cfg = config("gce-symmetric-50", "paper")
    assert cfg.steps == 120 * 50_000 / 128
    assert (cfg.batch, cfg.lr, cfg.momentum, cfg.weight_decay) == (128, 0.01, 0.9, 1e-4)
    assert (cfg.q, cfg.augment, cfg.examples, cfg.schedule) == (0.7, True, 0, "decay")
    d = images("digits")
    depth = sum(isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3) for m in network(cfg, d).modules())
    assert depth + 1 == 34  # the last layer is linear


@pytest.mark.parametrize(
    ("changed", "says"), [({"q": 1.5}, "between 0 and 1"), ({"kind": "pairflip"}, "asymmetric"), ({"side": 4}, "8")]
)
def test_bad_settings_are_told_in_one_sentence(changed, says):
    with pytest.raises(Problem, match=says) as told:
        STUDY.plan("smoke", variants=["gce"], **changed)
    assert "\n" not in str(told.value)
