"""What a study is made of: `from etudes.core import Study, Variant, lower`.

| I need ... | it is |
|---|---|
| a study and its parts | `Study`, `Paper`, `Variant`, `Scale` |
| a claim on two variants | `lower`, `higher`, `alike` |
| a claim on one variant's number | `between` |
| a claim on a number of my own | `Claim(measure, above(0), "sec. 1")`, with `above`, `below`, `within`, `difference` |
| what a program is given | `Run` |
| the values that a field may have | `positive`, `at_least`, `within`, in `Annotated[float, at_least(0)]` |
| an error that the user reads as one sentence | `Problem` |
"""

from etudes.core.claims import (
    Claim,
    Interval,
    Measure,
    Trial,
    above,
    alike,
    at_least,
    below,
    between,
    difference,
    higher,
    lower,
    positive,
    within,
)
from etudes.core.errors import Problem
from etudes.core.record import Record
from etudes.core.run import Run
from etudes.core.spec import Paper, Scale, Study, Variant

__all__ = [
    "Claim", "Interval", "Measure", "Paper", "Problem", "Record", "Run", "Scale", "Study", "Trial", "Variant", "above",
    "alike", "at_least", "below", "between", "difference", "higher", "lower", "positive", "within",
]  # fmt: skip
