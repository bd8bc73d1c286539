"""`bench claims`: what people say of the frameworks, and what the records say to it."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from bench import claims, material
from bench.commands.common import JsonOption, ResultsOption, note, out, stdout
from bench.publish import claims as published
from bench.publish import escape


def claims_(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Claims; all by default.")] = None,
    file: Annotated[Path | None, typer.Option("--claims", help="A TOML file of your own, in place of ours.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every observation that a verdict stands on.")] = False,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> None:
    """Supported, refuted, depends, undecided or not measured here: each claim, on each machine."""
    asked = claims.choose(claims.read_claims(file or claims.SHIPPED), names or [], file or claims.SHIPPED)
    read = material.read(results)  # as for the report: what was withdrawn decides nothing
    judged = claims.judge(asked, read.trials, read.studies, read.duets)
    if as_json:
        out(json.dumps([claims.document(one, results) for one in judged], indent=1))
        return
    console = stdout()
    for of in published.by_machine(judged).values():
        machine = next((one.machine.name for one in of if one.machine is not None), "no machine")
        table = Table("topic", "claim", "verdict", "why", title=f"Claims on {machine}", title_justify="left")
        for one in of:
            table.add_row(one.claim.topic, one.claim.sentence, one.verdict, escape.plain(one.why))
        console.print(table)
        for one in of if every or names else ():
            table = Table(*published.OBSERVATION_HEADS, title=one.claim.sentence, title_justify="left")
            for seen in one.observations:
                table.add_row(*map(escape.plain, published.observation_texts(seen)))
            if one.observations:
                console.print(table)
        note(published.tally(of))
