"""Contests of two entries -> lines for a terminal, a section of results/README.md, a table of the page. Pure."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.duets import Contest, DuetRecord, sample_of
from bench.publish import escape, listings, units
from bench.publish.listings import Cell, Head, Line, Table
from bench.publish.markdown import table as rows_of
from bench.stats import Estimate
from bench.task import Task, is_shipped, is_variant, load_task, shipped_tasks

HEADS = (
    Head(text="Entry", filtered=True),
    Head(text="Against", filtered=True),
    Head(text="Ratio of rates [95%]", number=True),
    Head(text="±", number=True),
    Head(text="Verdict", filtered=True),
    Head(text="Duets", number=True),
    Head(text="Windows of a side"),
    Head(text="Samples/s", number=True),
    Head(text="Reference against itself [95%]", number=True),
    Head(text="Date"),
)
_NOTE = (
    "Both entries are alive at once on the same cores and train the same rows in turns, window by window; "
    "the reference takes part twice, and what its two processes differ by shows what a ratio is worth. A turn begins "
    "with a lead-in, a window that does not count, for its first steps find the caches as the others left them; in "
    "older runs, without it, the side of the shorter windows, mostly the faster one, can look slower than it is. "
    "The process is the unit: a duet of fresh processes gives one number, and the interval is that of their mean; "
    "where their number was not named before the first but may hang on what they said (by width, or in parts), it is "
    "one of 97%, for such intervals cover 95%. "
    "A duet measures the steps alone; what a whole epoch takes is in the tables of trials."
)


def line(record: DuetRecord) -> str:
    """What one duet said."""
    names = f"{record.subject.entry} against {record.reference.entry}"
    if record.duet.status != "ok":
        return f"{names}: {record.duet.status}: {record.duet.reason}"
    sample = sample_of(record.duet)
    return f"{names}: {math.exp(sample.difference):.3f} (control {math.exp(sample.control):.3f})"


def ratio_text(seen: Estimate) -> str:
    """1.234 [1.219, 1.249]"""
    if seen.mean is None:
        return f"none ({seen.reason})"
    if seen.interval is None:
        return f"{math.exp(seen.mean):.3f} ({seen.reason})"
    low, high = (math.exp(end) for end in seen.interval)
    return f"{math.exp(seen.mean):.3f} [{low:.3f}, {high:.3f}]"


def _half_width(seen: Estimate) -> float | None:
    """Of the interval of the logarithm."""
    return None if seen.mean is None or seen.interval is None else seen.interval[1] - seen.mean


def verdict_text(one: Contest) -> str:
    """The verdict, or why there is none."""
    return one.verdict if one.unfit is None else f"undecided: {one.unfit}"


def _cells(one: Contest) -> tuple[Cell, ...]:
    """Below HEADS."""
    rates = "none" if one.rates is None else f"{units.rate(one.rates[0])} and {units.rate(one.rates[1])}"
    failed = f", {len(one.failed)} failed" if one.failed else ""
    how = "" if one.number == "named" else f", {one.number}"
    width = _half_width(one.ratio)
    return (
        Cell(text=one.subject.entry, framework=one.subject.framework),
        Cell(text=one.reference.entry, framework=one.reference.framework),
        Cell(text=ratio_text(one.ratio), order=one.ratio.mean),
        Cell(text=units.NOT_MEASURED if width is None else f"{100 * width:.1f} %", order=width),
        Cell(text=verdict_text(one), key=one.verdict),
        Cell(text=f"{len(one.played)}{how}{failed}", order=float(len(one.played))),
        Cell(text=windows_text(one)),
        Cell(text=rates, order=one.rates[0] if one.rates else None),
        Cell(text=ratio_text(one.control), order=one.control.mean),
        Cell(text=one.first.duet.started_utc[:10]),
    )


def windows_text(one: Contest) -> str:
    """How often a side trains in a duet, and for how long each time, in the mean: 152 of 0.052 s after a lead-in"""
    lengths = [seconds for _, record in one.played for side in record.duet.windows.values() for seconds in side]
    if not lengths:
        return "none"
    rounds = round(sum(len(record.duet.order) for _, record in one.played) / len(one.played))
    after = " after a lead-in" if one.lead_in else ""
    return f"{rounds} of {units.significant(math.fsum(lengths) / len(lengths), 2)} s{after}"


def to_text(found: Sequence[Contest]) -> str:
    """For a terminal: a line a contest."""
    lines = [
        escape.plain(
            f"{one.subject.entry} against {one.reference.entry}: {ratio_text(one.ratio)} times as many samples/s, "
            f"{verdict_text(one)} ({units.count(len(one.played), 'duet')}; the reference against itself: "
            f"{ratio_text(one.control)})"
        )
        for one in found
    ]
    return "\n".join(lines or ["nothing could be compared"]) + "\n"


def document(found: Sequence[Contest]) -> list[dict[str, Any]]:
    """For `--json`. Ratios as numbers, not as logarithms."""

    def of(seen: Estimate) -> dict[str, Any]:
        interval = None if seen.interval is None else [math.exp(end) for end in seen.interval]
        mean = None if seen.mean is None else math.exp(seen.mean)
        return {"ratio": mean, "interval": interval, "duets": seen.n, "reason": seen.reason}

    return [
        {
            "subject": one.subject.model_dump(mode="json"),
            "reference": one.reference.model_dump(mode="json"),
            "rate": of(one.ratio),
            "control": of(one.control),
            "subject_samples_per_second": one.rates[0] if one.rates else None,
            "reference_samples_per_second": one.rates[1] if one.rates else None,
            "lead_in": one.lead_in,
            "number": one.number,
            "confidence": one.confidence,
            "verdict": one.verdict,
            "unfit": one.unfit,
            "failed": len(one.failed),
        }
        for one in found
    ]


def section(found: Sequence[Contest], results: Path) -> str:
    """The section of results/README.md."""
    return "## In turns\n\n" + _tables(found, results)


def _tables(found: Sequence[Contest], folder: Path) -> str:
    """A table a machine and task; links are relative to the folder."""
    lines = [escape.markdown(_NOTE, len(_NOTE)), ""]
    groups: dict[tuple[str, str], list[Contest]] = {}
    for one in found:
        groups.setdefault((one.first.machine.fingerprint, where_text(one)), []).append(one)
    for (_, where), of_group in groups.items():
        rows = [
            [*(escape.markdown(cell.text) for cell in _cells(one)), f"[raw]({escape.url(folder_of(one, folder))}/)"]
            for one in of_group
        ]
        heads = [*(head.text for head in HEADS), "Records"]
        lines += [f"### {escape.markdown(where)}", "", *rows_of(heads, rows), ""]
    return "\n".join(lines)


def is_of_shipped(one: Contest) -> bool:
    """Whether its task is as it ships."""
    return is_shipped(_of_any_length(one.first.task))


def task_text(one: Contest) -> str:
    """mlp, batch 64, 1 thread"""
    return f"{one.first.task.name}, batch {one.subject.batch_size}, {units.workers(one.subject.threads)}"


def where_text(one: Contest) -> str:
    """mlp: 784-128-64-10, ..., on AMD EPYC (amd-epyc-2c-8e7b), 1 thread"""
    machine, task = one.first.machine, one.first.task
    variant = f" (batch {task.batch_size})" if is_variant(_of_any_length(task)) else ""
    return f"{task.name}{variant}: {task.title}, on {units.processor(machine)}, {units.workers(one.subject.threads)}"


def _of_any_length(task: Task) -> Task:
    """With the epochs of the shipped task of its name, for a duet has none."""
    return task.changed(epochs=load_task(task.name).epochs) if task.name in shipped_tasks() else task


def row_name(one: Contest) -> str:
    """The name of its row in the page's table."""
    where = (one.first.machine.fingerprint, one.first.run)
    return listings.anchor_of("in-turns", *where, one.subject.entry, one.reference.entry, one.reference.task)


def folder_of(one: Contest, results: Path) -> str:
    """Of its records, from the results folder."""
    return listings.folder((one.played or one.failed)[0][0].parent, results)


def table(found: Sequence[Contest], results: Path) -> Table:
    """The page's table: the same columns, with the task after the entries, and machine and records at the end."""
    heads = (*HEADS[:2], Head(text="Task", filtered=True), *HEADS[2:], Head(text="Machine", filtered=True))
    return Table(
        name="duets",
        title="In turns",
        note=_NOTE,
        heads=(*heads, Head(text="Records")),
        lines=tuple(_line(one, results) for one in found),
        none="Nothing was measured in turns; `bench duet` does.",
    )


def _line(one: Contest, results: Path) -> Line:
    cells, machine = _cells(one), one.first.machine
    links = listings.record_links([path for path, _ in (*one.played, *one.failed)], results)
    rest = (Cell(text=machine.name), Cell(text="", links=links))
    return Line(
        cells=(*cells[:2], Cell(text=task_text(one)), *cells[2:], *rest),
        machine=machine.fingerprint,
        name=row_name(one),
    )
