"""The duets of a change's cases -> a decision: regressed, pass, inconclusive or invalid. Pure.

Two stages. All cases are compared by n duets each; a case is flagged where a one-sided paired t-test says p < 0.05 and
the point estimate is above 1%. The flagged ones alone are compared anew by 2n fresh duets, and these decide: Holm's
procedure over the flagged cases at 1%, and a point estimate above 0.5%. So a change without a slowdown is called
regressed with a probability of at most 1%, whatever the first stage did, for the second sees nothing of its data.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.distributions import t_cdf, t_quantile
from bench.duet import Duet
from bench.stats import Estimate, estimate

Verdict = Literal["regressed", "pass", "inconclusive", "invalid"]

# Of the cores' time. More than a trial may lose (bench/disturbance.py), for what takes turns meets it alike; a single
# process that competes for a core has half of it.
MOST_SHARED = 0.1
MOST_DUETS = 10_000  # beyond this "more minutes" is no advice


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The numbers of the decision. Points and margin are ratios less 1: 0.01 is 1% more seconds.

    control_p: the chance that the A/A controls of a whole change call a fit machine unfit, both looks of all cases
    together (Bonferroni).
    """

    flag_p: float = 0.05
    flag_point: float = 0.01
    change_p: float = 0.01
    confirm_point: float = 0.005
    margin: float = 0.03
    control_p: float = 0.001
    most_foreign: float = MOST_SHARED
    most_stolen: float = MOST_SHARED


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one duet says. difference: of the head's log seconds from the bases'; control: of one base's from the other.

    The bases' is the mean of the two base processes, which takes a quarter off the variance of a difference from one;
    the control is uncorrelated with it where the two are alike. A shared or stolen core's share: None for unknown.
    """

    difference: float
    control: float
    foreign_share: float | None = 0.0
    steal_share: float | None = 0.0
    seconds: float = 0.0


def sample_of(duet: Duet) -> Sample:
    """The differences of a duet that ended well."""
    base, control, head = (duet.log_seconds(side) for side in ("base", "control", "head"))
    return Sample(
        difference=head - (base + control) / 2,
        control=control - base,
        foreign_share=duet.foreign_share,
        steal_share=duet.steal_share,
        seconds=duet.wall_seconds,
    )


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The duets of one case: of the first stage, of the second where it was flagged, and those that failed.

    refused: why the head's certificate was refused. failures: (side, reason) of duets that ended badly.
    """

    first: tuple[Sample, ...] = ()
    second: tuple[Sample, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()
    refused: str | None = None

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Of both stages."""
        return self.first + self.second


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of one case. ratio: seconds of the head over the base's; interval: its 95% interval.

    duets: how many the ratio is of. p: of the stage that decided; adjusted by Holm where that was the second.
    control: the A/A ratio and interval. more_minutes: what would decide an inconclusive case, where that can be told.
    """

    verdict: Verdict
    reason: str
    duets: int
    flagged: bool = False
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    control_ratio: float | None = None
    control_interval: tuple[float, float] | None = None
    foreign_share: float | None = None
    steal_share: float | None = None
    more_minutes: float | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Of a whole change: the gravest verdict of its cases, and what was found of each."""

    verdict: Verdict
    findings: Mapping[str, Finding]


def one_sided_p(differences: Sequence[float]) -> float:
    """P of a mean as large as this where the true one is 0: Student's t-test. 1 below two differences."""
    seen = estimate(differences)
    if seen.mean is None or seen.sd is None:
        return 1.0
    if seen.sd == 0:
        return 0.0 if seen.mean > 0 else 1.0
    return t_cdf(seen.n - 1, -seen.mean / (seen.sd / math.sqrt(seen.n)))


def two_sided_p(differences: Sequence[float]) -> float:
    """P of a mean as far from 0 as this where the true one is 0: Student's t-test. 1 below two differences."""
    upper = one_sided_p(differences)
    return min(1.0, 2 * min(upper, one_sided_p([-d for d in differences])))


def is_flagged(samples: Sequence[Sample], rule: Rule) -> bool:
    """The first stage's question: might the head be slower?"""
    differences = [sample.difference for sample in samples]
    seen = estimate(differences)
    return seen.mean is not None and seen.mean > math.log1p(rule.flag_point) and one_sided_p(differences) < rule.flag_p


def why_invalid(samples: Sequence[Sample], rule: Rule, *, comparisons: int) -> str | None:
    """What makes the duets of a case worthless: a shared machine, or A/A controls that differ. None: nothing found."""
    foreign, steal = _mean(s.foreign_share for s in samples), _mean(s.steal_share for s in samples)
    if foreign is not None and foreign > rule.most_foreign:
        return f"other processes took {foreign:.0%} of the cores' time (limit {rule.most_foreign:.0%})"
    if steal is not None and steal > rule.most_stolen:
        return f"the hypervisor gave {steal:.0%} of the cores' time to other guests (limit {rule.most_stolen:.0%})"
    controls = [sample.control for sample in samples]
    mean = _mean(controls)
    if mean is None or abs(mean) <= math.log1p(rule.confirm_point):
        return None
    p, limit = two_sided_p(controls), rule.control_p / (2 * comparisons)
    if p < limit:
        return f"two sides of the same code differ by {math.expm1(mean):+.1%} (p = {p:.1g}, limit {limit:.1g})"
    return None


def to_confirm(cases: Mapping[str, Evidence], rule: Rule) -> list[str]:
    """The cases that the second stage must look at."""
    return [
        name
        for name, evidence in cases.items()
        if _spoilt(evidence, rule, len(cases)) is None and is_flagged(evidence.first, rule)
    ]


def decide(cases: Mapping[str, Evidence], rule: Rule | None = None) -> Decision:
    """The decision on a change, from the duets of both stages. A flagged case without a second stage stays open."""
    rule = rule or Rule()
    spoilt = {name: _spoilt(evidence, rule, len(cases)) for name, evidence in cases.items()}
    confirmed = {
        name: one_sided_p([sample.difference for sample in evidence.second])
        for name, evidence in cases.items()
        if evidence.second and spoilt[name] is None and is_flagged(evidence.first, rule)
    }
    adjusted = _holm(confirmed)
    findings = {name: _finding(one, adjusted.get(name), rule, spoilt[name]) for name, one in cases.items()}
    verdicts = {finding.verdict for finding in findings.values()}
    order: tuple[Verdict, ...] = ("regressed", "invalid", "inconclusive", "pass")
    return Decision(verdict=next(verdict for verdict in order if verdict in verdicts), findings=findings)


def _holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p values (Holm 1979): each is below a level exactly where Holm's procedure rejects at that level."""
    if len(p_values) < 2:
        return dict(p_values)  # nothing to adjust
    from statsmodels.stats.multitest import multipletests  # a second to import, and few changes need it

    return dict(zip(p_values, map(float, multipletests(list(p_values.values()), method="holm")[1]), strict=True))


def _spoilt(evidence: Evidence, rule: Rule, comparisons: int) -> tuple[Verdict, str] | None:
    """Verdict and reason of a case whose duets cannot be asked."""
    if evidence.refused is not None:
        return "regressed", f"the head's certificate is refused: {evidence.refused}"
    heads = [reason for side, reason in evidence.failures if side == "head"]
    if len(heads) > 1 and len(heads) == len(evidence.failures):
        return "regressed", f"the head failed {len(heads)} times: {heads[-1]}"
    if not evidence.first:
        failed = evidence.failures[-1][1] if evidence.failures else "there was no time for any"
        return "invalid", f"no duet ended well: {failed}"
    reason = why_invalid(evidence.samples, rule, comparisons=comparisons)
    return None if reason is None else ("invalid", reason)


def _finding(evidence: Evidence, adjusted: float | None, rule: Rule, spoilt: tuple[Verdict, str] | None) -> Finding:
    flagged = is_flagged(evidence.first, rule)
    deciding = evidence.second if flagged and evidence.second else evidence.first
    differences = [sample.difference for sample in deciding]
    seen, control = estimate(differences), estimate([sample.control for sample in evidence.samples])
    p = one_sided_p(differences) if adjusted is None else adjusted
    more = None
    if spoilt is not None:
        verdict, reason = spoilt
    else:
        verdict, reason = _verdict(seen, p, flagged=flagged, confirmed=adjusted is not None, rule=rule)
        if verdict == "inconclusive":
            more = _more_minutes(seen, deciding, rule)
    return Finding(
        verdict=verdict,
        reason=reason,
        duets=seen.n,
        flagged=flagged,
        ratio=None if seen.mean is None else math.exp(seen.mean),
        interval=_exp(seen.interval),
        p=p if differences else None,
        control_ratio=None if control.mean is None else math.exp(control.mean),
        control_interval=_exp(control.interval),
        foreign_share=_mean(s.foreign_share for s in evidence.samples),
        steal_share=_mean(s.steal_share for s in evidence.samples),
        more_minutes=more,
    )


def _verdict(seen: Estimate, p: float, *, flagged: bool, confirmed: bool, rule: Rule) -> tuple[Verdict, str]:
    if seen.mean is None or seen.interval is None:
        return "inconclusive", seen.reason or "too few duets"
    if confirmed and p < rule.change_p and seen.mean > math.log1p(rule.confirm_point):
        return "regressed", f"confirmed by {seen.n} fresh duets"
    if flagged and not confirmed:
        return "inconclusive", "flagged, and there was no time to confirm it"
    if seen.interval[1] < math.log1p(rule.margin):
        return "pass", "flagged, not confirmed by fresh duets" if flagged else "not slower by more than the margin"
    return "inconclusive", f"the interval reaches beyond {rule.margin:.0%}"


def _more_minutes(seen: Estimate, samples: Sequence[Sample], rule: Rule) -> float | None:
    """Minutes of further duets after which the case would be decided, if mean and sd stay as they are.

    Below the margin: until the upper end of the interval is under it. Else: until the mean is significant at the level
    of the second stage, which takes its duets anew. None where that is beyond any use.
    """
    if seen.mean is None or seen.sd is None:
        return None
    seconds = math.fsum(sample.seconds for sample in samples) / len(samples)
    margin = math.log1p(rule.margin)
    if seen.mean < margin:
        level, distance, spent = 0.975, margin - seen.mean, seen.n
    else:
        level, distance, spent = 1 - rule.change_p, seen.mean, 0
    for n in range(2, MOST_DUETS):
        if t_quantile(n - 1, level) * seen.sd / math.sqrt(n) < distance:
            return max(1, n - spent) * seconds / 60
    return None


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present else None


def _exp(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if interval is None else (math.exp(interval[0]), math.exp(interval[1]))
