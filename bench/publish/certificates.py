"""Certificates and kill tables -> text. Pure."""

import os.path
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.publish import escape
from bench.publish.tables import task_name, task_order
from bench.record import Certificate, Part, Suite


def text(certificate: Certificate) -> str:
    """The verdict in one line, and below it a line a part; where it failed: each figure, its step and its deviation."""
    case = certificate.case
    verdict = "same work" if certificate.status == "ok" else certificate.status
    ranks = "" if case.processes == 1 else f" in {case.processes} processes"
    reason = f": {certificate.reason}" if certificate.reason else ""
    lines = [f"{case.entry} on {case.task}{ranks}: {verdict}{reason}"]
    for part in certificate.parts:
        lines.append(f"  part {part.name}: {_largest(part)}")
        lines += [f"    {fault}" for fault in part.faults]
    if certificate.parts:
        reads = certificate.host_reads
        told = "the entry cannot tell" if reads is None else "none" if not reads else "; ".join(reads)
        lines.append(f"  reads on the host inside a step: {told}")
    return "\n".join(escape.plain(line) if not line.startswith(" ") else _indented(line) for line in lines)


def _indented(line: str) -> str:
    return line[: len(line) - len(line.lstrip())] + escape.plain(line)


def _largest(part: Part) -> str:
    """The largest deviation of each kind of figure over the part's steps, and the share of its tolerance."""
    found = []
    for kind in ("loss", "gradient", "parameter", "logits"):
        pairs = [
            (deviation, deviation / tolerance if tolerance else float("inf"))
            for series in part.series
            if series.what.startswith(kind)
            for deviation, tolerance in zip(series.deviations, series.tolerances, strict=True)
            if deviation is not None and (tolerance or deviation)
        ]
        if pairs:
            share = max(share for _, share in pairs)
            said = f"{share:.0%} of" if share <= 1 else f"{share:.0e} times"
            found.append(f"{kind} {max(d for d, _ in pairs):.1e} ({said} what is tolerated)")
    return f"{part.dtype}, {part.steps} steps; largest deviations: {', '.join(found) or 'none'}"


def print_kill_table(suites: Sequence[Suite], console: Console) -> None:
    """One line a fault, a column a framework."""
    for suite in suites:
        caught = sum(kill.caught for kill in suite.kills)
        title = f"{suite.framework}: {caught} of {len(suite.kills)} faults refused by what is meant to catch them"
        table = Table("fault", "meant to catch it", "", "what it said", title=title, title_justify="left")
        for kill in suite.kills:
            verdict = "refused" if kill.caught else "SURVIVED" if not kill.faults else "refused by another part"
            style = "" if kill.caught else "bold red"
            table.add_row(kill.name, kill.meant, verdict, escape.plain("; ".join(kill.faults[:1])), style=style)
        console.print(table)


def kill_table(suites: Sequence[tuple[Path, Suite]], folder: Path) -> str:
    """The kill tables side by side, as a section of results/README.md."""
    newest = [suite for _, suite in suites]
    lines = [
        "## What the certificate refuses",
        "",
        "Deliberate faults, each planted into an honest entry; *refused* means: by the part and the figure that are",
        "meant to catch it. `bench certify --mutations` makes this table.",
        "",
    ]
    for path, suite in suites:
        caught = sum(kill.caught for kill in suite.kills)
        versions = ", ".join(f"{name} {version}" for name, version in suite.versions.packages.items())
        link = f"[raw]({escape.url(os.path.relpath(path, folder))})"
        commit = (suite.source.git_commit or "no commit")[:12]
        where = escape.markdown(f"{suite.created_utc[:10]}, {suite.entry}, {versions}, git {commit}")
        lines.append(f"- {escape.markdown(suite.framework)}: {caught} of {len(suite.kills)} ({where}; {link})")
    heads = ["Fault", "What is wrong", "Meant to catch it", *(escape.markdown(suite.framework) for suite in newest)]
    lines += ["", f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    kills = {(suite.framework, kill.name): kill for suite in newest for kill in suite.kills}
    for one in {kill.name: kill for suite in newest for kill in suite.kills}.values():
        cells = [one.name, one.fault, one.meant]
        for suite in newest:
            kill = kills.get((suite.framework, one.name))
            cells.append("not tried" if kill is None else "refused" if kill.caught else "SURVIVED")
        lines.append(f"| {' | '.join(map(escape.markdown, cells))} |")
    return "\n".join(lines) + "\n"


def matrix(newest: Sequence[tuple[Path, Certificate]], folder: Path) -> str:
    """Entries by tasks: the largest deviation of a parameter in float64, or why there is no certificate."""
    lines = [
        "## Certificates",
        "",
        "The newest certificate of each entry on each task (CPU, one thread; a variant of a task has a column of its",
        "own): the largest relative deviation of a parameter from the float64 oracle over 100 steps in float64, linked",
        "to its file.",
        "",
    ]
    shown = [(path, c) for path, c in newest if c.case.device == "cpu" and (c.case.threads, c.case.processes) == (1, 1)]
    shown.sort(key=lambda one: one[1].started_utc)  # so that of several machines' the newest is kept
    tasks = {c.case.fingerprint: c.task for _, c in sorted(shown, key=lambda one: task_order(one[1].task))}
    found = {(c.case.entry, c.case.fingerprint): (path, c) for path, c in shown}
    lines.append(f"| Entry | {' | '.join(escape.markdown(task_name(task)) for task in tasks.values())} |")
    lines.append(f"|{' --- |' * (len(tasks) + 1)}")
    notes: dict[str, int] = {}
    for entry in sorted({entry for entry, _ in found}):
        cells = [_cell(found.get((entry, fingerprint)), folder, notes) for fingerprint in tasks]
        lines.append(f"| {escape.markdown(entry)} | {' | '.join(cells)} |")
    lines += ["", *(f"{number}. {escape.markdown(reason)}" for reason, number in notes.items())]
    return "\n".join(lines).rstrip() + "\n"


def _cell(one: tuple[Path, Certificate] | None, folder: Path, notes: dict[str, int]) -> str:
    if one is None:
        return ""
    path, certificate = one
    link = escape.url(os.path.relpath(path, folder))
    if certificate.status == "ok":
        deviation = certificate.largest("float64", "parameter")
        return f"[✓ {deviation:.0e}]({link})"
    number = notes.setdefault(certificate.reason or "no reason was recorded", len(notes) + 1)
    return f"[{certificate.status} ({number})]({link})"
