"""What claims on several numbers of a seed measure."""

from etudes.core import Trial

BITS = "test/bits-per-byte"


def size_gain(trial: Trial) -> float:
    """The larger change in bits per byte of the two steps from half the size to double."""
    half, one, double = (trial[name][BITS] for name in ("lstm-half", "lstm", "lstm-double"))
    return max(one - half, double - one)


def spelling_gain(trial: Trial) -> float:
    """How far the spelling of draws with a cut tail is above that of pure draws, for the worse way of cutting it."""
    return min(_above_pure(trial, "spelling"))


def distinct_gain(trial: Trial) -> float:
    """How far the different pairs of draws with a cut tail are above those of pure draws, for the more diverse way."""
    return max(_above_pure(trial, "distinct"))


def _above_pure(trial: Trial, metric: str) -> list[float]:
    of = {way: trial["lstm-2"][f"test/{metric}-{way}"] for way in ("temperature-70", "nucleus-95", "pure")}
    return [of["temperature-70"] - of["pure"], of["nucleus-95"] - of["pure"]]
