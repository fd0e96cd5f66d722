import copy
import dataclasses
import math

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from etudes.core import Problem
from etudes.studies.adapt.unlearning import STUDY, Config
from etudes.studies.adapt.unlearning.examples import Examples, batches, read, split_rows
from etudes.studies.adapt.unlearning.findings import (
    Reference,
    errors,
    few_rows,
    leftovers,
    probabilities,
    relearning,
    traces,
)
from etudes.studies.adapt.unlearning.findings import divergence as distance
from etudes.studies.adapt.unlearning.idea import free_answer, freeze, most_salient, redraw, saliency
from etudes.studies.adapt.unlearning.losses import ascent, divergence, penalty, random_labels
from etudes.studies.adapt.unlearning.networks import network

CONFIG = Config(dataset="digits", examples=20, held_out=20, width=2, features=6, shots=3, probes=2, relearning_steps=6)


class Draws:
    """Of a run, what data and measures ask for."""

    device = torch.device("cpu")

    def seed(self, stream, *index):
        return abs(hash((stream, index))) % 1000

    def rng(self, stream, *index):
        return numpy.random.default_rng([len(stream), *index])

    def note(self, **facts):
        self.facts = facts


def model_and_pictures():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.ReLU(), nn.Linear(4, 3))
    return model, torch.rand(30, 1, 3, 3)


@pytest.mark.parametrize("kind", ["product", "fisher", "gradient"])
def test_saliency_is_a_loop_over_pictures(kind):
    model, x = model_and_pictures()
    found = saliency(model, x, 1, kind, numpy.random.default_rng(0))
    expected = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for picture in x:
        logits = model(picture[None])[0]
        number = logits[1] if kind == "product" else functional.log_softmax(logits, 0)[1]
        slopes = torch.autograd.grad(number, list(model.parameters()))
        for (name, p), slope in zip(model.named_parameters(), slopes, strict=True):
            each = {"product": (p * slope).abs(), "fisher": slope**2, "gradient": slope}[kind]
            expected[name] += each.detach() / len(x)
    for name, total in expected.items():
        assert torch.allclose(found[name], total.abs(), atol=1e-6)
    if kind == "product":  # the row of another class has nothing to do with this logit
        assert (found["3.weight"][[0, 2]] == 0).all()
    with pytest.raises(Problem, match="there are none"):
        saliency(model, x[:0], 1, kind, numpy.random.default_rng(0))


def test_the_most_salient_are_as_many_as_asked_for_over_all_layers():
    scores = {"a": torch.tensor([[0.9, 0.1], [0.5, 0.5]]), "b": torch.tensor([0.5, 0.7, 0.0, 0.2])}
    mask = most_salient(scores, 0.5)
    assert mask["a"].tolist() == [[1, 0], [1, 1]]  # of equal ones the first
    assert mask["b"].tolist() == [0, 1, 0, 0]
    assert all((part == 0).all() for part in most_salient(scores, 0).values())
    assert all((part == 1).all() for part in most_salient(scores, 1).values())


def test_drawing_anew_changes_the_chosen_weights_alone():
    model, x = model_and_pictures()
    before, fresh = copy.deepcopy(model), copy.deepcopy(model).apply(lambda m: getattr(m, "reset_parameters", int)())
    mask = most_salient(saliency(model, x, 1, "product", numpy.random.default_rng(0)), 0.3)
    redraw(model, fresh, mask)
    for name, weight in model.named_parameters():
        old, new = before.get_parameter(name), fresh.get_parameter(name)
        assert torch.equal(weight[mask[name] == 1], new[mask[name] == 1])
        assert torch.equal(weight[mask[name] == 0], old[mask[name] == 0])
    assert sum(int(part.sum()) for part in mask.values()) == round(0.3 * 55)


def test_frozen_weights_do_not_move_and_the_new_answer_is_free():
    model, x = model_and_pictures()
    before = copy.deepcopy(model)
    mask = most_salient(saliency(model, x, 1, "product", numpy.random.default_rng(0)), 0.2)
    mask = free_answer(model, mask, 2)
    assert (mask["3.weight"][2] == 1).all()
    assert mask["3.bias"][2] == 1
    freeze(model, mask)
    opt = torch.optim.Adam(model.parameters(), 0.1)
    for _ in range(5):
        opt.zero_grad()
        functional.cross_entropy(model(x), torch.full((30,), 2)).backward()
        opt.step()
    for name, weight in model.named_parameters():
        moved = weight != before.get_parameter(name)
        assert not moved[mask[name] == 0].any()
    assert (model[3].weight != before[3].weight)[2].any()


