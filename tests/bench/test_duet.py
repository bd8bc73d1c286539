"""Processes that take turns: what a duet holds, and what becomes of each fault of a side."""

import itertools
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bench import plan
from bench.duet import LIMIT_SECONDS, OF_TWO_ENTRIES, Duet, Score, Side, _starting_cores, calibrate, play, together
from bench.plugins import find_entry
from bench.runner import worker_cores
from tests.bench.test_faults import gone
from tests.make import make_task

# A worker that says what it is told to, line by line; `{N}` stands for the number of the command.
SCRIPT = """
import json, os, sys, time
open({pid!r}, "a").write(f"{{os.getpid()}}\\n")
sys.stdin.readline()
{first}
number = 0
for line in sys.stdin:
    number += 1
    {answer}
"""
READY = 'print(json.dumps({"ready": True, "packages": {}, "implementation_sha256": None}), flush=True)'
WINDOW = (
    'print(json.dumps({"steps": 1, "extra_seconds": 0.0, "seconds": {SECONDS}, "cpu_seconds": 0.1,'
    ' "compilations": None}),'
    " flush=True)"
)


def window(seconds: str) -> str:
    """The line that answers with a window of so many seconds."""
    return WINDOW.replace("{SECONDS}", seconds)


@dataclass(frozen=True, kw_only=True)
class Scripted(Side):
    """A side whose worker is a script."""

    path: Path

    @property
    def command(self) -> tuple[str, ...]:
        return (sys.executable, str(self.path))


def scripted(folder: Path, name: str, *, first: str = READY, answer: str = window("0.25")) -> Scripted:
    """A side that plays a script; it adds its process id to the file `pids`."""
    path = folder / f"{name}.py"
    path.write_text(SCRIPT.format(pid=str(folder / "pids"), first=first, answer=answer))
    return Scripted(name=name, path=path)  # type: ignore[arg-type]


def score_of(
    entry: str = "tests.plugins.good", *, rounds: int = 3, limit_seconds: float = 60.0, steps: int = 5
) -> Score:
    """Short windows of a tiny task."""
    task, found = make_task(layers=(784, 8, 10)), find_entry(entry)
    return Score(
        case=plan.case_of(task, found, "cpu", 1),
        task=task,
        entry=found,
        steps=steps,
        rounds=rounds,
        limit_seconds=limit_seconds,
    )


def pids(folder: Path) -> list[int]:
    """Of every scripted worker that was started."""
    return [int(line) for line in (folder / "pids").read_text().split()]


def test_a_duet_of_real_workers_has_a_window_for_each_side_and_round() -> None:
    """Every round holds every side once, in an order that is kept; the code that ran is named."""
    sides = [Side(name="base"), Side(name="control"), Side(name="head")]
    seen = play(score_of(), sides, seed=1, order=random.Random(0))

    assert ("ok", None, 3) == (seen.status, seen.reason, len(seen.order))
    assert [3, 3, 3] == [len(seen.windows[side.name]) for side in sides]
    assert all("bch" == "".join(sorted(order)) for order in seen.order)
    assert 1 == len(set(seen.implementation_sha256.values()))
    assert Duet.model_validate_json(seen.model_dump_json()) == seen


def test_the_order_of_the_sides_changes_from_round_to_round(tmp_path: Path) -> None:
    """A side that always came last would find other caches than the first."""
    sides = [scripted(tmp_path, name) for name in ("base", "control", "head")]
    seen = play(score_of(rounds=12), sides, seed=0, order=random.Random(0))

    assert len(set(seen.order)) > 2


def test_the_processes_start_in_an_order_that_changes_from_duet_to_duet(tmp_path: Path) -> None:
    """A process may be given other memory than one that was started before it; process ids grow."""
    started = tmp_path / "started"
    say = f'open({str(started)!r}, "a").write(f"{{os.getpid()}} " + os.path.basename(__file__)[0] + "\\n"); '
    sides = [scripted(tmp_path, name, first=say + READY) for name in ("base", "control", "head")]
    orders = []
    for seed in range(8):
        started.unlink(missing_ok=True)
        seen = play(score_of(rounds=2), sides, seed=0, order=random.Random(seed))
        by_pid = sorted(started.read_text().splitlines(), key=lambda line: int(line.split()[0]))
        assert seen.start_order == "".join(line[-1] for line in by_pid)
        orders.append(seen.start_order)

    assert {"bch"} == {"".join(sorted(order)) for order in orders}
    assert len(set(orders)) > 2


