import json
from dataclasses import dataclass

import pytest
import torch

from etudes.core.errors import Problem
from etudes.core.run import Run
from etudes.core.spec import Spec
from etudes.data.images import images, unit
from etudes.train import PictureRecipe, hold_out, opened, shown


@dataclass(frozen=True)
class Config(PictureRecipe):
    dataset: str = "digits"
    batch: int = 30


def a_run(folder, variant="plain", seed=0):
    spec = Spec("sketch", "smoke", variant, seed, {}, "fp32", 1, 1, "c0de")
    (folder / spec.key).mkdir(parents=True, exist_ok=True)
    return Run(spec, folder / spec.key)


def test_all_pictures_are_opened_noted_and_measured(tmp_path):
    run, whole = a_run(tmp_path), images("digits")
    d, rows = opened(Config(), run)
    assert torch.equal(d.x, whole.x)
    assert rows.tolist() == list(range(len(whole.x)))
    assert run.facts["data"] == whole.source
    counts = torch.bincount(whole.test_y)
    assert run.metrics == {
        "test/error-majority": pytest.approx(1 - counts[whole.y.mode().values].item() / counts.sum().item())
    }
    run.finish()
    assert json.loads((run.folder / "env.json").read_text())["data"]["dataset"] == "digits"


def test_a_subset_has_as_many_of_each_class_and_is_the_seeds(tmp_path):
    whole = images("digits")
    d, rows = opened(Config(examples=7), a_run(tmp_path))
    assert torch.bincount(d.y).tolist() == [7] * 10
    assert torch.equal(d.x, whole.x[rows])
    assert torch.equal(d.y, whole.y[rows])
    assert torch.equal(d.test_x, whole.test_x)
    same = opened(Config(examples=7, lr=0.3), a_run(tmp_path, "other"))[1]
    other = opened(Config(examples=7), a_run(tmp_path, seed=1))[1]
    assert torch.equal(rows, same)
    assert not torch.equal(rows, other)


def test_pictures_are_brought_to_a_side(tmp_path):
    d, _ = opened(Config(examples=2, side=6), a_run(tmp_path))
    assert d.x.shape == (20, 1, 6, 6)
    assert d.test_x.shape[1:] == (1, 6, 6)


def test_pictures_held_out_are_nowhere_else_and_follow_the_seed(tmp_path):
    d, _ = opened(Config(examples=5), a_run(tmp_path))
    p = hold_out(d, 20, a_run(tmp_path), tested=30)
    every = torch.cat([p.d.x, p.x]).flatten(1)
    assert (len(p.d.y), len(p.y), len(p.d.test_y)) == (30, 20, 30)
    assert sorted(map(tuple, every.tolist())) == sorted(map(tuple, d.x.flatten(1).tolist()))
    classes = {tuple(picture): int(y) for picture, y in zip(d.x.flatten(1).tolist(), d.y, strict=True)}
    assert [classes[tuple(picture)] for picture in p.x.flatten(1).tolist()] == p.y.tolist()
    assert torch.equal(hold_out(d, 20, a_run(tmp_path, "other")).x, p.x)
    assert not torch.equal(hold_out(d, 20, a_run(tmp_path, seed=1)).x, p.x)
    assert len(hold_out(d, 20, a_run(tmp_path)).d.test_y) == len(d.test_y)
    with pytest.raises(Problem, match="50 pictures are to be held out of 50"):
        hold_out(d, 50, a_run(tmp_path))


def test_every_row_is_shown_once_an_epoch_and_a_step_shows_the_same_again(tmp_path):
    cfg, run = Config(examples=9), a_run(tmp_path)
    d, _ = opened(cfg, run)
    pictures = shown(cfg, run, d)
    seen = [pictures(i) for i in range(3)]
    assert sorted(torch.cat([rows for rows, _ in seen]).tolist()) == list(range(90))
    for rows, x in seen:
        assert torch.equal(x, unit(d.x[rows]))
        assert 0 <= x.min() <= x.max() <= 1
    again = shown(cfg, a_run(tmp_path, "other"), d)(2)
    assert torch.equal(again[0], seen[2][0])
    assert not torch.equal(pictures(3)[0], seen[0][0])


def test_augmented_pictures_are_mirrored_and_shifted_by_the_step_and_never_the_set(tmp_path):
    cfg, run = Config(examples=9, augment=True), a_run(tmp_path)
    d, _ = opened(cfg, run)
    kept = d.x.clone()
    plain, still, moved = (
        shown(c, run, d, pixels) for c, pixels in ((Config(examples=9), None), (cfg, 0), (cfg, None))
    )
    rows, x = plain(4)
    for one, mirrored in zip(still(4)[1], x, strict=True):
        assert torch.equal(one, mirrored) or torch.equal(one, mirrored.flip(-1))
    assert torch.equal(still(4)[0], rows)
    assert torch.equal(moved(4)[1], moved(4)[1])
    assert not torch.equal(moved(4)[1], still(4)[1])  # by up to a pixel of eight
    assert torch.equal(d.x, kept)
