"""The claims' own numbers."""

from etudes.core import Measure, Trial

ERROR = "test/error"


def gain(worse: str, better: str, trial: Trial) -> float:
    """How much lower the test error of `better` is, in one seed's numbers."""
    return trial[worse][ERROR] - trial[better][ERROR]


def larger_gain(here: tuple[str, str], there: tuple[str, str]) -> Measure:
    """A measure: the gain in test error from the first to the second of `here`, less the same of `there`."""

    def difference(trial: Trial) -> float:
        return gain(*here, trial) - gain(*there, trial)

    return difference
