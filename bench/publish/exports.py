"""list[(file, Trial)] -> the same results in the formats of other tools, as text or bytes. Pure.

What a series holds, it takes from the tables: one run a case (docs/decisions/0004), trials that count alone. The
formats of one row a trial (CSV, Parquet) hold every trial, and say of each whether it counts.
"""

import io
import json
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench import __version__
from bench.errors import InputError
from bench.publish import escape, tables
from bench.publish.tables import Record, Row, Section
from bench.record import Case, Trial
from bench.stats import (
    counts,
    final_accuracy,
    is_warm_up_only,
    samples_per_second,
    spread,
    time_to_first_step_seconds,
    why_left_out,
)
from bench.studying import StudyRecord

if TYPE_CHECKING:
    import pandas as pd

Direction = Literal["bigger", "smaller"]  # which of them is better


def step_latency_nanoseconds(trial: Trial) -> float | None:
    """The median of the single steps after the training, one call each."""
    latencies = trial.measurements.step_latency_nanoseconds if trial.measurements else []
    return statistics.median(latencies) if latencies else None


def seconds_per_step(trial: Trial) -> float | None:
    """The time of a step inside a long call: the inverse of samples/s, times the batch."""
    rate = samples_per_second(trial)
    return trial.case.batch_size / rate if rate else None


def peak_training_bytes(trial: Trial) -> int | None:
    """Resident memory of the worker at its highest, of the training."""
    return trial.measurements.memory.peak_training_bytes if trial.measurements else None


