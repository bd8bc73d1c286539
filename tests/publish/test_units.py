"""bench/publish/units.py: numbers as people read them."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.publish import units
from bench.stats import Spread, compare, estimate
from tests.make import make_trial


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (123456.0, "123,000"),
        (59904.0, "59,900"),
        (98.76, "98.8"),
        (9.996, "10.0"),
        (99.96, "100"),
        (1.0, "1.00"),
        (0.0012345, "0.00123"),
        (0.0, "0"),
    ],
)
def test_a_number_has_three_significant_digits(value: float, expected: str) -> None:
    """Thousands separators, no exponent."""
    actual = units.significant(value)

    assert expected == actual


@settings(deadline=None)
@given(st.floats(min_value=1e-6, max_value=1e12))
def test_a_written_number_is_within_half_a_per_cent_of_the_value(value: float) -> None:
    """Three digits lose at most 0.5%."""
    actual = float(units.significant(value).replace(",", ""))

    assert pytest.approx(value, rel=0.005 * (1 + 1e-9)) == actual


def test_accuracy_is_per_cent_with_its_sd_in_points() -> None:
    """One trial has no sd, and none is printed."""
    actual = units.percent(0.8712, 0.0015), units.percent(0.8712)

    assert actual == ("87.12 % ± 0.15", "87.12 %")


def test_bytes_are_whole_mebibytes() -> None:
    """An unknown figure is never 0."""
    actual = units.mebibytes(1234 * 1024 * 1024), units.mebibytes(None)

    assert actual == ("1,234 MiB", "not measured")


def test_one_is_singular() -> None:
    """1 block, 5 blocks."""
    actual = units.count(1, "block"), units.count(5000, "block")

    assert actual == ("1 block", "5,000 blocks")


def test_a_ratio_shows_its_interval() -> None:
    """As many decimals as show a digit of the half-width, and the same for all three numbers."""
    speed = [1.42 * math.exp(d) for d in (-0.03, 0.0, 0.03)]
    a = [make_trial("torch-eager", block, seconds=s) for block, s in enumerate(speed)]
    b = [make_trial("tensorflow-function", block, seconds=1.0) for block in range(3)]

    actual = units.ratio(compare(a, b)), units.ratio(compare(a[:1], b[:1]))

    assert actual == ("1.42 [1.32, 1.53]", "1.38 (no interval)")


def test_an_undecided_verdict_says_what_would_decide_it() -> None:
    """In blocks, where a number can be told."""
    a = [make_trial("torch-eager", block, seconds=s) for block, s in enumerate((1.0, 1.1, 0.9))]
    b = [make_trial("tensorflow-function", block, seconds=1.0) for block in range(3)]
    comparison = compare(a, b)

    actual = units.verdict(comparison)

    assert f"undecided (about {comparison.blocks_to_decide:,} blocks would decide it)" == actual


@pytest.mark.parametrize(
    ("values", "scale", "expected"),
    [
        ([2e-4, 2.02e-4, 2.04e-4], 1e6, "202 [197, 207]"),
        ([1.0, 1.0], 1.0, "1.00 [1.00, 1.00]"),
        ([-3.0, 3.0], 1.0, "0 [-38, 38]"),
        ([0.0, 0.0], 1.0, "0 [0, 0]"),
        ([5.0], 1.0, "5.00 (no interval)"),
        ([], 1.0, "none (no block has both cases)"),
    ],
)
def test_an_estimate_shows_what_its_half_width_allows_and_three_digits_at_most(
    values: list[float], scale: float, expected: str
) -> None:
    """The same decimals for all three numbers."""
    assert expected == units.estimate(estimate(values), scale)


def test_shares_rates_and_times_have_their_own_words() -> None:
    """An unknown one is never 0."""
    actual = [
        units.share(0.42),
        units.share(0.0421),
        units.share(None),
        units.giga(Spread(median=1e11, least=9.5e10, greatest=1.05e11, n=3)),
        units.giga(None),
        units.micro(0.000383),
        units.micro(None),
        units.significant(-12.34),
    ]

    assert actual == [
        "42 %",
        "4.2 %",
        "not measured",
        "100 (95.0..105, n = 3)",
        "not measured",
        "383",
        "not measured",
        "-12.3",
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(12.34, "12.3 s"), (0.0456, "45.6 ms"), (7.89e-6, "7.89 µs"), (0.0, "0 s"), (0.25, "0.250 s")],
)
def test_few_seconds_are_told_in_milliseconds_and_microseconds(value: float, expected: str) -> None:
    """So that no figure begins with a row of zeros."""
    assert expected == units.duration(value)


@pytest.mark.parametrize(("value", "expected"), [(963.0, "963"), (12345.0, "12,345"), (81.5, "81.5"), (0.5, "0.500")])
def test_a_count_is_told_exactly(value: float, expected: str) -> None:
    """963 nodes, not 963.0; 12,345 bytes of code, not 12,300."""
    assert expected == units.exact(value)
