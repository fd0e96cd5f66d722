import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import optimize, sparse

from etudes.trees.solver import squared_hinge


def problem(n=60, d=25, k=5, seed=0):
    rng = np.random.default_rng(seed)
    x = sparse.random(n, d, density=0.3, format="csr", random_state=seed, dtype=np.float32)
    x = sparse.hstack([x, np.ones((n, 1), np.float32)], format="csr", dtype=np.float32)
    y = np.where(rng.random((n, k)) < rng.uniform(0.05, 0.6, k), 1, -1)
    y[0], y[1] = 1, -1
    return x, y


def objective(w, x, y, cost):
    return w @ w / 2 + cost * (np.maximum(0, 1 - y * (x @ w)) ** 2).sum()


@pytest.mark.parametrize("cost", [0.1, 1.0, 10.0])
def test_it_reaches_the_least_objective(cost):
    x, y = problem()
    found = squared_hinge(x, y, cost, 1e-4)
    dense = x.toarray().astype(float)
    for column in range(y.shape[1]):
        own = y[:, column]
        least = optimize.minimize(objective, np.zeros(x.shape[1]), (dense, own, cost), method="L-BFGS-B")
        value = objective(found[:, column].astype(float), dense, own, cost)
        assert value == pytest.approx(least.fun, rel=1e-3)
        assert value <= least.fun * (1 + 1e-3)


def test_it_agrees_with_liblinear():
    svm = pytest.importorskip("sklearn.svm")
    x, y = problem()
    found = squared_hinge(x, y, 1.0, 1e-4)
    for column in range(y.shape[1]):
        peer = svm.LinearSVC(C=1.0, fit_intercept=False, tol=1e-6, dual=True, max_iter=10**5).fit(x, y[:, column])
        assert np.abs(peer.coef_[0] - found[:, column]).max() < 0.01


def test_a_column_does_not_depend_on_its_neighbours():
    x, y = problem()
    together = squared_hinge(x, y, 1.0, 1e-4)
    for column in range(y.shape[1]):
        alone = squared_hinge(x, y[:, [column]], 1.0, 1e-4)
        assert np.allclose(alone[:, 0], together[:, column], atol=1e-3)


def test_a_rare_class_is_not_given_up_for_the_common_one():
    rng = np.random.default_rng(0)
    dense = np.hstack([rng.random((1000, 20)) < 0.2, np.ones((1000, 1))]).astype(np.float32)
    dense[:, 0] = np.arange(1000) < 3
    x = sparse.csr_matrix(dense)
    y = np.full((1000, 1), -1)
    y[:3] = 1
    scores = (x @ squared_hinge(x, y, 1.0))[:, 0]
    assert scores[:3].min() > scores[3:].max() + 0.5


def test_documents_of_one_class_alone_are_learnt():
    x, _ = problem()
    assert ((x @ squared_hinge(x, np.ones((60, 1)), 1.0)) > 0.5).all()
    assert ((x @ squared_hinge(x, -np.ones((60, 1)), 1.0)) < -0.5).all()


def test_weights_do_not_depend_on_the_kernels_of_blas():
    code = (
        "import hashlib, numpy as np; from scipy import sparse;"
        "from etudes.trees.orders import kmeans; from etudes.trees.solver import squared_hinge;"
        "x = sparse.random(200, 3000, 0.02, format='csr', dtype=np.float32, random_state=0);"
        "y = np.where(np.random.default_rng(0).random((200, 40)) < 0.2, 1, -1);"
        "order = kmeans(x, 5, np.random.default_rng(0));"
        "print(hashlib.sha256(squared_hinge(x, y, 1.0).tobytes() + order.tobytes()).hexdigest())"
    )
    digests = set()
    for kernels, threads in (("Haswell", "1"), ("Nehalem", "1"), ("Haswell", "2")):
        own = {"OPENBLAS_CORETYPE": kernels, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        done = subprocess.run([sys.executable, "-c", code], env=os.environ | own, capture_output=True, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1
