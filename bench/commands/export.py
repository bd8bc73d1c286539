"""`bench export`: results -> the formats of other tools."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, cast

import typer

from bench import store
from bench.commands.common import ResultsOption, note, out
from bench.errors import InputError
from bench.publish import exports
from bench.publish.tables import Record

FORMATS = ("pytest-benchmark", "bmf", "github-action-benchmark", "csv", "parquet", "openmetrics")
DIRECTIONS = ("bigger", "smaller")


def export(
    format_: Annotated[str, typer.Option("--format", help=f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")],
    results: ResultsOption = Path("results"),
    output: Annotated[Path | None, typer.Option("--output", help="A file in place of standard output.")] = None,
    direction: Annotated[
        str | None,
        typer.Option(help="Of github-action-benchmark: bigger (what more of is better) or smaller."),
    ] = None,
    machine: Annotated[
        str | None, typer.Option(help="One machine's results alone, by its name or fingerprint.")
    ] = None,
) -> None:
    """Write results in another tool's format: pytest-benchmark, Bencher, github-action-benchmark, tables, metrics."""
    _check(format_, output, direction)
    if format_ in ("csv", "parquet"):  # a row a trial: they need not be held side by side
        records = _of_machine(store.each_trial(results), machine)
        content: str | bytes = exports.to_csv(records) if format_ == "csv" else exports.to_parquet(records)
    else:
        content = _made(format_, list(_of_machine(store.read_trials(results), machine)), direction)
    if output is None:
        assert isinstance(content, str)
        out(content)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror}); check --output") from None
    note(f"written: {output}")


def _check(format_: str, output: Path | None, direction: str | None) -> None:
    """Raise InputError where the flags make no sense together: before any record is read."""
    if format_ not in FORMATS:
        raise InputError(f"--format {format_!r}: no such format; take one of {', '.join(FORMATS)}")
    if format_ == "parquet" and output is None:
        raise InputError("--format parquet: is not text; name a file with --output")
    if format_ == "github-action-benchmark":
        if direction not in DIRECTIONS:
            said = "is missing" if direction is None else f"{direction!r}: no such direction"
            raise InputError(
                f"--direction {said}; take bigger for a file of customBiggerIsBetter, smaller for customSmallerIsBetter"
            )
    elif direction is not None:
        raise InputError(f"--direction: means nothing with --format {format_}; leave it out")


def _of_machine(records: Iterable[Record], machine: str | None) -> Iterator[Record]:
    """The records of one machine; all of them where none is named. Raises InputError at the end where it has none."""
    known, found = set(), False
    for path, trial in records:
        if machine is None or machine in (trial.machine.name, trial.machine.fingerprint):
            found = True
            yield path, trial
        known.add(trial.machine.name)
    if not found:
        names = ", ".join(sorted(known))
        raise InputError(f"--machine {machine!r}: has no record here; take one of {names}")


def _made(format_: str, records: list[Record], direction: str | None) -> str:
    match format_:
        case "pytest-benchmark":
            return exports.to_pytest_benchmark(records)
        case "bmf":
            return exports.to_bmf(records)
        case "github-action-benchmark":
            return exports.to_github_action_benchmark(records, cast(exports.Direction, direction))
    return exports.to_openmetrics(records)
