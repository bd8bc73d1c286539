"""A plan on a real Slurm of one node: what it records, what it loses, and that a resumed run is whole.

Skipped where Slurm is not installed, or where nobody is root (Debian, as root: tests/cluster/slurm install).
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.plan import block_order
from bench.record import Case, Plan, Trial, read_value
from tests.bench.test_cluster import all_records, parent_of, same
from tests.bench.test_faults import TINY, gone, wait_for
from tests.command import ROOT, bench, start

SLURM = ROOT / "tests" / "cluster" / "slurm"
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(shutil.which("slurmctld") is None, reason="no Slurm here (Debian: tests/cluster/slurm install)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="slurmd must be started by root"),
]

BLOCKS = 8
PLAN = (
    *("run", "--task", "mlp-tiny", "--epochs", "1", "--blocks", str(BLOCKS), "--seed", "5"),
    *("--entry", "numpy", "--entry", "tests.plugins.good", "--entry", "torch-eager"),
)
# A worker is killed in the first, the process that runs the block in the second, the job is cancelled in the third.
WORKER_DIES, BLOCK_DIES, JOB_IS_CANCELLED = 1, 3, 5


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Slurm that runs, by its SLURM_CONF; its jobs have the last core, so that a run beside it can have the first."""
    folder = tmp_path_factory.mktemp("slurm")
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    try:
        subprocess.run([SLURM, "start", folder], check=True, timeout=60)
    finally:
        os.sched_setaffinity(0, cores)
    try:
        yield str(folder / "slurm.conf")
    finally:
        subprocess.run([SLURM, "stop", folder], check=True, timeout=60)


def ask(conf: str, *command: str) -> str:
    """What a command of Slurm's prints."""
    done = subprocess.run(command, env={**os.environ, "SLURM_CONF": conf}, capture_output=True, text=True, timeout=30)
    assert 0 == done.returncode, done.stderr
    return done.stdout.strip()


def until(found: Callable[[], Any], seconds: float = 600) -> Any:
    """What is found, once it is."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {found}")


def words_of(pid: int) -> list[str]:
    """The command line of a process; empty where there is none."""
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    return []


def workers() -> dict[int, int]:
    """Process id of every worker of a trial or certificate, with its parent's."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        with contextlib.suppress(OSError):
            if "bench.worker" in words_of(pid):
                found[pid] = parent_of(pid)
    return found


def of_jobs(conf: str) -> list[list[str]]:
    """The command line of every process that a job on this Slurm has started, and that still runs."""
    wanted = f"SLURM_CONF={conf}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (path / "environ").read_bytes().split(b"\0")
            if wanted in environment and any(one.startswith(b"SLURM_JOB_ID=") for one in environment):
                found.append(words_of(int(path.name)))
    return [words for words in found if words != [""] and words]


def at(results: Path, block: int, case: Case) -> tuple[str, int, int]:
    """Job, process and worker of a block, once it is at this case of it."""

    def look() -> tuple[str, int, int] | None:
        for note in results.glob(f"jobs/*/begun/block-{block:03d}_*.json"):
            with contextlib.suppress(OSError):
                job = note.stem.partition("_")[2]
                if read_value(Trial, note).case != case:
                    continue
                for worker, parent in workers().items():
                    if str(results) in " ".join(words_of(parent)):
                        return job, parent, worker
        return None

    found: tuple[str, int, int] = until(look)
    return found


def plan_of(results: Path) -> Plan:
    """The plan of the one run of a results folder."""
    (path,) = until(lambda: list(results.glob("raw/*/*/*/plan.json")))
    return read_value(Plan, path)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, slurm: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The same plan by the plain runner on the other core, whose worker dies in the same trial; and its results."""
    results = tmp_path_factory.mktemp("local")
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    try:
        runner = start(*PLAN, "--results", results)
    finally:
        os.sched_setaffinity(0, cores)
    try:
        yield runner, results
    finally:
        runner.kill()
        runner.communicate()


# What hangs on the clock, on memory or on the day; of what a report says, all else must be the same.
TIMED = {
    *("run", "date", "records", "verdict", "where", "why", "outcome", "reason", "a", "b", "value", "interval"),
    *("ratio", "ratio_low", "ratio_high", "ratio_to_reference", "disturbed", "blocks_to_decide"),
    *("samples_per_second_median", "samples_per_second_least", "samples_per_second_greatest"),
    *("time_to_first_step_seconds_median", "peak_training_bytes_median", "peak_above_import_bytes_median"),
    *("ceilings", "slow_ceilings", "step_parts", "cold_starts", "memory_energy_and_cards"),
}


def without_times(document: Any) -> Any:
    """A report's JSON less what is TIMED, but for why trials do not count."""
    if isinstance(document, dict):
        kept = {key: without_times(value) for key, value in document.items() if key not in TIMED}
        return kept | {"reason": document["reason"]} if "blocks" in document and "reason" in document else kept
    if isinstance(document, list):
        return [without_times(value) for value in document]
    return document


