"""Which tests may run side by side, and on which core each side runs."""

import os
import signal
from pathlib import Path

import pytest

# What looks at the machine itself would see the tests beside it, and what compares durations would have them in these.
# Beginnings of the tests' names. (Of the doctor, what a test plants for one core is named by the core: with a core of
# its own each side would have other tests.)
SERIAL = (
    "tests/bench/test_clock.py::",
    "tests/bench/test_doctor.py::test_another_process_that_computes_is_named",
    "tests/bench/test_doctor.py::test_the_real_spin_measures_and_gives_the_cores_back",
    "tests/bench/test_doctor.py::test_what_would_spoil_a_measurement_is_found",
    "tests/bench/test_windows.py::test_a_slowed_window_is_longer_by_the_share",
    "tests/impls/test_hooks.py::test_a_product_that_is_made_once_for_all_is_found",
    "tests/impls/test_hooks.py::test_every_batch_is_gathered",
    "tests/impls/test_hooks.py::test_every_product_is_made",
    "tests/impls/test_hooks.py::test_synchronize_waits",
    "tests/probes/test_ceiling.py::",
    "tests/probes/test_surroundings.py::",
)


def pytest_configure(config: pytest.Config) -> None:
    """Let SIGINT be what it is in a terminal; keep a worker of pytest-xdist, and all that it starts, to one core.

    A trial pins itself to the last core that it may use (bench.runner.worker_cores): without this the trials of all
    workers would crowd on one core, and the others would stand idle. It is done before any test's module is imported,
    since a pool of threads keeps the cores that it began with.
    """
    # Who starts the tests in the background may have had it ignored, which every process would inherit. A handler it
    # does not. (Told to a child by a function between fork and exec, it could deadlock on the threads of a framework.)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput"):
        cores = sorted(os.sched_getaffinity(0))
        number = int(config.workerinput["workerid"].removeprefix("gw"))
        os.sched_setaffinity(0, [cores[number % len(cores)]])
        # A pytest that a test starts is no worker; by this, pytest-benchmark would take it for one and measure nothing.
        os.environ.pop("PYTEST_XDIST_WORKER", None)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file for nothing where only tests that run alone are asked for: `-m "serial ..."`."""
    if not config.option.markexpr.startswith("serial") or not collection_path.name.startswith("test_"):
        return None
    place = collection_path.relative_to(config.rootpath).as_posix()
    return None if any(name.startswith(place) for name in SERIAL) else True


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what must run alone."""
    for item in items:
        if item.nodeid.startswith(SERIAL):
            item.add_marker(pytest.mark.serial)
