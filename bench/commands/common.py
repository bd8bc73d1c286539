"""What commands share: where data and notes go, and the flags that mean the same everywhere."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.errors import InputError
from bench.record import Source

ROOT = Path(__file__).resolve().parent.parent.parent

ResultsOption = Annotated[Path, typer.Option("--results", help="Folder of the results.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


def check_at_least(flag: str, value: int | None, least: int) -> None:
    """Raise InputError where a number was given and is too small."""
    if value is not None and value < least:
        raise InputError(f"{flag} {value}: must be at least {least}")


def check_time_limit(value: float | None) -> None:
    """Raise InputError where --time-limit is no time."""
    if value is not None and not 0 < value < float("inf"):
        raise InputError(f"--time-limit {value}: must be a number of seconds above 0")


def share_of(text: str | None) -> float | None:
    """The half-width of a ratio that --precision names: '1%' or '0.01'. Raises InputError."""
    if text is None:
        return None
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise InputError(f"--precision {text!r}: is no half-width of a ratio; write 1% or 0.01")
    return value


def bytes_of(text: str | None) -> int | None:
    """The bytes of a --memory-limit: '4GiB', '512MiB' or plain bytes. Raises InputError."""
    if text is None:
        return None
    units = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "": 1}
    number = text.rstrip("KMGiB")
    try:
        size = int(float(number) * units[text[len(number) :].strip()])
    except (ValueError, KeyError, OverflowError):
        raise InputError(f"--memory-limit {text!r}: is no size; write 4GiB or 512MiB") from None
    if size < 64 << 20:
        raise InputError(f"--memory-limit {text!r}: must be at least 64MiB, Python itself needs that")
    return size


def check_begun_here(folder: Path, begun_on: str, begun_by: Source, *, machine: str, source: str) -> None:
    """Raise InputError where the run of a folder was begun on another machine or with other code: runs mix none.

    begun_on, machine: fingerprints of machines. source: the sha256 of the code that is to go on.
    """
    if begun_on != machine:
        raise InputError(f"{folder}: was begun on another machine; go on there, or start anew without --resume")
    if begun_by.sha256 != source:
        raise InputError(
            f"{folder}: was begun with other code (commit {begun_by.git_commit or 'unknown'}); "
            "check that out, or start anew without --resume"
        )


def out(text: str) -> None:
    """Data, to standard output, ended by a newline."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def note(text: str) -> None:
    """Progress or a warning, to standard error at once."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def stdout() -> Console:
    """For tables: as wide as the terminal, or as a log can take where there is none."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200)
