"""Order -> the records of one block, in the shared folder of the results: what a job of a cluster does on its node.

It does what the runner does, into the run's folder of the node's own machine, and leaves a note of the trial that it is
at: a record drafted before that trial begins, which is kept if the job ends under it.
"""

import os
import select
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path

from bench import store
from bench.doctor import examine
from bench.errors import InputError
from bench.parent import die_with_parent
from bench.plan import block_order, task_of
from bench.probes.gpu import choose
from bench.probes.machine import read_machine
from bench.probes.source import read_source
from bench.record import Case, Plan, Trial, Value
from bench.runner import Where, conditions_of, placement_of, run_plan, worker_cores

ROOT = Path(__file__).resolve().parent.parent


class Order(Value):
    """What a job is to do. submitter_pid: the process that a local job ends with; null on a cluster."""

    plan: Plan
    results: str
    block: int
    submitter_pid: int | None
    exclusive: bool


def results_of(head: Path) -> Path:
    """The results folder that the folder of a run lies in: results/raw/DATE/MACHINE/RUN."""
    return head.parents[3]


def jobs_folder(head: Path) -> Path:
    """Where submitit's files lie: its logs name nodes, so they are no part of the published records."""
    return results_of(head) / "jobs" / head.name


def note_name(block: int, job: str) -> str:
    """The file that says what a job is at."""
    return f"block-{block:03d}_{job}.json"


def run_block(text: str) -> str | None:
    """An Order as JSON -> the records of its block, in the shared folder. What a job does.

    Returns None, or in one line why it cannot do the block.
    """
    import submitit

    order = Order.model_validate_json(text)
    job: str = submitit.JobEnvironment().job_id
    _end_on_signal(order.submitter_pid)
    try:
        _run_block(order, job)
    except InputError as error:
        return str(error)
    return None


def _run_block(order: Order, job: str) -> None:
    results, machine, source = Path(order.results), read_machine(), read_source(ROOT)
    if source.sha256 != order.plan.source.sha256:
        raise InputError(f"{ROOT}: this node has other code than the one that was submitted; share one checkout")
    worker_cores(max(order.plan.threads), max(order.plan.processes))
    _check_cores(order)
    store.refuse_stub(results, machine.gpu_driver)
    kept = order.plan.model_copy(update={"machine_fingerprint": machine.fingerprint})
    folder = store.join_run(results, kept, machine.name)
    findings = examine(results, sample_seconds=0.2)
    store.write_findings(
        folder, [finding.model_dump(mode="json") for finding in findings], f"-block-{order.block:03d}-{job}"
    )
    plan = kept.model_copy(update={"gpu": _card_here(kept)})
    where = Where(machine=machine, source=source)
    note = jobs_folder(folder) / "begun" / note_name(order.block, job)

    def before(block: int, case: Case) -> None:
        _replace(note, draft_of(plan, case, block=block, where=where).to_json())

    def after(_trial: Trial) -> None:
        note.unlink(missing_ok=True)

    run_plan(plan, folder, where, blocks=[order.block], before=before, after=after)


def _check_cores(order: Order) -> None:
    """Raise InputError where jobs share the node and nothing keeps them apart: they would measure each other."""
    given = os.environ.get("SLURM_CPUS_ON_NODE", "")
    seen = len(os.sched_getaffinity(0))
    if not order.exclusive and given.isdecimal() and int(given) < seen:
        raise InputError(
            f"--no-exclusive: this node gave the job {given} cores and lets it use {seen}: blocks would run on each "
            "other's; leave --no-exclusive out, or let Slurm confine jobs (ConstrainCores=yes)"
        )


def _card_here(plan: Plan) -> str | None:
    """The card of this node to measure on: the first that the job was given; None where the plan asks for none."""
    if plan.gpu is not None or "cuda" not in plan.devices:
        return plan.gpu
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
    return choose(given or None).uuid


def _replace(path: Path, text: str) -> None:
    """Write a note whole, in place of the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def draft_of(plan: Plan, case: Case, *, block: int, where: Where) -> Trial:
    """The record of a trial that has only begun: what is kept of it if its job ends under it."""
    task = task_of(plan, case)
    where = where.of(plan, case)
    return Trial(
        placement=placement_of(plan, block, block_order(plan, block).index(case)),
        case=case,
        task=task,
        training_seed=task.seed + block,
        status="lost",
        reason="had begun",
        started_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        worker_seconds=0.0,
        measurements=None,
        check=None,
        certificate=None,
        versions=None,
        implementation_sha256=None,
        machine=where.machine,
        source=where.source,
        conditions=conditions_of(plan, case, where),
    )


def _end_on_signal(submitter_pid: int | None) -> None:
    """Let SIGTERM end this process at once, and the worker with it.

    submitit ignores SIGTERM, which Slurm sends before it kills, and at SIGUSR2, some time before a job's limit, would
    have the job queued anew. A local job goes with its controller and, however that ended, with the bench that started
    it: none of them can be asked for later.
    """
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if submitter_pid is None:
        return
    die_with_parent(os.getppid())
    try:
        submitter = os.pidfd_open(submitter_pid)
    except ProcessLookupError:
        raise SystemExit(1) from None

    def watch() -> None:
        select.select([submitter], [], [])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)
