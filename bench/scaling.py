"""list[Trial] of several processes -> what of a step's time is communication, and who had to share cores. Pure."""

import statistics
from collections.abc import Iterable

from bench.record import Trial
from bench.stats import Estimate, counts, estimate


def communication_share(trial: Trial) -> float | None:
    """1 - time of a step without the exchange of gradients / time with it, medians of the trial's windows.

    It holds what of the exchange is not hidden behind the computing, and the waiting for the slowest process. Below 0
    where the windows differ by chance alone. None where the trial has no such windows.
    """
    seen = trial.measurements.communication if trial.measurements is not None else None
    if seen is None or not seen.exchanging_seconds or not seen.local_seconds:
        return None
    return 1 - statistics.median(seen.local_seconds) / statistics.median(seen.exchanging_seconds)


def communication(trials: Iterable[Trial]) -> Estimate:
    """The mean share over the blocks' trials that count, with its t interval."""
    shares = [share for trial in filter(counts, trials) if (share := communication_share(trial)) is not None]
    return estimate(shares)


def sharing(trials: Iterable[Trial]) -> list[tuple[int, int, int]]:
    """(processes, threads of each, cores) wherever processes had fewer cores than processes x threads."""
    return sorted(
        {(t.case.processes, t.case.threads, len(t.conditions.cores)) for t in trials if t.conditions.cores_shared}
    )
