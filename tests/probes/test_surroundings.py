"""What else ran on the cores: the kernel's counters, read for real, and files that are not what they should be."""

import os
import subprocess
import sys
import time
from pathlib import Path

from bench.probes import surroundings

CORE = max(os.sched_getaffinity(0))


def window(seconds: float) -> surroundings.Surroundings:
    """What is counted around so many seconds of work on the last core."""
    before_affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CORE})
    try:
        before = surroundings.read({CORE})
        until = time.process_time() + seconds
        while time.process_time() < until:
            pass
        return surroundings.between(before, surroundings.read({CORE}))
    finally:
        os.sched_setaffinity(0, before_affinity)


def test_a_hog_on_the_core_is_counted_as_foreign() -> None:
    """Another process on the same core takes about as long as we do."""
    hog = subprocess.Popen(
        [sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {{{CORE}}})\nprint(flush=True)\nwhile True: pass"],
        stdout=subprocess.PIPE,
    )
    try:
        assert hog.stdout is not None
        hog.stdout.readline()
        found = window(0.5)
    finally:
        hog.kill()
        hog.wait()

    assert found.foreign_seconds is not None
    assert found.foreign_seconds > 0.25
    assert found.involuntary_switches is not None
    assert found.involuntary_switches > 0


def test_our_own_work_is_not_foreign() -> None:
    """However busy the core is with others: what they had is at most the time that we did not have."""
    started, worked = time.perf_counter(), 0.5
    found = window(worked)
    others = time.perf_counter() - started - worked

    assert found.foreign_seconds is not None
    assert found.foreign_seconds < others + 0.1


def test_what_cannot_be_read_is_null_with_the_reason(tmp_path: Path) -> None:
    """A container without /proc/stat."""
    before = surroundings.read({0}, tmp_path)
    found = surroundings.between(before, surroundings.read({0}, tmp_path))

    assert (None, None, None) == (found.steal_seconds, found.foreign_seconds, found.energy_joules)
    assert "/proc/stat cannot be read (No such file or directory)" == before.reasons["foreign_seconds"]
    assert before.reasons.keys() == {"steal_seconds", "foreign_seconds", "energy_joules"}


def test_garbage_and_missing_cores_are_reasons_too(tmp_path: Path) -> None:
    """No crash on what a system of tomorrow, or a broken one, may say."""
    (tmp_path / "proc").mkdir()
    for text in ("", "cpu0 1 2 x 4 5 6 7 8\n", "cpu0 1 2\n", "cpu1 1 2 3 4 5 6 7 8\n", "\x00\xff"):
        (tmp_path / "proc/stat").write_text(text)

        assert "/proc/stat cannot be read" in surroundings.read({0}, tmp_path).reasons["steal_seconds"]


def test_columns_are_summed_over_the_cores_in_seconds(tmp_path: Path) -> None:
    """By hand: user, nice, system, irq, softirq are busy; idle and iowait are not; steal is apart."""
    (tmp_path / "proc").mkdir()
    tick = os.sysconf("SC_CLK_TCK")
    lines = (f"cpu{core} " + " ".join(str(n * tick) for n in (1, 2, 3, 100, 200, 4, 5, 6, 7, 8)) for core in range(3))
    (tmp_path / "proc/stat").write_text("\n".join(lines))
    found = surroundings.read({0, 2}, tmp_path)

    assert (30.0, 12.0) == (found.busy_seconds, found.steal_seconds)
