"""Earlier trials and a plan's cases -> hours, node hours, and the blocks that a precision needs. Pure."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.precision import LOOK_CONFIDENCE, LOOKS
from bench.record import Case, Trial
from bench.stats import CONFIDENCE, MOST_BLOCKS, blocks_below, counts, estimate, log_values

DEFAULT_TARGET = 0.01  # half-width of a ratio where --precision names none: the tie band's own
_FEWEST_PAIRS = 3  # a spread of two is known to within a factor of 30


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Blocks on so many nodes. A node runs one block at a time, and certifies the cases before its first."""

    nodes: int
    blocks: int
    seconds: float  # from the first job's start to the last one's end, no waiting for nodes
    node_hours: float


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How much the log ratio of an entry to its reference varies from block to block, over the pairs of one run."""

    entry: str
    reference: str
    run: str
    pairs: int
    sd: float


@dataclass(frozen=True, kw_only=True)
class Need:
    """The blocks at which every ratio of a plan is known to a half-width, such as 0.01 for +-1%.

    widest: the ratio that needs the most. blocks: None with the reason where it cannot be told.
    """

    target: float
    blocks: int | None
    reason: str | None
    widest: Spread | None


def cost(blocks: int, *, block_seconds: float, certificate_seconds: float, nodes: int) -> Cost:
    """What so many blocks cost on so many nodes of one kind.

    block_seconds: of all trials of a block; certificate_seconds: of one certificate of each case.
    """
    used = min(nodes, blocks)
    rounds = math.ceil(blocks / nodes)
    seconds = rounds * block_seconds + (certificate_seconds if blocks else 0.0)
    return Cost(
        nodes=nodes,
        blocks=blocks,
        seconds=seconds,
        node_hours=(blocks * block_seconds + used * certificate_seconds) / 3600,
    )


def spreads(trials: Iterable[Trial], cases: Sequence[Case], *, machine: str, against: str) -> list[Spread]:
    """One for each ratio of the plan's cases that earlier trials of a machine tell of, in the order of the cases.

    machine: its fingerprint. against: the entry that ratios are taken to, as in bench.precision.widths. Each is of the
    run with the most pairs, the newest of these: pooled runs would add what lies between days to what blocks vary by.
    """
    groups = _groups(cases, against)
    wanted = {case for pair in groups for case in pair}
    by_case: dict[Case, list[Trial]] = defaultdict(list)
    for trial in trials:
        if trial.machine.fingerprint == machine and trial.case in wanted and counts(trial):
            by_case[trial.case].append(trial)
    found = []
    for reference, case in groups:
        best = _best(by_case[reference], by_case[case])
        if best is not None:
            run, differences = best
            seen = estimate(differences)
            assert seen.sd is not None
            found.append(
                Spread(entry=_name(case), reference=_name(reference), run=run, pairs=len(differences), sd=seen.sd)
            )
    return found


def _groups(cases: Sequence[Case], against: str) -> list[tuple[Case, Case]]:
    """Each ratio that the plan is about: (reference, case)."""
    groups: dict[tuple[object, ...], list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.fingerprint, case.device, case.threads, case.precision].append(case)
    pairs = []
    for group in groups.values():
        first, *others = sorted(group, key=lambda case: (case.entry != against, case.entry))
        pairs += [(first, other) for other in others]
    return pairs


def _best(a: Sequence[Trial], b: Sequence[Trial]) -> tuple[str, list[float]] | None:
    """Run and log differences of its pairs; None where no run has enough of them."""
    of_a, of_b = log_values(a), log_values(b)
    newest = {trial.placement.run: trial.started_utc for trial in sorted(b, key=lambda trial: trial.started_utc)}
    runs: dict[str, list[float]] = defaultdict(list)
    for run, block in sorted(of_a.keys() & of_b.keys()):
        runs[run].append(of_b[run, block] - of_a[run, block])
    if not runs:
        return None
    run = max(runs, key=lambda run: (len(runs[run]), newest[run], run))
    return (run, runs[run]) if len(runs[run]) >= _FEWEST_PAIRS else None


def _name(case: Case) -> str:
    return case.entry + (f" [{case.environment}]" if case.environment else "")


def need(trials: Iterable[Trial], cases: Sequence[Case], *, machine: str, against: str, target: float | None) -> Need:
    """The blocks that bring each ratio of the plan to the target, from the spread that earlier trials had.

    target: that of a run that stops by itself: then the blocks are those of its first look that is late enough. None:
    DEFAULT_TARGET in a run of a fixed number of blocks.
    """
    width = DEFAULT_TARGET if target is None else target

    def unknown(reason: str, widest: Spread | None = None) -> Need:
        return Need(target=width, blocks=None, reason=reason, widest=widest)

    ratios = _groups(cases, against)
    if not ratios:
        return unknown("the plan compares nothing")
    found = spreads(trials, cases, machine=machine, against=against)
    if len(found) < len(ratios):
        lacking = len(ratios) - len(found)
        return unknown(
            f"{lacking} of {len(ratios)} ratios have no run of {_FEWEST_PAIRS} blocks or more on this machine"
        )
    widest = max(found, key=lambda one: one.sd)
    confidence = CONFIDENCE if target is None else LOOK_CONFIDENCE
    blocks = blocks_below(widest.sd, math.log1p(width), confidence=confidence)
    if blocks is None:
        return unknown(f"more than {MOST_BLOCKS} blocks would be needed", widest)
    if target is not None:
        blocks = next((look for look in LOOKS if look >= blocks), blocks)
    return Need(target=width, blocks=blocks, reason=None, widest=widest)
