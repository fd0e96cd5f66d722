"""spectral-maps: what becomes of one operator's eigenvectors in another's, on surfaces and in networks.

A functional map (Ovsjanikov et al. 2012) writes a correspondence T between two surfaces in the eigenfunctions of their
Laplacians; Guth and Ménard write a rotation R between the channels of two layers, aligned on activations, in the
eigenvectors of their weights' covariances:

    C = Phi_2^+ T Phi_1        and        C = U_2^T R U_1.

They are one matrix where R = T is a relabelling and the covariances are one function of the Laplacians.

    etudes run spectral-maps                  3 minutes on two cores, 10 variants, 5 seeds
    etudes run spectral-maps --scale clothes  2 minutes, 5 variants and 3 seeds: clothes, and photographs in grey
    etudes run spectral-maps --scale paper    60 minutes on a GPU, 5 variants and 1 seed: VGG-11 on CIFAR-10

To expect: on surfaces both maps are one unless the covariance is made another one; networks of true labels overlap far
above chance, untrained ones not at all; what the next stage reads most is what a stitch has to pass on.

Departures from the paper: small networks, 1,000 pictures each and 16 pixels; halves of one set and one other set in
place of many sets; a mean over depths; shrinkage by Donoho's formula, as the paper's was not at hand; surfaces are
drawn, not scanned, and their correspondence is known, not searched for.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from etudes.core import (
    Claim,
    Paper,
    Run,
    Scale,
    Study,
    Trial,
    Variant,
    above,
    at_least,
    below,
    between,
    higher,
    lower,
    positive,
)
from etudes.reports.charts import bars, pictures, plane
from etudes.studies.dynamics.spectral_maps.findings import foresight
from etudes.studies.dynamics.spectral_maps.idea import spectral_map
from etudes.studies.dynamics.spectral_maps.networks import Kind
from etudes.studies.dynamics.spectral_maps.pairs import compare_networks
from etudes.studies.dynamics.spectral_maps.surfaces import compare_surfaces
from etudes.train import Sgd


@dataclass(frozen=True)
class Config(Sgd):
    compares: Literal["surfaces", "networks"] = "networks"  # two surfaces, or two networks
    subdivisions: Annotated[int, at_least(1)] = 3  # of the icosahedron: 10 * 4^subdivisions + 2 vertices
    functions: Annotated[int, at_least(11)] = 100  # eigenfunctions of a surface, at most as many as vertices
    kept: Annotated[int, at_least(10)] = 30  # of them in the map whose errors are measured
    bend: Annotated[float, at_least(0)] = 0.0  # curvature to which the second surface's long axis is bent; length 2
    stretch: Annotated[float, positive] = 1.0  # factor by which the second surface is wider
    gain: Annotated[float, at_least(0)] = 0.0  # how far the second surface's covariance is from one of the Laplacian
    samples: Annotated[int, at_least(1)] = 2000  # activations on surfaces, to which the rotation is aligned
    dataset: str = "cifar10"  # a picture set, as listed by `etudes data`
    other: str = "imagenette"  # another one, brought to the size and channels of the first
    examples: Annotated[int, at_least(0)] = 1000  # pictures that a network learns from; 0: half of the set
    side: Annotated[int, at_least(0)] = 16  # height and width to which pictures are brought; 0: as they are
    widths: tuple[int, ...] = (16, 32, 32, 32)  # channels of each stage
    pools: tuple[int, ...] = (1, 2)  # stages that end in a 2x2 max-pool
    first: Kind = "other-half"  # what the first network has learnt, whose stages are read
    second: Kind = "half"  # what the second has learnt, which reads them
    probes: Annotated[int, at_least(1)] = 1000  # pictures of the second's half, on which networks are aligned
    tested: Annotated[int, at_least(0)] = 2000  # test pictures; 0: all
    leading: Annotated[int, at_least(1)] = 4  # eigenvectors whose spaces are compared
    stitched: Annotated[int, at_least(1)] = 8  # functions that a short stitch keeps


def compare(cfg: Config, run: Run) -> None:
    if cfg.compares == "surfaces":
        compare_surfaces(cfg, run)
    else:
        compare_networks(cfg, run)


def foresight_gain(trial: Trial) -> float:
    """How much better the overlap ranks pairs of networks than CKA does."""
    return foresight(trial, "overlap") - foresight(trial, "cka")


def short_stitch_gain(trial: Trial) -> float:
    """How much more a stitch errs by directions that are read most than by those that vary most, between networks of
    true labels."""
    few, varying = "test/stitched-error-most-read", "test/stitched-error-most-varying"
    return sum(trial[pair][few] - trial[pair][varying] for pair in ("halves", "other-set")) / 2


MAPS = """Columns are functions of the first, rows of the second. Surfaces, twenty functions: the functional map, and
beside it the networks' map of the same surfaces. Networks, eight directions at the first depth: aligned, and beside it
with the channels as they are numbered."""
SHORT = "error by eight directions read most minus error by eight that vary most, mean of halves and other-set"
GAIN = "rank correlation with the stitched network's accuracy, of the overlap minus that of CKA"
SURFACES = {"compares": "surfaces"}
NETWORKS = ("halves", "other-set", "random-labels", "both-random", "untrained")
TINY = {"dataset": "digits", "other": "digits", "side": 8, "examples": 60, "widths": (8, 8, 8), "pools": (1,),
        "probes": 30, "tested": 50, "subdivisions": 2, "functions": 30, "kept": 12, "samples": 200}  # fmt: skip
LAPTOP = {"steps": 600, "batch": 50, "weight_decay": 3e-3, "log_every": 50}
OFFLINE = {"dataset": "digits", "other": "digits"}
CLOTHES = {"dataset": "fashion-mnist", "other": "cifar10"}
VGG11 = {"widths": (64, 128, 256, 256, 512, 512, 512, 512), "pools": (1, 2, 4, 6, 8)}
PAPER = VGG11 | {"other": "tiny-imagenet", "side": 32, "examples": 0, "probes": 2000, "leading": 16,
                 "stitched": 64, "steps": 39_000, "weight_decay": 5e-4, "log_every": 100}  # fmt: skip

STUDY = Study(
    name="spectral-maps",
    question="Are the aligned eigenvectors of two networks' weights a functional map, and what do they tell?",
    paper=Paper(
        "On the universality of neural encodings in CNNs",
        "Guth, Ménard",
        2024,
        "https://arxiv.org/abs/2409.19460",
    ),
    config=Config,
    program=compare,
    precision="fp32",
    variants=(
        Variant("relabelled", SURFACES, "a surface and itself, its vertices in another order"),
        Variant("bent", SURFACES | {"bend": 0.2}, "bent a little: nearly isometric"),
        Variant("bent-far", SURFACES | {"bend": 1.0}, "bent far"),
        Variant("stretched", SURFACES | {"stretch": 1.5}, "half as wide again: not isometric"),
        Variant("gain", SURFACES | {"gain": 0.5}, "relabelled; covariance that is no function of the Laplacian"),
        Variant("halves", {}, "networks of two halves of one set"),
        Variant("other-set", {"first": "other-set"}, "the first of another set"),
        Variant("random-labels", {"first": "random-labels"}, "the first of random labels"),
        Variant("both-random", {"first": "other-random-labels", "second": "random-labels"}, "both of random labels"),
        Variant("untrained", {"first": "untrained"}, "the first untrained"),
    ),
    scales={
        "smoke": Scale(TINY | {"steps": 4, "batch": 10}, seeds=2, minutes=0.1, judges=False),
        "laptop": Scale(LAPTOP, seeds=(5, 8, 12, 20), minutes=3, offline=OFFLINE),
        "clothes": Scale(LAPTOP | CLOTHES, seeds=3, minutes=2, judges=False, variants=NETWORKS, offline=OFFLINE),
        "paper": Scale(PAPER, seeds=1, minutes=60, judges=False, variants=NETWORKS, offline=OFFLINE),
    },
    claims={
        "the map to a body bent a little commutes with the eigenvalues better than that to a stretched one": lower(
            "bent", "stretched", "Ovsjanikov et al. 2012, isometries", of="test/commutation-error", matters=0.01
        ),
        "two functional maps to a bent body, one after the other, are the direct one up to 5 %": between(
            "bent", -math.inf, 0.05, "Ovsjanikov et al. 2012, composition", of="test/composition-error"
        ),
        "ten of 642 functions tell where the points of a bent body are, up to 2 % of its size": between(
            "bent", -math.inf, 0.02, "Ovsjanikov et al. 2012, few functions", of="test/match-error-few"
        ),
        "with covariances of one function of the Laplacian both maps agree by 0.95, even on a body bent far": between(
            "bent-far", 0.95, math.inf, "beyond the papers", of="test/likeness"
        ),
        "networks of two halves of a set overlap more, aligned, than with channels in random order": between(
            "halves", 0, math.inf, "Guth and Ménard 2024, abstract", of="test/overlap-excess", matters=0.08
        ),
        "networks of two sets of photographs overlap more, aligned, than with channels in random order": between(
            "other-set", 0, math.inf, "Guth and Ménard 2024, abstract", of="test/overlap-excess", matters=0.08
        ),
        "a network of random labels is less similar to one of true labels than a network of another set is": lower(
            "random-labels", "other-set", "Guth and Ménard 2024, random labels", of="test/bures", matters=0.02
        ),
        "two networks of random labels are more similar than one of random and one of true labels": higher(
            "both-random", "random-labels", "Guth and Ménard 2024, random labels", of="test/bures", matters=0.02
        ),
        "leading spatial eigenvectors of random and of true labels overlap more than by chance": higher(
            ("random-labels", "test/spatial-overlap"),
            ("random-labels", "test/spatial-overlap-rotated"),
            "Guth and Ménard 2024, random labels",
            matters=0.1,
        ),
        "a stitch of eight directions that the reader reads most errs less than of eight that vary most": Claim(
            short_stitch_gain, below(0), "beyond the papers", matters=0.01, number=SHORT
        ),
        "the overlap ranks pairs of networks by how well they can be stitched better than CKA does": Claim(
            foresight_gain, above(0), "beyond the papers", matters=0.1, number=GAIN
        ),
    },
    charts=(
        bars(
            "test/overlap-excess",
            title="How much more two networks read alike than by chance",
            says="The share of four leading directions that lie in the other network's four, aligned, less the same "
            "with channels in random order.",
        ),
        pictures("map.png", title="The maps, signs left out: dark is 1", says=MAPS),
        bars(
            "test/commutation-error",
            "test/orthogonality-error",
            "test/likeness",
            title="Functional maps of surfaces, and how like the networks' map is to them",
        ),
        bars(
            "test/stitched-error-most-read",
            "test/stitched-error-most-varying",
            "test/stitched-error-random",
            title="Error of a stitch of eight directions",
        ),
        plane(
            ("test/overlap", "test/stitched-error"),
            x="overlap, aligned",
            y="error of the stitched network",
            title="Do pairs that overlap more stitch better?",
            variants=("halves", "other-set", "random-labels", "untrained"),
        ),
        plane(
            ("test/cka", "test/stitched-error"),
            x="CKA",
            y="error of the stitched network",
            title="Do pairs with a larger CKA stitch better?",
            variants=("halves", "other-set", "random-labels", "untrained"),
        ),
        bars(
            "test/spatial-overlap",
            "test/bures",
            "test/cka",
            title="Three more measures of how alike networks are",
        ),
    ),
    words={
        "test/overlap-excess": "overlap above chance",
        "test/bures": "similarity",
        "test/spatial-overlap": "overlap of spatial patterns",
        "test/stitched-error": "error of the stitched network",
        "test/cka": "CKA",
        "test/commutation-error": "how far the map is from commuting",
        "test/composition-error": "how far two maps are from the direct one",
        "test/likeness": "likeness of both maps",
    },
    idea=spectral_map,
    origin="B2",
)
