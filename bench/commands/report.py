"""`bench report`: results/raw -> every file that is made of it, index.html included, and the tables on the terminal."""

import os.path
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import claims, publish
from bench import material as reading
from bench.claims import Claim
from bench.commands.common import JsonOption, ResultsOption, check_at_least, note, out
from bench.commands.draw import Drawn, draw, uncollected
from bench.commands.history import for_report
from bench.errors import InputError
from bench.publish import formats
from bench.publish.parts import Asked


def report(
    results: ResultsOption = Path("results"),
    readme: Annotated[
        Path | None, typer.Option(help="The README whose marked table is made anew; the one beside the results.")
    ] = None,
    add: Annotated[
        list[Path] | None, typer.Option(help="A contributed results folder, checked and shown beside.")
    ] = None,
    claims_file: Annotated[
        Path | None, typer.Option("--claims", help="A TOML file of claims, in place of ours.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 where a file is out of date.")] = False,
    format_: Annotated[
        str | None, typer.Option("--format", help="Print in place of writing: markdown, csv, latex or json.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(help="Processes that read the records, a machine at a time; as many as pay by default."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make tables, plots and the page from results/raw alone, loading no framework."""
    if as_json:
        format_ = format_ or "json"
    if format_ is not None and format_ not in formats.FORMATS:
        raise InputError(f"--format {format_!r}: no such format; take one of {', '.join(formats.FORMATS)}")
    check_at_least("--jobs", jobs, 1)
    asked = claims.read_claims(claims_file or claims.SHIPPED)
    if format_ is not None:
        material = reading.read(results, add or [])
        judged = claims.judge(asked, material.trials, material.studies, material.duets)
        out(formats.FORMATS[format_](material.trials, judged, results))
        return
    place, console = readme or _beside(results) / "README.md", Console(file=sys.stdout)
    needed = publish.page.missing()
    with uncollected():
        drawn = draw(
            results,
            add or [],
            Asked(
                results=results,
                project=place.parent,
                claims=tuple(asked),
                page=not needed,
                printed=not check,
                look=publish.terminal.look_of(console),
            ),
            jobs=jobs,
            meanwhile=publish.page.prepare if not needed else lambda _: None,
        )
        files = _files(drawn, results, asked, place, marked=readme is None, page=not needed)
    if needed:
        note(f"index.html and plots are left out: {', '.join(needed)} missing; `pip install -e '.[report]'` gets them")
    made = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    stale = [path for path, found in made.items() if not path.is_file() or not _same(path.read_bytes(), found)]
    if check:
        for path in stale:
            note(f"{path}: is not what the raw records give; run `bench report`")
        if stale:
            raise typer.Exit(1)
        return
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made[path])
        note(f"written: {path}")
    console.file.write(publish.parts.printed(drawn.parts))


def _files(
    drawn: Drawn, results: Path, asked: Sequence[Claim], place: Path, *, marked: bool, page: bool
) -> dict[Path, str | bytes]:
    """Every file of a report, by its path. place: the README, left alone where `marked` and no table's place is."""
    judged = publish.parts.judged_of(asked, drawn.parts)
    section, plots, shown = for_report(results)
    contests = publish.parts.contests_of(drawn.parts)
    files: dict[Path, str | bytes] = {}
    files |= publish.files_of(drawn.parts, results, drawn.suites, section, judged, drawn.withdrawn, contests)
    files |= plots
    if page:
        files |= publish.page.files(drawn.parts, results, judged, shown, drawn.withdrawn, contests)
    text = place.read_text(encoding="utf-8") if place.is_file() else None
    if text is not None and (not marked or publish.markdown.BEGIN in text):
        table = publish.markdown.project_table(part.candidate for part in drawn.parts if part.candidate is not None)
        where = _from(place, results)
        answer = publish.claims.answer(judged, where, publish.machines.answer_lines(contests))
        turns = publish.machines.for_readme(contests, place.parent, where)
        files[place] = publish.markdown.fill_readme(text, table, place=str(place), answer=answer, turns=turns)
    return files


def _same(old: bytes, new: bytes) -> bool:
    """Whether a file is what was made. Pictures go by the SVG that they show: their pixels depend on the processor."""
    source = publish.plots.source_of(new)
    return old == new or (source is not None and publish.plots.source_of(old) == source)


def _beside(results: Path) -> Path:
    """The folder that the results folder lies in, also where that is called by no name of its own: `.`, `..`."""
    return results / ".." if results.name in ("", "..") else results.parent


def _from(readme: Path, results: Path) -> str:
    """Where the results lie, as a link from a README."""
    return Path(os.path.relpath(results, readme.parent)).as_posix()
