"""Numbers -> text. The only place where a number of a report is formatted."""

import math
from collections.abc import Iterable

from bench.record import Machine
from bench.stats import Comparison, Estimate, Spread

MIB = 1024 * 1024
NOT_MEASURED = "not measured"


def significant(value: float, digits: int = 3) -> str:
    """Three significant digits, thousands separators, no exponent: 123,000; 12.3; 0.00123."""
    if value == 0:
        return "0"
    if value < 0:
        return "-" + significant(-value, digits)
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))  # 9.996 has become 10.0
    return f"{rounded:,.{max(decimals, 0)}f}"


def days(started_utc: Iterable[str]) -> str:
    """The days of such times: 2026-11-24, or 2026-11-24 to 2026-11-25."""
    found = sorted({time[:10] for time in started_utc})
    return " to ".join(dict.fromkeys([found[0], found[-1]]))


def count(n: int, noun: str) -> str:
    """1 block, 5 blocks, 1,000 blocks"""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def workers(threads: int, processes: int = 1) -> str:
    """1 thread; 2 threads; 2 processes of 1 thread"""
    each = count(threads, "thread")
    return each if processes == 1 else f"{processes:,} processes of {each}"


def processor(machine: Machine) -> str:
    """AMD EPYC (amd-epyc-2c-18cf), for two machines may call their processors alike; the name where that is all."""
    return f"{machine.cpu_model} ({machine.name})" if machine.cpu_model else machine.name


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


def duration(value: float) -> str:
    """Seconds that may be few: 12.3 s, 45.6 ms, 7.89 µs"""
    if value >= 0.1 or value <= 0:
        return seconds(value)
    return f"{significant(value * 1e3)} ms" if value >= 1e-3 else f"{significant(value * 1e6)} µs"


def exact(value: float) -> str:
    """A whole number as it is, as a count; any other as `significant`."""
    return f"{value:,.0f}" if float(value).is_integer() else significant(value)


def mebibytes(value_bytes: float | None) -> str:
    """Bytes as whole MiB: 1,234 MiB"""
    return NOT_MEASURED if value_bytes is None else f"{value_bytes / MIB:,.0f} MiB"


def percent(share: float, sd: float | None = None) -> str:
    """A share as per cent, with its standard deviation in points where there is one: 87.12 % ± 0.15"""
    return f"{100 * share:.2f} %" + ("" if sd is None else f" ± {100 * sd:.2f}")


def share(value: float | None) -> str:
    """A share in whole per cent, below 10 with a decimal: 42 %, 4.2 %"""
    if value is None:
        return NOT_MEASURED
    return f"{100 * value:.{0 if abs(value) >= 0.0995 else 1}f} %"


def giga(spread: Spread | None) -> str:
    """Median (range, n) in thousand millions, without the unit."""
    if spread is None:
        return NOT_MEASURED
    in_giga = Spread(median=spread.median / 1e9, least=spread.least / 1e9, greatest=spread.greatest / 1e9, n=spread.n)
    return rate_spread(in_giga)


def micro(value: float | None) -> str:
    """A figure in millionths, without the unit: 0.000383 -> 383"""
    return NOT_MEASURED if value is None else significant(value * 1e6)


def estimate(seen: Estimate, scale: float = 1.0) -> str:
    """Mean [95% interval], times a scale: 12.3 [11.9, 12.7].

    As many decimals as show two digits of the half-width, and three digits of the larger end at most.
    """
    if seen.mean is None:
        return f"none ({seen.reason})"
    mean = seen.mean * scale
    if seen.interval is None:
        return f"{significant(mean)} (no interval)"
    low, high = (end * scale for end in seen.interval)
    half = (high - low) / 2
    largest = max(abs(low), abs(high))
    if largest == 0:
        return "0 [0, 0]"
    least = 2 - math.floor(math.log10(largest))  # three digits, where the interval is too narrow to ask for fewer
    decimals = max(0, least if half == 0 else min(least, 1 - math.floor(math.log10(half))))
    return f"{mean:,.{decimals}f} [{low:,.{decimals}f}, {high:,.{decimals}f}]"


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
