"""The study of exports: each figure is there, no wrong answer has one, and no fault leaves a process behind."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.conformance import ContractBroken
from bench.contract import Entry, Refusal, Settings
from bench.probes.available import availability
from bench.record import Reading, Source, WorkerRequest
from bench.runner import Where, worker_cores
from bench.studies import Study, exported, find_study
from bench.studies.exported import Load, bytes_in, measure, served
from bench.studying import StudyPlan, StudyRecord, run_study
from bench.task import load_task
from tests.command import ROOT
from tests.make import make_machine
from tests.plugins import exporting

FEW = Load(warm_up_calls=1, calls=5, batch_size=256, seconds=0, limit_seconds=60)
SOURCE = Source(git_commit=None, git_dirty=None, sha256="0" * 64, reason="a test")


def request(name: str) -> WorkerRequest:
    return WorkerRequest(
        what="study",
        study="bench.studies.exported",
        task=load_task("mlp-tiny"),
        training_seed=0,
        entry=name,
        entry_module="tests.plugins.exporting",
        device="cpu",
        threads=1,
        memory_limit_bytes=None,
        parent_pid=os.getpid(),
    )


def readings(name: str, load: Load = FEW) -> dict[str, Reading]:
    """The study of one name of tests/plugins/answering.py, which serves in a real process."""
    found = measure(exporting, request(name), Settings(device="cpu", threads=1), load=load)
    return {reading.name: reading for reading in found}


def entry(name: str, **changes: object) -> Entry:
    return replace(
        Entry(name=name, module="tests.plugins.exporting", framework="numpy", mode="eager", tier="as-written"),
        **changes,  # type: ignore[arg-type]
    )


def record(subject: Entry, limit_seconds: float = 60) -> StudyRecord:
    """The record that a run of the study keeps of a subject: by a real worker, and a real process that serves."""
    study = Study(name="exported", question="", subjects=(subject,), time_limit_seconds=limit_seconds)
    plan = StudyPlan(
        run="r",
        seed=0,
        blocks=1,
        studies=["exported"],
        subjects=[],
        threads=1,
        time_limit_seconds=None,
        created_utc="2026-01-02T03:04:05+00:00",
        machine_fingerprint="m",
        source=SOURCE,
    )
    asked = (0, 0, study, subject, load_task("mlp-tiny"))
    return run_study(plan, asked, where=Where(machine=make_machine(), source=SOURCE))


def gone(pid: int, seconds: float = 10) -> bool:
    """Whether a process ends within some seconds (a zombie has)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_every_figure_is_measured_and_they_agree_with_each_other() -> None:
    """A cold start is its three parts, and the timed answers are those of the trained network."""
    found = readings("good")
    value = {name: reading.value for name, reading in found.items() if reading.value is not None}

    assert [
        "export_seconds",
        "exported_bytes",
        "cold_start_seconds",
        "import_seconds",
        "load_seconds",
        "first_answer_seconds",
        "latency_p50_seconds",
        "latency_p99_seconds",
        "samples_per_second",
        "rss_bytes",
        "relative_deviation",
    ] == list(value)
    parts = [value[f"{part}_seconds"] for part in ("import", "load", "first_answer")]
    assert pytest.approx(sum(parts)) == value["cold_start_seconds"]
    assert 0 < value["latency_p50_seconds"] <= value["latency_p99_seconds"]
    assert 0 <= value["relative_deviation"] < exported.TOLERANCE
    assert min(value["rss_bytes"], value["exported_bytes"], value["samples_per_second"]) > 0


@pytest.mark.parametrize("name", ["changed", "reuses", "wrong-in-batches", "stale"])
def test_what_does_not_answer_as_the_trained_network_is_refused(name: str) -> None:
    """A weight changed by a thousandth; one buffer for all answers; wrong in batches alone; one answer for all."""
    with pytest.raises(Refusal, match="what was exported is not what was trained"):
        readings(name)


def test_the_sizes_of_all_files_count(tmp_path: Path) -> None:
    """In subfolders too: a SavedModel keeps its weights in one, and ONNX in a second file."""
    (tmp_path / "variables").mkdir()
    for name, size in (("network.onnx", 3), ("network.onnx.data", 40), ("variables/data-00000-of-00001", 500)):
        (tmp_path / name).write_bytes(bytes(size))

    assert 543 == bytes_in(tmp_path)


