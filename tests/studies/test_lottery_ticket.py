import dataclasses

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune as peer

from etudes.core import Problem
from etudes.core.record import load
from etudes.core.run import Run, execute
from etudes.data.batches import Batches
from etudes.data.images import images
from etudes.measure.size import count_parameters
from etudes.studies.dynamics.lottery_ticket import STUDY, Config, beginning, masks_at
from etudes.studies.dynamics.lottery_ticket.idea import join, layer_counts, prune, shuffle, ticket
from etudes.studies.dynamics.lottery_ticket.networks import network, optimiser
from etudes.studies.dynamics.lottery_ticket.training import (
    Examples,
    Kept,
    check,
    load_states,
    moments,
    outcome,
    save_states,
    watch,
)
from etudes.train import pruning
from etudes.train.arithmetic import state

LENET = {"2.weight": 300 * 784, "4.weight": 100 * 300, "6.weight": 10 * 100}
TINY = Config(**STUDY.plan("smoke")[0].config)


class Draws:
    """Of a run, what data and draws ask for."""

    device = torch.device("cpu")

    def seed(self, stream, *index):
        return 1 + len(stream) + sum(index)

    def rng(self, stream, *index):
        return numpy.random.default_rng(self.seed(stream, *index))

    def log(self, step, **numbers):
        self.lines = [*getattr(self, "lines", []), (step, numbers)]

    def note(self, **facts):
        self.facts = facts

    def result(self, **numbers):
        self.numbers = numbers


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Where the smoke scale's ticket and late rewinding of one seed were run."""
    folder = tmp_path_factory.mktemp("runs")
    for spec in STUDY.plan("smoke", variants=("ticket", "late-rewinding"), seeds=1):
        execute(STUDY, spec, folder)
    return folder


def states_and_masks(root, start):
    once = root / "lottery-ticket" / "smoke" / "once"
    (dense,), (chain,) = once.glob("dense/*"), once.glob(f"chain-{start}/*")
    run = Draws()
    return load_states(dense / "states.safetensors", run), load_states(chain / "masks.safetensors", run)


