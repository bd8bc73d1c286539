"""Claims (TOML) and Points -> for each claim and machine a verdict, with the observations that it stands on. Pure.

A claim is a sentence that people say, what it would mean to be true, and the rule that decides it. Under each set of
conditions (subjects, task, batch size, threads, ...) an observation holds, fails, or stays undecided; then

- supported: it holds in at least the asked share of the conditions,
- refuted: it fails in at least that share,
- depends: it holds in some and fails in others, which are named,
- undecided: neither, and what would decide it is said,
- not measured here: no record speaks of it, and why.

A rule that asks all conditions to agree needs no correction for their number: it is an intersection-union test (Berger
1982, Technometrics 24), as hard to pass as its hardest condition. Where a smaller share is asked, the claim says so.
"""

import fnmatch
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from packaging.version import InvalidVersion, Version
from pydantic import Field, model_validator

from bench.distributions import f_quantile
from bench.duets import Contest, Played, contests
from bench.equivalence import LEAST_SEEDS, MARGIN, equivalence
from bench.errors import InputError
from bench.measures import DUET, Conditions, Point, Points, chosen_run, median_of
from bench.record import Machine, Trial, Value, read_toml
from bench.stats import blocks_to_decide, difference_of_shares, estimate, half_width
from bench.studying import Studied
from bench.task import unwidened

SHIPPED = Path(__file__).parent / "claims.toml"

Kind = Literal["ratio", "equivalent", "exact", "same", "at-most", "spread", "failures"]
Outcome = Literal["holds", "fails", "undecided", "no figure"]
ClaimVerdict = Literal["supported", "refuted", "depends", "undecided", "not measured here"]
Record = tuple[Path, Trial]


class Evidence(Value):
    """What is looked at for a claim.

    kind, of the value of the first of a pair (for) beside the second's (against), paired by run and block:

    - ratio: how many times better the first is, exp(mean of log ratios); holds where its 95% interval lies above
      `least` (and below `most`), fails where it lies outside.
    - equivalent: the difference lies within +-`margin`, by two one-sided t-tests over paired seeds.
    - exact: figures without chance (a count, a size that is the same in each process): the first is better by more than
      the factor `least`.
    - spread: the ratio of the standard deviations of the log values over processes, second over first, with its F
      interval; deviations are from each condition's own mean and are pooled over all conditions.
    - failures: of frameworks, the share of failed trials over all conditions, by Newcombe's interval of a difference
      (1998, Statistics in Medicine 17).

    And of subjects by themselves: same, all processes give one value; at-most, the mean's interval lies under `limit`.

    pairs: of subjects; best_of: of frameworks, each by the subject with the best median under the very conditions;
    vary: subjects beside themselves, or the first of a pair beside the second, the first of `values` (say 2 threads)
    against the second (1 thread). Where processes had to share cores, no claim is decided.
    needs: subjects without which a set of conditions is left out, for a best is none where the fast ones did not run.
    """

    what: str
    measure: str
    kind: Kind = "ratio"
    better: Literal["more", "less"] = "more"
    pairs: tuple[tuple[str, str], ...] = ()
    best_of: tuple[tuple[str, str], ...] = ()
    subjects: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    least: Annotated[float, Field(gt=0)] = 1.01
    most: Annotated[float, Field(gt=0)] | None = None
    margin: Annotated[float, Field(gt=0)] = MARGIN
    limit: float | None = None
    vary: Literal["threads", "processes"] | None = None
    values: tuple[int, int] | None = None
    tasks: tuple[str, ...] = ()  # names, * allowed; empty: all
    batch_sizes: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()
    threads: tuple[int, ...] = ()
    device: Literal["cpu", "cuda"] = "cpu"

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        alone = self.kind in ("same", "at-most") or (self.vary is not None and not self.pairs)
        if alone != bool(self.subjects) or alone == bool(self.pairs or self.best_of) or (self.vary and self.best_of):
            raise ValueError(f"kind: {self.kind} needs {'subjects' if alone else 'pairs or best_of'}, and nothing else")
        if (self.vary is None) != (self.values is None) or (self.vary and self.kind in ("same", "at-most")):
            raise ValueError("vary: needs values, two of them, and a kind that compares")
        if (self.kind == "at-most") != (self.limit is not None):
            raise ValueError("limit: belongs to kind at-most, and to no other")
        return self


