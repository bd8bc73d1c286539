"""Series and their changes -> a section of results/README.md, plots as SVG, lines for a terminal. Pure."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape as xml

from bench.otava import Looked, P
from bench.publish import escape, units
from bench.publish.markdown import table
from bench.series import LEAST_POINTS, Change, Series
from bench.stats import half_width

_WIDTH, _HEIGHT = 760, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 48, 52
_NAMES = {"samples_per_second": "samples/s", "time_to_first_step_seconds": "time to first step"}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A series with its changes. looked_at: points that a detector has seen; None: no detector has."""

    series: Series
    changes: tuple[Change, ...]
    looked_at: int | None


def title(series: Series) -> str:
    """mlp, torch-eager: samples/s against numpy-1 (cpu, 1 thread, testbox)"""
    line = series.line
    case = line.case
    entry = case.entry + (f" [{case.environment}]" if case.environment else "")
    where = [case.device, units.workers(case.threads, case.processes)]
    where += [case.precision] if case.precision != "ieee" else []
    where.append(line.machine_name)
    return f"{case.task}, {entry}: {_NAMES[line.quantity]} against {series.reference} ({', '.join(where)})"


def change_text(change: Change) -> str:
    """+5.2 % (faster), after 0123456789ab up to ba9876543210"""
    text = f"{100 * (change.ratio - 1):+.1f} % ({'faster' if change.faster else 'slower'}), {commit_range(change)}"
    if change.packages:
        text += "; " + ", ".join(f"{name} {old} → {new}" for name, old, new in change.packages)
    if change.at_renewal is not None:
        known = f"the reference was renewed here, its overlap is known to ±{100 * change.at_renewal:.1f} %"
        text += f"; {known}" + (", so this may be no change" if change.is_overlap_error else "")
    return text


def commit_range(change: Change) -> str:
    """As git log takes it."""
    if change.before == change.after:
        return f"within commit {change.after[:12]}"
    return f"{change.before[:12]}..{change.after[:12]}"


def text(shown: Sequence[Shown]) -> str:
    """Lines for a terminal: each series' newest ratio, and its changes below."""
    lines = []
    for one in shown:
        lines.append(escape.plain(f"{title(one.series)}: {newest_text(one.series)}, {_points(one)}"))
        lines += [f"  {escape.plain(change_text(change))}" for change in one.changes]
    return "\n".join(lines)


def newest_text(series: Series) -> str:
    """The ratio of the newest run with its 95% interval."""
    point = series.points[-1]
    low, high = _interval(series, len(series.points) - 1)
    return f"{math.exp(point.log_ratio):.4g} [{math.exp(low):.4g}, {math.exp(high):.4g}]"


def _points(one: Shown) -> str:
    n = units.count(len(one.series.points), "run")
    if one.looked_at is None:
        return f"{n}, changes not looked for"
    if one.looked_at < len(one.series.points):
        return f"{n}, changes looked for in the first {one.looked_at}"
    least = 2 * LEAST_POINTS
    return n if one.looked_at >= least else f"{n}, of {least} that a change needs"


def document(shown: Sequence[Shown]) -> list[dict[str, Any]]:
    """For `--json`."""
    return [
        {
            "series": title(one.series),
            "key": one.series.key,
            "reference": one.series.reference,
            "points": [
                {
                    "run": point.line.run,
                    "commit": point.line.commit,
                    "log_ratio": point.log_ratio,
                    "standard_error": point.standard_error,
                    "n": point.line.n,
                }
                for point in one.series.points
            ],
            "renewals": [asdict(renewal) for renewal in one.series.renewals],
            "looked_at": one.looked_at,
            "changes": [asdict(change) | {"is_overlap_error": change.is_overlap_error} for change in one.changes],
        }
        for one in shown
    ]


def section(shown: Sequence[Shown], seen: Looked | None) -> str:
    """The section of results/README.md; plots lie in plots/ beside it."""
    how = (
        f"by {seen.tool} at p = {seen.p:g}, least {seen.least_size:.1%}, {LEAST_POINTS} runs on either side at least"
        if seen is not None
        else f"not looked for yet (`bench history --setup`, then `bench history`; p = {P:g})"
    )
    rows, below = [], []
    for one in shown:
        name = escape.markdown(title(one.series))
        plot = f"[plot](plots/{escape.url(plot_name(one.series))})" if len(one.series.points) > 1 else ""
        rows.append([name, escape.markdown(newest_text(one.series)), escape.markdown(_points(one)), plot])
        below += [f"- {name}: {escape.markdown(change_text(change))}" for change in one.changes]
    plots = [
        f"![{escape.markdown(title(one.series))}](plots/{escape.url(plot_name(one.series))})"
        for one in shown
        if any(not change.is_overlap_error for change in one.changes)
    ]
    lines = [
        "## History",
        "",
        "Each point is one run: the ratio of a case to a pinned reference, measured in the same blocks. Changes: "
        + escape.markdown(how)
        + ".",
        "",
        *table(["Series", "Newest ratio \\[95%\\]", "Runs", "Plot"], rows),
        "",
    ]
    lines += ["Changes:", "", *below, ""] if below else []
    return "\n".join([*lines, *(line for plot in plots for line in (plot, ""))])


