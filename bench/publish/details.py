"""Section -> what stands below its table: ceilings, parts of a step, cold starts, memory, energy, cards. Pure.

A detail is there where some row has its figures, and is left out where none has: no table of nulls.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from bench import attribution, coldstart
from bench.attribution import Missing, StepParts
from bench.ceilings import Shares, SlowCeiling, shares, slow_ceilings
from bench.coldstart import BreakEven, ColdStart
from bench.publish import units
from bench.publish.tables import MODES, Row, Section, case_order, entry_name, entry_text, in_turns, of_run_text
from bench.record import Case
from bench.stats import MemorySpread, Spread, counts, spread


@dataclass(frozen=True, kw_only=True)
class Detail:
    """A small table: its cells formatted and not escaped, a sentence above it, remarks below it."""

    title: str
    note: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()


def details(section: Section) -> list[Detail]:
    """All details that the section has figures for."""
    made = (ceilings, step_parts, cold_starts, memory, energy, cards)
    return [detail for make in made for detail in [make(section)] if detail is not None]


def _who(row: Row) -> tuple[str, str]:
    return entry_text(row.case), row.case.device


# --- ceilings -----------------------------------------------------------------------------------------------------


def _shares(section: Section) -> list[tuple[Row, Shares]]:
    found = [(row, shares(row.trials, section.best)) for row in section.rows]
    return [(row, one) for row, one in found if one is not None]


def _slow(section: Section) -> list[SlowCeiling]:
    return slow_ceilings([trial for row in section.rows for trial in row.trials], section.best)


def ceilings(section: Section) -> Detail | None:
    """Achieved rate beside the best product in the entry's own process, and the best of any framework."""
    found = _shares(section)
    if not any(one.own is not None for _, one in found):
        return None
    rows = []
    for row, one in found:
        measured = [t.measurements.ceiling for t in row.trials if counts(t) and t.measurements is not None]
        said = sorted({ceiling.product_precision for ceiling in measured if ceiling.product_precision is not None})
        rows.append(
            (
                *_who(row),
                units.giga(one.achieved),
                units.giga(one.own) if one.own is not None else _unknown(one.reason),
                units.share(one.of_own),
                units.share(one.of_machine),
                ", ".join(said) or units.NOT_MEASURED,
                units.giga(spread(ceiling.bandwidth_bytes_per_second.value for ceiling in measured)),
            )
        )
    best = sorted({(one.machine, row.case.device) for row, one in found if one.machine is not None}, key=str)
    machine = "; ".join(
        f"{device}: {units.significant(of.flops_per_second / 1e9)} GFLOP/s ({of.framework}, in {of.entry})"
        for of, device in best
    )
    return Detail(
        title="Ceilings",
        note="Achieved: the operations of the step's matrix products over the time of the whole step. Own ceiling: the "
        "best product measured in the entry's own process, after its training, with the same threads. The machine's: "
        f"the best of all frameworks with the same threads, {machine}. Memory copy: bytes read and written by NumPy in "
        "the same process.",
        heads=(
            "Entry",
            "Device",
            "Achieved, GFLOP/s",
            "Own ceiling, GFLOP/s",
            "Share of own",
            "Share of the machine's",
            "Precision of products",
            "Memory copy, GB/s",
        ),
        rows=tuple(rows),
        remarks=tuple(map(slow_text, _slow(section))),
    )


def slow_text(slow: SlowCeiling) -> str:
    """Why a framework's ceiling is low, as far as it is known, with the figures measured."""
    own, best = units.significant(slow.flops_per_second / 1e9), units.significant(slow.machine.flops_per_second / 1e9)
    where = f" [{slow.environment}]" if slow.environment else ""
    said = (
        f"{slow.framework}{where} ({', '.join(slow.entries)}): its products run at {units.share(slow.share)} of the "
        f"machine's best, {own} GFLOP/s beside the {best} of {slow.machine.framework}"
    )
    if not slow.by_mkls_path:
        return said
    told = f"; the framework itself reports {slow.cpu_capability}" if slow.cpu_capability else ""
    return f"{said}. They go through MKL {slow.mkl}, and MKL takes its AVX2 path on AMD{told}"


