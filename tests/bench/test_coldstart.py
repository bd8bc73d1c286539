"""bench/coldstart.py: cold starts and break-evens whose truth is known."""

import pytest

from bench.attribution import Missing
from bench.coldstart import BreakEven, break_even, cold_start, warm_up_excess_seconds
from bench.record import Trial
from tests.make import make_step, make_task, make_trial


def cold(entry: str, step: float, *, start: float, noise: float = 0.0) -> list[Trial]:
    """Three blocks whose import takes `start`, and build and first step as good as nothing.

    The first window takes twice as long as the later ones, and so the warm-up is one window.
    """
    steps = make_task().steps_per_epoch - 1
    return [
        make_step(
            entry,
            block,
            step,
            import_seconds=start - step * steps + noise * (block - 1),
            build_seconds=0.0,
            first_step_seconds=0.001,
        )
        for block in range(3)
    ]


def broken_even(trials: list[Trial], against: list[Trial]) -> BreakEven:
    """The break-even, which must be there."""
    found = break_even(trials, against)
    assert isinstance(found, BreakEven)
    return found


def test_a_known_break_even_is_found() -> None:
    """10 s dearer at the start and 1 ms faster a step: 10,000 steps."""
    seen = broken_even(cold("torch-compile", 1e-3, start=12.0, noise=0.01), cold("torch-eager", 2e-3, start=2.0))

    assert seen.interval is not None
    assert ("after", pytest.approx(10_000, rel=1e-6)) == (seen.verdict, seen.steps)
    assert seen.interval[0] < 10_000 < seen.interval[1]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((1e-3, 2.0), (2e-3, 12.0), "at-once"),
        ((2e-3, 12.0), (1e-3, 2.0), "never"),
        ((2e-3, 2.0), (1e-3, 12.0), "until"),
        ((1e-3, 2.0), (1e-3, 2.0), "not-told-apart"),
    ],
)
def test_what_never_or_at_once_pays_off_is_said(
    one: tuple[float, float], other: tuple[float, float], expected: str
) -> None:
    """No number of steps below 0, and none where the step is no faster."""
    seen = broken_even(cold("torch-compile", one[0], start=one[1]), cold("torch-eager", other[0], start=other[1]))

    assert expected == seen.verdict
    assert (seen.steps is None) == (expected != "until")


def test_starts_that_are_not_told_apart_reach_down_to_0_steps() -> None:
    """The interval of the break-even then begins at 0, and has an end."""
    seen = broken_even(cold("torch-compile", 1e-3, start=4.1, noise=2.0), cold("torch-eager", 2e-3, start=4.0))

    assert seen.interval is not None
    assert seen.steps is not None
    assert ("after", 0.0) == (seen.verdict, seen.interval[0])
    assert 0 < seen.steps < seen.interval[1]


def test_warm_up_is_the_first_epoch_above_the_later_ones() -> None:
    """First step and window, each beside the same call of later epochs."""
    trial = make_trial(seconds=2.0, first_step_seconds=0.251)  # later epochs: window 2.0, first batch 0.001

    seen = cold_start([trial])

    assert seen is not None
    assert seen.warm_up_seconds is not None
    assert seen.total_seconds is not None
    assert (pytest.approx(2.25), pytest.approx(2.0 + 0.5 + 2.25), 0) == (
        seen.warm_up_seconds.median,
        seen.total_seconds.median,
        seen.floored,
    )


def test_a_first_epoch_that_is_no_slower_has_no_warm_up_and_is_flagged() -> None:
    """Noise is not sold as a gain."""
    trial = make_trial()
    assert trial.measurements is not None
    first, *later = trial.measurements.epochs
    epochs = [first.model_copy(update={"window_seconds": 0.5, "first_batch_seconds": 0.0}), *later]
    measured = trial.measurements.model_copy(update={"epochs": epochs, "first_step_seconds": 0.0})
    trial = trial.model_copy(update={"measurements": measured})

    seen = cold_start([trial])

    assert (warm_up_excess_seconds(trial) or 0) < 0
    assert seen is not None
    assert seen.warm_up_seconds is not None
    assert (0.0, 1) == (seen.warm_up_seconds.median, seen.floored)


def test_a_single_epoch_has_no_steady_state_to_compare_with() -> None:
    """No warm-up and no break-even, rather than a wrong one."""
    trials = [make_trial(task=make_task(epochs=1))]

    seen = cold_start(trials)

    assert seen is not None
    assert (None, None) == (seen.warm_up_seconds, seen.total_seconds)
    assert break_even(trials, trials) == Missing(reason="no block has both at steady state")
