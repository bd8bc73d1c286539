"""Records -> the files of a report and the tables on a terminal. Pure: values in, text out; nothing is written here."""

from collections.abc import Sequence
from pathlib import Path

from bench.publish import certificates, markdown, sweeps, tables, terminal
from bench.publish.tables import Record
from bench.record import Certificate, Suite

__all__ = ["certificates", "files", "markdown", "tables", "terminal"]


def files(
    records: list[Record],
    results: Path,
    suites: Sequence[tuple[Path, Suite]] = (),
    proofs: Sequence[tuple[Path, Certificate]] = (),
    history: Sequence[str] = (),
) -> dict[Path, str]:
    """Every file that a results folder gets from its records, by path. The same records give the same bytes."""
    sections, found = tables.sections(records), sweeps.find(records)
    below = [certificates.matrix(proofs, results)] if proofs else []
    below += [certificates.kill_table(suites, results)] if suites else []
    below += history
    return {
        results / "README.md": markdown.results_readme(sections, results, below, found),
        results / "tables" / "cases.csv": tables.to_csv(sections),
    }
