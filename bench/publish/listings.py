"""Records -> the page's tables: cases, comparisons, studies, failures, disturbances. Pure.

Cells hold a formatted text, what they are sorted by, and links to the records themselves.
"""

import hashlib
import os.path
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.publish import claims, escape, units
from bench.publish.plots import NAMES
from bench.publish.tables import (
    REFERENCE,
    REFERENCE_TEXT,
    Against,
    Record,
    Row,
    Section,
    best_of,
    entry_name,
    entry_text,
    failures_of,
    like_modes,
    of_run_text,
    rate_text,
)
from bench.record import Case, Certificate, Trial
from bench.stats import Spread, counts
from bench.studying import Studied, StudyRecord

Certified = tuple[Path, Certificate]
StudyKey = tuple[str, str, str, Case, str]  # study, run, machine's fingerprint, subject, machine's name

MOST_LINKED = 10_000  # records that are linked to one by one: such a link is 130 bytes, and a page a few MB at most
_BLOCK = re.compile(r"(?:block|duet)-(\d+)_")
_FOLDED = {"Machine", "Device", "Precision", "Environment"}  # columns that are left out where all rows have one value


@dataclass(frozen=True, kw_only=True)
class Link:
    """A relative address and what it is called."""

    text: str
    href: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """order: what it is sorted by in a column of numbers. key: what it is filtered by, where not by its text."""

    text: str
    order: float | None = None
    key: str | None = None
    links: tuple[Link, ...] = ()
    framework: str = ""  # whose colour stands before the text


@dataclass(frozen=True, kw_only=True)
class Head:
    """Of a column. number: sorted by `order`. filtered: there is a choice among its values."""

    text: str
    number: bool = False
    filtered: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row, with the fingerprint of its machine. name: what links to it go to."""

    cells: tuple[Cell, ...]
    machine: str
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """What the page can sort and filter. none: what is said where it has no row."""

    name: str
    title: str
    note: str
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    none: str


# By text and not by path: each record is asked for in every verdict that it enters, and a folder's path takes six times
# as long to be made and hashed as its text.


def folder(path: Path, results: Path) -> str:
    """A folder as it is called from the results folder."""
    return _relative(str(path), str(results))


@cache
def _relative(place: str, results: str) -> str:
    return Path(os.path.relpath(place, results)).as_posix()


@cache
def _address(place: str, results: str) -> str:
    return escape.url(_relative(place, results))


def href(path: Path, results: Path) -> str:
    """The address of a file from the page, which lies in the results folder."""
    place, name = os.path.split(str(path))
    return f"{_address(place, str(results))}/{escape.url(name)}"


def record_links(paths: Iterable[Path], results: Path) -> tuple[Link, ...]:
    """A link to each record, called by its block."""
    found = []
    for path in paths:
        block = _BLOCK.search(path.name)
        found.append(Link(text=str(int(block[1])) if block else path.stem, href=href(path, results)))
    return tuple(found)


def listed(paths: Iterable[Path], results: Path) -> tuple[Link, ...]:
    """A link to where the page lists these records: one click more, and a small part of the bytes."""
    of = Counter(_run_and_series(path, results) for path in paths)
    return tuple(Link(text=units.count(n, "record"), href=f"#{_anchor(*key)}") for key, n in sorted(of.items()))


def anchor(path: Path, results: Path) -> str:
    """The name of the place in the page where a record stands among those of its case and run."""
    return _anchor(*_run_and_series(path, results))


def _run_and_series(path: Path, results: Path) -> tuple[str, str]:
    place, name = os.path.split(str(path))
    return _relative(place, str(results)), _series(name)


@cache
def _anchor(run: str, series: str) -> str:
    """Short, for thousands of links lead to one: in words these were 0.2 of 4.7 MB."""
    return f"r{hashlib.sha256(f'{run}/{series}'.encode()).hexdigest()[:12]}"


def anchor_of(*parts: str) -> str:
    """The name of a place in the page."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts))


def series_of(path: Path) -> str:
    """What the records of one case have in common in a run: the file's name without its block."""
    return _series(path.name)


