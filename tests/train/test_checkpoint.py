import random
from collections import namedtuple
from dataclasses import replace

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from etudes.core.errors import Problem
from etudes.core.run import Run
from etudes.sweep import check
from etudes.train import fit
from etudes.train.checkpoint import check_names, load, save

CPU = torch.device("cpu")


class Holder:
    def __init__(self, state=None):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


numbers = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
keys = st.text(max_size=3) | st.integers()
plain = st.recursive(
    numbers,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@given(plain)
def test_plain_states_come_back_equal_with_their_types(tmp_path_factory, state):
    path = tmp_path_factory.mktemp("state") / "a.safetensors"
    save(path, {"part": Holder(state)})
    back = Holder()
    load(path, {"part": back}, CPU)
    assert repr(back.state) == repr(state)


def test_models_optimisers_schedules_and_generators_come_back_bit_for_bit(tmp_path):
    def make():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.LazyLinear(2))
        model(torch.zeros(2, 3, 5, 5))
        model = model.to(memory_format=torch.channels_last)
        opt = torch.optim.AdamW(model.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 50)
        return {"model": model, "opt": opt, "schedule": schedule, "noise": torch.Generator().manual_seed(3)}

    def advance(parts, steps):
        for _ in range(steps):
            x = torch.randn(4, 3, 5, 5, generator=parts["noise"])
            parts["opt"].zero_grad()
            parts["model"](x).square().sum().backward()
            parts["opt"].step()
            parts["schedule"].step()
        return torch.cat([p.flatten() for p in parts["model"].parameters()])

    straight, first, second = make(), make(), make()
    wanted = advance(straight, 10)
    advance(first, 6)
    save(tmp_path / "a", first)
    load(tmp_path / "a", second, CPU)
    assert torch.equal(advance(second, 4), wanted)
    assert second["schedule"].get_last_lr() == straight["schedule"].get_last_lr()


def test_tied_weights_are_saved(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    save(tmp_path / "a", {"model": model})
    load(tmp_path / "a", {"model": model}, CPU)


def test_other_states_and_other_parts_are_refused(tmp_path):
    with pytest.raises(Problem, match=r"cannot save part\.x of type set"):
        save(tmp_path / "a", {"part": Holder({"x": {1}})})
    save(tmp_path / "a", {"part": Holder(1)})
    with pytest.raises(Problem, match="holds part and not whole"):
        load(tmp_path / "a", {"whole": Holder()}, CPU)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 2)


def test_parts_whose_names_meet_are_refused_before_a_step(coins, tmp_path):
    parts = {"net": Net(), "net.head": nn.Linear(2, 2)}
    for order in (parts, dict(reversed(parts.items()))):
        with pytest.raises(Problem, match=r"the parts 'net' and 'net\.head' meet when they are saved; name one"):
            fit(Run(coins.plan("smoke")[0], tmp_path), order, lambda i: pytest.fail("a step was taken"), 1)
    check_names({"net": Net(), "nets": Net(), "net-head": Net()})


def test_tensors_of_one_path_are_refused_when_they_are_saved(tmp_path):
    for state in ({"a.b": torch.ones(1), "a": {"b": torch.zeros(1)}}, {1: torch.ones(1), "1": torch.zeros(1)}):
        with pytest.raises(Problem, match=r"cannot save two tensors as part\.(a\.b|1); give"):
            save(tmp_path / "a", {"part": Holder(state)})
    assert not (tmp_path / "a").exists()


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ({("a", 1): 2.0}, "dict"),
        (Pair(1, 2), "Pair"),
        ({"x": [Pair(torch.ones(1), 2)]}, "Pair"),
        (torch.eye(3).to_sparse(), "Tensor"),
        (numpy.ones(3), "ndarray"),
        (numpy.float64(1.0), None),  # a float, and comes back as one
        (1j, "complex"),
    ],
)
def test_what_would_not_come_back_is_refused_when_it_is_saved(tmp_path, state, kind):
    if kind is None:
        save(tmp_path / "a", {"part": Holder(state)})
        back = Holder()
        load(tmp_path / "a", {"part": back}, CPU)
        assert back.state == state
        return
    with pytest.raises(Problem, match=rf"cannot save part\S* of type {kind}; states are dense tensors"):
        save(tmp_path / "a", {"part": Holder(state)})
    assert not (tmp_path / "a").exists()


def test_lbfgs_goes_on_to_the_same_bytes(tmp_path):
    def make():
        torch.manual_seed(0)
        model = nn.Linear(4, 2)
        return model, torch.optim.LBFGS(model.parameters(), 0.1, max_iter=4, history_size=5)

    def advance(model, opt, steps):
        for i in steps:
            draw = torch.Generator().manual_seed(i)
            x, y = torch.randn(16, 4, generator=draw), torch.randint(2, (16,), generator=draw)

            def closure(x=x, y=y):
                opt.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                return loss

            opt.step(closure)

    straight, first, second = make(), make(), make()
    advance(*straight, range(9))
    advance(*first, range(4))
    save(tmp_path / "a", dict(zip("mo", first, strict=True)))
    load(tmp_path / "a", dict(zip("mo", second, strict=True)), CPU)
    advance(*second, range(4, 9))
    assert torch.equal(second[0].weight, straight[0].weight)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("fused", [False, True])
def test_what_an_optimiser_keeps_is_laid_out_as_in_a_fresh_one(tmp_path, kind, fused):
    def make():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2))
        model = model.to(memory_format=torch.channels_last)
        more = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        return model, kind(model.parameters(), lr=0.01, fused=fused, **more)

    def advance(model, opt, steps):
        for i in steps:
            opt.zero_grad()
            model(torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(i))).square().sum().backward()
            opt.step()

    straight, first, second = make(), make(), make()
    advance(*straight, range(8))
    advance(*first, range(3))
    save(tmp_path / "a", dict(zip("mo", first, strict=True)))
    load(tmp_path / "a", dict(zip("mo", second, strict=True)), CPU)
    for mine, its in zip(first[1].state.values(), second[1].state.values(), strict=True):
        for name, value in mine.items():
            if isinstance(value, torch.Tensor):
                assert its[name].stride() == value.stride(), name
                assert torch.equal(its[name], value)
    advance(*second, range(3, 8))
    for mine, its in zip(straight[0].parameters(), second[0].parameters(), strict=True):
        assert mine.stride() == its.stride()
        assert torch.equal(mine, its)


@pytest.mark.parametrize("kind", ["python", "numpy", "torch"])
def test_steps_that_draw_from_the_global_generators_resume_exactly(coins, tmp_path, kind):
    draw = {"python": random.random, "numpy": numpy.random.normal, "torch": lambda: torch.rand(1).item()}[kind]

    def program(cfg, run):
        fit(run, {}, lambda i: {"x": draw()}, 12, evaluate=lambda: {"test/x": draw()}, eval_every=4)
        run.result(**{"test/score": draw()})

    study = replace(coins, program=program)
    (spec, *_) = study.plan("smoke")
    at = check.kills(check.straight(study, spec, tmp_path / "straight"))
    check.resume(study, spec, tmp_path / "resumed", at)
    assert len(at) == 3
    assert check.difference(tmp_path / "straight" / spec.key, tmp_path / "resumed" / spec.key) == ""
    lines = (tmp_path / "straight" / spec.key / "log.jsonl").read_text().splitlines()
    assert len(set(lines)) == 12
