"""docs/scale.md: its figures are those of the file beside it."""

import json
import re

from tests.command import ROOT
from tests.perf.report_scale import merged, tables

DOCUMENT = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
BEGIN, END = "<!-- scale: begin -->", "<!-- scale: end -->"


def test_the_tables_are_what_was_measured() -> None:
    """Word for word what `--read` prints of the committed file."""
    measured = json.loads((ROOT / "docs" / "scale.json").read_text(encoding="utf-8"))

    assert tables(measured) == DOCUMENT.partition(BEGIN)[2].partition(END)[0].strip()


def test_a_newer_measure_takes_the_place_of_the_older_and_of_nothing_else() -> None:
    """Each says by itself where and when it was made."""
    by = {"machine": "box", "cores": 2, "git_commit": "a" * 40, "created_utc": "2026-01-02T03:04:05+00:00"}
    old = {"measured": [{"records": 10, "write": {"files": 1}, "report": {}}], "repeated": [], "source": "old"}
    new = {
        "measured": [{"records": 20, "report": {}}, {"records": 10, "report": {"by": by}}],
        "repeated": [],
        "source": 1,
    }

    found = merged(old, new)

    assert [{"records": 10, "write": {"files": 1}, "report": {"by": by}}, new["measured"][0]] == found["measured"]
    assert ([], "old") == (found["repeated"], found["source"])
    assert "| measured on, by commit | 2026-01-02, box, 2 cores, aaaaaaaaaaaa | as the file says |" in tables(found)
    assert "| Files | 1 | not measured |" in tables(found)


def test_the_pages_links_lead_somewhere() -> None:
    """Every relative one."""
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", DOCUMENT) if "://" not in link]

    assert [] == [link for link in links if not (ROOT / "docs" / link).exists()]
    assert len(links) > 2