@cache
def _series(file: str) -> str:
    return _BLOCK.sub("", Path(file).stem + "_", count=1).strip("_").replace("_", " ")


def _made(name: str, title: str, note: str, heads: Sequence[Head], lines: Sequence[Line], none: str) -> Table:
    """The table without columns in which all rows say the same of their machine, device and the like."""
    kept = [
        n for n, head in enumerate(heads) if head.text not in _FOLDED or len({line.cells[n].text for line in lines}) > 1
    ]
    return Table(
        name=name,
        title=title,
        note=note,
        heads=tuple(heads[n] for n in kept),
        lines=tuple(Line(cells=tuple(line.cells[n] for n in kept), machine=line.machine) for line in lines),
        none=none,
    )


# --- cases --------------------------------------------------------------------------------------------------------

_CASE_HEADS = (
    Head(text="Entry", filtered=True),
    Head(text="Framework", filtered=True),
    Head(text="Task", filtered=True),
    Head(text="Batch", number=True, filtered=True),
    Head(text="Epochs", number=True),
    Head(text="Threads", number=True, filtered=True),
    Head(text="Device", filtered=True),
    Head(text="Precision", filtered=True),
    Head(text="Machine", filtered=True),
    Head(text="Mode", filtered=True),
    Head(text="Tier", filtered=True),
)


def _threads(case: Case) -> Cell:
    """1; 2 × 1 of two processes with one thread each."""
    processes = "" if case.processes == 1 else f"{case.processes} × "
    return Cell(text=f"{processes}{case.threads}", order=case.processes * case.threads)


def _case_cells(case: Case, epochs: int, machine: str) -> tuple[Cell, ...]:
    return (
        Cell(text=entry_name(case)),
        Cell(text=NAMES.get(case.framework, case.framework), framework=case.framework),
        Cell(text=case.task),
        Cell(text=str(case.batch_size), order=case.batch_size),
        Cell(text=str(epochs), order=epochs),
        _threads(case),
        Cell(text=case.device),
        Cell(text=case.precision),
        Cell(text=machine),
        Cell(text=case.mode),
        Cell(text=case.tier),
    )


def case_lines(section: Section, results: Path, *, one_by_one: bool = True) -> list[Line]:
    """A row for each case of a section, with links to its records, or to where the page lists them."""
    links = record_links if one_by_one else listed
    return [
        Line(
            cells=(
                *_case_cells(row.case, section.task.epochs, section.machine.name),
                *_figure_cells(row, results, links(row.paths, results)),
            ),
            machine=section.machine.fingerprint,
        )
        for row in section.rows
    ]


def cases(lines: Sequence[Line]) -> Table:
    """Every case: the rows of all sections."""
    heads = (
        *_CASE_HEADS,
        Head(text="Samples/s (range, n)", number=True),
        Head(text=f"To {REFERENCE} [95%]", number=True),
        Head(text="Verdict", filtered=True),
        Head(text="To first step", number=True),
        Head(text="Peak memory", number=True),
        Head(text="Above import", number=True),
        Head(text="Accuracy ± sd", number=True),
        Head(text="Certificate"),
        Head(text="Records by block"),
    )
    return _made(
        "cases",
        "Every case",
        "A case is a task, an entry, a number of threads (2 × 1: two processes of one each). Samples/s are medians "
        f"over trials. Ratios are to {REFERENCE} in the same blocks of the same run. To first step: import + build + "
        "first step. Memory is resident, the peak in training and that less what the import took; of several processes "
        "it is the first one's. The certificate proves that it was the same work: the largest deviations from the "
        "float64 oracle, in float64 and in the precision of the run.",
        heads,
        lines,
        "No trial counts yet.",
    )


