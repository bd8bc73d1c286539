"""list[(file, Trial)] -> sweeps over batch size, width, threads, processes: trials, lines, crossovers, parts. Pure.

A sweep is what one run measured at several sizes of one task. Its sizes would be as many long tables; they stand in one
short table instead (`folded`), but for the size that the task ships with.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any, Literal, get_args

from bench import attribution, scaling
from bench.attribution import LEAST_SIZES, TOLERANCE, Attribution, Crossover, Efficiency, Fit, Missing
from bench.contract import Device, Precision
from bench.flops import flops_per_sample
from bench.publish import units
from bench.publish.details import Detail, plain
from bench.publish.tables import REFERENCE, Failure, Record, Section, case_order, entry_name, entry_text, failures_of
from bench.record import Case, Machine, Trial
from bench.stats import Estimate, counts, spread
from bench.task import Task, load_task, shipped_tasks, unwidened

Kind = Literal["batch-size", "width", "threads", "strong-scaling", "weak-scaling"]
WORKERS: tuple[Kind, ...] = ("threads", "strong-scaling", "weak-scaling")  # over numbers of these: no line is fitted
LEAST_WORKERS = 2
MOST_THREAD_TABLES = 2  # more numbers of threads or processes than these are folded

Key = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Swept:
    """One entry of a sweep. trials: that count, in order of their records' paths. fit: None over threads, processes."""

    case: Case
    trials: tuple[Trial, ...]
    fit: Fit | Missing | None
    efficiencies: tuple[Efficiency, ...]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One run's sweep. points: batch sizes, widths, numbers of threads or processes, of trials that count.

    threads: of each process; None for all. processes: of all points, 1 where they are the points. Strong scaling: over
    processes that share one batch; weak scaling: over processes with as many rows of a batch each. task: of the first
    point. base: its name, without the width. entries: the reference first.
    """

    kind: Kind
    base: str
    task: Task
    machine: Machine
    device: Device
    precision: Precision
    threads: int | None
    processes: int
    run: str
    profile: str
    blocks: int
    points: tuple[int, ...]
    entries: tuple[Swept, ...]
    failures: tuple[Failure, ...]
    records: tuple[Record, ...]

    @cached_property
    def held(self) -> frozenset[tuple[str, Case]]:
        """Run and case of its records; of both it holds every block."""
        return frozenset(_run_of_case(trial) for _, trial in self.records)


def find(records: Iterable[Record]) -> list[Sweep]:
    """Every sweep that is shown.

    Of several runs of one sweep: the one with the most blocks, the newest among equals (docs/decisions/0004), and each
    further one that has an entry which those before it have not.
    """
    return [sweep for _, sweep in keyed(records)]


def keyed(records: Iterable[Record]) -> list[tuple[Key, Sweep]]:
    """The sweeps with what they are sorted by. The machine's fingerprint is in it, so each is of one machine."""
    groups: dict[Key, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    known: dict[tuple[Case, str], list[Key]] = {}
    for record in sorted(records, key=lambda r: str(r[0])):
        of = record[1].case, record[1].machine.fingerprint  # the case holds the task's fingerprint, so all its facts
        if of not in known:
            known[of] = _keys(record[1])
        for key in known[of]:
            groups[key][record[1].placement.run].append(record)
    return [(key, sweep) for key in sorted(groups) for sweep in _shown(key, groups[key])]


def _keys(trial: Trial) -> list[Key]:
    """A key for each kind of sweep that the trial can belong to; equal for all its points."""
    case, task = trial.case, trial.task
    where = trial.machine.fingerprint, case.device, case.precision
    threads, processes = f"{case.threads:04}", f"{case.processes:04}"
    facts = task.model_dump(mode="json", exclude={"name", "title"})
    found = [
        (case.task, "batch-size", *where, threads, _but(facts, "batch_size"), processes),
        (case.task, "strong-scaling", *where, threads, case.fingerprint),
        (case.task, "threads", *where, case.fingerprint, processes),
    ]
    if case.batch_size % case.processes == 0:
        share = f"{case.batch_size // case.processes:06}"
        found.append((case.task, "weak-scaling", *where, threads, _but(facts, "batch_size"), share))
    base, width = unwidened(case.task)
    if width is not None:
        same = f"{len(task.layers)} {_but(facts, 'layers')}"
        found.append((base, "width", *where, threads, same, processes))
    return found


def _but(facts: dict[str, Any], name: str) -> str:
    return json.dumps({key: value for key, value in facts.items() if key != name}, sort_keys=True)


def point_of(trial: Trial, kind: Kind) -> int:
    """The batch size, width, number of threads or of processes of a trial."""
    if kind == "width":
        _, width = unwidened(trial.case.task)
        assert width is not None
        return width
    if kind in ("strong-scaling", "weak-scaling"):
        return trial.case.processes
    return trial.case.threads if kind == "threads" else trial.case.batch_size


def _shown(key: Key, runs: dict[str, list[Record]]) -> list[Sweep]:
    [kind] = [kind for kind in get_args(Kind) if kind == key[1]]
    least = LEAST_WORKERS if kind in WORKERS else LEAST_SIZES
    swept = {}
    for run, of_run in runs.items():
        records = _tried_at_several(of_run, kind) if kind in ("strong-scaling", "weak-scaling") else of_run
        points = {point_of(trial, kind) for _, trial in records if counts(trial)}
        if len(points) >= least:
            swept[run] = records

    def rank(run: str) -> tuple[int, str, str]:
        trials = [trial for _, trial in swept[run]]
        return len({trial.placement.block for trial in trials}), max(trial.started_utc for trial in trials), run

    found: list[Sweep] = []
    seen: set[str] = set()
    for run in sorted(swept, key=rank, reverse=True):
        sweep = _sweep(key[0], kind, swept[run])
        names = {entry_name(one.case) for one in sweep.entries}
        if not names <= seen:
            found.append(sweep)
            seen |= names
    return found


def _tried_at_several(records: Sequence[Record], kind: Kind) -> list[Record]:
    """Of the entries that were run at more than one point: most can do one process alone, and say nothing here."""
    tried: dict[str, set[int]] = defaultdict(set)
    for _, trial in records:
        tried[entry_name(trial.case)].add(point_of(trial, kind))
    return [record for record in records if len(tried[entry_name(record[1].case)]) > 1]


def _sweep(base: str, kind: Kind, records: Sequence[Record]) -> Sweep:
    first = records[0][1]
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[entry_name(record[1].case)].append(record)
    entries = []
    for group in groups.values():
        trials = tuple(trial for _, trial in group if counts(trial))
        if trials:
            entries.append(
                Swept(
                    case=trials[0].case,
                    trials=trials,
                    fit=attribution.fit(trials, kind) if kind == "batch-size" or kind == "width" else None,
                    efficiencies=tuple(attribution.efficiencies(trials, lambda trial: point_of(trial, kind)))
                    if kind in WORKERS
                    else (),
                )
            )
    cases: dict[Case, list[Record]] = defaultdict(list)
    for record in records:
        cases[record[1].case].append(record)
    points = sorted({point_of(trial, kind) for _, trial in records if counts(trial)})
    return Sweep(
        kind=kind,
        base=base,
        task=next(trial.task for _, trial in records if point_of(trial, kind) == points[0]),
        machine=first.machine,
        device=first.case.device,
        precision=first.case.precision,
        threads=None if kind == "threads" else first.case.threads,
        processes=1 if kind in ("strong-scaling", "weak-scaling") else first.case.processes,
        run=first.placement.run,
        profile=first.placement.profile,
        blocks=len({trial.placement.block for _, trial in records}),
        points=tuple(points),
        entries=tuple(sorted(entries, key=lambda one: (one.case.entry != REFERENCE, *case_order(one.case)))),
        failures=tuple(failure for group in cases.values() for failure in failures_of(group)),
        records=tuple(records),
    )


def folded(section: Section, sweeps: Iterable[Sweep]) -> bool:
    """Whether a section shows nothing but points of sweeps, so that its table is left to theirs.

    The size that a shipped task has by itself keeps its table: there stand accuracy, memory and all that a sweep's
    table has no room for.
    """
    if section.task.name in shipped_tasks() and load_task(section.task.name).batch_size == section.task.batch_size:
        many = [s for s in sweeps if s.kind in WORKERS and len(s.points) > MOST_THREAD_TABLES]
        plain = section.threads in (1, section.machine.cores) and section.processes == 1
        return not plain and _within(section, many)
    return _within(section, [s for s in sweeps if s.kind != "threads"])


def _within(section: Section, sweeps: Iterable[Sweep]) -> bool:
    return set(map(_run_of_case, section.trials)) <= set().union(*(sweep.held for sweep in sweeps))


def _run_of_case(trial: Trial) -> tuple[str, Case]:
    return trial.placement.run, trial.case


# --- for people ---------------------------------------------------------------------------------------------------


def title(sweep: Sweep) -> str:
    """mlp over batch size, cpu, 1 thread; mlp over processes, cpu, 1 thread each, batch 64 (strong scaling)"""
    over = {"batch-size": "batch size", "width": "width", "threads": "threads"}.get(sweep.kind, "processes")
    threads = "" if sweep.threads is None else f", {units.workers(sweep.threads, sweep.processes)}"
    precision = "" if sweep.precision == "ieee" else f", {sweep.precision}"
    batch = "" if sweep.kind == "batch-size" else f", batch {sweep.task.batch_size}"
    if over == "processes":
        rows = _share(sweep)
        threads += " each"
        batch = (batch if sweep.kind == "strong-scaling" else f", batch {rows} a process") + f" ({_spoken(sweep.kind)})"
    return f"{sweep.base} over {over}, {sweep.device}{threads}{batch}{precision}"


def _share(sweep: Sweep) -> int:
    """Rows of a batch that each process has at the first point."""
    return sweep.task.batch_size // sweep.points[0]


def _spoken(kind: Kind) -> str:
    return kind.replace("-", " ")


def details(sweep: Sweep) -> list[Detail]:
    """The tables of a sweep."""
    if sweep.kind in WORKERS:
        return [_workers(sweep)]
    found = [_times(sweep), _fits(sweep), _crossovers(sweep), _attributions(sweep)]
    return [detail for detail in found if detail is not None]


def _workers(sweep: Sweep) -> Detail:
    """Entries by numbers of threads or processes."""
    of_threads = sweep.kind == "threads"
    several = () if of_threads else tuple(point for point in sweep.points if point > 1)
    rows = []
    for one in sweep.entries:
        by_number = {seen.workers: seen for seen in one.efficiencies}
        cells = [_efficiency(by_number.get(point)) for point in sweep.points]
        rows.append((entry_text(one.case), *cells, *(_communication(one, point) for point in several)))
    bases = sorted({seen.base for one in sweep.entries for seen in one.efficiencies})
    noun = "threads" if of_threads else "processes"
    note = f"Samples/s, median, and what N {noun} reach of N times the speed of "
    note += f"{' or '.join(_number(base, sweep.kind) for base in bases)}, with its 95% interval over blocks."
    if not of_threads:
        batch = "share one batch" if sweep.kind == "strong-scaling" else f"have {_share(sweep)} rows of a batch each"
        note += f" {_spoken(sweep.kind).capitalize()}: the processes {batch}."
        note += (
            " In communication: what of a step's time goes where the same steps leave out the exchange of gradients,"
            " mean and 95% interval over blocks."
        )
    return Detail(
        title="Parallel efficiency",
        note=note,
        heads=(
            "Entry",
            *(_number(point, sweep.kind) for point in sweep.points),
            *(f"In communication, {_number(point, sweep.kind)}" for point in several),
        ),
        rows=tuple(rows),
        remarks=tuple(
            f"{units.workers(threads, processes)} had {units.count(cores, 'core')} between them and took turns: what "
            "they reach says nothing about cores of their own"
            for processes, threads, cores in scaling.sharing(trial for _, trial in sweep.records)
        ),
    )


def _number(workers: int, kind: Kind) -> str:
    if kind == "threads":
        return units.count(workers, "thread")
    return "1 process" if workers == 1 else f"{workers:,} processes"


def _communication(one: Swept, processes: int) -> str:
    """42 % [40, 44] of a step's time"""
    seen = communication(one, processes)
    if seen.mean is None:
        return units.NOT_MEASURED
    if seen.interval is None:
        return f"{units.share(seen.mean)} ({seen.reason})"
    low, high = seen.interval
    return f"{units.share(seen.mean)} [{100 * low:.0f}, {100 * high:.0f}]"


def communication(one: Swept, processes: int) -> Estimate:
    """The share of a step's time in communication, of an entry at a number of processes."""
    return scaling.communication(trial for trial in one.trials if trial.case.processes == processes)


def _efficiency(seen: Efficiency | None) -> str:
    if seen is None:
        return units.NOT_MEASURED
    rate = units.rate(seen.rate.median)
    if seen.workers == seen.base:
        return rate
    if seen.value is None or seen.interval is None:
        return f"{rate}; {units.share(seen.value)} ({seen.reason})"
    low, high = seen.interval
    return f"{rate}; {units.share(seen.value)} [{100 * low:.0f}, {100 * high:.0f}]"


def _times(sweep: Sweep) -> Detail:
    """Entries by points: the time of a step."""
    rows = []
    for one in sweep.entries:
        cells = []
        for point in sweep.points:
            of = spread(attribution.seconds_per_step(t) for t in one.trials if point_of(t, sweep.kind) == point)
            cells.append(units.NOT_MEASURED if of is None else f"{units.micro(of.median)} (n = {of.n})")
        rows.append((entry_text(one.case), *cells))
    what = "Batch" if sweep.kind == "batch-size" else "Width"
    return Detail(
        title="Time of a step, µs",
        note="Medians over trials.",
        heads=("Entry", *(f"{what} {point}" for point in sweep.points)),
        rows=tuple(rows),
    )


def _fits(sweep: Sweep) -> Detail:
    width = sweep.kind == "width"
    rows = []
    for one in sweep.entries:
        seen = one.fit
        if not isinstance(seen, Fit):
            rows.append((entry_text(one.case), f"none ({seen.reason if seen else ''})", *[""] * 4))
            continue
        held = seen.held_out
        told = f"{units.share(held.largest)}" + ("" if held.holds else f", beyond {TOLERANCE:.0%}")
        blocks = f"{len(seen.blocks)}" + (f" ({seen.incomplete} lack a size)" if seen.incomplete else "")
        rows.append(
            (
                entry_text(one.case),
                units.estimate(seen.overhead, 1e6),
                units.estimate(seen.work, 1e12 if width else 1e9),
                told,
                units.share(seen.misfit),
                blocks,
            )
        )
    x = "operations of the step's products" if width else "batch size"
    return Detail(
        title=f"Time of a step = overhead + work × {x}",
        note="Least squares of the relative errors, a line in each block; mean and 95% interval over blocks. Held out: "
        "the largest error of the sizes between, predicted by a line that was fitted without them. Misfit: the largest "
        "distance of a mean from the line. An overhead below 0 says that the times are no line.",
        heads=(
            "Entry",
            "Overhead, µs [95%]",
            "Work, ps an operation [95%]" if width else "Work, ns a sample [95%]",
            "Held out",
            "Misfit",
            "Blocks",
        ),
        rows=tuple(rows),
    )


def crossovers(sweep: Sweep) -> list[Crossover]:
    """Every pair of entries that has lines at the same sizes."""
    fits = [one.fit for one in sweep.entries if isinstance(one.fit, Fit)]
    found = [attribution.crossover(a, b) for a, b in combinations(fits, 2)]
    return [one for one in found if isinstance(one, Crossover)]


def _crossovers(sweep: Sweep) -> Detail | None:
    """The pairs that cross or are not told apart as a table, all others in a line for each entry."""
    found = crossovers(sweep)
    if not found:
        return None
    rows, faster = [], defaultdict(list)
    for one in found:
        if one.verdict == "a-faster":
            faster[entry_name(one.a)].append(entry_name(one.b))
        elif one.verdict == "b-faster":
            faster[entry_name(one.b)].append(entry_name(one.a))
        else:
            rows.append((entry_name(one.a), entry_name(one.b), crossover_text(one, sweep)))
    remarks = [f"{name} is faster at every size measured than {', '.join(slower)}" for name, slower in faster.items()]
    for one in found:
        if one.contradicted:
            sizes = ", ".join(_size_text(size, sweep) for size in one.contradicted)
            remarks.append(
                f"{entry_name(one.a)} and {entry_name(one.b)}: the times themselves say otherwise at {sizes}"
            )
    return Detail(
        title="Crossovers",
        note="Where the lines of two entries cross between the least and the greatest size measured, with Fieller's "
        "95% interval over blocks." + ("" if rows else " No pair crosses, and each is told apart at every size."),
        heads=("Entry", "Other entry", "Which is faster") if rows else (),
        rows=tuple(rows),
        remarks=tuple(remarks),
    )


def crossover_text(one: Crossover, sweep: Sweep) -> str:
    """numpy below 98.2 [91, 105], torch-eager above"""
    names = {"a": entry_name(one.a), "b": entry_name(one.b)}
    if one.at is not None and one.interval is not None and one.faster_low and one.faster_high:
        low, high = (_size_text(end, sweep) for end in one.interval)
        where = f"{_size_text(one.at, sweep)} [{low}, {high}]"
        return f"{names[one.faster_low]} below {where}, {names[one.faster_high]} above"
    ends = [
        f"{names[side]} at {_size_text(size, sweep)}"
        for side, size in ((one.faster_low, one.low), (one.faster_high, one.high))
        if side is not None
    ]
    why = f" ({one.reason})" if one.reason else ""
    return f"not told apart{why}" + (f", but {ends[0]}" if ends else "")


def _size_text(size: float, sweep: Sweep) -> str:
    """A batch size as it is; operations of a step as the width that has as many, between the two nearest measured."""
    if sweep.kind == "batch-size":
        return units.significant(size)
    known = sorted({(flops_per_sample(t.task) * t.case.batch_size, point_of(t, "width")) for _, t in sweep.records})
    for (x0, w0), (x1, w1) in pairwise(known):
        if x0 <= size <= x1:
            return f"width {units.significant(w0 + (w1 - w0) * (size - x0) / (x1 - x0))}"
    return f"{units.significant(size / 1e6)} million operations"


def attributions(sweep: Sweep, size: int) -> list[Attribution]:
    """Every entry beside the reference at a batch size."""
    first, *others = sweep.entries
    found = [attribution.attribute(first.trials, one.trials, size) for one in others]
    return [one for one in found if isinstance(one, Attribution)]


def shown_size(sweep: Sweep) -> int:
    """The batch size whose gaps are shown: the task's own where it was measured, else the middle one."""
    if sweep.base in shipped_tasks() and (own := load_task(sweep.base).batch_size) in sweep.points:
        return own
    return sweep.points[len(sweep.points) // 2]


PARTS = {
    "products": "Kernels: products",
    "other work": "Kernels: the rest",
    "overhead": "Overhead of a step",
    "gather": "Gather",
    "remainder": "Remainder",
}


def _attributions(sweep: Sweep) -> Detail | None:
    if sweep.kind != "batch-size" or len(sweep.entries) < 2:
        return None
    size = shown_size(sweep)
    found = attributions(sweep, size)
    if not found:
        return None
    names = [name for name in PARTS if any(part.name == name for one in found for part in one.parts)]
    rows, notes = [], []
    for one in found:
        parts = {part.name: part.seconds for part in one.parts}
        adds_up = "gap not told apart from 0" if one.unexplained else "by definition: no sweep"
        if one.adds_up is not None:
            adds_up = "yes" if one.adds_up else f"NO: beyond {TOLERANCE:.0%} of the gap"
        rows.append(
            (
                entry_text(one.b),
                units.estimate(one.gap, 1e6),
                *(units.estimate(parts[name], 1e6) if name in parts else "" for name in names),
                units.estimate(one.unexplained, 1e6) if one.unexplained else "",
                adds_up,
            )
        )
        notes += [f"{entry_name(one.b)}: {note}" for note in one.notes]
    return Detail(
        title=f"What makes the gap to {entry_name(sweep.entries[0].case)} at batch {size}",
        note="Microseconds a step more (or, below 0, less) than it takes; means and 95% intervals over blocks. "
        "Products: each timed alone. The rest of the kernels grows with the batch, the overhead does not: the sweep "
        "tells them apart.",
        heads=("Entry", "Gap, µs", *(PARTS[name] for name in names), "Unexplained", "Adds up"),
        rows=tuple(rows),
        remarks=tuple(notes),
    )


# --- for machines -------------------------------------------------------------------------------------------------


def figures(sweep: Sweep) -> dict[str, Any]:
    """A sweep as plain values, unrounded: attributions of each pair at every batch size."""
    pairs = []
    if sweep.kind == "batch-size":
        for a, b in combinations(sweep.entries, 2):
            pairs += [attribution.attribute(a.trials, b.trials, size) for size in sweep.points]
    return {
        "kind": sweep.kind,
        "base": sweep.base,
        "task": sweep.task.model_dump(mode="json"),
        "machine": sweep.machine.fingerprint,
        "device": sweep.device,
        "precision": sweep.precision,
        "threads": sweep.threads,
        "run": sweep.run,
        "profile": sweep.profile,
        "blocks": sweep.blocks,
        "points": sweep.points,
        "reference": entry_name(sweep.entries[0].case),
        "fits": [plain(one.fit) | {"entry": entry_name(one.case)} for one in sweep.entries if one.fit is not None],
        "efficiencies": [
            plain(seen) | {"entry": entry_name(one.case)} for one in sweep.entries for seen in one.efficiencies
        ],
        "communication": [
            plain(communication(one, point)) | {"entry": entry_name(one.case), "processes": point}
            for one in sweep.entries
            for point in sweep.points
            if sweep.kind in ("strong-scaling", "weak-scaling") and point > 1
        ],
        "sharing_cores": scaling.sharing(trial for _, trial in sweep.records),
        "crossovers": plain(crossovers(sweep)),
        "attributions": [plain(one) for one in pairs if isinstance(one, Attribution)],
    }