def files(shown: Sequence[Shown], results: Path) -> dict[Path, str]:
    """The plot of every series that has two points or more."""
    drawn = [one for one in shown if len(one.series.points) > 1]
    return {results / "plots" / plot_name(one.series): svg(one) for one in drawn}


def plot_name(series: Series) -> str:
    """The file of a series' plot."""
    return f"history_{series.key}.svg"


def _interval(series: Series, index: int) -> tuple[float, float]:
    point = series.points[index]
    n = point.line.n
    half = half_width(point.standard_error * math.sqrt(n), n)
    return point.log_ratio - half, point.log_ratio + half


def svg(one: Shown) -> str:
    """Ratios over runs with 95% intervals, levels between changes, the commits of each change."""
    points = one.series.points
    ends = [_interval(one.series, index) for index in range(len(points))]
    # A single wild interval would squeeze all others: the axis holds every point, and intervals as far as they go.
    spread = max(max(p.log_ratio for p in points) - min(p.log_ratio for p in points), 0.01)
    low = max(min(end[0] for end in ends), min(p.log_ratio for p in points) - spread) - spread / 10
    high = min(max(end[1] for end in ends), max(p.log_ratio for p in points) + spread) + spread / 10

    def x(index: float) -> float:
        return _LEFT + (index + 0.5) * (_WIDTH - _LEFT - _RIGHT) / len(points)

    def y(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="11" role="img">',
        f"<title>{_xml(title(one.series))}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="16" font-size="12" font-weight="bold">{_xml(title(one.series))}</text>',
    ]
    for value in _ticks(low, high):
        parts.append(_line(_LEFT, y(value), _WIDTH - _RIGHT, y(value), "#dddddd"))
        parts.append(_label(_LEFT - 6, y(value) + 4, f"{math.exp(value):.4g}", "end"))
    for renewal in one.series.renewals:
        at = x(renewal.index - 0.5)
        parts.append(_line(at, _TOP, at, _HEIGHT - _BOTTOM, "#888888", dash="2 3"))
        parts.append(_label(at, _HEIGHT - _BOTTOM + 30, f"{renewal.new}, overlap ±{100 * renewal.half_width:.1f} %"))
    edges = [0, *(change.index for change in one.changes), len(points)]
    for start, end in pairwise(edges):
        level = math.fsum(point.log_ratio for point in points[start:end]) / (end - start)
        parts.append(_line(x(start - 0.4), y(level), x(end - 0.6), y(level), "#4477aa", width=2))
    for change in one.changes:
        at = x(change.index - 0.5)
        colour = "#888888" if change.is_overlap_error else "#228833" if change.faster else "#cc3311"
        parts.append(_line(at, _TOP, at, _HEIGHT - _BOTTOM, colour, dash="5 3"))
        parts.append(_label(at, _TOP - 6, f"{100 * (change.ratio - 1):+.1f} % {commit_range(change)}", colour=colour))
    for index, (point, (least, most)) in enumerate(zip(points, ends, strict=True)):
        parts.append(_line(x(index), y(least), x(index), y(most), "#999999"))
        parts.append(f'<circle cx="{x(index):.1f}" cy="{y(point.log_ratio):.1f}" r="2.5" fill="#222222"/>')
    for index, anchor in ((0, "start"), (len(points) - 1, "end")):
        line = points[index].line
        day = (line.committed_utc or line.measured_utc)[:10]
        at = _LEFT if anchor == "start" else _WIDTH - _RIGHT
        parts.append(_label(at, _HEIGHT - _BOTTOM + 16, f"{line.commit[:12]}, {day}", anchor))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _xml(value: str) -> str:
    return xml(escape.plain(value))


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"{dashes}/>'


def _label(x: float, y: float, value: str, anchor: str = "middle", *, colour: str = "#222222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{_xml(value)}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """Logarithms of four to eight round ratios between two logarithms."""
    least, most = math.exp(low), math.exp(high)
    rough = (most - least) / 8
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(least / step), math.floor(most / step)
    return [math.log(number * step) for number in range(first, last + 1) if number > 0]