def _figure_cells(row: Row, results: Path, links: tuple[Link, ...]) -> tuple[Cell, ...]:
    seen, ratio = row.summary, row.comparison
    accuracy = units.NOT_MEASURED
    if seen.final_accuracy_mean is not None:
        accuracy = units.percent(seen.final_accuracy_mean, seen.final_accuracy_sd)
    certificate = () if row.certificate is None else (Link(text="certificate", href=href(row.certificate, results)),)
    return (
        Cell(text=rate_text(seen), order=_median(seen.samples_per_second)),
        Cell(
            text=units.ratio(ratio) if ratio else row.no_comparison,
            order=ratio.ratio if ratio else 1.0 if row.no_comparison == REFERENCE_TEXT else None,
        ),
        Cell(text=units.verdict(ratio) if ratio else "", key=ratio.verdict if ratio else ""),
        Cell(
            text=units.seconds(_median(seen.time_to_first_step_seconds)),
            order=_median(seen.time_to_first_step_seconds),
        ),
        _bytes_cell(seen.peak_training_bytes, seen.memory_reason),
        _bytes_cell(seen.peak_above_import_bytes, seen.memory_reason),
        Cell(text=accuracy, order=seen.final_accuracy_mean),
        Cell(text=units.deviation(seen.float64_deviation, seen.loss_deviation), links=certificate),
        Cell(text="", links=links),
    )


def _median(of: Spread | None) -> float | None:
    return None if of is None else of.median


def _bytes_cell(of: Spread | None, reason: str | None) -> Cell:
    text = units.mebibytes(_median(of)) + (f" ({reason})" if of is None and reason else "")
    return Cell(text=text, order=_median(of))


def like_lines(section: Section, results: Path) -> list[Line]:
    """Like mode against like mode, of a section."""
    return [_against_line(section, one, results) for one in like_modes(section)]


def best_lines(section: Section, results: Path) -> list[Line]:
    """Best against best, of a section."""
    return [_against_line(section, one, results) for one in best_of(section)]


def compared(like: Sequence[Line], best: Sequence[Line]) -> list[Table]:
    """Like mode against like mode, and best against best: the rows of all sections."""
    return [
        _against(
            "like-modes",
            "Like mode against like mode",
            "Entries that run in the same way, against the first framework's entry of that mode. In whole-loop the "
            "framework itself loops over the batches.",
            like,
        ),
        _against(
            "best-of",
            "Best against best",
            "The fastest entry of each framework. To choose it on the trials it is compared on flatters frameworks "
            "with many entries, by less than the trials' range.",
            best,
        ),
    ]


def _against(name: str, title: str, note: str, lines: Sequence[Line]) -> Table:
    heads = (
        *_CASE_HEADS,
        Head(text="Samples/s (range, n)", number=True),
        Head(text="Against", filtered=True),
        Head(text="Ratio [95%]", number=True),
        Head(text="Verdict", filtered=True),
        Head(text="Records"),
    )
    return _made(name, title, note, heads, lines, "No two frameworks were measured beside each other.")


def _against_line(section: Section, one: Against, results: Path) -> Line:
    ratio = one.comparison
    cells = (
        *_case_cells(one.row.case, section.task.epochs, section.machine.name),
        Cell(text=rate_text(one.row.summary), order=_median(one.row.summary.samples_per_second)),
        Cell(text="reference" if ratio is None else entry_text(one.reference.case)),
        Cell(
            text=REFERENCE_TEXT if ratio is None else units.ratio(ratio) + of_run_text(one.run),
            order=1.0 if ratio is None else ratio.ratio,
        ),
        Cell(text="" if ratio is None else units.verdict(ratio), key="" if ratio is None else ratio.verdict),
        Cell(text="", links=listed(one.row.paths, results)),
    )
    return Line(cells=cells, machine=section.machine.fingerprint)


# --- studies ------------------------------------------------------------------------------------------------------


def study_lines(found: Iterable[Studied], results: Path) -> list[tuple[str, list[Line]]]:
    """Rows of readings for each study, subject and run, with what these are sorted by."""
    groups: dict[StudyKey, list[Studied]] = defaultdict(list)
    for path, record in found:
        if record.status == "ok":
            key = record.study, record.run, record.machine.fingerprint, record.case, record.machine.name
            groups[key].append((path, record))
    return [(str(key), _study_lines(key, group, results)) for key, group in groups.items()]