# --- the parts of a step ------------------------------------------------------------------------------------------


def _parts(row: Row) -> list[StepParts]:
    found = [attribution.step_parts(trial) for trial in row.trials if counts(trial)]
    return [part for part in found if part is not None]


def step_parts(section: Section) -> Detail | None:
    """A step's time: its products timed alone, its gather timed alone, and what remains."""
    rows = []
    for row in section.rows:
        parts = _parts(row)
        step, product = spread(p.seconds for p in parts), spread(p.products for p in parts)
        rest, gather = spread(p.remainder for p in parts), spread(p.gather for p in parts)
        if step is None or product is None or rest is None:
            continue
        reason = next(iter(sorted({p.gather_reason for p in parts if p.gather_reason})), None)
        rows.append(
            (
                *_who(row),
                units.micro(step.median),
                _part(product, step),
                _part(gather, step) if gather is not None else _unknown(reason),
                _part(rest, step),
            )
        )
    if not rows:
        return None
    return Detail(
        title="Where a step's time goes",
        note="Microseconds, medians over trials, with the share of the step. Products: every matrix product of the "
        "step, each timed alone in the entry's own process. Gather: taking the batch's rows, timed alone; where an "
        "entry cannot do that alone it is in the remainder. Remainder: calls, loops, activations, loss and optimiser.",
        heads=("Entry", "Device", "Step, µs", "Products, µs", "Gather, µs", "Remainder, µs"),
        rows=tuple(rows),
    )


def _part(part: Spread, step: Spread) -> str:
    return f"{units.micro(part.median)} ({units.share(part.median / step.median)})"


# --- cold starts --------------------------------------------------------------------------------------------------


def baseline(row: Row, rows: Iterable[Row]) -> Row | None:
    """What a compiled entry must make up for: its framework's first as-written entry of an earlier mode.

    The reference of all tables goes before the others of its mode. Of the same device and environment; None for an
    entry of the earliest mode itself.
    """
    case = row.case
    like = [
        other
        for other in rows
        if (other.case.framework, other.case.device, other.case.environment)
        == (case.framework, case.device, case.environment)
        and other.case.tier == "as-written"
        and MODES.index(other.case.mode) < MODES.index(case.mode)
    ]
    return min(like, key=lambda other: case_order(other.case), default=None)


@dataclass(frozen=True, kw_only=True)
class _Cold:
    """Cold start of a row. paid: None where nothing is to be made up for. run: of paid, where that is not the row's."""

    row: Row
    start: ColdStart
    paid: BreakEven | Missing | None
    run: str | None


def _cold(section: Section) -> list[_Cold]:
    found = []
    for row in section.rows:
        start, other = coldstart.cold_start(row.trials), baseline(row, section.rows)
        turns = None if other is None else in_turns(row, other)
        paid = None if turns is None else coldstart.break_even(turns.row, turns.reference)
        if start is not None:
            found.append(_Cold(row=row, start=start, paid=paid, run=turns.run if turns else None))
    return found


def cold_starts(section: Section) -> Detail | None:
    """Import, build, first step and warm-up, and after how many steps a compiled entry has paid for itself."""
    found = _cold(section)
    if not any(one.start.total_seconds is not None for one in found):
        return None
    floored = [f"{entry_name(one.row.case)} {one.start.floored} of {one.start.n}" for one in found if one.start.floored]
    steps = section.task.steps_per_epoch
    return Detail(
        title="Cold start",
        note="Medians. Warm-up: what the first step and the rest of the first epoch took above the same calls of later "
        "epochs: compiling, tracing, first allocations. In all: import + build + warm-up. Break-even: the steps after "
        "which an entry has made up for a dearer start than that of the entry its framework begins with.",
        heads=("Entry", "Device", "Import", "Build", "First step", "Warm-up", "In all", "Break-even [95%]"),
        rows=tuple(
            (
                *_who(one.row),
                units.seconds(one.start.import_seconds.median),
                units.seconds(one.start.build_seconds.median),
                units.seconds(one.start.first_step_seconds.median),
                units.seconds(_median(one.start.warm_up_seconds)),
                units.seconds(_median(one.start.total_seconds)),
                "" if one.paid is None else break_even_text(one.paid, steps_per_epoch=steps) + of_run_text(one.run),
            )
            for one in found
        ),
        remarks=(f"first epoch no slower than the later ones, warm-up taken as 0: {', '.join(floored)}",)
        if floored
        else (),
    )


