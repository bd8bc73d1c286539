"""The share of communication in a step, and who had to share cores."""

import pytest

from bench.record import Communication, Trial
from bench.scaling import communication, communication_share, sharing
from tests.make import make_trial


def scaled(block: int, exchanging: list[float], local: list[float], **changes: object) -> Trial:
    """A trial of two processes with these windows."""
    trial = make_trial("torch-ddp", block, processes=2, **changes)  # type: ignore[arg-type]
    assert trial.measurements is not None
    seen = Communication(steps=100, exchanging_seconds=exchanging, local_seconds=local)
    return trial.model_copy(update={"measurements": trial.measurements.model_copy(update={"communication": seen})})


def test_the_share_is_what_a_step_takes_less_without_it() -> None:
    """By the medians of the windows, so that one slow window is no matter."""
    assert 0.25 == communication_share(scaled(0, [4.0, 4.0, 9.0], [3.0, 1.0, 3.0]))


def test_a_share_below_0_is_not_hidden() -> None:
    """It says that the two cannot be told apart."""
    assert -0.25 == communication_share(scaled(0, [4.0], [5.0]))


def test_a_trial_of_one_process_has_no_share() -> None:
    """None, and never 0."""
    assert communication_share(make_trial()) is None
    assert communication([make_trial()]).mean is None


def test_the_share_has_an_interval_over_blocks() -> None:
    """Trials that do not count are in no mean."""
    trials = [scaled(block, [1.0], [local]) for block, local in enumerate((0.5, 0.6, 0.7))]
    seen = communication([*trials, make_trial("torch-ddp", 3, status="crashed", reason="rank 1")])

    assert (3, pytest.approx(0.4)) == (seen.n, seen.mean)
    assert seen.interval is not None
    assert seen.interval[0] < 0.4 < seen.interval[1]


def test_shared_cores_are_told() -> None:
    """Processes, threads of each, cores; nothing where each had its own."""
    trial = make_trial("torch-ddp", processes=4, threads=1)
    shared = trial.model_copy(update={"conditions": trial.conditions.model_copy(update={"cores_shared": True})})

    assert [] == sharing([trial])
    assert [(4, 1, 2)] == sharing([shared, trial])
