"""Paired differences of a figure -> whether two sides are the same within a margin. Pure.

"Not significantly different" is no proof of sameness: with few or noisy seeds nothing ever differs. So the burden is
turned around. Two one-sided t-tests (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15) ask whether the mean difference
is shown to be above -margin and below +margin; only both together say "equivalent". Where the true difference lies on
the margin, that is said falsely with a probability of at most alpha.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.distributions import t_cdf
from bench.stats import estimate, half_width

MARGIN = 0.005  # of accuracy, a share: half a point, about what seeds alone move it by on these tasks
LEAST_SEEDS = 10  # below that nothing is claimed: t has so few degrees of freedom that its assumption carries it all
ALPHA = 0.05

Verdict = Literal["equivalent", "lower", "higher", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """B less A over n paired seeds. interval: of 1 - 2 alpha (90%), the one that lies inside the margin exactly where
    both tests reject. p: the larger of the two tests'. None: fewer than two seeds. reason: why nothing is claimed.
    """

    n: int
    margin: float
    difference: float | None
    interval: tuple[float, float] | None
    p: float | None
    verdict: Verdict
    reason: str | None


def equivalence(
    differences: Sequence[float], *, margin: float = MARGIN, alpha: float = ALPHA, least: int = LEAST_SEEDS
) -> Equivalence:
    """Is the mean of paired differences within +-margin?

    equivalent: both one-sided tests reject at alpha. lower, higher: the interval lies beyond the margin. Else
    undecided, as with fewer than `least` differences whatever they say. Assumes that they are independent and about
    normal.
    """
    seen = estimate(differences)
    if seen.mean is None or seen.sd is None:
        why = "no seed in common" if seen.n == 0 else "a single seed shows no spread"
        return Equivalence(
            n=seen.n, margin=margin, difference=seen.mean, interval=None, p=None, verdict="undecided", reason=why
        )
    half = half_width(seen.sd, seen.n, confidence=1 - 2 * alpha)
    low, high = seen.mean - half, seen.mean + half
    error = seen.sd / math.sqrt(seen.n)
    p = max(_p_above(seen.mean + margin, error, seen.n), _p_above(margin - seen.mean, error, seen.n))
    verdict: Verdict = "undecided"
    reason: str | None = None
    if seen.n < least:
        reason = f"{seen.n} seeds, and a claim needs {least}"
    elif p < alpha:
        verdict = "equivalent"
    elif high < -margin:
        verdict = "lower"
    elif low > margin:
        verdict = "higher"
    else:
        reason = "the interval reaches across the margin"
    return Equivalence(
        n=seen.n, margin=margin, difference=seen.mean, interval=(low, high), p=p, verdict=verdict, reason=reason
    )


def _p_above(distance: float, error: float, n: int) -> float:
    """P of a mean this far above the edge of the margin where the true one lies on it: Student's, one-sided."""
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return t_cdf(n - 1, -distance / error)
