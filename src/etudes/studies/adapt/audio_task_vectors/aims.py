"""What each operation is to change, measured on the test."""

from etudes.studies.adapt.audio_task_vectors.operations import ADDED, Bench, Weights

FORGETTING = ("negated", "negated-random", "ascent")
CORNERS = ("clean-second", "noisy-first")  # networks that the analogy is made of
FROM_SECOND = ("analogy", "analogy-random")  # which start from the network of the second speakers


def change(bench: Bench, operation: str, made: Weights) -> float:
    """By how much the arithmetic changes the accuracy that it aims at, from the weights that it starts from: the mean
    of the added tasks by sums, the high digits by negation, noise by the second speakers by the analogy."""
    start = bench.tuned_weights("clean-second") if operation in FROM_SECOND else bench.base()
    before, after = (_aim(bench, operation, weights_) for weights_ in (start, made))
    return after - before


def _aim(bench: Bench, operation: str, weights_: Weights) -> float:
    if operation in FORGETTING:
        return bench.scores(weights_, "test", ["digits"])["high"]
    if operation.startswith("analogy") or operation in CORNERS:
        return bench.digits(weights_, "noisy", "test-second")
    found = bench.scores(weights_, "test", ADDED)
    return sum(found[task] for task in ADDED) / len(ADDED)
