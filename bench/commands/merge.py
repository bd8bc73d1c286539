"""`bench merge`: the raw records of several results folders -> one."""

from pathlib import Path
from typing import Annotated

import typer

from bench import merge as merging
from bench import store
from bench.commands.common import ResultsOption, note


def merge(
    sources: Annotated[list[Path], typer.Argument(help="Results folders to take records from.", show_default=False)],
    results: ResultsOption = Path("results"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be copied, and copy nothing.")] = False,
) -> None:
    """Copy what --results lacks of other folders' raw records. Twice is as good as once; contradictions are refused."""
    if dry_run:
        note(f"{len(merging.missing(sources, results))} files would be copied to {results}")
        return
    with store.locked(results):
        count = merging.merge(merging.missing(sources, results), results)
    note(f"{count} files copied to {results}" + ("; make the tables anew with `bench report`" if count else ""))