class Claim(Value):
    """A sentence and its rule. said_by: where it comes from. topic: a word to group by.

    agree: the share of the conditions that must agree. expires: versions from which on the verdict is not to be relied
    on. unmeasured: why no record here can speak of it. answers: what the page's first lines say, by verdict; {factor},
    the range of how many times better it was seen, and {where} are filled in. headline: the place among those lines; of
    claims with one place the last that has an answer is said, so the more exact one stands after the other.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    topic: str
    sentence: str
    said_by: str
    meaning: str
    agree: Annotated[float, Field(gt=0.5, le=1)] = 1.0
    expires: dict[str, str] = Field(default_factory=dict)
    unmeasured: str = ""
    headline: int | None = None
    answers: dict[ClaimVerdict, str] = Field(default_factory=dict)
    evidence: list[Evidence]

    @model_validator(mode="after")
    def _answers_can_be_filled(self) -> Self:
        for template in self.answers.values():
            try:
                template.format(where="", factor="")
            except (KeyError, IndexError, ValueError):
                raise ValueError(
                    f"answers: {template[:40]!r} holds another blank than {{factor}} and {{where}}"
                ) from None
        return self


class _File(Value):
    claim: list[Claim]


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What is seen of one piece of evidence under one set of conditions.

    subject, against: whose values a and b (medians, in `unit`) are; against is empty where a subject stands alone.
    value: by the kind, how many times better (ratio, exact, spread), a difference (equivalent, failures), or the mean
    (at-most); None with the reason. blocks_to_decide: in all, where that can be told.
    """

    evidence: Evidence
    conditions: Conditions
    subject: str
    against: str
    mode: str
    outcome: Outcome
    a: float | None
    b: float | None
    unit: str
    n: int
    value: float | None
    interval: tuple[float, float] | None
    reason: str | None
    blocks_to_decide: int | None
    paths: tuple[Path, ...]
    run: str

    @property
    def repetition(self) -> Literal["block", "duet"]:
        """What there must be more of for a verdict."""
        return "duet" if self.conditions.study == DUET else "block"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim on one machine. where: the conditions, of a verdict that depends. why: in a sentence.

    machine: whose records speak of it, also where they have no figure; None where no record does.
    expired: packages that have reached the version from which on the verdict is not to be relied on.
    """

    claim: Claim
    machine: Machine | None
    verdict: ClaimVerdict
    where: str
    why: str
    observations: tuple[Observation, ...]
    expired: tuple[str, ...]
    versions: Mapping[str, str]

    @property
    def answer(self) -> str | None:
        """The claim's sentence for this verdict, filled in; None where it has none."""
        template = self.claim.answers.get(self.verdict)
        seen = [o.value for o in self.observations if o.value is not None]
        if template is None:
            return None
        ends = list(dict.fromkeys(map(_factor, (min(seen), max(seen))))) if seen else ["?"]
        return template.format(where=self.where, factor=" to ".join(ends))


def _factor(value: float) -> str:
    """Two digits, and a third near 1: 1.04 times as many is not 1 times as many."""
    return f"{value:.3g}" if 0.9 <= value < 1.1 else f"{value:.2g}"


def read_claims(path: Path = SHIPPED) -> list[Claim]:
    """The claims of a TOML file. Raises InputError with file and path of what is wrong."""
    claims = read_toml(_File, path).claim
    names = [claim.name for claim in claims]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}: claim {name!r} is there twice; name each once")
    return claims


