"""Duets of known slowdowns -> how often the gate is right, and how often its intervals cover. Pure, but for the file.

Live decisions are counted as they were made. A replay draws many more decisions from one recording of identical sides:
the three processes of a duet are given the three roles at random, so that the true difference is exactly 0 whatever
the recording's own mean is, and a slowdown is added to the head's log seconds.
"""

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from bench.distributions import beta_quantile
from bench.duet import Duet
from bench.errors import InputError, validation_message
from bench.gate import Evidence, Rule, Sample, Verdict, decide, sample_of, to_confirm
from bench.precision import LOOKS, stop_at
from bench.record import Count, Finite, Value
from bench.stats import estimate

SLOWDOWNS = (0.01, 0.02, 0.03, 0.05)


class Kept(Value):
    """A line of a recording: a duet that was played for a decision.

    slowdown: of the head, known beforehand. hog: whether a process that never rests was pinned to the same core.
    pairs: duets of the first stage.
    """

    decision: Count
    stage: Literal[1, 2]
    pairs: Count
    slowdown: Finite
    hog: bool
    duet: Duet


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a decision is about."""

    slowdown: float
    hog: bool = False

    @property
    def title(self) -> str:
        """As a row of a table is called."""
        if self.hog:
            return "same code, a competing process"
        return f"{self.slowdown:.0%} slower" if self.slowdown else "same code"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often something happened: of n, with its exact 95% interval."""

    what: str
    times: int
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson, 1934, Biometrika 26(4)."""
        return clopper_pearson(self.times, self.n)


@dataclass(kw_only=True)
class Trying:
    """A live decision while it is made."""

    kind: Kind
    pairs: int
    first: list[Duet] = field(default_factory=list)
    second: list[Duet] = field(default_factory=list)
    failed: int = 0

    def evidence(self) -> Evidence:
        """What the decision is made of."""
        return Evidence(first=tuple(map(sample_of, self.first)), second=tuple(map(sample_of, self.second)))

    def next_stage(self, rule: Rule) -> Literal[1, 2] | None:
        """Of the duet that must be played next; None where the decision can be made."""
        if len(self.first) < self.pairs:
            return 1
        flagged = bool(to_confirm({"case": Evidence(first=self.evidence().first)}, rule))
        return 2 if flagged and len(self.second) < 2 * self.pairs else None

    def verdict(self, rule: Rule) -> Verdict:
        """The gate's decision on it."""
        return decide({"case": self.evidence()}, rule).verdict

    @property
    def wall_seconds(self) -> float:
        """What its duets took."""
        return math.fsum(one.wall_seconds for one in self.first + self.second)


def read_recording(path: Path) -> list[Kept]:
    """The lines of a recording, in order. Raises InputError on a broken one; a last line cut short is left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is no recording (not UTF-8 text); make one with `bench selftest --record`") from None
    kept, lines = [], text.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if number == len(lines) and not line.endswith("\n"):
            break  # the writer was killed in the middle of it: that duet is played anew
        try:
            kept.append(Kept.model_validate_json(line))
        except ValidationError as error:
            raise InputError(validation_message(f"{path}: line {number}", error)) from None
    cases = {(one.duet.case.fingerprint, one.duet.case.entry) for one in kept}
    if len(cases) > 1:
        raise InputError(f"{path}: mixes {len(cases)} cases; keep a file for each")
    return kept


def tried(kept: Sequence[Kept]) -> dict[int, Trying]:
    """The decisions of a recording, finished or not, by their number."""
    found: dict[int, Trying] = {}
    for one in kept:
        trying = found.setdefault(one.decision, Trying(kind=Kind(slowdown=one.slowdown, hog=one.hog), pairs=one.pairs))
        if one.duet.status != "ok":
            trying.failed += 1
        else:
            (trying.first if one.stage == 1 else trying.second).append(one.duet)
    return found


def live_rates(kept: Sequence[Kept], rule: Rule) -> list[tuple[Kind, Mapping[Verdict, Rate], float]]:
    """Of each kind: how often each verdict was given, and the mean minutes of a decision. Unfinished ones are none."""
    verdicts: dict[Kind, list[Verdict]] = defaultdict(list)
    seconds: dict[Kind, list[float]] = defaultdict(list)
    for trying in tried(kept).values():
        if trying.next_stage(rule) is None:
            verdicts[trying.kind].append(trying.verdict(rule))
            seconds[trying.kind].append(trying.wall_seconds)
    order: tuple[Verdict, ...] = ("regressed", "pass", "inconclusive", "invalid")
    return [
        (
            kind,
            {one: Rate(what=one, times=verdicts[kind].count(one), n=len(verdicts[kind])) for one in order},
            math.fsum(seconds[kind]) / len(seconds[kind]) / 60,
        )
        for kind in sorted(verdicts, key=lambda kind: (kind.hog, kind.slowdown))
    ]


def clopper_pearson(times: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share that happened `times` of n."""
    if n == 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if times == 0 else beta_quantile(times, n - times + 1, tail)
    high = 1.0 if times == n else beta_quantile(times + 1, n - times, 1 - tail)
    return low, high