def break_even_text(paid: BreakEven | Missing, *, steps_per_epoch: int) -> str:
    """after 1,230 steps [900, 1,600] (1.31 epochs) of torch-eager"""
    if isinstance(paid, Missing):
        return f"none ({paid.reason})"
    against = entry_name(paid.against)
    if paid.verdict == "at-once":
        return f"at once, against {against}"
    if paid.verdict == "never":
        return f"never, against {against}: its step is slower"
    if paid.verdict == "not-told-apart" or paid.steps is None or paid.interval is None:
        why = f" ({paid.reason})" if paid.reason else ""
        return f"whose step is faster is not told apart from {against}{why}"
    low, high = paid.interval
    steps = (
        f"{paid.steps:,.0f} steps [{low:,.0f}, {high:,.0f}] ({units.significant(paid.steps / steps_per_epoch)} epochs)"
    )
    return f"after {steps}, against {against}" if paid.verdict == "after" else f"ahead of {against} for {steps} only"


# --- memory, energy, cards ----------------------------------------------------------------------------------------


def memory(section: Section) -> Detail | None:
    """Resident memory by kind and phase, and what the framework's allocator held on a card."""
    rows: list[tuple[str, ...]] = []
    for row in section.rows:
        seen = row.summary
        peak = seen.sampled_peak
        if peak is None and seen.device_peak_allocated_bytes is None:
            continue
        rows.append(
            (
                *_who(row),
                units.mebibytes(_kind(seen.after_import, "rss_bytes")),
                units.mebibytes(_kind(seen.after_build, "rss_bytes")),
                units.mebibytes(_median(seen.peak_training_bytes)),
                units.mebibytes(_median(seen.peak_above_import_bytes)),
                units.mebibytes(_kind(seen.after_import, "anon_bytes")),
                units.mebibytes(_kind(seen.after_import, "file_bytes")),
                units.mebibytes(_kind(peak, "anon_bytes")),
                units.mebibytes(_kind(peak, "file_bytes")),
                _device_memory(seen.device_peak_allocated_bytes, row.case, seen.device_memory_reason),
                _device_memory(seen.device_peak_reserved_bytes, row.case, seen.device_memory_reason),
            )
        )
    if not rows:
        return None
    heads: tuple[str, ...] = (
        "Entry",
        "Device",
        "After import",
        "After build",
        "Peak in training",
        "Peak above import",
        "Anonymous after import",
        "Of files after import",
        "Anonymous, peak",
        "Of files, peak",
        "CUDA allocated",
        "CUDA reserved",
    )
    if all(row[1] == "cpu" for row in rows):
        heads, rows = heads[:-2], [row[:-2] for row in rows]
    return Detail(
        title="Memory",
        note="Resident memory of the process, medians. The peak in training is the kernel's (VmHWM), reset before it; "
        "the peaks by kind are the largest that were seen in one more epoch, each at its own moment. CUDA: the "
        "framework's own allocator.",
        heads=heads,
        rows=tuple(rows),
    )


def _kind(of: MemorySpread | None, name: str) -> float | None:
    return None if of is None else _median(getattr(of, name))


def _device_memory(of: Spread | None, case: Case, reason: str | None) -> str:
    if case.device == "cpu":
        return ""
    return units.mebibytes(of.median) if of is not None else _unknown(reason)


