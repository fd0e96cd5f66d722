import numpy
import pytest
import torch

from etudes.core.errors import Problem
from etudes.data.colour import lab, rgb
from etudes.data.shapes import PALETTE, shapes
from etudes.measure.colour import colourfulness
from etudes.measure.size import count_parameters
from etudes.studies.generative.colorization import STUDY, squares_loss
from etudes.studies.generative.colorization.bins import (
    BANDWIDTH,
    annealed_mean,
    bin_centres,
    classification_loss,
    colorizer,
    nearest_bins,
    rebalancing_weights,
    soft_encoding,
)  # fmt: skip
from etudes.studies.generative.colorization.drawn import (
    away_from_both,
    cells_inside,
    odds_errors,
    patchiness,
    two_coloured,
)  # fmt: skip
from etudes.studies.generative.colorization.findings import (
    colorize,
    colour_errors,
    grey,
    preference,
    rarities,
    swap_colours,
    unnatural,
)  # fmt: skip
from etudes.studies.generative.colorization.painter import SPREAD, Painter

CENTRES = bin_centres(20)


def test_every_colour_falls_into_a_bin_and_no_bin_is_empty():
    chance = numpy.random.default_rng(0)
    corners = numpy.where(
        chance.random((50_000, 3)) < 0.5, chance.random((50_000, 3)), chance.integers(2, size=(50_000, 3))
    )
    colours = torch.from_numpy(numpy.concatenate([corners, chance.random((300_000, 3))]))
    ab = lab(colours.T[None, :, :, None])[0, 1:, :, 0].T
    for grid in (10, 20):
        listed = {tuple(row) for row in bin_centres(grid).int().tolist()}
        occupied = {tuple(row) for row in ((ab / grid).round() * grid).int().tolist()}
        assert len(occupied - listed) <= 0.02 * len(listed)  # of cells whose corner alone is shown
        assert len(listed - occupied) <= 0.02 * len(listed)


def test_soft_encoding_is_the_naive_loop():
    ab = lab(torch.rand(2, 3, 3, 3))[:, 1:]  # colours of sRGB, none far from all bins
    z = soft_encoding(ab, CENTRES)
    assert torch.allclose(z.sum(1), torch.ones(2, 3, 3))
    for n, i, j in numpy.ndindex(2, 3, 3):
        distance = (CENTRES - ab[n, :, i, j]).norm(dim=1)
        known = torch.zeros(len(CENTRES))
        for q in distance.argsort()[:5]:
            known[q] = torch.exp(-(distance[q] ** 2) / (2 * BANDWIDTH**2))
        assert torch.allclose(z[n, :, i, j], known / known.sum(), atol=1e-5)


def test_weights_have_mean_one_and_are_those_of_the_paper():
    frequency = torch.rand(len(CENTRES)) ** 4
    weights = rebalancing_weights(frequency, CENTRES, 0.5)
    far = CENTRES * 1e6  # bins so far apart that nothing is smoothed
    p = frequency / frequency.sum()
    plain = 1 / (0.5 * p + 0.5 / len(p))
    assert torch.allclose(rebalancing_weights(frequency, far, 0.5), plain / (plain * p).sum(), rtol=1e-4)
    assert rebalancing_weights(frequency, CENTRES, 1.0) == pytest.approx(1, rel=1e-5)  # all alike
    assert weights[frequency.argmax()] < 1 < weights.max()


def test_the_loss_is_the_weighted_cross_entropy():
    logits, ab, weights = torch.randn(2, len(CENTRES), 2, 2), torch.randn(2, 2, 2, 2) * 30, torch.rand(len(CENTRES))
    z, logs = soft_encoding(ab, CENTRES), logits.log_softmax(1)
    losses = []
    for n, i, j in numpy.ndindex(2, 2, 2):
        cross = -sum(z[n, q, i, j] * logs[n, q, i, j] for q in range(len(CENTRES)))
        losses.append(weights[z[n, :, i, j].argmax()] * cross)
    assert torch.allclose(classification_loss(logits, ab, CENTRES, weights), torch.stack(losses).mean(), rtol=1e-5)


