"""Slurm's answers are read right, and no answer is no end of a job."""

from pathlib import Path

import pytest

from bench import slurm
from bench.slurm import FORGOTTEN, State, parse


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Commands of Slurm that do as they are told, before all others on PATH."""
    for name, script in scripts.items():
        file = folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_squeue_is_read_line_by_line() -> None:
    """Single jobs, elements of arrays, and an array whose elements wait; a reason is of a failure alone."""
    lines = "17|RUNNING|None\n18_0|FAILED|NonZeroExitCode\n18_1|CANCELLED|Resources\n18_2|PENDING|Priority\n"

    assert {
        "17": State(name="RUNNING"),
        "18_0": State(name="FAILED", why="NonZeroExitCode"),
        "18_1": State(name="CANCELLED"),
        "18_2": State(name="PENDING"),
    } == parse(lines)


def test_sacct_is_read_too() -> None:
    """It says who cancelled, and has no reason."""
    assert {"18_1": State(name="CANCELLED"), "18_2": State(name="NODE_FAIL")} == parse(
        "18_1|CANCELLED by 1000\n18_2|NODE_FAIL\n"
    )


@pytest.mark.parametrize(
    ("name", "ended"),
    [
        ("PENDING", False),
        ("RUNNING", False),
        ("COMPLETING", False),
        ("SUSPENDED", False),
        ("REQUEUED", False),
        ("NEVER_HEARD_OF", False),
        ("COMPLETED", True),
        ("CANCELLED", True),
        ("FAILED", True),
        ("NODE_FAIL", True),
        ("PREEMPTED", True),
        ("TIMEOUT", True),
        ("OUT_OF_MEMORY", True),
        (FORGOTTEN, True),
    ],
)
def test_what_runs_or_will_has_not_ended(name: str, ended: bool) -> None:
    """A word that a newer Slurm may have is no end: to wait too long is better than to run a block twice."""
    assert ended == State(name=name).ended


def test_a_job_that_squeue_forgot_is_asked_of_sacct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """squeue refuses the number; sacct, where there is one, still knows."""
    fake(
        tmp_path,
        monkeypatch,
        squeue="echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1",
        sacct="echo '17|TIMEOUT'",
    )

    assert {"17": State(name="TIMEOUT"), "18": State(name=FORGOTTEN)} == slurm.states(["17", "18"])


def test_without_accounting_a_forgotten_job_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sacct fails where no accounting is kept."""
    fake(
        tmp_path,
        monkeypatch,
        squeue="echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1",
        sacct="echo 'Slurm accounting storage is disabled' >&2; exit 1",
    )

    assert {"17_2": State(name=FORGOTTEN)} == slurm.states(["17_2"])


@pytest.mark.parametrize("script", ["echo 'Unable to contact slurm controller' >&2; exit 1", "exec /does/not/exist"])
def test_a_slurm_that_does_not_answer_has_ended_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """Its controller may be restarted while jobs run on."""
    fake(tmp_path, monkeypatch, squeue=script)

    assert slurm.states(["17"]) is None
