"""Sections -> tables for others: Markdown, CSV, LaTeX, JSON; each with units, n, intervals, date, machine, versions."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench import claims
from bench.claims import Judged
from bench.publish import escape, markdown, tables, units
from bench.publish.tables import HEADS, Record, Section, sections, texts

# A bar over letters, an arrow or a check mark stops pdflatex, so what it may not know is spelt.
_SPELT = {"±": "+-", "✓": "yes:", "…": "...", "≥": ">=", "≤": "<=", "→": "->", "×": "x"}


def to_latex(records: Iterable[Record], _: Sequence[Judged], results: Path) -> str:
    """A booktabs table a section, with machine, date and versions in the caption; needs \\usepackage{booktabs}."""
    del results
    return "\n".join(_latex(section) for section in sections(records)) + "\n"


def _latex(section: Section) -> str:
    import pandas as pd

    rows = [[_ascii(cell) for cell in row] for row in texts(section)]
    frame = pd.DataFrame(rows, columns=[_ascii(head) for head in HEADS])
    frame.columns = pd.Index([_escaped(head) for head in frame.columns])
    style = frame.style.format(_escaped).hide(axis="index")
    processes = "" if section.processes == 1 else f"-p{section.processes}"
    label = f"tab:{section.task.name}-{section.machine.name}-t{section.threads}{processes}"
    return style.to_latex(
        hrules=True,
        caption=_escaped(_ascii(caption(section))),
        label="".join(c if c.isalnum() or c in ":-" else "-" for c in label),
        position_float="centering",
        column_format="l" * len(HEADS),
    )


def caption(section: Section) -> str:
    """What a table is of: task, machine, threads, dates, versions, runs."""
    task, trials = section.task, section.trials
    runs = ", ".join(dict.fromkeys(trial.placement.run for trial in trials))
    return (
        f"{task.name} ({task.title}, batch {task.batch_size}, {task.epochs} epochs) on "
        f"{escape.plain(markdown.machine_text(section.machine))}, {units.workers(section.threads, section.processes)}; "
        f"{units.days(trial.started_utc for trial in trials)}; "
        f"{escape.plain(markdown.versions_text(trials), 600)}; runs {escape.plain(runs)}. "
        "Ratios are of paired blocks, with 95% intervals."
    )


def _ascii(text: str) -> str:
    for sign, spelt in _SPELT.items():
        text = text.replace(sign, spelt)
    return "".join(c if c.isascii() else "?" for c in escape.plain(text, 2000))


def _escaped(text: object) -> str:
    """With the ten characters that mean something to LaTeX made plain."""
    found = str(text).replace("\\", "\x00")
    for sign in "&%$#_{}":
        found = found.replace(sign, f"\\{sign}")
    for sign, spelt in (("~", r"\textasciitilde{}"), ("^", r"\textasciicircum{}"), ("\x00", r"\textbackslash{}")):
        found = found.replace(sign, spelt)
    return found.replace("[", "{[}")  # after a line's end a bracket would be a length


def to_markdown(records: Iterable[Record], judged: Sequence[Judged], results: Path) -> str:
    """Every table and the claims, as results/README.md has them."""
    from bench.publish import files

    return files(list(records), results, judged=judged)[results / "README.md"]


def to_csv(records: Iterable[Record], _: Sequence[Judged], results: Path) -> str:
    """A line a case, figures unrounded."""
    del results
    return tables.to_csv(sections(records))


def to_json(records: Iterable[Record], judged: Sequence[Judged], results: Path) -> str:
    """Sections, sweeps and claims, figures unrounded."""
    document: dict[str, Any] = json.loads(tables.to_json(records))
    document["claims"] = [claims.document(one, results) for one in judged]
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[Iterable[Record], Sequence[Judged], Path], str]] = {
    "markdown": to_markdown,
    "csv": to_csv,
    "latex": to_latex,
    "json": to_json,
}
