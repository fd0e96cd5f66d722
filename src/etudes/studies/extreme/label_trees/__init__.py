"""label-trees: find a few of thousands of labels for a document by walking down a tree instead of asking them all.

The labels are the leaves of a tree. A label's score for a document x is summed over the nodes of its path,

    f(x, label) = sum of s(w_node x),    s(z) = -max(0, 1 - z)^3    (PECOS's l3-hinge),

w_node being a linear classifier, trained on the documents of the node above alone, and a beam search keeps the best few
nodes of each level. What is compared is how the tree is built. All trees have one shape: an order of the labels is
halved again and again, into equal parts, until a leaf is small enough, and every log2(branching) halvings make a level.
So leaves are as large in every variant, and trees differ in their order alone: balanced k-means on the labels'
documents (PECOS), METIS on the graph of labels that documents share, names, frequency, chance.

    etudes run label-trees                     5 minutes on two cores, 9 variants, 5 seeds
    etudes run label-trees --scale debtags     few, frequent labels, 5 seeds: 3 minutes on two cores
    etudes run label-trees --scale full        all documents of the first, 3 seeds: 2 hours on two cores
    etudes run label-trees --scale eurlex      where files of EURLex-4K are in the mirror or cache, 3 seeds: 1 hour
    etudes run label-trees --scale amazon      where files of Amazon-670K are, 3 seeds: 50 hours

The charts of quality against cost show what a narrow beam loses in each tree, and what one against the rest costs:
some ten times as much as a beam of 10, with four thousand labels.

Departures from the paper: Newton's method in NumPy instead of LIBLINEAR's coordinate descent, for the same objective;
all leaves of one size; Debian's packages instead of laws and products. Each seed draws its own training documents, by
source package, and three trees each of k-means, METIS and random orders, whose numbers are averaged. Cost is the number
of inner products that a search computes for a document, the same on every machine. Nothing is chosen on the test set:
cost, pruning and the way to combine scores are PECOS's defaults.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from scipy import sparse

from etudes.core import (
    Claim,
    Paper,
    Problem,
    Run,
    Scale,
    Study,
    Variant,
    above,
    alike,
    at_least,
    below,
    difference,
    higher,
    lower,
    positive,
    within,
)
from etudes.data.extreme import Documents, documents, subset, tfidf
from etudes.measure.ranking import precision_at, propensities, recall_at
from etudes.reports.charts import Chart, bars, plane
from etudes.studies.extreme.label_trees.findings import FIRST, TAIL, brief_quality, means, quality, recall_loss
from etudes.train import fit
from etudes.trees import orders
from etudes.trees.search import labels, reachable_nodes, search
from etudes.trees.tree import Matcher, grow, halvings, train_level


@dataclass(frozen=True)
class Config:
    dataset: str = "debian-depends"  # a set of labelled documents, as listed by `etudes data`
    documents: Annotated[int, at_least(0)] = 0  # training documents, drawn by whole groups; 0: all
    build: Literal["kmeans", "metis", "names", "frequency", "random", "flat"] = "kmeans"  # what the tree's order is of
    trees: Annotated[int, at_least(1)] = 1  # drawn one after another, where an order is drawn; numbers are their means
    leaf: Annotated[int, at_least(1)] = 32  # labels of a leaf, at most
    branching: Annotated[int, at_least(2)] = 16  # children of a node, a power of two
    beam: Annotated[int, at_least(1)] = 10  # nodes of a level that the search keeps
    negatives: Literal["teacher", "matcher"] = "teacher"  # documents a node learns from besides its own, as in PECOS
    cost: Annotated[float, positive] = 1.0  # of the squared hinge, against the weights' size
    prune: Annotated[float, at_least(0)] = 0.1  # weights smaller than this are dropped
    combine: Literal["l3-hinge", "log-sigmoid"] = "l3-hinge"  # what a margin adds to a path's score
    propensity_a: Annotated[float, within(0, 1)] = 0.55  # of Jain et al. 2016: 0.6 for Amazon
    propensity_b: Annotated[float, at_least(0)] = 1.5  # of Jain et al. 2016: 2.6 for Amazon


DRAWN = ("kmeans", "metis", "random")  # orders that are other ones at the next draw
BEAMS = (1, 2, 5, 10, 20, 50)  # nodes of a level that are kept, beside those of the whole tree


def label_order(
    cfg: Config, run: Run, x: sparse.csr_matrix, y: sparse.csr_matrix, names: list[str], draw: int
) -> np.ndarray:
    """The order [labels] from which a tree is cut, of training documents x [n, d] with labels y [n, labels]."""
    rng, depth = run.rng("order", draw), halvings(len(names), cfg.leaf)
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


def first_labels(matcher: Matcher, x: sparse.csr_matrix, beam: int, known: np.ndarray) -> tuple[np.ndarray, float]:
    """The FIRST best labels [n, FIRST] of documents x [n, d], -1 where there are fewer, and the inner products that a
    document took. The tree's labels are `known` [labels of the tree]."""
    ranking = search(matcher, x, beam, FIRST)
    places = labels(matcher, ranking)
    return np.where(places >= 0, known[places], -1), ranking.products