def test_only_one_side_trains_at_a_time(tmp_path: Path) -> None:
    """The windows' own clocks do not overlap."""
    times = str(tmp_path / "times")
    span = "started = time.monotonic(); time.sleep(0.02); ended = time.monotonic(); "
    keep = f'open({times!r}, "a").write(f"{{started}} {{ended}}\\n"); '
    sides = [scripted(tmp_path, name, answer=span + keep + window("0.02")) for name in ("base", "control", "head")]
    play(score_of(rounds=4), sides, seed=0, order=random.Random(0))
    spans = sorted(tuple(map(float, line.split())) for line in (tmp_path / "times").read_text().splitlines())

    assert 15 == len(spans)  # a window to warm up and four rounds, three sides
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_the_log_seconds_of_a_side_are_the_mean_over_its_rounds(tmp_path: Path) -> None:
    """A head of twice the seconds has ln 2 more; the first window, which warms up, does not count."""
    head = scripted(tmp_path, "head", answer=window("9.0 if number == 1 else 0.5"))
    seen = play(score_of(), [scripted(tmp_path, "base"), head], seed=0, order=random.Random(0))

    assert 0.6931471805599453 == pytest.approx(seen.log_seconds("head") - seen.log_seconds("base"))
    assert 9.0 == seen.warm_up_seconds["head"]


def test_what_a_compiler_left_is_found_by_the_next_worker_where_a_folder_is_kept(tmp_path: Path) -> None:
    """In the first duet by nobody, in the second by all; the record says that it was so."""
    found, kept = tmp_path / "found", tmp_path / "kept"
    look = f'folder = os.environ["TMPDIR"]; open({str(found)!r}, "a").write(" ".join(os.listdir(folder)) + ";"); '
    leave = 'open(os.path.join(folder, f"program-{os.getpid()}"), "w").close(); '
    base, head = (scripted(tmp_path, name, first=look + leave + READY) for name in ("base", "head"))

    apart = [play(score_of(), [base, head], seed=0, order=random.Random(0)) for _ in range(2)]
    with_empty_folders, _ = found.read_text(), found.unlink()
    sides = [replace(base, scratch=kept / "base"), replace(head, scratch=kept / "head")]
    together_ = [play(score_of(), sides, seed=0, order=random.Random(0)) for _ in range(2)]

    assert ";;;;" == with_empty_folders
    first, second = found.read_text().split(";")[:2], found.read_text().split(";")[2:4]
    assert ["", ""] == first
    assert all(one.startswith("program-") for one in second)
    assert [False] * 2 + [True] * 2 == [one.programs_kept for one in (*apart, *together_)]
    assert 2 == len(list((kept / "base").iterdir()))


def test_a_turn_begins_with_windows_that_do_not_count(tmp_path: Path) -> None:
    """After the one that warms up, every other window of a side: those that find the caches as the others left them."""
    slow_first = window("0.5 if number == 1 else 9.0 if number % 2 == 0 else 0.25")
    sides = [scripted(tmp_path, "base"), scripted(tmp_path, "head", answer=slow_first)]
    seen = play(replace(score_of(), lead_in=1), sides, seed=0, order=random.Random(0))

    assert ("ok", 1) == (seen.status, seen.lead_in)
    assert [0.25] * 3 == seen.windows["head"] == seen.windows["base"]


def test_two_entries_have_a_lead_in_and_time_for_it() -> None:
    """A minute of windows a side is six with the lead-ins, more than a duet may take by itself."""
    given = score_of()
    longest = replace(OF_TWO_ENTRIES, side_seconds=60)
    both = together(replace(given, step_seconds=0.01), replace(given, step_seconds=0.02), longest)

    assert 1 == OF_TWO_ENTRIES.lead_in
    assert both.limit_seconds > LIMIT_SECONDS + 360


@pytest.mark.parametrize(
    ("first", "answer", "status", "reason"),
    [
        ("sys.exit('no such device')", "pass", "crashed", "ended with code 1; last message: no such device"),
        ("os.abort()", "pass", "crashed", "killed by SIGABRT"),
        ("sys.exit(0)", "pass", "broken-output", "ended without an answer"),
        ("print('hello', flush=True)", "pass", "broken-output", "answered with no ready: 'hello'"),
        (READY, "print('hello', flush=True)", "broken-output", "answered with no window: 'hello'"),
        (READY, "os.kill(os.getpid(), 9) if number == 3 else " + window("0.25"), "crashed", "killed by SIGKILL"),
        (READY, "time.sleep(600)", "timed-out", "did not answer within the duet's time"),
        (READY, "while True: print('x' * 100000, end='', flush=True)", "broken-output", ""),
        (READY, window("0.0"), "failed", "the clock saw no time pass"),
        (
            READY,
            window("0.25").replace('"compilations": None', '"compilations": number - 1'),
            "failed",
            "compiled inside",
        ),
        (
            "print(json.dumps({'status': 'refused', 'reason': 'has no SGD'}), flush=True)",
            "pass",
            "refused",
            "has no SGD",
        ),
    ],
)
def test_a_side_that_fails_is_the_reason_of_its_duet_and_nothing_is_left(
    tmp_path: Path, first: str, answer: str, status: str, reason: str
) -> None:
    """Status, side and reason; and every process is gone, the well ones too."""
    sides = [scripted(tmp_path, "base"), scripted(tmp_path, "head", first=first, answer=answer)]
    seen = play(score_of(limit_seconds=6), sides, seed=0, order=random.Random(0))

    assert (status, "head", True) == (seen.status, seen.failed, reason in (seen.reason or "")), seen.reason
    assert all(gone(pid) for pid in pids(tmp_path))


