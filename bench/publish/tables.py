"""list[(file, Trial)] -> sections: which run each case shows, its summary, its ratio, and what failed. Pure."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from bench.ceilings import Best, Place, best_ceilings
from bench.contract import Device, Mode, Precision
from bench.publish import escape, units
from bench.record import Case, Machine, Trial
from bench.selection import versions_of
from bench.stats import CaseKey, Comparison, Spread, Summary, case_key, compare, counts, summarise, why_left_out
from bench.task import Task, is_shipped, is_variant

if TYPE_CHECKING:
    import pandas as pd

Record = tuple[Path, Trial]
Order = tuple[str | bool | int, ...]

REFERENCE = "torch-eager"
REFERENCE_TEXT = "1 (reference)"
MODES: tuple[str, ...] = get_args(Mode)
DEVICES: tuple[str, ...] = get_args(Device)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A case with at least one trial that counts. comparison: with the reference in the same run; None: see reason."""

    summary: Summary
    comparison: Comparison | None
    no_comparison: str
    run: str
    profile: str
    blocks: int  # that the run holds of this case, failed trials included
    paths: tuple[Path, ...]
    trials: tuple[Trial, ...]  # of that run, failed ones included
    every: tuple[Trial, ...]  # of all runs
    certificate: Path | None  # the file of the case's certificate

    @property
    def case(self) -> Case:
        """The case of the row."""
        return self.summary.case


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Trials of one case that did not count, for one reason."""

    case: Case
    status: str
    reason: str
    blocks: tuple[int, ...]
    paths: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table: one task on one machine with so many threads at one precision. trials: of the runs that are shown.

    threads: of each of so many processes. best: the machine's ceilings, over all records that the report was made of.
    """

    task: Task
    machine: Machine
    threads: int
    processes: int
    precision: Precision
    rows: tuple[Row, ...]
    cuda_reason: str | None  # why no row is of CUDA; None where one is
    failures: tuple[Failure, ...]
    not_shown: int  # trials of other runs
    trials: tuple[Trial, ...]
    best: Mapping[Place, Best]

    @cached_property
    def like_modes(self) -> "list[Against]":
        """See the function."""
        return _like_modes(self)

    @cached_property
    def best_of(self) -> "list[Against]":
        """See the function."""
        return _best_of(self)


def sections(records: Iterable[Record]) -> list[Section]:
    """All tables of the records, ordered by task, machine, threads and precision.

    A case shows one run, that with the most blocks, the newest among equals (docs/decisions/0004). Raises InputError
    where a run holds a trial twice.
    """
    records = list(records)
    best = best_ceilings(trial for _, trial in records)
    groups: dict[tuple[str, str, int, int, str], list[Record]] = defaultdict(list)
    for record in records:
        case, machine = record[1].case, record[1].machine
        groups[case.fingerprint, machine.fingerprint, case.threads, case.processes, case.precision].append(record)
    return sorted((_section(group, best) for group in groups.values()), key=section_order)


def section_order(section: Section) -> Order:
    """By task, as it ships first, then its variants by size; then by machine."""
    machine, workers = section.machine, (section.threads, section.processes)
    return *task_order(section.task), machine.name, machine.fingerprint, *workers, section.precision


def task_order(task: Task) -> tuple[str, bool, int, int, str]:
    """By name, as it ships first, then its variants by size."""
    return task.name, not is_shipped(task), task.batch_size, task.epochs, task.fingerprint


def task_name(task: Task) -> str:
    """mlp; of a variant of a shipped task also what tells it apart: mlp (batch 32, 10 epochs). Not escaped."""
    variant = f" (batch {task.batch_size}, {units.count(task.epochs, 'epoch')})"
    return task.name + (variant if is_variant(task) else "")


