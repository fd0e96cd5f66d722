"""What is claimed of networks that learn a dialect, and the numbers that decide it."""

from collections.abc import Sequence

from etudes.core import Claim, Measure, Trial, above, alike, below, higher, lower

BITS = "test/bits-per-byte"
UNTOUCHED, ITALIAN, CROSS = (f"{BITS}-{name}" for name in ("untouched", "italian", "venetian"))
DIALECTS = ("venetian", "lombard", "ligurian", "sicilian", "neapolitan")
MATTERS = 0.03  # bits per byte that are too few to matter: about a hundredth of all
ALIKE = 0.1  # bits per byte by which two ways may differ that do as well
BEYOND = "beyond the paper"
SECTIONS = {
    "Low-rank changes": DIALECTS,
    "Other ways for Venetian": ("rank-2", "rank-32", "pieces", "full", "rehearsal"),
    "New networks": ("scratch", "scratch-italian-pieces", "scratch-long"),
}


def least_saving(variants: Sequence[str]) -> Measure:
    """A measure: the share of its bits per byte that adaptation saves, of the dialect where that is least."""

    def saving(trial: Trial) -> float:
        return min(1 - trial[v][BITS] / trial[v][UNTOUCHED] for v in variants)

    return saving


def loss_for_gain(variant: str) -> Measure:
    """A measure: what Italian loses by adaptation, as a share of what the dialect gains, both in bits per byte."""

    def share(trial: Trial) -> float:
        return trial[variant]["test/loss"] / trial[variant]["test/gain"]

    return share


def least_premium(variants: Sequence[str]) -> Measure:
    """A measure: the share of tokens that a dialect takes more than Italian for the same text, where it is least."""

    def premium(trial: Trial) -> float:
        return min(trial[v]["test/premium"] for v in variants)

    return premium


def near_over(other: str) -> Measure:
    """A measure: bits per byte of Venetian after Lombard or Ligurian was learnt, their mean, less those after another
    dialect, or with "" before any was."""

    def gap(trial: Trial) -> float:
        near = [trial[v] for v in ("lombard", "ligurian")]
        rival = trial[other][CROSS] if other else near[0][f"{CROSS}-untouched"]
        return sum(own[CROSS] for own in near) / len(near) - rival

    return gap


CLAIMS = {
    "in each of five dialects low-rank changes save more than a twentieth of the bits per byte of held-out text": Claim(
        least_saving(DIALECTS),
        above(0.05),
        "what was asked, C1",
        number="share of the bits per byte that is saved, in the dialect where it is least",
    ),
    "Italian loses less than half as many bits per byte as Venetian gains by low-rank changes": Claim(
        loss_for_gain("venetian"),
        below(0.5),
        "what was asked, C1",
        number="bits per byte that Italian loses, over those that Venetian gains",
    ),
    "a quarter of Italian in every batch leaves Italian with fewer bits per byte than none": lower(
        "rehearsal", "venetian", "what was asked, C1", of=ITALIAN, matters=MATTERS
    ),
    "each of five dialects takes more than a twentieth more tokens of an Italian tokenizer than the same text in "
    "Italian": Claim(
        least_premium(DIALECTS),
        above(0.05),
        "what was asked, C2",
        number="share of tokens more than for the same text in Italian, in the dialect where it is least",
    ),
    "for the arithmetic of adaptation, a new network with pieces of words of its own needs more bits per byte of "
    "Venetian than low-rank changes": higher("scratch", "venetian", "what was asked, C3", of=BITS),
    "for the arithmetic of pretraining and adaptation together, a new network with pieces of words of its own needs "
    "more bits per byte of Venetian than low-rank changes": higher(
        "scratch-long", "venetian", "what was asked, C3", of=BITS
    ),
    "a new network needs fewer bits per byte of Venetian with pieces of Venetian words than with pieces of Italian "
    "words": lower("scratch", "scratch-italian-pieces", "what was asked, C3", of=BITS),
    "low-rank changes need as few bits per byte of Venetian as training all weights": alike(
        "venetian", "full", ALIKE, "LoRA, sec. 5", of=BITS
    ),
    "training the vectors of pieces of words too needs fewer bits per byte of Venetian than low-rank changes "
    "alone": lower("pieces", "venetian", BEYOND, of=BITS),
    "once a network has learnt Lombard or Ligurian, Venetian needs fewer bits per byte than before": Claim(
        near_over(""),
        below(0),
        BEYOND,
        matters=MATTERS,
        number="bits per byte of Venetian after Lombard or Ligurian, their mean, less those before",
    ),
    "once a network has learnt Lombard or Ligurian, Venetian needs fewer bits per byte than once it has learnt "
    "Sicilian": Claim(
        near_over("sicilian"),
        below(0),
        BEYOND,
        matters=MATTERS,
        number="bits per byte of Venetian after Lombard or Ligurian, their mean, less those after Sicilian",
    ),
}
