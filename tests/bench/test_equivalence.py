"""bench/equivalence.py: the laws of sameness, and how often it is claimed falsely."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats as distributions

from bench.equivalence import ALPHA, LEAST_SEEDS, MARGIN, Equivalence, equivalence

UNHURRIED = settings(deadline=None)
# Of two shares of 10,000 images: what is nearer to 0 is 0. (Half of the least number above 0 is rounded.)
DIFFERENCE = st.floats(min_value=-0.05, max_value=0.05).map(lambda d: d if abs(d) >= 1e-9 else 0.0)
DIFFERENCES = st.lists(DIFFERENCE, min_size=LEAST_SEEDS, max_size=20)
MIRRORED = {"equivalent": "equivalent", "lower": "higher", "higher": "lower", "undecided": "undecided"}


def claimed(true: float, *, n: int = 10, sd: float = 0.003, tries: int = 10_000) -> float:
    """The share of experiments that say "equivalent" where the true difference is this."""
    rng = np.random.Generator(np.random.Philox(20260102))
    rows = rng.normal(true, sd, (tries, n)).tolist()
    return sum(equivalence(row).verdict == "equivalent" for row in rows) / tries


@pytest.mark.parametrize("edge", [-MARGIN, MARGIN])
@pytest.mark.parametrize("n", [10, 20])
def test_equivalence_is_claimed_falsely_in_at_most_one_case_of_twenty(edge: float, n: int) -> None:
    """At the margin itself, the worst place: alpha, within three standard errors of the simulation."""
    actual = claimed(edge, n=n)

    assert actual <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 10_000)


def test_not_significant_so_equal_would_claim_far_too_often() -> None:
    """The simulation can fail: the usual shortcut calls noisy sides equal that differ by the margin."""
    rng = np.random.Generator(np.random.Philox(20260102))
    rows = rng.normal(MARGIN, 0.01, (2_000, 10))

    actual = float(np.mean(distributions.ttest_1samp(rows, 0, axis=1).pvalue > 0.05))

    assert actual > 0.5
    assert claimed(MARGIN, sd=0.01, tries=2_000) <= ALPHA


def test_equivalence_can_be_claimed() -> None:
    """Sides that are the same, with ten seeds of the usual spread, are found so nearly always."""
    actual = claimed(0.0, sd=0.003, tries=2_000)

    assert actual > 0.95


def test_p_is_that_of_two_one_sided_t_tests() -> None:
    """The p from scipy.special is what scipy.stats' own tests give."""
    rng = np.random.Generator(np.random.Philox(1))
    row = rng.normal(0.002, 0.003, 12)
    above = distributions.ttest_1samp(row, -MARGIN, alternative="greater").pvalue
    below = distributions.ttest_1samp(row, MARGIN, alternative="less").pvalue

    actual = equivalence(row.tolist()).p

    assert pytest.approx(max(above, below), rel=1e-9) == actual


@UNHURRIED
@given(differences=DIFFERENCES)
def test_difference_of_the_inverse_is_the_inverse(differences: list[float]) -> None:
    """B less A is A less B turned around: figures and verdict."""
    there, back = equivalence(differences), equivalence([-d for d in differences])

    assert there.interval is not None
    assert (back.difference, back.interval, MIRRORED[back.verdict]) == (
        pytest.approx(-(there.difference or 0)),
        pytest.approx((-there.interval[1], -there.interval[0])),
        there.verdict,
    )


@UNHURRIED
@given(differences=DIFFERENCES, random=st.randoms(use_true_random=False))
def test_order_of_seeds_is_irrelevant(differences: list[float], random: object) -> None:
    """The same seeds in any order give the same verdict, and the same figures but for rounding."""
    mixed = differences.copy()
    random.shuffle(mixed)  # type: ignore[attr-defined]
    there, actual = equivalence(differences), equivalence(mixed)

    assert (there.difference, there.p, there.verdict) == (actual.difference, pytest.approx(actual.p), actual.verdict)


# Less its mean, the first one's square by pow is not the product, and at half the scale it is.
POWS = [0.04641358772280246, 0.0457646206569802, 0.05, 0.030503363770493036, 0.022104303269379635, 0.017183159338615264]
POWS += [0.0, 0.0, 0.0, 0.011994190163696926, 0.0008, -0.0408972472629394, -0.042799987640159264, -0.029393526598781822]
POWS += [-0.029393526598781822, -0.026833232400076953, -0.010881764517179093, -0.009133695369411207]
POWS += [-0.009133695369411207]


@UNHURRIED
@example(differences=POWS, power=-1)
@given(differences=DIFFERENCES, power=st.integers(min_value=-10, max_value=10))
def test_a_verdict_is_unit_free(differences: list[float], power: int) -> None:
    """Shares or points, where the margin is in the same unit. Powers of two, so that nothing is rounded."""
    scale = 2.0**power
    expected = equivalence(differences)

    actual = equivalence([d * scale for d in differences], margin=MARGIN * scale)

    assert (expected.verdict, expected.p) == (actual.verdict, actual.p)


@UNHURRIED
@given(differences=DIFFERENCES)
def test_the_interval_lies_inside_the_margin_exactly_where_both_tests_reject(differences: list[float]) -> None:
    """Two ways to the same verdict."""
    seen = equivalence(differences)
    assert seen.interval is not None

    inside = -MARGIN < seen.interval[0] and seen.interval[1] < MARGIN

    assert inside == (seen.verdict == "equivalent")


@UNHURRIED
@given(differences=DIFFERENCES, factor=st.floats(min_value=1, max_value=10))
def test_a_wider_margin_never_takes_equivalence_back(differences: list[float], factor: float) -> None:
    """What is the same within half a point is so within a whole one."""
    strict, wide = equivalence(differences), equivalence(differences, margin=MARGIN * factor)

    assert strict.verdict != "equivalent" or wide.verdict == "equivalent"


def verdict(differences: list[float]) -> tuple[str, str | None]:
    seen = equivalence(differences)
    return seen.verdict, seen.reason


def test_fewer_than_ten_seeds_claim_nothing() -> None:
    """Nine seeds that agree to the last bit are undecided, ten are equivalent."""
    assert ("undecided", "9 seeds, and a claim needs 10") == verdict([0.0] * 9)
    assert ("equivalent", None) == verdict([0.0] * 10)


@pytest.mark.parametrize(("mean", "expected"), [(-0.02, "lower"), (0.02, "higher")])
def test_a_difference_beyond_the_margin_is_told(mean: float, expected: str) -> None:
    """A loss of two points is no equivalence, and no silence either."""
    assert (expected, None) == verdict([mean + 0.001 * (k % 3) for k in range(12)])


def test_an_interval_across_the_margin_is_undecided() -> None:
    """With its reason."""
    assert ("undecided", "the interval reaches across the margin") == verdict([0.005, 0.0049] * 5 + [0.0052])


@pytest.mark.parametrize(("differences", "reason"), [([], "no seed in common"), ([0.1], "a single seed")])
def test_no_spread_no_figure(differences: list[float], reason: str) -> None:
    """Without two seeds there is neither interval nor p."""
    seen = equivalence(differences)

    assert isinstance(seen, Equivalence)
    assert (None, None, "undecided") == (seen.interval, seen.p, seen.verdict)
    assert reason in (seen.reason or "")
