"""Plans by jobs: what is asked of Slurm, what is missing, and what is lost; with submitit's local executor, for real.

The real Slurm is in tests/cluster.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import cluster, runner, store
from bench.cluster import FILE, Executor, Slurm, is_part, minutes_of, missing
from bench.errors import InputError
from bench.estimate import Estimator
from bench.measures import Points
from bench.node import jobs_folder
from bench.plan import block_order, cases
from bench.record import Case, Certificate, Plan, Trial, read_value
from bench.runner import Where
from tests.bench.test_cli import one_line
from tests.bench.test_faults import TINY, gone, wait_for
from tests.command import bench, start
from tests.make import make_certificate, make_machine, make_task, make_trial

ENTRIES = ("numpy", "torch-eager")


def make_plan(**changes: Any) -> Plan:
    """Two entries, three blocks, submitted from the machine of most tests."""
    trial = make_trial()
    values = {
        "run": "run-0",
        "profile": "quick",
        "seed": 7,
        "blocks": 3,
        "tasks": [make_task()],
        "entries": list(ENTRIES),
        "devices": ["cpu"],
        "threads": [2],
        "time_limit_seconds": 300,
        "memory_limit_bytes": None,
        "created_utc": "2026-01-02T03:04:05+00:00",
        "machine_fingerprint": "machine-0",
        "source": trial.source,
    }
    return Plan.model_validate(values | changes)


def submitted(results: Path, plan: Plan, *machines: str) -> tuple[Path, ...]:
    """The folders of a run that was submitted from the first machine, and joined by the others."""
    made = tuple(store.join_run(results, plan, machine) for machine in machines)
    cluster.keep(made[0], Executor(name="slurm"))
    return made


def done(folder: Path, plan: Plan, block: int, *positions: int, **changes: Any) -> None:
    """Records of a block's trials, by their positions in it; all where none is named."""
    for position in positions or range(len(cases(plan))):
        case = block_order(plan, block)[position]
        store.write_trial(folder, make_trial(case.entry, block, run=plan.run, **changes))


def all_records(results: Path) -> list[Trial]:
    """Every record of a results folder, in order of names."""
    return [read_value(Trial, path) for path in sorted(results.glob("raw/*/*/*/block-*.json"))]


def test_a_block_is_whole_where_one_machine_holds_all_of_it(tmp_path: Path) -> None:
    """Halves on two machines are no pair: what is missing is told as of the machine that has the most."""
    plan = make_plan()
    login, node, other = submitted(tmp_path, plan, "login", "node", "other")
    done(node, plan, 0)
    done(node, plan, 1, 0)
    done(other, plan, 1, 1)

    assert {1: 1, 2: 2} == missing(plan, login)
    assert [1, 2, 2] == [block for block, _, _ in cluster.remaining(plan, login)]


def test_the_folder_of_a_node_is_part_of_the_run_that_was_submitted(tmp_path: Path) -> None:
    """--resume goes on with the run where it was begun, not with what one kind of node has of it."""
    login, node = submitted(tmp_path, make_plan(), "login", "node")
    plain = store.create_run(tmp_path, make_plan(run="run-1"), "login")

    assert [False, True, False] == [is_part(folder) for folder in (login, node, plain)]


def test_a_lost_trial_is_run_again_and_its_record_stays(tmp_path: Path) -> None:
    """It lies beside the repetition; neither is written over the other."""
    plan = make_plan()
    (folder,) = submitted(tmp_path, plan, "node")
    case = block_order(plan, 0)[0]
    lost = make_trial(case.entry, 0, run=plan.run, status="lost", reason="Slurm's job 7_0 was at it: NODE_FAIL")
    store.write_lost(folder, lost, "7_0")
    before = runner.remaining(plan, folder)
    done(folder, plan, 0)

    assert (0, 0, case) == before[0]
    assert {1: 2, 2: 2} == missing(plan, folder)
    assert ["lost", "ok", "ok"] == sorted(trial.status for _, trial in store.read_run(folder))