def _section(records: Sequence[Record], best: Mapping[Place, Best]) -> Section:
    cases: dict[CaseKey, list[Record]] = defaultdict(list)
    for record in sorted(
        records, key=lambda r: (r[1].started_utc, r[1].placement.run, r[1].placement.block, str(r[0]))
    ):
        cases[case_key(record[1])].append(record)
    shown = {key: shown_run(group) for key, group in cases.items()}
    trials = tuple(sorted((t for group in shown.values() for _, t in group), key=lambda t: t.started_utc))
    rows = [_row(group, cases) for group in shown.values() if any(counts(trial) for _, trial in group)]
    failures = [failure for group in shown.values() for failure in failures_of(group)]
    newest = trials[-1]
    return Section(
        task=newest.task,
        machine=newest.machine,
        threads=newest.case.threads,
        processes=newest.case.processes,
        precision=newest.case.precision,
        rows=tuple(sorted(rows, key=lambda row: case_order(row.case))),
        cuda_reason=_cuda_reason(rows, trials),
        failures=tuple(sorted(failures, key=lambda f: (*case_order(f.case), f.blocks))),
        not_shown=len(records) - len(trials),
        trials=trials,
        best=best,
    )


def shown_run(records: Sequence[Record]) -> list[Record]:
    """The trials of the run that a case shows: the most blocks, failed ones included, then the newest.

    Failed trials are counted so that a failure never makes an older, luckier run reappear.
    """
    runs: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        runs[record[1].placement.run].append(record)

    def rank(run: str) -> tuple[int, str, str]:
        found = [trial for _, trial in runs[run]]
        return len({trial.placement.block for trial in found}), max(trial.started_utc for trial in found), run

    return runs[max(runs, key=rank)]


def case_order(case: Case) -> tuple[int, int, bool, str, str]:
    """By device and mode, the reference first, then by name."""
    mode = MODES.index(case.mode)
    return DEVICES.index(case.device), mode, case.entry != REFERENCE, case.entry, case.environment


def entry_name(case: Case) -> str:
    """The entry, and its environment where it has a label: torch-eager [torch-2.12.1]."""
    return f"{case.entry} [{case.environment}]" if case.environment else case.entry


def _row(records: Sequence[Record], cases: dict[CaseKey, list[Record]]) -> Row:
    trials = [trial for _, trial in records]
    first = trials[0]
    reference = _reference(first, cases)
    comparison, reason = None, ""
    if reference and case_key(reference[0]) == case_key(first):
        reason = REFERENCE_TEXT
    elif not any(counts(trial) for trial in reference):
        reason = f"none (no {REFERENCE} in the same run)"
    else:
        comparison = compare(reference, trials)
    return Row(
        summary=summarise(trials)[0],
        comparison=comparison,
        no_comparison=reason,
        run=first.placement.run,
        profile=first.placement.profile,
        blocks=len({trial.placement.block for trial in trials}),
        paths=tuple(path for path, trial in records if counts(trial)),
        trials=tuple(trials),
        every=tuple(trial for _, trial in cases[case_key(first)]),
        certificate=next((path.parent / t.certificate.file for path, t in records if t.certificate is not None), None),
    )


def _reference(trial: Trial, cases: dict[CaseKey, list[Record]]) -> list[Trial]:
    """The reference's trials of the very same run as the given one, whichever run the reference's own row shows.

    Of the same environment, where that has a reference; else, and for the reference itself, of the first environment
    that has one: two versions of PyTorch side by side are there to be compared with each other.
    """
    found: dict[str, list[Trial]] = {}
    for group in cases.values():
        case = group[0][1].case
        if case.entry != REFERENCE or case.device != trial.case.device:
            continue
        of_run = [other for _, other in group if other.placement.run == trial.placement.run]
        if of_run:
            found[case.environment] = of_run
    if trial.case.entry != REFERENCE and trial.case.environment in found:
        return found[trial.case.environment]
    return found[min(found)] if found else []


def failures_of(records: Sequence[Record]) -> list[Failure]:
    """The trials of one case that do not count, by reason."""
    found: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for path, trial in records:
        if not counts(trial):
            found[why_left_out(trial)].append((path, trial))
    return [
        Failure(
            case=group[0][1].case,
            status=status,
            reason=reason,
            blocks=tuple(sorted(trial.placement.block for _, trial in group)),
            paths=tuple(path for path, _ in group),
        )
        for (status, reason), group in found.items()
    ]