@dataclass(frozen=True, kw_only=True)
class Triple:
    """A recorded duet of three identical sides: the log seconds of each, and who else had the core."""

    logs: tuple[float, float, float]
    foreign_share: float | None
    steal_share: float | None
    seconds: float


def triples(kept: Sequence[Kept]) -> list[Triple]:
    """The duets of identical sides without a hog, of first stages alone: second stages were chosen by their data."""
    return [
        Triple(
            logs=(one.duet.log_seconds("base"), one.duet.log_seconds("control"), one.duet.log_seconds("head")),
            foreign_share=one.duet.foreign_share,
            steal_share=one.duet.steal_share,
            seconds=one.duet.wall_seconds,
        )
        for one in kept
        if one.slowdown == 0 and not one.hog and one.stage == 1 and one.duet.status == "ok"
    ]


def drawn(recording: Sequence[Triple], n: int, slowdown: float, chance: random.Random) -> list[Sample]:
    """n duets without replacement, each with its roles given at random and the slowdown added to the head."""
    return [_sample(one, slowdown, chance) for one in chance.sample(recording, n)]


def _sample(one: Triple, slowdown: float, chance: random.Random) -> Sample:
    base, control, head = chance.sample(one.logs, 3)
    return Sample(
        difference=head + math.log1p(slowdown) - (base + control) / 2,
        control=control - base,
        foreign_share=one.foreign_share,
        steal_share=one.steal_share,
        seconds=one.seconds,
    )


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Decisions drawn from a recording. false_red: of changes without a slowdown; found: by slowdown.

    covered: of the printed 95% intervals, those that held the truth: with a fixed number of duets, and at the adaptive
    stop of each target.
    """

    cases: int
    pairs: int
    duets: int
    false_red: Rate
    invalid: Rate
    found: Mapping[float, Rate]
    covered: Rate
    covered_at_stop: Mapping[float, Rate]


def replay(recording: Sequence[Triple], *, decisions: int, cases: int, pairs: int, rule: Rule, seed: int = 0) -> Replay:
    """Draw so many decisions on changes of so many cases; of each slowdown, too, one case of the change being slower.

    Raises InputError where the recording is too small to draw a case's duets of both stages without replacement.
    """
    if len(recording) < 3 * pairs:
        raise InputError(
            f"the recording holds {len(recording)} duets of the same code; a decision of {pairs} pairs takes "
            f"{3 * pairs}: record more, or take fewer --pairs"
        )
    chance = random.Random(seed)
    same = [_decision(recording, 0.0, cases, pairs, rule, chance) for _ in range(decisions)]
    found = {}
    for slowdown in SLOWDOWNS:
        verdicts = [_decision(recording, slowdown, cases, pairs, rule, chance)[1] for _ in range(decisions)]
        found[slowdown] = Rate(what="regressed", times=verdicts.count("regressed"), n=decisions)
    red = [whole for whole, _ in same].count("regressed")
    return Replay(
        cases=cases,
        pairs=pairs,
        duets=len(recording),
        false_red=Rate(what="regressed", times=red, n=decisions),
        invalid=Rate(what="invalid", times=[whole for whole, _ in same].count("invalid"), n=decisions),
        found=found,
        covered=_coverage(recording, decisions, pairs, chance),
        covered_at_stop={
            target: at for target in (0.005, 0.01, 0.02) if (at := _at_stop(recording, decisions, target, chance))
        },
    )


def _decision(
    recording: Sequence[Triple], slowdown: float, cases: int, pairs: int, rule: Rule, chance: random.Random
) -> tuple[Verdict, Verdict]:
    """The verdict on a change, and that on its first case, which has the slowdown."""
    evidence, fresh = {}, {}
    for case in range(cases):
        duets, slower = chance.sample(recording, 3 * pairs), slowdown if case == 0 else 0.0
        evidence[str(case)] = Evidence(first=tuple(_sample(one, slower, chance) for one in duets[:pairs]))
        fresh[str(case)] = duets[pairs:], slower
    for name in to_confirm(evidence, rule):
        duets, slower = fresh[name]
        second = tuple(_sample(one, slower, chance) for one in duets)
        evidence[name] = Evidence(first=evidence[name].first, second=second)
    decision = decide(evidence, rule)
    return decision.verdict, decision.findings["0"].verdict


def _coverage(recording: Sequence[Triple], draws: int, pairs: int, chance: random.Random) -> Rate:
    """Of the printed intervals, those that hold the true difference, which is 0."""
    held = 0
    for _ in range(draws):
        interval = estimate([sample.difference for sample in drawn(recording, pairs, 0.0, chance)]).interval
        held += interval is not None and interval[0] <= 0 <= interval[1]
    return Rate(what="covered", times=held, n=draws)


def _at_stop(recording: Sequence[Triple], draws: int, target: float, chance: random.Random) -> Rate | None:
    """The same where the run stops at a target width. None where the recording is shorter than the longest run."""
    if len(recording) < LOOKS[-1]:
        return None
    held = 0
    for _ in range(draws):
        differences = [sample.difference for sample in drawn(recording, LOOKS[-1], 0.0, chance)]
        interval = stop_at(differences, target=target).interval
        held += interval is not None and interval[0] <= 0 <= interval[1]
    return Rate(what="covered", times=held, n=draws)