def _study_lines(key: StudyKey, group: Sequence[Studied], results: Path) -> list[Line]:
    lines = []
    study, run, machine, case, machine_name = key
    links = listed([path for path, _ in group], results)
    names = dict.fromkeys(reading.name for _, record in group for reading in record.readings)
    for name in names:
        readings = [r for _, record in group for r in record.readings if r.name == name]
        values = [r.value for r in readings if r.value is not None]
        median = statistics.median(values) if values else None
        text = claims.quantity_text(median, readings[0].unit)
        if len(values) == 1:
            text += " (n = 1)"
        elif values:
            low, high = (claims.quantity_text(end, readings[0].unit) for end in (min(values), max(values)))
            text += f" ({low}..{high}, n = {len(values)})"
        reason = next((r.reason for r in readings if r.value is None and r.reason), None)
        lines.append(
            Line(
                cells=(
                    Cell(text=study),
                    Cell(text=case.entry, framework=case.framework),
                    Cell(text=case.task),
                    _threads(case),
                    Cell(text=machine_name),
                    Cell(text=name),
                    Cell(text=text + (f" ({reason})" if median is None and reason else ""), order=median),
                    Cell(text=run),
                    Cell(text="", links=links),
                ),
                machine=machine,
            )
        )
    return lines


def studies(found: Iterable[tuple[str, list[Line]]]) -> Table:
    """Every reading of every study: the rows of all machines."""
    return _made(
        "studies",
        "Studies",
        "What claims need beside training trials; each subject and block in a process of its own. Medians with range.",
        (
            Head(text="Study", filtered=True),
            Head(text="Subject", filtered=True),
            Head(text="Task", filtered=True),
            Head(text="Threads", number=True),
            Head(text="Machine", filtered=True),
            Head(text="Reading", filtered=True),
            Head(text="Median (range, n)", number=True),
            Head(text="Run", filtered=True),
            Head(text="Records"),
        ),
        [line for _, lines in sorted(found, key=lambda one: one[0]) for line in lines],
        "No study has been run yet (`bench study`).",
    )


# --- what went wrong ----------------------------------------------------------------------------------------------


def failure_lines(
    trials: Iterable[Record], found: Iterable[Studied], certificates: Iterable[Certified], results: Path
) -> list[Line]:
    """Whatever was refused or failed, of every run: trials, certificates, studies."""
    groups: dict[tuple[str, Case], list[Record]] = defaultdict(list)
    machine_of: dict[tuple[str, Case], tuple[str, str]] = {}
    for path, trial in trials:
        if not counts(trial):
            groups[trial.placement.run, trial.case].append((path, trial))
            machine_of[trial.placement.run, trial.case] = trial.machine.fingerprint, trial.machine.name
    lines = []
    for key, group in groups.items():
        for one in failures_of(group):
            lines.append(
                _failure("trial", one.case, machine_of[key], one.status, one.reason, record_links(one.paths, results))
            )
    for path, certificate in certificates:
        if certificate.status != "ok":
            machine = certificate.machine.fingerprint, certificate.machine.name
            proof = (Link(text="certificate", href=href(path, results)),)
            lines.append(
                _failure("certificate", certificate.case, machine, certificate.status, certificate.reason, proof)
            )
    of_study: dict[tuple[str, Case, str, str, str], list[Studied]] = defaultdict(list)
    for path, record in found:
        if record.status != "ok":
            of_study[record.study, record.case, record.run, record.status, record.reason or ""].append((path, record))
    for (study, case, _, status, reason), records in of_study.items():
        machine = records[0][1].machine.fingerprint, records[0][1].machine.name
        links = record_links((path for path, _ in records), results)
        lines.append(_failure(f"study {study}", case, machine, status, reason, links))
    return lines


def failures(lines: Iterable[Line]) -> Table:
    """The failures of all machines."""
    heads = (
        Head(text="What", filtered=True),
        *_BRIEF_HEADS,
        Head(text="Device", filtered=True),
        Head(text="Machine", filtered=True),
        Head(text="Status", filtered=True),
        Head(text="Reason"),
        Head(text="Records by block"),
    )
    return _made(
        "failures",
        "Failures and refusals",
        "They enter no figure, and none is left out of this list.",
        heads,
        sorted(lines, key=lambda line: [cell.text for cell in line.cells]),
        "Nothing failed and nothing was refused.",
    )


