"""spectral-maps on surfaces: the Laplacian, its eigenfunctions, and maps whose answer is known."""

import numpy as np
import pytest
import torch

from etudes.core import Problem
from etudes.studies.dynamics.spectral_maps.idea import likeness, orthogonality_error, spectral_map
from etudes.studies.dynamics.spectral_maps.meshes import (
    bend,
    body,
    distortion,
    icosphere,
    laplacian,
    spectrum,
    stretch,
)
from etudes.studies.dynamics.spectral_maps.surfaces import composition_error, matches, network_map


def a_body(subdivisions=2, seed=0):
    sphere, triangles = icosphere(subdivisions)
    return body(sphere, np.random.default_rng(seed)), triangles


def corners(p, q, r):
    """Lengths a, b, c opposite to the corners of a triangle, and its area by Heron's formula."""
    a, b, c = np.linalg.norm(q - r), np.linalg.norm(r - p), np.linalg.norm(p - q)
    s = (a + b + c) / 2
    return (a, b, c), np.sqrt(s * (s - a) * (s - b) * (s - c))


def test_an_icosphere_is_closed_round_and_turned_outwards():
    for k in range(3):
        x, triangles = icosphere(k)
        assert len(x) == 10 * 4**k + 2
        assert len(triangles) == 20 * 4**k
        assert np.allclose(np.linalg.norm(x, axis=1), 1)
        edges = {(a, b) for t in triangles for a, b in zip(t, np.roll(t, -1), strict=True)}
        assert len(edges) == 3 * len(triangles)  # each once in either direction: two triangles share an edge
        assert all((b, a) in edges for a, b in edges)
        assert (np.linalg.det(x[triangles]) > 0).all()


def test_the_laplacian_is_a_loop_over_triangles_with_angles_by_the_law_of_cosines():
    x, triangles = a_body(1)
    stiffness, mass = np.zeros((len(x), len(x))), np.zeros(len(x))
    for t in triangles:
        (a, b, c), area = corners(*x[t])
        mass[t] += area / 3
        for (i, j), cot in zip(
            ((1, 2), (2, 0), (0, 1)),
            ((b * b + c * c - a * a), (c * c + a * a - b * b), (a * a + b * b - c * c)),
            strict=True,
        ):
            weight = cot / (4 * area) / 2  # the cotangent of the opposite angle, halved
            for one, other, sign in ((i, j, -1), (j, i, -1), (i, i, 1), (j, j, 1)):
                stiffness[t[one], t[other]] += sign * weight
    ours, masses = laplacian(x, triangles)
    assert np.allclose(ours.toarray(), stiffness, atol=1e-10)
    assert np.allclose(masses, mass)
    assert np.allclose(ours @ np.ones(len(x)), 0, atol=1e-10)


def test_the_laplacian_is_a_peers():
    igl = pytest.importorskip("igl")
    x, triangles = a_body()
    stiffness, mass = laplacian(x, triangles)
    theirs = igl.cotmatrix(x, triangles)
    assert abs(stiffness + theirs).max() < 1e-8
    peer = igl.massmatrix(x, triangles, igl.MASSMATRIX_TYPE_BARYCENTRIC).diagonal()
    assert mass == pytest.approx(peer)


def test_the_laplacian_is_a_robust_peers_where_all_triangles_are_good():
    peer = pytest.importorskip("robust_laplacian")
    x, triangles = icosphere(2)
    stiffness, mass = laplacian(x, triangles)
    theirs, masses = peer.mesh_laplacian(x, triangles, mollify_factor=0)
    assert abs(stiffness - theirs).max() < 1e-6
    assert mass == pytest.approx(masses.diagonal(), rel=1e-6)


def test_eigenvalues_of_the_sphere_are_l_times_l_plus_1_and_come_2_l_plus_1_times():
    x, triangles = icosphere(3)
    values = spectrum(x, triangles, 16).values.numpy() / (4 * np.pi)  # of a sphere of area 1 they are 4 pi as large
    assert values == pytest.approx(np.repeat([0, 2, 6, 12], [1, 3, 5, 7]), rel=0.03, abs=1e-6)
    assert spectrum(7 * x, triangles, 4).values.numpy() == pytest.approx(values[:4] * 4 * np.pi, abs=1e-6)


