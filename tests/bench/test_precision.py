"""--precision: planned looks, a run that stops at one of them, and one that is taken up again."""

import math
from pathlib import Path

import numpy as np
import pytest

from bench import store
from bench.comparison import findings
from bench.precision import LOOKS, enough, looks, widths
from bench.record import Plan, Trial
from bench.runner import remaining, stopped
from bench.selection import Pair
from bench.stats import compare
from tests.command import bench
from tests.make import make_trial


def run_of(blocks: int, spread: float, *, target: float | None = 0.01) -> list[Trial]:
    """Two entries whose log ratio is 0.1, but for an alternating +-spread."""
    trials = []
    for block in range(blocks):
        off = spread * (1 if block % 2 else -1)
        pair = make_trial("torch-eager", block), make_trial("tensorflow-eager", block, seconds=math.exp(0.1 + off))
        for trial in pair:
            placement = trial.placement.model_copy(update={"target": target})
            trials.append(trial.model_copy(update={"placement": placement}))
    return trials


def test_the_looks_end_with_the_cap() -> None:
    """Whatever the cap is, there is a last look, and none beyond."""
    assert (8, 12, 18, 20) == looks(20)
    assert LOOKS == looks(80)
    assert (5,) == looks(5)


def test_a_run_stops_at_the_first_look_where_every_ratio_is_known() -> None:
    """At 0.2% spread that is the first one."""
    assert 8 == enough(run_of(8, 0.002), target=0.01, cap=80, complete=8, against="torch-eager")


def test_a_run_does_not_stop_between_two_looks() -> None:
    """After 9 blocks it is known well enough to be sure that nobody looks again until 12."""
    wide = run_of(8, 0.05)

    assert enough(wide, target=0.01, cap=80, complete=8, against="torch-eager") is None
    narrow = run_of(7, 0.0001)
    assert enough(narrow, target=0.01, cap=80, complete=7, against="torch-eager") is None


def test_the_cap_ends_a_run_that_did_not_reach_its_target() -> None:
    """It says so elsewhere; here it only ends."""
    assert 10 == enough(run_of(10, 0.5), target=0.01, cap=10, complete=10, against="torch-eager")


def test_the_half_width_is_that_of_a_97_percent_interval() -> None:
    """By hand: t(0.985, 7) sd / sqrt(8), with the sd of +-s."""
    (found,) = widths(run_of(8, 0.02), blocks=8, against="torch-eager")
    sd = np.std([0.02, -0.02] * 4, ddof=1)

    assert found.half_width == pytest.approx(2.7146 * sd / math.sqrt(8), rel=1e-4)
    assert ("tensorflow-eager", "torch-eager") == (found.entry, found.reference)


def test_what_an_adaptive_run_prints_is_wider_than_what_a_planned_one_does() -> None:
    """Stopping when it is narrow costs confidence, so the interval printed as 95% is the one of 97%."""

    def width(target: float | None) -> float:
        trials = run_of(8, 0.02, target=target)
        interval = compare(trials[::2], trials[1::2]).interval
        assert interval is not None
        return math.log(interval[1] / interval[0])

    assert width(0.01) / width(None) == pytest.approx(2.7146 / 2.3646, rel=1e-3)


def test_two_sets_of_adaptive_runs_are_compared_no_less_carefully() -> None:
    """`bench compare` prints the same interval as the tables do."""
    trials = run_of(8, 0.02)
    a, b = trials[::2], trials[1::2]
    of_table = compare(a, b).interval
    [speed, *_] = findings(Pair(a=tuple(a), b=tuple(b), paired=True))

    assert speed.interval == pytest.approx(of_table)


def held(tmp_path: Path, spread: float) -> tuple[Plan, Path]:
    """A run with a target of 1% that holds eight whole blocks, as a runner that was interrupted left them."""
    trials = run_of(8, spread)
    plan = Plan.model_validate(
        {
            "run": "run-0",
            "profile": "quick",
            "seed": 7,
            "blocks": 12,
            "tasks": [trials[0].task],
            "entries": ["torch-eager", "tensorflow-eager"],
            "devices": ["cpu"],
            "threads": [2],
            "target": 0.01,
            "time_limit_seconds": 1,
            "memory_limit_bytes": None,
            "created_utc": "2026-01-02T03:04:05+00:00",
            "machine_fingerprint": "machine-0",
            "source": trials[0].source,
        }
    )
    folder = store.create_run(tmp_path, plan, "testbox")
    for trial in trials:
        store.write_trial(folder, trial)
    return plan, folder


def test_a_run_that_reached_its_target_has_nothing_left_to_do(tmp_path: Path) -> None:
    """So --resume finds no unfinished run either."""
    plan, folder = held(tmp_path, 0.002)

    assert [] == remaining(plan, folder)
    assert 8 == stopped(plan, folder)


def test_a_run_that_did_not_goes_on_to_its_cap(tmp_path: Path) -> None:
    """Four blocks of two cases are left."""
    plan, folder = held(tmp_path, 0.05)

    assert 8 == len(remaining(plan, folder))
    assert stopped(plan, folder) is None


def test_a_block_that_is_not_whole_is_not_looked_at(tmp_path: Path) -> None:
    """The look comes after the eighth block, whole."""
    plan, folder = held(tmp_path, 0.002)
    next(iter(folder.glob("block-007_*torch-eager*"))).unlink()

    assert 9 == len(remaining(plan, folder))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--precision", "x"], "is no half-width of a ratio"),
        (["--precision", "0%"], "is no half-width of a ratio"),
        (["--precision", "nan"], "is no half-width of a ratio"),
        (["--precision", "1%", "--entry", "numpy"], "needs two entries or more"),
        (["--precision", "1%", "--against", "jax-jit", "--entry", "numpy", "--entry", "torch-eager"], "needs two"),
        (["--against", "numpy"], "give --precision as well"),
    ],
)
def test_nonsense_is_one_line(flags: list[str], message: str) -> None:
    """Cause and remedy, exit 2."""
    done = bench("run", *flags, "--dry-run")

    assert 2 == done.returncode
    assert message in done.stderr
    assert 1 == len(done.stderr.splitlines())