def test_a_lost_trial_is_not_held_against_its_entry(tmp_path: Path) -> None:
    """Neither its time nor its end says anything of the entry: a claim of stability does not see it."""
    lost = make_trial(status="lost", reason="job 7")
    estimator = Estimator(tmp_path, lost.machine.fingerprint)
    guessed = estimator.seconds(lost.case, lost.task)
    estimator.learn(lost)

    assert guessed == estimator.seconds(lost.case, lost.task)
    assert [0.0] == [point.value for point in Points([(Path(), lost), (Path(), make_trial())], []).of("failed")]


def test_nodes_of_one_kind_share_a_folder_and_its_plan(tmp_path: Path) -> None:
    """The first makes it, the others find it; another plan of the same name is refused."""
    made = [store.join_run(tmp_path, make_plan(), "node") for _ in range(2)]

    assert made[0] == made[1]
    with pytest.raises(InputError, match="is another plan than the one that was submitted"):
        store.join_run(tmp_path, make_plan(seed=8), "node")


def test_two_nodes_that_certify_at_once_share_the_first_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another node wrote meanwhile is the proof; ours is not written over it."""
    plan = make_plan()
    case = cases(plan)[0]
    ours, theirs = (made(case, second) for second in (1, 2))

    def beaten(*_: object, **__: object) -> Certificate:
        store.write_certificate(tmp_path, theirs)
        return ours

    monkeypatch.setattr(runner, "make_certificate", beaten)
    proof = runner.proof_for(plan, case, tmp_path, Where(machine=theirs.machine, source=theirs.source))
    (file,) = tmp_path.glob("certificate_*")

    assert theirs == read_value(Certificate, file)
    assert store.proof_of(file) == proof


def made(case: Case, second: int) -> Certificate:
    """A certificate of the case, made at that second."""
    return make_certificate().model_copy(update={"case": case, "started_utc": f"2026-01-02T03:04:{second:02d}+00:00"})


def test_a_job_may_take_as_long_as_its_trials_may(tmp_path: Path) -> None:
    """Two entries, each a certificate and a trial of 300 s, and two minutes to start."""
    assert 22 == minutes_of(make_plan())


def test_a_run_with_a_target_is_submitted_look_by_look(tmp_path: Path) -> None:
    """Until the first look, then until the next; nothing once it may stop."""
    plan = make_plan(blocks=20, target=0.01)
    (folder,) = submitted(tmp_path, plan, "node")

    def limit() -> int:
        return cluster._limit(plan, folder, missing(plan, folder))

    limits = [limit()]
    for block in range(8):
        done(folder, plan, block, seconds=1 + (block % 2), machine=make_machine(name="node"))
    limits.append(limit())
    assert [8, 0] == limits  # both entries vary alike: their ratio is known at once
    assert {} == cluster.todo(plan, folder)


# --- what is refused


@pytest.mark.parametrize(
    ("arguments", "cause", "remedy"),
    [
        (("--executor", "kubernetes"), "--executor 'kubernetes'", "take slurm or local"),
        (("--partition", "fast"), "--partition: is for --executor slurm alone", "add that"),
        (("--executor", "local", "--no-exclusive"), "--no-exclusive: is for --executor slurm", "leave it out"),
        (("--gres", "gpu:1", "--constraint", "x"), "--constraint, --gres: is for --executor slurm", "add that"),
        (("--executor-config", "absent.toml"), "--executor-config: is for --executor slurm", "add that"),
        (("--executor", "slurm", "--executor-config", "absent.toml"), "absent.toml: cannot be read", "check the path"),
        (("--executor", "slurm", "--gpu", "0"), "--gpu: names a card of this machine", "ask for one by --gres"),
        (("--executor", "slurm"), "sbatch, squeue, srun, scancel: not on PATH", "submit from a machine"),
        (("--executor", "local", "--resume"), "holds no unfinished run", "leave --resume out"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], cause: str, remedy: str
) -> None:
    """Cause and remedy are in the line, and nothing is written."""
    line = one_line(bench("run", *arguments, "--results", tmp_path, PATH="/nowhere"))

    assert (True, True) == (cause in line, remedy in line), line
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('partitions = "fast"', "partitions: no such key"),
        ("at_once = 0", "at_once: input should be greater than or equal to 1, is 0"),
        ("exclusive = 3", "exclusive: input should be a valid boolean"),
        ("partition = ", "is no TOML"),
    ],
)
def test_a_wrong_config_is_refused_with_file_and_key(tmp_path: Path, content: str, message: str) -> None:
    """The line names the file, the key and the value."""
    file = tmp_path / "slurm.toml"
    file.write_text(content)
    line = one_line(bench("run", "--executor", "slurm", "--executor-config", file, "--dry-run", "--results", tmp_path))

    assert (True, True) == (line.startswith(f"bench: {file}: "), message in line), line


def test_without_submitit_the_line_says_how_to_get_it(tmp_path: Path) -> None:
    """It is an extra."""
    (tmp_path / "submitit.py").write_text("raise ImportError('planted')")
    results = tmp_path / "results"
    line = one_line(bench("run", "--executor", "local", "--results", results, PYTHONPATH=str(tmp_path)))

    assert "bench: --executor local: submitit is not installed; pip install 'evenhand[cluster]'" == line
    assert not results.exists()


@pytest.mark.parametrize(("executor", "code"), [((), 2), (("--executor", "slurm"), 0)])
def test_processes_are_held_against_the_cores_of_who_runs_them(
    tmp_path: Path, executor: tuple[str, ...], code: int
) -> None:
    """More than this machine bears may be what a node has; submitting needs no cores."""
    many = str(1 + runner.MOST_SHARING * len(os.sched_getaffinity(0)))
    plan = (*TINY, "--entry", "torch-ddp", "--processes", many, "--dry-run")

    assert code == bench(*plan, *executor, "--results", tmp_path).returncode


# --- what Slurm is asked for


@pytest.fixture
def fake_slurm(tmp_path: Path) -> str:
    """A PATH with an sbatch that keeps the script it is given, and a squeue to which every job was cancelled."""
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = {
        "sbatch": f'cp "$1" {tmp_path}/script; echo Submitted batch job 7',
        "squeue": "printf '7_%s|CANCELLED|None\\n' 0 1 2",
        "srun": "exit 1",
        "scancel": "exit 0",
    }
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_slurm_is_told_what_was_asked_for(tmp_path: Path, fake_slurm: str) -> None:
    """Flags go before the file; a block is an element of the array; nothing is queued anew in silence."""
    file = tmp_path / "slurm.toml"
    file.write_text('partition = "slow"\naccount = "lab"\nat_once = 2\njob_minutes = 9\nmemory = "0"\nsetup = ["true"]')
    flags = ("--partition", "fast", "--constraint", "epyc", "--gres", "gpu:1", "--threads", "1")
    found = bench(
        *(*TINY, "--blocks", "3", "--entry", "numpy", "--executor", "slurm", "--executor-config", file, *flags),
        *("--results", tmp_path / "results"),
        PATH=fake_slurm,
    )
    lines = (tmp_path / "script").read_text().splitlines()
    wanted = [
        *("--partition=fast", "--constraint=epyc", "--gres=gpu:1", "--account=lab", "--exclusive", "--no-requeue"),
        *("--array=0-2%2", "--time=9", "--mem=0", "--cpus-per-task=1"),
    ]

    assert [] == [flag for flag in wanted if f"#SBATCH {flag}" not in lines]
    assert "true" in lines
    assert any("--cpu-bind=none" in line and line.startswith("srun ") for line in lines)
    # Cancelled before they began: nothing was lost, everything is missing.
    assert 3 == found.returncode
    assert "block 0, job 7_0: CANCELLED before its trials were done" in found.stderr
    assert "3 blocks are not whole; `bench run --resume` submits what they lack" in found.stderr


def test_no_exclusive_is_no_exclusive(tmp_path: Path, fake_slurm: str) -> None:
    """What is not asked for is not in the script."""
    flags = ("--executor", "slurm", "--no-exclusive", "--results", tmp_path / "results")
    bench(*TINY, "--entry", "numpy", *flags, PATH=fake_slurm)
    script = (tmp_path / "script").read_text()

    assert [False] * 4 == [flag in script for flag in ("--exclusive", "--partition", "--gres", "--array")]


def test_a_resumed_run_is_submitted_as_it_was_begun(tmp_path: Path, fake_slurm: str) -> None:
    """`bench run --resume` needs no flag; a flag that is given goes before what was."""
    results = tmp_path / "results"
    begun = ("--executor", "slurm", "--partition", "first", "--constraint", "epyc")
    bench(*TINY, "--entry", "numpy", *begun, "--results", results, PATH=fake_slurm)
    scripts = []
    for flags in ((), ("--executor", "slurm", "--partition", "second")):
        (tmp_path / "script").unlink()
        resumed = bench("run", "--resume", *flags, "--results", results, PATH=fake_slurm)
        assert 3 == resumed.returncode, resumed.stderr
        scripts.append((tmp_path / "script").read_text())

    assert [(True, False), (False, True)] == [("=first" in script, "=second" in script) for script in scripts]
    assert "--constraint=epyc" in scripts[0]


def test_a_refused_submission_is_one_line_and_no_run(tmp_path: Path, fake_slurm: str) -> None:
    """sbatch's own words; nothing is left that --resume would find."""
    refuse = "echo 'sbatch: error: invalid partition specified: fast' >&2; exit 1"
    (tmp_path / "bin" / "sbatch").write_text(f"#!/bin/sh\n{refuse}\n")
    results = tmp_path / "results"
    line = one_line(bench(*TINY, "--entry", "numpy", "--executor", "slurm", "--results", results, PATH=fake_slurm))

    assert (
        "bench: --executor slurm: no job could be submitted: sbatch: error: invalid partition specified: fast" == line
    )
    assert [] == [path for path in results.rglob("*") if path.is_file() and path.name != ".lock"]