def choose(claims: Sequence[Claim], names: Sequence[str], place: Path) -> list[Claim]:
    """The claims of these names, all where none is given. Raises InputError."""
    known = {claim.name: claim for claim in claims}
    for name in names:
        if name not in known:
            raise InputError(f"{place}: holds no claim {name!r}; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)] if names else list(claims)


def judge(
    claims: Sequence[Claim], trials: Sequence[Record], studies: Sequence[Studied], duets: Sequence[Played] = ()
) -> list[Judged]:
    """Every claim on every machine that measured anything of it; machines are never pooled.

    A claim that no machine measured comes back once, with machine None. Raises InputError on an unknown measure.
    """
    return verdicts(claims, [judge_seen(claims, Seen(trials, studies, contests(duets)))])


class Seen:
    """The points of all records by measure, conditions and subject; each measure's are made when asked for.

    Points of an environment with a label are left out: claims speak of the runner's own.
    """

    def __init__(self, trials: Sequence[Record], studies: Sequence[Studied], contests_: Sequence[Contest] = ()) -> None:
        self._points = Points(trials, studies, contests_)
        self._of: dict[str, Grouped] = {}

    def of(self, measure: str) -> "Grouped":
        """The points of a measure. Raises InputError on an unknown one."""
        if measure not in self._of:
            groups: dict[Conditions, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
            for point in self._points.of(measure):
                if not point.environment:
                    groups[point.conditions][point.subject].append(point)
            self._of[measure] = groups
        return self._of[measure]


Grouped = Mapping[Conditions, Mapping[str, list[Point]]]


@dataclass(frozen=True, kw_only=True)
class OnMachine:
    """A claim's verdict on one machine that measured something of it. evidence: the number of the first such."""

    claim: str
    evidence: int
    machine: str
    judged: Judged


def judge_seen(claims: Sequence[Claim], seen: Seen) -> list[OnMachine]:
    """Every claim on every machine that measured anything of it. Raises InputError on an unknown measure."""
    found = []
    for claim in claims:
        of_machine: dict[str, list[Observation]] = defaultdict(list)
        points_: dict[str, list[Point]] = defaultdict(list)
        first: dict[str, int] = {}
        for number, evidence in enumerate(claim.evidence):
            grouped = seen.of(evidence.measure)
            asked = {conditions: of for conditions, of in grouped.items() if _asked(evidence, conditions)}
            for observation, used in _observe(evidence, asked):
                machine = observation.conditions.machine
                of_machine[machine].append(observation)
                points_[machine] += used
                first.setdefault(machine, number)
        found += [
            OnMachine(
                claim=claim.name,
                evidence=first[machine],
                machine=machine,
                judged=_judged(claim, observations, points_[machine]),
            )
            for machine, observations in of_machine.items()
        ]
    return found


def verdicts(claims: Sequence[Claim], parts: Iterable[Sequence[OnMachine]]) -> list[Judged]:
    """The verdicts of all parts, whichever machines each was of, claim by claim in order of evidence and machine."""
    of_claim: dict[str, list[OnMachine]] = defaultdict(list)
    for part in parts:
        for one in part:
            of_claim[one.claim].append(one)
    found = []
    for claim in claims:
        seen = sorted(of_claim[claim.name], key=lambda one: (one.evidence, one.machine))
        found += [one.judged for one in seen] or [_unmeasured(claim)]
    return found


def _asked(evidence: Evidence, c: Conditions) -> bool:
    """Whether conditions lie in the range that the evidence asks about."""
    return (
        c.device == evidence.device
        and c.precision == "ieee"
        and not c.cores_shared
        and (not evidence.tasks or any(fnmatch.fnmatchcase(c.task, pattern) for pattern in evidence.tasks))
        and (not evidence.batch_sizes or c.batch_size in evidence.batch_sizes)
        and (not evidence.widths or c.width in evidence.widths)
        and (not evidence.threads or c.threads in evidence.threads)
    )


Observed = tuple[Observation, list[Point]]


def _observe(evidence: Evidence, by: Grouped) -> Iterable[Observed]:
    """Every observation of a piece of evidence, in order of its conditions, with the points that it stands on."""
    if evidence.kind in ("spread", "failures"):
        yield from _pooled(evidence, by)
        return
    for conditions in sorted(by, key=_order):
        subjects = by[conditions]
        if not subjects.keys() >= set(evidence.needs):
            continue
        if evidence.values is not None:
            yield from _varied(evidence, conditions, by)
            continue
        if evidence.subjects:
            for subject in evidence.subjects:
                if subject in subjects:
                    chosen = chosen_run(subjects[subject])
                    yield _alone(evidence, conditions, chosen), chosen
            continue
        found = [
            _one_run(subjects[subject], subjects[against])
            for subject, against in evidence.pairs
            if subject in subjects and against in subjects
        ]
        found += [_best_of(evidence, subjects, frameworks) for frameworks in evidence.best_of]
        for a, b in found:
            if a and b:
                yield _beside(evidence, conditions, a, b), [*a, *b]


def _pooled(evidence: Evidence, by: Mapping[Conditions, Mapping[str, list[Point]]]) -> Iterable[Observed]:
    """One observation a pair and machine, over all conditions under which both were measured."""
    for machine in sorted({conditions.machine for conditions in by}):
        for subject, against in evidence.pairs:
            sides: tuple[list[list[Point]], list[list[Point]]] = ([], [])
            for conditions in sorted((c for c in by if c.machine == machine), key=_order):
                found = [
                    [p for of in by[conditions].values() for p in of if who in (p.subject, p.framework)]
                    for who in (subject, against)
                ]
                if all(found):
                    for side, of in zip(sides, found, strict=True):
                        side.append(of if evidence.kind == "failures" else chosen_run(of))
            if not sides[0]:
                continue
            a, b = ([point for of in side for point in of] for side in sides)
            seen = _failures(a, b) if evidence.kind == "failures" else _spread(evidence, *sides)
            everywhere = Conditions(
                machine=machine,
                task="all tasks",
                fingerprint="",
                batch_size=0,
                width=0,
                epochs=0,
                optimizer="",
                threads=0,
                device=evidence.device,
                precision="ieee",
            )
            observation = _observation(evidence, everywhere, a, b, seen)
            yield replace(observation, subject=subject, against=against), [*a, *b]


def _varied(
    evidence: Evidence, conditions: Conditions, by: Mapping[Conditions, Mapping[str, list[Point]]]
) -> Iterable[Observed]:
    """Subjects under these conditions, of the first of the values, beside themselves or others at the second."""
    assert evidence.values is not None
    assert evidence.vary is not None
    here, there = ({evidence.vary: value} for value in evidence.values)
    if conditions != replace(conditions, **here):  # type: ignore[arg-type]
        return
    others = by.get(replace(conditions, **there), {})  # type: ignore[arg-type]
    for subject, against in evidence.pairs or zip(evidence.subjects, evidence.subjects, strict=True):
        if subject in by[conditions] and against in others:
            a, b = _one_run(by[conditions][subject], others[against])
            if a and b:
                one = _beside(evidence, conditions, a, b)
                yield replace(one, against=f"{against} with {evidence.vary} {evidence.values[1]}"), [*a, *b]


def _order(conditions: Conditions) -> tuple[object, ...]:
    return tuple(getattr(conditions, field.name) for field in fields(conditions))


def _best_of(
    evidence: Evidence, subjects: Mapping[str, list[Point]], frameworks: tuple[str, str]
) -> tuple[list[Point], list[Point]]:
    """The points of each framework's best subject, both of one run; none where no run has both, and what is needed.

    The run with the most subjects of the two, then with the most blocks, then the newest: a best among few is none.
    Chosen on the trials that are then compared (docs/method.md).
    """
    runs: dict[str, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for subject, of in subjects.items():
        for point in of:
            runs[point.run][subject].append(point)

    def best(run: str, framework: str) -> str | None:
        medians = {
            name: value
            for name, of in sorted(runs[run].items())
            if of[0].framework == framework and (value := median_of(of)) is not None
        }
        if not medians:
            return None
        return (max if evidence.better == "more" else min)(medians, key=lambda name: medians[name])

    def rank(run: str) -> tuple[int, int, str, str]:
        points_ = [point for of in runs[run].values() for point in of if of[0].framework in frameworks]
        newest = max(point.started_utc for point in points_)
        return len({p.subject for p in points_}), len({p.block for p in points_}), newest, run

    able = [
        run
        for run in runs
        if runs[run].keys() >= set(evidence.needs) and all(best(run, framework) for framework in frameworks)
    ]
    if not able:
        return [], []
    run = max(able, key=rank)
    first, second = (best(run, framework) or "" for framework in frameworks)
    return runs[run][first], runs[run][second]


def _one_run(a: Sequence[Point], b: Sequence[Point]) -> tuple[list[Point], list[Point]]:
    """The points of the run that both share, with the most blocks in common, then the newest; none where none is."""
    blocks: list[dict[str, set[int]]] = []
    for side in (a, b):
        of: dict[str, set[int]] = defaultdict(set)
        for point in side:
            of[point.run].add(point.block)
        blocks.append(of)
    common = {run: len(blocks[0][run] & blocks[1][run]) for run in blocks[0].keys() & blocks[1].keys()}
    common = {run: count for run, count in common.items() if count}
    if not common:
        return [], []
    newest = {run: max(p.started_utc for p in a if p.run == run) for run in common}
    run = max(common, key=lambda name: (common[name], newest[name], name))
    return [p for p in a if p.run == run], [p for p in b if p.run == run]


def _beside(evidence: Evidence, conditions: Conditions, a: Sequence[Point], b: Sequence[Point]) -> Observation:
    """The first of a pair beside the second, by the evidence's kind."""
    compare = {"ratio": _ratio, "exact": _exact, "equivalent": _equivalent}[evidence.kind]
    return _observation(evidence, conditions, a, b, compare(evidence, a, b))


def _observation(
    evidence: Evidence, conditions: Conditions, a: Sequence[Point], b: Sequence[Point], seen: "_Told"
) -> Observation:
    return Observation(
        evidence=evidence,
        conditions=conditions,
        subject=a[0].subject,
        against=b[0].subject,
        mode=a[0].mode if a[0].mode == b[0].mode else f"{a[0].mode} against {b[0].mode}",
        outcome=seen.outcome,
        a=median_of(a),
        b=median_of(b),
        unit=_unit([*a, *b]),
        n=seen.n,
        value=seen.value,
        interval=seen.interval,
        reason=seen.reason,
        blocks_to_decide=seen.blocks,
        paths=tuple(point.path for point in (*a, *b)),
        run=a[0].run,
    )


@dataclass(frozen=True, kw_only=True)
class _Told:
    outcome: Outcome
    n: int
    value: float | None = None
    interval: tuple[float, float] | None = None
    reason: str | None = None
    blocks: int | None = None


def _unit(points_: Iterable[Point]) -> str:
    """The measure's unit, by whichever process tells it."""
    return next((point.unit for point in points_ if point.unit), "")


def _why(points_: Iterable[Point]) -> str | None:
    return next((point.why for point in points_ if point.why), None)


def _confidence(points_: Iterable[Point]) -> float:
    """Of an interval that is printed as 95%: the highest that one of the points asks for.

    Not of differences of accuracy or of shares of failures: those have no say in when a run stops.
    """
    return max(point.confidence for point in points_)


def _pairs(a: Sequence[Point], b: Sequence[Point], key: Callable[[Point], int]) -> list[tuple[float, float]]:
    """Values of both sides where both have one, by block or by seed."""
    of_b = {key(point): point.value for point in b}
    found = []
    for point in a:
        other = of_b.get(key(point))
        if point.value is not None and other is not None:
            found.append((point.value, other))
    return found


def _ratio(evidence: Evidence, a: Sequence[Point], b: Sequence[Point]) -> _Told:
    pairs = [(x, y) for x, y in _pairs(a, b, lambda p: p.block) if x > 0 and y > 0]
    sign = 1 if evidence.better == "more" else -1
    confidence = _confidence([*a, *b])
    seen = estimate([sign * math.log(x / y) for x, y in pairs], confidence=confidence)
    if seen.mean is None:
        return _Told(outcome="no figure", n=0, reason=_why([*a, *b]) or "no block has a positive value on both sides")
    value = math.exp(seen.mean)
    if seen.interval is None or seen.sd is None:
        return _Told(outcome="undecided", n=seen.n, value=value, reason=seen.reason)
    low, high = math.exp(seen.interval[0]), math.exp(seen.interval[1])
    outcome = _within(low, high, evidence.least, evidence.most)
    blocks = None
    if outcome == "undecided":
        edges = [evidence.least] if evidence.most is None else [evidence.least, evidence.most]
        nearest = min(edges, key=lambda edge: abs(math.log(edge) - seen.mean))  # type: ignore[operator]
        # blocks_to_decide asks for the distance of |mean| from a band: here the distance from the edge, no band.
        blocks = blocks_to_decide(seen.mean - math.log(nearest), seen.sd, band=0.0)
    return _Told(outcome=outcome, n=seen.n, value=value, interval=(low, high), blocks=blocks)


def _within(low: float, high: float, least: float, most: float | None) -> Outcome:
    if low > least and (most is None or high < most):
        return "holds"
    return "fails" if high <= least or (most is not None and low >= most) else "undecided"


def _exact(evidence: Evidence, a: Sequence[Point], b: Sequence[Point]) -> _Told:
    """Figures that are the same in each process; one that is not is no exact figure, and that is said."""
    sides = [{point.value for point in side if point.value is not None} for side in (a, b)]
    n = min(len(a), len(b))
    if not all(sides):
        return _Told(outcome="no figure", n=0, reason=_why([*a, *b]) or "a side has no value")
    if any(len(side) > 1 for side in sides):
        return _Told(outcome="undecided", n=n, reason="the figure differs from process to process, so it is not exact")
    x, y = (next(iter(side)) for side in sides)
    value = None
    if min(x, y) > 0:
        value = x / y if evidence.better == "more" else y / x
        holds = value > evidence.least
    else:
        holds = x > y if evidence.better == "more" else x < y
    return _Told(outcome="holds" if holds else "fails", n=n, value=value)


def _spread(evidence: Evidence, a: Sequence[Sequence[Point]], b: Sequence[Sequence[Point]]) -> _Told:
    """sd of b's log values over a's; F interval of a ratio of two variances, assuming that logs are about normal."""
    (of_a, free_a), (of_b, free_b) = _deviation(a), _deviation(b)
    n = min(free_a, free_b)
    if of_a is None or of_b is None:
        return _Told(outcome="no figure", n=0, reason="a spread needs two processes of a case")
    if of_a == 0 or of_b == 0:
        return _Told(outcome="undecided", n=n, reason="a side does not vary at all")
    value, tail = of_b / of_a, (1 - _confidence(point for of in (*a, *b) for point in of)) / 2
    low = value / math.sqrt(f_quantile(free_b, free_a, 1 - tail))
    high = value / math.sqrt(f_quantile(free_b, free_a, tail))
    outcome = _within(low, high, evidence.least, evidence.most)
    reason = f"the F interval of {n} degrees of freedom is too wide" if outcome == "undecided" else None
    return _Told(outcome=outcome, n=n, value=value, interval=(low, high), reason=reason)


def _deviation(conditions: Sequence[Sequence[Point]]) -> tuple[float | None, int]:
    """Standard deviation of log values from each condition's own mean, pooled, and its degrees of freedom."""
    squares, free = 0.0, 0
    for of in conditions:
        logs = [math.log(point.value) for point in of if point.value is not None and point.value > 0]
        if len(logs) > 1:
            squares += statistics.variance(logs) * (len(logs) - 1)
            free += len(logs) - 1
    return (math.sqrt(squares / free), free) if free else (None, 0)


def _equivalent(evidence: Evidence, a: Sequence[Point], b: Sequence[Point]) -> _Told:
    seen = equivalence([x - y for x, y in _pairs(a, b, lambda p: p.seed)], margin=evidence.margin)
    if seen.n == 0:
        return _Told(outcome="no figure", n=0, reason=_why([*a, *b]) or seen.reason)
    outcome: Outcome = (
        "holds" if seen.verdict == "equivalent" else "undecided" if seen.verdict == "undecided" else "fails"
    )
    return _Told(outcome=outcome, n=seen.n, value=seen.difference, interval=seen.interval, reason=seen.reason)


MOST_DIFFERENCE = 0.05  # of shares of failed trials: below that "no more failures" is decided


def _failures(a: Sequence[Point], b: Sequence[Point]) -> _Told:
    """b's share less a's: above 0 where a fails more seldom."""
    failed_b, failed_a = (sum(point.value == 1 for point in side) for side in (b, a))
    low, high = difference_of_shares((failed_b, len(b)), (failed_a, len(a)))
    value = failed_b / len(b) - failed_a / len(a)
    outcome: Outcome = "holds" if low > 0 else "fails" if high < MOST_DIFFERENCE else "undecided"
    reason = (
        f"{len(a)} and {len(b)} trials cannot rule out a difference of 5 points" if outcome == "undecided" else None
    )
    return _Told(outcome=outcome, n=min(len(a), len(b)), value=value, interval=(low, high), reason=reason)


def _alone(evidence: Evidence, conditions: Conditions, of: Sequence[Point]) -> Observation:
    """A subject by itself: same, or at-most."""
    values = [point.value for point in of if point.value is not None]
    outcome: Outcome = "undecided" if values else "no figure"
    value: float | None = None
    interval, reason = None, None
    if evidence.kind == "same":
        if len(values) >= 2:
            outcome, value = ("holds" if len(set(values)) == 1 else "fails"), float(len(set(values)))
        reason = None if len(values) >= 2 else _why(of) or "one process cannot be the same as another"
    else:
        assert evidence.limit is not None
        seen = estimate(values)
        value, reason = seen.mean, _why(of) or seen.reason
        if seen.mean is not None and seen.sd is not None:
            half = half_width(seen.sd, seen.n, confidence=_confidence(of))
            interval = seen.mean - half, seen.mean + half
            outcome = "holds" if interval[1] <= evidence.limit else "fails" if interval[0] > evidence.limit else outcome
            reason = "the interval reaches across the limit" if outcome == "undecided" else None
    return Observation(
        evidence=evidence,
        conditions=conditions,
        subject=of[0].subject,
        against="",
        mode=of[0].mode,
        outcome=outcome,
        a=median_of(of),
        b=None,
        unit=_unit(of),
        n=len(values),
        value=value,
        interval=interval,
        reason=reason,
        blocks_to_decide=None,
        paths=tuple(point.path for point in of),
        run=of[0].run,
    )


def _unmeasured(claim: Claim) -> Judged:
    return unmeasured(claim, claim.unmeasured or "no record here speaks of it; " + _how(claim))


def unmeasured(claim: Claim, why: str) -> Judged:
    """The verdict of a claim that no record speaks of, and why not."""
    return Judged(
        claim=claim,
        machine=None,
        verdict="not measured here",
        where="",
        why=why,
        observations=(),
        expired=(),
        versions={},
    )


def _how(claim: Claim) -> str:
    """The command that would measure it."""
    studies = sorted({e.measure.partition("/")[0] for e in claim.evidence if "/" in e.measure} - {DUET})
    if studies:
        return f"`bench study {' '.join(studies)}` measures it"
    if turns := [pair for e in claim.evidence if e.measure.startswith(f"{DUET}/") for pair in e.pairs]:
        return f"`bench duet {turns[0][0]} --against {turns[0][1]}` measures it, pair by pair"
    entries = sorted({name for e in claim.evidence for name in (*(n for pair in e.pairs for n in pair), *e.subjects)})
    command = "bench run --profile full" + "".join(f" --entry {name}" for name in entries)
    for vary, value in dict.fromkeys((e.vary, value) for e in claim.evidence for value in reversed(e.values or ())):
        command += f" --{vary} {value}"
    return f"`{command}` measures it"


def _judged(claim: Claim, observations: Sequence[Observation], used: Sequence[Point]) -> Judged:
    short = _short(observations)
    holding, failing, open_ = (
        [o for o in observations if o.outcome == outcome and o not in short]
        for outcome in ("holds", "fails", "undecided")
    )
    n = len(holding) + len(failing) + len(open_)  # without a figure nothing can agree or disagree
    if n == 0:
        why = claim.unmeasured or "; ".join(sorted({o.reason for o in observations if o.reason}))
        return replace(unmeasured(claim, why), machine=used[-1].of_machine)
    enough = math.ceil(claim.agree * n - 1e-9)
    where = ""
    verdict: ClaimVerdict
    if len(holding) >= enough:
        verdict, why = "supported", f"holds in {len(holding)} of {n}"
    elif len(failing) >= enough:
        verdict, why = "refuted", f"fails in {len(failing)} of {n}"
    elif holding and failing:
        verdict, where = "depends", explain(observations)
        why = f"holds {where} ({len(holding)} of {n}, fails in {len(failing)})"
    else:
        verdict, why = "undecided", f"{len(open_)} of {n} are not decided; {_would_decide(open_)}"
    if short:
        why += f"; {len(short)} more with fewer than {LEAST_SEEDS} seeds set aside"
    versions = {name: version for point in used for name, version in point.versions.items()}
    return Judged(
        claim=claim,
        machine=used[-1].of_machine,
        verdict=verdict,
        where=where,
        why=why,
        observations=tuple(observations),
        expired=tuple(
            sorted(n for n, from_ in claim.expires.items() if n in versions and _reached(versions[n], from_))
        ),
        versions=versions,
    )


def _short(observations: Sequence[Observation]) -> list[Observation]:
    """The equivalences of too few seeds to hold or fail, where another has enough: they must not undo it."""
    equivalences = [o for o in observations if o.evidence.kind == "equivalent" and o.n > 0]
    short = [o for o in equivalences if o.n < LEAST_SEEDS]
    return short if len(short) < len(equivalences) else []


def _reached(version: str, from_: str) -> bool:
    try:
        return Version(version) >= Version(from_)
    except InvalidVersion:
        return version >= from_


def _would_decide(open_: Sequence[Observation]) -> str:
    blocks = [o.blocks_to_decide for o in open_ if o.blocks_to_decide is not None]
    times = " or ".join(sorted({f"{o.repetition}s" for o in open_}))
    if blocks and len(blocks) == len(open_):
        return f"about {max(blocks)} {times} would decide"
    return "; ".join(sorted({o.reason for o in open_ if o.reason})) or f"more than 10,000 {times} would be needed"


# What conditions are told apart by.
_NUMBERS = {"batch_size": "batch", "width": "width", "threads": "threads"}

# By words: what is put before the values, and the value.
_WORDS: tuple[tuple[str, Callable[[Observation], str]], ...] = (
    ("for", lambda o: o.evidence.what),
    ("in mode", lambda o: o.mode),
    ("for", lambda o: f"{o.subject} against {o.against}"),
    ("with optimiser", lambda o: o.conditions.optimizer),
    ("for", lambda o: f"{o.evidence.what} ({o.subject} against {o.against})"),
)


def explain(observations: Sequence[Observation]) -> str:
    """Where it holds: by the first condition that tells holding from failing apart, else as a list.

    Tasks on which it holds nowhere are named apart, where a condition tells the others apart. Where a condition does so
    with the task alone, the tasks stand behind each of its values.
    """
    decided = [o for o in observations if o.outcome in ("holds", "fails")]
    if (where := _in_words(decided)) is not None:
        return where
    if len({unwidened(o.conditions.task)[0] for o in decided}) == 1:  # else the task may be the reason
        for name, title in _NUMBERS.items():
            split = _split(decided, attrgetter(f"conditions.{name}"))
            if split is not None:
                return _by_number(title, split)
    if _split(decided, lambda o: o.conditions.task):
        return "for " + _listed([o.conditions.task for o in decided if o.outcome == "holds"])
    tasks = {o.conditions.task for o in decided if o.outcome == "holds"}
    if (where := _in_words([o for o in decided if o.conditions.task in tasks])) is not None:
        others = dict.fromkeys(o.conditions.task for o in decided if o.conditions.task not in tasks)
        return f"{where}, and not at all for {_listed(list(others))}"
    if (where := _by_task(decided)) is not None:
        return where
    return "for " + _listed([describe(o) for o in decided if o.outcome == "holds"])


def _in_words(decided: Sequence[Observation]) -> str | None:
    """In mode graph, not in mode eager: by the first of _WORDS that tells holding from failing; None where none is."""
    for title, of in _WORDS:
        split = _split(decided, of)
        if split is not None and len(set(split.values())) > 1:
            yes, no = ([str(value) for value, held in split.items() if held is wanted] for wanted in (True, False))
            return f"{title} {_listed(yes)}, not {title} {_listed(no)}"
    return None


def _by_task(decided: Sequence[Observation]) -> str | None:
    """In mode graph (mlp and mlp-wide) and compiled (mlp), not in mode eager: by the first of _WORDS that tells so."""
    for title, of in _WORDS:
        holding: dict[str, list[str]] = {of(o): [] for o in decided}
        if len(holding) < 2 or _split(decided, partial(_with_task, of)) is None:
            continue
        for o in decided:
            holding[of(o)] += [o.conditions.task] if o.outcome == "holds" else []
        yes = [f"{value} ({_listed(tasks)})" for value, tasks in holding.items() if tasks]
        no = [value for value, tasks in holding.items() if not tasks]
        return f"{title} {_listed(yes)}" + (f", not {title} {_listed(no)}" if no else "")
    return None


def _with_task(of: Callable[[Observation], str], o: Observation) -> tuple[str, str]:
    return of(o), o.conditions.task


def _split(decided: Sequence[Observation], of: Callable[[Observation], object]) -> dict[object, bool] | None:
    """value -> holds, where the value alone tells; None where it does not, or where there is but one."""
    found: dict[object, set[bool]] = defaultdict(set)
    for o in decided:
        found[of(o)].add(o.outcome == "holds")
    if len(found) < 2 or any(len(outcomes) > 1 for outcomes in found.values()):
        return None
    return {value: next(iter(outcomes)) for value, outcomes in found.items()}


def _by_number(title: str, split: Mapping[object, bool]) -> str:
    """From batch 512 on, up to batch 128, or the values, where it changes more than once."""
    values = sorted(split)  # type: ignore[type-var]
    changes = [b for a, b in pairwise(values) if split[a] != split[b]]
    if len(changes) == 1:
        last_before = values[values.index(changes[0]) - 1]
        if split[changes[0]]:
            return f"from {title} {changes[0]} on, not up to {title} {last_before}"
        return f"up to {title} {last_before}, not from {title} {changes[0]} on"
    return "at " + _listed([f"{title} {value}" for value in values if split[value]])


def _listed(words: Sequence[str], most: int = 4) -> str:
    """One; one and two; one, two and three; at most so many, and how many more."""
    words = list(dict.fromkeys(words))
    shown = words if len(words) <= most else [*words[: most - 1], f"{len(words) - most + 1} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def describe(o: Observation) -> str:
    """Subjects and conditions in a few words."""
    who = f"{o.subject} against {o.against}" if o.against else o.subject
    where = where_text(o.conditions)
    return f"{who} on {where}" if where else f"{who} over {o.conditions.task}"


def where_text(c: Conditions) -> str:
    """mlp, batch 512, 4 epochs, 2 threads; cuda, tf32 where it is so; nothing where all conditions are pooled."""
    return ", ".join(part for part in where_parts(c).values() if part not in ("cpu", "ieee"))


def where_parts(c: Conditions) -> dict[str, str]:
    """Each condition in words, by its name; none where all conditions are pooled."""
    if not c.batch_size:
        return {}
    threads = "1 thread" if c.threads == 1 else f"{c.threads} threads"
    threads += "" if c.processes == 1 else f" in each of {c.processes} processes"
    epochs = "1 epoch" if c.epochs == 1 else f"{c.epochs} epochs"
    epochs = "in turns" if c.study == DUET else epochs
    return {
        "task": c.task,
        "batch size": f"batch {c.batch_size}",
        "epochs": epochs,
        "threads": threads,
        "device": c.device,
        "precision": c.precision,
    }


def headlines(judged: Sequence[Judged]) -> list[Judged]:
    """The claims whose answers open the page, of one machine, in order: one a place, the last that has an answer."""
    wanted = {one.claim.headline: one for one in judged if one.claim.headline is not None and one.answer}
    return [wanted[place] for place in sorted(wanted)]


def document(one: Judged, results: Path) -> dict[str, Any]:
    """A verdict as JSON, figures unrounded, paths relative to the results folder."""
    return {
        "claim": one.claim.model_dump(mode="json"),
        "machine": one.machine.model_dump(mode="json") if one.machine else None,
        "verdict": one.verdict,
        "where": one.where,
        "why": one.why,
        "expired": list(one.expired),
        "versions": dict(one.versions),
        "observations": [
            {
                "what": o.evidence.what,
                "measure": o.evidence.measure,
                "kind": o.evidence.kind,
                "subject": o.subject,
                "against": o.against,
                "conditions": asdict(o.conditions),
                "a": o.a,
                "b": o.b,
                "unit": o.unit,
                "n": o.n,
                "value": o.value,
                "interval": o.interval,
                "outcome": o.outcome,
                "reason": o.reason,
                "blocks_to_decide": o.blocks_to_decide,
                "run": o.run,
                "records": [path.relative_to(results).as_posix() for path in o.paths],
            }
            for o in one.observations
        ],
    }
