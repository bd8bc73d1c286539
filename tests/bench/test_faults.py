"""Nothing is lost: each fault of a worker, of the runner and of the disk, with real processes."""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.faults import fault
from bench.record import WorkerRequest
from bench.runner import judge, run_worker, worker_cores, worker_environment
from bench.task import load_task
from tests.command import BENCH, ROOT, bench, start

# The smallest real training: one epoch of mlp-tiny. Its certificate needs fewer rows than that of large batches.
TINY = ("run", "--task", "mlp-tiny", "--epochs", "1", "--blocks", "1", "--seed", "1")

REQUEST = WorkerRequest(
    task=load_task("mlp-tiny"),
    training_seed=0,
    entry="tests.plugins.good",
    entry_module="tests.plugins.good",
    device="cpu",
    threads=1,
    memory_limit_bytes=None,
    parent_pid=os.getpid(),
)


@pytest.mark.parametrize(
    ("error", "free", "limited"),
    [
        (MemoryError("no more"), "out-of-memory", "out-of-memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out-of-memory", "out-of-memory"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "failed", "out-of-memory"),
        (ImportError("libtorch_cpu.so: cannot open shared object file"), "failed", "failed"),
    ],
)
def test_what_lack_of_memory_looks_like(error: Exception, free: str, limited: str) -> None:
    """The loader does not say why it could not map: of a worker with a limit it is that, else a disk may forbid it."""
    assert free == fault(error).status
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 46, hard))
    try:
        assert limited == fault(error).status
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def records(results: Path) -> dict[str, dict]:
    """Every record of a results folder by the name of its entry; each file must be whole JSON."""
    found = [json.loads(path.read_text()) for path in results.glob("raw/*/*/*/block-*.json")]
    return {record["case"]["entry"]: record for record in found}


def wait_for(path: Path, seconds: float = 60) -> str:
    """The content of a file once another process has written it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{path} was not written within {seconds} s")


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int, seconds: float = 10) -> bool:
    """Whether a process ends within some seconds."""
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


FAULTS = {
    "aborts": ("crashed", "killed by SIGABRT"),
    "exits": ("crashed", "ended with code 7; last message: about to leave"),
    "vanishes": ("broken-output", "printed no valid record"),
    "raises": ("failed", "RuntimeError: the shapes [784, 128] and [3] do not match"),
    "refuses": ("refused", "has no SGD"),
    "shapeless": ("failed", "train() must return the losses as a NumPy array float32 (1,), returned float64"),
    "diverges": ("refused", "loss at step 0: is not finite"),
    "faulty": ("refused", "deviat"),
    "retraces": ("failed", "traced or compiled inside"),
    "absent": ("failed", "No module named 'tests.plugins.absent'"),
}


def test_workers_that_fail_become_records_and_the_plan_goes_on(tmp_path: Path, subtests: pytest.Subtests) -> None:
    """Whatever a worker does, its record says status and reason, and every other trial of the plan is there."""
    flags = [word for entry in (*FAULTS, "good") for word in ("--entry", f"tests.plugins.{entry}")]
    done = bench(*TINY, *flags, "--results", tmp_path)
    found = records(tmp_path)

    assert {f"tests.plugins.{entry}" for entry in (*FAULTS, "good")} == set(found)
    for entry, (status, reason) in FAULTS.items():
        with subtests.test(entry):
            failed = found[f"tests.plugins.{entry}"]
            assert (status, True) == (failed["status"], reason in failed["reason"]), failed["reason"]
    assert "ok" == found["tests.plugins.good"]["status"]
    assert 3 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A whole run of an entry that prints and of one that says that it cannot do the task, and its results."""
    results = tmp_path_factory.mktemp("chatty")
    entries = ("--entry", "tests.plugins.chatty", "--entry", "tests.plugins.refuses")
    return bench(*TINY, *entries, "--results", results), results


