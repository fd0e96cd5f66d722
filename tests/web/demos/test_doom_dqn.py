import base64
import io

import numpy as np
import pytest
from PIL import Image

from etudes.core import catalogue
from etudes.rl.games import open_games
from etudes.web.demos import doom_dqn as demo
from etudes.web.demos import networks


@pytest.fixture(scope="module")
def episode(root):
    record = networks.find_records(catalogue.find("doom-dqn"), root, demo.WEIGHTS)["doom-dqn · dqn · smoke"]
    return demo.play_games(record, 3), record


def test_the_episode_is_the_one_of_the_highest_values(episode):
    watched, record = episode
    with open_games(1, record.spec.config["game"]) as (game,):
        over, cut = True, False
        for i, (seen, values, reward) in enumerate(zip(watched.seen, watched.values, watched.rewards, strict=True)):
            if i in watched.begins:
                assert over or cut
                frame, _ = game.reset(seed=3 + watched.begins.index(i))
            assert (frame[0] == seen).all()
            frame, got, over, cut, _ = game.step(int(np.argmax(values)))
            assert got == pytest.approx(reward)
        assert over or cut
    assert len(watched.seen) >= demo.ENOUGH
    assert len(watched.names) == len(watched.values[0])


def test_the_film_shows_every_action(episode):
    watched, _ = episode
    address = demo.film(watched)
    gif = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    assert gif.format == "GIF"
    moments = {picture.tobytes() for picture in watched.film}
    assert 1 <= gif.n_frames <= len(watched.film)
    assert gif.n_frames >= min(2, len(moments))


def test_a_moment_marks_the_action_that_was_taken(episode):
    watched, _ = episode
    picture, html = demo.moment(watched, 0)
    best = watched.names[int(np.argmax(watched.values[0]))]
    assert f"→ {best}" in html
    assert f"Action 1 of {len(watched.seen)}" in html
    assert min(picture.size) >= demo.HEIGHT
    assert demo.moment(watched, 10**6)[1] == demo.moment(watched, len(watched.seen) - 1)[1]


def test_an_episode_of_one_action_can_be_shown(episode):
    watched, _ = episode
    parts = (watched.seen, watched.values, watched.rewards, watched.film)
    short = demo.Watched(watched.names, (0,), *(part[:1] for part in parts))
    update = demo.reach(short)
    assert update["maximum"] > 1
    assert not update["interactive"]
    assert "Action 1 of 1" in demo.moment(short, 1)[1]
    assert short.total.startswith("1 game, 1 action, ")
    assert demo.film(short).startswith("data:image/gif")


def test_there_is_something_to_see_however_short_a_game_is(root, monkeypatch):
    """A game that ends with its first action is followed by those of the next seeds."""
    from etudes.rl.grid import Table

    monkeypatch.setattr(Table, "step", lambda self, action: (self.frames[0], 1.0, True, False, {}))
    record = networks.find_records(catalogue.find("doom-dqn"), root, demo.WEIGHTS)["doom-dqn · dqn · smoke"]
    watched = demo.play_games(record, 3)
    assert watched.begins == tuple(range(demo.ENOUGH))
    assert watched.total == "8 games, 8 actions, rewards of 8 in all"
    assert "Action 2 of 8, in game 2 of 8; it then got 1, 2 in all" in demo.moment(watched, 1)[1]


def test_the_greys_of_a_made_up_game_are_named():
    from etudes.rl.games import game

    for name, words in demo.LEGENDS.items():
        assert set(np.unique(game(name).frames)) == set(words)
        assert all(text in demo.legend(name) for text in words.values())
    assert "Doom" in demo.legend("basic")