def test_the_annealed_mean_lies_between_mean_and_mode():
    logits = torch.randn(1, len(CENTRES), 1, 1) * 2
    odds = logits.softmax(1).flatten()
    assert torch.allclose(annealed_mean(logits, CENTRES, 1.0).flatten(), odds @ CENTRES, atol=1e-4)
    assert torch.allclose(annealed_mean(logits, CENTRES, 1e-3).flatten(), CENTRES[odds.argmax()], atol=1e-3)
    sharp = odds ** (1 / 0.38)
    assert torch.allclose(annealed_mean(logits, CENTRES, 0.38).flatten(), sharp / sharp.sum() @ CENTRES, atol=1e-3)
    with pytest.raises(Problem, match="above 0"):
        annealed_mean(logits, CENTRES, 0.0)


def test_of_two_colours_alike_probable_least_squares_shows_the_mean_and_classes_keep_both():
    """The ball that is red or blue: at the optimum of each loss, found by descent on a single prediction."""
    red, blue = torch.tensor([40.0, 20.0]), torch.tensor([-20.0, -40.0])
    ab = torch.stack([red, blue])[:, :, None, None]
    guess = torch.zeros(1, 2, 1, 1, requires_grad=True)
    logits = torch.zeros(1, len(CENTRES), 1, 1, requires_grad=True)
    opt = torch.optim.Adam([guess, logits], 0.5)
    ones = torch.ones(len(CENTRES))
    for _ in range(400):
        opt.zero_grad()
        (
            squares_loss(guess.expand(2, -1, 1, 1), ab)
            + classification_loss(logits.expand(2, -1, 1, 1), ab, CENTRES, ones)
        ).backward()
        opt.step()
    assert torch.allclose(guess.flatten(), (red + blue) / 2, atol=0.5)
    odds = logits.softmax(1).flatten()
    assert all(odds[CENTRES.tolist().index(colour.tolist())] > 0.3 for colour in (red, blue))


def test_grey_and_wrong_colours_keep_the_lightness():
    x = torch.rand(30, 3, 8, 8) * 0.5 + 0.25
    assert colourfulness(grey(x)).max() < 1
    assert torch.allclose(lab(grey(x))[:, 0], lab(x)[:, 0], atol=0.1)
    wrong = unnatural(x, numpy.random.default_rng(0))
    assert wrong.shape == x.shape
    assert not torch.allclose(wrong, x, atol=0.1)
    same = colorize(x, lambda lightness: lab(x)[:, 1:])
    assert torch.allclose(same, x, atol=1e-3)


def test_equal_pictures_are_preferred_half_the_time():
    x = torch.rand(6, 3, 8, 8)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 1))
    assert preference(net, x, x) == 0.5


def test_the_papers_network_has_its_parameters():
    assert count_parameters(colorizer(64, 3, 3, 313)) == 32_235_385  # by hand, with the paper's 313 bins
    cfg = STUDY.configs["paper"]["full"]
    assert (cfg["uniform"], cfg["temperature"], cfg["grid"]) == (0.5, 0.38, 10)


