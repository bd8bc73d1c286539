"""`bench selftest`: known slowdowns, and none, through the gate itself -> how often it is right on this machine."""

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.table import Table

from bench import duet, plan, runner, selftest
from bench.commands.common import JsonOption, note, out, stdout
from bench.commands.gate import PAIRS, SENTINELS
from bench.duet import Score, Side
from bench.errors import InputError
from bench.gate import Rule
from bench.inputs import check_data
from bench.plugins import find_entry
from bench.publish import units
from bench.selftest import SLOWDOWNS, Kept, Kind, Rate, Replay, Trying
from bench.task import load_task

_MOST_FAILURES = 3  # of one decision's duets: then something is wrong that no repetition mends


def selftest_(
    record: Annotated[
        Path | None, typer.Option(help="A file (JSON lines) that keeps every duet; it is gone on with.")
    ] = None,
    replay: Annotated[Path | None, typer.Option(help="Draw decisions from such a file in place of new duets.")] = None,
    case: Annotated[str, typer.Option(help="task:entry.")] = SENTINELS[0],
    pairs: Annotated[
        int, typer.Option(min=2, max=1000, help="Duets of the first stage; the second takes twice.")
    ] = PAIRS,
    decisions: Annotated[
        int, typer.Option(min=0, help="Decisions on the same code, live; in a replay on each slowdown, too.")
    ] = 40,
    slowed: Annotated[int, typer.Option(min=0, help="Live decisions on each slowdown (1, 2, 3, 5%).")] = 20,
    hogs: Annotated[int, typer.Option(min=0, help="Live decisions with a process that competes for the core.")] = 20,
    cases: Annotated[int, typer.Option(min=1, help="Cases of a change, in a replay.")] = 24,
    minutes: Annotated[float | None, typer.Option(help="Stop after so long; the next call goes on.")] = None,
    as_json: JsonOption = False,
) -> None:
    """How often is the gate right here? False alarms, slowdowns found, cover of intervals, a loaded machine."""
    rule = Rule()
    if replay is not None:
        if record is not None:
            raise InputError("--record and --replay: take one of them")
        if decisions < 1:
            raise InputError("--decisions 0: a replay needs at least 1")
        recording = selftest.triples(selftest.read_recording(replay))
        _print_replay(
            selftest.replay(recording, decisions=decisions, cases=cases, pairs=pairs, rule=rule), as_json=as_json
        )
        return
    if minutes is not None and not minutes > 0:
        raise InputError(f"--minutes {minutes:g}: must be above 0")
    wanted = {Kind(slowdown=0.0): decisions, **{Kind(slowdown=s): slowed for s in SLOWDOWNS}}
    wanted[Kind(slowdown=0.0, hog=True)] = hogs
    kept = selftest.read_recording(record) if record is not None and record.exists() else []
    kept = _live(kept, record, case, wanted, pairs=pairs, rule=rule, minutes=minutes)
    _print_live(kept, rule, as_json=as_json)


def _live(
    kept: list[Kept],
    record: Path | None,
    case: str,
    wanted: dict[Kind, int],
    *,
    pairs: int,
    rule: Rule,
    minutes: float | None,
) -> list[Kept]:
    """Play what is missing; every duet is kept as soon as it is played. Returns all, those of the file included."""
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    score = _score(case, kept)
    if any(one.pairs != pairs for one in kept):
        raise InputError(f"{record}: was recorded with --pairs {kept[0].pairs}; take the same, or another file")
    order = random.Random()
    with contextlib.ExitStack() as stack:
        file = None if record is None else stack.enter_context(_appended(record))
        while (deadline is None or time.monotonic() < deadline) and (todo := _next(kept, wanted, pairs, rule, order)):
            number, trying, stage = todo
            head = Side(name="head", slowdown=trying.kind.slowdown)
            sides = [Side(name="base"), Side(name="control"), head]
            with _hog(score.case.threads) if trying.kind.hog else contextlib.nullcontext():
                played = duet.play(score, sides, seed=len(kept), order=order)
            one = Kept(
                decision=number,
                stage=stage,
                pairs=pairs,
                slowdown=trying.kind.slowdown,
                hog=trying.kind.hog,
                duet=played,
            )
            kept.append(one)
            if file is not None:
                file.write(one.model_dump_json() + "\n")
                file.flush()
            if played.status != "ok":
                note(f"decision {number}: a duet failed: {played.reason}")
                if trying.failed + 1 >= _MOST_FAILURES:
                    raise InputError(f"--case {case}: its duets fail: {played.reason}")
            begun, all_ = len(selftest.tried(kept)), sum(wanted.values())
            note(f"decision {begun} of {all_} ({trying.kind.title}), stage {stage}: {played.wall_seconds:.0f} s")
    return kept