def _brief_cells(case: Case) -> tuple[Cell, ...]:
    """Entry, task, batch and threads, where the rest of a case is of no matter."""
    return (
        Cell(text=entry_name(case), framework=case.framework),
        Cell(text=case.task),
        Cell(text=str(case.batch_size), order=case.batch_size),
        _threads(case),
    )


_BRIEF_HEADS = (
    Head(text="Entry", filtered=True),
    Head(text="Task", filtered=True),
    Head(text="Batch", number=True),
    Head(text="Threads", number=True),
)


def _failure(
    what: str, case: Case, machine: tuple[str, str], status: str, reason: str | None, links: tuple[Link, ...]
) -> Line:
    return Line(
        cells=(
            Cell(text=what),
            *_brief_cells(case),
            Cell(text=case.device),
            Cell(text=machine[1]),
            Cell(text=status),
            Cell(text=escape.plain(reason or "no reason was recorded")),
            Cell(text="", links=links),
        ),
        machine=machine[0],
    )


def disturbed_lines(trials: Iterable[Record], results: Path) -> list[tuple[str, Line]]:
    """Trials that count though something disturbed them, with the path that they are sorted by."""
    return [
        (
            str(path),
            Line(
                cells=(
                    *_brief_cells(trial.case),
                    Cell(text=trial.machine.name),
                    Cell(text=trial.placement.run),
                    Cell(text="; ".join(trial.disturbances)),
                    Cell(text="", links=record_links([path], results)),
                ),
                machine=trial.machine.fingerprint,
            ),
        )
        for path, trial in trials
        if counts(trial) and trial.disturbances
    ]


def disturbed(found: Iterable[tuple[str, Line]]) -> Table:
    """The disturbed trials of all machines."""
    heads = (
        *_BRIEF_HEADS,
        Head(text="Machine", filtered=True),
        Head(text="Run", filtered=True),
        Head(text="What disturbed it"),
        Head(text="Record by block"),
    )
    return _made(
        "disturbed",
        "Disturbed trials",
        "They count all the same: to drop them would be to choose.",
        heads,
        [line for _, line in sorted(found, key=lambda one: one[0])],
        "No trial was disturbed.",
    )


Runs = dict[str, dict[str, tuple[str, tuple[Link, ...]]]]


def by_run(trials: Iterable[Record], found: Iterable[Studied], results: Path, *, one_by_one: bool = True) -> Runs:
    """Every record: run -> its cases -> the name of its place, and a link to each record, or to their folder."""

    def links(paths: Sequence[Path]) -> tuple[Link, ...]:
        if one_by_one:
            return record_links(paths, results)
        return (Link(text=units.count(len(paths), "record"), href=f"{_address(str(paths[0].parent), str(results))}/"),)

    runs: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    everything: list[tuple[Path, Trial | StudyRecord]] = [*trials, *found]
    for path, _ in sorted(everything, key=lambda one: str(one[0])):
        place, name = os.path.split(str(path))
        runs[_relative(place, str(results))][_series(name)].append(path)
    return {
        run: {series: (anchor(paths[0], results), links(paths)) for series, paths in of.items()}
        for run, of in runs.items()
    }


def all_runs(parts: Iterable[Runs]) -> dict[str, list[tuple[str, str, tuple[Link, ...]]]]:
    """The runs of all machines: run -> its cases, each with the name of its place, what it is, and its links."""
    runs: dict[str, dict[str, tuple[str, tuple[Link, ...]]]] = defaultdict(dict)
    for part in parts:
        for run, of in part.items():
            for series, (place, links) in of.items():
                known = runs[run].get(series)
                if known is not None:  # records of two machines in one folder
                    links = tuple(sorted((*known[1], *links), key=lambda link: link.href))
                runs[run][series] = place, links
    return {
        run: [(place, series, links) for series, (place, links) in sorted(of.items())]
        for run, of in sorted(runs.items())
    }
