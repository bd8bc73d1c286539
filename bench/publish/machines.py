"""Contests of two entries -> a row for each, a column for each machine: side by side, never pooled. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from bench.duets import Contest, order
from bench.publish import escape, markdown, units
from bench.publish.duets import folder_of, is_of_shipped, ratio_text, task_text, verdict_text
from bench.record import Case, Machine
from bench.stats import Verdict

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


def answer_lines(found: Sequence[Contest]) -> list[str]:
    """Of tasks as they ship: what every machine says alike, what depends on the machine, and what is open.

    Machines say alike what has one verdict on all, undecided not among them; it depends on the machine where two of
    their intervals, measured in one way, have no value in common. Empty where no ratio was measured on more than one
    machine.
    """
    lines: dict[str, dict[tuple[str, ...], list[_Shared]]] = {
        "The same on each machine": {},
        "Depends on the machine": {},
        "Still open": {},
    }
    alike, by_machine, still_open = lines.values()
    for row in beside([one for one in found if is_of_shipped(one)]).rows:
        measured = tuple(one for one in row.found if one is not None and one.ratio.mean is not None)
        shared = _Shared(subject=row.subject, reference=row.reference, found=measured)
        if len(shared.found) > 1:
            kind = alike if shared.verdict else by_machine if shared.apart else still_open
            kind.setdefault((*shared.names, shared.verdict or ""), []).append(shared)
    return [f"{head}: {'; '.join(map(_pair_text, pairs.values()))}." for head, pairs in lines.items() if pairs]


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """A row of what more than one machine measured."""

    subject: str
    reference: str
    found: tuple[Contest, ...]

    @property
    def verdict(self) -> Verdict | None:
        """The one that all machines have; None where they differ, or one is undecided."""
        first, *others = {one.verdict for one in self.found}
        return None if others or first == "undecided" else first

    @property
    def apart(self) -> bool:
        """Whether two machines' intervals have no value in common, and it is not the lead-in that only one had."""
        seen = [(one.lead_in > 0, one.ratio.interval) for one in self.found if one.unfit is None and one.ratio.interval]
        return any(led == also and (a[1] < b[0] or b[1] < a[0]) for (led, a), (also, b) in combinations(seen, 2))

    @property
    def names(self) -> tuple[str, str]:
        """The faster one first, where all machines say so."""
        turned = self.verdict == "slower"
        return (self.reference, self.subject) if turned else (self.subject, self.reference)

    @property
    def where(self) -> str:
        """mlp, or: mlp with 2 threads"""
        task, threads = self.found[0].first.task.name, self.found[0].subject.threads
        return task if threads == 1 else f"{task} with {units.workers(threads)}"

    @property
    def times(self) -> list[float]:
        """On each machine, how many times the samples/s of the slower one the faster one has."""
        sign = -1 if self.verdict == "slower" else 1
        return [math.exp(sign * one.ratio.mean) for one in self.found if one.ratio.mean is not None]


def _pair_text(of: Sequence[_Shared]) -> str:
    """Of the same two entries and verdict: torch-eager trains 1.66 to 14.1 times as fast as tensorflow-eager (mlp)"""
    first, second = of[0].names
    times = [value for row in of for value in row.times]
    span = " to ".join(dict.fromkeys(units.significant(end) for end in (min(times), max(times))))
    verb = {None: "against", "tie": "trains as fast as"}.get(of[0].verdict, f"trains {span} times as fast as")
    return f"{first} {verb} {second} ({', '.join(row.where for row in of)})"


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
