from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from etudes.core.errors import Problem
from etudes.exhibits.film import save_gif


@pytest.mark.parametrize("shape", [(12, 8), (12, 8, 3)])
def test_a_film_shows_its_pictures_in_order_without_end(tmp_path: Path, shape: tuple[int, ...]) -> None:
    frames = [np.full(shape, value, np.uint8) for value in (0, 90, 250)]
    save_gif(tmp_path / "a.gif", frames, 120)
    with Image.open(tmp_path / "a.gif") as film:
        assert (film.n_frames, film.size, film.info["loop"], film.info["duration"]) == (3, (8, 12), 0, 120)
        for i, frame in enumerate(frames):
            film.seek(i)
            assert np.array_equal(np.asarray(film.convert("RGB"))[..., 0], frame.reshape(12, 8, -1)[..., 0])
    save_gif(tmp_path / "b.gif", frames, 120)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [np.zeros((4, 4))],
        [np.zeros((4, 4, 2), np.uint8)],
        [np.zeros((0, 4), np.uint8)],
        [np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8)],
    ],
    ids=["none", "floats", "channels", "empty", "sizes"],
)
def test_what_makes_no_film_is_told(tmp_path: Path, frames: list[np.ndarray]) -> None:
    with pytest.raises(Problem, match=r"a film needs pictures uint8 \[h, w\] or \[h, w, 3\] of one size, not "):
        save_gif(tmp_path / "a.gif", frames, 100)
