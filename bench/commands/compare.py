"""`bench compare`: two sides of results -> ratios with intervals, and an exit code."""

import json
from typing import Annotated

import typer

from bench import comparison, selection
from bench.commands.common import JsonOption, note, out, stdout
from bench.publish import comparison as published
from bench.publish.comparison import Compared


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="Results folder or run folder, with @KEY=VALUE,... after it.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The same; it is told in terms of A.")],
    across: Annotated[
        list[str] | None,
        typer.Option(help=f"The difference that is the subject, of {', '.join(selection.ACROSS)}; may be repeated."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Is B faster or slower than A, case by case? Exit 1 where anything is slower.

    results@run=215231-full-97ee,entry=torch-eager selects; where A holds one entry, each of B's is compared with it.
    """
    subjects = across or []
    matched = selection.match(selection.select(a), selection.select(b), subjects)
    compared = [
        Compared(pair=pair, findings=tuple(comparison.findings(pair, across=subjects))) for pair in matched.pairs
    ]
    notes = [*matched.notes, *published.warnings(compared)]
    if as_json:
        out(json.dumps(published.document(compared, across=subjects, notes=notes), indent=1))
    else:
        console = stdout()
        for table in published.tables(compared):
            console.print(table)
    for line in notes:
        note(line)
    if comparison.is_slower(finding for one in compared for finding in one.findings):
        raise typer.Exit(1)
