import itertools
import math
import re

import pytest

from etudes.core.claims import Claim, Interval, above, below, within
from etudes.core.verdicts import Verdict
from etudes.reports import intervals


def verdict(expect: Interval, low: float, high: float, values: list[float], word: str = "supported") -> Verdict:
    claim = Claim(lambda trial: 0.0, expect, "w")
    return Verdict("s", claim, values, sum(values) / max(1, len(values)), low, high, 0, word)


@pytest.mark.parametrize("expect", [below(0), above(1), within(-1, 1), within(0.1, 0.1001)])
def test_the_drawing_of_a_claim_lies_inside_its_frame(expect: Interval) -> None:
    text = intervals.forest(verdict(expect, -0.5, 2.5, [0.5, 1.0, 1.5]))
    places = [float(x) for x in re.findall(r' (?:x|x1|x2|cx)="([^"]+)"', text)]
    assert all(0 <= x <= intervals.WIDTH for x in places)
    assert text.count('class="seed"') == 3
    band = re.search(r'class="expected" x="([\d.]+)" y="1" width="([\d.]+)"', text)
    assert band
    left, width = map(float, band.groups())
    mean = float(text.partition('class="mean" cx="')[2].partition('"')[0])
    if expect == below(0):
        assert left == 0
        assert mean > left + width  # the mean, 1, lies right of the range
    if expect == above(1):
        assert left + width == pytest.approx(intervals.WIDTH, abs=0.1)
        assert mean == pytest.approx(left, abs=0.11)


def test_the_drawing_of_a_claim_shows_its_margin_on_the_claims_own_scale() -> None:
    plain, ratio = (
        Verdict("s", Claim(lambda trial: 0.0, below(1), "", matters=0.5, kind=kind), [0.4, 2.0], 1.2, 0.5, 1.9, 0, "")
        for kind in ("difference", "ratio")
    )
    places = [re.search(r'class="margin" x1="([^"]+)" x2="([^"]+)"', intervals.forest(v)) for v in (plain, ratio)]
    assert all(places)
    (a, b), (c, d) = ((float(x) for x in place.groups()) for place in places if place)
    assert 0 <= a < b <= intervals.WIDTH
    ends = [float(re.search(r'class="end" x1="([^"]+)"', intervals.forest(v))[1]) for v in (plain, ratio)]
    assert b - ends[0] == pytest.approx(ends[0] - a, abs=0.2)
    assert d - ends[1] == pytest.approx(ends[1] - c, abs=0.2)  # as far either way on the axis of the logarithm
    assert 'class="margin"' not in intervals.forest(verdict(below(0), -1.0, 1.0, [0.5]))


def test_without_seeds_or_verdict_the_drawing_claims_no_interval() -> None:
    assert intervals.forest(verdict(below(0), -math.inf, math.inf, [])) == ""
    two = intervals.forest(verdict(below(0), -math.inf, math.inf, [1.0, 2.0], "not judged"))
    assert 'class="reach"' not in two
    assert intervals.forest(verdict(above(1), 1.0, 1.0, [1.0, 1.0, 1.0]))  # all the same: no division by zero


def test_claims_that_can_be_compared_share_an_axis() -> None:
    def told(kind: str, reads: list[tuple[str, str]], mean: float) -> Verdict:
        claim = Claim(lambda trial: 0.0, below(1), "", kind=kind, paper=0.7)
        return Verdict("s", claim, [mean, mean], mean, mean / 2, mean * 2, 0, "supported", reads=reads)

    pair, other = [("a", "test/error"), ("b", "test/error")], [("a", "test/error"), ("c", "test/error")]
    found = intervals.axes(
        [
            told("difference", pair, 0.1),
            told("difference", other, 0.8),
            told("difference", [("a", "train/loss"), ("b", "train/loss")], 40.0),
            told("ratio", pair, 0.5),
            told("ratio", [("a", "train/loss"), ("b", "train/loss")], 8.0),
            told("difference", [("a", "test/error")], 0.1),  # no difference, but the error itself
        ]
    )
    assert found[0] == found[1]
    assert found[3] == found[4]
    assert len({*found}) == 4
    assert found[3].log
    assert not found[0].log
    assert found[3].x(2) - found[3].x(1) == pytest.approx(found[3].x(4) - found[3].x(2), abs=0.2)
    text = intervals.forest(told("ratio", pair, 0.5), found[3])
    numbers = [float(number) for number in re.findall(r'<text class="(?:end|tick)"[^>]*>([\d.]+)<', text)]
    assert len(numbers) >= 3
    assert 'class="paper"' in text
    assert "the paper's figure 0.7" in text


def test_numbers_below_an_axis_do_not_touch() -> None:
    for high in (0.013, 0.37, 2.0, 811.0, 25_000.0):
        claim = Claim(lambda trial: 0.0, below(0.2 * high), "")
        text = intervals.forest(Verdict("s", claim, [0.0, high], high / 2, 0.0, high, 0, "supported"))
        places = sorted(float(x) for x in re.findall(r'<text class="[a-z]+" x="([^"]+)"', text))
        assert len(places) >= 2
        assert all(b - a >= intervals.APART - 0.2 for a, b in itertools.pairwise(places))
