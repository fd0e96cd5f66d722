"""spectral-maps: its formulas, the case where both maps are one, and cases where they are not."""

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import nn

from etudes.core import Problem
from etudes.measure.activations import activations, channel_rows
from etudes.studies.dynamics.spectral_maps.idea import (
    bures,
    channel_covariance,
    cka,
    commutation_error,
    eigenvectors,
    likeness,
    orthogonality_error,
    overlap,
    procrustes,
    random_rotation,
    shrink,
    spatial_covariance,
    spectral_map,
)
from etudes.studies.dynamics.spectral_maps.pairs import Stitch, carriers


def chance(seed=0):
    return np.random.default_rng(seed)


def normal(*shape, seed=0):
    return torch.from_numpy(chance(seed).normal(size=shape))


def spread(n, seed=0):
    """A symmetric matrix [n, n] whose eigenvalues n, n - 1, ... 1 are far apart."""
    q = random_rotation(n, chance(seed))
    return q * torch.arange(n, 0, -1, dtype=torch.float64) @ q.T


def permutation(n, seed=0):
    return torch.eye(n, dtype=torch.float64)[torch.from_numpy(chance(seed).permutation(n))]


def identity(n):
    return torch.eye(n, dtype=torch.float64)


# Where both maps are one


def test_with_a_relabelling_and_a_function_of_the_laplacian_both_maps_are_one():
    """The theorem of the card: R = T = P, and covariances f(L) and f(P L P^T) with f decreasing."""
    laplacian, p = spread(7), permutation(7)
    other = p @ laplacian @ p.T
    values, phi = torch.linalg.eigh(laplacian)
    others, psi = torch.linalg.eigh(other)
    functional = spectral_map(phi, psi, p)
    covariances = [torch.from_numpy(linalg.expm(-0.3 * m.numpy())) for m in (laplacian, other)]
    (_, u), (_, v) = (eigenvectors(c) for c in covariances)
    x = normal(50, 7)
    rotation = procrustes(x, x @ p.T)  # activations of the same inputs: aligned, this is the relabelling
    assert torch.allclose(rotation, p, atol=1e-10)
    network = spectral_map(u, v, rotation)
    assert torch.allclose(network.abs(), functional.abs(), atol=1e-8)
    assert torch.allclose(functional.abs(), identity(7), atol=1e-8)
    assert commutation_error(functional, values, others) < 1e-8
    assert orthogonality_error(functional) < 1e-8


def test_a_double_eigenvalue_leaves_a_rotation_within_its_space_and_nothing_else():
    values = torch.tensor([3.0, 2.0, 2.0, 1.0], dtype=torch.float64)
    q, turn = random_rotation(4, chance(1)), identity(4)
    turn[1:3, 1:3] = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    c = spectral_map(q, q @ turn, identity(4))  # two right answers to the same eigenproblem
    assert not torch.allclose(c.abs(), identity(4), atol=0.1)
    assert commutation_error(c, values, values) < 1e-12
    assert overlap(c, 1) == pytest.approx(1)
    assert overlap(c, 3) == pytest.approx(1)  # the whole space is in it
    assert overlap(c, 2) == pytest.approx(1 / 2 + 0.6**2 / 2)  # and is cut in two here


# Where they are not: counter-examples


def test_a_rotation_that_is_no_relabelling_gives_the_identity_where_no_relabelling_does():
    covariance, q = spread(5), random_rotation(5, chance(3))
    (_, u), (_, v) = eigenvectors(covariance), eigenvectors(q @ covariance @ q.T)
    x = normal(40, 5, seed=2)
    assert torch.allclose(spectral_map(u, v, procrustes(x, x @ q.T)).abs(), identity(5), atol=1e-8)
    best = max(likeness(spectral_map(u, v, permutation(5, seed)), identity(5)) for seed in range(300))
    assert best < 0.9  # of all 120 relabellings


