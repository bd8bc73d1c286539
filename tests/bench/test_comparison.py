"""bench/comparison.py: the laws of a comparison, paired or not, and what it may not say."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats as distributions

from bench import stats
from bench.comparison import NOT_INTERLEAVED, Figure, Finding, findings, is_slower, welch
from bench.record import Trial
from bench.selection import Pair
from tests.make import MIB, make_machine, make_trial

SECONDS = st.floats(min_value=0.01, max_value=100)
SIDE = st.lists(SECONDS, min_size=2, max_size=6)
PAIRS = st.lists(st.tuples(SECONDS, SECONDS), min_size=2, max_size=6)
FEW = settings(max_examples=25, deadline=None)  # an example validates up to 12 records
UNHURRIED = settings(deadline=None)
INVERSE = {"faster": "slower", "slower": "faster", "tie": "tie", "undecided": "undecided", "more": "less"}
INVERSE |= {"less": "more", "equivalent": "equivalent", "lower": "higher", "higher": "lower"}


def side(seconds: Sequence[float], entry: str = "torch-eager", **changes: object) -> tuple[Trial, ...]:
    """A trial for each number of seconds."""
    return tuple(
        make_trial(entry, block, seconds=value, **changes)  # type: ignore[arg-type]
        for block, value in enumerate(seconds)
    )


def pair(a: Sequence[Trial], b: Sequence[Trial], *, paired: bool = True) -> Pair:
    return Pair(a=tuple(a), b=tuple(b), paired=paired)


def found(of: Pair, figure: Figure = "samples_per_second", *across: str) -> Finding:
    """One figure of a pair."""
    [finding] = [one for one in findings(of, across=across) if one.figure == figure]
    return finding


def numbers(finding: Finding) -> list[float]:
    assert finding.value is not None
    assert finding.interval is not None
    return [finding.value, *finding.interval]


@FEW
@given(pairs=PAIRS)
def test_paired_blocks_are_compared_as_a_report_compares_them(pairs: list[tuple[float, float]]) -> None:
    """bench.stats.compare's ratio, interval, verdict and blocks to decide, to the bit."""
    a, b = (side(values, entry) for values, entry in zip(zip(*pairs, strict=True), ("numpy", "sklearn"), strict=True))
    expected = stats.compare(a, b)

    actual = found(pair(a, b))

    assert (expected.ratio, expected.interval, expected.verdict, expected.blocks_to_decide, expected.pairs) == (
        actual.value,
        actual.interval,
        actual.verdict,
        actual.blocks_to_decide,
        actual.pairs,
    )


@FEW
@given(a=SIDE, b=SIDE, paired=st.booleans())
def test_ratio_of_the_inverse_is_the_inverse(a: list[float], b: list[float], paired: bool) -> None:
    """A against B is B against A turned around, every figure of it, paired or not."""
    of_a, of_b = side(a), side(b, "numpy")
    there, back = (findings(pair(*sides, paired=paired)) for sides in ((of_a, of_b), (of_b, of_a)))

    for one, other in zip(there, back, strict=True):
        turned = [1 / v for v in numbers(one)] if one.effect == "ratio" else [-v for v in numbers(one)]
        assert pytest.approx([turned[0], turned[2], turned[1]], rel=1e-9, abs=1e-12) == numbers(other)
        assert INVERSE[one.verdict] == other.verdict


@FEW
@given(a=SIDE, b=SIDE, paired=st.booleans(), random=st.randoms(use_true_random=False))
def test_order_of_trials_is_irrelevant(a: list[float], b: list[float], paired: bool, random: object) -> None:
    """The same trials in any order give the same bits."""
    of_a, of_b = side(a), side(b, "numpy")
    mixed = list(of_a), list(of_b)
    for trials in mixed:
        random.shuffle(trials)  # type: ignore[attr-defined]

    assert findings(pair(of_a, of_b, paired=paired)) == findings(pair(*mixed, paired=paired))


@FEW
@given(a=SIDE, b=SIDE, paired=st.booleans(), scale=st.floats(min_value=0.001, max_value=1000))
def test_a_ratio_is_unit_free(a: list[float], b: list[float], paired: bool, scale: float) -> None:
    """Seconds or milliseconds: the ratio is the same."""
    there = found(pair(side(a), side(b, "numpy"), paired=paired))
    scaled = found(pair(side([s * scale for s in a]), side([s * scale for s in b], "numpy"), paired=paired))

    assert pytest.approx(numbers(there), rel=1e-9) == numbers(scaled)


@UNHURRIED
@given(a=st.lists(st.floats(-5, 5), min_size=2, max_size=9), b=st.lists(st.floats(-5, 5), min_size=2, max_size=9))
def test_an_unpaired_interval_is_welchs(a: list[float], b: list[float]) -> None:
    """The quantile from scipy.special gives what scipy.stats' own interval gives."""
    assume(min(np.std(a), np.std(b)) > 1e-3)  # scipy warns of sides that are nearly constant
    expected = distributions.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)

    actual = welch(a, b).interval

    assert pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-9) == actual


