import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from etudes.core.catalogue import find
from etudes.core.run import execute
from etudes.exhibits.film import save_gif
from etudes.rl.film import MOST, PACE, record
from etudes.rl.games import Lockstep, open_games, play

pytest.importorskip("vizdoom")
pytest.importorskip("gymnasium")
psutil = pytest.importorskip("psutil")


@pytest.fixture(scope="module")
def games():
    with open_games(2, "basic") as found:
        yield found


def attack(frames):
    return [1] * len(frames)


def test_the_game_is_as_its_scenario_says(games):
    one = games[0]
    assert one.actions == ("nothing", "attack", "move right", "move left")
    assert one.shape == (1, 30, 45)
    assert one.limit * one.repeat == 300
    with open_games(1, "health_gathering", buttons=2) as (other,):
        assert len(other.actions) == 1 + 3 + 3  # no button, one, or two of three


def test_the_same_seed_and_actions_give_the_same_frames_whatever_was_played_before(games):
    actions = np.random.default_rng(0).integers(4, size=12)

    def seen(one, seed):
        frames = [one.reset(seed=seed)[0]]
        for action in actions:
            frame, _, over, _, _ = one.step(int(action))
            frames.append(frame)
            if over:
                break
        return np.stack(frames)

    first = [seen(games[0], seed) for seed in (5, 6, 7)]
    again = [seen(games[1], seed) for seed in (7, 5, 6)]
    for mine, other in zip([first[2], first[0], first[1]], again, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert not np.array_equal(first[0][0], first[1][0])


def test_time_that_is_up_is_no_end_and_leaves_a_frame(games):
    one = games[0]
    one.reset(seed=0)
    steps = [one.step(0) for _ in range(one.limit)]
    assert [over for _, _, over, _, _ in steps] == [False] * one.limit
    assert [cut for _, _, _, cut, _ in steps] == [False] * (one.limit - 1) + [True]
    assert sum(reward for _, reward, _, _, _ in steps) == -300
    assert steps[-1][0].any()


def test_rewards_are_those_of_the_scenario(games):
    """-1 a tic, -5 a shot, 101 for the monster, whose death ends the episode."""
    shot = play(games, list(range(40)), attack)
    hit = [episode for episode in shot if episode.over]
    missed = [episode for episode in shot if not episode.over]
    assert hit
    assert missed
    for episode in hit:
        assert not episode.last.any()
        assert episode.rewards[-1] > 50
    for episode in missed:
        assert -5 * 25 - 300 <= sum(episode.rewards) < -300
        assert (sum(episode.rewards) + 300) % 5 == 0


def test_a_saved_game_goes_on_from_the_same_frame(games):
    lockstep = Lockstep(games, lambda e: 100 + e)
    rng = np.random.default_rng(1)
    for _ in range(40):  # beyond the end of an episode
        lockstep.step(rng.integers(4, size=2))
    state, frames = lockstep.state_dict(), lockstep.frames.copy()
    play(games, [1, 2, 3], attack)
    lockstep.load_state_dict(state)
    np.testing.assert_array_equal(lockstep.frames, frames)
    ahead = lockstep.step([1, 2])
    other = Lockstep(games, lambda e: 100 + e)
    other.load_state_dict(state)
    for mine, theirs in zip(ahead, other.step([1, 2]), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def commands(folders):
    """The commands of all processes that have to do with games in these folders."""
    found = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [command for command in found if any(folder in " ".join(command) for folder in folders)]


def shared(found):
    """The memory that the games of these commands share with their player, as Linux shows it."""
    names = {command[command.index("+viz_instance_id") + 1] for command in found}
    return [path for name in names for path in Path("/dev/shm").glob(f"ViZDoom*{name}")]


def test_a_closed_game_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_games(1, "basic") as (one,):
        assert one.litter is None
        one.reset(seed=0)
        first = one.litter.name
        assert Path(first).is_dir()
        one.close()
        one.reset(seed=0)  # and can be played again
        folders = [first, one.litter.name]
        memory = shared(commands(folders))
    assert list(tmp_path.iterdir()) == []
    assert not any(Path(path).exists() for path in [*folders, *memory])
    assert commands(folders) == []


PLAYER = """
from etudes.rl.games import Lockstep, open_games
with open_games(3, "basic") as games:
    lockstep = Lockstep(games, lambda episode: episode)
    print(*[game.litter.name for game in games], flush=True)
    while True:
        lockstep.begin([1, 1, 1]).result()
"""


@pytest.mark.skipif(os.name == "nt", reason="a game has no guard on Windows")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGKILL to the group"])
def test_a_killed_player_leaves_nothing(tmp_path, how):
    command = [sys.executable, "-c", PLAYER]
    player = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        folders = player.stdout.readline().split()
        found = commands(folders)
        memory = shared(found)
        send = os.killpg if "group" in how else os.kill
        send(player.pid, getattr(signal, how.split()[0]))
        assert player.wait(10) != 0
    finally:
        player.kill()
        player.communicate()
    assert len(found) == 2 * len(folders) == 6  # guards and engines
    until = time.monotonic() + 10
    while commands(folders) and time.monotonic() < until:
        time.sleep(0.1)
    assert commands(folders) == []
    assert not any(Path(path).exists() for path in [*folders, *memory])
    assert list(tmp_path.iterdir()) == []


def test_filming_changes_nothing(games):
    (plain,) = play(games[:1], [3], lambda frames: [3])
    film = games[0].screens(4)
    (slow,) = play(games[:1], [3], lambda frames: [3])
    games[0].screens(games[0].repeat)
    assert slow.rewards == plain.rewards
    np.testing.assert_array_equal(slow.last, plain.last)
    assert len(film) == 3 * len(plain.rewards)


def test_an_episode_becomes_a_film(games, tmp_path):
    from PIL import Image

    seen = record(games[0], [3, 4, 5], attack)
    assert len(seen) == MOST
    save_gif(tmp_path / "episode.gif", seen, PACE)
    with Image.open(tmp_path / "episode.gif") as film:
        assert film.size == (160, 120)
        assert 1 < film.n_frames <= len(seen)
    assert (tmp_path / "episode.gif").stat().st_size < 300_000


def test_killed_and_resumed_it_ends_with_the_same_bytes(tmp_path, monkeypatch):
    study = find("doom-dqn")
    small = {"games": 2, "steps": 40, "warmup": 10, "eval_every": 20, "eval_episodes": 2, "test_episodes": 2}
    (spec,) = study.plan("laptop", seeds=1, variants=["dqn"], **small, batch=8, log_every=5)
    assert execute(study, spec, tmp_path / "straight") == "done"

    def program(cfg, run):
        lines, plain = iter(range(6)), run.log

        def log(step, **numbers):
            if next(lines, None) is None:
                raise KeyboardInterrupt
            plain(step, **numbers)

        run.log = log
        study.program(cfg, run)

    monkeypatch.setenv("ETUDES_SAVE_SECONDS", "0")
    with pytest.raises(KeyboardInterrupt):
        execute(dataclasses.replace(study, program=program), spec, tmp_path / "killed")
    assert execute(study, spec, tmp_path / "killed") == "done"
    for name in ("log.jsonl", "result.json"):
        assert (tmp_path / "killed" / spec.key / name).read_bytes() == (
            tmp_path / "straight" / spec.key / name
        ).read_bytes()
