import time

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from etudes.core.errors import Problem
from etudes.data.augment import affine, cutout, elastic, flip, photometric, rotate, scale, shift

MOVES = {
    "flip": flip,
    "shift": lambda x, rng: shift(x, rng, 3),
    "shift zeros": lambda x, rng: shift(x, rng, 3, "zeros"),
    "cutout": lambda x, rng: cutout(x, rng, 5),
}
BLENDS = {
    "rotate": lambda x, rng: rotate(x, rng, 30),
    "scale": lambda x, rng: scale(x, rng, 0.8, 1.2),
    "affine": lambda x, rng: affine(x, rng, 15, 2, (0.9, 1.1), 10),
    "photometric": lambda x, rng: photometric(x, rng, 0.4, 0.4, 0.4),
    "elastic": lambda x, rng: elastic(x, rng, 2)[0],
}


def pictures(n: int = 16, c: int = 3, h: int = 12, w: int = 10, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    x = torch.rand(n, c, h, w, generator=torch.Generator().manual_seed(0))
    return x if dtype.is_floating_point else (x * 255).to(dtype)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", [*MOVES, *BLENDS])
@pytest.mark.parametrize("last", [False, True])
def test_pure_and_keeps_shape_type_and_memory_format(name: str, last: bool) -> None:
    change = (MOVES | BLENDS)[name]
    for dtype in [torch.float32] + [torch.uint8] * (name in MOVES):
        x = pictures(dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last) if last else x
        kept = x.clone()
        y = change(x, rng())
        assert torch.equal(x, kept)
        assert torch.equal(y, change(x, rng()))
        assert not torch.equal(y, change(x, rng(1)))
        assert (y.shape, y.dtype, y.stride()) == (x.shape, x.dtype, x.stride())
        assert torch.equal(y, change(x.contiguous(), rng())) or name in BLENDS


def test_flip_against_a_loop() -> None:
    x = pictures(200)
    y = flip(x, rng())
    turned = 0
    for before, after, draw in zip(x, y, rng().random(200), strict=True):
        expected = before.numpy()[..., ::-1] if draw < 0.5 else before.numpy()
        assert np.array_equal(after.numpy(), expected)
        turned += draw < 0.5
    assert 60 < turned < 140


@pytest.mark.parametrize(("mode", "pad"), [("reflect", "reflect"), ("zeros", "constant")])
@pytest.mark.parametrize("pixels", [0, 1, 4, 9])
def test_shift_against_a_loop(mode: str, pad: str, pixels: int) -> None:
    x = pictures(64)
    y = shift(x, rng(), pixels, mode)
    top, left = rng().integers(0, 2 * pixels + 1, size=(2, 64))
    for i in range(64):
        padded = np.pad(x[i].numpy(), ((0, 0), (pixels, pixels), (pixels, pixels)), mode=pad)
        assert np.array_equal(y[i].numpy(), padded[:, top[i] : top[i] + 12, left[i] : left[i] + 10])
    if pixels == 1:
        assert len({*zip(top.tolist(), left.tolist(), strict=True)}) == 9


def test_cutout_against_a_loop() -> None:
    for size in (0, 1, 4, 5, 30):
        x = pictures(64)
        y = cutout(x, rng(), size)
        draws = rng()
        rows, columns = draws.integers(0, 12, size=64), draws.integers(0, 10, size=64)
        for i in range(64):
            expected = x[i].clone()
            for r in range(rows[i] - size // 2, rows[i] - size // 2 + size):
                for c in range(columns[i] - size // 2, columns[i] - size // 2 + size):
                    if 0 <= r < 12 and 0 <= c < 10:
                        expected[:, r, c] = 0
            assert torch.equal(y[i], expected)


def smooth(h: int, w: int) -> np.ndarray:
    rows, columns = np.mgrid[:h, :w]
    return (0.5 + 0.3 * np.sin(rows / 4) + 0.2 * np.cos(columns / 3)).astype(np.float32)


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_rotation_against_pillow(size: tuple[int, int]) -> None:
    picture = smooth(*size)
    y = rotate(torch.from_numpy(picture).expand(8, 1, *size).clone(), rng(3), 40)
    angles = (2 * rng(3).random((5, 8))[0] - 1) * 40
    assert angles.min() < -10
    assert angles.max() > 10
    for after, angle in zip(y, angles, strict=True):
        expected = np.asarray(Image.fromarray(picture).rotate(angle, Image.Resampling.BILINEAR, fillcolor=-9))
        known = expected >= 0  # Pillow fills outside at once, grid_sample fades over one pixel
        assert known.mean() > 0.5
        inside = known & (after[0].numpy() > 0.3 * expected)
        assert inside[4:-4, 4:-4].mean() > 0.5
        core = np.zeros_like(known)
        core[size[0] // 2 - 8 : size[0] // 2 + 8, size[1] // 2 - 8 : size[1] // 2 + 8] = True
        assert np.abs(after[0].numpy() - expected)[core].max() < 1e-3


def test_affine_against_scipy() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    h, w = 28, 36
    picture = smooth(h, w)
    y = affine(torch.from_numpy(picture).expand(8, 1, h, w).clone(), rng(5), 20, 3, (0.8, 1.3), 15)
    draw = rng(5).random((5, 8))
    for i in range(8):
        angle, skew = np.radians((2 * draw[0, i] - 1) * 20), np.radians((2 * draw[1, i] - 1) * 15)
        down, across = (2 * draw[2:4, i] - 1) * 3
        factor = 0.8 + 0.5 * draw[4, i]
        # In (row, column): where each step along an old row or column lands in the new picture.
        shear = np.array([[1, 0], [np.tan(skew), 1]])
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        back = np.linalg.inv(factor * turn @ shear)
        centre = np.array([(h - 1) / 2, (w - 1) / 2])
        offset = centre - back @ (centre + np.array([down, across]))
        expected = ndimage.affine_transform(picture, back, offset, order=1, mode="grid-constant", cval=0)
        assert np.abs(y[i, 0].numpy() - expected).max() < 1e-4


def test_scale_by_one_and_no_change_are_the_identity() -> None:
    x = pictures()
    assert torch.allclose(scale(x, rng(), 1, 1), x, atol=1e-5)
    assert torch.allclose(photometric(x, rng()), x, atol=1e-6)


def test_elastic_against_scipy() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    h, w = 30, 40
    picture = smooth(h, w)
    found = elastic(torch.from_numpy(picture).expand(4, 1, h, w).clone(), rng(2), 2.5)[0]
    coarse = rng(2).normal(0, 1, (4, 2, 3, 3)) * 2.5
    rows, columns = np.mgrid[:h, :w].astype(float)
    for i in range(4):
        # The coarse grid's corners lie on those of the picture; PyTorch's cubic has a = -0.75.
        moved = [cubic(coarse[i, axis], h, w) for axis in (0, 1)]
        expected = ndimage.map_coordinates(picture, [rows + moved[0], columns + moved[1]], order=1, mode="reflect")
        assert np.abs(found[i, 0].numpy() - expected).max() < 1e-3


def cubic(coarse: np.ndarray, h: int, w: int) -> np.ndarray:
    """Bicubic interpolation by a loop over the sixteen neighbours (Keys 1981, a = -0.75), borders repeated."""

    def weight(t: np.ndarray) -> np.ndarray:
        t = np.abs(t)
        near = 1.25 * t**3 - 2.25 * t**2 + 1
        far = -0.75 * (t**3 - 5 * t**2 + 8 * t - 4)
        return np.where(t <= 1, near, np.where(t < 2, far, 0))

    places = [np.arange(n) * (len(coarse) - 1) / (n - 1) for n in (h, w)]
    total = np.zeros((h, w))
    for a in range(-2, 5):
        for b in range(-2, 5):
            value = coarse[np.clip(a, 0, 2), np.clip(b, 0, 2)]
            total += value * weight(places[0] - a)[:, None] * weight(places[1] - b)[None, :]
    return total


def test_masks_are_deformed_by_the_same_field_and_no_value_comes_up() -> None:
    x = torch.zeros(6, 1, 32, 32)
    x[:, :, 8:20, 6:24] = 1
    classes, numbers = x[:, 0].to(torch.uint8) * 7, x[:, 0].to(torch.int32) * 70_000
    y, found, wide = elastic(x, rng(4), 3, (classes, numbers))
    assert found.dtype == torch.uint8
    assert wide.dtype == torch.int32
    assert set(found.unique().tolist()) == {0, 7}
    assert torch.equal(wide == 70_000, found == 7)
    inside, outside = y[:, 0] > 0.999, y[:, 0] < 0.001
    assert (found[inside] == 7).all()
    assert (found[outside] == 0).all()
    assert 0.01 < (found != classes).double().mean() < 0.3


def test_elastic_by_nothing_is_the_identity_and_turns_with_its_masks() -> None:
    x = pictures(h=16, w=16)
    same, mask = elastic(x, rng(), 0, (x[:, 0],))
    assert torch.allclose(same, x, atol=1e-5)
    assert torch.equal(mask, x[:, 0])
    turned = elastic(x, rng(), 0, degrees=90, scale=(1, 1))[0]
    assert not torch.allclose(turned, x, atol=0.1)
    large = elastic(x, rng(), 0, scale=(1.5, 2))[0]
    assert (large - x)[:, :, 8, 8].abs().mean() < (large - x)[:, :, 0, 0].abs().mean()


@pytest.mark.parametrize("which", ["brightness", "contrast", "saturation"])
def test_photometric_against_pillow(which: str) -> None:
    peers = {"brightness": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast, "saturation": ImageEnhance.Color}
    x = pictures(dtype=torch.uint8)
    y = photometric(x / 255, rng(), **{which: 0.8})
    factors = 1 + (2 * rng().random((3, 16)) - 1)[list(peers).index(which)] * 0.8
    for before, after, factor in zip(x, y, factors, strict=True):
        peer = peers[which](Image.fromarray(before.permute(1, 2, 0).numpy())).enhance(factor)
        assert np.abs(after.permute(1, 2, 0).numpy() * 255 - np.asarray(peer)).max() < 2.5


def test_grey_pictures_have_no_colour_to_change() -> None:
    x = pictures(c=1)
    assert torch.equal(photometric(x, rng(), saturation=0.9), x)


def test_bad_requests_are_named() -> None:
    x = pictures()
    for call, words in (
        (lambda: shift(x, rng(), 10), "does not fit pictures of 12 x 10"),
        (lambda: shift(x, rng(), 2, "wrap"), "not by 'wrap'"),
        (lambda: cutout(x, rng(), -1), "size of at least 0"),
        (lambda: scale(x, rng(), 0, 1), "0 < low <= high"),
        (lambda: photometric(x, rng(), brightness=2), "strengths from 0 to 1"),
        (lambda: elastic(x, rng(), -1), "pixels of at least 0"),
        (lambda: elastic(x, rng(), 1, grid=1), "a grid of 2 or more"),
    ):
        with pytest.raises(Problem, match=words):
            call()


def test_flip_and_shift_take_little_time() -> None:
    x = pictures(128, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # waiting for a second thread would count as work
    try:
        times = []
        for _ in range(30):
            start = time.thread_time()
            shift(flip(x, rng()), rng(), 4)
            times.append(time.thread_time() - start)
    finally:
        torch.set_num_threads(threads)
    assert min(times) < 5e-3


def test_mixed_precision_does_not_blur_places_and_light():
    x = torch.rand(4, 3, 8, 8)
    for change in (
        lambda: affine(x, rng(0), degrees=20, scale=(0.8, 1.2)),
        lambda: photometric(x, rng(0), brightness=0.4, contrast=0.4, saturation=0.4),
    ):
        plain = change()
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(change(), plain)