def test_shapes_of_two_colours_and_their_insides_are_found():
    d = shapes(40, 4, 16)
    x = d.x.double() / 255
    ab = lab(x)[:, 1:]
    rows, pairs = two_coloured(d.y)
    assert [d.labels[d.y[i]] for i in rows] == [d.labels[y] for y in d.y if d.labels[y] != "square"]
    for i, pair in zip(rows, pairs, strict=True):
        assert pair.tolist() == [list(colour) for colour in PALETTE[d.labels[d.y[i]]]]
    inside = cells_inside(ab[rows], 2)
    small = torch.nn.functional.avg_pool2d(ab[rows], 2)
    assert inside.flatten(1).any(1).all()
    assert away_from_both(small, pairs, inside) < 2  # true colours, but for the rounding of pixels
    assert patchiness(small, inside) < 2
    for n, row, column in numpy.ndindex(*inside.shape):
        block = x[rows[n], :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert inside[n, row, column] == (lab(block[None])[0, 1:].norm(dim=0) > 5).all()


def test_distances_and_spread_by_hand():
    pairs = torch.tensor([[[30.0, 0.0], [-30.0, 0.0]]])
    inside = torch.tensor([[[True, True, False]]])
    ab = torch.tensor([[[[30.0, 0.0, 99.0]], [[4.0, 0.0, 99.0]]]])  # 4 from the first; 30 from both
    assert away_from_both(ab, pairs, inside) == pytest.approx(17)
    assert patchiness(ab, inside) == pytest.approx(numpy.sqrt(15**2 + 2**2))
    assert patchiness(torch.full_like(ab, 7.0), inside) == 0


def test_the_best_odds_have_no_error_and_lie_beside_both_colours():
    pairs = torch.tensor([[[40.0, 20.0], [-20.0, -40.0]]])
    weights = torch.rand(len(CENTRES)) + 0.5
    shares, nearest = nearest_bins(pairs.movedim(-1, 1)[:, :, :, None], CENTRES)
    w = weights[nearest[0, 0, :, 0]]
    z = soft_encoding(pairs.movedim(-1, 1)[:, :, :, None], CENTRES)[0, :, :, 0]  # [Q, 2]
    best = ((w[0] * z[:, 0] + w[1] * z[:, 1]) / w.sum())[None, :, None, None]
    inside = torch.ones(1, 1, 1, dtype=torch.bool)
    assert shares.sum(1) == pytest.approx(torch.ones(1, 2, 1).numpy())
    found = odds_errors(best, pairs, CENTRES, weights, inside)
    assert found["test/odds-error"] == pytest.approx(0, abs=1e-6)
    assert found["test/odds-elsewhere"] == pytest.approx(0, abs=1e-6)
    one = z[:, 0][None, :, None, None]
    assert odds_errors(one, pairs, CENTRES, weights, inside)["test/odds-error"] == pytest.approx(
        (w[1] / w.sum()).item(), abs=1e-5
    )


def test_a_painter_shows_what_its_network_says():
    lightness = torch.rand(2, 1, 8, 8) * 100
    classes = Painter(colorizer(2, 1, 2, len(CENTRES)), CENTRES)
    assert torch.allclose(classes.odds(lightness).sum(1), torch.ones(2, 4, 4), atol=1e-5)
    expected = annealed_mean(classes.guess(lightness), CENTRES, 0.38)
    assert torch.equal(classes.colours(lightness, 0.38), expected)
    assert classes.at(0.38)(lightness).shape == (2, 2, 8, 8)
    squares = Painter(colorizer(2, 1, 2, 2), None)
    assert torch.equal(squares.colours(lightness, 0.38), SPREAD * squares.guess(lightness))
    assert [*classes.temperatures(0.38)] == ["-mean", "", "-mode"]
    assert squares.temperatures(0.38) == {"": 0.38}


def test_borrowed_colours_are_those_of_another_picture():
    x = rgb(torch.tensor([[50.0, 20, 0], [60, 0, 20], [70, -20, 0]])[:, :, None, None].expand(-1, -1, 4, 4))
    chance = numpy.random.default_rng(1)
    order = torch.from_numpy(numpy.random.default_rng(1).permutation(3))
    found, known = lab(swap_colours(x, chance)), lab(x)
    assert torch.allclose(found[:, 0], known[:, 0], atol=0.1)
    assert torch.allclose(found[:, 1:], known[order][:, 1:], atol=0.1)


def test_colour_errors_are_those_of_a_loop():
    x, true = torch.rand(2, 2, 3, 4, 4) * 0.6 + 0.2
    frequency = torch.rand(len(CENTRES))
    rare, weights = rarities(true, CENTRES, frequency), rebalancing_weights(frequency, CENTRES, 0.0)
    errors, known = [], []
    for n, i, j in numpy.ndindex(2, 4, 4):
        ab, other = lab(x)[n, 1:, i, j], lab(true)[n, 1:, i, j]
        errors.append((ab - other).norm().item())
        known.append(weights[(CENTRES - other).norm(dim=1).argmin()].item())
    assert rare.tolist() == pytest.approx(known, rel=1e-4)
    found = colour_errors(x, true, rare)
    assert found["test/colour-error"] == pytest.approx(numpy.sqrt(numpy.square(errors).mean()), rel=1e-4)
    shares = [numpy.average(numpy.array(errors) <= limit, weights=known) for limit in range(151)]
    assert found["test/auc-balanced"] == pytest.approx(numpy.trapezoid(shares) / 150, abs=1e-4)
    assert colour_errors(true, true, rare)["test/auc"] == 1