def test_a_covariance_that_is_no_function_of_the_laplacian_has_other_eigenvectors():
    laplacian, p = spread(6), permutation(6)
    other = p @ laplacian @ p.T
    (_, phi), (_, psi) = (torch.linalg.eigh(m) for m in (laplacian, other))
    gain = torch.linspace(0.3, 3, 6, dtype=torch.float64)
    heat = [torch.from_numpy(linalg.expm(-0.3 * m.numpy())) for m in (laplacian, other)]
    (_, u), (_, v) = eigenvectors(heat[0]), eigenvectors(gain[:, None] * heat[1] * gain)
    assert torch.allclose(spectral_map(phi, psi, p).abs(), identity(6), atol=1e-8)
    assert likeness(spectral_map(u, v, p), identity(6)) < 0.9


def test_a_function_that_is_not_monotone_permutes_the_map():
    laplacian = spread(5)
    (_, u), (_, v) = eigenvectors(laplacian), eigenvectors((laplacian - 3 * identity(5)).matrix_power(2))
    c = spectral_map(u, v, identity(5)).abs().square()
    assert c[:, 2].argmax() == 4  # the middle eigenvalue has become the least
    assert overlap(c.sqrt(), 2) == pytest.approx(0.5, abs=0.01)  # of 5, 4 the space of 5, 1 holds a half


def test_weights_that_have_learnt_nothing_have_a_map_by_chance():
    found = []
    for seed in range(20):
        (_, u), (_, v) = (eigenvectors(channel_covariance(normal(64, 16, 3, 3, seed=s))) for s in (seed, seed + 99))
        found.append(overlap(spectral_map(u, v, identity(16)), 4))
    assert np.mean(found) == pytest.approx(4 / 16, abs=0.05)


# A network with its channels in another order


def trained():
    """Three stages with filters whose covariances have eigenvalues far apart."""
    torch.manual_seed(0)
    stages = []
    for before, after in ((2, 8), (8, 8), (8, 8)):
        convolution = nn.Conv2d(before, after, 3, padding=1)
        with torch.no_grad():
            convolution.weight *= torch.linspace(0.3, 2, before)[None, :, None, None]
        stages.append(nn.Sequential(convolution, nn.ReLU()))
    return nn.Sequential(*stages).double()


def relabelled(model, order):
    """The same function, with the channels between the first two stages in another order."""
    other = trained()
    with torch.no_grad():
        other[0][0].weight.copy_(model[0][0].weight[order])
        other[0][0].bias.copy_(model[0][0].bias[order])
        other[1][0].weight.copy_(model[1][0].weight[:, order])
        other[2].load_state_dict(model[2].state_dict())
        other[1][0].bias.copy_(model[1][0].bias)
    return other


def test_a_permuted_network_gives_the_identity_and_unaligned_it_gives_noise():
    model, x = trained(), torch.rand(6, 2, 5, 5, dtype=torch.float64)
    other = relabelled(model, torch.tensor([3, 0, 7, 1, 6, 2, 5, 4]))
    assert torch.allclose(model(x), other(x))
    rows = [channel_rows(activations(m, x, ["0"])["0"]) for m in (model, other)]
    (_, u), (_, v) = (eigenvectors(channel_covariance(m[1][0].weight.detach())) for m in (model, other))
    rotation = procrustes(*rows)
    assert torch.allclose(spectral_map(u, v, rotation).abs(), identity(8), atol=1e-6)
    assert overlap(spectral_map(u, v, identity(8)), 2) < 0.7
    with torch.no_grad():
        stitched = nn.Sequential(model[0], Stitch(rotation, rows).double(), *other[1:])
        assert torch.allclose(stitched(x), other(x), atol=1e-5)  # the matrix is kept in float32
    few = carriers(rotation, rows, other[1][0].weight.detach(), 8, chance())
    assert all(
        torch.allclose(few[name], rotation, atol=1e-8) for name in ("", "-most-read", "-random", "-most-varying")
    )


# Formulas


