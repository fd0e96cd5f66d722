"""By how much each operation changes what it aims at, on the test."""

from etudes.studies.adapt.graph_task_vectors.operations import Bench, Weights


def change(bench: Bench, operation: str, made: Weights) -> float:
    """By how much the arithmetic changes the score that it aims at, on the test, from the weights that it starts from:
    the mean of the added tasks by sums, the forgotten classes by negation, the corner D by the analogy."""
    start = bench.tuned_weights("corner-C") if operation in ("analogy", "analogy-random") else bench.base()
    before, after = (_aim(bench, operation, weights_) for weights_ in (start, made))
    return after - before


def _aim(bench: Bench, operation: str, weights_: Weights) -> float:
    if operation.startswith(("analogy", "corner")):
        return bench.corner(weights_, "D", "test")
    forgotten, added = bench.aims.forgotten, bench.aims.added
    if operation in ("negated", "negated-random", "ascent"):
        return bench.scores(weights_, "test", [forgotten])[f"{forgotten}-high"]
    found = bench.scores(weights_, "test", added)
    return sum(found[task] for task in added) / len(added)
