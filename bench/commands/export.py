"""`bench export`: results -> the formats of other tools."""

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
    records = _of_machine(store.read_trials(results), machine)
    content = _made(format_, records, direction)
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


def _of_machine(records: list[Record], machine: str | None) -> list[Record]:
    """The records of one machine; all of them where none is named. Raises InputError where it has none."""
    if machine is None:
        return records
    found = [(path, t) for path, t in records if machine in (t.machine.name, t.machine.fingerprint)]
    if not found:
        known = ", ".join(sorted({trial.machine.name for _, trial in records}))
        raise InputError(f"--machine {machine!r}: has no record here; take one of {known}")
    return found


def _made(format_: str, records: list[Record], direction: str | None) -> str | bytes:
    match format_:
        case "pytest-benchmark":
            return exports.to_pytest_benchmark(records)
        case "bmf":
            return exports.to_bmf(records)
        case "github-action-benchmark":
            return exports.to_github_action_benchmark(records, cast(exports.Direction, direction))
        case "csv":
            return exports.to_csv(records)
        case "parquet":
            return exports.to_parquet(records)
    return exports.to_openmetrics(records)
