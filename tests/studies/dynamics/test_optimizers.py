"""The study: what is minimised, how trials become numbers, and what its variants differ in."""

import copy
import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from etudes.core.errors import Problem
from etudes.data.images import images
from etudes.measure.size import count_parameters
from etudes.studies.dynamics.optimizers import STUDY, Config
from etudes.studies.dynamics.optimizers.findings import first_passage, summary
from etudes.studies.dynamics.optimizers.newton import NewtonCG
from etudes.studies.dynamics.optimizers.rules import move, optimiser, restart
from etudes.studies.dynamics.optimizers.tasks import (
    DECADES,
    Pictures,
    Task,
    change_inputs,
    logistic_task,
    minimise,
    network,
    read_pictures,
    split_rows,
)
from etudes.sweep.local import perform


class Draws:
    """Of a run, what data ask for."""

    device = torch.device("cpu")

    def __init__(self, seed=0):
        self.draw, self.metrics = seed, {}

    def seed(self, stream, *index):
        return 10 * self.draw + len(stream)

    def rng(self, stream, *index):
        return np.random.default_rng([self.draw, len(stream), *index])

    def note(self, **facts):
        self.facts = facts

    def result(self, **numbers):
        self.metrics |= numbers


def convex(inputs="pixels"):
    run = Draws()
    return logistic_task(run, read_pictures(run, "digits", 150, 50), inputs, 1e-3)


def test_the_least_convex_loss_is_sklearns():
    task = convex()
    x, y = task.pictures.train
    n = len(x)
    ones = np.hstack([x.flatten(1).numpy(), np.ones((n, 1))])  # a column of ones: the bias is penalised too
    peer = LogisticRegression(C=1 / (1e-3 * n), fit_intercept=False, tol=1e-10, max_iter=5000).fit(ones, y.numpy())
    logits = torch.from_numpy(ones @ peer.coef_.T)
    theirs = functional.cross_entropy(logits, y) + 1e-3 / 2 * float((peer.coef_**2).sum())
    assert task.least == pytest.approx(float(theirs), abs=1e-8)
    assert task.gap() == pytest.approx(math.log(10) - task.least)  # all weights begin at 0


def test_newton_comes_within_1e_8_of_the_least_convex_loss():
    task = convex()
    opt = NewtonCG(task.model.parameters())
    for _ in range(25):
        opt.step(task.objective)
    assert 0 <= task.gap() + 1e-13 < 1e-8


def test_a_least_loss_that_cannot_be_found_is_refused():
    model = torch.nn.Linear(1, 1).double()
    with pytest.raises(Problem, match="raise the penalty"):  # nothing is least of a straight line
        minimise(lambda: model(torch.ones(1, 1, dtype=torch.float64)).sum(), model, 1.0)


def test_parts_are_drawn_under_the_seed_and_do_not_meet():
    d = images("digits")
    kept, apart = split_rows(Draws(1), d, 100, 40)
    assert len(kept) == 100
    assert len(apart) == 40
    assert len({*kept.tolist(), *apart.tolist()}) == 140
    assert not torch.equal(kept, split_rows(Draws(2), d, 100, 40)[0])
    assert len(split_rows(Draws(1), d, 0, 40)[0]) == len(d.x) - 40
    with pytest.raises(Problem, match="too few"):
        split_rows(Draws(1), d, len(d.x), 40)


def test_inputs_are_scaled_over_two_decades_and_turned_without_a_change_of_length():
    scaled, rotated = (change_inputs(Draws(), kind, 64) for kind in ("scaled", "rotated"))
    factors = scaled.diag()
    assert torch.equal(scaled, factors.diag())
    assert factors.max() / factors.min() == pytest.approx(10**DECADES)
    assert torch.allclose(rotated @ rotated.mT, scaled @ scaled.mT)
    assert torch.equal(change_inputs(Draws(), "pixels", 5), torch.eye(5, dtype=torch.float64))


def test_a_turn_changes_neither_the_least_loss_nor_shampoos_path_but_adams():
    tasks = [convex(kind) for kind in ("scaled", "rotated")]
    assert tasks[0].least == pytest.approx(tasks[1].least, abs=1e-12)
    ends = {}
    for rule in ("sgd", "shampoo", "adam"):
        for task in tasks:
            model = copy.deepcopy(task.model)
            mine = dataclasses.replace(task, model=model)
            opt = optimiser(rule, model, 1, 0, "none", 1)
            restart(opt, copy.deepcopy(opt.state_dict()), 0.1)
            for _ in range(5):
                move(opt, mine.objective, 0.0, False, 1e3)
            ends.setdefault(rule, []).append(mine.gap())
    for rule in ("sgd", "shampoo"):
        assert ends[rule][0] == pytest.approx(ends[rule][1], rel=1e-6), rule
    assert abs(ends["adam"][0] - ends["adam"][1]) > 0.01


