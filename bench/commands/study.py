"""`bench study`: what is asked beside the training trials, one process a subject and block."""

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from bench import store, studying
from bench.commands.common import (
    ROOT,
    JsonOption,
    ResultsOption,
    bytes_of,
    check_at_least,
    check_begun_here,
    check_time_limit,
    note,
    out,
    stdout,
)
from bench.errors import InputError
from bench.probes.machine import read_machine
from bench.probes.source import read_source
from bench.publish import escape
from bench.record import FAILURES, Source
from bench.runner import Where, worker_cores
from bench.studies import STUDIES, find_study
from bench.studying import StudyPlan, StudyRecord


def study_(
    study: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(one.name for one in STUDIES)}; all where none is named.")
    ] = None,
    entry: Annotated[list[str] | None, typer.Option(help="A subject of the studies; may be repeated.")] = None,
    blocks: Annotated[int | None, typer.Option(help="Processes a subject, in place of the study's own.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads and cores of a worker; 1 by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the random order.")] = None,
    time_limit: Annotated[float | None, typer.Option(help="Seconds that a process may take.")] = None,
    memory_limit: Annotated[str | None, typer.Option(help="Address space of a process, such as 8GiB.")] = None,
    results: ResultsOption = Path("results"),
    resume: Annotated[bool, typer.Option("--resume", help="Run what is missing of the newest unfinished run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be run.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run studies: memory over a soak, repeatability, and what else claims need beside training trials."""
    machine, source = read_machine(), read_source(ROOT)
    plan = _plan(study, entry, blocks, threads, seed, time_limit, memory_limit, machine.fingerprint, source)
    folder = None
    if resume:
        flags = study or entry or None, blocks, threads, time_limit, memory_limit
        folder, plan = studying.unfinished(results, plan if any(flag is not None for flag in flags) else None, seed)
        check_begun_here(
            folder, plan.machine_fingerprint, plan.source, machine=machine.fingerprint, source=source.sha256
        )
    todo = studying.missing(plan, folder) if folder else list(studying.asked(plan))
    if dry_run:
        for block, _, what, subject, task in todo:
            out(f"block {block}: {what.name} {subject.name} on {task.name}")
        return
    with store.locked(results):
        folder = folder or studying.create_run(results, plan, machine)
        made: list[StudyRecord] = []
        for done, one in enumerate(todo, 1):
            store.check_space(folder)
            record = studying.run_study(plan, one, where=Where(machine=machine, source=source))
            studying.keep(folder, record)
            made.append(record)
            reason = f": {record.reason}" if record.reason else ""
            note(
                f"{done}/{len(todo)} block {record.block} {record.study} {record.case.entry} "
                f"{record.status} {record.worker_seconds:.1f} s{escape.plain(reason)}"
            )
    if as_json:
        out(json.dumps([record.model_dump(mode="json") for record in made]))
    else:
        stdout().print(_table(made))
    note(f"records: {folder}")
    if any(record.status in FAILURES for record in made) or not any(record.status == "ok" for record in made):
        raise typer.Exit(3)


def _plan(
    studies: list[str] | None,
    subjects: list[str] | None,
    blocks: int | None,
    threads: int | None,
    seed: int | None,
    time_limit: float | None,
    memory_limit: str | None,
    machine: str,
    source: Source,
) -> StudyPlan:
    """Flags -> StudyPlan. Raises InputError for each value that makes no sense."""
    chosen = [find_study(name) for name in dict.fromkeys(studies or [one.name for one in STUDIES])]
    known = {subject.name for one in chosen for subject in one.subjects}
    for name in subjects or ():
        if name not in known:
            raise InputError(f"--entry {name!r}: no subject of these studies; take of {', '.join(sorted(known))}")
    threads = 1 if threads is None else threads
    check_at_least("--threads", threads, 1)
    worker_cores(threads)
    check_at_least("--blocks", blocks, 1)
    check_at_least("--seed", seed, 0)
    check_time_limit(time_limit)
    now = datetime.now(UTC)
    return StudyPlan(
        run=store.run_name(now, "study"),
        seed=secrets.randbelow(2**31) if seed is None else seed,
        blocks=blocks,
        studies=[one.name for one in chosen],
        subjects=list(dict.fromkeys(subjects or [])),
        threads=threads,
        time_limit_seconds=time_limit,
        memory_limit_bytes=bytes_of(memory_limit),
        created_utc=now.isoformat(timespec="seconds"),
        machine_fingerprint=machine,
        source=source,
    )


def _table(records: list[StudyRecord]) -> Table:
    """Every reading of every record, as it was taken."""
    table = Table("study", "subject", "block", "reading", "value", "unit", "seen")
    for record in records:
        for reading in record.readings:
            value = "null" if reading.value is None else f"{reading.value:.6g}"
            seen = escape.plain(reading.reason or reading.text or "")[:80]
            table.add_row(record.study, record.case.entry, str(record.block), reading.name, value, reading.unit, seen)
    return table
