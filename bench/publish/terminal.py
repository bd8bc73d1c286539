"""Trials -> tables that fit a terminal of 80 columns; plain aligned lines, one a case, where it is no terminal."""

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.markup import escape as rich_escape
from rich.markup import render
from rich.table import Table
from rich.text import Text

from bench.planning import Cost, Need
from bench.precision import Width
from bench.publish import escape, sweeps, units
from bench.publish.details import Detail
from bench.publish.sweeps import Sweep
from bench.publish.tables import (
    HEADS,
    REFERENCE,
    Failure,
    Row,
    Section,
    against_texts,
    best_of,
    disturbances,
    entry_name,
    sections,
    texts,
)
from bench.record import Trial

ColourSystem = Literal["auto", "standard", "256", "truecolor", "windows"]  # rich's own words
VERDICT_STYLES = {"faster": "green", "slower": "yellow"}


@dataclass(frozen=True, kw_only=True)
class Look:
    """Of a terminal: what a text for it depends on."""

    width: int
    colours: ColourSystem | None
    no_colour: bool


def look_of(console: Console) -> Look | None:
    """None where it is no terminal: there the text is plain."""
    if not console.is_terminal:
        return None
    return Look(
        width=console.width, colours=cast("ColourSystem | None", console.color_system), no_colour=console.no_color
    )


def print_run(trials: Iterable[Trial], console: Console) -> None:
    """Show the trials of one run."""
    records = [(Path(), trial) for trial in trials]
    found, look = sweeps.find(records), look_of(console)
    shown = [section for section in sections(records) if not sweeps.folded(section, found)]
    texts_of = [*(section_text(section, look) for section in shown), *(sweep_text(sweep, look) for sweep in found)]
    console.file.write("".join(texts_of) or ("" if look else "\n"))


def costs_text(costs: Iterable[Cost]) -> str:
    """What blocks cost on one node and on several, a line."""
    return "as jobs of a block each: " + "; ".join(map(_cost_text, costs))


def _cost_text(cost: Cost) -> str:
    return f"{_hours(cost.seconds / 3600)} on {units.count(cost.nodes, 'node')} ({cost.node_hours:.2g} node hours)"


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{60 * hours:.1f} min"
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"


def need_text(needed: Need, costs: Iterable[Cost]) -> str:
    """What a precision needs, a line; or why it cannot be told."""
    target = f"a half-width of {100 * needed.target:.3g}% on every ratio"
    if needed.blocks is None:
        return f"{target}: not known ({needed.reason})"
    assert needed.widest is not None
    widest = needed.widest
    why = f"{widest.entry} / {widest.reference} varies by {widest.sd:.2%} in {widest.pairs} blocks of {widest.run}"
    return f"{target} needs about {needed.blocks} blocks ({why}): " + "; ".join(map(_cost_text, costs))


def width_text(seen: Width, target: float) -> str:
    """How well a ratio is known, and how well it is to be."""
    known = "no interval yet" if seen.half_width is None else f"±{math.expm1(seen.half_width):.2%}"
    return f"{seen.entry} / {seen.reference} {known}, wanted ±{target:.2%}"


def section_text(section: Section, look: Look | None) -> str:
    """A section for a terminal; without one, its table without frames, colours or line breaks inside a row."""
    return _plain(_aligned(section)) if look is None else _seen(_framed(section), look)


def sweep_text(sweep: Sweep, look: Look | None) -> str:
    """A sweep for a terminal, or plain."""
    return _plain(_sweep(sweep, None)) if look is None else _seen(_sweep(sweep, box.SIMPLE_HEAD), look)


def _seen(shown: RenderableType, look: Look) -> str:
    file = io.StringIO()
    Console(file=file, width=look.width, color_system=look.colours, no_color=look.no_colour, force_terminal=True).print(
        shown
    )
    return file.getvalue()


def _plain(shown: Group) -> str:
    """Without frames, colours or line breaks inside a row: a log has no width, and grep finds a case whole.

    Written out, as rich takes a millisecond for each cell.
    """
    lines: list[str] = []
    for one in shown.renderables:
        if isinstance(one, Table):
            lines += _columns([[_words(cell) for cell in (column.header, *column.cells)] for column in one.columns])
        elif isinstance(one, Group):
            lines.append(_plain(one).removesuffix("\n"))
        else:
            lines.append(_words(one))
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _words(cell: RenderableType) -> str:
    return cell.plain if isinstance(cell, Text) else render(str(cell)).plain


def _columns(columns: Sequence[Sequence[str]]) -> list[str]:
    """Lines of cells under each other, two spaces between the columns."""
    widths = [max(map(cell_len, column)) for column in columns]
    return [
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        for row in zip(*columns, strict=True)
    ]


def _sweep(sweep: Sweep, frame: box.Box | None) -> Group:
    parts = [part for detail in sweeps.details(sweep) for part in _detail(detail, frame)]
    return Group(_text(sweeps.title(sweep), "bold"), *parts, *_failed(sweep.failures), Text(""))


def _detail(detail: Detail, frame: box.Box | None) -> list[RenderableType]:
    found: list[RenderableType] = [_text(detail.title, "bold")]
    if detail.heads:
        table = Table(box=frame, pad_edge=False)
        for number, head in enumerate(detail.heads):
            table.add_column(rich_escape(head), justify="right" if number and frame else "left", overflow="fold")
        for cells in detail.rows:
            table.add_row(*map(_text, cells))
        found.append(table)
    return [*found, *(_text(remark, "dim") for remark in detail.remarks)]