def test_procrustes_is_scipys_and_no_other_rotation_is_nearer():
    x, y = normal(30, 4), normal(30, 4, seed=1)
    rotation = procrustes(x, y)
    xc, yc = x - x.mean(0), y - y.mean(0)
    peer, _ = linalg.orthogonal_procrustes(xc.numpy(), yc.numpy())
    assert torch.allclose(rotation, torch.from_numpy(peer).T, atol=1e-10)
    least = (xc @ rotation.T - yc).norm()
    assert all((xc @ random_rotation(4, chance(s)).T - yc).norm() > least for s in range(50))
    assert torch.allclose(procrustes(x + 5, y - 3), rotation, atol=1e-8)  # means do not count


@pytest.mark.parametrize(("x", "y"), [((9, 3), (8, 3)), ((9, 3), (9, 4)), ((3, 3), (3, 3))])
def test_an_alignment_that_is_not_determined_is_refused(x, y):
    with pytest.raises(Problem, match=r"alike in both|determine no rotation"):
        procrustes(normal(*x), normal(*y))


def test_covariances_are_loops_over_filters_and_places():
    w = normal(3, 4, 2, 2)
    channel, spatial = torch.zeros(4, 4, dtype=torch.float64), torch.zeros(4, 4, dtype=torch.float64)
    for o in range(3):
        for a in range(2):
            for b in range(2):
                channel += torch.outer(w[o, :, a, b], w[o, :, a, b]) / 12
        for i in range(4):
            spatial += torch.outer(w[o, i].flatten(), w[o, i].flatten()) / 12
    assert torch.allclose(channel_covariance(w), channel)
    assert torch.allclose(spatial_covariance(w), spatial)


def test_bures_similarity_is_by_matrix_roots_and_of_commuting_matrices_by_their_eigenvalues():
    a, b = spread(5), spread(5, seed=4)
    root = linalg.sqrtm(a.numpy())
    expected = np.trace(linalg.sqrtm(root @ b.numpy() @ root)).real / np.sqrt(np.trace(a) * np.trace(b))
    assert bures(a, b) == pytest.approx(expected)
    assert bures(a, 7 * a) == pytest.approx(1)
    p, q = torch.tensor([4.0, 1.0]).double(), torch.tensor([1.0, 9.0]).double()
    assert bures(torch.diag(p), torch.diag(q)) == pytest.approx((2 + 3) / 50**0.5)
    assert bures(torch.zeros(2, 2).double(), torch.diag(q)) == 0


def test_cka_is_by_kernels_of_examples_and_ignores_rotations_and_scale():
    x, y = normal(20, 3), normal(20, 5, seed=1)
    centre = identity(20) - 1 / 20
    k, m = (centre @ z @ z.T @ centre for z in (x, y))
    assert cka(x, y) == pytest.approx(((k * m).sum() / (k.norm() * m.norm())).item())
    assert cka(x, 3 * x @ random_rotation(3, chance()) + 1) == pytest.approx(1)


def test_shrinking_takes_away_noise_and_what_noise_adds_to_spikes():
    samples, n, noise = 20_000, 40, 0.5
    truth = torch.full((n,), noise, dtype=torch.float64)
    truth[:2] += torch.tensor([3.0, 1.0])
    rows = normal(samples, n) * truth.sqrt()
    values, _ = eigenvectors(rows.T @ rows / samples)
    found = shrink(values, samples)
    assert found[:2].tolist() == pytest.approx([3, 1], rel=0.05)
    assert (found[2:] == 0).sum() >= n - 4
    spike, g = 4.0, 0.2  # what a spike becomes among noise of variance 1, in closed form
    z = torch.tensor([spike * (1 + g / (spike - 1)), 1.0, 1.0], dtype=torch.float64)
    assert shrink(z, 15)[0].item() == pytest.approx(spike - 1)


def test_a_random_rotation_is_orthogonal_and_holds_its_share_on_average():
    q = [random_rotation(10, chance(s)) for s in range(200)]
    assert all(torch.allclose(r.T @ r, identity(10), atol=1e-10) for r in q)
    assert np.mean([overlap(r, 3) for r in q]) == pytest.approx(0.3, abs=0.02)
    assert np.mean([r[0, 0].item() for r in q]) == pytest.approx(0, abs=0.05)  # either sign as often
