"""spectral-maps: are the aligned eigenvectors of networks' weights a functional map, and what do they tell?

A functional map (Ovsjanikov et al. 2012) writes a correspondence T between two surfaces in the eigenfunctions of their
Laplacians; Guth and Menard write a rotation R between the channels of two layers, aligned on activations, in the
eigenvectors of their weights' covariances:

    C = Phi_2^+ T Phi_1        and        C = U_2^T R U_1.

They are one matrix where R = T is a relabelling and the covariances are one function of the Laplacians.

    etudes run spectral-maps                  3 minutes on two cores, 11 variants, 5 seeds
    etudes run spectral-maps --scale paper    300 minutes on a GPU, 6 variants and 1 seed: VGG-11 on CIFAR-10

TO EXPECT

Departures from the paper: ...
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from etudes.core import Paper, Run, Scale, Study, Variant, at_least, between, higher, lower, positive
from etudes.reports.charts import bars, pictures
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
    dataset: str = "fashion-mnist"  # a picture set, as listed by `etudes data`
    other: str = "cifar10"  # another one, brought to the size and channels of the first
    examples: Annotated[int, at_least(0)] = 1000  # pictures that a network learns from; 0: half of the set
    side: Annotated[int, at_least(0)] = 14  # height and width to which pictures are brought; 0: as they are
    widths: tuple[int, ...] = (16, 32, 32, 32)  # channels of each stage
    pools: tuple[int, ...] = (1, 2)  # stages that end in a 2x2 max-pool
    first: Kind = "other-half"  # what the first network has learnt, whose stages are read
    second: Kind = "half"  # what the second has learnt, which reads them
    probes: Annotated[int, at_least(1)] = 1000  # pictures of the second's half, on which networks are aligned
    tested: Annotated[int, at_least(0)] = 2000  # test pictures; 0: all
    leading: Annotated[int, at_least(1)] = 4  # leading eigenvectors that are compared, and that a short stitch keeps


def compare(cfg: Config, run: Run) -> None:
    if cfg.compares == "surfaces":
        compare_surfaces(cfg, run)
    else:
        compare_networks(cfg, run)


SURFACES = {"compares": "surfaces"}

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
        "smoke": Scale(
            {
                "dataset": "digits",
                "other": "digits",
                "side": 8,
                "examples": 60,
                "widths": (8, 8, 8),
                "pools": (1,),
                "batch": 10,
                "probes": 30,
                "tested": 50,
                "subdivisions": 2,
                "functions": 30,
                "kept": 12,
                "samples": 200,
                "steps": 4,
            },
            seeds=2,
            minutes=0.1,
            judges=False,
        ),
        "laptop": Scale({"probes": 1000}, seeds=(5, 8, 12, 20), minutes=3),
    },
    claims={
        "on a bent body": lower("bent", "stretched", "sec. 5", of="test/commutation-error"),
    },
    charts=(
        bars("test/overlap", "test/overlap-permuted"),
        pictures("map.png"),
    ),
    idea=spectral_map,
    origin="B2",
)