def test_an_interrupt_leaves_no_process(tmp_path: Path) -> None:
    """Ctrl-C while the sides play ends them before it goes on."""

    class Interrupts(random.Random):
        def sample(self, population: Any, k: int, **more: Any) -> list[Any]:
            if hasattr(self, "asked"):  # of the rounds, once all have started
                raise KeyboardInterrupt
            self.asked = True
            return super().sample(population, k, **more)

    with pytest.raises(KeyboardInterrupt):
        play(score_of(), [scripted(tmp_path, "base"), scripted(tmp_path, "head")], seed=0, order=Interrupts())

    assert [True, True] == [gone(pid) for pid in pids(tmp_path)]


def test_a_busy_neighbour_on_the_core_shows_in_the_foreign_share(tmp_path: Path) -> None:
    """A process that never rests takes about half of the core from sides that compute; the shares say so."""
    busy = "end = time.process_time() + 0.15\n    while time.process_time() < end: pass\n    " + window("0.15")
    sides = [scripted(tmp_path, name, answer=busy) for name in ("base", "head")]
    hog = subprocess.Popen(["taskset", "--cpu-list", str(worker_cores(1)[0]), sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        seen = play(score_of(), sides, seed=0, order=random.Random(0))
    finally:
        hog.kill()
        hog.wait()

    assert seen.foreign_share is not None
    assert seen.foreign_share > 0.2


def test_every_thread_of_a_side_trains_on_its_cores_alone(tmp_path: Path) -> None:
    """It may start anywhere; from the first window on it is pinned, threads that it had before too."""
    first = "import threading; threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); " + READY
    kept = str(tmp_path / "cores")
    look = "[sorted(os.sched_getaffinity(int(t))) for t in os.listdir('/proc/self/task')]"
    answer = f"open({kept!r}, 'w').write(json.dumps({look})); " + window("0.25")
    sides = [scripted(tmp_path, "base", first=first, answer=answer), scripted(tmp_path, "head")]
    play(score_of(), sides, seed=0, order=random.Random(0))

    assert [worker_cores(1)] * 2 == json.loads(Path(kept).read_text())


def test_sides_start_where_they_train_on_a_machine_of_several_memory_nodes(tmp_path: Path) -> None:
    """Else their memory would lie at the other processor."""
    (tmp_path / "node1").mkdir()

    assert [0] == _starting_cores([0], tmp_path)
    assert sorted(os.sched_getaffinity(0)) == _starting_cores([0], tmp_path / "node1")


@pytest.mark.parametrize(
    ("call", "step", "steps", "rounds"),
    [
        (0.0, 0.001, 5, 250),  # 5 ms
        (0.0, 1e-6, 5000, 250),
        (0.0, 0.02, 1, 62),  # a step is longer than a window need be
        (0.001, 0.001, 9, 125),  # 10 ms, of which a call takes 1
        (0.1, 0.001, 250, 6),  # the call would want 0.9 s: the longest window, and the fewest rounds
    ],
)
def test_a_window_is_short_and_its_call_a_tenth_of_it(
    tmp_path: Path, call: float, step: float, steps: int, rounds: int
) -> None:
    """A worker whose steps and calls take a known time."""
    side = scripted(tmp_path, "base", answer=window(f'{call} + json.loads(line)["steps"] * {step}'))
    given = score_of()
    score = calibrate(side, task=given.task, entry=given.entry, case=given.case)

    assert not isinstance(score, str)
    assert (steps, rounds) == (score.steps, pytest.approx(rounds, abs=3))


def test_the_noise_of_long_windows_is_not_taken_for_the_cost_of_a_call(tmp_path: Path) -> None:
    """The machine was 15% slower for some of them, and a call takes nothing: else a hundredfold of it is a window."""
    seconds = '(lambda n: n * (0.00115 if 4 < n < 60 else 0.001))(json.loads(line)["steps"])'
    side, given = scripted(tmp_path, "base", answer=window(seconds)), score_of()
    score = calibrate(side, task=given.task, entry=given.entry, case=given.case, windows=OF_TWO_ENTRIES)

    assert not isinstance(score, str)
    assert (50, pytest.approx(0, abs=1e-9), 1) == (score.steps, score.call_seconds, score.lead_in)


def test_a_worker_that_cannot_be_calibrated_gives_the_reason(tmp_path: Path) -> None:
    """One line for the person who asked."""
    score = score_of()
    side = scripted(tmp_path, "base", first="sys.exit('no such device')")

    reason = calibrate(side, task=score.task, entry=score.entry, case=score.case)

    assert isinstance(reason, str)
    assert "no such device" in reason


def test_a_side_in_another_folder_runs_that_folder_s_code(tmp_path: Path) -> None:
    """What a work tree holds is what is measured."""
    package = tmp_path / "bench"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "worker.py").write_text("import sys; sys.exit('the other code')")
    seen = play(score_of(), [Side(name="base"), Side(name="head", folder=tmp_path)], seed=0, order=random.Random(0))

    assert ("head", True) == (seen.failed, "the other code" in (seen.reason or "")), json.dumps(seen.reason)
