"""Trials of a run -> is the target width reached? The planned looks of --precision. Pure."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.record import Trial
from bench.stats import ADAPTIVE_CONFIDENCE, Estimate, case_key, estimate, half_width, log_values

# Looked at after so many blocks and no others: whoever looks after every block stops at a lucky one, and intervals said
# to cover 95% cover 90 to 92%. With seven looks at 97% they cover 96.1 to 96.5% when the run stops.
LOOKS = (8, 12, 18, 27, 40, 60, 80)
LOOK_CONFIDENCE = ADAPTIVE_CONFIDENCE  # of the interval at each look; what is printed at the stop is called 95%


@dataclass(frozen=True, kw_only=True)
class Width:
    """How well a ratio is known after some blocks. half_width: of the log ratio's 97% interval; None: there is none."""

    entry: str
    reference: str
    blocks: int
    half_width: float | None

    def reached(self, target: float) -> bool:
        """Whether the ratio is known to within the target, such as 0.01 for +-1%."""
        return self.half_width is not None and self.half_width <= math.log1p(target)


def looks(cap: int) -> tuple[int, ...]:
    """The numbers of blocks after which a run of at most `cap` blocks is looked at; the cap itself is the last."""
    return (*(look for look in LOOKS if look < cap), cap)


def widths(trials: Iterable[Trial], *, blocks: int, against: str) -> list[Width]:
    """Of every entry against the reference on the same task, device, threads and the like, over the first blocks.

    against: an entry's name; where the run does not have it, the first entry by the alphabet takes its place.
    """
    groups: dict[tuple[object, ...], dict[tuple[object, ...], list[Trial]]] = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        if trial.placement.block < blocks:
            case = trial.case
            workers = case.threads, case.processes
            group = (case.fingerprint, trial.machine.fingerprint, case.device, *workers, case.precision)
            groups[group][case_key(trial)].append(trial)
    found = []
    for cases in groups.values():
        found += _widths(list(cases.values()), against)
    return found


def _widths(cases: Sequence[Sequence[Trial]], against: str) -> list[Width]:
    ordered = sorted(cases, key=lambda trials: (trials[0].case.entry != against, trials[0].case.entry))
    first, *others = ordered
    base: Mapping[tuple[str, int], float] = log_values(first)
    found = []
    for trials in others:
        values = log_values(trials)
        differences = [values[block] - base[block] for block in sorted(values.keys() & base.keys())]
        found.append(width_of(differences, entry=_name(trials[0]), reference=_name(first[0])))
    return found


def width_of(differences: Sequence[float], *, entry: str, reference: str) -> Width:
    """At a look. differences: of logarithms, one a block."""
    seen = estimate(differences, confidence=LOOK_CONFIDENCE)
    half = None if seen.interval is None else (seen.interval[1] - seen.interval[0]) / 2
    return Width(entry=entry, reference=reference, blocks=len(differences), half_width=half)


def _name(trial: Trial) -> str:
    case = trial.case
    return case.entry + (f" [{case.environment}]" if case.environment else "")


def enough(trials: Sequence[Trial], *, target: float, cap: int, complete: int, against: str) -> int | None:
    """The look at which a run of `complete` whole blocks may stop: all its ratios had reached the target there.

    None: it goes on. The cap always ends it, whether or not the target was reached.
    """
    for look in looks(cap):
        if look > complete:
            return None
        seen = widths(trials, blocks=look, against=against)
        if look == cap or (seen and all(one.reached(target) for one in seen)):
            return look
    return None


def stop_at(differences: Sequence[float], *, target: float, looks: Sequence[int] = LOOKS) -> Estimate:
    """What is printed by a run that stops at the first planned look whose interval is narrow enough.

    target: half the width of the interval, in logarithms. The estimate is over the differences until the stop, at the
    latest over those until the last look that there are enough of; its interval is of LOOK_CONFIDENCE.
    """
    seen = estimate(differences[: looks[0]], confidence=LOOK_CONFIDENCE)
    for n in looks:
        if n > len(differences):
            break
        seen = estimate(differences[:n], confidence=LOOK_CONFIDENCE)
        if seen.sd is not None and half_width(seen.sd, n, confidence=LOOK_CONFIDENCE) <= target:
            break
    return seen