def test_memory_that_cannot_be_read_is_null_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never 0."""
    monkeypatch.setattr(exported, "served", lambda *a: {k: v for k, v in served(*a).items() if k != "rss_bytes"})
    reading = readings("good")["rss_bytes"]

    assert (None, "/proc/self/statm could not be read") == (reading.value, reading.reason)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("raises", "ended with code 1; last message: RuntimeError: no such operator"),
        ("aborts", "was killed by SIGABRT"),
        ("leaves", "ended with code 7"),
    ],
)
def test_a_serving_process_that_ends_badly_fails_the_study(name: str, end: str) -> None:
    """The reason names the process, its end and its last words."""
    with pytest.raises(ContractBroken) as caught:
        readings(name)

    assert str(caught.value).startswith(f"the serving process of {name} {end}")


def test_a_serving_process_that_hangs_is_ended_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason says so, and no process is left."""
    monkeypatch.setenv("HANGS_PID_FILE", str(tmp_path / "pid"))
    with pytest.raises(ContractBroken, match="of hangs was still running after its limit of 3 s"):
        readings("hangs", replace(FEW, limit_seconds=3))

    assert gone(int((tmp_path / "pid").read_text()))


def test_a_crash_of_what_serves_becomes_a_record() -> None:
    """Failed, with the reason."""
    found = record(entry("aborts"))

    assert ("failed", []) == (found.status, found.readings)
    assert (found.reason or "").startswith("the serving process of aborts was killed by SIGABRT"), found.reason


@pytest.mark.slow
def test_a_worker_that_is_ended_at_its_limit_takes_what_serves_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record says that its time ran out, and no process is left."""
    monkeypatch.setenv("HANGS_PID_FILE", str(tmp_path / "pid"))
    found = record(entry("hangs"), limit_seconds=15)

    assert ("timed-out", "was still running after its limit of 15 s") == (found.status, found.reason)
    assert gone(int((tmp_path / "pid").read_text()))


def test_what_serves_dies_with_a_worker_that_was_killed(tmp_path: Path) -> None:
    """By kill -9, which leaves the worker no time to end it."""
    script = (
        "from bench.contract import Settings\n"
        "from tests.bench.studies.test_exported import readings\n"
        "readings('hangs')\n"
    )
    pid_file = tmp_path / "pid"
    worker = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "HANGS_PID_FILE": str(pid_file)}
    )
    try:
        deadline = time.monotonic() + 60
        while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()

    assert gone(int(pid_file.read_text()))


def test_what_serves_has_the_worker_s_cores_and_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Affinity and thread variables are inherited; the number of threads is handed on."""
    monkeypatch.setenv("TELLS_FILE", str(tmp_path / "told"))
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    found = record(entry("tells"))

    assert "ok" == found.status, found.reason
    assert {"cores": worker_cores(1), "threads": 1, "omp": "1"} == json.loads((tmp_path / "told").read_text())


def test_a_format_whose_package_is_missing_is_refused_with_its_remedy() -> None:
    """The remedy names the extra that brings it beside the framework's own, and no process is started."""
    onnx = next(subject for subject in find_study("exported").subjects if subject.name == "torch-onnx")
    reason = "onnx, onnxscript, onnxruntime is not installed; pip install 'evenhand[torch,export]'"
    assert reason == availability(onnx, "cpu", {"torch": "2.13.0"})
    found = record(entry("good", packages=("no-such-package",), extras=("export",)))

    assert ("refused", "no-such-package is not installed; pip install 'evenhand[numpy,export]'", 0.0) == (
        found.status,
        found.reason,
        found.worker_seconds,
    )


LOADED = """
import sys
import bench.serving
{planted}
print(sorted(set(sys.modules) & {{"bench.contract", "bench.record", "bench.task", "pydantic", "scipy", "torch"}}))
"""


@pytest.mark.parametrize(("planted", "loaded"), [("", "[]"), ("import bench.task", "['bench.task', 'pydantic']")])
def test_what_serves_imports_nothing_of_ours_that_weighs(planted: str, loaded: str) -> None:
    """What it imported would count in the memory of every format; the second case shows that it would be found."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(planted=planted)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert loaded == done.stdout.strip(), done.stderr
