"""Records -> the files of a report and the tables on a terminal. Pure: values in, text out; nothing is written here."""

from collections.abc import Sequence
from pathlib import Path

from bench.claims import Judged
from bench.material import Withdrawn
from bench.publish import certificates, claims, markdown, page, sweeps, tables, terminal
from bench.publish.tables import Record
from bench.record import Certificate, Suite

__all__ = ["certificates", "claims", "files", "markdown", "page", "tables", "terminal"]


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
    sections, found = tables.sections(records), sweeps.find(records)
    above = [claims.section(judged, results)] if judged else []
    below = [certificates.matrix(proofs, results)] if proofs else []
    below += [certificates.kill_table(suites, results)] if suites else []
    below += [*history, *([markdown.withdrawn_section(withdrawn, results)] if withdrawn else [])]
    return {
        results / "README.md": markdown.results_readme(sections, results, below, found, above),
        results / "tables" / "cases.csv": tables.to_csv(sections),
    }