def search_metrics(
    matcher: Matcher, d: Documents, x: sparse.csr_matrix, known: np.ndarray, frequent: np.ndarray
) -> dict[str, float]:
    """Quality and cost on the test documents x [n, d] of every beam and of a search of the whole tree, beside the
    trivial baseline: the most frequent labels for every document."""
    metrics: dict[str, float] = {}
    for beam in BEAMS if matcher.tree.depth > 1 else ():
        found, products = first_labels(matcher, x, beam, known)
        measures = brief_quality(found, d.test.y) | {"products": products}
        metrics |= {f"test/{name}-beam-{beam}": number for name, number in measures.items()}
    best, _ = first_labels(matcher, x, len(known), known)
    for name, found in (("exhaustive", best), ("frequent", np.tile(frequent, (len(d.test), 1)))):
        metrics[f"test/p1-{name}"] = precision_at(found, d.test.y, 1)
        metrics[f"test/recall10-{name}"] = recall_at(found, d.test.y, FIRST)
    return metrics


def train(cfg: Config, run: Run) -> None:
    if run.device.type != "cpu":
        run.note(device="cpu")  # SciPy's sparse matrices are there, whatever else the machine has
    d = subset(documents(cfg.dataset), cfg.documents, run.rng("documents"))
    run.note(data=d.source)
    x, validation, test = tfidf(d, d.validation, d.test)
    counts = np.asarray(d.train.y.sum(0)).ravel()
    known = np.flatnonzero(counts)  # a label without a training document is in no tree, but counts as missed
    if len(known) < 2:
        raise Problem(f"{cfg.dataset}: {len(known)} labels in {len(d.train)} training documents; take more of them")
    y = d.train.y[:, known]
    names, leaf = [d.labels[i] for i in known], len(known) if cfg.build == "flat" else cfg.leaf
    draws = range(cfg.trees if cfg.build in DRAWN else 1)
    trees = [grow(label_order(cfg, run, x, y, names, draw), leaf, cfg.branching) for draw in draws]
    matchers = [Matcher(tree, cfg.combine) for tree in trees]
    depth = trees[0].depth

    def step(i: int) -> dict[str, float]:
        """Train a level of a tree, on the documents of each node, and of those that the search brings to it if asked
        for. All of a tree's levels come before the next tree."""
        matcher, level = matchers[i // depth], i % depth
        wrong_turns = reachable_nodes(matcher, x, cfg.beam) if level and cfg.negatives == "matcher" else None
        pairs = train_level(matcher, x, y, cfg.cost, cfg.prune, wrong_turns)
        return {"train/pairs": pairs, "train/nonzeros": matcher.levels[level].nnz}

    fit(run, {f"matcher-{k}": matcher for k, matcher in enumerate(matchers)}, step, depth * len(matchers))
    matchers[0].save(run.path("tree.safetensors"))

    chance = propensities(counts, len(d.train), cfg.propensity_a, cfg.propensity_b)
    frequent = known[orders.frequency_order(y)[:FIRST]]

    def numbers(matcher: Matcher) -> dict[str, float]:
        found: dict[str, float] = {"parameters": matcher.nonzeros}
        for split, texts, part in (("validation", validation, d.validation), ("test", test, d.test)):
            first, products = first_labels(matcher, texts, cfg.beam, known)
            measures = quality(first, part, counts, chance) | {"products": products}
            found |= {f"{split}/{name}": number for name, number in measures.items()}
        tree = {"labels": len(known), "depth": matcher.tree.depth, "weights": matcher.nonzeros}
        found |= {f"train/{name}": number for name, number in tree.items()}
        return found | search_metrics(matcher, d, test, known, frequent)

    run.result(**means([numbers(matcher) for matcher in matchers]))


TOPICS = {"dataset": "topics", "leaf": 3}  # generated: what stands in where Debian's descriptions cannot be had
DEBTAGS = {"dataset": "debian-debtags", "documents": 5000, "leaf": 4}
AMAZON = {"dataset": "amazon-670k", "leaf": 100, "propensity_a": 0.6, "propensity_b": 2.6}


def cost_front(metric: str, words: str) -> Chart:
    """Quality against cost, at each beam; a variant that scores every label is one point."""
    beams = [(f"test/products-beam-{beam}", f"{metric}-beam-{beam}") for beam in BEAMS]
    return plane(
        ("test/products", metric),
        *beams,
        x="inner products a document",
        y=words,
        log_x=True,
        says="The points of a line are beams, from the narrowest to the widest; upwards and to the left is better.",
    )


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
        "smoke": Scale(TOPICS | {"trees": 2}, seeds=1, minutes=0.1, judges=False),
        "laptop": Scale({"documents": 5000, "trees": 3}, seeds=(5, 8, 12, 20), minutes=5, offline=TOPICS),
        "debtags": Scale(DEBTAGS, seeds=5, minutes=3),
        "full": Scale({}, seeds=3, minutes=120),
        "eurlex": Scale({"dataset": "eurlex-4k"}, seeds=3, minutes=60),
        "amazon": Scale(
            AMAZON,
            seeds=3,
            minutes=3000,
            variants=("kmeans", "metis", "random", "kmeans-wide", "kmeans-matcher"),
        ),
    },
    words={
        "test/ndcg5": "nDCG@5",
        "test/p1": "precision at 1",
        "test/recall10": "recall at 10",
        "test/recall10-tail": "recall at 10 of rare labels",
        "test/psp5": "propensity-scored precision at 5",
        "test/products": "inner products a document",
        "test/recall10-frequent": "recall at 10 of always the most frequent labels",
        "train/weights": "weights that are not zero",
    },
    idea=search,
    claims={
        "the tree of k-means has a higher nDCG@5 than a random tree of the same shape": higher(
            "kmeans", "random", "semantic label indexing", of="test/ndcg5"
        ),
        "the tree of METIS on the graph of labels that documents share has a higher nDCG@5 than a random tree of the "
        "same shape": higher("metis", "random", "Karypis and Kumar 1998", of="test/ndcg5"),
        "the trees of METIS and of k-means differ by at most 0.01 (our margin) in nDCG@5": alike(
            "metis", "kmeans", 0.01, "Karypis and Kumar 1998", of="test/ndcg5"
        ),
        f"of labels with {TAIL} training documents or fewer, METIS's tree finds a smaller share among the first ten "
        "than that of k-means": lower(
            "metis", "kmeans", "Karypis and Kumar 1998", of="test/recall10-tail", matters=0.01
        ),
        "the tree of k-means has a higher nDCG@5 with 256 branches a node than with 2": higher(
            "kmeans-wide", "kmeans-deep", "table 3, branching factors", of="test/ndcg5", matters=0.01
        ),
        "in the tree of k-means a beam of 10 loses less than 2 % of the recall at 10 of a search of the whole tree": (
            Claim(
                recall_loss(10),
                below(0.02),
                "beam search",
                number="kmeans: 1 - test/recall10-beam-10 / test/recall10-exhaustive",
            )
        ),
        "in the tree of k-means a beam of 1 loses more than 2 % of the recall at 10 of a search of the whole tree": (
            Claim(
                recall_loss(1),
                above(0.02),
                "beam search",
                number="kmeans: 1 - test/recall10-beam-1 / test/recall10-exhaustive",
            )
        ),
        "the tree of k-means is less than 0.01 (our margin) in nDCG@5 below classifiers of every label against all "
        "documents": Claim(
            difference("kmeans", "flat", "test/ndcg5"),
            above(-0.01),
            "experiments",
            number="test/ndcg5: kmeans minus flat",
        ),
        "the tree of k-means has a higher nDCG@5 where classifiers also learn from documents that the search leads to "
        "their node by mistake (matcher-aware negatives)": higher(
            "kmeans-matcher", "kmeans", "table 2, negative sampling", of="test/ndcg5", matters=0.01
        ),
    },
    revisions=(
        "A run grows three trees where their order is drawn, and gives the means of their numbers; two claims on inner "
        "products, whose number follows from the trees' shape, became tests; margins of 0.01 in nDCG@5 and in the "
        "recall of the tail; looks go on to 20 seeds.",
    ),
    charts=(
        cost_front("test/ndcg5", "nDCG@5"),
        cost_front("test/recall10", "recall at 10"),
        bars("test/ndcg5", "test/p1", "test/psp5", title="How good the first labels are, by tree"),
        bars("test/recall10", "test/recall10-tail", title="Labels found among the first ten, of all and of rare ones"),
        bars("test/products", "train/weights", title="The work a document takes, and the weights kept"),
    ),
    origin="D6",
    precision="fp32",
)
