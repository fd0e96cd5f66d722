"""label trees: find a few of thousands of labels for a document by walking down a tree instead of asking them all.

The labels are the leaves of a tree; at each node linear classifiers tell which children a document belongs to, trained
on the documents of that node alone, and a beam search keeps the best few nodes of each level. What is compared is how
the tree is built. All trees have one shape: an order of the labels is halved again and again, into equal parts, until
a leaf is small enough, and every log2(branching) halvings make a level. So leaves are as large in every variant, and
trees differ in their order alone: balanced k-means on the labels' documents (PECOS), METIS on the graph of labels that
documents share, names, frequency, chance.

    etudes run label-trees                       3 minutes on two cores, 9 variants, 5 seeds
    etudes run label-trees --scale debtags       the same with few, frequent labels
    etudes run label-trees --scale eurlex        where files of EURLex-4K stand in the mirror or the cache

Departures from the paper: Newton's method in NumPy instead of LIBLINEAR's coordinate descent, for the same objective;
all leaves of one size; Debian's packages instead of laws and products. Each seed draws its own training documents, by
source package, its own k-means, METIS and random order. Cost is the number of inner products that a search computes
for a document, the same on every machine. Nothing is chosen on the test set: cost, pruning and the way to combine
scores are PECOS's defaults.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from scipy import sparse

from etudes.core.claims import Claim, Trial, above, below, difference, within
from etudes.core.errors import Problem
from etudes.core.run import Run
from etudes.core.spec import Paper, Scale, Study, Variant
from etudes.data.extreme import Documents, Part, documents, subset, tfidf
from etudes.measure.ranking import ndcg_at, precision_at, propensities, propensity_precision_at, recall_at
from etudes.reports.charts import bars
from etudes.train.loop import fit
from etudes.trees import orders
from etudes.trees.search import labels, reachable_nodes, search
from etudes.trees.tree import Matcher, grow, halvings, train_level

from .front import front


@dataclass(frozen=True)
class Config:
    dataset: str = "debian-depends"  # a set of labelled documents, as listed by `etudes data`
    documents: Annotated[int, above(0)] = 0  # training documents, drawn by whole groups; 0: all
    build: Literal["kmeans", "metis", "names", "frequency", "random", "flat"] = "kmeans"  # what the tree's order is of
    leaf: Annotated[int, above(1)] = 32  # labels of a leaf, at most
    branching: Annotated[int, above(2)] = 16  # children of a node, a power of two
    beam: Annotated[int, above(1)] = 10  # nodes of a level that the search keeps
    negatives: Literal["teacher", "matcher"] = "teacher"  # documents a node learns from besides its own, as in PECOS
    cost: Annotated[float, above(0)] = 1.0  # of the squared hinge, against the weights' size
    prune: Annotated[float, above(0)] = 0.1  # weights smaller than this are dropped
    combine: Literal["l3-hinge", "log-sigmoid"] = "l3-hinge"  # what a margin adds to a path's score
    propensity_a: Annotated[float, within(0, 1)] = 0.55  # of Jain et al. 2016: 0.6 for Amazon
    propensity_b: Annotated[float, above(0)] = 1.5  # of Jain et al. 2016: 2.6 for Amazon


TAIL = 4  # a label of the tail has been seen as often as this in training, or less
BEAMS = (1, 2, 5, 10, 20, 50)


def ordered(cfg: Config, run: Run, x: sparse.csr_matrix, y: sparse.csr_matrix, names: list[str]) -> np.ndarray:
    """The order [labels] of the labels, from which the tree is cut."""
    rng, depth = run.rng("order"), halvings(len(names), cfg.leaf)
    if cfg.build == "metis":
        graph = orders.cooccurrence(y)
        run.note(isolated_labels=len(orders.isolated_nodes(graph)))
        return orders.metis(graph, depth, rng)
    makers: dict[str, Callable[[], np.ndarray]] = {
        "kmeans": lambda: orders.kmeans(orders.label_features(x, y), depth, rng),
        "names": lambda: orders.name_order(names),
        "frequency": lambda: orders.frequency_order(y),
        "random": lambda: rng.permutation(len(names)),
        "flat": lambda: np.arange(len(names)),
    }
    return makers[cfg.build]()


def quality(cfg: Config, ranked: np.ndarray, part: Part, seen: np.ndarray, examples: int) -> dict[str, float]:
    """The measures of ranked labels [n, 10]; `seen` [labels] counts each label's training documents of `examples`."""
    chance = propensities(seen, examples, cfg.propensity_a, cfg.propensity_b)
    rare = part.y.multiply((seen > 0) & (seen <= TAIL)).tocsr()
    rare.eliminate_zeros()
    return {
        **{f"p{k}": precision_at(ranked, part.y, k) for k in (1, 3, 5)},
        "ndcg5": ndcg_at(ranked, part.y, 5),
        "psp5": propensity_precision_at(ranked, part.y, chance, 5),
        "recall10": recall_at(ranked, part.y, 10),
        **({"recall10-tail": recall_at(ranked, rare, 10)} if rare.nnz else {"recall10-tail": 0.0}),
    }


