"""What is claimed of octave convolutions: the paper's first, and what of them matters."""

from collections.abc import Mapping

from etudes.core import Claim, Trial, above, higher, lower

ERROR = "test/error"
MATTERS = 0.01  # of a test error: what the paper's Oct-ResNet-50 gains on ImageNet, or so
ROUGHLY = 0.015  # the same where tuning seeds differed too much for 0.01: other widths, or a path taken away


def excess(trial: Trial, frequencies: str) -> float:
    """How much more three quarters of low channels err than none, on pictures of these frequencies."""
    return trial[f"octave-{frequencies}"][ERROR] - trial[f"plain-{frequencies}"][ERROR]


CLAIMS: Mapping[str, Claim] = {
    "with an eighth of the channels low the test error is lower than with none": lower(
        "eighth", "plain", "sec. 4.2: ResNets on ImageNet", matters=MATTERS
    ),
    "with a quarter of the channels low the test error is lower than with none": lower(
        "quarter", "plain", "sec. 4.2: ResNets on ImageNet", matters=MATTERS
    ),
    "with three quarters of the channels low the test error is higher than with a quarter": higher(
        "three-quarters", "quarter", "sec. 4.2: accuracy rises, then falls with alpha", matters=MATTERS
    ),
    "with half of the channels low the test error is lower than of a plain network as narrow as costs the same": lower(
        "half", "narrow", "beyond the paper: is it more than fewer multiply-adds?", matters=ROUGHLY
    ),
    "with half of the channels low the test error is higher where the octaves exchange nothing": higher(
        "half-apart", "half", "sec. 3.2: octaves are to inform each other", matters=MATTERS
    ),
    "with half of the channels low the test error is higher without the path from low to high": higher(
        "half-down", "half", "sec. 3.2", matters=MATTERS
    ),
    "with half of the channels low the test error is higher without the path from high to low": higher(
        "half-up", "half", "sec. 3.2", matters=ROUGHLY
    ),
    "a plain network has a lower test error halved by means of 2x2 pixels than by strided convolutions": lower(
        "plain", "strided", "beyond the paper, which pools for octaves' sake (sec. 3.3)", matters=MATTERS
    ),
    "three quarters of low channels cost more test error on fine detail alone than on means of 2x2 pixels": Claim(
        lambda t: excess(t, "high") - excess(t, "low"),
        above(0),
        "sec. 1 and 3.1: low channels hold what varies slowly",
        number="test/error: octave-high minus plain-high, less octave-low minus plain-low",
        matters=MATTERS,
    ),
}
