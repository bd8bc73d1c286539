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
from bench.commands.common import (
    ROOT,
    JsonOption,
    ResultsOption,
    check_at_least,
    check_begun_here,
    note,
    out,
    share_of,
)
from bench.contract import Entry
from bench.duet import OF_TWO_ENTRIES, Score, Side
from bench.duets import DuetRecord, Played
from bench.errors import InputError, Interrupted
from bench.inputs import check_data
from bench.plugins import find_entry
from bench.precision import LOOKS
from bench.probes.machine import read_machine
from bench.probes.source import read_source
from bench.publish import duets as published
from bench.publish import escape, terminal, units
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Until:
    """How many duets of each entry: so many, or with a target at most so many."""

    pairs: int
    target: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Match:
    """Two entries whose certificates and windows are settled, so that duets can be played."""

    subject: _Asked
    reference: _Asked
    score: Score
    subject_proof: Proof
    reference_proof: Proof
    subject_call_seconds: float
    reference_call_seconds: float

    def play(
        self, run: str, block: int, until: _Until, draw: random.Random, where: runner.Where, kept: Path
    ) -> DuetRecord:
        """One duet of fresh processes; whatever they do, a record comes back. kept: of what their compilers made."""
        base, control = (Side(name=name, scratch=kept) for name in ("base", "control"))
        sides = [base, control, Side(name="head", entry=self.subject.entry, scratch=kept)]
        return DuetRecord(
            run=run,
            block=block,
            subject=self.subject.case,
            reference=self.reference.case,
            subject_proof=self.subject_proof,
            reference_proof=self.reference_proof,
            subject_call_seconds=self.subject_call_seconds,
            reference_call_seconds=self.reference_call_seconds,
            task=self.score.task,
            pairs=until.pairs,
            target=until.target,
            duet=duet.play(self.score, sides, seed=block, order=draw),
            cores=runner.worker_cores(self.score.case.threads),
            machine=where.machine,
            source=where.source,
        )


