import math

import pytest
from hypothesis import given, strategies

from etudes.reports.numbers import estimate, figure, number, plain, span, spread, tidy


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


@pytest.mark.parametrize(
    ("mean", "deviation", "text"),
    [
        (0.34211, 0.00833, "0.3421 ± 0.0083"), (0.61427, 0.0178, "0.614 ± 0.018"), (0.34211, None, "0.342"),
        (123_456.0, 2_345.0, "123,500 ± 2,300"), (11.25, 0.996, "11.25 ± 1.00"), (-0.0001, 0.05, "0.000 ± 0.050"),
        (3.21e-7, 1.13e-8, "3.21e-07 ± 1.1e-08"), (None, None, "–"), (math.nan, math.nan, "–"),
        (0.9, 0.0, "0.9"), (7.315, 9.9e-16, "7.315"), (784_723_456.0, 0.0, "784,723,456"), (1200.0, 0.0, "1,200"),
    ],
)  # fmt: skip
def test_a_mean_has_the_decimals_of_its_deviation(mean: float | None, deviation: float | None, text: str) -> None:
    assert spread(mean, deviation) == text


@pytest.mark.parametrize(
    ("numbers", "texts"),
    [
        ((-0.0112, -0.0212, -0.0012), ("−0.011", "[−0.021, −0.001]")),
        ((-0.00664, -0.03279, 0.01951), ("−0.007", "[−0.033, 0.020]")),
        ((0.0105, 0.0004, 0.0206), ("0.0105", "[0.0004, 0.0206]")),  # an end that is not 0 does not look like it
        ((5.0, 5.0, 5.0), ("5", "[5, 5]")),
        ((0.5, -math.inf, math.inf), ("0.500", "–")),
    ],
)
def test_an_interval_has_the_digits_that_its_width_bears(
    numbers: tuple[float, float, float], texts: tuple[str, str]
) -> None:
    assert estimate(*numbers, ends=(0.0,)) == texts


def test_the_ends_of_a_ratio_have_three_digits_each() -> None:
    assert estimate(5.712, 0.0212, 310.4, ends=(1.0,), even=False) == ("5.71", "[0.0212, 310]")


def test_a_span_of_a_comparison() -> None:
    assert span(-0.0165, math.inf) == "[−0.01650, ∞]"


def test_what_was_written_gains_no_digits() -> None:
    assert [figure(0.5), figure(-0.014), figure(5.6), figure(math.nan)] == ["0.5", "−0.014", "5.6", "–"]
    assert [figure(0.042 - 0.056), figure(13.36 / 41.07), figure(0.1138 - 0.1553)] == ["−0.014", "0.325", "−0.0415"]
    assert [figure(7851), figure(100000), figure(12345)] == ["7851", "100000", "12345"]
