"""`bench duet`: entries against one of them, in turns -> ratios to a per cent in minutes, kept duet by duet."""

import dataclasses
import json
import random
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from bench import duet, duets, plan, runner, store
from bench.commands.common import ROOT, JsonOption, ResultsOption, check_at_least, note, out
from bench.contract import Entry
from bench.duet import OF_TWO_ENTRIES, Score, Side
from bench.duets import DuetRecord, Played
from bench.errors import InputError
from bench.inputs import check_data
from bench.plugins import find_entry
from bench.probes.machine import read_machine
from bench.probes.source import read_source
from bench.publish import duets as published
from bench.publish import escape
from bench.record import Case, Proof
from bench.task import Task, load_task

PAIRS = 6
WINDOW_MILLISECONDS = 1000 * OF_TWO_ENTRIES.seconds
_LEAST_PAIRS = 2  # below that there is no interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Asked:
    """An entry as a case of the task."""

    entry: Entry
    case: Case


def duet_(
    entry: Annotated[list[str], typer.Argument(help="Entries, each compared with that of --against.")],
    against: Annotated[str, typer.Option(help="The entry that takes part twice.")] = "torch-eager",
    task: Annotated[str, typer.Option(help="A shipped task or FILE.toml.")] = "mlp",
    batch_size: Annotated[int | None, typer.Option(help="In place of the task's own.")] = None,
    width: Annotated[int | None, typer.Option(help="Of every hidden layer.")] = None,
    threads: Annotated[int, typer.Option(help="Threads and cores of each side.")] = 1,
    pairs: Annotated[int, typer.Option(help="Duets of each entry, each of fresh processes.")] = PAIRS,
    window: Annotated[float, typer.Option(help="Milliseconds that a window takes at least.")] = WINDOW_MILLISECONDS,
    seconds: Annotated[float, typer.Option(help="That each side of a duet trains.")] = OF_TWO_ENTRIES.side_seconds,
    seed: Annotated[int | None, typer.Option(help="Of the random orders.")] = None,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """How much faster is one entry than another? Both are alive at once and train in turns, so that drift cancels."""
    check_at_least("--threads", threads, 1)
    check_at_least("--pairs", pairs, _LEAST_PAIRS)
    check_at_least("--seed", seed, 0)
    if not 1 <= window <= 250:
        raise InputError(f"--window {window:g}: must be from 1 to 250 milliseconds")
    if not 0.1 <= seconds <= 60:
        raise InputError(f"--seconds {seconds:g}: must be from 0.1 to 60")
    runner.worker_cores(threads)
    spec = load_task(task)
    spec = spec if width is None else spec.widened(width)
    spec = spec if batch_size is None else spec.changed(batch_size=batch_size)
    reference, *subjects = _cases([against, *entry], spec, threads)
    if not subjects:
        raise InputError(f"bench duet {against}: is the entry of --against itself; name another")
    check_data()
    windows = dataclasses.replace(OF_TWO_ENTRIES, seconds=window / 1000, side_seconds=seconds)
    with store.locked(results):
        now, where = datetime.now(UTC), runner.Where(machine=read_machine(), source=read_source(ROOT))
        run = store.run_name(now, "duet")
        folder = store.run_folder(results, now.isoformat(), where.machine.name, run)
        proofs = {one.entry.name: _certified(one, spec, folder, where) for one in (reference, *subjects)}
        scores = _scores(reference, subjects, spec, proofs, windows)
        draw = random.Random(secrets.randbelow(2**31) if seed is None else seed)
        played: list[Played] = []
        for block in range(pairs):
            able = [one for one in subjects if one.entry.name in scores]
            for subject in draw.sample(able, len(able)):
                store.check_space(folder)
                of_subject, of_reference = scores[subject.entry.name], scores[against]
                made = duet.play(
                    duet.together(of_reference, of_subject, windows),
                    [Side(name="base"), Side(name="control"), Side(name="head", entry=subject.entry)],
                    seed=block,
                    order=draw,
                )
                record = DuetRecord(
                    run=run,
                    block=block,
                    subject=subject.case,
                    reference=reference.case,
                    subject_proof=proofs[subject.entry.name],
                    reference_proof=proofs[against],
                    subject_call_seconds=of_subject.call_seconds,
                    reference_call_seconds=of_reference.call_seconds,
                    task=spec,
                    duet=made,
                    cores=runner.worker_cores(threads),
                    machine=where.machine,
                    source=where.source,
                )
                played.append((duets.write(folder, record), record))
                note(f"duet {block + 1} of {pairs}: {escape.plain(published.line(record))}")
    found = duets.contests(played)
    out(json.dumps(published.document(found), indent=1) if as_json else published.to_text(found))
    note(f"records: {folder}")
    if len(found) < len(subjects) or any(one.failed or not one.played for one in found):
        raise typer.Exit(3)


def _cases(names: Sequence[str], task: Task, threads: int) -> list[_Asked]:
    """Each entry once, as a case of the task. Raises InputError for one that cannot run here."""
    found = []
    for entry in map(find_entry, dict.fromkeys(names)):
        case = plan.case_of(task, entry, "cpu", threads)
        reason = runner.why_not(entry, case)
        if reason is not None:
            raise InputError(f"{entry.name}: cannot run: {reason}")
        found.append(_Asked(entry=entry, case=case))
    return found


def _certified(one: _Asked, task: Task, folder: Path, where: runner.Where) -> Proof:
    """The proof that an entry does the task's work, kept beside its duets."""
    bounds = runner.Bounds(time_limit_seconds=plan.PROFILES["full"].time_limit_seconds)
    made = runner.make_certificate(one.case, task, entry=one.entry, bounds=bounds, where=where)
    note(f"certificate of {one.entry.name}: {escape.plain(made.status + (f': {made.reason}' if made.reason else ''))}")
    return store.write_certificate(folder, made)


def _scores(
    reference: _Asked, subjects: Sequence[_Asked], task: Task, proofs: dict[str, Proof], windows: duet.Windows
) -> dict[str, Score]:
    """The windows of each entry that can be compared, by its name; none where that is not true of the reference."""
    found: dict[str, Score] = {}
    for one in (reference, *subjects):
        if proofs[one.entry.name].status == "ok":
            score = duet.calibrate(Side(name="base"), task=task, entry=one.entry, case=one.case, windows=windows)
            if isinstance(score, Score):
                found[one.entry.name] = score
            else:
                note(f"{one.entry.name}: no window could be trained: {escape.plain(score)}")
    return found if reference.entry.name in found else {}
