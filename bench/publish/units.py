"""Numbers -> text. The only place where a number of a report is formatted."""

import math

from bench.stats import Comparison, Spread

MIB = 1024 * 1024
NOT_MEASURED = "not measured"


def significant(value: float, digits: int = 3) -> str:
    """Three significant digits, thousands separators, no exponent: 123,000; 12.3; 0.00123."""
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))  # 9.996 has become 10.0
    return f"{rounded:,.{max(decimals, 0)}f}"


def count(n: int, noun: str) -> str:
    """1 block, 5 blocks, 1,000 blocks"""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def rate(value: float) -> str:
    """Samples a second, without the unit, which stands in the head of the column."""
    return significant(value)


def rate_spread(spread: Spread | None) -> str:
    """Median (least..greatest, n): 34,600 (33,100..35,000, n = 5)."""
    if spread is None:
        return NOT_MEASURED
    if spread.n == 1:
        return f"{rate(spread.median)} (n = 1)"
    return f"{rate(spread.median)} ({rate(spread.least)}..{rate(spread.greatest)}, n = {spread.n})"


def seconds(value: float | None) -> str:
    """12.3 s"""
    return NOT_MEASURED if value is None else f"{significant(value)} s"


def mebibytes(value_bytes: float | None) -> str:
    """Bytes as whole MiB: 1,234 MiB"""
    return NOT_MEASURED if value_bytes is None else f"{value_bytes / MIB:,.0f} MiB"


def percent(share: float, sd: float | None = None) -> str:
    """A share as per cent, with its standard deviation in points where there is one: 87.12 % ± 0.15"""
    return f"{100 * share:.2f} %" + ("" if sd is None else f" ± {100 * sd:.2f}")


def ratio(comparison: Comparison) -> str:
    """Ratio and 95% interval: 1.42 [1.38, 1.47]. Two to four decimals, as many as show one digit of the half-width."""
    if comparison.ratio is None:
        return f"none ({comparison.reason})"
    if comparison.interval is None:
        return f"{comparison.ratio:.2f} (no interval)"
    low, high = comparison.interval
    half = (high - low) / 2
    most = max(4, 2 - math.floor(math.log10(low)))  # a ratio far below 1 keeps three digits
    decimals = 2 if half == 0 else min(max(2, -math.floor(math.log10(half))), most)
    return f"{comparison.ratio:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def verdict(comparison: Comparison) -> str:
    """The verdict in words, with what would decide it."""
    if comparison.verdict != "undecided":
        return comparison.verdict
    if comparison.blocks_to_decide is not None:
        return f"undecided (about {count(comparison.blocks_to_decide, 'block')} would decide it)"
    return f"undecided ({comparison.reason})" if comparison.reason else "undecided"


def deviation(float64: float | None, loss: float | None) -> str:
    """The certificate's mark with its largest deviations, of a parameter in float64 and of a loss: ✓ 3e-16, 1e-07"""
    return f"✓ {_power(float64)}, {_power(loss)}"


def _power(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.0e}"