def _score(case: str, kept: list[Kept]) -> Score:
    """The windows of the recording, or new ones."""
    task_name, colon, entry_name = case.partition(":")
    if not (task_name and colon and entry_name):
        raise InputError(f"--case {case!r}: must be task:entry, such as {SENTINELS[0]}")
    check_data()
    task, entry = load_task(task_name), find_entry(entry_name)
    of = plan.case_of(task, entry, "cpu", 1)
    if kept:
        if kept[0].duet.case != of:
            raise InputError(f"--case {case}: the recording is of {kept[0].duet.case.task}:{kept[0].duet.case.entry}")
        first = next((one.duet for one in kept if one.duet.order), kept[0].duet)
        return Score(case=of, task=task, entry=entry, steps=first.steps, rounds=max(1, len(first.order)))
    score = duet.calibrate(Side(name="base"), task=task, entry=entry, case=of)
    if isinstance(score, str):
        raise InputError(f"--case {case}: no window could be trained: {score}")
    return score


def _next(
    kept: list[Kept], wanted: dict[Kind, int], pairs: int, rule: Rule, order: random.Random
) -> tuple[int, Trying, Any] | None:
    """The number, the state and the stage of the decision that is gone on with, or begun; None where all are made.

    Begun in random order, so that what is there after a part of the time is a part of each kind.
    """
    found = selftest.tried(kept)
    for number, trying in found.items():
        stage = trying.next_stage(rule)
        if stage is not None:
            return number, trying, stage
    begun = Counter(trying.kind for trying in found.values())
    missing = [kind for kind, count in wanted.items() for _ in range(count - begun[kind])]
    if not missing:
        return None
    return len(found), Trying(kind=order.choice(missing), pairs=pairs), 1


@contextlib.contextmanager
def _appended(path: Path) -> Iterator[IO[str]]:
    """The file, open for another line; half a line that a killed run left behind is cut off."""
    try:
        if path.exists():
            content = path.read_bytes()
            if content and not content.endswith(b"\n"):
                os.truncate(path, content.rfind(b"\n") + 1)
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--record {path}: cannot be written ({error.strerror}); check the path") from None
    with file:
        yield file


@contextlib.contextmanager
def _hog(threads: int) -> Iterator[None]:
    """A process that computes without rest on the workers' cores, while the block runs."""
    with runner.affinity(runner.worker_cores(threads)):
        hog = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    try:
        yield
    finally:
        hog.kill()
        hog.wait()


def _share(rate: Rate) -> str:
    """2.5 % [0.1, 13.2]"""
    if rate.n == 0:
        return units.NOT_MEASURED
    low, high = rate.interval
    return f"{100 * rate.times / rate.n:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _of(rate: Rate) -> dict[str, Any]:
    return {"times": rate.times, "n": rate.n, "interval": rate.interval}


def _print_live(kept: list[Kept], rule: Rule, *, as_json: bool) -> None:
    rates = selftest.live_rates(kept, rule)
    if as_json:
        rows = [
            {"kind": asdict(kind), "minutes": minutes} | {str(verdict): _of(rate) for verdict, rate in found.items()}
            for kind, found, minutes in rates
        ]
        out(json.dumps(rows, indent=1))
        return
    table = Table(
        "head", "decisions", "regressed", "pass", "inconclusive", "invalid", "min each", title="Live decisions"
    )
    for kind, found, minutes in rates:
        shares = [_share(found[verdict]) for verdict in ("regressed", "pass", "inconclusive", "invalid")]
        table.add_row(kind.title, str(found["pass"].n), *shares, units.significant(minutes, 2))
    stdout().print(table)


def _print_replay(seen: Replay, *, as_json: bool) -> None:
    rows: dict[str, Rate] = {
        f"false red, a change of {units.count(seen.cases, 'case')}": seen.false_red,
        "called invalid, the same changes": seen.invalid,
        **{f"{slowdown:.0%} in one of them found": rate for slowdown, rate in seen.found.items()},
        f"95% interval of {seen.pairs} duets covers": seen.covered,
        **{f"interval at a stop at ±{t:.1%} covers": rate for t, rate in seen.covered_at_stop.items()},
    }
    if as_json:
        rates = {what: _of(rate) for what, rate in rows.items()}
        out(json.dumps({"duets": seen.duets, "pairs": seen.pairs, "cases": seen.cases, "rates": rates}, indent=1))
        return
    table = Table("what", "share [95%]", "of", title=f"Decisions drawn from {units.count(seen.duets, 'duet')}")
    for what, rate in rows.items():
        table.add_row(what, _share(rate), str(rate.n))
    stdout().print(table)
