"""list[Pair] -> for each figure of each case: both values, their ratio or difference, its interval, a verdict. Pure.

Where the two sides share the blocks of one run, they are compared block by block (`bench.stats.compare`'s method).
Where they do not, there is only Welch's t interval (1947, Biometrika 34), on logarithms, with the process as the unit.
It takes no account of what the machine did between the two times, and that is most of what differs: identical programs
are called different in 70% of cases when all of one ran before all of the other, in 4% when they took turns. So it is
shown, and the verdict on a time stays "undecided", whatever the subject. Machines are the exception: two of them cannot
take turns, and each is itself the difference. Memory has no such drift, and accuracy is paired by the training seed,
which is the same work on the same numbers at any time.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.distributions import t_quantile
from bench.equivalence import MARGIN, equivalence
from bench.record import Trial
from bench.selection import Pair
from bench.stats import (
    CONFIDENCE,
    QUANTITIES,
    Estimate,
    Quantity,
    confidence_of,
    counts,
    decided,
    estimate,
)

LEAST_PROCESSES = 3  # for a verdict on memory
MEMORY_MARGIN_SHARE = 0.01
MEMORY_MARGIN_BYTES = 1 << 20  # allocators and page tables move a peak by this much from process to process
NOT_INTERLEAVED = "the sides did not take turns, so time may be the cause; `bench gate` or one run of both decides"

Figure = Literal["samples_per_second", "time_to_first_step_seconds", "peak_training_bytes", "final_accuracy"]
Verdict = Literal["faster", "slower", "more", "less", "equivalent", "lower", "higher", "tie", "undecided"]
Pairing = Literal["block", "seed", "none"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One figure of B beside A's. a, b: medians (of accuracy: means) over n_a and n_b trials. pairs: blocks or seeds
    in common.

    effect: what was estimated, B over A (ratio) or B less A (difference), with its interval: 95%, of an accuracy 90%
    (see bench.equivalence). margin: within it the two are the same, in the effect's unit.
    """

    figure: Figure
    pairing: Pairing
    pairs: int
    n_a: int
    n_b: int
    a: float | None
    b: float | None
    effect: Literal["ratio", "difference"]
    value: float | None
    interval: tuple[float, float] | None
    margin: float
    verdict: Verdict
    blocks_to_decide: int | None = None
    reason: str | None = None


def welch(a: Sequence[float], b: Sequence[float], *, confidence: float = CONFIDENCE) -> Estimate:
    """Mean of b less mean of a, of values that do not belong together, with Welch's interval; sd is the difference's
    standard error times sqrt(n), n being the smaller side, so that it reads like a paired one.
    """
    n = min(len(a), len(b))
    if n == 0:
        return Estimate(n=0, mean=None, sd=None, interval=None, reason="a side has no value")
    means = math.fsum(a) / len(a), math.fsum(b) / len(b)
    mean = means[1] - means[0]
    if n == 1:
        return Estimate(n=1, mean=mean, sd=None, interval=None, reason="a single trial has no interval")
    shares = [
        math.fsum((value - of) ** 2 for value in side) / (len(side) - 1) / len(side)
        for side, of in zip((a, b), means, strict=True)
    ]
    variance = math.fsum(shares)
    half = 0.0
    if variance > 0:
        freedom = variance**2 / math.fsum(s**2 / (len(side) - 1) for s, side in zip(shares, (a, b), strict=True))
        half = t_quantile(freedom, (1 + confidence) / 2) * math.sqrt(variance)
    sd = math.sqrt(variance * n)
    return Estimate(n=n, mean=mean, sd=sd, interval=(mean - half, mean + half), reason=None)


def findings(pair: Pair, *, across: Iterable[str] = ()) -> list[Finding]:
    """Every figure of one pair of cases, in a fixed order. across: what the comparison is about."""
    a, b = ([trial for trial in side if counts(trial)] for side in (pair.a, pair.b))
    between_machines = "machines" in across and a[:1] != [] and b[:1] != [] and a[0].machine != b[0].machine
    speeds = [_speed(quantity, a, b, paired=pair.paired, drifts=not between_machines) for quantity in QUANTITIES]
    return [*speeds, _memory(a, b, paired=pair.paired), _accuracy(a, b)]


def is_slower(found: Iterable[Finding]) -> bool:
    """Whether anything is slower: what the exit code tells."""
    return any(finding.verdict == "slower" for finding in found)