def test_the_papers_network_has_its_number_of_weights():
    paper = Config(**STUDY.plan("paper")[0].config)
    mnist = dataclasses.replace(images("digits"), x=torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    model = network(paper, mnist)
    assert count_parameters(model) == 266_610
    weights = pruning.prunable(model)
    assert {name: w.numel() for name, w in weights.items()} == LENET
    for w in weights.values():  # Glorot's variance
        assert w.var().item() == pytest.approx(2 / sum(w.shape), rel=0.15)
    assert all(p.abs().max() == 0 for name, p in model.named_parameters() if name.endswith("bias"))


def test_deep_networks_are_as_large_as_they_are_said_to_be_and_no_normalisation_is_pruned():
    colour = dataclasses.replace(images("digits"), x=torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    for scale, layers, parameters in (("conv", 8, 205_274), ("paper-conv", 22, 272_282)):
        model = network(Config(**STUDY.plan(scale)[0].config), colour)
        assert count_parameters(model) == parameters
        weights = pruning.prunable(model)
        assert len(weights) == layers  # the residual network's 20 and two on shortcuts
        assert all(w.ndim in (2, 4) for w in weights.values())


def test_the_papers_rounds_leave_what_it_says_they_leave():
    rounds = layer_counts(LENET, tuple(0.8**k for k in range(1, 16)))
    share = {k: sum(rounds[k - 1].values()) / 266_200 for k in (7, 15)}
    assert share == {7: pytest.approx(0.211, abs=5e-4), 15: pytest.approx(0.036, abs=5e-4)}  # figs. 1 and 4
    exact = dict.fromkeys(LENET, 1.0)
    for counts in rounds:
        for name in exact:
            exact[name] *= 0.9 if name == "6.weight" else 0.8
            assert counts[name] == round(exact[name] * LENET[name])


def test_rounds_that_do_not_prune_are_refused():
    for remaining in ((0.5, 0.5), (1.0,), (0.5, 0.6), (0.2, 0.0)):
        with pytest.raises(Problem, match="smaller share above 0"):
            layer_counts(LENET, remaining)


def test_a_ticket_is_what_a_loop_over_weights_makes_of_it():
    start = {"w": torch.randn(3, 4), "b": torch.randn(3)}
    mask = torch.rand(3, 4) < 0.5
    found = ticket(start, {"w": mask})
    for i in range(3):
        for j in range(4):
            assert found["w"][i, j] == (start["w"][i, j] if mask[i, j] else 0)
    assert torch.equal(found["b"], start["b"])
    assert found["b"] is not start["b"]


def test_joined_weights_have_the_signs_of_one_and_the_magnitudes_of_the_other():
    a, b = torch.tensor([-2.0, 3.0, 0.0, -1.0]), torch.tensor([5.0, -7.0, -4.0, 0.0])
    assert join({"w": a}, {"w": b})["w"].tolist() == [-5.0, 7.0, 4.0, 0.0]


def test_shuffled_masks_keep_as_many_of_each_layer_and_others():
    masks = {"a": torch.arange(100).view(10, 10) < 30, "b": torch.arange(50) < 7}
    found = shuffle(masks, torch.Generator().manual_seed(0))
    assert pruning.counts(found) == {"a": 30, "b": 7}
    assert 0.4 < pruning.difference(masks, found) < 0.95


def test_global_pruning_keeps_the_share_of_all_layers_together():
    weights = {"a": torch.full((10, 10), 0.1), "b": torch.arange(1.0, 51.0)}
    masks = prune(weights, (0.5, 0.2), 1, layerwise=False)
    assert pruning.counts(masks) == {"a": 0, "b": 30}
    assert masks["b"].tolist() == [False] * 20 + [True] * 30


@pytest.mark.parametrize("start", ["initial", "late"])
def test_rounds_prune_what_the_round_before_has_trained_and_stay_within_its_masks(root, start):
    states, masks = states_and_masks(root, start)
    model = network(TINY, Examples(TINY, Draws()).d)
    weights = {name: w.numel() for name, w in pruning.prunable(model).items()}
    counts = layer_counts(weights, TINY.remaining)
    for name, n in weights.items():
        layer = nn.Linear(1, 1)
        layer.weight = nn.Parameter(states["final"][name])
        peer.l1_unstructured(layer, "weight", amount=n - counts[0][name])
        assert torch.equal(masks["0"][name], layer.weight_mask.bool())
    for k in range(len(TINY.remaining)):
        assert pruning.counts(masks[str(k)]) == counts[k]
        assert k == 0 or not any((masks[str(k)][name] & ~masks[str(k - 1)][name]).any() for name in weights)
    assert not torch.equal(states["initial"]["2.weight"], states["late"]["2.weight"])


@pytest.mark.parametrize(("start", "done"), [("initial", 0), ("late", 1)])
def test_a_round_is_a_plain_loop_of_pytorch(root, start, done):
    """Batches, Adam, a mask in the forward pass, looks at validation, and the test error of the best and of step 2."""
    variant = {"initial": "ticket", "late": "late-rewinding"}[start]
    spec = STUDY.plan("smoke", variants=(variant,), seeds=1)[0]
    run, cfg = object.__new__(Run), Config(**spec.config)
    run.spec, run.metrics, run.facts, run.leader = spec, {}, {}, True
    run.__dict__["device"] = torch.device("cpu")
    e, (states, masks) = Examples(cfg, run), states_and_masks(root, start)
    model = network(cfg, e.d)
    model.load_state_dict(states[start])
    for i, name in ((2, "2.weight"), (4, "4.weight"), (6, "6.weight")):
        peer.custom_from_mask(model[i], "weight", masks["0"][name])
    opt = torch.optim.Adam(model.parameters(), cfg.lr)
    order, looks = Batches(len(e.d.y), cfg.batch, run.seed("order")), {}
    for i in range(done, cfg.steps):
        rows = order.at(i)
        opt.zero_grad()
        functional.cross_entropy(model(e.d.x[rows] / 255), e.d.y[rows]).backward()
        opt.step()
        with torch.no_grad():
            loss = functional.cross_entropy(model(e.x / 255), e.y).item()
            error = (model(e.d.test_x / 255).argmax(1) != e.d.test_y).double().mean().item()
        looks[i + 1] = loss, error
    (record,) = load([spec], root)
    assert record.metrics["test/error-early-21"] == looks[2][1]
    assert record.metrics["test/error-21"] == min(looks[2], looks[4])[1]
    assert record.metrics["validation/best-step-21"] == min((2, 4), key=lambda k: looks[k])


def test_all_variants_begin_and_end_as_they_should(root):
    """The dense network's numbers are all variants', and chains differ once they are trained from elsewhere."""
    ticket_run, late = load(STUDY.plan("smoke", variants=("ticket", "late-rewinding"), seeds=1), root)
    assert ticket_run.metrics["test/error-100"] == late.metrics["test/error-100"]
    assert ticket_run.metrics["train/weights-21"] == late.metrics["train/weights-21"]
    assert {line["step"] for line in ticket_run.log} == {2, 4}
    assert ticket_run.log != late.log


def test_drawn_anew_is_another_draw_of_the_same_kind_under_the_same_mask(root, monkeypatch):
    run = Draws()
    e, (states, masks) = Examples(TINY, run), states_and_masks(root, "initial")
    found = [masks[str(k)] for k in range(3)]
    module = "etudes.studies.dynamics.lottery_ticket"
    monkeypatch.setattr(f"{module}.chain", lambda *_: (None, found))
    begin = {
        w: beginning(dataclasses.replace(TINY, weights=w), run, e, states) for w in ("redrawn", "signs", "magnitudes")
    }
    w0, drawn = states["initial"]["2.weight"], begin["redrawn"]["2.weight"]
    assert (w0 != drawn).all()
    assert torch.equal(begin["signs"]["2.weight"].sign(), w0.sign())
    assert torch.equal(begin["signs"]["2.weight"].abs(), drawn.abs())
    assert torch.equal(begin["magnitudes"]["2.weight"].sign(), drawn.sign())
    assert torch.equal(begin["magnitudes"]["2.weight"].abs(), w0.abs())
    same = masks_at(dataclasses.replace(TINY, weights="redrawn"), run, e, states, 0.086)
    assert all(torch.equal(same[name], found[1][name]) for name in same)
    chance = masks_at(dataclasses.replace(TINY, masks="random"), run, e, states, 0.086)
    assert pruning.counts(chance) == pruning.counts(same)
    assert pruning.difference(chance, same) > 0.3


def test_an_early_mask_is_drawn_when_it_no_longer_changes():
    cfg = dataclasses.replace(TINY, remaining=(0.5,), compared=(0.5,), settled=0.2, layerwise=False, steps=100)
    model, kept, run = nn.Linear(10, 1, bias=False), Kept(), Draws()

    def look(weights, done):
        with torch.no_grad():
            model.weight.copy_(torch.tensor([weights]))
        watch(cfg, run, model, kept, done)

    look([5.0] * 5 + [1.0] * 5, 10)
    assert "bird" not in kept.states
    look([1.0] * 5 + [5.0] * 5, 20)  # all of the mask is another
    assert "bird" not in kept.states
    look([1.0] * 5 + [7.0] * 5, 30)
    assert kept.numbers["bird"] == 30
    look([9.0] * 10, 40)  # later looks change nothing
    assert [numbers["train/mask-change"] for _, numbers in run.lines] == [1, 1, 0, 1]
    assert kept.numbers["bird"] == 30
    assert kept.states["bird"]["weight"].max() == 7
    again = Kept()
    again.load_state_dict(kept.state_dict())
    assert again.numbers == kept.numbers


def test_deep_networks_are_pruned_together_and_rewound_with_their_statistics(tmp_path):
    colour = dataclasses.replace(images("digits"), x=torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    cfg = Config(**STUDY.plan("conv")[0].config | {"width": 4})
    model = network(cfg, colour).to(memory_format=torch.channels_last)
    weights = dict(pruning.prunable(model))
    masks = prune(weights, cfg.remaining, 1, cfg.layerwise)
    assert sum(pruning.counts(masks).values()) == round(0.21 * sum(w.numel() for w in weights.values()))
    before = state(model, buffers=True)
    assert any(name.endswith("running_var") for name in before)
    save_states(tmp_path / "states", {"initial": before, "masks": masks})
    again = load_states(tmp_path / "states", Draws())
    assert all(torch.equal(again["initial"][name], tensor) for name, tensor in before.items())
    assert all(torch.equal(again["masks"][name], mask) for name, mask in masks.items())


def test_loss_and_error_are_means_over_all_pictures():
    torch.manual_seed(0)
    model, x, y = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.rand(7, 1, 2, 2), torch.randint(0, 3, (7,))
    loss, error = outcome(model, x, y, batch=3)
    logits = model(x)
    assert loss == pytest.approx(nn.functional.cross_entropy(logits, y).item(), rel=1e-5)
    assert error == pytest.approx((logits.argmax(1) != y).float().mean().item())


def test_a_network_is_judged_by_its_present_weights_also_in_bf16():
    """Autocast keeps bf16 copies of weights until it ends, and would go on with them."""
    model, x, y = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.rand(9, 1, 2, 2), torch.zeros(9, dtype=torch.long)
    with torch.autocast("cpu", torch.bfloat16):
        for bias, expected in (((9.0, -9.0), 0.0), ((-9.0, 9.0), 1.0)):
            with torch.no_grad():
                model[1].weight.copy_(torch.tensor(bias)[:, None].expand(2, 4))
                model[1].bias.copy_(torch.tensor(bias))
            model(x).sum().backward()  # a training step's forward pass, before the weights change
            assert outcome(model, x, y)[1] == expected
            with torch.no_grad():
                model[1].weight.neg_()
                model[1].bias.neg_()
            assert outcome(model, x, y)[1] == 1 - expected


def test_pictures_are_split_without_overlap():
    run, cfg = Draws(), dataclasses.replace(TINY, examples=0, held_out=100)
    e, whole = Examples(cfg, run), images("digits")
    assert len(e.y) == 100
    assert len(e.d.y) == len(whole.y) - 100
    both = torch.cat([e.x, e.d.x]).flatten(1).double()
    assert torch.equal(both.sum(0), whole.x.flatten(1).double().sum(0))
    assert run.facts["data"]["dataset"] == "digits"


def test_the_learning_rate_rises_first_where_it_is_asked_to():
    cfg = dataclasses.replace(TINY, steps=10, warm=0.4, lr=1.0, schedule="constant", optimiser="sgd")
    opt, schedule = optimiser(nn.Linear(1, 1), cfg)
    rates = []
    for _ in range(10):
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        schedule.step()
    assert rates == pytest.approx([0.25, 0.5, 0.75] + [1.0] * 7)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compared": (0.5,)}, "compared is .* and remaining is"),
        ({"compared": (0.21, 0.214), "remaining": (0.214, 0.21)}, "differ in per cent"),
        ({"held_out": 2000}, "held out"),
    ],
)
def test_what_cannot_be_run_is_refused(changes, words):
    cfg = dataclasses.replace(TINY, **changes)
    with pytest.raises(Problem, match=words):
        check(cfg, 1437)


def test_moments_of_a_short_training_are_within_it():
    assert moments(TINY) == {"early": 2, "late": 1, "final": 4}
    assert moments(dataclasses.replace(TINY, early=100, rewind=25)) == {"early": 4, "late": 3, "final": 4}


def test_what_the_variants_differ_in():
    configs = {v.name: v.changes for v in STUDY.variants}
    assert configs["ticket"] == {}
    assert all(len(changes) == 1 for name, changes in configs.items() if name != "ticket")
