"""Functional maps between surfaces whose correspondence is known, and Guth and Ménard's map of the same surfaces."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from etudes.core import Run
from etudes.exhibits.sheets import save_sheet
from etudes.studies.dynamics.spectral_maps.idea import (
    commutation_error,
    eigenvectors,
    likeness,
    orthogonality_error,
    procrustes,
    random_rotation,
    spectral_map,
)
from etudes.studies.dynamics.spectral_maps.meshes import (
    Spectrum,
    bend,
    body,
    distortion,
    icosphere,
    spectrum,
    stretch,
)

if TYPE_CHECKING:
    from etudes.studies.dynamics.spectral_maps import Config

HEAT = 0.01  # time for which heat flows on a surface of area 1
FEW = 10  # functions, of which both maps are compared (heat leaves little of later ones), and by which points are found


def compare_surfaces(cfg: "Config", run: Run) -> None:
    """A body, the same bent, stretched and relabelled, and between them a third that is half as much deformed."""
    sphere, triangles = icosphere(cfg.subdivisions)
    first = body(sphere, run.rng("body"))
    second, third = (stretch(bend(first, part * cfg.bend), cfg.stretch**part) for part in (1, 0.5))
    says = f"bodies of {len(sphere):,} vertices, drawn anew under each seed"
    run.note(data={"dataset": "drawn-bodies", "kind": "drawn", "says": says})
    labels = run.rng("labels").permutation(len(sphere))  # vertex i of the second is vertex labels[i] of the body
    k = min(cfg.functions, len(sphere) - 1)
    one, two, middle = (
        spectrum(first, triangles, k),
        spectrum(second[labels], np.argsort(labels)[triangles], k),
        spectrum(third, triangles, k),
    )
    carry = torch.eye(len(sphere), dtype=torch.float64)[torch.from_numpy(labels)]
    c = spectral_map(one.vectors, two.vectors, carry, two.mass)
    leading = c[:, : cfg.kept]  # all rows, as a square would leave out what leaks past its edge
    theirs = network_map(run, one, two, carry, cfg.samples, cfg.gain)
    reach = np.linalg.norm(np.ptp(second, axis=0))
    few, all_, chance = (
        np.linalg.norm(second[match] - second[labels], axis=1).mean() / reach
        for match in (matches(c, one, two, FEW), matches(c, one, two, k), run.rng("matches").permutation(labels))
    )
    run.result(
        **{
            "test/orthogonality-error": orthogonality_error(leading),
            "test/commutation-error": commutation_error(leading, one.values[: cfg.kept], two.values),
            "test/composition-error": composition_error((one, middle, two), carry, cfg.kept),
            "test/diagonal": c[: cfg.kept, : cfg.kept].diagonal().square().mean(),
            "test/likeness": likeness(theirs[:FEW, :FEW], c[:FEW, :FEW]),
            "test/likeness-random": likeness(random_rotation(FEW, run.rng("rotation")), c[:FEW, :FEW]),
            "test/match-error-few": few,
            "test/match-error": all_,
            "test/match-error-random": chance,
            "test/distortion": distortion(first, second, triangles),
        }
    )
    save_sheet(run.path("map.png"), 1 - torch.stack([c[:20, :20], theirs[:20, :20]]).abs().clamp(0, 1)[:, None], 2, 6)


def composition_error(spectra: Sequence[Spectrum], carry: Tensor, k: int) -> float:
    """|C_23 C_12 - C_13| / |C_13| of k functions each, over three surfaces of which the first two have the same labels:
    what is lost as functions past the k-th are left out in between (FM)."""
    one, middle, two = (s.vectors[:, :k] for s in spectra)
    there = spectral_map(one, middle, torch.eye(len(one), dtype=one.dtype), spectra[1].mass)
    on, direct = (spectral_map(source, two, carry, spectra[2].mass) for source in (middle, one))
    return ((on @ there - direct).norm() / direct.norm()).item()


def matches(c: Tensor, one: Spectrum, two: Spectrum, k: int) -> np.ndarray:
    """int64 [n2]: for each vertex of the second surface the vertex of the first whose carried delta function is
    nearest to its own, by k functions (FM)."""
    carried = one.vectors[:, :k] @ c[:k, :k].T
    return torch.cdist(two.vectors[:, :k], carried).argmin(1).numpy()


def network_map(run: Run, one: Spectrum, two: Spectrum, carry: Tensor, samples: int, gain: float) -> Tensor:
    """Guth and Ménard's map [n, n] of two "networks" whose channels are the vertices of the surfaces.

    Activations: the same white noise, carried over, after heat has flowed on either surface; the rotation is aligned to
    `samples` of them. The covariance of weights is exp(-2 t L), a function of the Laplacian; with `gain` that of the
    second is exp(gain phi_1) exp(-2 t L) exp(gain phi_1), and is none. All are in coordinates times the root of the
    mass, in which eigenfunctions are orthonormal.
    """
    noise = torch.from_numpy(run.rng("stimuli").normal(size=(samples, len(carry))))
    before, after = one.mass.sqrt(), two.mass.sqrt()
    rotation = procrustes(heat(noise, one), heat(noise @ (after[:, None] * carry / before).T, two))
    louder = (gain * two.vectors[:, 1]).exp()
    source, target = (covariance(surface) for surface in (one, two))
    return spectral_map(eigenvectors(source)[1], eigenvectors(louder[:, None] * target * louder)[1], rotation)


def covariance(surface: Spectrum) -> Tensor:
    """exp(-2 t L) [n, n]: of white noise after heat has flowed for t."""
    return heat(heat(torch.eye(len(surface.mass), dtype=torch.float64), surface), surface)


def heat(rows: Tensor, surface: Spectrum) -> Tensor:
    """Rows [m, n], times the root of the mass, after heat has flowed: exp(-t L) in the surface's eigenfunctions."""
    basis = surface.mass.sqrt()[:, None] * surface.vectors
    return (rows @ basis * (-HEAT * surface.values).exp()) @ basis.T