def test_losses_of_forgetting_by_loops():
    torch.manual_seed(1)
    logits, teacher = torch.randn(5, 4), torch.randn(5, 4)
    p, q = logits.softmax(1), teacher.softmax(1)
    assert penalty(logits, 2).item() == pytest.approx(-sum(math.log(1 - row[2]) for row in p) / 5, rel=1e-5)
    assert ascent(logits, 2).item() == pytest.approx(sum(math.log(row[2]) for row in p) / 5, rel=1e-5)
    pairs = [(float(a), float(b)) for a, b in zip(p.flatten(), q.flatten(), strict=True)]
    by_hand = sum(b * math.log(b / a) for a, b in pairs) / 5
    assert divergence(logits, teacher).item() == pytest.approx(by_hand, rel=1e-5)
    less = q.clone()
    less[:, 2] = 0
    less = less / less.sum(1, keepdim=True)
    pairs = [(float(a), float(b)) for a, b in zip(p.flatten(), less.flatten(), strict=True)]
    by_hand = sum(b * math.log(b / a) for a, b in pairs if b > 0)
    assert divergence(logits, teacher, 2).item() == pytest.approx(by_hand / 5, rel=1e-5)
    sure = torch.tensor([[50.0, 0, 0, 0]], requires_grad=True)
    penalty(sure, 0).backward()
    assert torch.isfinite(sure.grad).all()


def test_random_labels_are_never_the_class_itself():
    logits = torch.full((2000, 4), -40.0)
    logits[:, 2] = 40
    loss = random_labels(logits, 2, numpy.random.default_rng(0))
    assert loss.item() == pytest.approx(80, abs=1e-3)  # each label is one of the other three
    even = torch.zeros(3000, 4)
    even[:, 0] = 1
    share = (even.logsumexp(1)[0] - random_labels(even, 2, numpy.random.default_rng(0))).item()
    assert share == pytest.approx(1 / 3, abs=0.03)


def test_the_distance_of_answers_is_the_jensen_shannon_divergence_in_bits():
    one, two = torch.tensor([[1.0, 0.0], [0.25, 0.75]]), torch.tensor([[0.0, 1.0], [0.25, 0.75]])
    assert distance(one, two) == pytest.approx(0.5)
    assert distance(two, two) == pytest.approx(0, abs=1e-12)
    peer = pytest.importorskip("scipy.spatial.distance")
    p, q = torch.rand(6, 5).softmax(1), torch.rand(6, 5).softmax(1)
    by_peer = [peer.jensenshannon(a.numpy(), b.numpy(), 2) ** 2 for a, b in zip(p, q, strict=True)]
    assert distance(p, q) == pytest.approx(sum(by_peer) / 6, rel=1e-4)


def test_no_picture_is_both_learnt_from_and_held_out():
    y = torch.arange(10).repeat(30)
    held, kept = split_rows(y, 8, 12, Draws())
    assert not {*held.tolist()} & {*kept.tolist()}
    assert y[held].bincount().tolist() == [8] * 10
    assert y[kept].bincount().tolist() == [12] * 10
    assert len(split_rows(y, 8, 0, Draws())[1]) == 220
    with pytest.raises(Problem, match="more than the 30 of a class"):
        split_rows(y, 20, 12, Draws())


def test_unlearning_is_shown_few_retained_pictures_and_no_other_class_among_them():
    d = read(CONFIG, Draws())
    shown = batches(dataclasses.replace(CONFIG, rehearsed=2, batch=16), Draws(), d)
    seen = torch.cat([shown("retained", i)[0] for i in range(20)])
    assert len(seen.unique(dim=0)) == 8 * 2
    assert {*torch.cat([shown("retained", i)[1] for i in range(9)]).tolist()} == {0, 1, 2, 4, 5, 7, 8, 9}
    assert shown("new", 0)[1].tolist() == [3] * 4
    assert shown("old", 0)[1].tolist() == [6] * 4
    with pytest.raises(Problem, match="two classes"):
        read(dataclasses.replace(CONFIG, learns=6), Draws())


