"""Contests of two entries -> a row for each, a column for each machine: side by side, never pooled. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.duets import Contest, order
from bench.publish import escape, markdown, units
from bench.publish.duets import folder_of, is_of_shipped, ratio_text, task_text, verdict_text
from bench.record import Case, Machine

NOTE = (
    "How many times the samples/s of the second entry the first has, with its 95% interval: 1.1 is a tenth faster. "
    "Both are alive at once on the same cores and train the same rows in turns; n duets, each of fresh processes. "
    "Where there was no lead-in, the first steps of a turn are in its figure, and the side whose windows are shorter, "
    "mostly the faster one, can look slower than it is."
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A machine that duets were played on, when and with what."""

    machine: Machine
    days: str
    versions: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """Two entries at one task, and what was found below each machine; None where it was not measured there."""

    task: str
    subject: str
    reference: str
    found: tuple[Contest | None, ...]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Contests by machine. The machine with the most of them comes first."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def beside(found: Sequence[Contest]) -> Beside:
    """Contests side by side, in their order. Each machine has at most one of two cases (bench.duets.contests)."""
    by_machine: dict[str, list[Contest]] = {}
    by_cases: dict[tuple[Case, Case], dict[str, Contest]] = {}
    for one in found:
        fingerprint = one.first.machine.fingerprint
        by_machine.setdefault(fingerprint, []).append(one)
        by_cases.setdefault((one.subject, one.reference), {})[fingerprint] = one
    names = sorted(by_machine, key=lambda name: (-len(by_machine[name]), by_machine[name][0].first.machine.name))
    of_cases = sorted(by_cases.values(), key=lambda of: order(next(iter(of.values())))[1:])  # whatever the machine
    return Beside(
        columns=tuple(_column(by_machine[name]) for name in names),
        rows=tuple(_row(of, names) for of in of_cases),
    )


def _column(found: Sequence[Contest]) -> Column:
    records = [record for one in found for _, record in (*one.played, *one.failed)]
    packages = sorted((of for record in records for of in record.duet.packages.values()), key=sorted)  # all alike
    return Column(
        machine=records[0].machine,
        days=units.days(record.duet.started_utc for record in records),
        versions=markdown.versions_facts((), only=("tensorflow", "torch"), packages=packages),
    )


def _row(of: dict[str, Contest], names: Sequence[str]) -> Row:
    one = next(iter(of.values()))
    return Row(
        task=task_text(one),
        subject=one.subject.entry,
        reference=one.reference.entry,
        found=tuple(of.get(name) for name in names),
    )


def cell_text(one: Contest) -> str:
    """What stands behind a ratio: faster, n = 12"""
    failed = f", {len(one.failed)} failed" if one.failed else ""
    return f"{verdict_text(one)}, n = {len(one.played)}{failed}" + ("" if one.lead_in else ", no lead-in")


def for_readme(found: Sequence[Contest], folder: Path, results: str) -> str:
    """For the project's README: of tasks as they ship, and where the rest is. Empty where there is none.

    Links are relative to the folder; results: where results/ lies from there.
    """
    if not found:
        return ""
    shipped = [one for one in found if is_of_shipped(one)]
    others = len(found) - len(shipped)
    there = f"[{results}/README.md]({results}/README.md#in-turns)"
    more = f"; and {units.count(others, 'ratio')} of other widths, batch sizes or tasks" if others else ""
    rest = f"Windows, controls, samples/s and dates of each{more}: {there}.\n"
    return (section(shipped, folder) + "\n" if shipped else "") + rest


def section(found: Sequence[Contest], folder: Path) -> str:
    """What it shows, the table, and its machines; links are relative to the folder."""
    seen = beside(found)
    heads = ["Task", "Entry", "Against", *(escape.markdown(column.machine.name) for column in seen.columns)]
    rows = [
        [*map(escape.markdown, (row.task, row.subject, row.reference)), *(_cell(one, folder) for one in row.found)]
        for row in seen.rows
    ]
    machines = [
        f"- {escape.markdown(f'{column.machine.name}: {column.days}, {column.versions}')}; "
        f"{markdown.machine_text(column.machine)}"
        for column in seen.columns
    ]
    return "\n".join([escape.markdown(NOTE, len(NOTE)), "", *markdown.table(heads, rows), "", *machines]) + "\n"


def _cell(one: Contest | None, folder: Path) -> str:
    if one is None:
        return units.NOT_MEASURED
    link = f"[{escape.markdown(ratio_text(one.ratio))}]({escape.url(folder_of(one, folder))}/)"
    return f"{link} {escape.markdown(cell_text(one))}"