def report_of(results: Path) -> dict[str, Any]:
    """What `bench report` makes of a results folder."""
    done = bench("report", "--format", "json", "--results", results)
    assert 0 == done.returncode, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_plan_that_lost_a_worker_and_jobs_is_resumed_to_what_a_local_run_gives(
    slurm: str, local: tuple[subprocess.Popen[str], Path], tmp_path: Path
) -> None:
    """24 trials; kill -9 of a worker and of a block's process, scancel of a job, each in mid-run; then --resume."""
    results = tmp_path / "results"
    submitter = start(*PLAN, "--executor", "slurm", "--partition", "bench", "--results", results, SLURM_CONF=slurm)
    try:
        plan = plan_of(results)
        last = {block: block_order(plan, block)[-1] for block in (WORKER_DIES, BLOCK_DIES)}
        second = block_order(plan, JOB_IS_CANCELLED)[1]
        threading.Thread(target=kill_worker_of, args=local, daemon=True).start()

        _, _, worker = at(results, WORKER_DIES, last[WORKER_DIES])
        os.kill(worker, signal.SIGKILL)

        died, process, orphan = at(results, BLOCK_DIES, last[BLOCK_DIES])
        os.kill(process, signal.SIGKILL)
        assert (True, True) == (gone(process), gone(orphan))

        cancelled, process, orphan = at(results, JOB_IS_CANCELLED, second)
        ask(slurm, "scancel", cancelled)
        assert (True, True) == (gone(process), gone(orphan))

        _, stderr = submitter.communicate(timeout=600)
    finally:
        submitter.kill()
        submitter.communicate()
    assert 3 == submitter.returncode, stderr
    assert [] == of_jobs(slurm)
    before = {path: path.read_bytes() for path in results.glob("raw/*/*/*/*.json")}
    ill = {(t.placement.block, t.case): (t.status, str(t.reason)) for t in all_records(results) if t.status != "ok"}

    crashed = ill.pop((WORKER_DIES, last[WORKER_DIES]))
    assert ("crashed", True) == (crashed[0], "killed by SIGKILL" in crashed[1]), crashed
    assert {
        (BLOCK_DIES, last[BLOCK_DIES]): (
            "lost",
            f"Slurm's job {died} was at this trial when it ended: FAILED (NonZeroExitCode)",
        ),
        (JOB_IS_CANCELLED, second): (
            "lost",
            f"Slurm's job {cancelled} was at this trial when it ended: CANCELLED",
        ),
    } == ill

    resumed = bench("run", "--resume", "--results", results, SLURM_CONF=slurm)
    after = {path: path.read_bytes() for path in results.glob("raw/*/*/*/*.json")}
    new = sorted(path.name for path in after.keys() - before.keys() if path.name.startswith("block-"))

    assert 0 == resumed.returncode, resumed.stderr
    assert "submitted: 2 blocks" in resumed.stderr
    assert before == {path: after[path] for path in before}
    # Of the cancelled block the trial that it was at, and the one that had not begun.
    again = [f"block-{block:03d}" for block in (BLOCK_DIES, JOB_IS_CANCELLED, JOB_IS_CANCELLED)]
    assert again == [name[:9] for name in new]
    assert [] == of_jobs(slurm)

    runner, there = local
    runner.communicate(timeout=600)
    assert 3 == runner.returncode  # of the worker that died there too
    kept = [trial for trial in all_records(results) if trial.status != "lost"]
    assert 3 * BLOCKS == len(kept)
    assert same(all_records(there)) == same(kept)

    ours, theirs = report_of(results), report_of(there)
    lost = [one for section in ours["sections"] for one in section["failures"] if one["status"] == "lost"]
    for section in ours["sections"]:
        section["failures"] = [one for one in section["failures"] if one["status"] != "lost"]
    assert sorted([[BLOCK_DIES], [JOB_IS_CANCELLED]]) == sorted(one["blocks"] for one in lost)
    assert without_times(theirs) == without_times(ours)
    # And the comparison can fail: with one trial less it does.
    next(there.glob("raw/*/*/*/block-000_*_numpy_*.json")).unlink()
    assert without_times(report_of(there)) != without_times(ours)


