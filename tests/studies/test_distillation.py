import dataclasses
import json

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from etudes.core import Problem
from etudes.core.run import execute
from etudes.data.images import images
from etudes.measure.size import count_parameters
from etudes.studies.labels.distillation import STUDY, Config, transfer_rows
from etudes.studies.labels.distillation.idea import best_offset, objective, shift, soft_targets
from etudes.studies.labels.distillation.networks import LONGEST, constrain, network, outputs, pictures


def draws(n=6, k=5):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (2 * torch.randn(n, k, generator=generator) for _ in range(2))
    return student, teacher, teacher.argmax(1)


class Draws:
    """Of a run, what data and draws ask for."""

    device = torch.device("cpu")

    def rng(self, stream, *index):
        return numpy.random.default_rng([len(stream), *index])

    def note(self, **facts):
        pass

    def result(self, **numbers):
        pass


def test_the_objective_is_the_naive_loop():
    z, v, labels = draws()
    p = soft_targets("teacher", v, labels, 3.0, 0.1, numpy.random.default_rng(0))
    total = 0.0
    for i in range(len(z)):
        q = [torch.exp(a / 3) / torch.exp(z[i] / 3).sum() for a in z[i]]
        soft = sum(p[i, c] * torch.log(p[i, c] / q[c]) for c in range(5))
        hard = -torch.log(torch.exp(z[i, labels[i]]) / torch.exp(z[i]).sum())
        total += 0.8 * 9 * soft + 0.2 * hard
    assert objective(z, p, labels, 3.0, 0.2).item() == pytest.approx(float(total) / len(z), rel=1e-4)


def test_hard_labels_alone_are_plain_training_and_smoothed_ones_are_pytorchs():
    z, v, labels = draws()
    any_target = soft_targets("teacher", v, labels, 3.0, 0.1, numpy.random.default_rng(0))
    assert torch.allclose(objective(z, any_target, labels, 3.0, 1.0), functional.cross_entropy(z, labels))
    target = soft_targets("smoothed", v, labels, 1.0, 0.2, numpy.random.default_rng(0))
    z.requires_grad_()
    ours = torch.autograd.grad(objective(z, target, labels, 1.0, 0.0), z)[0]
    theirs = torch.autograd.grad(functional.cross_entropy(z, labels, label_smoothing=0.2), z)[0]
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_spoilt_targets_keep_how_sure_the_teacher_is_and_nothing_else():
    _, v, labels = draws(n=200, k=10)
    rng = numpy.random.default_rng(0)
    own, permuted, even = (soft_targets(kind, v, labels, 2.0, 0.1, rng) for kind in ("teacher", "permuted", "even"))
    for spoilt in (permuted, even):
        assert torch.allclose(spoilt.sum(1), torch.ones(200))
        assert torch.allclose(spoilt.amax(1), own.amax(1))
        assert torch.equal(spoilt.argmax(1), own.argmax(1))
    assert torch.equal(permuted.sort(1).values, own.sort(1).values)
    assert not torch.allclose(permuted, own)
    rest = [
        [p for c, p in enumerate(row) if c != best] for row, best in zip(even.tolist(), labels.tolist(), strict=True)
    ]
    assert max(max(row) - min(row) for row in rest) < 1e-7
    # Every wrong class is as likely to get the teacher's second choice as any other.
    second = own.topk(2, 1).values[:, 1:]
    assert ((permuted == second).int().argmax(1)).bincount(minlength=10).min() > 5


def test_a_bias_that_is_too_low_is_found():
    z, _, _ = draws(n=400, k=4)
    labels = z.argmax(1)
    wrong = shift(z, (2,), -3.5)
    assert (wrong.argmax(1) != labels).double().mean() > 0.1
    offset = best_offset(wrong, labels, (2,))
    assert offset == pytest.approx(3.5, abs=0.2)
    assert (shift(wrong, (2,), offset).argmax(1) != labels).double().mean() < 0.02
    assert torch.equal(wrong[:, [0, 1, 3]], z[:, [0, 1, 3]])
    with pytest.raises(Problem, match="missing"):
        best_offset(wrong, labels, ())