def duet_(
    entry: Annotated[list[str], typer.Argument(help="Entries, each compared with that of --against.")],
    against: Annotated[str, typer.Option(help="The entry that takes part twice.")] = "torch-eager",
    task: Annotated[str, typer.Option(help="A shipped task or FILE.toml.")] = "mlp",
    batch_size: Annotated[int | None, typer.Option(help="In place of the task's own.")] = None,
    width: Annotated[int | None, typer.Option(help="Of every hidden layer.")] = None,
    threads: Annotated[int, typer.Option(help="Threads and cores of each side.")] = 1,
    pairs: Annotated[
        int | None,
        typer.Option(
            help=f"Duets of each entry, each of fresh processes; {PAIRS} by default. With --precision at most so many, "
            f"{LOOKS[-1]} by default.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Play duets until each ratio is known so well, such as 1%; --pairs is the cap.")
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(help=f"Milliseconds that a window takes at least; {WINDOW_MILLISECONDS:g} by default."),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help=f"That each side of a duet trains; {OF_TWO_ENTRIES.side_seconds:g} by default."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the random orders.")] = None,
    results: ResultsOption = Path("results"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Play those of --pairs that the newest run of the same duets lacks.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """How much faster is one entry than another? Both are alive at once and train in turns, so that drift cancels."""
    check_at_least("--threads", threads, 1)
    check_at_least("--pairs", pairs, _LEAST_PAIRS)
    target = share_of(precision)
    until = _Until(pairs=pairs or (PAIRS if target is None else LOOKS[-1]), target=target)
    check_at_least("--seed", seed, 0)
    windows = _windows(window, seconds, resume=resume)
    runner.worker_cores(threads)
    spec = load_task(task)
    spec = spec if width is None else spec.widened(width)
    spec = spec if batch_size is None else spec.changed(batch_size=batch_size)
    reference, *subjects = _cases([against, *entry], spec, threads)
    if not subjects:
        raise InputError(f"bench duet {against}: is the entry of --against itself; name another")
    check_data()
    where = runner.Where(machine=read_machine(), source=read_source(ROOT))
    seed = secrets.randbelow(2**31) if seed is None else seed
    now = datetime.now(UTC)
    folder = store.run_folder(results, now.isoformat(), where.machine.name, store.run_name(now, "duet"))
    able: list[_Match] = []
    played: list[Played] = []
    if resume:
        cases = [one.case for one in subjects]
        folder, played = duets.unfinished(results, reference.case, cases, pairs=until.pairs, target=until.target)
        begun = played[0][1]
        check_begun_here(
            folder,
            begun.machine.fingerprint,
            begun.source,
            machine=where.machine.fingerprint,
            source=where.source.sha256,
        )
        able = [_match_of(one, reference, played, folder) for one in subjects]
    with store.locked(results), runner.scratch_folder() as scratch:
        kept = Path(scratch)
        able = able or _new_matches(reference, subjects, spec, folder, where, windows, kept)
        try:
            for block in range(until.pairs):
                draw = random.Random(f"{seed}/{block}")
                for match in draw.sample(able, len(able)):
                    before = duets.of_subject(played, match.subject.case)
                    if any(record.block == block for _, record in before) or _enough(before, until):
                        continue
                    store.check_space(folder)
                    record = match.play(folder.name, block, until, draw, where, kept)
                    played.append((duets.write(folder, record), record))
                    most = until.pairs if until.target is None else f"at most {until.pairs}"
                    note(f"duet {block + 1} of {most}: {escape.plain(published.line(record))}")
        except KeyboardInterrupt:
            if not played:
                raise
            of = f" of {until.pairs * len(able)}" if until.target is None else ""
            kept_text = f"{len(played)}{of} duets are kept"
            raise Interrupted(f"{kept_text}; go on with --resume, and without --window and --seconds") from None
    found = duets.contests(played)
    out(json.dumps(published.document(found), indent=1) if as_json else published.to_text(found))
    if until.target is not None:
        for one in found:
            _tell_width(one, until.target)
    note(f"records: {folder}")
    if len(found) < len(subjects) or any(one.failed or not one.played for one in found):
        raise typer.Exit(3)


def _enough(found: Sequence[Played], until: _Until) -> bool:
    """Whether no more duets of two entries are to be played."""
    return duets.enough(found, pairs=until.pairs, target=until.target)


def _tell_width(one: duets.Contest, target: float) -> None:
    """Whether the target of two entries was reached."""
    found = [*one.played, *one.failed]
    seen = duets.width_at(found, len(found))
    said = "reached" if seen.reached(target) else "not reached"
    note(f"target {said} after {units.count(seen.blocks, 'duet')}: {escape.plain(terminal.width_text(seen, target))}")


def _windows(window: float | None, seconds: float | None, *, resume: bool) -> duet.Windows:
    """Of a new run. Raises InputError for lengths that make no sense, or that would change those of a run begun."""
    for flag, value in (("--window", window), ("--seconds", seconds)):
        if resume and value is not None:
            raise InputError(f"{flag}: the windows of a run are settled when it begins; leave it out with --resume")
    window = WINDOW_MILLISECONDS if window is None else window
    seconds = OF_TWO_ENTRIES.side_seconds if seconds is None else seconds
    if not 1 <= window <= 250:
        raise InputError(f"--window {window:g}: must be from 1 to 250 milliseconds")
    if not 0.1 <= seconds <= 60:
        raise InputError(f"--seconds {seconds:g}: must be from 0.1 to 60")
    return dataclasses.replace(OF_TWO_ENTRIES, seconds=window / 1000, side_seconds=seconds)


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


def _new_matches(
    reference: _Asked,
    subjects: Sequence[_Asked],
    task: Task,
    folder: Path,
    where: runner.Where,
    windows: duet.Windows,
    kept: Path,
) -> list[_Match]:
    """Of each subject that can be compared, by certificates made now; none where that is not true of the reference."""
    proofs = {one.entry.name: _certified(one, task, folder, where) for one in (reference, *subjects)}
    scores = _scores((reference, *subjects), task, proofs, windows, kept)
    of_reference = scores.get(reference.entry.name)
    return [
        _Match(
            subject=one,
            reference=reference,
            score=duet.together(of_reference, of_subject, windows),
            subject_proof=proofs[one.entry.name],
            reference_proof=proofs[reference.entry.name],
            subject_call_seconds=of_subject.call_seconds,
            reference_call_seconds=of_reference.call_seconds,
        )
        for one in subjects
        if of_reference is not None and (of_subject := scores.get(one.entry.name)) is not None
    ]


def _scores(
    asked: Sequence[_Asked], task: Task, proofs: dict[str, Proof], windows: duet.Windows, kept: Path
) -> dict[str, Score]:
    """The windows of each entry that can be compared, by its name."""
    found: dict[str, Score] = {}
    for one in asked:
        if proofs[one.entry.name].status == "ok":
            side = Side(name="base", scratch=kept)
            score = duet.calibrate(side, task=task, entry=one.entry, case=one.case, windows=windows)
            if isinstance(score, Score):
                found[one.entry.name] = score
            else:
                note(f"{one.entry.name}: no window could be trained: {escape.plain(score)}")
    return found


def _match_of(subject: _Asked, reference: _Asked, played: Sequence[Played], folder: Path) -> _Match:
    """The match that a run's duets were of. Raises InputError where none of its subject's ended well."""
    ended_well = (record for _, record in played if record.subject == subject.case and record.duet.status == "ok")
    record = next(ended_well, None)
    if record is None:
        raise InputError(f"{folder}: no duet of {subject.entry.name} ended well; start anew without --resume")
    return _Match(
        subject=subject,
        reference=reference,
        score=Score(
            case=reference.case,
            task=record.task,
            entry=reference.entry,
            steps=record.duet.steps,
            rounds=len(record.duet.order),
            warm_up=OF_TWO_ENTRIES.warm_up,
            lead_in=record.duet.lead_in,
            limit_seconds=duet.LIMIT_SECONDS + 2 * record.duet.wall_seconds,
        ),
        subject_proof=record.subject_proof,
        reference_proof=record.reference_proof,
        subject_call_seconds=record.subject_call_seconds,
        reference_call_seconds=record.reference_call_seconds,
    )
