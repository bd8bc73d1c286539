"""Lines and pins of a history -> series over commits, chained over renewals; indexes -> changes. Pure.

Where the reference was renewed, ln(case / old) = ln(case / new) + ln(new / old): the last from runs that measured both
references, the variances added. That error is one for all points after the renewal, so that a step at it may be the
overlap's error and no change; such a step is told as that.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.errors import InputError
from bench.history import LEAST_BLOCKS, PIN_FILE, Line, Pin, safe
from bench.stats import QUANTITIES, half_width

LEAST_POINTS = 3  # on either side of a change: one bad night is no change


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of a series, in terms of the series' first reference; the error holds that of the overlaps."""

    line: Line
    log_ratio: float
    standard_error: float


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """The point from which on another reference is measured. half_width: of the overlap, 95%, as a share."""

    index: int
    old: str
    new: str
    half_width: float


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points in the order of their commits, all in terms of one reference."""

    reference: str
    points: tuple[Point, ...]
    renewals: tuple[Renewal, ...]

    @property
    def line(self) -> Line:
        """The newest line, for what all lines share."""
        return self.points[-1].line

    @property
    def key(self) -> str:
        """A name for files and documents."""
        line = self.line
        case = line.case
        label = f"-{case.environment}" if case.environment else ""
        precision = "" if case.precision == "ieee" else f"-{case.precision}"
        where = f"{case.device}-t{case.threads}{precision}_{line.machine}"
        return safe(f"{case.task}-{case.fingerprint}_{case.entry}{label}_{where}_{line.quantity}_{self.reference}")


@dataclass(frozen=True, kw_only=True)
class Change:
    """A step of a series: it came with a commit after `before` and up to `after`.

    ratio: level after over level before. at_renewal: the reference was renewed at this very point, and the overlap is
    known to this half-width (95%, of the ratio); None elsewhere. packages: what else changed, old and new.
    """

    index: int
    before: str
    after: str
    ratio: float
    faster: bool
    at_renewal: float | None
    packages: tuple[tuple[str, str, str], ...]

    @property
    def is_overlap_error(self) -> bool:
        """Whether the step is no larger than what the overlap leaves open: then it is no finding."""
        return self.at_renewal is not None and abs(math.log(self.ratio)) <= math.log1p(self.at_renewal)


@dataclass(frozen=True, kw_only=True)
class _Chain:
    """The way from a reference back to the first: ln(this / first), its variance, the fewest blocks of an overlap."""

    first: str
    offset: float
    variance: float
    n: int | None

    def then(self, step: "_Chain") -> "_Chain":
        """One renewal further."""
        n = min(one for one in (self.n, step.n) if one is not None)
        return _Chain(first=self.first, offset=self.offset + step.offset, variance=self.variance + step.variance, n=n)


def series_of(lines: Sequence[Line], pins: Sequence[Pin]) -> list[Series]:
    """Lines in order -> series. One is cut where the reference was renewed without an overlap on that machine.

    A run that measured several references counts by the newest of them.
    """
    order = {pin.name: number for number, pin in enumerate(pins)}
    unknown = {line.reference for line in lines if line.reference not in order}
    if unknown:
        named = ", ".join(sorted(unknown))
        raise InputError(f"the history holds ratios to {named}, which {PIN_FILE} does not name; restore that file")
    overlaps = _overlaps(lines)
    of_runs: dict[tuple[str, ...], dict[str, Line]] = defaultdict(dict)
    for line in lines:
        known = of_runs[line.series].get(line.run)
        if known is None or order[known.reference] < order[line.reference]:
            of_runs[line.series][line.run] = line
    return [
        one
        for _, runs in sorted(of_runs.items())
        for one in _chained(list(runs.values()), [p.name for p in pins], overlaps)
    ]


def _overlaps(lines: Iterable[Line]) -> dict[tuple[tuple[str, ...], str, str], _Chain]:
    """ln(new / old) by place, old and new; several runs weigh by their blocks."""
    found: dict[tuple[tuple[str, ...], str, str], list[Line]] = defaultdict(list)
    for line in lines:
        if line.case_is is not None and line.case_is != line.reference:
            found[line.place, line.reference, line.case_is].append(line)
    pooled = {}
    for key, of in found.items():
        n = sum(line.n for line in of)
        mean = math.fsum(line.n * line.log_ratio for line in of) / n
        variance = math.fsum((line.n * line.standard_error) ** 2 for line in of) / n**2
        pooled[key] = _Chain(first=key[1], offset=mean, variance=variance, n=n)
    return pooled


def _chained(
    lines: Sequence[Line], pins: Sequence[str], overlaps: Mapping[tuple[tuple[str, ...], str, str], _Chain]
) -> list[Series]:
    """Put lines in terms of the oldest reference that overlaps lead back to."""
    place = lines[0].place
    chains: dict[str, _Chain] = {}
    for number, name in enumerate(pins):
        chains[name] = _Chain(first=name, offset=0.0, variance=0.0, n=None)
        step = overlaps.get((place, pins[number - 1], name)) if number else None
        if step is not None:
            chains[name] = chains[pins[number - 1]].then(step)
    groups: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        groups[chains[line.reference].first].append(line)
    return [_series(first, of, chains) for first, of in groups.items()]


def _series(first: str, lines: Sequence[Line], chains: Mapping[str, _Chain]) -> Series:
    points, renewals = [], []
    for number, line in enumerate(lines):
        chain = chains[line.reference]
        error = math.sqrt(line.standard_error**2 + chain.variance)
        points.append(Point(line=line, log_ratio=line.log_ratio + chain.offset, standard_error=error))
        before = lines[number - 1].reference if number else line.reference
        if before != line.reference:
            variance, n = abs(chain.variance - chains[before].variance), chain.n or chains[before].n or LEAST_BLOCKS
            half = half_width(math.sqrt(variance * n), n)
            renewals.append(Renewal(index=number, old=before, new=line.reference, half_width=math.expm1(half)))
    return Series(reference=first, points=tuple(points), renewals=tuple(renewals))


def changes_of(series: Series, indexes: Iterable[int]) -> list[Change]:
    """What a detector found -> changes with at least three points on either side, and the commits they came with.

    indexes: of the first points after a step. Of those too close to an end or to each other, the smallest step goes
    first, until the rest have room.
    """
    last = len(series.points)
    kept = sorted({index for index in indexes if 0 < index < last})
    while True:
        edges = [0, *kept, last]
        narrow = {
            index
            for left, right in pairwise(edges)
            if right - left < LEAST_POINTS
            for index in (left, right)
            if index in kept
        }
        if not narrow:
            return [_change(series, *around) for around in zip(edges, edges[1:], edges[2:], strict=False)]
        kept.remove(min(narrow, key=lambda index: (abs(_step(series, kept, index)), -index)))


def _level(series: Series, start: int, end: int) -> float:
    return math.fsum(point.log_ratio for point in series.points[start:end]) / (end - start)


def _step(series: Series, kept: Sequence[int], index: int) -> float:
    edges = [0, *kept, len(series.points)]
    at = edges.index(index)
    return _level(series, index, edges[at + 1]) - _level(series, edges[at - 1], index)


def _change(series: Series, start: int, index: int, end: int) -> Change:
    before, after = series.points[index - 1].line, series.points[index].line
    step = _level(series, index, end) - _level(series, start, index)
    more_is_faster = QUANTITIES[after.quantity][1]
    renewal = next((one for one in series.renewals if one.index == index), None)
    names = sorted(before.packages.keys() | after.packages.keys())
    versions = [(name, before.packages.get(name, "none"), after.packages.get(name, "none")) for name in names]
    return Change(
        index=index,
        before=before.commit,
        after=after.commit,
        ratio=math.exp(step),
        faster=(step > 0) == more_is_faster,
        at_renewal=None if renewal is None else renewal.half_width,
        packages=tuple(one for one in versions if one[1] != one[2]),
    )