def device_peak_bytes(trial: Trial) -> float | None:
    """The peak of the framework's allocator on the device; None on the CPU."""
    return trial.measurements.memory.device_peak_allocated_bytes.value if trial.measurements else None


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure that a series follows. metric: its name in OpenMetrics, and what its value is multiplied with there."""

    name: str
    unit: str
    more_is_better: bool
    of_trial: Callable[[Trial], float | None]
    metric: str
    metric_unit: str  # the end of the metric's name, as OpenMetrics wants it; empty where the name holds a rate
    metric_scale: float = 1.0
    text: str


# `latency` and `throughput` are measures that Bencher knows, the first in nanoseconds.
MEASURES: tuple[Measure, ...] = (
    Measure(
        name="throughput",
        unit="samples/s",
        more_is_better=True,
        of_trial=samples_per_second,
        metric="evenhand_samples_per_second",
        metric_unit="",
        text="Training rows a second in steady state.",
    ),
    Measure(
        name="latency",
        unit="ns",
        more_is_better=False,
        of_trial=step_latency_nanoseconds,
        metric="evenhand_step_latency_seconds",
        metric_unit="seconds",
        metric_scale=1e-9,
        text="A single training step, one call each.",
    ),
    Measure(
        name="time-to-first-step",
        unit="s",
        more_is_better=False,
        of_trial=time_to_first_step_seconds,
        metric="evenhand_time_to_first_step_seconds",
        metric_unit="seconds",
        text="Import, build and first step.",
    ),
    Measure(
        name="peak-memory",
        unit="bytes",
        more_is_better=False,
        of_trial=peak_training_bytes,
        metric="evenhand_peak_memory_bytes",
        metric_unit="bytes",
        text="Peak resident memory of the worker in training.",
    ),
    Measure(
        name="peak-device-memory",
        unit="bytes",
        more_is_better=False,
        of_trial=device_peak_bytes,
        metric="evenhand_peak_device_memory_bytes",
        metric_unit="bytes",
        text="Peak of the framework's allocator on the device.",
    ),
    Measure(
        name="final-accuracy",
        unit="share",
        more_is_better=True,
        of_trial=final_accuracy,
        metric="evenhand_final_accuracy_ratio",
        metric_unit="ratio",
        text="Share of the test set that is right after the last epoch.",
    ),
)

RATIO = f"ratio-to-{tables.REFERENCE}"  # of samples/s, paired by block, from the tables

# Of pytest-benchmark's file, which holds times alone: what one round of each group took.
TIMES: tuple[tuple[str, Callable[[Trial], float | None]], ...] = (
    ("training step", seconds_per_step),
    ("single step", lambda trial: None if (ns := step_latency_nanoseconds(trial)) is None else ns * 1e-9),
    ("time to first step", time_to_first_step_seconds),
)


def series_name(case: Case) -> str:
    """The name of a case over time: mlp-6c24f48b/torch-eager/cpu/t1/b64.

    The fingerprint is in it, so that a changed task begins a new series. What is as usual (one process, IEEE, the
    runner's own interpreter) is left out.
    """
    parts = [f"{case.task}-{case.fingerprint[:8]}", case.entry, case.device, f"t{case.threads}", f"b{case.batch_size}"]
    parts += [f"p{case.processes}"] if case.processes != 1 else []
    parts += [case.precision] if case.precision != "ieee" else []
    parts += [case.environment] if case.environment else []
    return "/".join(parts)


def _counted(records: Sequence[Record]) -> list[tuple[Section, Row, tuple[Trial, ...]]]:
    """Each row of the tables with its trials that count. Raises InputError where none does."""
    sections = tables.sections(records)
    found = [(s, row, tuple(filter(counts, row.trials))) for s in sections for row in s.rows]
    if not found:
        raise InputError("export: no trial of these results counts; `bench report` says why of each")
    return found


def _of_one_machine(records: Sequence[Record]) -> list[tuple[Section, Row, tuple[Trial, ...]]]:
    """`_counted`, of results that one machine made: these formats have no place for a second one."""
    machines = sorted({f"{trial.machine.name} ({trial.machine.fingerprint})" for _, trial in records})
    if len(machines) > 1:
        raise InputError(
            f"export: this format holds one machine, the results have {len(machines)}: {', '.join(machines)}; "
            "take one with --machine"
        )
    return _counted(records)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measure of one case, and between what it lies; None where that cannot be told. n: trials or pairs."""

    name: str
    unit: str
    more_is_better: bool
    value: float
    bounds: tuple[float, float] | None
    n: int


def _figures(row: Row, trials: Sequence[Trial]) -> Iterator[Figure]:
    """Every measure that these trials have: the median, within the range of the trials where there are several.

    Of the ratio to the reference, the 95% interval: the one figure here that another job's machine leaves alone.
    """
    for measure in MEASURES:
        seen = spread(measure.of_trial(trial) for trial in trials)
        if seen is not None:
            yield Figure(
                name=measure.name,
                unit=measure.unit,
                more_is_better=measure.more_is_better,
                value=seen.median,
                bounds=(seen.least, seen.greatest) if seen.n > 1 else None,
                n=seen.n,
            )
    seen_ratio = row.comparison
    if seen_ratio is not None and seen_ratio.ratio is not None:
        yield Figure(
            name=RATIO,
            unit="ratio",
            more_is_better=True,
            value=seen_ratio.ratio,
            bounds=seen_ratio.interval,
            n=seen_ratio.pairs,
        )


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def to_bmf(records: Sequence[Record]) -> str:
    """Bencher Metric Format: of each case every measure, with what it lies between as lower and upper value.

    A single trial has no bounds, and none are made up. Raises InputError where nothing counts, or of several machines.
    """
    document: dict[str, dict[str, dict[str, float]]] = {}
    for _, row, trials in _of_one_machine(records):
        of_case = document.setdefault(series_name(row.case), {})
        for figure in _figures(row, trials):
            low_high = () if figure.bounds is None else zip(("lower_value", "upper_value"), figure.bounds, strict=True)
            of_case[figure.name] = {"value": figure.value, **dict(low_high)}
    return _json(document)


def to_github_action_benchmark(records: Sequence[Record], direction: Direction) -> str:
    """github-action-benchmark's list for customBiggerIsBetter, or for customSmallerIsBetter.

    The tool takes one direction a file; in the wrong one a gain would raise its alarm and a loss would not. Raises
    InputError where nothing counts, or of several machines.
    """
    document = [
        {
            "name": f"{series_name(row.case)} {figure.name}",
            "unit": figure.unit,
            "value": figure.value,
            "range": "unknown" if figure.bounds is None else f"{figure.bounds[0]:g}..{figure.bounds[1]:g}",
            "extra": f"n = {figure.n}\nrun {row.run}\n{section.machine.name}",
        }
        for section, row, trials in _of_one_machine(records)
        for figure in _figures(row, trials)
        if figure.more_is_better == (direction == "bigger")
    ]
    return _json(document)


def to_pytest_benchmark(records: Sequence[Record]) -> str:
    """pytest-benchmark's JSON: a benchmark for each case and time, a round for each trial that counts.

    A round is a process, not a call: rounds inside one process are not independent. Raises InputError where nothing
    counts, or of several machines.
    """
    found = _of_one_machine(records)
    newest = max((trial for _, _, trials in found for trial in trials), key=lambda trial: trial.started_utc)
    commits = {(t.source.git_commit, t.source.git_dirty) for _, _, trials in found for t in trials}
    commit, dirty = commits.pop() if len(commits) == 1 else (None, None)
    machine, python = newest.machine, newest.versions.python if newest.versions else None
    return _json(
        {
            "machine_info": {
                "node": machine.name,
                "processor": machine.cpu_model,
                "machine": machine.architecture,
                "python_version": python,
                "release": machine.kernel,
                "system": machine.system,
                "cpu": {"brand_raw": machine.cpu_model, "count": machine.cores},
            },
            "commit_info": {"id": commit, "time": None, "dirty": dirty, "project": "evenhand", "branch": None},
            "benchmarks": [
                _benchmark(row, what, values, trials)
                for _, row, trials in found
                for what, of_trial in TIMES
                if (values := [value for trial in trials if (value := of_trial(trial))])
            ],
            "datetime": newest.started_utc,
            "version": f"evenhand {__version__}",
        }
    )


def _benchmark(row: Row, what: str, values: Sequence[float], trials: Sequence[Trial]) -> dict[str, Any]:
    case = row.case
    where = "-".join(series_name(case).split("/")[2:])
    figures = {figure.name.replace("-", "_"): figure.value for figure in _figures(row, trials)}
    return {
        "group": f"{case.task}-{case.fingerprint[:8]} {where}: {what}",
        "name": f"{case.entry}[{where}]",
        "fullname": f"{series_name(case)}::{what}",
        "params": {"entry": case.entry, "device": case.device, "threads": case.threads, "mode": case.mode},
        "param": where,
        "extra_info": figures | {"run": row.run, "profile": row.profile, "tier": case.tier},
        "options": {"timer": "perf_counter", "warmup": True},
        "stats": _stats(values),
    }


def _stats(values: Sequence[float]) -> dict[str, Any]:
    """The figures that pytest-benchmark keeps of its rounds, by its own definitions.

    q1 and q3 are medians of the halves; with an odd number of rounds its method 3, which weighs the two neighbours.
    """
    data, n = sorted(values), len(values)
    mean, sd = statistics.mean(data), statistics.stdev(data) if n > 1 else 0.0
    q1, q3 = _quartile(data), -_quartile([-value for value in reversed(data)])
    iqr = q3 - q1
    inside = [value for value in data if q1 - 1.5 * iqr <= value <= q3 + 1.5 * iqr]
    far, outside = sum(value < mean - sd or value > mean + sd for value in data), n - len(inside)
    return {
        "min": data[0],
        "max": data[-1],
        "mean": mean,
        "stddev": sd,
        "rounds": n,
        "median": statistics.median(data),
        "iqr": iqr,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": outside,
        "stddev_outliers": far,
        "outliers": f"{far};{outside}",
        "ld15iqr": inside[0],
        "hd15iqr": inside[-1],
        "ops": n / sum(values),
        "total": sum(values),
        "data": list(values),
        "iterations": 1,
    }


def _quartile(data: Sequence[float]) -> float:
    """The lower quartile of sorted values."""
    n = len(data)
    if n == 1:
        return data[0]
    if n % 2 == 0:
        return statistics.median(data[: n // 2])
    low = n // 4
    if n % 4 == 1:
        return 0.25 * data[low - 1] + 0.75 * data[low]
    return 0.75 * data[low] + 0.25 * data[low + 1]


def to_openmetrics(records: Sequence[Record]) -> str:
    """OpenMetrics text: of each measure a gauge for the median, the least and the greatest of a case's trials.

    evenhand_trials says how many trials each rests on, and how many do not count, by their status.
    """
    sections = tables.sections(records)
    lines: list[str] = []
    rows = [(s, row, [*filter(counts, row.trials)]) for s in sections for row in s.rows]
    for measure in MEASURES:
        samples = []
        for section, row, trials in rows:
            seen = spread(measure.of_trial(trial) for trial in trials)
            for stat in ("median", "least", "greatest") if seen is not None else ():
                labels = _labels(section, row.case) | {"stat": stat}
                samples.append(_sample(measure.metric, labels, getattr(seen, stat) * measure.metric_scale))
        lines += _family(measure.metric, measure.metric_unit, measure.text, samples)
    samples = [
        _sample("evenhand_speed_ratio", _labels(s, row.case) | {"reference": tables.REFERENCE, "stat": stat}, value)
        for s, row, _ in rows
        if row.comparison is not None and row.comparison.ratio is not None
        for stat, value in zip(
            ("point", "low", "high"), (row.comparison.ratio, *(row.comparison.interval or ())), strict=False
        )
    ]
    text = "Samples/s over the reference's in the same run, with its 95% interval."
    lines += _family("evenhand_speed_ratio", "ratio", text, samples)
    samples = []
    for section in sections:
        tally: dict[tuple[Case, str], int] = {}
        for trial in section.trials:
            key = trial.case, "counts" if counts(trial) else why_left_out(trial)[0]
            tally[key] = tally.get(key, 0) + 1
        ordered = sorted(tally.items(), key=lambda one: (series_name(one[0][0]), one[0][1]))
        samples += [
            _sample("evenhand_trials", _labels(section, case) | {"status": status}, n) for (case, status), n in ordered
        ]
    lines += _family("evenhand_trials", "", "Trials of the run that is shown, by whether they count.", samples)
    return "\n".join([*lines, "# EOF"]) + "\n"


def _labels(section: Section, case: Case) -> dict[str, str]:
    return {
        "task": case.task,
        "fingerprint": case.fingerprint,
        "machine": section.machine.name,
        "machine_fingerprint": section.machine.fingerprint,
        "entry": case.entry,
        "framework": case.framework,
        "mode": case.mode,
        "tier": case.tier,
        "device": case.device,
        "threads": str(case.threads),
        "processes": str(case.processes),
        "batch_size": str(case.batch_size),
        "precision": case.precision,
        "environment": case.environment,
    }


def _sample(name: str, labels: dict[str, str], value: float) -> str:
    def quoted(text: str) -> str:
        return escape.plain(text).replace("\\", "\\\\").replace('"', '\\"')

    inside = ",".join(f'{key}="{quoted(text)}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value!r}"


def _family(name: str, unit: str, text: str, samples: list[str]) -> list[str]:
    """A metric and its samples; nothing where it has none."""
    head = [f"# TYPE {name} gauge", *([f"# UNIT {name} {unit}"] if unit else []), f"# HELP {name} {text}"]
    return [*head, *samples] if samples else []


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of CSV and Parquet. kind: of pandas; each can be missing. docs/ci.md lists them all."""

    name: str
    kind: Literal["string", "Int64", "Float64", "boolean"]
    of_trial: Callable[[Trial], Any]


def _figure(name: str, of_trial: Callable[[Trial], float | None], kind: Literal["Float64", "Int64"]) -> Column:
    """A measured figure: missing where the trial does not count, so that no mean can take it in."""
    return Column(name=name, kind=kind, of_trial=lambda trial: of_trial(trial) if counts(trial) else None)


def _of_measurements(name: str) -> Column:
    return _figure(name, lambda trial: getattr(trial.measurements, name, None), "Float64")


COLUMNS: tuple[Column, ...] = (
    Column(name="run", kind="string", of_trial=lambda trial: trial.placement.run),
    Column(name="profile", kind="string", of_trial=lambda trial: trial.placement.profile),
    Column(name="block", kind="Int64", of_trial=lambda trial: trial.placement.block),
    Column(name="position", kind="Int64", of_trial=lambda trial: trial.placement.position),
    Column(name="started_utc", kind="string", of_trial=lambda trial: trial.started_utc),
    Column(name="task", kind="string", of_trial=lambda trial: trial.case.task),
    Column(name="fingerprint", kind="string", of_trial=lambda trial: trial.case.fingerprint),
    Column(name="entry", kind="string", of_trial=lambda trial: trial.case.entry),
    Column(name="framework", kind="string", of_trial=lambda trial: trial.case.framework),
    Column(name="mode", kind="string", of_trial=lambda trial: trial.case.mode),
    Column(name="tier", kind="string", of_trial=lambda trial: trial.case.tier),
    Column(name="device", kind="string", of_trial=lambda trial: trial.case.device),
    Column(name="threads", kind="Int64", of_trial=lambda trial: trial.case.threads),
    Column(name="processes", kind="Int64", of_trial=lambda trial: trial.case.processes),
    Column(name="batch_size", kind="Int64", of_trial=lambda trial: trial.case.batch_size),
    Column(name="precision", kind="string", of_trial=lambda trial: trial.case.precision),
    Column(name="environment", kind="string", of_trial=lambda trial: trial.case.environment),
    Column(name="machine", kind="string", of_trial=lambda trial: trial.machine.name),
    Column(name="machine_fingerprint", kind="string", of_trial=lambda trial: trial.machine.fingerprint),
    Column(name="git_commit", kind="string", of_trial=lambda trial: trial.source.git_commit),
    Column(name="training_seed", kind="Int64", of_trial=lambda trial: trial.training_seed),
    Column(name="counts", kind="boolean", of_trial=counts),
    Column(name="status", kind="string", of_trial=lambda t: "ok" if counts(t) else why_left_out(t)[0]),
    Column(name="reason", kind="string", of_trial=lambda t: None if counts(t) else why_left_out(t)[1]),
    _figure("samples_per_second", samples_per_second, "Float64"),
    Column(name="warm_up_only", kind="boolean", of_trial=lambda t: is_warm_up_only(t) if counts(t) else None),
    _figure("step_latency_nanoseconds_median", step_latency_nanoseconds, "Float64"),
    _figure("time_to_first_step_seconds", time_to_first_step_seconds, "Float64"),
    _of_measurements("import_seconds"),
    _of_measurements("build_seconds"),
    _of_measurements("first_step_seconds"),
    _of_measurements("total_training_seconds"),
    _figure("peak_training_bytes", peak_training_bytes, "Int64"),
    _figure(
        "peak_above_import_bytes",
        lambda trial: trial.measurements.memory.peak_above_import_bytes if trial.measurements else None,
        "Int64",
    ),
    _figure("device_peak_allocated_bytes", device_peak_bytes, "Float64"),
    _figure("final_accuracy", final_accuracy, "Float64"),
)
SHOWN = "shown"  # the last column: whether the tables show the trial's run of its case


Cells = tuple[Any, ...]  # of a trial, in the order of COLUMNS
_PLACE = {column.name: number for number, column in enumerate(COLUMNS)}
_CASE = [_PLACE[n] for n in ("fingerprint", "machine_fingerprint", "entry", "device", "threads", "precision")]
_CASE.append(_PLACE["environment"])
_START = _PLACE["started_utc"], _PLACE["run"], _PLACE["block"]


def frame(records: Iterable[Record]) -> "pd.DataFrame":
    """A row a trial, in order of their start; missing is missing, never 0.

    The records are gone through once and none is kept, so that they may be read one by one.
    """
    import pandas as pd  # takes a second, which other commands do not have to spend

    rows = sorted(_rows(records), key=lambda row: [row[place] for place in _START])
    shown = _shown_runs(rows)
    columns = {c.name: pd.array([row[n] for row in rows], dtype=c.kind) for n, c in enumerate(COLUMNS)}
    in_tables = [shown[_case(row)] == row[_PLACE["run"]] for row in rows]
    return pd.DataFrame(columns | {SHOWN: pd.array(in_tables, dtype="boolean")})


def _rows(records: Iterable[Record]) -> Iterator[Cells]:
    """The cells of each trial; equal texts, of which there are few, are kept once."""
    texts: dict[str, str] = {}
    for _, trial in records:
        cells = (column.of_trial(trial) for column in COLUMNS)
        yield tuple(texts.setdefault(cell, cell) if isinstance(cell, str) else cell for cell in cells)


def _case(row: Cells) -> Cells:
    return tuple(row[place] for place in _CASE)


def _shown_runs(rows: Iterable[Cells]) -> dict[Cells, str]:
    """The run that the tables show of each case: as `tables.shown_run` chooses it, which has whole trials."""
    runs: dict[Cells, dict[str, tuple[set[int], str]]] = {}
    started, run, block = _START
    for row in rows:
        of = runs.setdefault(_case(row), {})
        blocks, newest = of.get(row[run], (set(), ""))
        blocks.add(row[block])
        of[row[run]] = blocks, max(newest, row[started])
    ranked = {case: [(len(b), newest, name) for name, (b, newest) in of.items()] for case, of in runs.items()}
    return {case: max(of)[-1] for case, of in ranked.items()}


def to_csv(records: Iterable[Record]) -> str:
    """`frame` as CSV; missing is empty, and no cell can be read as a spreadsheet's formula."""

    def safe(text: Any) -> Any:
        if not isinstance(text, str):
            return text
        line = escape.plain(text)
        return "'" + line if line[:1] in ("=", "+", "-", "@") else line

    made = frame(records)
    for column in COLUMNS:
        if column.kind == "string":
            made[column.name] = made[column.name].map(safe, na_action="ignore")
    return made.to_csv(index=False, lineterminator="\n")


def to_parquet(records: Iterable[Record]) -> bytes:
    """`frame` as Parquet. Raises InputError where pyarrow is not installed."""
    if find_spec("pyarrow") is None:
        raise InputError("export: parquet needs pyarrow; install it with `pip install pyarrow`")
    buffer = io.BytesIO()
    frame(records).to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


READING_COLUMNS = (
    *("machine", "date", "run", "study", "entry", "framework", "mode", "task", "batch_size", "threads", "block"),
    *("status", "reading", "value", "unit", "reason", "text"),
)


def readings(records: Iterable[tuple[Path, StudyRecord]]) -> "pd.DataFrame":
    """A row a reading of a study, null where it was not measured; of a record without any, one row that says why."""
    import pandas as pd

    rows: list[tuple[str | int | float | None, ...]] = []
    for _, one in records:
        case = one.case
        of = (
            *(one.machine.name, one.started_utc[:10], one.run, one.study, case.entry, case.framework, case.mode),
            *(case.task, case.batch_size, case.threads, one.block, one.status),
        )
        rows += [(*of, r.name, r.value, r.unit, r.reason, r.text) for r in one.readings]
        if not one.readings:
            rows.append((*of, None, None, None, one.reason, None))
    return pd.DataFrame(rows, columns=list(READING_COLUMNS)).astype({"value": "Float64"})
