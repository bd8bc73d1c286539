"""Findings of `bench compare` -> a table for a terminal, a document for machines. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from bench.comparison import NOT_INTERLEAVED, Finding
from bench.publish import escape, units
from bench.record import Case, Trial
from bench.selection import Pair
from bench.stats import counts, why_left_out

_HEADS = ("figure", "A", "B", "B against A", "n", "verdict")
_FIGURES = {
    "samples_per_second": "samples/s",
    "time_to_first_step_seconds": "first step",
    "peak_training_bytes": "peak memory",
    "final_accuracy": "accuracy",
}
_NO_TURNS = (
    "A and B share no block, so the intervals are Welch's over unpaired processes. Order decides more than the test: "
    "identical programs that ran one after the other are called different in 70% of cases, in turns in 4%. No time is "
    "called faster or slower on that, except between machines, which cannot take turns."
)
_STYLES = {"faster": "green", "slower": "yellow", "more": "yellow", "lower": "yellow"}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A pair of cases with what was found of it."""

    pair: Pair
    findings: tuple[Finding, ...]


def tables(compared: Iterable[Compared]) -> list[Table]:
    """A table a pair of cases, a line a figure."""
    return [_table(one) for one in compared]


def _table(one: Compared) -> Table:
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(escape.plain(title(one.pair)), style="bold"))
    made.title_justify = "left"
    for head in _HEADS:
        made.add_column(head, justify="right" if head in ("A", "B", "n") else "left", overflow="fold")
    for found in one.findings:
        cells = (_FIGURES[found.figure], _value(found, found.a), _value(found, found.b), effect_text(found), _n(found))
        verdict = Text(escape.plain(verdict_text(found)), style=_STYLES.get(found.verdict, ""))
        made.add_row(*(Text(escape.plain(cell)) for cell in cells), verdict)
    return made


def warnings(compared: Sequence[Compared]) -> list[str]:
    """What must be said beside the table, once each: trials left out or disturbed, sides that did not take turns."""
    trials = [
        (name, trial) for one in compared for name, side in (("A", one.pair.a), ("B", one.pair.b)) for trial in side
    ]
    lines = [line for name, trial in trials for line in _remarks(name, trial)]
    if any(not one.pair.paired for one in compared):
        lines.append(_NO_TURNS)
    return list(dict.fromkeys(lines))


def _remarks(side: str, trial: Trial) -> list[str]:
    place = trial.placement
    where = f"{side}: {trial.case.entry}, run {place.run}, block {place.block}"
    if not counts(trial):
        status, reason = why_left_out(trial)
        return [escape.plain(f"{where}: does not count: {status}: {reason}")]
    if trial.disturbances:
        return [escape.plain(f"{where}: disturbed, and counted all the same: {'; '.join(trial.disturbances)}")]
    return []


def document(compared: Iterable[Compared], *, across: Sequence[str], notes: Sequence[str]) -> dict[str, Any]:
    """For `--json`."""
    return {
        "across": list(across),
        "comparisons": [
            {
                "a": _side(one.pair.a),
                "b": _side(one.pair.b),
                "paired": one.pair.paired,
                "findings": [asdict(finding) for finding in one.findings],
            }
            for one in compared
        ],
        "notes": list(notes),
    }


def _side(trials: Sequence[Trial]) -> dict[str, Any]:
    first = trials[0]
    return {
        "case": first.case.model_dump(mode="json"),
        "machine": {"name": first.machine.name, "fingerprint": first.machine.fingerprint},
        "run": first.placement.run,
        "git_commit": first.source.git_commit,
        "trials": len(trials),
    }


def title(pair: Pair) -> str:
    """What the two cases share, then in what they differ: mlp torch-eager, cpu, 1 thread: run 1 -> run 2."""
    a, b = pair.a[0], pair.b[0]
    names = [_names(trial) for trial in (a, b)]
    shared = [left for left, right in zip(*names, strict=True) if left == right]
    differ = [(left, right) for left, right in zip(*names, strict=True) if left != right]
    return ", ".join(filter(None, shared)) + "".join(
        f"; {left or 'own environment'} → {right or 'own environment'}" for left, right in differ
    )


def _names(trial: Trial) -> list[str]:
    case: Case = trial.case
    return [
        case.task,
        case.entry,
        case.device,
        units.workers(case.threads, case.processes),
        "" if case.precision == "ieee" else case.precision,
        case.environment and f"environment {case.environment}",
        trial.machine.name,
        f"run {trial.placement.run}",
    ]


def effect_text(finding: Finding) -> str:
    """Ratio or difference with its interval: 1.031 [1.022, 1.040]; +0.12 points [-0.10, +0.34]"""
    if finding.value is None:
        return f"none ({finding.reason})"
    if finding.effect == "ratio":
        low, high = finding.interval or (None, None)
        inside = " (no interval)" if low is None else f" [{low:.4g}, {high:.4g}]"
        return f"{finding.value:.4g} ×{inside}"
    scale, unit, decimals = (100, "points", 2) if finding.figure == "final_accuracy" else (1 / units.MIB, "MiB", 1)
    text = f"{finding.value * scale:+.{decimals}f} {unit}"
    if finding.interval is None:
        return f"{text} (no interval)"
    low, high = (end * scale for end in finding.interval)
    return f"{text} [{low:+.{decimals}f}, {high:+.{decimals}f}]"


def _value(finding: Finding, value: float | None) -> str:
    if value is None:
        return units.NOT_MEASURED
    match finding.figure:
        case "samples_per_second":
            return units.rate(value)
        case "time_to_first_step_seconds":
            return units.seconds(value)
        case "peak_training_bytes":
            return units.mebibytes(value)
    return units.percent(value)


def _n(finding: Finding) -> str:
    if finding.pairing == "none":
        return f"{finding.n_a} and {finding.n_b}"
    return units.count(finding.pairs, "pair" if finding.pairing == "block" else "seed")


def verdict_text(finding: Finding) -> str:
    """The verdict, and what it lacks where it is none."""
    if finding.verdict != "undecided":
        return finding.verdict
    if finding.blocks_to_decide is not None:
        return f"undecided (about {units.count(finding.blocks_to_decide, 'block')} would decide it)"
    reason = "did not take turns" if finding.reason == NOT_INTERLEAVED else finding.reason
    return f"undecided ({reason})" if reason else "undecided"
