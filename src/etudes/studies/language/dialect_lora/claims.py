"""What is claimed of networks that learn a dialect, and the numbers that decide it."""

from collections.abc import Sequence

from etudes.core import Claim, Measure, Trial, above, below, higher, lower

BITS = "test/bits-per-byte"
UNTOUCHED, ITALIAN, ELSEWHERE = f"{BITS}-untouched", f"{BITS}-italian", f"{BITS}-elsewhere"
DIALECTS = ("venetian", "lombard", "ligurian", "sicilian", "neapolitan")
MATTERS = 0.03  # bits per byte that are too few to matter
BEYOND = "beyond the paper"


def least_fall(variants: Sequence[str]) -> Measure:
    """A measure: the share of its bits per byte that adaptation saves, of the dialect where that is least."""

    def fall(trial: Trial) -> float:
        return min(1 - trial[v][BITS] / trial[v][UNTOUCHED] for v in variants)

    return fall


def rise_to_fall(variant: str) -> Measure:
    """A measure: what Italian loses by adaptation, as a share of what the dialect gains, both in bits per byte."""

    def share(trial: Trial) -> float:
        own = trial[variant]
        return (own[ITALIAN] - own[f"{ITALIAN}-untouched"]) / (own[UNTOUCHED] - own[BITS])

    return share


def least_premium(variants: Sequence[str]) -> Measure:
    """A measure: the share of tokens that a dialect takes more than Italian for the same text, where it is least."""

    def premium(trial: Trial) -> float:
        return min(trial[v]["test/premium"] for v in variants)

    return premium


CLAIMS = {
    "in each of five dialects low-rank adaptation takes more than a tenth off the bits per byte of held-out text": Claim(
        least_fall(DIALECTS),
        above(0.1),
        "B11, C1",
        number="share of the bits per byte saved in the dialect that saves least",
    ),
}
