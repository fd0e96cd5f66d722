"""What is claimed of networks that join pictures and texts, and the numbers that decide it."""

from collections.abc import Sequence

from etudes.core import Claim, Measure, Trial, alike, below, higher, lower

ERROR = "test/error"
NO_PICTURE = "test/error-no-picture"
PICTURE, WORDS = "test/probe-picture", "test/probe-words"
MATTERS, MORE = 0.01, 0.02  # of an error: less is too small to matter, or to be seen where seeds differ more
ALIKE = 0.03  # of an error: two ways are alike
BEYOND = "beyond the papers"
Place = tuple[str, str]  # a variant and one of its metrics


def less_than_best(place: Place, others: Sequence[Place]) -> Measure:
    """A measure: a metric of a variant less the lowest of others."""

    def gap(trial: Trial) -> float:
        return trial[place[0]][place[1]] - min(trial[variant][metric] for variant, metric in others)

    return gap


PAIRS = [("digits-dropped", f"test/error-no-{name}") for name in ("picture", "sound", "words")]

CLAIMS = {
    "a network that joins photo and title errs less often than the better of photo alone and title alone": Claim(
        less_than_best(("joint", ERROR), [("picture", ERROR), ("words", ERROR)]),
        below(0),
        "survey, sec. 6; Wang et al., table 1, has the opposite",
        matters=MATTERS,
        number="test/error of joint less the lower of picture and words",
    ),
    "joining features errs less often than letting the title meet the photo's pixels": lower(
        "joint", "early", "survey, sec. 6.1.1", matters=MATTERS
    ),
    "with both at hand, joining features and adding decisions err alike, within 3 points": alike(
        "joint", "late", ALIKE, "survey, sec. 6.1.1"
    ),
    "joining by gates errs less often than joining by a hidden layer": lower(
        "gated", "joint", "Arevalo et al., sec. 4", matters=MATTERS
    ),
    "with the photo missing, a network whose modalities were dropped in training errs less often than one that always "
    "had both": lower("dropped", "joint", "Neverova et al., sec. 3", of=NO_PICTURE, matters=MORE),
    "with both at hand, dropping modalities in training lowers the error": lower(
        "dropped", "joint", "Neverova et al.", matters=MORE
    ),
    "an encoder of titles that learns in a joint network is worse, by a linear probe, than one that learns alone": (
        higher("joint", "words", "Wang et al., sec. 3", of=WORDS, matters=MATTERS)
    ),
    "a loss for each modality makes a better encoder of photos, by a linear probe, than the joint loss alone": (
        lower("blended", "joint", "Wang et al., sec. 3", of=PICTURE, matters=MATTERS)
    ),
    "titles given to other photos of the same class make joining look better than real pairs do": lower(
        "anew", "joint", BEYOND, matters=MORE
    ),
    "where a kind shows in picture and caption together alone, joining features errs less often than adding "
    "decisions": lower("birds-joint", "birds-late", BEYOND, matters=MORE),
    "of spoken digits that are also seen and described, all three modalities err less often than the best two": Claim(
        less_than_best(("digits-dropped", ERROR), PAIRS),
        below(0),
        BEYOND,
        matters=MATTERS,
        number="test/error of digits-dropped less the lowest with one of three missing",
    ),
}
