"""What is claimed of encoders that are fine-tuned, and the numbers that decide it."""

from etudes.core import Claim, Measure, Trial, alike, below, lower

ERROR = "test/error"
ALIKE, MATTERS = 0.03, 0.01  # of the test error: two ways are alike, and one is better
BEYOND = "beyond the paper"


def gain_less(one: tuple[str, str], other: tuple[str, str]) -> Measure:
    """A measure: by how much the first of two variants errs more often than the second, less the same of other two."""

    def less(trial: Trial) -> float:
        here, there = (trial[a][ERROR] - trial[b][ERROR] for a, b in (one, other))
        return here - there

    return less


CLAIMS = {
    "a pretrained encoder that is fine-tuned errs less often than a small one that begins with first weights and "
    "learns for four times as many steps": lower("full", "own", "table 2", paper=0.14 - 0.29, matters=MATTERS),
    "a fine-tuned encoder errs less often than a linear classifier of counts of words": lower(
        "full", "counts", "table 2", matters=MATTERS
    ),
    "what fine-tuning gains over counts of words is more with a quarter of the labels": Claim(
        gain_less(("full-few", "counts-few"), ("full", "counts")),
        below(0),
        BEYOND,
        number="test/error of full less that of counts, with a quarter of the labels less the same with all",
    ),
    "training all weights errs less often than training the head alone": lower(
        "full", "probe", "table 7", paper=0.14 - 0.48, matters=MATTERS
    ),
    "with a quarter of the labels training all weights errs less often than training the head alone": lower(
        "full-few", "probe-few", BEYOND, matters=MATTERS
    ),
    "training the last two blocks errs as often as training all weights, within 3 points": alike(
        "last-two", "full", ALIKE, "table 7", paper=0.18 - 0.14
    ),
    "a fine-tuned encoder errs less often on sentences on which all judges agreed than over all sentences": lower(
        ("full", "test/error-agreed"), ("full", ERROR), "table 2", paper=0.03 - 0.14, matters=MATTERS
    ),
    "the head on an English encoder's vectors errs less often than on those of a multilingual one": lower(
        "probe", "multilingual", BEYOND, matters=MATTERS
    ),
    "the head on an English encoder's vectors errs less often than on those of a multilingual one of the same "
    "depth": lower("probe", "multilingual-six", BEYOND, matters=MATTERS),
}
