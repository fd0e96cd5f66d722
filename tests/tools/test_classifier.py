import dataclasses

import pytest
import torch

from etudes.core.run import Run
from etudes.core.spec import Spec
from etudes.data.images import images, unit
from etudes.measure.error import error_rate
from etudes.tools.classifier import classifier


def a_run(folder, variant, seed=0):
    spec = Spec("sketch", "smoke", variant, seed, {}, "fp32")
    (folder / spec.key).mkdir(parents=True, exist_ok=True)
    return Run(spec, folder / spec.key)


@pytest.fixture(scope="module")
def digits():
    return images("digits")


def test_it_is_trained_once_for_all_variants_of_a_seed(tmp_path, digits):
    first, error = classifier(a_run(tmp_path, "a"), digits, 4, 150)
    assert error == error_rate(first, digits.test_x, digits.test_y)
    assert error < 0.5
    assert first[:-1](unit(digits.test_x[:3])).shape == (3, 16)
    (made,) = tmp_path.rglob("once/**/model.safetensors")
    at = made.stat().st_mtime_ns

    second, again = classifier(a_run(tmp_path, "b"), digits, 4, 150)
    assert made.stat().st_mtime_ns == at
    assert again == error
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def test_another_seed_width_or_side_has_its_own(tmp_path, digits):
    small = dataclasses.replace(digits, x=digits.x[..., :4, :4], test_x=digits.test_x[..., :4, :4])
    for i, (seed, d, width) in enumerate([(0, digits, 1), (1, digits, 1), (0, digits, 2), (0, small, 1)], start=1):
        classifier(a_run(tmp_path, "a", seed), d, width, 2)
        assert len([*tmp_path.rglob("once/**/model.safetensors")]) == i