def _cuda_reason(rows: Iterable[Row], trials: Sequence[Trial]) -> str | None:
    if any(row.case.device == "cuda" for row in rows):
        return None
    machine = trials[-1].machine
    asked = [why_left_out(trial)[1] for trial in trials if trial.case.device == "cuda"]
    if not machine.gpus:
        reason = machine.reasons.get("gpus") or (asked[-1] if asked else "none was found on this machine")
        return f"not measured: no CUDA device ({reason})"
    if asked:
        return f"not measured: no CUDA trial counts ({asked[-1]})"
    return f"not measured: no trial was run with --device cuda on {', '.join(machine.gpus)}"


@dataclass(frozen=True, kw_only=True)
class Against:
    """A row beside the row it is compared with, in a table of its own. comparison: None where it is that row itself.

    run: the one that the comparison is of, where that is not the run of both rows; None where it is.
    """

    group: str  # the mode, or the framework
    row: Row
    reference: Row
    comparison: Comparison | None
    run: str | None


def like_modes(section: Section) -> list[Against]:
    """Each row beside the first one of its mode and device; modes that only one framework has are left out."""
    return section.like_modes


def _like_modes(section: Section) -> list[Against]:
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in section.rows:
        groups[row.case.device, row.case.mode].append(row)
    found = []
    for rows in groups.values():
        if len({row.case.framework for row in rows}) > 1:
            ordered = sorted(rows, key=lambda row: _rank(row.case))
            found += [_against(row.case.mode, row, ordered[0]) for row in ordered]
    return found


def best_of(section: Section) -> list[Against]:
    """The fastest row of each framework on each device, beside the first framework's.

    The fastest is the one with the greatest median of samples/s. Choosing and comparing on the same trials flatters the
    frameworks with many entries, by less than the range of the trials that stands beside it.
    """
    return section.best_of


def _best_of(section: Section) -> list[Against]:
    best: dict[tuple[str, str], Row] = {}
    for row in section.rows:
        key = row.case.device, row.case.framework
        if key not in best or _speed(row) > _speed(best[key]):
            best[key] = row
    found = []
    for device in DEVICES:
        of_device = [row for (on, _), row in best.items() if on == device]
        rows = sorted(of_device, key=lambda row: (_place(row.case), row.case.framework))
        found += [_against(row.case.framework, row, rows[0]) for row in rows] if len(rows) > 1 else []
    return found


def _speed(row: Row) -> float:
    return row.summary.samples_per_second.median if row.summary.samples_per_second else 0.0


def _place(case: Case) -> int:
    """References first: PyTorch, TensorFlow, then the others."""
    order = ("torch", "tensorflow")
    return order.index(case.framework) if case.framework in order else len(order)


def _rank(case: Case) -> tuple[int, bool, bool, str]:
    """By framework; the reference of all tables before PyTorch's other entries, as written before tuned."""
    return _place(case), case.entry != REFERENCE, case.tier != "as-written", case.entry


def _against(group: str, row: Row, reference: Row) -> Against:
    if row is reference:
        return Against(group=group, row=row, reference=reference, comparison=None, run=None)
    found = in_turns(row, reference)
    comparison = compare(found.reference, found.row)
    return Against(group=group, row=row, reference=reference, comparison=comparison, run=found.run)


@dataclass(frozen=True, kw_only=True)
class InTurns:
    """Trials of two rows that are to be compared. run: theirs, where that is not the run that both rows show."""

    reference: Sequence[Trial]
    row: Sequence[Trial]
    run: str | None


def in_turns(row: Row, reference: Row) -> InTurns:
    """Of the run that both rows show; where they show two, of the one they share with the most blocks."""
    both = {trial.placement.run for trial in row.every} & {trial.placement.run for trial in reference.every}
    if row.run == reference.run or not both:
        return InTurns(reference=reference.trials, row=row.trials, run=None)
    of_run = {run: [_of_run(side.every, run) for side in (reference, row)] for run in both}
    run = max(both, key=lambda name: (len(of_run[name][1]), max(t.started_utc for t in of_run[name][1])))
    return InTurns(reference=of_run[run][0], row=of_run[run][1], run=run)


def _of_run(trials: Iterable[Trial], run: str) -> list[Trial]:
    return [trial for trial in trials if trial.placement.run == run]


def of_run_text(run: str | None) -> str:
    """What is said beside a comparison of another run than that of the rows."""
    return "" if run is None else f" (run {run})"


