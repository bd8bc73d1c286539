"""bench/series.py: renewals chain, their error is told, and a change has room on either side."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import InputError
from bench.history import Line, Pin
from bench.series import Series, changes_of, series_of
from bench.stats import half_width
from tests.bench.test_history import commit, make_line, make_run

UNHURRIED = settings(deadline=None)
LOGS = st.floats(min_value=-2, max_value=2)


def make_pins(count: int) -> list[Pin]:
    """numpy-1, numpy-2, and so on, each of another numpy."""
    pin = make_run().pin()
    return [pin.model_copy(update={"name": f"numpy-{k}", "numpy": f"2.{k}.0"}) for k in range(1, count + 1)]


def make_overlap(number: int, old: str, new: str, *, log_ratio: float, **changes: object) -> Line:
    """The new reference measured against the old one."""
    line = make_line(number)
    case = line.case.model_copy(update={"entry": "numpy", "environment": new})
    return make_line(number, log_ratio=log_ratio, case=case, case_is=new, reference=old, **changes)


def make_series(logs: Iterable[float], **changes: object) -> Series:
    """sklearn against numpy-1, a run for each log ratio."""
    lines = [make_line(number, log_ratio=value, **changes) for number, value in enumerate(logs)]
    [series] = series_of(lines, make_pins(1))
    return series


def of_sklearn(lines: Sequence[Line], pins: int) -> list[Series]:
    return [one for one in series_of(lines, make_pins(pins)) if one.line.case.entry == "sklearn"]


def test_lines_of_one_case_are_one_series() -> None:
    """Another entry, machine, task, quantity or environment is another."""
    line = make_line(0)
    lines = [
        line,
        make_line(1),
        make_line(2, machine="machine-1"),
        make_line(2, quantity="time_to_first_step_seconds"),
        *(
            make_line(2, case=line.case.model_copy(update=change))
            for change in ({"entry": "jax"}, {"fingerprint": "f"}, {"environment": "old"}, {"threads": 1})
        ),
    ]

    found = series_of(lines, make_pins(1))

    assert [1, 1, 1, 1, 1, 1, 2] == sorted(len(one.points) for one in found)
    assert 7 == len({one.key for one in found})


@UNHURRIED
@given(before=LOGS, renewed=LOGS, after=LOGS)
def test_a_renewal_is_chained_by_its_overlap(before: float, renewed: float, after: float) -> None:
    """ln(case / old) = ln(case / new) + ln(new / old), the variances added, and only after the renewal."""
    lines = [
        make_line(0, log_ratio=before),
        make_overlap(1, "numpy-1", "numpy-2", log_ratio=renewed, standard_error=0.003),
        make_line(2, log_ratio=after, reference="numpy-2", standard_error=0.004),
    ]

    [series] = of_sklearn(lines, 2)

    assert [pytest.approx(before), pytest.approx(after + renewed)] == [point.log_ratio for point in series.points]
    assert [0.002, pytest.approx(0.005)] == [point.standard_error for point in series.points]
    assert "numpy-1" == series.reference
    assert [(1, "numpy-1", "numpy-2")] == [(one.index, one.old, one.new) for one in series.renewals]


def test_a_series_without_a_true_change_stays_level_over_a_renewal() -> None:
    """Simulated: 95% intervals of the chained points hold the true ratio to the old reference in 94 to 97%."""
    rng = np.random.Generator(np.random.Philox(20260102))
    true, step, error, n = 0.2, 0.5, 0.01, 10
    held = 0
    tries = 1_000
    pins, template, overlap = (
        make_pins(2),
        make_line(1, reference="numpy-2"),
        make_overlap(0, "numpy-1", "numpy-2", log_ratio=0),
    )
    for _ in range(tries):
        blocks_overlap, blocks = rng.normal(step, error, n), rng.normal(true - step, error, n)
        lines = [
            line.model_copy(
                update={"log_ratio": float(of.mean()), "standard_error": float(of.std(ddof=1)) / math.sqrt(n), "n": n}
            )
            for line, of in ((overlap, blocks_overlap), (template, blocks))
        ]
        [series] = [one for one in series_of(lines, pins) if one.line.case.entry == "sklearn"]
        point = series.points[0]
        held += abs(point.log_ratio - true) <= half_width(point.standard_error * math.sqrt(n), n)

    assert 0.94 <= held / tries <= 0.98  # a little wide: two errors of n - 1 freedoms each are read with n - 1


def test_an_error_that_forgets_the_overlap_would_not_cover() -> None:
    """The simulation above can fail: the point's own error alone covers far too little."""
    rng = np.random.Generator(np.random.Philox(20260102))
    overlap, own = rng.normal(0, 0.01, (2_000, 10)), rng.normal(0, 0.01, (2_000, 10))
    half = [half_width(float(row.std(ddof=1)), 10) for row in own]

    actual = float(np.mean(np.abs(own.mean(axis=1) + overlap.mean(axis=1)) <= half))

    assert actual < 0.90


def test_renewals_of_renewals_are_chained_too() -> None:
    """Through a reference that no line of the case was measured against."""
    lines = [
        make_line(0, log_ratio=0.1),
        make_overlap(1, "numpy-1", "numpy-2", log_ratio=0.2),
        make_overlap(2, "numpy-2", "numpy-3", log_ratio=0.3),
        make_line(3, log_ratio=-0.4, reference="numpy-3"),
    ]

    [series] = of_sklearn(lines, 3)

    assert [0.1, pytest.approx(0.1)] == [point.log_ratio for point in series.points]