def kill_worker_of(runner: subprocess.Popen[str], results: Path) -> None:
    """kill -9 of the plain runner's worker, in the same trial: the third and last of its block."""
    until(lambda: len(list(results.glob(f"raw/*/*/*/block-{WORKER_DIES:03d}_*.json"))) == 2)
    worker = until(lambda: [worker for worker, parent in workers().items() if parent == runner.pid])[0]
    os.kill(worker, signal.SIGKILL)


@contextlib.contextmanager
def hanging(slurm: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int, Path, Path]]:
    """A plan of one trial that hangs, on Slurm: the submitting side, the worker, the results, the file of its pid."""
    pid_file, results = folder / "pid", folder / "results"
    flags = ("--entry", "tests.plugins.hangs", "--executor", "slurm", "--results", results)
    submitter = start(*TINY, *flags, SLURM_CONF=slurm, HANGS_PID_FILE=str(pid_file))
    try:
        yield submitter, int(wait_for(pid_file)), results, pid_file
    finally:
        submitter.kill()
        submitter.communicate()


def test_a_node_that_goes_down_is_a_lost_trial(slurm: str, tmp_path: Path) -> None:
    """Slurm ends the job as NODE_FAIL, does not queue it anew, and the record says so."""
    node = ask(slurm, "sinfo", "--noheader", "--format=%N")
    with hanging(slurm, tmp_path) as (submitter, worker, results, _):
        # It comes back by itself once its daemon reports again (ReturnToService=2).
        ask(slurm, "scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        _, stderr = submitter.communicate(timeout=120)
        (lost,) = all_records(results)

    assert 3 == submitter.returncode, stderr
    assert ("lost", True) == (lost.status, "was at this trial when it ended: NODE_FAIL" in str(lost.reason)), (
        lost.reason
    )
    assert gone(worker)
    until(lambda: ask(slurm, "sinfo", "--noheader", "--format=%T") == "idle")
    assert [] == of_jobs(slurm)


def test_ctrl_c_cancels_the_jobs_and_loses_nothing(slurm: str, tmp_path: Path) -> None:
    """As without a cluster: exit 130, nothing runs or waits any more, what it was at is missing; the lock held."""
    with hanging(slurm, tmp_path) as (submitter, worker, results, _):
        second = bench(*TINY, "--entry", "numpy", "--results", results)
        submitter.send_signal(signal.SIGINT)
        _, stderr = submitter.communicate(timeout=120)

    assert (2, True) == (second.returncode, f"another run (process {submitter.pid})" in second.stderr)
    assert 130 == submitter.returncode
    assert "0 of 1 trials are kept; go on with `bench run --resume`" in stderr
    assert "Traceback" not in stderr
    assert ("", True, []) == (ask(slurm, "squeue", "--noheader"), gone(worker), all_records(results))
    assert [] == of_jobs(slurm)


def test_jobs_outlive_the_submitting_side_and_are_found_again(slurm: str, tmp_path: Path) -> None:
    """kill -9 of bench (a lost connection) ends no job; --resume waits for it and submits nothing twice."""
    with hanging(slurm, tmp_path) as (submitter, worker, results, _):
        submitter.kill()
        submitter.communicate(timeout=20)
        job = ask(slurm, "squeue", "--noheader", "--format=%i")
        resumed = start("run", "--resume", "--results", results, SLURM_CONF=slurm)
        try:
            assert resumed.stderr is not None
            said = resumed.stderr.readline()
            assert job == ask(slurm, "squeue", "--noheader", "--format=%i")
            ask(slurm, "scancel", job)
            _, stderr = resumed.communicate(timeout=120)
        finally:
            resumed.kill()
            resumed.communicate()
        (lost,) = all_records(results)

    assert re.match("1 jobs of an earlier submission still run", said), said
    assert "submitted" not in stderr
    assert (3, "lost", True) == (resumed.returncode, lost.status, f"job {job} was" in str(lost.reason)), lost.reason
    assert gone(worker)
    assert [] == of_jobs(slurm)
