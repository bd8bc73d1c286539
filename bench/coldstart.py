"""list[Trial] -> what a case costs before it is at speed, and after how many steps that is made up for. Pure."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.attribution import Block, Missing, seconds_per_step, zero_of_line
from bench.record import Case, Trial
from bench.stats import Spread, counts, spread


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """What one case costs before it is at speed. warm_up and total: None where the trials have a single epoch.

    floored: trials whose first epoch was no slower than the later ones, and whose warm-up so counts as 0.
    """

    case: Case
    n: int
    import_seconds: Spread
    build_seconds: Spread
    first_step_seconds: Spread
    warm_up_seconds: Spread | None
    total_seconds: Spread | None
    floored: int


def warm_up_excess_seconds(trial: Trial) -> float | None:
    """What the two calls of the first epoch took above the median of the same calls of later epochs.

    That is compiling, tracing, first allocations and caches, wherever an entry does them. Call is compared with like
    call (one step with one step, the window with the window), as the cost of a call is no cost of a cold start. May be
    below 0 by noise; None where there is no later epoch.
    """
    if trial.measurements is None or len(trial.measurements.epochs) < 2:
        return None
    first, *later = trial.measurements.epochs
    step = trial.measurements.first_step_seconds - statistics.median(e.first_batch_seconds for e in later)
    return step + first.window_seconds - statistics.median(e.window_seconds for e in later)


def cold_seconds(trial: Trial) -> float | None:
    """Import + build + warm-up, the last at least 0: what a run takes longer than its steps at full speed."""
    excess = warm_up_excess_seconds(trial)
    if excess is None or trial.measurements is None:
        return None
    return trial.measurements.import_seconds + trial.measurements.build_seconds + max(excess, 0.0)


def cold_start(trials: Iterable[Trial]) -> ColdStart | None:
    """The cold start of one case; None where no trial counts."""
    counted = [trial for trial in trials if counts(trial)]
    measured = [trial.measurements for trial in counted if trial.measurements is not None]
    if not measured:
        return None
    excess = [warm_up_excess_seconds(trial) for trial in counted]
    imports, builds = spread(m.import_seconds for m in measured), spread(m.build_seconds for m in measured)
    steps = spread(m.first_step_seconds for m in measured)
    assert imports is not None
    assert builds is not None
    assert steps is not None
    return ColdStart(
        case=counted[0].case,
        n=len(counted),
        import_seconds=imports,
        build_seconds=builds,
        first_step_seconds=steps,
        warm_up_seconds=spread(None if value is None else max(value, 0.0) for value in excess),
        total_seconds=spread(map(cold_seconds, counted)),
        floored=sum(value is not None and value < 0 for value in excess),
    )


Payoff = Literal["after", "at-once", "until", "never", "not-told-apart"]


@dataclass(frozen=True, kw_only=True)
class BreakEven:
    """After how many steps an entry has made up for a dearer start than that of another.

    after: from `steps` on it is ahead. at-once: it starts cheaper and is faster. until: it starts cheaper and is
    slower, so that it is ahead up to `steps`. never: slower, and not cheaper to start. not-told-apart: whose step is
    the faster one is not told. interval: 95%, of steps. reason: why there is none.
    """

    case: Case
    against: Case
    blocks: int
    verdict: Payoff
    steps: float | None
    interval: tuple[float, float] | None
    reason: str | None


def break_even(trials: Sequence[Trial], against: Sequence[Trial]) -> BreakEven | Missing:
    """steps = (cold of one - cold of the other) / (step of the other - step of one), over the blocks that hold both.

    cold is `cold_seconds`, step `seconds_per_step`; the interval is Fieller's (`zero_of_line`).
    """
    sides = []
    for side in (trials, against):
        found: dict[Block, tuple[float, float]] = {}
        for trial in filter(counts, side):
            cold, step = cold_seconds(trial), seconds_per_step(trial)
            if cold is not None and step is not None:
                found[trial.placement.run, trial.placement.block] = cold, step
        sides.append(found)
    shared = sorted(sides[0].keys() & sides[1].keys())
    if not shared:
        return Missing(reason="no block has both at steady state")
    starts = [sides[0][block][0] - sides[1][block][0] for block in shared]
    steps = [sides[0][block][1] - sides[1][block][1] for block in shared]
    zero = zero_of_line(starts, steps, low=0.0, high=math.inf)
    start, step = zero.sign_low, zero.sign_high
    verdict: Payoff = "not-told-apart"
    if step < 0:
        verdict = "at-once" if start < 0 else "after"
    elif step > 0:
        verdict = "until" if start < 0 else "never"
    crossing = verdict in ("after", "until") and zero.at is not None and zero.interval is not None
    return BreakEven(
        case=next(trial.case for trial in trials if counts(trial)),
        against=next(trial.case for trial in against if counts(trial)),
        blocks=len(shared),
        verdict=verdict,
        steps=max(zero.at, 0.0) if crossing and zero.at is not None else None,
        # Where the starts are not told apart, the interval reaches down to 0 steps.
        interval=(max(zero.interval[0], 0.0), zero.interval[1]) if crossing and zero.interval is not None else None,
        reason="a single block has no interval" if len(shared) == 1 else None,
    )