def train(cfg: Config, run: Run) -> None:
    if run.device.type != "cpu":
        run.note(device="cpu")  # SciPy's sparse matrices are there, whatever else the machine has
    d: Documents = subset(documents(cfg.dataset), cfg.documents, run.rng("documents"))
    run.note(data=d.source)
    x, validation, test = tfidf(d, d.validation, d.test)
    seen = np.asarray(d.train.y.sum(0)).ravel()
    known = np.flatnonzero(seen)  # a label without a training document is in no tree, but counts as missed
    if len(known) < 2:
        raise Problem(f"{cfg.dataset}: {len(known)} labels in {len(d.train)} training documents; take more of them")
    y = d.train.y[:, known]
    order = ordered(cfg, run, x, y, [d.labels[i] for i in known])
    tree = grow(order, len(known) if cfg.build == "flat" else cfg.leaf, cfg.branching)
    matcher = Matcher(tree, cfg.combine)

    def step(i: int) -> dict[str, float]:
        led = reachable_nodes(matcher, x, cfg.beam) if i and cfg.negatives == "matcher" else None
        pairs = train_level(matcher, x, y, cfg.cost, cfg.prune, led)
        return {"train/pairs": pairs, "train/nonzeros": matcher.levels[i].nnz}

    fit(run, {"matcher": matcher}, step, tree.depth)
    matcher.save(run.path("tree.safetensors"))

    def ranked(part: sparse.csr_matrix, beam: int) -> tuple[np.ndarray, float]:
        found = search(matcher, part, beam, 10)
        places = labels(matcher, found)
        return np.where(places >= 0, known[places], -1), found.products

    for split, weights, part in (("validation", validation, d.validation), ("test", test, d.test)):
        best, products = ranked(weights, cfg.beam)
        told = quality(cfg, best, part, seen, len(d.train))
        run.result(**{f"{split}/{name}": value for name, value in told.items()}, **{f"{split}/products": products})
    for beam in BEAMS if tree.depth > 1 else ():
        best, products = ranked(test, beam)
        told = {"p1": precision_at(best, d.test.y, 1), "ndcg5": ndcg_at(best, d.test.y, 5)}
        told |= {"recall10": recall_at(best, d.test.y, 10), "products": products}
        run.result(**{f"test/{name}-beam-{beam}": value for name, value in told.items()})
    best, _ = ranked(test, len(known))
    usual = np.tile(known[orders.frequency_order(y)[:10]], (len(d.test), 1))
    run.result(
        parameters=matcher.nonzeros,
        **{
            "test/p1-exhaustive": precision_at(best, d.test.y, 1),
            "test/recall10-exhaustive": recall_at(best, d.test.y, 10),
            "test/p1-frequent": precision_at(usual, d.test.y, 1),
            "test/recall10-frequent": recall_at(usual, d.test.y, 10),
            "train/labels": len(known),
            "train/depth": tree.depth,
            "train/weights": matcher.nonzeros,
        },
    )


def lost(beam: int) -> Callable[[Trial], float]:
    """A measure: the share of the recall at 10 of a search of the whole tree that is lost with a beam so wide."""
    return lambda t: 1 - t["kmeans"][f"test/recall10-beam-{beam}"] / t["kmeans"]["test/recall10-exhaustive"]