# --- submitit's local executor: the same path, with real processes


def same(trials: list[Trial]) -> list[tuple[Any, ...]]:
    """What two runs of one plan share: all but times."""
    return sorted(
        (
            trial.placement.block,
            trial.placement.position,
            trial.case.entry,
            trial.training_seed,
            trial.status,
            trial.measurements and trial.measurements.losses_sha256,
            trial.measurements and trial.measurements.epochs[-1].test_accuracy,
        )
        for trial in trials
    )


@pytest.mark.slow
def test_local_jobs_record_what_the_runner_records(tmp_path: Path) -> None:
    """Cases, blocks, order, seeds, and every loss; the case is certified once, by the job of the first block."""
    flags = (*TINY, "--blocks", "2", "--entry", "numpy")
    plain = bench(*flags, "--results", tmp_path / "plain")
    local = bench(*flags, "--executor", "local", "--results", tmp_path / "local")
    folder = next((tmp_path / "local").glob("raw/*/*/*"))

    assert (0, 0) == (plain.returncode, local.returncode), local.stderr
    assert same(all_records(tmp_path / "plain")) == same(all_records(tmp_path / "local"))
    assert 1 == len(list(folder.glob("certificate_*")))
    assert [] == list(jobs_folder(folder).glob("begun/*"))
    assert "[2/2]" in local.stderr