def test_losses_of_a_split_are_those_of_a_loop():
    task = convex()
    torch.nn.init.normal_(task.model[1].weight)
    x, y = task.pictures.validation
    loss, error = task.losses(task.pictures.validation)
    each = [functional.cross_entropy(task.model(p[None]), label[None]).item() for p, label in zip(x, y, strict=True)]
    assert loss == pytest.approx(np.mean(each))
    assert error == pytest.approx(np.mean([int(task.model(p[None]).argmax() != c) for p, c in zip(x, y, strict=True)]))


def test_rows_of_the_objective_are_those_asked_for():
    task = convex()
    torch.nn.init.normal_(task.model[1].weight)
    rows = torch.tensor([3, 5])
    x, y = task.pictures.train
    twice = Task(task.model, Pictures((x[rows], y[rows]), *[task.pictures.test] * 2, 10), mu=task.mu)
    assert float(task.objective(rows).detach()) == pytest.approx(float(twice.objective().detach()))


@pytest.mark.parametrize(
    ("kind", "size", "shape", "count"),
    [
        ("logistic", "small", (1, 8, 8), 650),
        ("mlp", "small", (1, 8, 8), 64 * 32 + 32 + 32 * 32 + 32 + 320 + 10),
        ("cnn", "small", (1, 8, 8), 9 * 8 + 8 + 9 * 8 * 16 + 16 + 640 + 10),
        ("cnn", "resnet20", (3, 32, 32), 272_282),
        ("cnn", "resnet32", (3, 32, 32), 466_714),
    ],
)
def test_networks_have_their_parameters(kind, size, shape, count):
    model = network(kind, size, shape, 10, 32)
    assert count_parameters(model) == count
    number = next(model.parameters()).dtype
    assert model(torch.rand(2, *shape, dtype=number)).shape == (2, 10)


def test_first_passages_are_read_off_a_straight_line_of_logarithms():
    losses = np.array([[1.0, 0.1, 0.001], [1.0, 1.0, 0.5], [0.001, 1.0, 1.0]])
    costs = np.tile([10.0, 20.0, 30.0], (3, 1))
    found = first_passage(losses, 0.01, 1.0, costs)
    assert found[0] == pytest.approx(25)
    assert found[1] == math.inf
    assert found[2] == pytest.approx(10 * 2 / 3)


def test_a_summary_counts_as_by_hand():
    losses = np.array([[1.0, 0.5], [0.5, 0.01], [0.1, 0.2]])
    costs = np.tile([5.0, 10.0], (3, 1)) / 2
    found = summary(losses, costs, 5, 1.0, 0.1)
    assert found["train/steps-to-target"] == 5
    assert found["train/passes-to-target"] == 2.5
    assert found["train/reached"] == pytest.approx(2 / 3)
    assert found["train/rates-near-best"] == 2
    assert found["train/best-rate"] == 2
    assert found["train/loss"] == 0.01
    assert found["train/loss-early"] == 0.1


def test_a_rule_that_never_arrives_counts_all_that_it_had():
    found = summary(np.ones((2, 3)), np.tile([1.0, 2.0, 3.0], (2, 1)), 5, 1.0, 0.1)
    assert found["train/steps-to-target"] == 15
    assert found["train/passes-to-target"] == 3
    assert found["train/reached"] == found["train/rates-near-best"] == 0


def results(variant, root, **changes):
    """The result of a short run of one variant."""
    (spec,) = STUDY.plan("smoke", variants=(variant,), seeds=1, **changes)
    (outcome,) = perform(STUDY, [spec], root)
    assert outcome.status == "done"
    return json.loads((root / spec.key / "result.json").read_text())


def test_a_rate_that_is_too_high_loses_its_trial_alone(tmp_path):
    found = results("mlp-sgd", tmp_path, rate=30.0, trials=6)
    assert math.isfinite(found["train/loss"])
    assert found["train/best-rate"] < 6


def test_all_rules_have_as_many_trials_and_all_but_newton_as_many_steps():
    configs = [Config(**spec.config) for spec in STUDY.plan("laptop", seeds=1)]
    assert len({cfg.trials for cfg in configs}) == 1
    for task in ("logistic", "mlp", "cnn"):
        lengths = {cfg.duration for cfg in configs if cfg.task == task and cfg.rule != "newton"}
        assert len(lengths) <= 1, task