def _aligned(section: Section) -> Group:
    """A section for a log: a line a case."""
    table = Table(*map(rich_escape, HEADS), box=None, pad_edge=False)
    for cells in texts(section):
        table.add_row(*map(_text, cells))
    return Group(*_title(section), table, *_best(section), *_failures(section), Text(""))


def _framed(section: Section) -> RenderableType:
    """A section for people: a group of rows for each mode and device, two lines a case. Text obeys no markup."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("Entry", no_wrap=True, min_width=19)
    for head in ("Samples/s\nrange", f"× {REFERENCE}\n95% interval", "1st step\npeak", "Accuracy\nsd"):
        table.add_column(head, justify="right", overflow="fold")
    group = None
    for row in section.rows:
        named = row.case.mode if row.case.device == "cpu" else f"{row.case.mode}, {row.case.device}"
        if named != group:
            table.add_row(_text(named, "bold"))
            group = named
        table.add_row(*_cells(row))
    below: list[RenderableType] = _best(section)
    if section.cuda_reason is not None:
        below.append(_text(f"cuda: {section.cuda_reason}", "dim"))
    for row in section.rows:
        below += _remarks(row)
    return Group(*_title(section), table, *below, *_failures(section), Text(""))


def _best(section: Section) -> list[RenderableType]:
    """A line a framework: its fastest entry, beside the first framework's."""
    lines: list[RenderableType] = []
    for one in best_of(section):
        framework, entry, device, speed, against, ratio, verdict = against_texts(one)
        compared = f"{ratio} × {against}: {verdict}" if one.comparison is not None else "reference"
        lines.append(_text(f"best of {framework} ({device}): {entry}, {speed} samples/s; {compared}"))
    return [_text("Best against best", "bold"), *lines] if lines else []


def _cells(row: Row) -> list[Text]:
    seen, comparison = row.summary, row.comparison
    rates, first, peak = seen.samples_per_second, seen.time_to_first_step_seconds, seen.peak_training_bytes
    speed, ratio, accuracy = Text(units.NOT_MEASURED), _text(row.no_comparison), Text(units.NOT_MEASURED)
    if rates is not None:
        speed = Text(units.rate(rates.median))
        if rates.n > 1:
            speed += Text(f"\n{units.rate(rates.least)}..{units.rate(rates.greatest)}")
    if comparison is not None:
        point, _, interval = units.ratio(comparison).partition(" ")
        ratio = Text(f"{point} ") + Text(comparison.verdict, VERDICT_STYLES.get(comparison.verdict, ""))
        ratio += Text(f"\n{interval}")
    if seen.final_accuracy_mean is not None:
        mean, plus_minus, sd = units.percent(seen.final_accuracy_mean, seen.final_accuracy_sd).partition(" ±")
        accuracy = Text(f"{mean}\n{plus_minus.strip()}{sd}")
    return [
        Text(" ") + _text(entry_name(row.case)) + Text(f"\n  n = {seen.n}", "dim"),
        speed,
        ratio,
        Text(
            units.seconds(None if first is None else first.median)
            + "\n"
            + units.mebibytes(None if peak is None else peak.median)
        ),
        accuracy,
    ]


def _remarks(row: Row) -> list[Text]:
    """What has no room in the table: the certificate, what an undecided ratio needs, what a figure stands on."""
    seen = row.summary
    remarks = [f"certificate {units.deviation(seen.float64_deviation, seen.loss_deviation)}"]
    if row.comparison is not None and row.comparison.verdict == "undecided":
        remarks.append(units.verdict(row.comparison))
    if row.summary.warm_up_only:
        remarks.append("samples/s of the first epoch, warm-up included, as there is no other")
    return [_text(f"{entry_name(row.case)} ({row.case.device}): {'; '.join(remarks)}", "dim")]


def _title(section: Section) -> list[RenderableType]:
    task, machine = section.task, section.machine
    size = f"batch {task.batch_size}, {units.count(task.epochs, 'epoch')}"
    runs = sorted({f"{row.profile} run {row.run}, {units.count(row.blocks, 'block')}" for row in section.rows})
    where = f"{units.processor(machine)}, {units.workers(section.threads, section.processes)}"
    where += "" if section.precision == "ieee" else f", products in {section.precision}"
    return [
        _text(f"{task.name}: {task.title}, {size}", "bold"),
        _text("; ".join([where, *runs]) if runs else f"{where}; no trial counts"),
    ]


def _failures(section: Section) -> list[RenderableType]:
    spoilt: list[RenderableType] = [_text(f"disturbed: {line}", "yellow") for line in disturbances(section)]
    return spoilt + _failed(section.failures)


def _failed(failures: Iterable[Failure]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for failure in failures:
        case, blocks = failure.case, ", ".join(map(str, failure.blocks))
        what = f"{entry_name(case)} ({case.device}): {failure.status} in block {blocks}: {failure.reason}"
        lines.append(_text(what, "red"))
    return lines


def _text(text: str, style: str = "") -> Text:
    return Text(escape.plain(text), style=style)
