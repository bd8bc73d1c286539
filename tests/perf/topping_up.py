"""How often does an interval cover the truth that was gone on with until it was narrow enough? By simulation.

python -m tests.perf.topping_up

Duets are drawn from a normal distribution. Six are played, then two more at a time until the 95% interval is as narrow
as wanted, sixty at the most. The wanted half-width is a multiple of what twelve duets give in the mean.
"""

import math

import numpy as np
from scipy import stats

from bench.commands.duet import PAIRS

WANTED = (0.5, 1.0, 1.5, 3.0)
STEP, CAP, TIMES, SEED = 2, 60, 20_000, 1


def topped_up(draws: np.ndarray, wanted: float) -> tuple[bool, int]:
    """Of duets in order, whose true mean is 0: whether the last interval covers it, and of how many it is."""
    for count in range(PAIRS, len(draws) + 1, STEP):
        seen = draws[:count]
        half = stats.t.ppf(0.975, count - 1) * seen.std(ddof=1) / math.sqrt(count)
        if half <= wanted:
            break
    return bool(abs(seen.mean()) <= half), count


def main() -> None:
    """Print a line for each half-width."""
    rng = np.random.default_rng(SEED)
    for multiple in WANTED:
        wanted = multiple * stats.t.ppf(0.975, 11) / math.sqrt(12)
        played = [topped_up(rng.standard_normal(CAP), wanted) for _ in range(TIMES)]
        covers, counts = (sum(of) / TIMES for of in zip(*played, strict=True))
        print(f"half-width wanted {multiple:g} times that of twelve duets: covers {covers:.1%}, {counts:.1f} duets")


if __name__ == "__main__":
    main()