@contextlib.contextmanager
def hanging(results: Path, pid_file: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A run by local jobs whose only trial hangs, and its worker's pid."""
    flags = ("--entry", "tests.plugins.hangs", "--executor", "local", "--results", results)
    submitter = start(*TINY, *flags, HANGS_PID_FILE=str(pid_file))
    try:
        yield submitter, int(wait_for(pid_file))
    finally:
        submitter.kill()
        submitter.communicate()


def parent_of(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_kill_9_of_a_job_is_a_lost_trial_and_leaves_no_worker(tmp_path: Path) -> None:
    """The record names the job; --resume runs the trial again, and keeps that record."""
    pid_file = tmp_path / "pid"
    with hanging(tmp_path / "results", pid_file) as (submitter, worker):
        job = parent_of(worker)
        os.kill(job, signal.SIGKILL)
        _, stderr = submitter.communicate(timeout=30)
        (lost,) = all_records(tmp_path / "results")

        assert 3 == submitter.returncode
        assert (True, True) == (gone(worker), gone(job))
        assert ("lost", True) == (lost.status, "was at this trial when it ended" in str(lost.reason)), lost.reason
        assert lost.worker_seconds > 0
        assert "1 blocks are not whole" in stderr
    pid_file.unlink()
    resumed = start("run", "--resume", "--results", tmp_path / "results", HANGS_PID_FILE=str(pid_file))
    again = int(wait_for(pid_file))
    resumed.send_signal(signal.SIGINT)
    resumed.communicate(timeout=30)

    assert gone(again)
    assert [lost] == all_records(tmp_path / "results")


def test_ctrl_c_cancels_local_jobs_and_loses_nothing(tmp_path: Path) -> None:
    """As without jobs: exit 130, no worker left, what it was at is missing and no record of it kept."""
    with hanging(tmp_path / "results", tmp_path / "pid") as (submitter, worker):
        job = parent_of(worker)
        submitter.send_signal(signal.SIGINT)
        _, stderr = submitter.communicate(timeout=30)

    assert 130 == submitter.returncode
    assert "0 of 1 trials are kept; go on with `bench run --resume`" in stderr
    assert "Traceback" not in stderr
    assert (True, True) == (gone(worker), gone(job))
    assert [] == all_records(tmp_path / "results")


def test_kill_9_of_the_submitter_ends_its_local_jobs(tmp_path: Path) -> None:
    """Nobody could ask for them later. What they were at is recorded as lost when the run is taken up again."""
    pid_file = tmp_path / "pid"
    with hanging(tmp_path / "results", pid_file) as (submitter, worker):
        job = parent_of(worker)
        submitter.kill()
        submitter.communicate(timeout=20)

        assert (True, True) == (gone(worker), gone(job))
    pid_file.unlink()
    resumed = start("run", "--resume", "--results", tmp_path / "results", HANGS_PID_FILE=str(pid_file))
    wait_for(pid_file)
    resumed.send_signal(signal.SIGINT)
    resumed.communicate(timeout=30)
    (lost,) = all_records(tmp_path / "results")

    assert ("lost", True) == (lost.status, "with the bench that had started it" in str(lost.reason)), lost.reason


def test_the_lock_holds_while_jobs_run(tmp_path: Path) -> None:
    """One run a results folder, on the submitting side."""
    with hanging(tmp_path / "results", tmp_path / "pid") as (submitter, _):
        line = one_line(bench(*TINY, "--entry", "numpy", "--results", tmp_path / "results"))

        assert f"another run (process {submitter.pid}) is writing here" in line


def test_who_starts_the_jobs_is_kept_beside_the_plan(tmp_path: Path) -> None:
    """With what Slurm was told."""
    asked = Executor(name="slurm", slurm=Slurm(partition="fast", at_once=4))
    folder = store.create_run(tmp_path, make_plan(), "login")
    cluster.keep(folder, asked)

    assert asked == cluster.executor_of(folder)
    assert "slurm" == json.loads((folder / FILE).read_text())["name"]
