"""Studies x subjects x blocks -> StudyRecords, each of a fresh process, kept as soon as it ends.

The runner of trials does the same for plans; here there is no certificate, as what is studied need be no entry: a
study checks by itself that its subjects did the work.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bench import store
from bench.contract import Entry
from bench.errors import InputError
from bench.plan import case_of
from bench.probes.available import availability
from bench.record import (
    FAILURES,
    Bytes,
    Case,
    Count,
    Machine,
    Reading,
    Seconds,
    Source,
    Status,
    Value,
    Versions,
    compact_json,
    read_value,
)
from bench.runner import Bounds, Where, ask_worker, load_average, worker_cores
from bench.studies import Study, find_study
from bench.task import Task, load_task

PLAN_FILE = "study-plan.json"


class StudyPlan(Value):
    """What a run of studies is to do. Written before the first process."""

    schema_version: Literal[2] = 2
    run: str
    seed: Count
    blocks: Annotated[int, Field(ge=1)] | None  # null: each study's own number
    studies: list[str]
    subjects: list[str]  # empty: all
    threads: Annotated[int, Field(ge=1)]
    time_limit_seconds: Seconds | None  # null: each study's own
    memory_limit_bytes: Bytes | None = None  # of a worker's address space
    created_utc: str
    machine_fingerprint: str
    source: Source


class StudyRecord(Value):
    """One study of one subject in one process: what results/raw keeps of it. case: the subject, named like an entry."""

    schema_version: Literal[2] = 2
    study: str
    run: str
    plan_seed: Count
    block: Count
    position: Count
    case: Case
    task: Task
    training_seed: Count
    status: Status
    reason: str | None
    readings: list[Reading]
    versions: Versions | None
    implementation_sha256: str | None
    machine: Machine
    source: Source
    cores: list[int]
    load_before: float | None
    time_limit_seconds: Seconds
    memory_limit_bytes: Bytes | None = None
    started_utc: str
    worker_seconds: Seconds
    stderr_tail: str | None = None

    def value(self, name: str) -> float | None:
        """The value of a reading; None where it is null or not there."""
        return next((reading.value for reading in self.readings if reading.name == name), None)


Studied = tuple[Path, StudyRecord]  # with the file that it was read from
Asked = tuple[int, int, Study, Entry, Task]  # block, position, study, subject, task


def asked(plan: StudyPlan) -> Iterator[Asked]:
    """All that a plan asks, block by block, in random order within each block from the recorded seed."""
    studies = [find_study(name) for name in plan.studies]
    tasks = {name: load_task(name) for study in studies for name in study.tasks}
    for block in range(max(plan.blocks or study.blocks for study in studies)):
        of_block = [
            (study, subject, tasks[task])
            for study in studies
            if block < (plan.blocks or study.blocks)
            for subject in study.subjects
            if not plan.subjects or subject.name in plan.subjects
            for task in study.tasks
        ]
        random.Random(f"{plan.seed}/{block}").shuffle(of_block)
        for position, (study, subject, task) in enumerate(of_block):
            yield block, position, study, subject, task


def study_file(study: str, case: Case, block: int) -> str:
    """The name of a study's record inside the folder of its run."""
    return f"study_{study}_{store.trial_file(case, block)}"


def missing(plan: StudyPlan, folder: Path) -> list[Asked]:
    """What has no record yet."""
    return [
        one
        for one in asked(plan)
        if not (folder / study_file(one[2].name, case_of(one[4], one[3], "cpu", plan.threads), one[0])).exists()
    ]


def run_study(plan: StudyPlan, one: Asked, *, where: Where) -> StudyRecord:
    """Let a worker do it; whatever it does, a StudyRecord comes back."""
    block, position, study, subject, task = one
    load, started_utc = load_average(), datetime.now(UTC).isoformat(timespec="seconds")
    limit = plan.time_limit_seconds or study.time_limit_seconds
    status: Status = "refused"
    reason, reply, stderr, seconds = availability(subject, "cpu"), None, "", 0.0
    if reason is None:
        status, reason, reply, finished = ask_worker(
            "study",
            study=study.module,
            entry=subject,
            module=subject.module,
            task=task,
            seed=task.seed + block,
            device="cpu",
            threads=plan.threads,
            bounds=Bounds(time_limit_seconds=limit, memory_limit_bytes=plan.memory_limit_bytes),
            where=where,
        )
        stderr, seconds = finished.stderr, finished.seconds
        if status == "ok" and (reply is None or not reply.readings):
            status, reason, reply = "broken-output", "said ok without readings", None
    return StudyRecord(
        study=study.name,
        run=plan.run,
        plan_seed=plan.seed,
        block=block,
        position=position,
        case=case_of(task, subject, "cpu", plan.threads),
        task=task,
        training_seed=task.seed + block,
        status=status,
        reason=reason,
        readings=reply.readings if reply else [],
        versions=reply.versions if reply else None,
        implementation_sha256=reply.implementation_sha256 if reply else None,
        machine=where.machine,
        source=where.source,
        cores=worker_cores(plan.threads),
        load_before=load,
        time_limit_seconds=limit,
        memory_limit_bytes=plan.memory_limit_bytes,
        started_utc=started_utc,
        worker_seconds=seconds,
        stderr_tail=stderr if stderr and status in FAILURES else None,
    )


def create_run(results: Path, plan: StudyPlan, machine: Machine) -> Path:
    """Make the folder of a new run of studies, with its plan in it."""
    folder = store.run_folder(results, plan.created_utc, machine.name, plan.run)
    store.write_once(folder / PLAN_FILE, compact_json(plan.model_dump(mode="json")))
    return folder


# What --resume asks of a run where flags are given with it.
_WHAT = ("studies", "subjects", "blocks", "threads", "time_limit_seconds", "memory_limit_bytes")


def unfinished(results: Path, wanted: StudyPlan | None = None, seed: int | None = None) -> tuple[Path, StudyPlan]:
    """The newest run of studies with something missing that does what is wanted (None: whatever it does).

    Raises InputError where there is none.
    """
    plans = [
        (path.parent, read_value(StudyPlan, path)) for path in store.raw_folder(results).glob(f"*/*/*/{PLAN_FILE}")
    ]
    for folder, plan in sorted(plans, key=lambda one: one[1].created_utc, reverse=True):
        same = wanted is None or all(getattr(plan, name) == getattr(wanted, name) for name in _WHAT)
        if same and seed in (None, plan.seed) and missing(plan, folder):
            return folder, plan
    which = "studies" if wanted is None and seed is None else "these studies with these flags"
    raise InputError(f"--resume: {results} holds no unfinished run of {which}; leave --resume out to start one")


def keep(folder: Path, record: StudyRecord) -> Path:
    """Write the record into the folder of its run; returns its file."""
    path = folder / study_file(record.study, record.case, record.block)
    store.write_once(path, compact_json(record.model_dump(mode="json")))
    return path


def read_studies(results: Path, machines: Sequence[str] | None = None) -> list[Studied]:
    """File and record of every study of a results folder, or of some machines' folders in it. Raises InputError."""
    return [(path, read_value(StudyRecord, path)) for path in store.files(results, store.STUDIES, machines)]
