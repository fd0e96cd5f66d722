import math

import pytest
from hypothesis import given, strategies

from etudes.reports.numbers import figure, number, plain, span, spread, tidy


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.3421, "0.3421"), (0.342, "0.3420"), (0.04214, "0.04214"), (0.00012344, "0.0001234"), (3.2e-7, "3.20e-07"),
        (0.0, "0"), (1.0, "1"), (-0.01013, "−0.01013"), (11173962, "11,173,962"), (12.345, "12.35"),
        (999.96, "1,000"), (1234.5, "1,234"), (math.nan, "–"), (None, "–"), (math.inf, "∞"), (-math.inf, "−∞"),
    ],
)  # fmt: skip
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


@given(strategies.floats(-1e9, 1e9, allow_nan=False))
def test_the_text_is_the_number_and_is_the_same_after_rounding_for_the_file(value: float) -> None:
    text = number(value)
    assert text == number(tidy(value))
    assert float(text.replace("−", "-").replace(",", "")) == pytest.approx(value, rel=6e-3 if "e" in text else 6e-4)


@given(strategies.floats(1e-300, 1))
def test_a_small_number_is_never_written_as_zero(value: float) -> None:
    assert float(number(value)) > 0


def test_tidy_keeps_six_digits_and_whole_numbers() -> None:
    assert tidy(0.123456789) == 0.123457
    assert tidy(11173962.0) == 11173962
    assert tidy(0.123456789, 5) == 0.12346


def test_plain_is_what_json_can_hold() -> None:
    assert plain({"a": (math.nan, math.inf, 0.1234567)}) == {"a": [None, None, 0.123457]}
    assert plain({"flag": True, "word": "x", "none": None}) == {"flag": True, "word": "x", "none": None}


def test_spread_and_span() -> None:
    assert spread(0.34211, 0.00833) == "0.3421 ± 0.0083"
    assert spread(0.34211, None) == "0.3421"
    assert spread(None, None) == "–"
    assert spread(0.25, 0.0) == "0.2500 ± 0"
    assert span(-0.0165, math.inf) == "[−0.01650, ∞]"


def test_what_was_given_gains_no_digits() -> None:
    assert [figure(0.5), figure(-0.014), figure(5.6), figure(math.nan)] == ["0.5", "−0.014", "5.6", "–"]