def separated(features):
    """Pictures of one pixel a class, and a network whose features are the pixels or say nothing."""
    y = torch.arange(10).repeat(12)
    x = torch.eye(10)[y][:, None, None] + 0.01 * torch.rand(120, 1, 1, 10, generator=torch.Generator().manual_seed(0))
    d = Examples(x, y, x, y, x, y, 10, torch.zeros(1), torch.ones(1))
    last = nn.Linear(10, 10, bias=False)
    last.weight.data = 9 * torch.eye(10)
    first = nn.Flatten() if features else nn.Sequential(nn.Flatten(), nn.Linear(10, 10, bias=False))
    model = nn.Sequential(first, last)
    if not features:
        first[1].weight.data = torch.zeros(10, 10)
    return model, d


def test_a_dropped_logit_forgets_nothing_but_the_answer():
    model, d = separated(features=True)
    cfg = dataclasses.replace(CONFIG, dropped=True)
    found = errors(cfg, model, d)
    assert found["test/named"] == 0
    assert found["test/error-retained"] == 0
    assert errors(CONFIG, model, d)["test/named"] == 1
    assert (probabilities(model, d.test_x, 6)[:, 6] == 0).all()
    assert traces(cfg, Draws(), model, d) == traces(CONFIG, Draws(), model, d)
    assert traces(cfg, Draws(), model, d)["test/probe"] == 1


def test_the_traces_of_a_network_without_features_are_chance():
    model, d = separated(features=False)
    found = traces(CONFIG, Draws(), model, d)
    assert found["test/probe"] == 0.5
    assert found["test/membership"] == 0.5
    own = Reference(probabilities(model, d.test_x), found)
    beside = leftovers(CONFIG, Draws(), model, d, [own])
    assert [beside[f"test/{name}-excess"] for name in ("probe", "relearning", "membership")] == [0, 0, 0]
    assert beside["test/divergence-forgotten"] == pytest.approx(0, abs=1e-9)


def test_relearning_leaves_the_network_as_it_was_and_finds_what_is_there():
    model, d = separated(features=True)
    before = copy.deepcopy(model.state_dict())
    assert relearning(CONFIG, Draws(), model, d) == 1
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert few_rows(d.y, 3, numpy.random.default_rng(0)).numel() == 30


def test_the_features_are_all_but_the_last_layer_of_either_network():
    d = read(CONFIG, Draws())
    for kind, size in (("small", 6), ("resnet18", 16)):
        model = network(dataclasses.replace(CONFIG, network=kind), d).eval()
        features = model[:-1](d.test_x[:3])
        assert features.shape == (3, size)
        assert torch.allclose(model[-1](features), model(d.test_x[:3]))


def test_variants_that_are_compared_differ_in_what_they_say():
    config = {spec.variant: spec.config for spec in STUDY.plan("laptop", seeds=1)}

    def differences(a, b):
        return {name for name in config[a] if config[a][name] != config[b][name]}

    assert differences("rehearsal", "rehearsal-random") == {"weights"}
    assert differences("rehearsal", "rehearsal-fisher") == {"weights"}
    assert differences("course", "rehearsal") == {"rehearsal", "lr"}
    assert differences("redraw", "redraw-random") == {"weights"}
    assert differences("redraw", "redraw-all") == {"weights", "share"}
    assert differences("redraw", "redraw-none") == {"weights", "share", "draws"}
    assert all(c["forgetting"] == "none" for name, c in config.items() if name.startswith("redraw"))
    assert len({c["steps"] for c in config.values()}) == 1


def test_the_paper_scale_is_the_papers_network_and_data():
    config = STUDY.config(**STUDY.plan("paper", variants=["salun"])[0].config)
    assert (config.dataset, config.network, config.width, config.share) == ("cifar10", "resnet18", 64, 0.5)


def test_spoken_digits_are_read_as_pictures_of_mel_bands():
    try:
        d = read(Config(dataset="spoken-digits", examples=200, held_out=70), Draws())
    except Problem as absent:
        pytest.skip(str(absent))
    assert d.x.shape == (2000, 1, 32, 31)
    assert d.held_y.bincount().tolist() == [70] * 10
    assert len(d.test_x) == 300
    assert torch.isfinite(d.x).all()
