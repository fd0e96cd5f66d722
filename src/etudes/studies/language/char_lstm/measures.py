"""What claims on several numbers of a seed measure."""

from etudes.core import Trial

BITS = "test/bits-per-byte"


def size_gain(trial: Trial) -> float:
    """The larger change in bits per byte of the two steps from half the size to double."""
    half, one, double = (trial[name][BITS] for name in ("lstm-half", "lstm", "lstm-double"))
    return max(one - half, double - one)


def repetition_gain(trial: Trial) -> float:
    """How far the repetitions of beam search are above those of human text and of the nucleus, whichever has more."""
    of = {way: trial["lstm-2"][f"test/repetition-{way}"] for way in ("beam", "human", "nucleus-95")}
    return of["beam"] - max(of["human"], of["nucleus-95"])


def spelling_gain(trial: Trial) -> float:
    """How far the dictionary's words in draws with a cut tail are above those in pure draws, for the worse cut."""
    return min(_above_pure(trial, "dictionary"))


def distinct_gain(trial: Trial) -> float:
    """How far the different pairs of draws with a cut tail are above those of pure draws, for the more diverse way."""
    return max(_above_pure(trial, "distinct"))


def _above_pure(trial: Trial, metric: str) -> list[float]:
    of = {way: trial["lstm-2"][f"test/{metric}-{way}"] for way in ("temperature-70", "nucleus-95", "pure")}
    return [of["temperature-70"] - of["pure"], of["nucleus-95"] - of["pure"]]