def energy(section: Section) -> Detail | None:
    """Joules a sample and an epoch; where none was read and the trials say why, that reason alone."""
    known = [row for row in section.rows if row.summary.joules_per_sample is not None]
    reasons = sorted({row.summary.energy_reason for row in section.rows if row.summary.energy_reason})
    if not known and not reasons:
        return None
    if not known:
        return Detail(title="Energy", note=f"{units.NOT_MEASURED}: {'; '.join(reasons)}", heads=(), rows=())
    return Detail(
        title="Energy",
        note="Medians over trials, of the measured windows. On the CPU it is that of the whole processor package by "
        "RAPL, idle cores included, on CUDA that of the card by NVML.",
        heads=("Entry", "Device", "Microjoules a sample", "Joules an epoch"),
        rows=tuple(
            (*_who(row), units.micro(of.median), units.significant(whole.median))
            if of is not None and whole is not None
            else (*_who(row), _unknown(row.summary.energy_reason), "")
            for row in section.rows
            for of, whole in [(row.summary.joules_per_sample, row.summary.joules_per_epoch)]
        ),
    )


def cards(section: Section) -> Detail | None:
    """What NVML told of the card while the windows ran."""
    rows, remarks = [], []
    for row in section.rows:
        seen = row.summary.gpu
        if seen is None:
            continue
        used = seen.memory_used_bytes
        rows.append(
            (
                entry_text(row.case),
                _reading(seen.busy_percent, " %"),
                _reading(seen.power_watts, " W"),
                _reading(seen.sm_clock_megahertz, " MHz"),
                _reading(seen.temperature_celsius, " °C"),
                units.mebibytes(_median(used)),
                ", ".join(f"{name} {units.significant(of.median)}" for name, of in seen.gpm) or units.NOT_MEASURED,
                ", ".join(f"{reason} ({units.share(part)})" for reason, part in seen.throttled) or "no",
            )
        )
        if seen.foreign_trials:
            remarks.append(f"{entry_name(row.case)}: other processes on the card in {seen.foreign_trials} trials")
        remarks += [f"{entry_name(row.case)}: {name}: {why}" for name, why in seen.reasons]
    if not rows:
        return None
    return Detail(
        title="Card",
        note="Over the measured windows, by NVML. Busy: the share of the driver's sampling periods in which at least "
        "one kernel ran, not how full the chip was; the share of the ceiling tells that. Throttled: the reasons, with "
        "the share of the samples.",
        heads=("Entry", "Busy", "Power", "SM clock", "Hottest", "Memory used", "GPM", "Throttled"),
        rows=tuple(rows),
        remarks=tuple(remarks),
    )


def _reading(of: Spread | None, unit: str) -> str:
    return units.NOT_MEASURED if of is None else units.significant(of.median) + unit


def _median(of: Spread | None) -> float | None:
    return None if of is None else of.median


def _unknown(reason: str | None) -> str:
    return f"{units.NOT_MEASURED} ({reason})" if reason else units.NOT_MEASURED


# --- for machines -------------------------------------------------------------------------------------------------


def figures(section: Section) -> dict[str, Any]:
    """The same as plain values, unrounded; null where a figure is not there."""
    return {
        "ceilings": [_named(row.case) | asdict(one) for row, one in _shares(section)],
        "slow_ceilings": [asdict(slow) | {"by_mkls_path": slow.by_mkls_path} for slow in _slow(section)],
        "step_parts": [
            _named(row.case) | asdict(part) | {"remainder": part.remainder}
            for row in section.rows
            for part in _parts(row)
        ],
        "cold_starts": [
            _named(one.row.case)
            | {name: value for name, value in asdict(one.start).items() if name != "case"}
            | {"break_even": None if one.paid is None else plain(one.paid) | {"run": one.run}}
            for one in _cold(section)
        ],
        "memory_energy_and_cards": [
            _named(row.case)
            | {
                name: plain(getattr(row.summary, name))
                for name in (
                    "after_import",
                    "after_build",
                    "sampled_peak",
                    "device_peak_allocated_bytes",
                    "device_peak_reserved_bytes",
                    "device_memory_reason",
                    "joules_per_sample",
                    "joules_per_epoch",
                    "energy_reason",
                    "gpu",
                    "disturbed",
                )
            }
            for row in section.rows
        ],
    }


def _named(case: Case) -> dict[str, Any]:
    return {"entry": case.entry, "environment": case.environment, "device": case.device}


def plain(value: Any) -> Any:
    """A dataclass, or a sequence of them, as JSON has it; a case is told by its name."""
    if isinstance(value, Case):
        return _named(value)
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value
