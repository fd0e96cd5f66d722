import numpy as np
import pytest
import torch
from PIL import Image

from etudes.core.errors import Problem
from etudes.data.images import resize_picture
from etudes.data.resize import resize


def pictures(n: int, c: int, h: int, w: int) -> torch.Tensor:
    """Noise, smooth ramps, and both mixed."""
    noise = torch.randint(0, 256, (n, c, h, w), dtype=torch.uint8, generator=torch.Generator().manual_seed(h))
    ramp = torch.linspace(0, 255, h)[:, None] * torch.linspace(0, 1, w)
    noise[1::2] = (0.7 * ramp + 0.3 * noise[1::2]).to(torch.uint8)
    return noise


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize(("h", "w", "side"), [(96, 96, 32), (96, 96, 48), (112, 92, 48), (64, 91, 50), (30, 40, 33)])
def test_it_is_pillows_to_the_last_unit(h: int, w: int, side: int, c: int) -> None:
    x = pictures(6, c, h, w)
    found = resize(x, side)
    assert found.shape == (6, c, side, side)
    assert found.dtype == torch.uint8
    for before, after in zip(x, found, strict=True):
        array = before.permute(1, 2, 0).numpy()
        expected = np.asarray(resize_picture(Image.fromarray(array[..., 0] if c == 1 else array), side)).reshape(
            side, side, c
        )
        difference = np.abs(after.permute(1, 2, 0).numpy().astype(int) - expected)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.05


def test_what_has_the_size_is_cut_or_left_alone_and_the_memory_format_is_kept() -> None:
    x = pictures(4, 3, 40, 32)
    assert torch.equal(resize(x, 32), x[:, :, 4:36])
    assert torch.equal(resize(x[:, :, :32], 32), x[:, :, :32])
    last = x.contiguous(memory_format=torch.channels_last)
    for side in (16, 32):
        assert resize(last, side).is_contiguous(memory_format=torch.channels_last)
        assert resize(x, side).is_contiguous()
        assert torch.equal(resize(last, side), resize(x, side))
    assert resize(x[:0], 16).shape == (0, 3, 16, 16)


@pytest.mark.parametrize("x", [torch.zeros(2, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)])
def test_what_are_no_pictures_is_told(x: torch.Tensor) -> None:
    with pytest.raises(Problem, match=r"takes pictures uint8 \[n, c, h, w\]"):
        resize(x, 4)
    with pytest.raises(Problem, match="a side of at least 1"):
        resize(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), 0)
