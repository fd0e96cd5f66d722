from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from etudes.core.errors import Problem
from etudes.exhibits.sheets import GAP, save_sheet, sheet


def naive(x: torch.Tensor, columns: int) -> np.ndarray:
    """The sheet pixel by pixel, [height, width, c]."""
    n, c, h, w = x.shape
    rows, wide = (n + columns - 1) // columns, min(columns, n)
    out = np.full((rows * h + (rows - 1) * GAP, wide * w + (wide - 1) * GAP, c), 255, np.uint8)
    for i in range(n):
        for k in range(c):
            for a in range(h):
                for b in range(w):
                    value = x[i, k, a, b].item()
                    value = value if x.dtype == torch.uint8 else round(value * 255)
                    out[(i // columns) * (h + GAP) + a, (i % columns) * (w + GAP) + b, k] = value
    return out


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize(("n", "columns"), [(1, 1), (5, 3), (6, 3), (2, 7)])
@pytest.mark.parametrize("last", [False, True])
def test_a_sheet_against_a_loop(n: int, columns: int, c: int, last: bool) -> None:
    x = torch.randint(0, 256, (n, c, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    expected = naive(x, columns)
    expected = expected[..., 0] if c == 1 else expected
    assert np.array_equal(sheet(x, columns), expected)
    assert np.array_equal(sheet(x / 255, columns), expected)
    assert sheet(x, columns).dtype == np.uint8


def test_floats_are_rounded() -> None:
    x = torch.rand(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(sheet(x, 2), naive(x, 2))
    assert sheet(x.bfloat16().requires_grad_(), 2).shape == (6 + GAP, 6 + GAP, 3)


def test_what_is_saved_reads_back_scaled_without_metadata_and_the_same(tmp_path: Path) -> None:
    x = torch.randint(0, 256, (5, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    save_sheet(tmp_path / "new" / "a.png", x, 3)
    save_sheet(tmp_path / "b.png", x, 3, scale=3)
    with Image.open(tmp_path / "new" / "a.png") as small, Image.open(tmp_path / "b.png") as large:
        assert np.array_equal(np.asarray(small), sheet(x, 3))
        assert np.array_equal(np.asarray(large), np.kron(sheet(x, 3), np.ones((3, 3, 1), np.uint8)))
        assert small.info == large.info == {}
    first = (tmp_path / "b.png").read_bytes()
    save_sheet(tmp_path / "b.png", x, 3, scale=3)
    assert (tmp_path / "b.png").read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.png", "new"]
    save_sheet(tmp_path / "grey.png", x[:, :1], 3)
    with Image.open(tmp_path / "grey.png") as grey:
        assert grey.mode == "L"


@pytest.mark.parametrize(
    ("x", "columns", "sentence"),
    [
        (torch.zeros(2, 4, 3, 3), 1, "needs pictures"),
        (torch.zeros(0, 1, 3, 3), 1, "needs pictures"),
        (torch.zeros(3, 3), 1, "needs pictures"),
        (torch.zeros(2, 1, 3, 3), 0, "a column or more"),
        (torch.full((2, 1, 3, 3), 1.5), 1, r"in \[0, 1\], not 1.5 to 1.5; clamp them first"),
        (torch.full((2, 1, 3, 3), torch.nan), 1, r"in \[0, 1\], not nan"),
    ],
)
def test_what_makes_no_sheet_is_told(x: torch.Tensor, columns: int, sentence: str) -> None:
    with pytest.raises(Problem, match=sentence):
        sheet(x, columns)
