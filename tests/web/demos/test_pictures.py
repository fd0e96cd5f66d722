"""The demos of classifiers: cifar and mixup, and what is accepted as a picture."""

import math
import zlib

import pytest
import torch
from PIL import Image

from etudes.core import catalogue
from etudes.core.errors import Problem
from etudes.data.images import Images, images, unit
from etudes.data.resize import resize
from etudes.measure.error import error_rate
from etudes.studies.convnets.cifar_speed import from_six_views
from etudes.studies.labels.mixup import mix
from etudes.web.demos import UPLOAD, cifar, mixup, networks, pictures


def test_the_classifier_is_the_one_that_was_measured(root):
    record = networks.find_records(catalogue.find("cifar-speed"), root)["cifar-speed · full · smoke"]
    model, side, d = cifar.network(record)
    x = unit(resize(d.test_x, side))
    with torch.inference_mode():
        missed = (from_six_views(model, x).argmax(1) != d.test_y).double().mean().item()
    assert missed == pytest.approx(record.metrics["test/error"], abs=0.01)  # trained and measured in bf16
    found = cifar.classify(record, x[:1])
    assert len(found) == cifar.TOP
    assert list(found.values()) == sorted(found.values(), reverse=True)
    with torch.inference_mode():
        odds = from_six_views(model, x[:1])[0].softmax(-1)
    assert next(iter(found.values())) == pytest.approx(odds.max().item())
    assert d.labels[int(odds.argmax())] == next(iter(found))


def test_mixup_s_networks_are_the_ones_that_were_measured(root):
    both = mixup.pairs(root)["smoke"]
    for record in both.values():
        model, d = mixup.network(record)
        assert error_rate(model, d.test_x, d.test_y) == pytest.approx(record.metrics["test/error"], abs=0.01)


def test_the_mixture_is_that_of_the_study():
    d = images("digits")
    x, y = unit(d.test_x[[4, 9]]), torch.eye(2)
    expected, _ = mix(x, y, torch.tensor([1, 0]), torch.full((2,), 0.3))
    assert torch.allclose(mixup.mixture(d, 4, 9, 0.3), expected[:1])
    with pytest.raises(Problem, match="between 0 and 1"):
        mixup.mixture(d, 0, 1, 1.5)


def test_at_the_ends_the_networks_see_the_pictures_themselves(root):
    both = mixup.pairs(root)["smoke"]
    model, d = mixup.network(both["mixup"])
    alone = mixup.probabilities(model, unit(d.test_x[7:8]))[0]
    _, answers, _ = mixup.compare(both, 7, 8, 1.0)
    assert f"{100 * alone.max().item():.1f} %" in answers


def test_half_a_pair_is_no_pair(root, tmp_path):
    import shutil

    shutil.copytree(root / "mixup", tmp_path / "mixup")
    shutil.rmtree(tmp_path / "mixup" / "smoke" / "erm")
    assert "smoke" not in mixup.pairs(tmp_path)


def test_what_is_no_picture_is_told(tmp_path):
    path = tmp_path / "cat.png"
    with pytest.raises(Problem, match="there is no picture yet"):
        pictures.open_picture(None)
    path.write_bytes(b"")
    with pytest.raises(Problem, match="empty"):
        pictures.open_picture(path)
    path.write_bytes(b"<svg onload='alert(1)'></svg>")
    with pytest.raises(Problem, match="no whole picture"):
        pictures.open_picture(path)
    path.write_bytes(b"\x89PNG" + b"\0" * UPLOAD)
    with pytest.raises(Problem, match="a picture may have 10"):
        pictures.open_picture(path)
    Image.new("RGB", (20, 20), "red").save(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(Problem, match="no whole picture"):
        pictures.open_picture(path)


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path):
    side = (100_000).to_bytes(4, "big")
    header = b"IHDR" + side + side + b"\x08\x02\x00\x00\x00"
    chunk = (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    with pytest.raises(Problem):
        pictures.open_picture(path)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "bmp"])
def test_pictures_are_known_by_their_content(kind, tmp_path):
    path = tmp_path / "picture.txt"
    Image.new("RGB", (40, 20), "red").save(path, kind)
    x = pictures.square(pictures.open_picture(path), 8)
    assert x.shape == (1, 3, 8, 8)
    assert torch.allclose(x[0, :, 4, 4], torch.tensor([1.0, 0, 0]), atol=0.02)


class Step(torch.nn.Module):
    """Takes the brighter half of a picture [n, 1, 2, 2] for its class, as surely as `slope` says."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x):
        return self.slope * x[:, 0].mean(-1)


def test_mixtures_open_with_the_pair_that_shows_most(monkeypatch):
    rows = torch.tensor([(9, 9), (250, 0), (0, 120), (0, 250), (140, 120), (120, 0)], dtype=torch.uint8)
    x = rows[:, None, :, None].expand(-1, 1, 2, 2).contiguous()
    y = torch.tensor([0, 0, 1, 1, 1, 0])  # no network knows the last but one, and the first is a toss-up
    d = Images("toy", x, y, x, y, 2, ("upper", "lower"), {})
    slopes = {mixup.PLAIN: 50.0, mixup.MIXED: 4.0}
    monkeypatch.setattr(mixup, "network", lambda slope: (Step(slope), d))
    monkeypatch.setattr(mixup, "BEST", 4)

    def gain(i: int, j: int) -> float:
        far = {}
        for name, slope in slopes.items():
            far[name] = 0.0
            for share in (0.3, 0.5, 0.7):
                upper, lower = (share * rows[i] + (1 - share) * rows[j]).double() / 255
                odds = 1 / (1 + math.exp(-slope * (upper - lower)))
                far[name] += 2 * abs(odds - share * (y[i] == 0) - (1 - share) * (y[j] == 0))
        return far[mixup.PLAIN] - far[mixup.MIXED]

    assert mixup.first_pair(slopes) == max([(1, 2), (1, 3), (2, 5), (3, 5)], key=lambda pair: gain(*pair))
    monkeypatch.setattr(mixup, "network", lambda slope: (Step(0), d))
    assert mixup.first_pair(slopes) == (0, 1)  # to which all is of one class


def test_both_networks_know_both_pictures_of_the_first_pair(root):
    both = mixup.pairs(root)["smoke"]
    pair = mixup.first_pair(both)
    assert pair == mixup.first_pair(both)
    for record in both.values() if pair != (0, 1) else ():
        model, d = mixup.network(record)
        odds = mixup.probabilities(model, unit(d.test_x[list(pair)]))
        assert (odds.argmax(1) == d.test_y[list(pair)]).all()