def test_welchs_interval_covers_where_the_sides_are_unlike() -> None:
    """94 to 97% with other spreads and sizes on both sides, and far less if the spreads were pooled."""
    rng = np.random.Generator(np.random.Philox(20260102))
    tries = 4_000
    a, b = rng.normal(0, 0.01, (tries, 12)).tolist(), rng.normal(0.3, 0.05, (tries, 6)).tolist()
    intervals = [welch(*sides).interval for sides in zip(a, b, strict=True)]
    pooled = distributions.ttest_ind(b, a, axis=1).confidence_interval(0.95)

    actual = sum(i is not None and i[0] <= 0.3 <= i[1] for i in intervals) / tries

    assert 0.94 <= actual <= 0.97
    assert np.mean((pooled.low <= 0.3) & (pooled.high >= 0.3)) < 0.92


SLOW = side([1.5, 1.51, 1.49, 1.5], run="two")
FAST = side([1.0, 1.01, 0.99, 1.0], run="one")


@pytest.mark.parametrize("across", [(), ("versions",), ("harness",), ("threads", "precision", "environments")])
def test_sides_that_did_not_take_turns_are_never_called_slower(across: tuple[str, ...]) -> None:
    """Not a third slower, and whatever the subject is: time may be the cause. The interval is shown."""
    seen = found(pair(FAST, SLOW, paired=False), "samples_per_second", *across)

    assert ("undecided", NOT_INTERLEAVED) == (seen.verdict, seen.reason)
    assert numbers(seen)[2] < 0.7
    assert not is_slower([seen])


def test_the_same_times_in_turns_are_called_slower() -> None:
    """The rule above does not swallow everything."""
    seen = found(pair(FAST, SLOW, paired=True))

    assert ("slower", True) == (seen.verdict, is_slower([seen]))


def test_machines_are_told_apart_without_turns() -> None:
    """Two machines cannot share a block, and their difference is the subject."""
    other = side([1.5, 1.51, 1.49, 1.5], run="two", machine=make_machine(fingerprint="machine-1"))

    assert "slower" == found(pair(FAST, other, paired=False), "samples_per_second", "machines").verdict
    assert "undecided" == found(pair(FAST, SLOW, paired=False), "samples_per_second", "machines").verdict


@pytest.mark.parametrize(
    ("bytes_b", "expected"),
    [(500 * MIB, "tie"), (505 * MIB - 1, "tie"), (506 * MIB, "more"), (494 * MIB, "less")],
)
def test_memory_has_a_margin_of_one_per_cent(bytes_b: int, expected: str) -> None:
    """Of 500 MiB that is 5 MiB."""
    a, b = side([1.0] * 3), side([1.0] * 3, "numpy", peak_bytes=bytes_b)

    assert expected == found(pair(a, b), "peak_training_bytes").verdict


def test_memory_has_a_margin_of_at_least_a_mebibyte() -> None:
    """1% of 20 MiB is less than what a process differs by from itself."""
    a, b = side([1.0] * 3, peak_bytes=20 * MIB), side([1.0] * 3, "numpy", peak_bytes=21 * MIB - 1)

    assert "tie" == found(pair(a, b), "peak_training_bytes").verdict


def test_memory_of_two_processes_is_no_verdict() -> None:
    """Three at least; also where the sides share no block, which memory does not mind."""
    few = found(pair(side([1.0] * 2), side([1.0] * 2, "numpy", peak_bytes=900 * MIB)), "peak_training_bytes")
    unpaired = pair(side([1.0] * 3), side([1.0] * 3, run="two", peak_bytes=900 * MIB), paired=False)

    assert ("undecided", "2 processes a side, and a verdict needs 3") == (few.verdict, few.reason)
    assert "more" == found(unpaired, "peak_training_bytes").verdict


def test_accuracy_is_paired_by_seed_in_whichever_run() -> None:
    """Ten seeds with the same accuracies in turned order are equivalent only because each seed meets itself."""
    wild = [0.80 + 0.01 * k for k in range(10)]
    a = [make_trial(block=k, accuracy=value, run="one") for k, value in enumerate(wild)]
    b = [make_trial(block=k, accuracy=value, run="two") for k, value in reversed(list(enumerate(wild)))]
    shifted = [trial.model_copy(update={"training_seed": 9 - trial.training_seed}) for trial in b]

    same, mixed = (found(pair(a, of_b, paired=False), "final_accuracy") for of_b in (b, shifted))

    assert ("equivalent", 10) == (same.verdict, same.pairs)
    assert "undecided" == mixed.verdict


def test_trials_without_proof_enter_no_figure() -> None:
    """A wild value without a certificate leaves everything as it was."""
    a, b = side([1.0, 1.1, 1.0]), side([2.0, 2.1, 2.2], "numpy")
    wild = make_trial("numpy", 3, seconds=1e-6, certificate="refused")

    assert numbers(found(pair(a, b))) == numbers(found(pair([*a], [*b, wild])))


def test_a_figure_that_is_not_there_is_told() -> None:
    """No memory on one side: neither a number nor a verdict, and the reason."""
    a, b = side([1.0] * 3), side([1.0] * 3, "numpy", peak_bytes=None, memory_reason="no /proc")

    seen = found(pair(a, b), "peak_training_bytes")

    assert (None, None, "undecided") == (seen.value, seen.interval, seen.verdict)
    assert seen.reason is not None


def test_a_single_trial_has_no_interval() -> None:
    """Paired or not."""
    for paired in (True, False):
        seen = found(pair(side([1.0]), side([2.0], "numpy"), paired=paired))

        assert (None, "undecided") == (seen.interval, seen.verdict)
        assert seen.value is not None
        assert math.isclose(seen.value, 0.5)
