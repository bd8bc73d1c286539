"""A gate's decision -> Markdown for a job's summary or a comment, and lines for a terminal. Pure."""

from bench.gate import Decision, Finding
from bench.publish import units
from bench.publish.escape import markdown as escaped
from bench.publish.escape import plain

MARKER = "<!-- evenhand-gate -->"  # by which a job finds its one comment and renews it

_MEANING = {
    "regressed": "a case became slower, or does other work",
    "pass": "no case is slower by more than the margin",
    "inconclusive": "neutral: more time would decide",
    "invalid": "neutral: nothing was measured that could be believed",
}


def _interval(ratio: float | None, interval: tuple[float, float] | None) -> str:
    """Seconds of one side over the other's, as a change: +3.1 % [+2.0, +4.2]"""
    if ratio is None:
        return units.NOT_MEASURED
    if interval is None:
        return f"{100 * (ratio - 1):+.1f} %"
    return f"{100 * (ratio - 1):+.1f} % [{100 * (interval[0] - 1):+.1f}, {100 * (interval[1] - 1):+.1f}]"


def _reason(finding: Finding) -> str:
    more = finding.more_minutes
    return finding.reason + ("" if more is None else f"; about {max(1, round(more))} more min would decide it")


def to_markdown(decision: Decision, *, base: str, head: str, machine: str, minutes: float) -> str:
    """The summary: one table, one row a case."""
    lines = [
        MARKER,
        f"### Speed: {decision.verdict} ({_MEANING[decision.verdict]})",
        "",
        f"{escaped(head)} against {escaped(base)}, on {escaped(machine)}; {units.significant(minutes, 2)} min.",
        "",
        "| case | verdict | time a step, head against base [95%] | duets | two bases [95%] | why |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in decision.findings.items():
        cells = (
            escaped(name),
            f"**{found.verdict}**" if found.verdict == "regressed" else found.verdict,
            _interval(found.ratio, found.interval),
            str(found.duets),
            _interval(found.control_ratio, found.control_interval),
            escaped(_reason(found)),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def to_text(decision: Decision) -> str:
    """For a terminal: a line a case, then the decision."""
    lines = [
        plain(f"{name}: {found.verdict}: {_interval(found.ratio, found.interval)}, {_reason(found)}")
        for name, found in decision.findings.items()
    ]
    return "\n".join([*lines, f"{decision.verdict}: {_MEANING[decision.verdict]}"]) + "\n"
