"""What is claimed of encoders that are fine-tuned, and the numbers that decide it."""

from etudes.core import Claim, Measure, Trial, alike, below, higher, lower

ERROR = "test/error"
ALIKE, MATTERS = 0.03, 0.01  # of the test error: two ways are alike, and one is better
BEYOND = "beyond the paper"


def gain_less(one: tuple[str, str], other: tuple[str, str]) -> Measure:
    """A measure: by how much the first of two variants errs more often than the second, less the same of other two."""

    def less(trial: Trial) -> float:
        here, there = (trial[a][ERROR] - trial[b][ERROR] for a, b in (one, other))
        return here - there

    return less


def agreed_ratio(variant: str) -> Measure:
    """A measure: the variant's error on the sentences on which all judges agreed, over its error on all."""

    def ratio(trial: Trial) -> float:
        return trial[variant]["test/error-agreed"] / trial[variant][ERROR]

    return ratio


CLAIMS = {
    "a pretrained encoder that is fine-tuned errs less often than its copy with first weights": lower(
        "full", "scratch", "table 2", matters=MATTERS
    ),
}
_ = (Claim, alike, below, higher)
