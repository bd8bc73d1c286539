"""How often does an interval cover the truth that was gone on with until it was narrow enough? By simulation.

python -m tests.perf.topping_up

Duets are drawn from a normal distribution. The wanted half-width is a multiple of what twelve duets give in the mean.
Three ways of going on, each with a 95% interval and with the one that is printed (bench.duets.Contest.confidence):
in pairs: six, then two more at a time until the 95% interval is as narrow as wanted, sixty at the most. Once: twelve,
and if that is too wide as many more as their spread asks for. By width: `bench duet --precision`, eighty at the most.
"""

import math

import numpy as np
from scipy import stats

from bench.commands.duet import PAIRS
from bench.precision import LOOKS, looks
from bench.stats import ADAPTIVE_CONFIDENCE, CONFIDENCE

WANTED = (0.5, 0.7, 1.0, 1.5, 3.0)
STEP, CAP, FIRST, TIMES, SEED = 2, 60, 12, 20_000, 1
T = {level: stats.t.ppf((1 + level) / 2, range(200)) for level in (CONFIDENCE, ADAPTIVE_CONFIDENCE)}


def half(sd: float, count: int, level: float) -> float:
    """Of the t interval."""
    return float(T[level][count - 1]) * sd / math.sqrt(count)


def in_pairs(draws: np.ndarray, wanted: float) -> int:
    """How many duets are played."""
    for count in range(PAIRS, CAP + 1, STEP):
        if half(draws[:count].std(ddof=1), count, CONFIDENCE) <= wanted:
            break
    return count


def once(draws: np.ndarray, wanted: float) -> int:
    """How many duets are played."""
    sd, count = draws[:FIRST].std(ddof=1), FIRST
    while half(sd, count, CONFIDENCE) > wanted and count < len(draws):
        count += 1
    return count


def by_width(draws: np.ndarray, wanted: float) -> int:
    """How many duets are played."""
    for count in looks(LOOKS[-1]):
        if half(draws[:count].std(ddof=1), count, ADAPTIVE_CONFIDENCE) <= wanted:
            break
    return count


def main() -> None:
    """Print a line for each half-width and way."""
    rng = np.random.default_rng(SEED)
    for multiple in WANTED:
        wanted = multiple * stats.t.ppf(0.975, 11) / math.sqrt(12)
        for way in (in_pairs, once, by_width):
            covers, counts = dict.fromkeys(T, 0), 0
            for _ in range(TIMES):
                draws = rng.standard_normal(200)
                count = way(draws, wanted)
                mean, sd = draws[:count].mean(), draws[:count].std(ddof=1)
                counts += count
                for level in T:
                    covers[level] += bool(abs(mean) <= half(sd, count, level))
            told = ", ".join(f"one of {level:.0%} covers {of / TIMES:.1%}" for level, of in covers.items())
            print(f"{multiple:g} times the width of twelve, {way.__name__}: {told}; {counts / TIMES:.1f} duets")


if __name__ == "__main__":
    main()
