"""spectral-maps on networks: what they learn from, what is measured of a pair, and what is foreseen by it."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from etudes.data.images import images
from etudes.measure.activations import activations, channel_rows
from etudes.measure.size import count_parameters
from etudes.studies.dynamics.spectral_maps import STUDY, Config
from etudes.studies.dynamics.spectral_maps.findings import PAIRS, foresight, rank_correlation
from etudes.studies.dynamics.spectral_maps.idea import procrustes
from etudes.studies.dynamics.spectral_maps.networks import network, pictures, with_channels
from etudes.studies.dynamics.spectral_maps.pairs import Stitch, carriers, similarities

CONFIG = Config(dataset="digits", other="digits", side=8, examples=100, widths=(6, 6, 6), pools=(1,))


class Draws:
    device = torch.device("cpu")

    def rng(self, stream, *index):
        return np.random.default_rng([len(stream), *stream.encode(), *index])


def same(x, y):
    """Which rows of pictures x: [n, ...] stand in y: [m, ...] too."""
    return (x.flatten(1)[:, None] == y.flatten(1)[None]).all(2).any(1)


def test_halves_share_no_picture_and_random_labels_have_the_same_pictures():
    half, other, random, again = (
        pictures(CONFIG, Draws(), kind) for kind in ("half", "other-half", "random-labels", "other-random-labels")
    )
    assert len(half.x) == len(other.x) == 100
    whole = images("digits").x
    assert len(torch.unique(whole.flatten(1), dim=0)) == len(whole)  # so that a shared picture would be seen
    assert not same(half.x, other.x).any()
    assert torch.equal(half.x, random.x)
    assert torch.equal(other.x, again.x)
    assert 0.02 < (half.y == random.y).double().mean() < 0.25  # a tenth by chance
    every = dataclasses.replace(CONFIG, examples=0)
    assert len(pictures(every, Draws(), "half").x) == len(whole) // 2


def test_another_set_is_brought_to_the_channels_of_the_first():
    x = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    assert with_channels(x, 3) is x
    grey = with_channels(x, 1)
    assert grey.dtype == torch.uint8
    assert (grey[:, 0].double() - x.double().mean(1)).abs().max() <= 0.5
    assert with_channels(grey, 3).shape == x.shape


def test_the_papers_network_has_its_parameters():
    cfg = Config(**STUDY.configs["paper"]["halves"])
    three = dataclasses.replace(images("digits"), x=torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    model = network(cfg, three)
    assert count_parameters(model) == 9_228_362  # eight 3x3 convolutions, as many pairs of a norm's, 512 x 10 + 10
    with torch.no_grad():
        assert model.eval()(torch.rand(1, 3, 32, 32)).shape == (1, 10)


def pair():
    """Two networks on digits, one with random running statistics, and what they hand on after their first stage."""
    d = pictures(CONFIG, Draws(), "half")
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(network(CONFIG, d).eval())
    rows = [channel_rows(activations(m, d.x, ["1"])["1"]).double() for m in models]
    return models, rows, d


def test_a_stitch_is_the_affine_map_at_every_place():
    models, rows, d = pair()
    rotation = procrustes(*rows)
    x = activations(models[0], d.x[:3], ["1"])["1"]
    found = Stitch(rotation, rows)(x)
    for i, a, b in ((0, 0, 0), (2, 3, 1)):
        expected = rotation @ (x[i, :, a, b].double() - rows[0].mean(0)) + rows[1].mean(0)
        assert torch.allclose(found[i, :, a, b].double(), expected, atol=1e-5)
    with torch.no_grad():
        whole = nn.Sequential(*models[0][:2], Stitch(torch.eye(6).double(), [rows[0]] * 2), *models[0][2:])
        assert torch.allclose(whole(d.x[:5] / 255), models[0](d.x[:5] / 255), atol=1e-5)


def test_short_stitches_keep_k_directions_and_the_varying_ones_keep_most():
    models, rows, _ = pair()
    rotation = procrustes(*rows)
    found = carriers(rotation, rows, models[1][2][0].weight.detach(), 2, np.random.default_rng(0))
    assert {name: int(torch.linalg.matrix_rank(matrix)) for name, matrix in found.items()} == {
        "": 6, "-most-read": 2, "-most-varying": 2, "-random": 2, "-unaligned": 6
    }  # fmt: skip
    aligned = (rows[1] - rows[1].mean(0)) @ torch.eye(6).double()
    kept = {name: (aligned @ (found[name] @ rotation.T)).norm() for name in ("-most-read", "-most-varying", "-random")}
    assert max(kept, key=kept.get) == "-most-varying"


def test_similarities_of_a_network_with_itself_are_1_and_by_chance_less():
    models, rows, _ = pair()
    weight = models[0][2][0].weight.detach() * torch.linspace(0.2, 2, 6)[None, :, None, None]
    found = similarities([rows[0]] * 2, [weight] * 2, torch.eye(6).double(), 2, np.random.default_rng(0))
    for name in ("overlap", "overlap-unaligned", "bures", "cka", "spatial-overlap"):
        assert found[name] == pytest.approx(1, abs=1e-6), name
    assert found["overlap-rotated"] == pytest.approx(2 / 6, abs=0.15)
    assert found["overlap-permuted"] < 0.8
    assert found["overlap-excess"] == pytest.approx(1 - found["overlap-permuted"])
    assert found["spatial-overlap-rotated"] == pytest.approx(3 / 9)


def test_rank_correlation_is_scipys_with_ties():
    x, y = [3.0, 1.0, 2.0, 2.0, 5.0, 0.0], [1.0, 1.0, 4.0, 0.0, 6.0, 2.0]
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert rank_correlation(x, [2.0] * 6) == 0


def test_foresight_is_1_where_the_similarity_ranks_as_the_stitched_networks_do():
    trial = {
        name: {f"test/{what}-{depth}": sign * (3 * i + depth) for what, sign in (("cka", 1), ("stitched-error", -1))
               for depth in (1, 2, 3)}
        for i, name in enumerate(PAIRS)
    }  # fmt: skip
    assert foresight(trial, "cka") == pytest.approx(1)
    for numbers in trial.values():
        numbers |= {f"test/overlap-{depth}": -numbers[f"test/cka-{depth}"] for depth in (1, 2, 3)}
    assert foresight(trial, "overlap") == pytest.approx(-1)