AGAINST_HEADS = ("Entry", "Device", "Samples/s, median (range, n)", "Against", "Ratio [95%]", "Verdict")


def against_texts(one: Against) -> tuple[str, ...]:
    """The cells of a row of such a table, the group first, formatted, not escaped."""
    return (
        one.group,
        entry_text(one.row.case),
        one.row.case.device,
        rate_text(one.row.summary),
        "reference" if one.comparison is None else entry_name(one.reference.case),
        "1" if one.comparison is None else units.ratio(one.comparison) + of_run_text(one.run),
        "" if one.comparison is None else units.verdict(one.comparison),
    )


def entry_text(case: Case) -> str:
    """`entry_name`, and the tier where it is not as-written."""
    return entry_name(case) + ("" if case.tier == "as-written" else f" ({case.tier})")


HEADS = (
    "Mode",
    "Entry",
    "Device",
    "Samples/s, median (range, n)",
    f"Ratio to {REFERENCE} [95%]",
    "Verdict",
    "Time to first step",
    "Peak memory in training",
    "Peak above import",
    "Final accuracy ± sd",
    "Certificate: float64, own dtype",
)


def texts(section: Section) -> list[tuple[str, ...]]:
    """The table's cells in the order of HEADS, formatted, not escaped; the line on CUDA last, where it has no row."""
    lines = [_texts(row) for row in section.rows]
    if section.cuda_reason is not None:
        lines.append(("", "every entry", "cuda", section.cuda_reason, *[""] * (len(HEADS) - 4)))
    return lines


def _texts(row: Row) -> tuple[str, ...]:
    seen, case = row.summary, row.case
    accuracy = units.NOT_MEASURED
    if seen.final_accuracy_mean is not None:
        accuracy = units.percent(seen.final_accuracy_mean, seen.final_accuracy_sd)
    return (
        case.mode,
        entry_text(case),
        case.device,
        rate_text(seen),
        units.ratio(row.comparison) if row.comparison else row.no_comparison,
        units.verdict(row.comparison) if row.comparison else "",
        units.seconds(_median(seen.time_to_first_step_seconds)),
        _bytes(seen.peak_training_bytes, seen.memory_reason),
        _bytes(seen.peak_above_import_bytes, seen.memory_reason),
        accuracy,
        units.deviation(seen.float64_deviation, seen.loss_deviation),
    )


def rate_text(seen: Summary) -> str:
    """Samples/s, and what must be known of them: 34,600 (33,100..35,000, n = 5; 1 disturbed)."""
    text = units.rate_spread(seen.samples_per_second)
    if seen.disturbed and text.endswith(")"):
        text = f"{text[:-1]}; {len(seen.disturbed)} disturbed)"
    return text + (" (warm-up only)" if seen.warm_up_only else "")


def disturbances(section: Section) -> list[str]:
    """A line for each disturbed trial of the table's rows, which all count."""
    return [
        f"{entry_name(row.case)} ({row.case.device}), block {one.block}: {'; '.join(one.reasons)}"
        for row in section.rows
        for one in row.summary.disturbed
    ]


def references(section: Section) -> str:
    """Which environment's reference the ratios stand on, where the table holds several; else nothing."""
    several = sorted({row.case.environment for row in section.rows if row.case.entry == REFERENCE})
    if len(several) < 2:
        return ""
    return f"{REFERENCE} of the entry's own environment, and of {several[0] or 'the runner itself'} for all others"


def _median(spread: Spread | None) -> float | None:
    return None if spread is None else spread.median


def _bytes(spread: Spread | None, reason: str | None) -> str:
    if spread is None and reason:
        return f"{units.NOT_MEASURED} ({reason})"
    return units.mebibytes(_median(spread))


def frame(sections: Iterable[Section]) -> "pd.DataFrame":
    """One row a case, the figures unrounded; units in the names, NaN or None where a figure is not there."""
    return _frame(line for section in sections for line in lines(section))


