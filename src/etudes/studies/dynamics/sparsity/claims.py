"""What the survey claims, and the charts that show it."""

from etudes.core import Claim, Trial, above, alike, below, higher, lower
from etudes.reports.charts import bars, plane

ERROR = "test/error"
DENSE = ("dense", f"{ERROR}-100")
MATTERS = 0.003  # of test error
PRUNED = ("magnitude", "random", "gradual", "neurons", "l1")


def cliff(trial: Trial) -> float:
    """What the error rises by from 2 % of the weights to 1 %, minus what it rises by from all to 10 %."""
    gradual = trial["gradual"]
    late = gradual[f"{ERROR}-1"] - gradual[f"{ERROR}-2"]
    return late - (gradual[f"{ERROR}-10"] - trial["dense"][f"{ERROR}-100"])


def quietness(trial: Trial) -> float:
    """Active neurons a picture with the penalty on activations, over those without."""
    return trial["quiet"]["test/active-100"] / trial["dense"]["test/active-100"]


def noise_loss(trial: Trial) -> float:
    """How much more noise costs the network with 2 % of the weights than the whole one."""
    pruned, whole = trial["magnitude"], trial["dense"]
    lost = pruned["test/error-noisy-2"] - pruned[f"{ERROR}-2"]
    return lost - (whole["test/error-noisy-100"] - whole[f"{ERROR}-100"])


CLAIMS = {
    "with 2 % of the weights magnitude pruning errs less than as many weights of each layer chosen by chance": lower(
        "magnitude", "random", "sec. 3.2", of=f"{ERROR}-2"
    ),
    "with 1 % of the weights gradual pruning errs less than pruning at once, in as many steps": lower(
        "gradual", "magnitude", "Zhu, Gupta 2017 (arXiv:1710.01878), sec. 3", of=f"{ERROR}-1"
    ),
    "pruned to 10 % of the weights and trained on, a network errs as the whole one, within half a point": alike(
        ("magnitude", f"{ERROR}-10"), DENSE, 0.005, "sec. 6"
    ),
    "from 2 % of the weights to 1 % the error of gradual pruning rises more than from all to 10 %": Claim(
        cliff, above(0), "sec. 6", number="rise of the test error from 2 % to 1 % minus that from 100 % to 10 %"
    ),
    "with 10 % of the weights whole neurons left out cost more than single weights": higher(
        "neurons", "magnitude", "sec. 2.3", of=f"{ERROR}-10"
    ),
    "with 2 % of the weights those left by a proximal L1 penalty err less than those of largest magnitude": lower(
        "l1", "magnitude", "sec. 3.6", of=f"{ERROR}-2", matters=MATTERS
    ),
    "with weights of eight bits, one scale a channel, the whole network errs as with floats, within 0.002": alike(
        ("dense", f"{ERROR}-int8-100"), DENSE, 0.002, "Krishnamoorthi 2018 (arXiv:1806.08342), sec. 3"
    ),
    "with weights of three bits one scale a tensor errs more than one a channel": higher(
        ("dense", f"{ERROR}-int3-tensor-100"),
        ("dense", f"{ERROR}-int3-100"),
        "Krishnamoorthi 2018 (arXiv:1806.08342), sec. 3",
    ),
    "a penalty on activations leaves less than half as many neurons active for a picture": Claim(
        quietness,
        below(0.5),
        "sec. 4",
        number="active neurons a picture with the penalty, over those without",
        kind="ratio",
    ),
    "attributions with 10 % of the weights overlap more with the whole network's than those of another draw do": higher(
        ("magnitude", "test/overlap-10"), ("redrawn", "test/overlap-100"), "beyond the paper"
    ),
    "noise on pictures costs a network with 2 % of its weights more than the whole one": Claim(
        noise_loss, above(0), "beyond the paper", number="test error added by noise, with 2 % minus with all weights"
    ),
}


def by_share(metric: str) -> tuple[tuple[str, str], ...]:
    """Pairs of the share of weights that is left, in percent, and a metric there."""
    return tuple((f"train/weights-{percent}", f"{metric}-{percent}") for percent in (10, 5, 2, 1))


CHARTS = (
    plane(
        *by_share(ERROR),
        x="weights left, in percent",
        y="test error",
        title="Test error by the weights that are left",
        log_x=True,
        variants=PRUNED,
    ),
    bars("test/overlap-10"),
)