def _speed(quantity: Quantity, a: Sequence[Trial], b: Sequence[Trial], *, paired: bool, drifts: bool) -> Finding:
    of, more_is_faster = QUANTITIES[quantity]
    of_a, of_b = (_by_block(side, lambda t: _positive(of(t))) for side in (a, b))
    logs_a, logs_b = ({block: math.log(value) for block, value in side.items()} for side in (of_a, of_b))
    seen = _estimate(logs_a, logs_b, paired=paired, confidence=confidence_of([*a, *b]))
    verdict, needed, reason = decided(seen, more_is_faster=more_is_faster)
    if not paired and drifts:
        verdict, needed, reason = "undecided", None, seen.reason or NOT_INTERLEAVED
    return Finding(
        figure=quantity,
        pairing="block" if paired else "none",
        pairs=seen.n if paired else 0,
        n_a=len(of_a),
        n_b=len(of_b),
        a=_median(of_a.values()),
        b=_median(of_b.values()),
        effect="ratio",
        value=None if seen.mean is None else math.exp(seen.mean),
        interval=None if seen.interval is None else (math.exp(seen.interval[0]), math.exp(seen.interval[1])),
        margin=0.01,
        verdict=verdict,
        blocks_to_decide=needed,
        reason=reason,
    )


def _memory(a: Sequence[Trial], b: Sequence[Trial], *, paired: bool) -> Finding:
    """Peak resident memory in training: the difference in bytes against max(1% of A, 1 MiB)."""
    of_a, of_b = (_by_block(side, _peak) for side in (a, b))
    seen = _estimate(of_a, of_b, paired=paired, confidence=CONFIDENCE)
    margin = max(MEMORY_MARGIN_SHARE * (_median(of_a.values()) or 0), MEMORY_MARGIN_BYTES)
    verdict: Verdict = "undecided"
    reason = seen.reason
    if seen.interval is not None and seen.n < LEAST_PROCESSES:
        reason = f"{seen.n} processes a side, and a verdict needs {LEAST_PROCESSES}"
    elif seen.interval is not None:
        low, high = seen.interval
        verdict = "tie" if -margin < low and high < margin else "more" if low > margin else "undecided"
        verdict = "less" if high < -margin else verdict
        reason = "the interval reaches across the margin" if verdict == "undecided" else None
    return Finding(
        figure="peak_training_bytes",
        pairing="block" if paired else "none",
        pairs=seen.n if paired else 0,
        n_a=len(of_a),
        n_b=len(of_b),
        a=_median(of_a.values()),
        b=_median(of_b.values()),
        effect="difference",
        value=seen.mean,
        interval=seen.interval,
        margin=margin,
        verdict=verdict,
        reason=reason,
    )


def _accuracy(a: Sequence[Trial], b: Sequence[Trial]) -> Finding:
    """Final accuracy, paired by training seed: the same data, parameters and order of rows, in whichever run."""
    of_a, of_b = (_by_seed(side) for side in (a, b))
    shared = sorted(of_a.keys() & of_b.keys())
    seen = equivalence([of_b[seed] - of_a[seed] for seed in shared])
    return Finding(
        figure="final_accuracy",
        pairing="seed",
        pairs=seen.n,
        n_a=len(of_a),
        n_b=len(of_b),
        a=statistics.mean(of_a.values()) if of_a else None,
        b=statistics.mean(of_b.values()) if of_b else None,
        effect="difference",
        value=seen.difference,
        interval=seen.interval,
        margin=MARGIN,
        verdict=seen.verdict,
        reason=seen.reason,
    )


def _estimate(a: Mapping[int, float], b: Mapping[int, float], *, paired: bool, confidence: float) -> Estimate:
    if paired:
        return estimate([b[block] - a[block] for block in sorted(a.keys() & b.keys())], confidence=confidence)
    return welch(list(a.values()), list(b.values()), confidence=confidence)


def _by_block(trials: Iterable[Trial], of: Callable[[Trial], float | None]) -> dict[int, float]:
    """Values by block; a pair holds one run a side, so the block tells its trials apart."""
    found = {trial.placement.block: of(trial) for trial in trials}
    return {block: value for block, value in sorted(found.items()) if value is not None}


def _by_seed(trials: Iterable[Trial]) -> dict[int, float]:
    return {
        trial.training_seed: trial.measurements.epochs[-1].test_accuracy
        for trial in trials
        if trial.measurements is not None and trial.measurements.epochs
    }


def _peak(trial: Trial) -> float | None:
    return None if trial.measurements is None else trial.measurements.memory.peak_training_bytes


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None


def _median(values: Iterable[float]) -> float | None:
    present = list(values)
    return statistics.median(present) if present else None
