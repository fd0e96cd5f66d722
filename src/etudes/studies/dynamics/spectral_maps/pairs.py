"""What is alike in two networks: maps between their eigenvectors, similarities, and whether they can be stitched."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from etudes.core import Run
from etudes.exhibits.sheets import save_sheet
from etudes.measure.activations import activations, channel_rows
from etudes.measure.error import error_rate
from etudes.studies.dynamics.spectral_maps.idea import (
    bures,
    channel_covariance,
    cka,
    eigenvectors,
    overlap,
    procrustes,
    random_rotation,
    shrink,
    spatial_covariance,
    spectral_map,
)
from etudes.studies.dynamics.spectral_maps.networks import common_network, learn

if TYPE_CHECKING:
    from etudes.studies.dynamics.spectral_maps import Config

DRAWS = 20  # of random rotations and permutations, of which what comes by chance is the mean
PATTERNS = 3  # leading spatial eigenvectors that are compared, of nine
BY_DEPTH = ("overlap", "bures", "cka", "stitched-error")  # told of each depth too


def compare_networks(cfg: "Config", run: Run) -> None:
    """The first network against the second, at every depth where a stage hands channels to the next, and on average."""
    first, its = learn(cfg, run, cfg.first)
    second, d = common_network(cfg, run, cfg.second)
    run.note(data=[d.source] if its.name == d.name else [d.source, its.source])
    depths = [str(depth) for depth in range(1, len(cfg.widths))]
    seen = [activations(model, d.x[: cfg.probes], depths) for model in (first, second)]  # what is aligned
    handed = activations(first, d.test_x, depths)
    numbers: dict[str, list[float]] = {}
    for depth in depths:
        filters = [model[int(depth) + 1][0].weight.detach().cpu() for model in (first, second)]
        rows = [channel_rows(of[depth]).double().cpu() for of in seen]
        rotation = procrustes(*rows)
        if depth == "1":
            draw_maps(run, filters, rotation)
        found = similarities(rows, filters, rotation, cfg.leading, run.rng("chance", int(depth)))
        for name, matrix in carriers(rotation, rows, filters[1], cfg.stitched, run.rng("bases", int(depth))).items():
            rest = nn.Sequential(Stitch(matrix, rows).to(run.device), *second[int(depth) + 1 :])
            found[f"stitched-error{name}"] = error_rate(rest, handed[depth], d.test_y)
        for name, number in found.items():
            numbers.setdefault(name, []).append(number)
    for name, values in numbers.items():
        run.result(**{f"test/{name}": sum(values) / len(values)})
        run.result(**{f"test/{name}-{depth}": value for depth, value in enumerate(values, 1) if name in BY_DEPTH})
    run.result(**{"test/error": error_rate(second, d.test_x, d.test_y)})


def similarities(
    rows: list[Tensor], filters: list[Tensor], rotation: Tensor, k: int, rng: np.random.Generator
) -> dict[str, float]:
    """How alike two networks are, from their activations [n, c] that one stage hands to the next, the next one's
    filters [out, c, h, w], and the rotation between the channels.

    Overlaps are of the k leading eigenvectors of the filters' covariances; by chance: with random rotations and random
    permutations in place of the aligned one. Bures' similarity is of the aligned covariances, shrunk.
    """
    covariances = [channel_covariance(f) for f in filters]
    (values, source), (others, target) = (eigenvectors(c) for c in covariances)
    n = len(rotation)
    rotations = [random_rotation(n, rng) for _ in range(DRAWS)]
    permutations = [torch.eye(n, dtype=torch.float64)[torch.from_numpy(rng.permutation(n))] for _ in range(DRAWS)]

    def mean_overlap(carriers: list[Tensor]) -> float:
        return sum(overlap(spectral_map(source, target, carry), k) for carry in carriers) / len(carriers)

    def mean_bures(carriers: list[Tensor]) -> float:
        samples = filters[0].shape[0] * filters[0][0, 0].numel()
        one, other = (
            basis * shrink(spread, samples) @ basis.T for spread, basis in ((values, source), (others, target))
        )
        return sum(bures(carry @ one @ carry.T, other) for carry in carriers) / len(carriers)

    patterns = [eigenvectors(spatial_covariance(f))[1] for f in filters]
    near = patterns[1].T @ patterns[0]
    aligned, by_chance = mean_overlap([rotation]), mean_overlap(permutations)
    return {
        "overlap": aligned,
        "overlap-excess": aligned - by_chance,
        "overlap-unaligned": mean_overlap([torch.eye(n, dtype=torch.float64)]),
        "overlap-rotated": mean_overlap(rotations),
        "overlap-permuted": by_chance,
        "bures": mean_bures([rotation]),
        "bures-permuted": mean_bures(permutations),
        "cka": cka(*rows),
        "spatial-overlap": overlap(near, PATTERNS),
        "spatial-overlap-rotated": PATTERNS / len(near),
    }


def carriers(
    rotation: Tensor, rows: list[Tensor], weight: Tensor, k: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """{ending of the metric's name: [c, c], what brings the first network's activations to the second's channels}.

    The whole rotation; its projection on k functions alone: what the second reads most strongly (the leading
    eigenvectors of its covariance of weights, as in a truncated functional map), what varies most in its activations,
    k at random; and channels as they are numbered.
    """
    centred = rows[1] - rows[1].mean(0)
    bases = {
        "-most-read": eigenvectors(channel_covariance(weight))[1],
        "-most-varying": eigenvectors(centred.T @ centred)[1],
        "-random": random_rotation(len(rotation), rng),
    }
    few = {name: basis[:, :k] @ basis[:, :k].T @ rotation for name, basis in bases.items()}
    return {"": rotation, **few, "-unaligned": torch.eye(len(rotation), dtype=torch.float64)}


class Stitch(nn.Module):
    """Activations [n, c, h, w] of the first network to those of the second, at every place: matrix (x - mean of the
    first's) + mean of the second's, with the means over rows [n, c] of both (Bansal, Nakkiran and Barak 2021,
    arXiv:2106.07682, train such a layer; here nothing is trained)."""

    def __init__(self, matrix: Tensor, rows: list[Tensor]) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix.float())
        self.register_buffer("shift", (rows[1].mean(0) - matrix @ rows[0].mean(0)).float())

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("dc,nchw->ndhw", self.matrix, x) + self.shift[:, None, None]


def draw_maps(run: Run, filters: list[Tensor], rotation: Tensor) -> None:
    """The absolute entries of the map between the eight leading eigenvectors: aligned, and with channels as they are
    numbered."""
    source, target = (eigenvectors(channel_covariance(f))[1] for f in filters)
    maps = [spectral_map(source, target, carry)[:8, :8] for carry in (rotation, torch.eye(len(rotation)).double())]
    save_sheet(run.path("map.png"), 1 - torch.stack(maps).abs().clamp(0, 1)[:, None], 2, 15)
