"""Records -> the files of a report and the tables on a terminal. Pure: values in, text out; nothing is written here."""

from collections.abc import Sequence
from pathlib import Path

from bench.claims import Judged
from bench.duets import Contest
from bench.material import Material, Withdrawn
from bench.publish import certificates, claims, duets, machines, markdown, page, parts, tables, terminal, units
from bench.publish.parts import Part
from bench.publish.tables import Record
from bench.record import Certificate, Suite

__all__ = [
    "certificates",
    "claims",
    "duets",
    "files",
    "machines",
    "markdown",
    "page",
    "parts",
    "tables",
    "terminal",
    "units",
]


def files(
    records: list[Record],
    results: Path,
    suites: Sequence[tuple[Path, Suite]] = (),
    proofs: Sequence[tuple[Path, Certificate]] = (),
    history: Sequence[str] = (),
    judged: Sequence[Judged] = (),
    withdrawn: Sequence[Withdrawn] = (),
) -> dict[Path, str]:
    """Every file that a results folder gets from its records, by path. The same records give the same bytes."""
    material = Material(trials=records, studies=[], suites=[], certificates=list(proofs), withdrawn=())
    drawn = parts.of_material(material, parts.Asked(results=results, project=results.parent))
    return files_of(drawn, results, suites, history, judged, withdrawn)


def files_of(
    drawn: Sequence[Part],
    results: Path,
    suites: Sequence[tuple[Path, Suite]] = (),
    history: Sequence[str] = (),
    judged: Sequence[Judged] = (),
    withdrawn: Sequence[Withdrawn] = (),
    contests: Sequence[Contest] = (),
) -> dict[Path, str]:
    """The same of what was drawn of each machine."""
    sections, proofs = parts.sections_of(drawn), parts.certificates_of(drawn)
    tables_ = [*(one.text for one in sections if one.text), *(one.text for one in parts.sweeps_of(drawn))]
    above = [claims.section(judged, results)] if judged else []
    below = [certificates.matrix(proofs, results)] if proofs else []
    if len({one.first.machine.fingerprint for one in contests}) > 1:
        said = markdown.bullets(machines.answer_lines(contests))
        lines = ["## In turns, machine by machine", "", *said, "", machines.section(contests, results)]
        below.append("\n".join(lines))
    below += [duets.section(contests, results)] if contests else []
    below += [certificates.kill_table(suites, results)] if suites else []
    below += [*history, *([markdown.withdrawn_section(withdrawn, results)] if withdrawn else [])]
    return {
        results / "README.md": markdown.results_readme(tables_, below, above),
        results / "tables" / "cases.csv": tables.csv_of(line for one in sections for line in one.lines),
    }