STUDY = Study(
    name="label-trees",
    question="Which tree over thousands of labels finds the right ones best, and at what cost?",
    paper=Paper(
        "PECOS: Prediction for Enormous and Correlated Output Spaces",
        "Yu, Zhong, Zhang, Chang, Dhillon",
        2022,
        "https://arxiv.org/abs/2010.05878",
    ),
    config=Config,
    program=train,
    threads=1,
    variants=(
        Variant("kmeans", says="balanced k-means on the labels' documents, 16 branches: PECOS's tree"),
        Variant("metis", {"build": "metis"}, "METIS on the graph of labels that documents share"),
        Variant("names", {"build": "names"}, "a taxonomy of names: facets of tags, prefixes of packages"),
        Variant("frequency", {"build": "frequency"}, "frequent labels together"),
        Variant("random", {"build": "random"}, "a random order"),
        Variant("flat", {"build": "flat"}, "no tree: every label against the rest"),
        Variant("kmeans-deep", {"branching": 2}, "the order of k-means, 2 branches a node"),
        Variant("kmeans-wide", {"branching": 256}, "the order of k-means, 256 branches a node"),
        Variant("kmeans-matcher", {"negatives": "matcher"}, "matcher-aware negatives besides teacher-forcing ones"),
    ),
    scales={
        "smoke": Scale({"dataset": "topics", "leaf": 3}, seeds=2, minutes=0.5, judges=False),
        "laptop": Scale({"documents": 5000}, seeds=5, minutes=3, offline={"dataset": "topics", "leaf": 3}),
        "debtags": Scale({"dataset": "debian-debtags", "documents": 5000, "leaf": 4}, seeds=5, minutes=3),
        "full": Scale({}, seeds=3, minutes=120),
        "eurlex": Scale({"dataset": "eurlex-4k"}, seeds=3, minutes=60),
        "amazon": Scale(
            {"dataset": "amazon-670k", "leaf": 100, "propensity_a": 0.6, "propensity_b": 2.6},
            seeds=3,
            minutes=3000,
            variants=("kmeans", "metis", "random", "kmeans-wide", "kmeans-matcher"),
        ),
    },
    claims=(
        Claim(
            "k-means helps",
            "the tree of k-means has a higher nDCG@5 than a random tree of the same shape",
            "semantic label indexing",
            difference("kmeans", "random", "test/ndcg5"),
            above(0),
        ),
        Claim(
            "METIS helps",
            "so has the tree of METIS on the graph of labels that documents share",
            "Karypis and Kumar 1998",
            difference("metis", "random", "test/ndcg5"),
            above(0),
        ),
        Claim(
            "METIS keeps up",
            "METIS's tree and that of k-means differ by less than 0.01 in nDCG@5",
            "Karypis and Kumar 1998",
            difference("metis", "kmeans", "test/ndcg5"),
            within(-0.01, 0.01),
        ),
        Claim(
            "METIS loses the tail",
            f"of labels with {TAIL} training documents or less, METIS's tree finds a smaller share in the first ten",
            "Karypis and Kumar 1998",
            difference("metis", "kmeans", "test/recall10-tail"),
            below(0),
        ),
        Claim(
            "wide is better",
            "256 branches a node give a higher nDCG@5 than 2",
            "table 3, branching factors",
            difference("kmeans-wide", "kmeans-deep", "test/ndcg5"),
            above(0),
        ),
        Claim(
            "wide is dearer",
            "and take more inner products a document",
            "branching factors",
            difference("kmeans-wide", "kmeans-deep", "test/products"),
            above(0),
        ),
        Claim(
            "a beam of 10 is enough",
            "it loses less than 2 % of the recall at 10 of a search of the whole tree",
            "beam search",
            lost(10),
            below(0.02),
        ),
        Claim("a beam of 1 is not", "it loses more than 2 %", "beam search", lost(1), above(0.02)),
        Claim(
            "as good as one against the rest",
            "the tree of k-means is at most 0.01 in nDCG@5 below classifiers of every label against all documents",
            "experiments",
            difference("kmeans", "flat", "test/ndcg5"),
            above(-0.01),
        ),
        Claim(
            "a tenth of the cost",
            "with a tenth of their inner products or less",
            "beam search",
            lambda t: t["kmeans"]["test/products"] / t["flat"]["test/products"],
            below(0.1),
        ),
        Claim(
            "matcher-aware negatives help",
            "negatives that the search itself brings up give a higher nDCG@5",
            "table 2, negative sampling",
            difference("kmeans-matcher", "kmeans", "test/ndcg5"),
            above(0),
        ),
    ),
    charts=(
        front("test/ndcg5", BEAMS, "nDCG@5"),
        front("test/recall10", BEAMS, "recall at 10"),
        bars("test/ndcg5", "test/p1", "test/psp5"),
        bars("test/recall10", "test/recall10-tail"),
        bars("test/products", "train/weights"),
    ),
    origin="D6",
    precision="fp32",
)
