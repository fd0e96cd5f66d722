import json

import numpy as np
import pytest
import torch
from torch import nn

from etudes.core.run import Run, execute
from etudes.rl.games import Episode, game
from etudes.studies.rl.doom_dqn import STUDY, Config, bellman, episode_metrics, value_metrics


class Fixed:
    """Stands for a learner whose values are the first pixel and half of it, as the reward scale has them."""

    def values(self, frames):
        first = torch.from_numpy(frames[:, 0, 0, 0].astype(np.float32)) * Config().reward_scale
        return torch.stack([first, first / 2], 1)


def frame(value):
    return np.full((1, 2, 2), value, np.uint8)


def test_targets_are_the_naive_loop():
    rng = np.random.default_rng(0)
    target, online, rewards = (torch.from_numpy(rng.normal(size=shape)) for shape in ((6, 4), (6, 4), 6))
    discounts = torch.tensor([0.9, 0.0, 0.9, 0.81, 0.0, 0.9])
    plain = bellman(rewards, discounts, target)
    double = bellman(rewards, discounts, target, online)
    for i in range(6):
        assert plain[i].item() == pytest.approx(rewards[i].item() + discounts[i].item() * max(target[i].tolist()))
        chosen = max(range(4), key=lambda a, i=i: online[i, a].item())
        assert double[i].item() == pytest.approx(rewards[i].item() + discounts[i].item() * target[i, chosen].item())
    assert torch.equal(bellman(rewards, discounts, target, target), plain)


def test_the_largest_of_noisy_values_is_too_large_and_double_is_not():
    """All actions are worth 0; two networks err independently."""
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(20_000, 5, generator=generator) for _ in range(2))
    nothing, all_of_it = torch.zeros(20_000), torch.ones(20_000)
    assert bellman(nothing, all_of_it, one).mean() > 1.1  # the mean of the largest of five normal numbers is 1.163
    assert abs(bellman(nothing, all_of_it, one, other).mean()) < 0.03


def test_over_estimation_is_the_value_less_what_followed():
    cfg = Config(gamma=0.5)
    ended = Episode([1.0, 2.0], True, frame(10), frame(99))  # got 1 + 0.5 * 2, and after an end nothing counts
    cut = Episode([4.0], False, frame(20), frame(6))  # got 4, and half of the 6 that are to come
    found = value_metrics(cfg, Fixed(), [ended, cut])
    assert found["test/value"] == pytest.approx(15)
    assert found["test/overestimation"] == pytest.approx(((10 - 2) + (20 - 7)) / 2)
    assert found["test/overestimates"] == 1.0
    less = Episode([30.0], True, frame(10), frame(0))  # worth 10 at first, and got 30
    assert value_metrics(cfg, Fixed(), [ended, less])["test/overestimates"] == 0.5


def test_results_are_means_over_episodes():
    episodes = [Episode([1.0, 2.0], True), Episode([-3.0], False)]
    assert episode_metrics("test", episodes) == {"test/return": 0.0, "test/ended": 0.5, "test/actions": 1.5}


def test_the_best_fixed_action_is_chosen_on_validation_episodes(tmp_path):
    (spec,) = STUDY.plan("smoke", seeds=1, variants=["random"], eval_episodes=3, test_episodes=5)
    execute(STUDY, spec, tmp_path)
    metrics = json.loads((tmp_path / spec.key / "result.json").read_text())
    run, one = Run(spec, tmp_path), game("grid")

    def score(split, count, action):
        rewards = 0.0
        for e in range(count):
            one.reset(seed=run.seed(split, e))
            over = cut = False
            while not over and not cut:
                _, reward, over, cut, _ = one.step(action)
                rewards += reward
        return rewards / count

    best = max(range(len(one.actions)), key=lambda action: score("validation", 3, action))
    assert metrics["test/return-fixed"] == pytest.approx(score("test", 5, best))
    run.close()
    env = json.loads((tmp_path / spec.key / "env.json").read_text())
    assert env["fixed_action"] == one.actions[best]


def test_variants_differ_in_what_they_say():
    plain = Config()
    by_name = {variant.name: variant.changes for variant in STUDY.variants}
    assert by_name["dqn"] == {}
    assert not plain.recent
    assert not plain.double
    assert plain.target
    assert plain.n == 1
    assert all(len(changes) == 1 for name, changes in by_name.items() if name != "dqn")


def test_it_learns_the_gridworld(tmp_path):
    longer = {"steps": 800, "updates": 4, "batch": 32, "hidden": 64, "reward_scale": 0.1, "gamma": 0.9}
    results = {}
    for variant, changes in {"random": {}, "dqn": longer}.items():
        (spec,) = STUDY.plan("smoke", seeds=1, variants=[variant], test_episodes=40, **changes)
        assert execute(STUDY, spec, tmp_path) == "done"
        results[variant] = json.loads((tmp_path / spec.key / "result.json").read_text())
    assert results["dqn"]["test/return"] > 5 + results["random"]["test/return"]
    assert results["dqn"]["test/return"] > 5
    assert results["dqn"]["test/ended"] > 0.8
    assert (tmp_path / spec.key / "episode.gif").is_file()


def test_without_a_memory_only_the_last_transitions_are_drawn(tmp_path, monkeypatch):
    from etudes.studies.rl import doom_dqn

    sizes = {}
    plain = doom_dqn.Replay

    def watched(size, *others):
        sizes.setdefault(variant, size)
        return plain(size, *others)

    monkeypatch.setattr(doom_dqn, "Replay", watched)
    for variant in ("dqn", "no-replay"):
        (spec,) = STUDY.plan("smoke", seeds=1, variants=[variant], steps=12)
        execute(STUDY, spec, tmp_path)
    assert sizes == {"dqn": Config().memory, "no-replay": spec.config["batch"]}


def test_a_network_of_a_run_can_be_read_again(tmp_path):
    from etudes.studies.rl.doom_dqn import network
    from etudes.train import weights

    (spec,) = STUDY.plan("smoke", seeds=1, variants=["dueling"], steps=12)
    execute(STUDY, spec, tmp_path)
    model = network(Config(**spec.config), game("grid"))
    before = [value.clone() for value in model.state_dict().values()]
    weights.load(tmp_path / spec.key / "network.safetensors", model)
    assert isinstance(model, nn.Module)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))
