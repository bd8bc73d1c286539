"""`bench history`: a run's ratios -> results/history, change points, plots."""

import json
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from bench import history, otava, store
from bench.commands.common import ROOT, JsonOption, ResultsOption, note, out
from bench.errors import InputError
from bench.history import Pin
from bench.publish import history as published
from bench.publish.history import Shown
from bench.record import Trial
from bench.series import Series, changes_of, series_of
from bench.stats import counts


def history_(
    run: Annotated[str | None, typer.Argument(help="A run's name or folder; the newest where none is named.")] = None,
    pin: Annotated[
        str | None, typer.Option(help="ENTRY or ENTRY@ENVIRONMENT of the run: the reference, where none is pinned yet.")
    ] = None,
    renew: Annotated[
        str | None, typer.Option(help="ENTRY or ENTRY@ENVIRONMENT: the next reference; the run measured the old too.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Append nothing; look for changes and draw.")] = False,
    setup: Annotated[
        bool, typer.Option("--setup", help=f"Make {otava.FOLDER} with {otava.REQUIREMENT}, and no more.")
    ] = False,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Keep a run's ratios to the pinned reference, find the changes in each series, draw them."""
    environment = ROOT / otava.FOLDER
    if setup:
        if run or pin or renew or show:
            raise InputError("bench history --setup: makes the environment and no more; leave the rest out")
        otava.set_up(environment)
        note(f"{otava.FOLDER}: {otava.REQUIREMENT}")
        return
    if sum(map(bool, (pin, renew, show))) > 1 or (show and run):
        raise InputError("bench history: --pin, --renew and --show each stand alone; take one of them")
    if not show:
        _append(results, run, pin=pin, renew=renew)
    series = series_of(history.read(results), history.read_pins(results))
    if not series:
        raise InputError(f"{history.folder_of(results)}: holds no ratio yet; append a run with `bench history`")
    if otava.is_there(environment):
        otava.write_looked(results, otava.looked(series, otava.find_steps(series, environment)))
    else:
        note(f"changes were not looked for: {otava.FOLDER} is missing; make it with `bench history --setup`")
    shown, _ = _shown(results, series)
    for path, text in published.files(shown, results).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    out(json.dumps(published.document(shown), indent=1) if as_json else published.text(shown))


def for_report(results: Path) -> tuple[list[str], dict[Path, str], list[Shown]]:
    """The section of results/README.md, the plots and the series, from what is kept; nothing where none is kept."""
    series = series_of(history.read(results), history.read_pins(results))
    if not series:
        return [], {}, []
    shown, seen = _shown(results, series)
    return [published.section(shown, seen)], published.files(shown, results), shown


def _shown(results: Path, series: Sequence[Series]) -> tuple[list[Shown], otava.Looked | None]:
    seen = otava.read_looked(results)
    made = []
    for one in series:
        steps = seen.series.get(one.key) if seen is not None else None
        changes = tuple(changes_of(one, otava.indexes_of(one, seen)))
        made.append(Shown(series=one, changes=changes, looked_at=None if steps is None else steps.points))
    return made, seen


def _append(results: Path, run: str | None, *, pin: str | None, renew: str | None) -> None:
    folder, records = _records(results, run)
    trials = [trial for _, trial in records]
    pins = known = history.read_pins(results)
    file = history.folder_of(results) / history.PIN_FILE
    if pin is not None or renew is not None:
        pins = _renewed(folder, trials, known, file, pin=pin, renew=renew)
    if not pins:
        raise InputError(f"{file}: is missing, so there is nothing to take ratios to; pin one with --pin numpy")
    lines = history.lines_of(
        trials,
        pins,
        folder=_relative(folder, results),
        files={id(trial): path.name for path, trial in records},
        committed_utc=_committed(trials),
    )
    if pins != known:
        history.write_pins(results, pins)
        note(f"{file}: the reference is {pins[-1].name}")
    added = history.append(results, lines)
    if added:
        note(f"{len(added)} ratios of run {lines[0].run} appended")
    else:
        note(f"run {lines[0].run} is in the history already; nothing appended")


def _records(results: Path, run: str | None) -> tuple[Path, list[tuple[Path, Trial]]]:
    """Folder and records of the run that was asked for. Raises InputError where there is none."""
    if run is None:
        known = store.runs(results)
        if not known:
            raise InputError(f"{results}: holds no run; make one with `bench run`")
        folder = known[-1][0]
    elif Path(run).is_dir():
        folder = Path(run)
    else:
        found = sorted(store.raw_folder(results).glob(f"*/*/{run}")) if run and "/" not in run else []
        if len(found) != 1:
            raise InputError(f"{run}: {len(found) or 'no'} runs of this name in {results}; name the folder of a run")
        folder = found[0]
    records = store.read_run(folder)
    if not records:
        raise InputError(f"{folder}: holds no record; name the folder of a run")
    store.check_proofs(records)
    return folder, records


def _relative(folder: Path, results: Path) -> str:
    try:
        return folder.resolve().relative_to(results.resolve()).as_posix()
    except ValueError:
        raise InputError(
            f"{folder}: lies outside {results}, where the history's records must be; name its results with --results"
        ) from None


def _renewed(
    folder: Path, trials: Sequence[Trial], pins: list[Pin], file: Path, *, pin: str | None, renew: str | None
) -> list[Pin]:
    """The references with a new one at the end, or as they are where the pin is there already.

    Raises InputError where it cannot follow the last.
    """
    if pin is not None and pins and pins[-1].entry == pin.partition("@")[0]:
        return pins  # a nightly job says the same every night
    if pin is not None and pins:
        raise InputError(f"{file}: the reference is {pins[-1].name} already; --renew takes its place")
    if renew is not None and not pins:
        raise InputError(f"{file}: is missing, so there is nothing to renew; pin one with --pin")
    name = pin or renew or ""
    entry, _, label = name.partition("@")
    of = [trial for trial in trials if counts(trial) and (trial.case.entry, trial.case.environment) == (entry, label)]
    if not of:
        raise InputError(f"{folder}: holds no trial of {name} that counts; run it, or name another entry")
    made = history.pin_of(of[0], names=[known.name for known in pins], pinned_utc=_now())
    if not all(made.is_of(trial) for trial in of):
        raise InputError(f"{folder}: {name} was run with several versions; name a run with one")
    if pins and pins[-1].is_of(of[0]):
        raise InputError(
            f"{folder}: {name} is the reference {pins[-1].name} as it is pinned; there is nothing to renew"
        )
    if pins:
        old = {trial.placement.block for trial in trials if counts(trial) and pins[-1].is_of(trial)}
        if len(old & {trial.placement.block for trial in of}) < history.LEAST_BLOCKS:
            raise InputError(
                f"{folder}: shares fewer than {history.LEAST_BLOCKS} blocks of {name} with the old reference "
                f"{pins[-1].name}, so the series could not be chained; measure both in one run"
            )
    return [*pins, made]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _committed(trials: Sequence[Trial]) -> str | None:
    """When the run's commit was made, where git knows it here."""
    commit = next((trial.source.git_commit for trial in trials if trial.source.git_commit), None)
    if commit is None or not commit.isalnum():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), "show", "--no-patch", "--format=%cI", commit], capture_output=True, text=True
        )
        return datetime.fromisoformat(done.stdout.strip()).astimezone(UTC).isoformat(timespec="seconds")
    except (OSError, ValueError):
        return None
