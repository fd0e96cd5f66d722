import numpy as np
import pytest

from etudes.core.errors import Problem
from etudes.exhibits.overlay import PALETTE, comparison, differences, outlines, overlay, save_comparisons


def mask():
    found = np.zeros((8, 9), np.uint8)
    found[2:6, 2:7] = 1
    found[3:5, 4:7] = 2
    return found


def test_outlines_are_the_naive_loop():
    classes = mask()
    found = outlines(classes)
    for r in range(8):
        for c in range(9):
            near = [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
            others = [classes[a, b] for a, b in near if 0 <= a < 8 and 0 <= b < 9]
            assert found[r, c] == (classes[r, c] > 0 and any(other != classes[r, c] for other in others))


def test_a_mask_over_a_picture_leaves_the_background_alone():
    picture, classes = np.full((16, 18), 100, np.uint8), mask().repeat(2, 0).repeat(2, 1)
    found = overlay(picture, classes, tint=0.5)
    assert (found[classes == 0] == 100).all()
    edge = outlines(classes)
    for k in (1, 2):
        assert (found[edge & (classes == k)] == PALETTE[k]).all()
        inside = ~edge & (classes == k)
        assert inside.any()
        assert np.abs(found[inside] - (100 + np.array(PALETTE[k])) / 2).max() <= 0.5
    assert np.array_equal(overlay(picture[..., None], classes, 0.5), found)


def test_what_differs_is_coloured_by_how():
    truth, guess = mask(), mask()
    guess[0, 0], guess[5, 2] = 1, 0
    found = differences(truth, guess)
    assert (found.any(-1) == (truth != guess)).all()
    assert tuple(found[0, 0]) != tuple(found[5, 2])


def test_the_sheet_has_six_panels_a_picture_and_the_same_bytes(tmp_path):
    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    one = comparison(picture, mask(), mask())
    assert one.shape == (2 * 8 + 4, 3 * 9 + 2 * 4, 3)
    assert np.array_equal(one[:8, :9], picture)
    for name in ("a.png", "b.png"):
        save_comparisons(tmp_path / name, [picture] * 3, [mask()] * 3, [mask()] * 3, scale=2)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    assert sheet.shape == (2 * (2 * 20 + 12), 2 * (2 * 35 + 12), 3)
    assert np.array_equal(sheet[: 2 * 20 : 2, : 2 * 35 : 2], one)
    assert (sheet[-10:, -10:] == 255).all()  # the fourth place is empty


def test_a_sheet_too_large_for_a_report_is_halved(tmp_path):
    from PIL import Image

    picture, none = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), np.zeros((64, 64), int)
    for most in (100_000, 10_000):
        save_comparisons(tmp_path / f"{most}.png", [picture], [none], [none], columns=1, most=most)
    whole, half = (Image.open(tmp_path / f"{most}.png") for most in (100_000, 10_000))
    assert half.size == tuple(-(-side // 2) for side in whole.size)
    assert (tmp_path / "10000.png").stat().st_size <= 10_000 < (tmp_path / "100000.png").stat().st_size
    assert np.abs(np.asarray(half)[0, 0] - np.asarray(whole)[:2, :2].mean((0, 1))).max() <= 0.5


def test_what_is_no_picture_is_told(tmp_path):
    for picture, words in ((np.zeros((8, 9)), "uint8"), (np.zeros((8, 9, 2), np.uint8), "1 or 3"),
                           (np.zeros((3, 3), np.uint8), "does not lie over")):  # fmt: skip
        with pytest.raises(Problem, match=words):
            overlay(picture, mask())
    with pytest.raises(Problem, match="no picture"):
        save_comparisons(tmp_path / "a.png", [], [], [])
