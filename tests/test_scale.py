"""docs/scale.md: its figures are those of the file beside it."""

import json
import re

from tests.command import ROOT
from tests.perf.report_scale import tables

DOCUMENT = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
BEGIN, END = "<!-- scale: begin -->", "<!-- scale: end -->"


def test_the_tables_are_what_was_measured() -> None:
    """Word for word what `--read` prints of the committed file."""
    measured = json.loads((ROOT / "docs" / "scale.json").read_text(encoding="utf-8"))

    assert tables(measured) == DOCUMENT.partition(BEGIN)[2].partition(END)[0].strip()


def test_the_pages_links_lead_somewhere() -> None:
    """Every relative one."""
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", DOCUMENT) if "://" not in link]

    assert [] == [link for link in links if not (ROOT / "docs" / link).exists()]
    assert len(links) > 2
