"""What commands share: where data and notes go, and the flags that mean the same everywhere."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent.parent

ResultsOption = Annotated[Path, typer.Option("--results", help="Folder of the results.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


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
