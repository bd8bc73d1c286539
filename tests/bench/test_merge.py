"""Results folders are brought together whole, once, and never over one another."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import store
from bench.errors import InputError
from bench.merge import merge, missing
from bench.record import Plan
from tests.command import ROOT, bench
from tests.make import make_certificate, make_machine, make_trial


def results_of(folder: Path, run: str, *, machine: str = "testbox", blocks: int = 2) -> Path:
    """A results folder with one run, its certificate and its trials."""
    trials = [make_trial(block=block, run=run, machine=make_machine(name=machine)) for block in range(blocks)]
    plan = Plan.model_validate(
        {
            "run": run,
            "profile": "quick",
            "seed": 7,
            "blocks": blocks,
            "tasks": [trials[0].task],
            "entries": ["torch-eager"],
            "devices": ["cpu"],
            "threads": [2],
            "time_limit_seconds": 1,
            "memory_limit_bytes": None,
            "created_utc": "2026-01-02T03:04:05+00:00",
            "machine_fingerprint": "machine-0",
            "source": trials[0].source,
        }
    )
    place = store.create_run(folder, plan, machine)
    proof = store.write_certificate(place, make_certificate().model_copy(update={"case": trials[0].case}))
    for trial in trials:
        store.write_trial(place, trial.model_copy(update={"certificate": proof}))
    return folder


def files(results: Path) -> dict[str, bytes]:
    """Every raw file with its bytes."""
    raw = store.raw_folder(results)
    return {str(path.relative_to(raw)): path.read_bytes() for path in raw.rglob("*") if path.is_file()}


def test_two_nodes_become_one_folder_that_the_report_reads(tmp_path: Path) -> None:
    """The bytes are the same, and every trial has its certificate beside it."""
    a, b = results_of(tmp_path / "a", "run-a"), results_of(tmp_path / "b", "run-b", machine="otherbox")
    into = tmp_path / "into"
    merge(missing([a, b], into), into)

    assert files(a) | files(b) == files(into)
    assert 4 == len(store.read_trials(into))


def test_twice_is_as_good_as_once(tmp_path: Path) -> None:
    """The second time nothing is missing."""
    a, into = results_of(tmp_path / "a", "run-a"), tmp_path / "into"
    merge(missing([a], into), into)
    before = files(into)

    assert [] == missing([a, a, into], into)
    assert before == files(into)


def test_a_contradiction_is_refused_before_anything_is_copied(tmp_path: Path) -> None:
    """One name, two contents: no rule could choose."""
    a, b, into = results_of(tmp_path / "a", "run-a"), results_of(tmp_path / "b", "run-a"), tmp_path / "into"
    path = next(store.raw_folder(b).rglob("block-000*"))
    path.write_bytes(path.read_bytes().replace(b'"worker_seconds": 10.0', b'"worker_seconds": 11.0'))
    with pytest.raises(InputError, match=r"block-000.*differs from .*never rewritten"):
        missing([a, b], into)

    merge(missing([a], into), into)
    with pytest.raises(InputError, match=r"differs from"):
        missing([b], into)
    assert files(a) == files(into)


@pytest.mark.parametrize("spoil", [lambda text: text[:200], lambda _: "{}", lambda text: text.replace("ok", "fine")])
def test_a_broken_record_stays_where_it_is(tmp_path: Path, spoil) -> None:
    """A merge must not spread what no report could read."""
    a, into = results_of(tmp_path / "a", "run-a"), tmp_path / "into"
    path = next(store.raw_folder(a).rglob("block-001*"))
    path.write_text(spoil(path.read_text()))
    done = bench("merge", a, "--results", into)

    assert 2 == done.returncode
    assert str(path) in done.stderr
    assert 1 == len(done.stderr.splitlines())
    assert not store.raw_folder(into).exists()


def test_what_is_no_results_folder_is_one_line(tmp_path: Path) -> None:
    """With the remedy."""
    done = bench("merge", tmp_path, "--results", tmp_path / "into")

    assert 2 == done.returncode
    assert "holds no results (no folder raw/); name the folder" in done.stderr


def test_a_file_that_was_being_written_is_no_record(tmp_path: Path) -> None:
    """A run that was killed leaves its temporary file; it is not copied."""
    a, into = results_of(tmp_path / "a", "run-a"), tmp_path / "into"
    half = next(store.raw_folder(a).rglob("plan.json")).parent / ".block-009.json.17.tmp"
    half.write_text('{"half": ')
    merge(missing([a], into), into)

    assert half.name not in {Path(name).name for name in files(into)}


def test_a_merge_that_is_killed_is_gone_on_with(tmp_path: Path) -> None:
    """kill -9 in the midst: whole files alone are there, none without its certificate, and the next merge ends it."""
    a, into = results_of(tmp_path / "a", "run-a", blocks=59), tmp_path / "into"
    process = subprocess.Popen([sys.executable, "-m", "bench.cli", "merge", a, "--results", into], cwd=ROOT)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(into.rglob("block-*.json"))) < 3:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for path in into.rglob("block-*.json"):
        json.loads(path.read_text())
        assert list(path.parent.glob("certificate_*.json"))
    done = bench("merge", a, "--results", into)

    assert 0 == done.returncode, done.stderr
    kept = {name: content for name, content in files(into).items() if not Path(name).name.startswith(".")}
    assert files(a) == kept


def test_a_merge_waits_for_no_run_and_disturbs_none(tmp_path: Path) -> None:
    """The lock of the results folder holds for it too."""
    a, into = results_of(tmp_path / "a", "run-a"), tmp_path / "into"
    with store.locked(into):
        done = bench("merge", a, "--results", into)

    assert 2 == done.returncode
    assert "another run" in done.stderr