def test_the_transfer_set_has_its_share_of_the_pictures_and_none_of_what_is_missing():
    labels = torch.arange(100) % 10
    assert len(transfer_rows(Config(transfer=0.03), labels)) == 3
    assert len(transfer_rows(Config(), labels)) == 100
    rows = transfer_rows(Config(missing=(3, 5)), labels)
    assert sorted(labels[rows].unique().tolist()) == [0, 1, 2, 4, 6, 7, 8, 9]
    assert len(rows) == 80


def test_pictures_held_out_are_none_of_those_to_train_on():
    cfg = Config(dataset="digits", held_out=200)
    p = pictures(cfg, Draws())
    whole = images("digits")
    assert len(p.y) == 200
    assert len(p.y) + len(p.d.y) == len(whole.y)
    together = torch.cat([p.x, p.d.x]).flatten(1).tolist()
    assert sorted(together) == sorted(whole.x.flatten(1).tolist())
    with pytest.raises(Problem, match="held out"):
        pictures(dataclasses.replace(cfg, held_out=2000), Draws())


def test_the_teacher_speaks_in_evaluation_mode_with_bounded_weights():
    d = images("digits")
    model = network(d, 50, (0.2, 0.5)).train()
    assert sum(isinstance(m, nn.Dropout) for m in model) == 3
    assert torch.equal(outputs(model, d.x[:50]), outputs(model, d.x[:50]))  # no unit is dropped
    assert torch.allclose(outputs(model, d.x[:50])[:7], outputs(model, d.x[:7]), atol=1e-5)  # no batch's statistics
    assert model.training
    layers = [m for m in model if isinstance(m, nn.Linear)]
    with torch.no_grad():
        for layer in layers:
            layer.weight[0] *= 100
    before = [layer.weight.clone() for layer in layers]
    constrain(model)
    for layer, old in zip(layers[:-1], before, strict=False):
        assert layer.weight[0].norm().item() == pytest.approx(LONGEST, rel=1e-3)
        assert torch.equal(layer.weight[1:], old[1:])
    assert torch.equal(layers[-1].weight, before[-1])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The numbers of some smoke runs of one seed, and their folder."""
    folder = tmp_path_factory.mktemp("runs")
    for spec in STUDY.plan("smoke", variants=("soft", "plain", "no-three"), seeds=1):
        execute(STUDY, spec, folder)
    results = folder.glob("distillation/smoke/*/0-*/result.json")
    return folder, {path.parts[-3]: json.loads(path.read_text()) for path in results}


def test_the_teacher_is_trained_once_for_all(found):
    folder, numbers = found
    assert len([*folder.glob("distillation/smoke/once/teacher/*")]) == 1
    assert len({m["test/error-teacher"] for m in numbers.values()}) == 1
    assert "test/error-corrected" in numbers["no-three"]
    assert "test/error-corrected" not in numbers["soft"]


def test_the_paper_scale_is_the_papers():
    cfg = Config(**STUDY.plan("paper")[0].config)
    mnist = dataclasses.replace(images("digits"), x=torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    assert cfg.dataset == "mnist"
    assert cfg.examples == 0
    assert cfg.jitter == 2
    assert count_parameters(network(mnist, cfg.teacher_width, (0.2, 0.5))) == 2_395_210  # 1200 and 1200 units
    assert count_parameters(network(mnist, cfg.large)) == 1_276_810  # 800 and 800
    assert count_parameters(network(mnist, cfg.small)) == 24_790  # 30 and 30
    temperatures = {v.name: STUDY.config(**v.changes).temperature for v in STUDY.variants}
    assert temperatures["large-20"] == 20