def test_overlaps_of_several_runs_weigh_by_their_blocks() -> None:
    """30 blocks count three times as much as 10."""
    lines = [
        make_line(0),
        make_overlap(1, "numpy-1", "numpy-2", log_ratio=0.0, n=30, standard_error=0.001),
        make_overlap(2, "numpy-1", "numpy-2", log_ratio=0.4, n=10, standard_error=0.003),
        make_line(3, log_ratio=0.0, reference="numpy-2", standard_error=0.0),
    ]

    [series] = of_sklearn(lines, 2)

    assert pytest.approx((0.1, math.hypot(0.75 * 0.001, 0.25 * 0.003))) == (
        series.points[1].log_ratio,
        series.points[1].standard_error,
    )


@pytest.mark.parametrize("change", [{"machine": "machine-1"}, {"quantity": "time_to_first_step_seconds"}])
def test_without_an_overlap_in_its_place_a_series_is_cut(change: dict[str, object]) -> None:
    """Another machine's overlap proves nothing here: two series, each in terms of its own reference."""
    lines = [
        make_line(0),
        make_overlap(1, "numpy-1", "numpy-2", log_ratio=0.2, **change),
        make_line(2, reference="numpy-2"),
    ]

    found = of_sklearn(lines, 2)

    assert [("numpy-1", 1, ()), ("numpy-2", 1, ())] == [(o.reference, len(o.points), o.renewals) for o in found]


def test_a_run_that_measured_both_references_counts_once() -> None:
    """By the newer one."""
    lines = [
        make_line(0),
        make_overlap(1, "numpy-1", "numpy-2", log_ratio=0.2),
        make_line(1, log_ratio=0.1),
        make_line(1, log_ratio=-0.1, reference="numpy-2"),
    ]

    [series] = of_sklearn(lines, 2)

    assert ["numpy-1", "numpy-2"] == [point.line.reference for point in series.points]


def test_a_reference_that_is_not_pinned_is_refused() -> None:
    """A lost pin file is no reason to guess."""
    with pytest.raises(InputError, match=r"holds ratios to numpy-2, which reference\.toml does not name"):
        series_of([make_line(0, reference="numpy-2")], make_pins(1))


@pytest.mark.parametrize(
    ("indexes", "expected"),
    [
        ([6], [6]),
        ([], []),
        ([2], []),
        ([3], [3]),
        ([9], [9]),
        ([10], []),
        ([0, 12, 99], []),
        ([6, 7], [6]),
        ([5, 6, 8], [6]),
        ([3, 6, 9], [3, 6, 9]),
    ],
)
def test_a_change_has_three_points_on_either_side(indexes: list[int], expected: list[int]) -> None:
    """Of two that stand too close, the larger step stays."""
    series = make_series([0.0] * 6 + [0.1] * 6)

    assert expected == [change.index for change in changes_of(series, indexes)]


@UNHURRIED
@given(indexes=st.lists(st.integers(-5, 30), max_size=12), logs=st.lists(LOGS, min_size=1, max_size=15))
def test_whatever_a_detector_says_every_change_has_room(indexes: list[int], logs: list[float]) -> None:
    """And none is invented."""
    template = make_line(0)
    lines = [template.model_copy(update={"log_ratio": v, "run": f"{k:03d}"}) for k, v in enumerate(logs)]
    [series] = series_of(lines, make_pins(1))

    edges = [0, *(change.index for change in changes_of(series, indexes)), len(logs)]

    assert all(right - left >= 3 for left, right in pairwise(edges)) or len(edges) == 2
    assert set(edges[1:-1]) <= set(indexes)


def test_a_change_names_its_commits_its_size_and_what_else_changed() -> None:
    """The levels are means of logarithms over all points between changes."""
    lines = [make_line(k, log_ratio=0.0 if k < 4 else -0.1) for k in range(8)]
    newer = {"python": "3.11.2", "numpy": "2.1.0", "torch": "2.14.0"}
    lines = [line if k < 4 else line.model_copy(update={"packages": newer}) for k, line in enumerate(lines)]
    [series] = series_of(lines, make_pins(1))

    [change] = changes_of(series, [4])

    assert (commit(3), commit(4), False) == (change.before, change.after, change.faster)
    assert pytest.approx(math.exp(-0.1)) == change.ratio
    assert (("torch", "2.13.0", "2.14.0"),) == change.packages
    assert (None, False) == (change.at_renewal, change.is_overlap_error)


def test_less_time_is_faster() -> None:
    """The change knows which way a quantity counts."""
    series = make_series([0.0] * 3 + [-0.1] * 3, quantity="time_to_first_step_seconds")

    assert changes_of(series, [3])[0].faster


@pytest.mark.parametrize(("step", "expected"), [(0.005, True), (-0.005, True), (0.05, False), (-0.05, False)])
def test_a_step_at_a_renewal_is_held_to_the_overlaps_error(step: float, expected: bool) -> None:
    """The overlap is known to +-0.9%: 0.5% may be its error, 5% is not."""
    lines = [make_line(k, log_ratio=0.0) for k in range(4)]
    lines.append(make_overlap(4, "numpy-1", "numpy-2", log_ratio=0.2, standard_error=0.004, n=10))
    lines += [make_line(k, log_ratio=step - 0.2, reference="numpy-2") for k in range(5, 9)]
    [series] = of_sklearn(lines, 2)

    [change] = changes_of(series, [4])

    assert pytest.approx(math.expm1(half_width(0.004 * math.sqrt(10), 10))) == change.at_renewal
    assert expected == change.is_overlap_error
