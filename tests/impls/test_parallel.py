"""The entries for several processes, in several processes: same work, and each fault ends its trial alone."""

import json
from pathlib import Path

import pytest

from bench.record import Trial
from bench.scaling import communication_share
from tests.bench.test_faults import TINY, gone, records
from tests.bench.test_launch import ask
from tests.command import bench

ENTRIES = ["torch-ddp", "tensorflow-multiworker", "tensorflow-mirrored"]

pytestmark = pytest.mark.slow


def certified(entry: str, task: str) -> dict:
    """The certificate of an entry in two processes."""
    done = bench("certify", entry, "--processes", "2", "--task", task, "--json")
    assert done.stdout, done.stderr
    [found] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("task", ["mlp-tiny", "mlp-adamw"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_two_processes_do_the_tasks_arithmetic(entry: str, task: str) -> None:
    """By the same certificate as one: parameters within 1e-10 of the oracle after 100 steps in float64."""
    found = certified(entry, task)

    assert ("ok", 2) == (found["status"], found["case"]["processes"]), found["reason"]
    assert [] == [fault for part in found["parts"] for fault in part["faults"]]


def test_processes_that_do_not_exchange_gradients_are_refused() -> None:
    """The certificate of two processes can fail."""
    found = certified("tests.plugins.ddp_silent", "mlp-tiny")

    assert "refused" == found["status"]
    assert "not the same work: part float64" in found["reason"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_trial_in_two_processes_counts_and_tells_its_communication(tmp_path: Path, entry: str) -> None:
    """Its losses are held to the oracle's like those of one process."""
    done = bench(*TINY, "--entry", entry, "--processes", "2", "--results", tmp_path)
    [record] = records(tmp_path).values()
    trial = Trial.model_validate(record)
    share = communication_share(trial)

    assert ("ok", "same-work") == (trial.status, trial.check and trial.check.verdict), (trial.reason, done.stderr)
    assert share is not None
    assert -0.5 < share < 1
    assert trial.conditions.cores_shared == (len(trial.conditions.cores) < 2)


@pytest.mark.parametrize("entry", ["ddp_faulty", "multiworker_faulty"])
@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [("raises", "failed", "rank 1: RuntimeError: the shapes"), ("killed", "crashed", "rank 1: killed by SIGKILL")],
)
def test_a_rank_that_dies_ends_those_that_wait_for_it_in_a_collective(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, fault: str, status: str, reason: str
) -> None:
    """Its own error is the trial's, and not what the others say of it."""
    seen = ask(tmp_path, monkeypatch, entry, fault=fault, limit=200)

    assert (status, True) == (seen.status, reason in seen.reason), seen.reason
    assert all(map(gone, seen.pids))


@pytest.mark.parametrize("entry", ["ddp_faulty", "multiworker_faulty"])
def test_a_rank_that_hangs_is_told_from_those_that_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    """By the line in which each is."""
    seen = ask(tmp_path, monkeypatch, entry, fault="hangs", limit=120)

    assert "timed-out" == seen.status, seen.reason
    assert "; rank 1: in fault, ranks.py:" in seen.reason
    assert "rank 0: in fault" not in seen.reason