def _frame(found: Iterable[dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd  # takes a second, which `bench run` does not have to spend

    return pd.DataFrame(list(found))


def lines(section: Section) -> list[dict[str, Any]]:
    """The rows that a section has in `frame`."""
    return [_figures(section, row) for row in section.rows]


def _figures(section: Section, row: Row) -> dict[str, Any]:
    seen, case, ratio = row.summary, row.case, row.comparison
    rates, low, high = seen.samples_per_second, None, None
    if ratio is not None and ratio.interval is not None:
        low, high = ratio.interval
    return {
        "task": section.task.name,
        "fingerprint": case.fingerprint,
        "machine": section.machine.name,
        "machine_fingerprint": section.machine.fingerprint,
        "threads": case.threads,
        "processes": case.processes,
        "precision": case.precision,
        "environment": case.environment,
        "device": case.device,
        "mode": case.mode,
        "tier": case.tier,
        "entry": case.entry,
        "run": row.run,
        "profile": row.profile,
        "date": row.trials[-1].started_utc[:10],
        "versions": "; ".join(f"{name} {of}" for name, of in versions_of(row.trials[-1], same_entry=False).items()),
        "trials": seen.n,
        "samples_per_second_median": rates.median if rates else None,
        "samples_per_second_least": rates.least if rates else None,
        "samples_per_second_greatest": rates.greatest if rates else None,
        "warm_up_only": seen.warm_up_only,
        "disturbed": len(seen.disturbed),
        "ratio_to_reference": ratio.ratio if ratio else None,
        "ratio_low": low,
        "ratio_high": high,
        "pairs": ratio.pairs if ratio else None,
        "verdict": ratio.verdict if ratio else None,
        "time_to_first_step_seconds_median": _median(seen.time_to_first_step_seconds),
        "peak_training_bytes_median": _median(seen.peak_training_bytes),
        "peak_above_import_bytes_median": _median(seen.peak_above_import_bytes),
        "final_accuracy_mean": seen.final_accuracy_mean,
        "final_accuracy_sd": seen.final_accuracy_sd,
        "float64_deviation": seen.float64_deviation,
        "loss_deviation": seen.loss_deviation,
    }


def _against_figures(one: Against) -> dict[str, Any]:
    ratio = one.comparison
    low, high = ratio.interval if ratio is not None and ratio.interval is not None else (None, None)
    return {
        "group": one.group,
        "entry": one.row.case.entry,
        "device": one.row.case.device,
        "environment": one.row.case.environment,
        "reference": one.reference.case.entry,
        "reference_environment": one.reference.case.environment,
        "ratio": ratio.ratio if ratio else 1.0,
        "ratio_low": low,
        "ratio_high": high,
        "pairs": ratio.pairs if ratio else None,
        "verdict": ratio.verdict if ratio else None,
        "other_run": one.run,
    }


def to_csv(sections: Iterable[Section]) -> str:
    """`frame` as CSV; texts are made plain, and no cell can be read as a spreadsheet's formula."""
    return csv_of(line for section in sections for line in lines(section))


def csv_of(found: Iterable[dict[str, Any]]) -> str:
    """`lines` of sections as CSV."""
    return _frame(found).map(_csv_cell).to_csv(index=False, lineterminator="\n")


def _csv_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = escape.plain(value)
    return "'" + text if text[:1] in ("=", "+", "-", "@") else text


def to_json(records: Iterable[Record]) -> str:
    """Sections and sweeps as JSON, figures unrounded, null where a figure is not there."""
    from bench.publish import details, sweeps  # they stand on this module

    records = list(records)
    made = sections(records)
    document = {
        "sections": [_section_figures(section) | details.figures(section) for section in made],
        "sweeps": [sweeps.figures(sweep) for sweep in sweeps.find(records)],
    }
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _section_figures(section: Section) -> dict[str, Any]:
    return {
        "task": section.task.model_dump(mode="json"),
        "machine": section.machine.model_dump(mode="json"),
        "threads": section.threads,
        "processes": section.processes,
        "precision": section.precision,
        "cuda": section.cuda_reason,
        "rows": [_figures(section, row) for row in section.rows],
        "like_modes": [_against_figures(one) for one in like_modes(section)],
        "best_of": [_against_figures(one) for one in best_of(section)],
        "failures": [
            {
                "entry": f.case.entry,
                "environment": f.case.environment,
                "device": f.case.device,
                "status": f.status,
                "reason": f.reason,
                "blocks": f.blocks,
            }
            for f in section.failures
        ],
        "trials_not_shown": section.not_shown,
    }
