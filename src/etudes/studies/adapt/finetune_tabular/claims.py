"""What is claimed of rows as text, and the numbers that decide it."""

from etudes.core import Claim, Measure, Trial, above, alike, higher, lower

AUC = "test/auc"
MATTERS = 0.01  # of the AUC: one way ranks better
ALIKE = 0.02  # two ways rank alike
BEYOND = "beyond the paper"


def gain_more(one: tuple[str, str], other: tuple[str, str]) -> Measure:
    """A measure: the AUC of the first of two variants less that of the second, less the same of other two."""

    def more(trial: Trial) -> float:
        here, there = (trial[a][AUC] - trial[b][AUC] for a, b in (one, other))
        return here - there

    return more


CLAIMS = {
    "with 4,000 rows boosted trees rank better than the network": higher(
        "trees", "full", "sec. 5.2", of=AUC, matters=MATTERS
    ),
    "on the survey too, boosted trees rank better than the network": higher(
        "trees-real", "full-real", "sec. 5.2", of=AUC, matters=MATTERS
    ),
    "with 64 rows the pretrained network ranks better than boosted trees": higher(
        "full-64", "trees-64", "abstract", of=AUC, matters=MATTERS
    ),
    "with 64 rows the pretrained network ranks better than the one that is not": higher(
        "full-64", "first-64", "abstract", of=AUC, matters=MATTERS
    ),
    "pretraining gains more AUC with 64 rows than with 4,000": Claim(
        gain_more(("full-64", "first-64"), ("full", "first")),
        above(0),
        "sec. 5.2",
        number="test/auc of full less that of first with 64 rows, less the same with 4,000",
    ),
    "a low-rank change ranks as well as training all weights, within 2 points of AUC": alike(
        "lora", "full", ALIKE, BEYOND, of=AUC
    ),
    "with columns shuffled at test the network ranks worse than in the order that it learnt": lower(
        ("full", "test/auc-shuffled"), ("full", AUC), BEYOND, matters=MATTERS
    ),
    "trained with shuffled columns, the network ranks shuffled ones as the plainly trained one ranks those in order, "
    "within 2 points of AUC": alike(("shuffled", "test/auc-shuffled"), ("full", AUC), ALIKE, BEYOND),
    "with the names of columns hidden the network ranks as well, within 2 points of AUC": alike(
        "names", "full", ALIKE, "sec. 5.1", of=AUC
    ),
    "with numbers digit by digit the network ranks worse than with whole ones": lower(
        "digits", "full", BEYOND, of=AUC, matters=MATTERS
    ),
    "on the survey the answers that are written have a lower balanced accuracy than odds cut at the share of smokers": (
        lower(
            ("full-real", "test/balanced-accuracy"),
            ("full-real", "test/balanced-accuracy-cut"),
            BEYOND,
            matters=MATTERS,
        )
    ),
}
