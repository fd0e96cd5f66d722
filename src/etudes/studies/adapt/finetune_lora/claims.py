"""What is claimed of low-rank changes, and the numbers that decide it."""

from etudes.core import Claim, Measure, Trial, alike, below, higher, lower

ERROR = "test/error"
ALIKE, MATTERS = 0.03, 0.01  # of the test error: two ways are alike, and one is better
BEYOND = "beyond the paper"


def gap_less(one: tuple[str, str], other: tuple[str, str]) -> Measure:
    """A measure: by how much the first of two variants errs more often than the second, less the same of other two."""

    def less(trial: Trial) -> float:
        here, there = (trial[a][ERROR] - trial[b][ERROR] for a, b in (one, other))
        return here - there

    return less


CLAIMS = {
    "training all weights errs less often from pretrained weights than from first ones": lower(
        "full", "full-first", "sec. 1", matters=MATTERS
    ),
    "a low-rank change of queries and values errs as often as training all weights, within 3 points": alike(
        "lora", "full", ALIKE, "sec. 5.2"
    ),
    "a low-rank change errs less often beside pretrained weights than beside first ones": lower(
        "lora", "lora-first", "sec. 4.1", matters=MATTERS
    ),
    "what low-rank changes lose against training all weights is less from pretrained weights than from first "
    "ones": Claim(
        gap_less(("lora", "full"), ("lora-first", "full-first")),
        below(0),
        BEYOND,
        number="test/error of lora less that of full, less the same from first weights",
    ),
    "rank 1 errs as often as rank 8, within 3 points": alike("lora-rank-1", "lora", ALIKE, "sec. 7.2, table 6"),
    "at equal size, rank 2 beside all matrices errs less often than rank 8 beside queries and values": lower(
        "lora-all", "lora", "sec. 7.1, table 5", matters=MATTERS
    ),
    "at equal size, changes of the decoder alone err more often than of both halves": higher(
        "lora-decoder", "lora", BEYOND, matters=MATTERS
    ),
    "with 128 labels a low-rank change errs as often as training all weights, within 3 points": alike(
        "lora-128", "full-128", ALIKE, "sec. F.3, table 16"
    ),
    "low-rank changes of the wider network err less often than of the one half as wide": lower(
        "lora", "lora-narrow", "sec. 5.5", matters=MATTERS
    ),
}
