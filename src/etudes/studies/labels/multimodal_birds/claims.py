"""What is claimed of networks that join pictures and texts, and the numbers that decide it."""

from collections.abc import Sequence

from etudes.core import Claim, Measure, Trial, above, alike, below, higher, lower
from etudes.studies.labels.multimodal_birds.birds import LIMITS

ERROR = "test/error"
NO_PICTURE, NO_WORDS = "test/error-no-picture", "test/error-no-words"
PICTURE, WORDS = "test/probe-picture", "test/probe-words"
MATTERS = 0.01  # of an error: less is too small to matter
ALIKE = 0.03  # of an error: two ways are alike
BEYOND = "beyond the papers"


def less_than_best(place: tuple[str, str], others: Sequence[tuple[str, str]]) -> Measure:
    """A measure: a metric of a variant less the lowest of others."""

    def gap(trial: Trial) -> float:
        lowest = min(trial[variant][metric] for variant, metric in others)
        return trial[place[0]][place[1]] - lowest

    return gap


CLAIMS = {
    "a network that joins photo and title errs less often than the better of photo alone and title alone": Claim(
        less_than_best(("joint", ERROR), [("picture", ERROR), ("words", ERROR)]),
        below(0),
        "survey, sec. 6",
        matters=MATTERS,
        number="test/error of joint less the lower of picture and words",
    ),
    "joining features errs less often than letting the title meet the photo's pixels": lower(
        "joint", "early", "survey, sec. 6.1", matters=MATTERS
    ),
    "joining features errs less often than adding the decisions of two networks": lower(
        "joint", "late", "survey, sec. 6.1", matters=MATTERS
    ),
    "gates errs less often than joined features": lower("gated", "joint", "Arevalo et al., table 2", matters=MATTERS),
}
