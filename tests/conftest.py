"""Which tests may run side by side, and on which core each side runs."""

import os
from pathlib import Path

import pytest

# What looks at the machine itself would see the tests beside it, and what compares durations would have them in these.
SERIAL = (
    "bench/test_clock.py",
    "bench/test_doctor.py",
    "probes/test_ceiling.py",
    "probes/test_surroundings.py",
)
TESTS = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Keep a worker of pytest-xdist, and all that it starts, to a core of its own.

    A trial pins itself to the last core that it may use (bench.runner.worker_cores): without this the trials of all
    workers would crowd on one core, and the others would stand idle. It is done before any test's module is imported,
    since a pool of threads keeps the cores that it began with.
    """
    if hasattr(config, "workerinput"):
        cores = sorted(os.sched_getaffinity(0))
        number = int(config.workerinput["workerid"].removeprefix("gw"))
        os.sched_setaffinity(0, [cores[number % len(cores)]])


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what must run alone."""
    for item in items:
        if item.path.is_relative_to(TESTS) and str(item.path.relative_to(TESTS)) in SERIAL:
            item.add_marker(pytest.mark.serial)