def test_a_worker_that_prints_does_not_spoil_its_record(
    chatty: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    """Standard output is kept for the record: what an entry prints there goes elsewhere."""
    done, results = chatty

    assert (0, "ok") == (done.returncode, records(results)["tests.plugins.chatty"]["status"]), done.stderr


def test_a_refusal_is_no_failure_of_the_run(chatty: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """An entry that says that it cannot do a task has answered."""
    done, results = chatty

    assert (0, "refused") == (done.returncode, records(results)["tests.plugins.refuses"]["status"]), done.stderr


def test_each_worker_has_an_empty_temporary_folder_that_goes_with_it(tmp_path: Path) -> None:
    """What one process leaves there, such as a compiler's cache, the next one does not find."""
    script = tmp_path / "worker"
    script.write_text('#!/bin/sh\ncat >/dev/null\nls -A "$TMPDIR"\necho "$TMPDIR"\ntouch "$TMPDIR/left-behind"\n')
    script.chmod(0o755)
    told = [
        run_worker(
            REQUEST,
            cores=worker_cores(1),
            time_limit_seconds=20,
            environment=worker_environment(1),
            command=(str(script),),
        ).stdout.split()
        for _ in range(2)
    ]

    assert [1, 1] == [len(lines) for lines in told]
    assert told[0] != told[1]
    assert [False, False] == [Path(lines[0]).exists() for lines in told]


def test_a_worker_that_hangs_is_ended_at_its_limit(tmp_path: Path) -> None:
    """The limit ends it, the record says so, no process is left, and the plan goes on."""
    pid_file = tmp_path / "pid"
    arguments = ("--entry", "tests.plugins.hangs", "--entry", "tests.plugins.good", "--time-limit", "8")
    done = bench(*TINY, *arguments, "--results", tmp_path, HANGS_PID_FILE=str(pid_file))
    found = records(tmp_path)

    assert ("timed-out", "was still running after its limit of 8 s") == (
        found["tests.plugins.hangs"]["status"],
        found["tests.plugins.hangs"]["reason"],
    )
    assert "ok" == found["tests.plugins.good"]["status"]
    assert 3 == done.returncode
    assert gone(int(pid_file.read_text()))


def test_a_worker_out_of_memory_becomes_a_record(tmp_path: Path) -> None:
    """--memory-limit bounds the address space; what goes beyond it is recorded as out of memory."""
    arguments = ("--entry", "tests.plugins.hungry", "--entry", "tests.plugins.good", "--memory-limit", "3GiB")
    done = bench(*TINY, *arguments, "--results", tmp_path)
    found = records(tmp_path)

    assert ("out-of-memory", "ok") == (found["tests.plugins.hungry"]["status"], found["tests.plugins.good"]["status"])
    assert 3 == done.returncode


@pytest.mark.parametrize("output", ["garbage", '{"status": "ok"', '{"status": "ok", "reason": null}', ""])
def test_a_broken_record_becomes_a_record_of_that(tmp_path: Path, output: str) -> None:
    """A worker process that prints garbage, half a document or an incomplete one is recorded as such."""
    script = tmp_path / "worker"
    script.write_text(f"#!/bin/sh\ncat >/dev/null\nprintf '%s' '{output}'\n")
    script.chmod(0o755)
    finished = run_worker(
        REQUEST, cores=worker_cores(1), time_limit_seconds=20, environment=worker_environment(1), command=(str(script),)
    )
    status, reason, reply = judge(finished, 20)

    assert ("broken-output", True, None) == (status, reason is not None and output[:20] in reason, reply)


def test_a_child_that_a_worker_leaves_behind_is_ended(tmp_path: Path) -> None:
    """The whole session of a worker goes with it."""
    pid_file = tmp_path / "pid"
    bench(*TINY, "--entry", "tests.plugins.child", "--results", tmp_path, CHILD_PID_FILE=str(pid_file))

    assert gone(int(pid_file.read_text()))


@contextlib.contextmanager
def hanging(folder: Path, *entries: str) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    """A run of these entries of tests/plugins that has come to the last one, which hangs: runner, worker, results."""
    pid_file, results = folder / "pid", folder / "results"
    names = [f"tests.plugins.{entry}" for entry in (*entries, "hangs")]
    flags = [word for name in names for word in ("--entry", name)]
    runner = start(*TINY, *flags, "--results", results, HANGS_PID_FILE=str(pid_file))
    try:
        pid = int(wait_for(pid_file))
        # The seed puts the good entry first; this says so if that should ever change.
        assert names[:-1] == list(records(results)), "choose another --seed for TINY"
        yield runner, pid, results
    finally:
        runner.kill()
        runner.communicate()


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """What kill -9 of a runner leaves that has kept one trial and hangs in its second: worker's pid, results."""
    with hanging(tmp_path_factory.mktemp("killed"), "good") as (runner, pid, results):
        runner.kill()
        runner.communicate(timeout=20)
    return pid, results


def test_ctrl_c_ends_the_worker_and_leaves_whole_files(tmp_path: Path) -> None:
    """Exit 130, one line that says how to go on, the finished trial kept, no worker left."""
    with hanging(tmp_path, "good") as (runner, pid, results):
        runner.send_signal(signal.SIGINT)
        _, stderr = runner.communicate(timeout=20)

    assert 130 == runner.returncode
    assert "1 of 2 trials are kept; go on with `bench run --resume`" in stderr
    assert "Traceback" not in stderr
    assert gone(pid)
    assert ["tests.plugins.good"] == list(records(results))
    assert [] == list(results.rglob("*.tmp"))


def test_kill_9_of_the_runner_loses_no_finished_trial_and_leaves_no_worker(killed: tuple[int, Path]) -> None:
    """The kernel ends the worker with its runner; what was finished is on the disk."""
    pid, results = killed

    assert gone(pid)
    assert ["tests.plugins.good"] == list(records(results))


def test_a_second_run_on_the_same_results_is_refused_in_one_line(tmp_path: Path) -> None:
    """The lock names the process that holds it; the first run is not disturbed."""
    with hanging(tmp_path) as (runner, _, results):
        second = bench(*TINY, "--entry", "tests.plugins.good", "--results", results)

        assert 2 == second.returncode
        assert [f"bench: {results}: another run (process {runner.pid}) is writing here; wait for it, or take another "
                "--results"] == second.stderr.splitlines()  # fmt: skip
        assert runner.poll() is None


def test_resume_runs_only_what_is_missing(killed: tuple[int, Path], tmp_path: Path) -> None:
    """After kill -9 the finished trial stays as it is, byte for byte, and the missing one is run."""
    results = shutil.copytree(killed[1], tmp_path / "results")
    [kept] = results.glob("raw/*/*/*/block-*.json")
    before = (kept.read_bytes(), kept.stat().st_mtime_ns)
    resumed = start("run", "--resume", "--results", results, HANGS_PID_FILE=str(results / "second"))
    wait_for(results / "second")
    resumed.send_signal(signal.SIGTERM)
    _, stderr = resumed.communicate(timeout=20)

    assert 130 == resumed.returncode
    assert "0 of 1 trials are kept" in stderr
    assert before == (kept.read_bytes(), kept.stat().st_mtime_ns)


def test_resume_of_a_whole_run_is_refused(chatty: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """Where nothing is missing there is nothing to go on with: one line, exit 2."""
    again = bench("run", "--resume", "--results", chatty[1])

    assert 2 == again.returncode
    assert 1 == len(again.stderr.splitlines())
    assert "holds no unfinished run" in again.stderr


def test_resume_with_other_flags_finds_no_run(killed: tuple[int, Path], tmp_path: Path) -> None:
    """--resume with flags goes on with a run of just these flags, never with another."""
    results = shutil.copytree(killed[1], tmp_path / "results")
    other = bench("run", "--resume", "--results", results, "--task", "mlp", "--blocks", "7")

    assert (2, True) == (other.returncode, "holds no unfinished run of this plan" in other.stderr)


FULL_DISK = """
set -e
mount -t tmpfs -o size={size} tmpfs {folder}
set +e
{command} --results {folder}/results
code=$?
find {folder} -name '*.json' -size 0
find {folder} -name '*.tmp'
exit $code
"""


@pytest.mark.parametrize(
    ("size", "entry", "place"),
    [
        ("900k", "good", "under 1 MiB left on the disk"),  # before a trial is run for nothing
        ("4m", "fills", "no space left for a record"),  # the trial itself fills the disk, and its record finds it full
        ("4k", "good", "no space left"),  # not even the plan fits
    ],
)
def test_a_full_disk_is_one_clear_line_and_no_half_file(tmp_path: Path, size: str, entry: str, place: str) -> None:
    """On a real file system without room: exit 2, one line with the remedy, nothing half written."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = " ".join((*BENCH, *TINY, "--entry", f"tests.plugins.{entry}"))
    script = FULL_DISK.format(size=size, folder=folder, command=command)
    # A mount of its own in a namespace of its own: it goes with the process.
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*unshare, "mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("this system lets no unprivileged process mount a file system")
    done = subprocess.run(
        [*unshare, "bash", "-c", script],
        cwd=ROOT,
        env={**os.environ, "FILLS_FILE": str(folder / "fill")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    complaints = [line for line in done.stderr.splitlines() if line.startswith("bench:")]

    assert 2 == done.returncode, done.stderr
    assert 1 == len(complaints), done.stderr
    assert (True, True) == (place in complaints[0], "free some" in complaints[0])
    assert "Traceback" not in done.stderr
    assert "" == done.stdout


def test_the_worker_refuses_what_is_no_request() -> None:
    """Called by hand without a request, the worker says so and exits with 2."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.worker"], input="hello", cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert (2, "", True) == (done.returncode, done.stdout, "not a request" in done.stderr)
