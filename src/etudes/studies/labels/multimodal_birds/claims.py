"""What is claimed of networks of several modalities, and the numbers that decide it."""

from collections.abc import Sequence

from etudes.core import Claim, Measure, Trial, above, alike, below, higher, lower
from etudes.studies.labels.multimodal_birds.birds import LIMITS

ERROR = "test/error"
MATTERS = 0.01  # of an error: less is too small to matter
BEYOND = "beyond the papers"


def less_than_best(variant: str, others: Sequence[str], of: str = ERROR) -> Measure:
    """A measure: the error of a variant less the lowest of others."""

    def gap(trial: Trial) -> float:
        return trial[variant][of] - min(trial[other][of] for other in others)

    return gap


CLAIMS = {
    "a network that joins photo and title errs less often than the better of photo alone and title alone": Claim(
        less_than_best("joint", ("picture", "words")),
        below(0),
        "survey, sec. 6",
        matters=MATTERS,
        number="test/error of joint less the lower of picture and words",
    ),
}
