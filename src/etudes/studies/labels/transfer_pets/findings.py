"""The claims, and their own numbers."""

from etudes.core import Claim, Measure, Trial, above, alike, higher, lower

ERROR = "test/error"
ALIKE, MATTERS = 0.03, 0.01  # of the test error: two ways are alike, and one is better
SOHN, LEE, ADABN = "arXiv:2001.07685, sec. 2", "Lee 2013, sec. 3", "arXiv:1603.04779, sec. 3"
BRIEF = "the course's project 1.1"


def gain(worse: str, better: str, trial: Trial) -> float:
    """How much lower the test error of `better` is, in one seed's numbers."""
    return trial[worse][ERROR] - trial[better][ERROR]


def larger_gain(here: tuple[str, str], there: tuple[str, str]) -> Measure:
    """A measure: the gain in test error from the first to the second of `here`, less the same of `there`."""

    def difference(trial: Trial) -> float:
        return gain(*here, trial) - gain(*there, trial)

    return difference


CLAIMS = {
    "with all labels, training the last two stages errs less than training the head alone": lower(
        "last-two", "head", BRIEF, matters=MATTERS
    ),
    "training the last two stages in place of the head alone gains less with one label a class than with all": Claim(
        larger_gain(("head", "last-two"), ("one-head", "one")),
        above(0),
        BRIEF,
        number="gain in test error of last-two over head, less that of one over one-head",
    ),
    "with a tenth of the labels, learning from pictures changed a little errs less than from them as they are": lower(
        "tenth-small", "tenth", BRIEF, matters=2 * MATTERS
    ),
    "on sketches, norms with the statistics of the sketches err less than with those of the pretraining": lower(
        "sketches-adapted", "sketches", ADABN
    ),
    "statistics of the new pictures gain more, or cost less, on sketches than on photos of animals": Claim(
        larger_gain(("sketches", "sketches-adapted"), ("head", "head-adapted")),
        above(0),
        "beyond the papers",
        number="gain in test error of adapted statistics on sketches, less that on animals",
    ),
    "with one label a class, aligned pseudo-labels for the rest err less than learning from the labels alone": lower(
        "one-aligned", "one-head", LEE, matters=MATTERS
    ),
    "aligned pseudo-labels gain more with one label a class than with half of the labels": Claim(
        larger_gain(("one-head", "one-aligned"), ("half-head", "half-aligned")),
        above(0),
        SOHN,
        number="gain in test error of one-aligned over one-head, less that of half-aligned over half-head",
    ),
    "with one label a class, pseudo-labels that are not aligned err more than learning from the labels alone": higher(
        "one-any", "one-head", "beyond the papers"
    ),
    "binary cross-entropies of all classes err as often as cross-entropy, within 3 points": alike(
        "logistic", "last-two", ALIKE, BRIEF
    ),
    "the loss of a multi-class support vector machine errs as often as cross-entropy, within 3 points": alike(
        "margin", "last-two", ALIKE, BRIEF
    ),
    "the head alone errs as often by Nesterov's momentum as by Adam, within 3 points": alike(
        "head-nag", "head", ALIKE, BRIEF
    ),
}
