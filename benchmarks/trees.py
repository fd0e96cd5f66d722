"""Label trees against libpecos, in one run: etudes bench trees

Training    the tree of k-means (16 branches, leaves of 32 labels at most) and its matchers, from TF-IDF and labels to
            the finished tree, by `etudes.trees`, and by libpecos's XLinearModel on the same documents with the same
            features, branches, leaves, cost, pruning and teacher-forcing negatives.
Prediction  the first ten labels of all test documents with a beam of 10, as one batch; libpecos's from the saved model
            that it loads for prediction alone, which is its fast way.

Goal: as fast as libpecos, on one thread each, at equal P@1 (within 0.01). Contenders take turns, each round beginning
with the other one and drawing its own k-means; the table has medians over the rounds and of ours over theirs in the
same round. Seconds are those of the processor, so that other work on the machine does not count.

libpecos wants NumPy below 2 and Python 3.9 to 3.12, so it runs in an environment of its own, whose Python
ETUDES_PECOS names:

    python3.10 -m venv pecos && pecos/bin/pip install libpecos==1.2.8
    ETUDES_PECOS=pecos/bin/python etudes bench trees
"""

import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import sparse
from threadpoolctl import threadpool_limits

from etudes.core.environment import environment
from etudes.core.errors import Problem
from etudes.data.extreme import documents, subset, tfidf
from etudes.measure.ranking import precision_at
from etudes.trees import orders
from etudes.trees.search import labels, search
from etudes.trees.tree import Matcher, grow, halvings, train_level

SETS = {"debian-depends": 5000, "debian-debtags": 5000}  # documents of each to train on
LEAF, BRANCHING, BEAM, TOP, COST, PRUNE = 32, 16, 10, 10, 1.0, 0.1

THEIRS = """
import json, sys, time
import numpy, scipy.sparse
import pecos
from pecos.utils import smat_util
from pecos.xmc import Indexer, LabelEmbeddingFactory
from pecos.xmc.xlinear.model import XLinearModel

folder, seed, leaf, branching, beam, top, cost, prune = sys.argv[1], *map(float, sys.argv[2:])
x, y, test = (scipy.sparse.load_npz(f"{folder}/{name}.npz").tocsr().astype("float32") for name in ("x", "y", "test"))
begun = time.process_time()
chain = Indexer.gen(
    LabelEmbeddingFactory.create(y, x, method="pifa"),
    max_leaf_size=int(leaf), nr_splits=int(branching), seed=int(seed), threads=1,
)
model = XLinearModel.train(
    x, y, C=chain, Cp=cost, Cn=cost, bias=1.0, threshold=prune, negative_sampling_scheme="tfn", threads=1
)
trained = time.process_time()
model.save(f"{folder}/model")
model = XLinearModel.load(f"{folder}/model", is_predict_only=True)  # its fast path
loaded = time.process_time()
found = model.predict(test, beam_size=int(beam), only_topk=int(top), threads=1)
done = time.process_time()
ranked = numpy.full((test.shape[0], int(top)), -1)
for row in range(test.shape[0]):
    own = slice(found.indptr[row], found.indptr[row + 1])
    order = numpy.argsort(-found.data[own], kind="stable")
    ranked[row, : len(order)] = found.indices[own][order]
numpy.save(f"{folder}/ranked.npy", ranked)
print(json.dumps([trained - begun, done - loaded]))
"""

Turn = tuple[float, float, float]  # seconds to train, to predict; P@1


def ours(
    x: sparse.csr_matrix, y: sparse.csr_matrix, test: sparse.csr_matrix, truth: sparse.csr_matrix, seed: int
) -> Turn:
    begun = time.process_time()
    depth = halvings(y.shape[1], LEAF)
    order = orders.kmeans(orders.label_features(x, y), depth, np.random.default_rng(seed))
    matcher = Matcher(grow(order, LEAF, BRANCHING))
    for _ in range(matcher.tree.depth):
        train_level(matcher, x, y, COST, PRUNE)
    trained = time.process_time()
    ranked = labels(matcher, search(matcher, test, BEAM, TOP))
    done = time.process_time()
    return trained - begun, done - trained, precision_at(ranked, truth, 1)


def theirs(python: str, folder: Path, truth: sparse.csr_matrix, seed: int) -> Turn:
    asked = [python, "-c", THEIRS, str(folder), *map(str, (seed, LEAF, BRANCHING, BEAM, TOP, COST, PRUNE))]
    done = subprocess.run(asked, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Problem(f"libpecos failed in {python} ({words}); see the head of benchmarks/trees.py")
    training, prediction = json.loads(done.stdout.splitlines()[-1])
    return training, prediction, precision_at(np.load(folder / "ranked.npy"), truth, 1)


def compare(name: str, count: int, python: str, rounds: int) -> tuple[str, list[Turn], list[Turn]]:
    d = subset(documents(name), count, np.random.default_rng(0))
    x, test = tfidf(d, d.test)
    known = np.flatnonzero(np.asarray(d.train.y.sum(0)).ravel())
    y, truth = d.train.y[:, known], d.test.y[:, known]
    own: list[Turn] = []
    peer: list[Turn] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for file, matrix in (("x", x[:, :-1]), ("y", y), ("test", test[:, :-1])):  # libpecos adds the bias itself
            sparse.save_npz(folder / f"{file}.npz", matrix.sorted_indices())
        for turn in range(rounds):
            for place in (0, 1):
                if (turn + place) % 2 == 0:
                    own.append(ours(x, y, test, truth, turn))
                elif python:
                    peer.append(theirs(python, folder, truth, turn))
    return f"{name}: {len(d.train):,} + {len(d.test):,} documents, {len(known):,} labels", own, peer


def told(title: str, own: list[Turn], peer: list[Turn]) -> Table:
    table = Table("by", "training, s", "prediction, s", "both, s", "P@1", title=title, title_justify="left")
    for name, turns in (("études", own), ("libpecos", peer)):
        if turns:
            train, predict, precision = (statistics.median(column) for column in zip(*turns, strict=True))
            table.add_row(name, f"{train:.2f}", f"{predict:.2f}", f"{train + predict:.2f}", f"{precision:.4f}")
    if peer:
        parts = (slice(0, 1), slice(1, 2), slice(0, 2))
        ratios = [[sum(a[part]) / sum(b[part]) for a, b in zip(own, peer, strict=True)] for part in parts]
        cells = [f"{statistics.median(r):.2f} ({min(r):.2f} to {max(r):.2f})" for r in ratios]
        table.add_row(
            "ours/theirs", *cells, f"{statistics.mean(a[2] - b[2] for a, b in zip(own, peer, strict=True)):+.4f}"
        )
        table.add_row("goal", "1.00", "1.00", "1.00", "within 0.01")
    return table


def main(rounds: int = 5) -> None:
    facts = environment()
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    print(f"{facts['host']}; one thread; {libraries}")
    python = os.environ.get("ETUDES_PECOS", "")
    if not python:
        print("libpecos is left out: ETUDES_PECOS names no Python that has it; see the head of benchmarks/trees.py")
    console = Console(width=124)
    with threadpool_limits(1):  # NumPy's products too: their second thread would count as processor time
        for name, count in SETS.items():
            console.print(told(*compare(name, count, python, rounds)))
    print(f"{rounds} rounds")


if __name__ == "__main__":
    main()
