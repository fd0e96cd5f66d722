import dataclasses
import itertools
import types

import numpy
import pytest
import torch

from etudes.core.errors import Problem
from etudes.core.run import Run, execute
from etudes.data.images import images
from etudes.measure.size import multiply_adds
from etudes.studies.convnets.cifar_coreset import STUDY, network, proxy_cost, steps_left
from etudes.studies.convnets.cifar_coreset.selection import Memory, closeness, entropy, highest


def test_entropy_is_scipys_and_closeness_the_naive_one():
    stats = pytest.importorskip("scipy.stats")
    p = torch.from_numpy(numpy.random.default_rng(0).dirichlet([0.3] * 10, size=50))
    assert torch.allclose(entropy(p), torch.from_numpy(stats.entropy(p.numpy(), axis=1)))
    for row, close in zip(p.tolist(), closeness(p).tolist(), strict=True):
        second, first = sorted(row)[-2:]
        assert close == pytest.approx(1 - first + second)
    sure = torch.tensor([[0.0, 1.0, 0.0]])
    assert entropy(sure).item() == 0
    assert closeness(sure).item() == 0
    assert closeness(torch.tensor([[0.5, 0.5, 0.0]])).item() == 1


def forgotten(history):
    """The definition, picture by picture: from right to wrong, between one time and the next."""
    if not any(history):
        return float("inf")
    return float(sum(before and not after for before, after in itertools.pairwise(history)))


def test_the_memory_counts_what_the_definition_counts():
    rng = numpy.random.default_rng(1)
    memory, histories = Memory(20), [[] for _ in range(20)]
    for _ in range(9):
        order = rng.permutation(20)
        for rows in (order[:7], order[7:]):
            right = rng.random(len(rows)) < 0.2
            memory.see(torch.from_numpy(rows), torch.from_numpy(right))
            for row, now in zip(rows, right, strict=True):
                histories[row].append(bool(now))
    expected = [forgotten(history) for history in histories]
    assert memory.score().tolist() == expected
    assert 0 < expected.count(float("inf")) < 20


def test_the_memory_can_be_saved_and_goes_on():
    memory, other = Memory(3), Memory(3)
    rows = torch.arange(3)
    memory.see(rows, torch.tensor([True, True, False]))
    other.load_state_dict(memory.state_dict())
    for one in (memory, other):
        one.see(rows, torch.tensor([False, True, False]))
    assert memory.score().tolist() == other.score().tolist() == [1, 0, float("inf")]


@pytest.mark.parametrize("share", [0.001, 0.25, 0.6, 1.0])
def test_the_highest_are_kept(share):
    score = torch.tensor([3.0, 1.0, float("inf"), 2.0, 5.0, 0.0, 4.0, -1.0])
    rows = highest(score, share, torch.arange(8))
    assert rows.tolist() == sorted(rows.tolist())
    assert len(rows) == max(1, round(share * 8))
    left = set(range(8)) - set(rows.tolist())
    assert all(score[i] < score[rows].min() for i in left)


def test_equal_scores_are_chosen_by_the_ties_and_smaller_shares_within_larger():
    score = torch.tensor([1.0] + [0.0] * 9)
    ties = torch.from_numpy(numpy.random.default_rng(3).permutation(10))
    chosen = [set(highest(score, share, ties).tolist()) for share in (0.1, 0.3, 0.6)]
    assert chosen[0] == {0}
    assert chosen[0] < chosen[1] < chosen[2]
    assert chosen[1] - {0} == set([i for i in ties.tolist() if i][:2])


def config(variant, **changed):
    return dataclasses.replace(STUDY.config(**STUDY.plan("smoke", variants=[variant])[0].config), **changed)


def test_budgets():
    def steps(variant, cost=150.0):
        return steps_left(config(variant, steps=400), 50, 100, cost)

    assert steps("entropy-50") == 400
    assert steps("entropy-50-epochs") == 200
    assert steps("entropy-50-time") == 250
    with pytest.raises(Problem, match="lower proxy_steps"):
        steps("entropy-50-time", cost=400.0)


def test_a_proxy_like_the_large_network_costs_its_steps_and_the_scoring():
    d = images("digits").take(torch.arange(100))
    cfg = config("entropy-50", width=8, proxy_width=8, side=8, batch=50, proxy_steps=30)
    assert proxy_cost(cfg, d) == pytest.approx(30 + 100 / (3 * 50))
    narrow = dataclasses.replace(cfg, proxy_width=4)
    ratio = multiply_adds(network(dataclasses.replace(cfg, width=4), d), d.shape) / multiply_adds(
        network(cfg, d), d.shape
    )
    assert proxy_cost(narrow, d) == pytest.approx(ratio * proxy_cost(cfg, d))
    assert 0.2 < ratio < 0.6


def test_variants_differ_in_what_their_names_say():
    for variant in STUDY.variants[1:]:
        score, percent, *more = variant.name.split("-")
        cfg = types.SimpleNamespace(**STUDY.plan("laptop", variants=[variant.name])[0].config)
        assert (cfg.score, round(100 * cfg.share)) == (score, int(percent))
        assert cfg.equal == (more[0] if more and more[0] in ("epochs", "time") else "updates")
        assert (cfg.noise > 0) == ("noisy" in more)


def test_the_paper_scale_has_the_authors_settings():
    cfg = STUDY.config(**STUDY.plan("paper", variants=["entropy-50"])[0].config)
    assert cfg.steps == round(181 * 50_000 / 128) == cfg.proxy_steps
    assert (cfg.batch, cfg.lr, cfg.momentum, cfg.weight_decay) == (128, 0.1, 0.9, 5e-4)
    assert (cfg.schedule, cfg.augment, cfg.examples, cfg.side) == ("decay", True, 0, 32)
    assert cfg.proxy_width < cfg.width


def test_killed_while_the_proxy_learns_it_ends_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDES_SAVE_SECONDS", "0")
    spec = STUDY.plan("smoke", variants=["forgetting-50"])[0]
    execute(STUDY, spec, tmp_path / "straight")
    plain, lines = Run.log, iter(range(2))

    def log(run, step, **numbers):
        if next(lines, None) is None:
            raise KeyboardInterrupt
        plain(run, step, **numbers)

    monkeypatch.setattr(Run, "log", log)
    with pytest.raises(KeyboardInterrupt):
        execute(STUDY, spec, tmp_path / "killed")
    assert list((tmp_path / "killed").rglob("checkpoint-*"))
    assert not list((tmp_path / "killed").rglob("scores.safetensors"))
    monkeypatch.setattr(Run, "log", plain)
    assert execute(STUDY, spec, tmp_path / "killed") == "done"
    for name in ("scores.safetensors", "log.jsonl", "result.json"):
        straight, killed = (sorted((tmp_path / root).rglob(name)) for root in ("straight", "killed"))
        assert straight
        assert [path.read_bytes() for path in straight] == [path.read_bytes() for path in killed]


@pytest.mark.parametrize(
    ("changed", "says"),
    [({"share": 0.0}, "share"), ({"equal": "epoch"}, "epochs"), ({"score": "entropie"}, "entropy")],
)
def test_bad_settings_are_told_in_one_sentence(changed, says):
    with pytest.raises(Problem, match=says) as told:
        STUDY.plan("smoke", variants=["entropy-50"], **changed)
    assert "\n" not in str(told.value)