def test_eigenfunctions_are_orthonormal_and_solve_the_problem_of_the_dense_solver():
    x, triangles = a_body()
    s = spectrum(x, triangles, 12)
    assert torch.allclose(s.vectors.T @ (s.mass[:, None] * s.vectors), torch.eye(12).double(), atol=1e-8)
    stiffness, mass = laplacian(x, triangles)
    from scipy import linalg

    dense = linalg.eigh(stiffness.toarray(), np.diag(mass / mass.sum()), eigvals_only=True)[:12]
    assert s.values.numpy() == pytest.approx(dense, abs=1e-6)
    assert (np.diff(dense) > 0.1).all()  # the body has no symmetry: no eigenvalue is double


def test_folded_meshes_and_too_many_functions_are_refused():
    x, triangles = icosphere(1)
    with pytest.raises(Problem, match="no area"):
        laplacian(x * [1, 0, 0], triangles)
    with pytest.raises(Problem, match="42 vertices has no 42 eigenfunctions"):
        spectrum(x, triangles, 42)


def test_bending_keeps_lengths_on_the_axis_and_stretching_does_not():
    axis = np.stack([np.linspace(-1, 1, 2001), np.zeros(2001), np.zeros(2001)], 1)
    bent = bend(axis, 1.5)
    assert np.linalg.norm(np.diff(bent, axis=0), axis=1).sum() == pytest.approx(2, rel=1e-5)
    centre = bent + np.array([0, 0, 1 / 1.5])
    assert np.linalg.norm(centre, axis=1) == pytest.approx(1 / 1.5)  # all on a circle of that curvature
    x, triangles = a_body()
    assert bend(x, 0) is x
    assert distortion(x, x @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0], triangles) < 1e-12
    assert distortion(x, 2 * x, triangles) == pytest.approx(np.log(2))
    assert 0 < distortion(x, bend(x, 0.1), triangles) < distortion(x, bend(x, 0.4), triangles)


class Draws:
    def rng(self, stream):
        return np.random.default_rng([3, *stream.encode()])


def two(deform, k=20):
    """A body and the same deformed and relabelled, with the order and what carries functions over."""
    x, triangles = a_body()
    order = np.random.default_rng(1).permutation(len(x))
    one = spectrum(x, triangles, k)
    other = spectrum(deform(x)[order], np.argsort(order)[triangles], k)
    return one, other, order, torch.eye(len(x), dtype=torch.float64)[torch.from_numpy(order)]


def test_a_relabelled_surface_has_a_diagonal_map_of_signs_and_every_point_is_found():
    one, other, order, carry = two(lambda x: x)
    c = spectral_map(one.vectors, other.vectors, carry, other.mass)
    assert torch.allclose(c.abs(), torch.eye(20).double(), atol=1e-5)
    assert (matches(c, one, other, 20) == order).all()
    assert composition_error((one, one, other), carry, 20) < 1e-8


def test_the_map_is_the_least_squares_solution_and_carries_functions():
    one, other, _, carry = two(lambda x: bend(x, 0.5))
    c = spectral_map(one.vectors, other.vectors, carry, other.mass)
    root = other.mass.sqrt()[:, None]
    expected = torch.linalg.lstsq(root * other.vectors, root * (carry @ one.vectors)).solution
    assert torch.allclose(c, expected, atol=1e-8)


def test_the_map_and_the_points_that_it_finds_are_a_peers():
    peer = pytest.importorskip("pyFM.spectral")
    one, other, order, carry = two(lambda x: bend(x, 0.5))
    c = spectral_map(one.vectors, other.vectors, carry, other.mass)
    theirs = peer.p2p_to_FM(order, one.vectors.numpy(), other.vectors.numpy(), A2=other.mass.numpy())
    assert c.numpy() == pytest.approx(theirs, abs=1e-10)
    points = peer.FM_to_p2p(theirs, one.vectors.numpy(), other.vectors.numpy())
    assert (matches(c, one, other, 20) == points).all()


def test_a_square_of_the_map_leaves_out_what_leaks_past_its_edge():
    one, other, _, carry = two(lambda x: stretch(x, 1.5), k=60)
    c = spectral_map(one.vectors, other.vectors, carry, other.mass)
    assert orthogonality_error(c[:, :10]) < orthogonality_error(c[:10, :10])


def test_a_networks_map_on_a_relabelled_surface_is_the_functional_map_and_with_a_gain_it_is_not():
    one, other, _, carry = two(lambda x: x)
    functional = spectral_map(one.vectors, other.vectors, carry, other.mass)[:8, :8]
    found = {gain: network_map(Draws(), one, other, carry, 400, gain)[:8, :8] for gain in (0.0, 0.5)}
    assert torch.allclose(found[0.0].abs(), functional.abs(), atol=1e-4)
    assert likeness(found[0.5], functional) < 0.9
