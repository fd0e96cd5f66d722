"""What is claimed of rows as text."""

from etudes.core import Claim, alike, higher, lower

AUC = "test/auc"
MATTERS = 0.01  # of the AUC: one way ranks better
ALIKE = 0.02  # two ways rank alike
BEYOND = "beyond the paper"

CLAIMS: dict[str, Claim] = {
    "with 4,000 rows boosted trees rank better than the network": higher(
        "trees", "full", "sec. 5.2", of=AUC, matters=MATTERS
    ),
    "on the survey, boosted trees and the network rank alike, within 2 points of AUC": alike(
        "trees-real", "full-real", ALIKE, "sec. 5.2", of=AUC
    ),
    "with 64 rows the network that has read rows ranks better than boosted trees": higher(
        "full-64", "trees-64", "abstract", of=AUC
    ),
    "with 64 rows the network that has read rows ranks better than the one that has not": higher(
        "full-64", "first-64", "abstract", of=AUC
    ),
    "a low-rank change ranks as well as training all weights, within 2 points of AUC": alike(
        "lora", "full", ALIKE, BEYOND, of=AUC
    ),
    "a network half as wide ranks as well, within 2 points of AUC": alike("narrow", "full", ALIKE, BEYOND, of=AUC),
    "with columns shuffled at test the network ranks as well as in the order that it learnt, within 2 points of AUC": (
        alike(("full", "test/auc-shuffled"), ("full", AUC), ALIKE, BEYOND)
    ),
    "trained with shuffled columns the network ranks columns in order as well as the plainly trained one, within 2 "
    "points of AUC": alike("shuffled", "full", ALIKE, BEYOND, of=AUC),
    "with the names of columns hidden the network of our own ranks as well, within 2 points of AUC": alike(
        "names", "full", ALIKE, "sec. 5.1", of=AUC
    ),
    "with numbers digit by digit the network ranks worse than with whole ones": lower("digits", "full", BEYOND, of=AUC),
    "MiniLM's vectors of 64 rows of the survey rank better with the names of columns than with those hidden": higher(
        "vectors-64", "vectors-names-64", "sec. 5.1", of=AUC, matters=MATTERS
    ),
}
