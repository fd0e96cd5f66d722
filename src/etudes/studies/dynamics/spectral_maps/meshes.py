"""Triangle meshes of closed surfaces, and the eigenfunctions of their Laplacian."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import eigsh
from torch import Tensor

from etudes.core.errors import Problem


@dataclass(frozen=True)
class Spectrum:
    """The first k eigenfunctions of a surface's Laplacian."""

    values: Tensor  # float64 [k], from 0 upwards
    vectors: Tensor  # float64 [n, k], with vectors^T diag(mass) vectors = I
    mass: Tensor  # float64 [n], the area that belongs to each vertex; their sum is the surface's


def icosphere(subdivisions: int) -> tuple[np.ndarray, np.ndarray]:
    """The unit sphere of 10 * 4^subdivisions + 2 vertices: points float64 [n, 3] and triangles int64 [f, 3], counted
    counter-clockwise from outside. Each subdivision of the icosahedron parts every triangle into four."""
    g = (1 + math.sqrt(5)) / 2
    points = [(-1, g, 0), (1, g, 0), (-1, -g, 0), (1, -g, 0), (0, -1, g), (0, 1, g), (0, -1, -g), (0, 1, -g),
              (g, 0, -1), (g, 0, 1), (-g, 0, -1), (-g, 0, 1)]  # fmt: skip
    faces = [(0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4), (11, 10, 2), (10, 7, 6),
             (7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10),
             (8, 6, 7), (9, 8, 1)]  # fmt: skip
    x, triangles = _unit(np.array(points, float)), np.array(faces)
    for _ in range(subdivisions):
        edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        pairs, which = np.unique(edges, axis=0, return_inverse=True)
        middle = len(x) + which.reshape(-1, 3)
        x = np.concatenate([x, _unit(x[pairs].mean(1))])
        (a, b, c), (ab, bc, ca) = triangles.T, middle.T
        triangles = np.stack([a, ab, ca, b, bc, ab, c, ca, bc, ab, bc, ca], 1).reshape(-1, 3)
    return x, triangles


def body(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points [n, 3] of a long body made of the unit sphere's: half axes 1, 0.35 and 0.25, with four broad dents and
    bumps at random places, so that it has no symmetry and no eigenvalue is double."""
    places = _unit(rng.normal(size=(4, 3)))
    heights = rng.choice([-1, 1], 4) * rng.uniform(0.15, 0.3, 4)
    bumps = np.exp(4 * (x @ places.T - 1)) @ heights  # each reaches about 40 degrees
    return x * (1 + bumps)[:, None] * [1, 0.35, 0.25]


def bend(x: np.ndarray, curvature: float) -> np.ndarray:
    """Points [n, 3] with the first axis bent into an arc of that curvature, in the plane of the first and third.

    Lengths along the axis are kept; at height z above it they grow by the factor 1 + curvature z. So a thin body is
    bent nearly isometrically. Curvature 0 gives the points themselves.
    """
    if curvature == 0:
        return x
    angle, radius = curvature * x[:, 0], 1 / curvature + x[:, 2]
    return np.stack([radius * np.sin(angle), x[:, 1], radius * np.cos(angle) - 1 / curvature], 1)


def stretch(x: np.ndarray, factor: float) -> np.ndarray:
    """Points [n, 3] with the second axis longer by the factor: a change of lengths that is no bending."""
    return x * [1, factor, 1]


def distortion(x: np.ndarray, y: np.ndarray, triangles: np.ndarray) -> float:
    """The mean absolute logarithm of the ratio of corresponding edges' lengths; 0 for an isometry."""
    edges = np.unique(np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    one, other = (np.linalg.norm(np.diff(points[edges], axis=1)[:, 0], axis=1) for points in (x, y))
    return float(np.abs(np.log(other / one)).mean())


def laplacian(x: np.ndarray, triangles: np.ndarray) -> tuple[csr_matrix, np.ndarray]:
    """The stiffness matrix [n, n], symmetric and positive semi-definite, and the mass [n] of each vertex.

    An edge between i and j has the weight -(cot a + cot b) / 2, with a and b the angles opposite to it; rows sum to 0.
    The mass is a third of the area of the triangles at a vertex. (Pinkall and Polthier 1993, Computing discrete minimal
    surfaces and their conjugates.) Raises Problem on a triangle without area.
    """
    n, rows, columns, values = len(x), [], [], []
    areas = np.linalg.norm(np.cross(*(x[triangles[:, i]] - x[triangles[:, 0]] for i in (1, 2))), axis=1) / 2
    if not (areas > 0).all():
        raise Problem(f"triangle {int(np.argmin(areas))} has no area; the mesh is folded, deform it less")
    for k in range(3):
        i, j, corner = triangles[:, k], triangles[:, (k + 1) % 3], triangles[:, (k + 2) % 3]
        cotangent = ((x[i] - x[corner]) * (x[j] - x[corner])).sum(1) / (2 * areas)
        rows += [i, j]
        columns += [j, i]
        values += [-cotangent / 2] * 2
    off = coo_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (n, n)).tocsr()
    stiffness = off - diags(np.asarray(off.sum(1))[:, 0])
    return stiffness.tocsr(), np.bincount(triangles.ravel(), np.repeat(areas / 3, 3), n)


def spectrum(x: np.ndarray, triangles: np.ndarray, k: int) -> Spectrum:
    """The k eigenfunctions of lowest eigenvalue: stiffness v = value mass v, by Lanczos about a point below 0.

    The surface is brought to area 1 first, so that eigenvalues of larger and smaller ones can be compared. Raises
    Problem where the mesh has too few vertices for k.
    """
    if not 1 <= k < len(x):
        raise Problem(f"a mesh of {len(x)} vertices has no {k} eigenfunctions to look for; take fewer than vertices")
    stiffness, mass = laplacian(x, triangles)
    mass = mass / mass.sum()  # stiffness does not depend on the size
    half = diags(mass**-0.5)
    values, vectors = eigsh(half @ stiffness @ half, k, sigma=-1.0, v0=np.sqrt(mass))
    order = np.argsort(values)
    vectors = vectors[:, order] * (mass**-0.5)[:, None]
    return Spectrum(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (values[order], vectors, mass)))


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)
