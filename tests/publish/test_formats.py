"""bench.publish.formats: every format carries the figures, their intervals, n, date, machine and versions."""

import csv
import io
import json
from pathlib import Path

import pytest

from bench.claims import judge, read_claims
from bench.publish.formats import FORMATS
from bench.record import Trial
from tests.make import make_trial

RESULTS = Path("results")


def records(**changes: str) -> list[tuple[Path, Trial]]:
    """Three blocks of two entries."""
    trials = [
        make_trial(entry, block, seconds=seconds + 0.001 * block, **changes)  # type: ignore[arg-type]
        for block in range(3)
        for entry, seconds in (("torch-eager", 1.0), ("tensorflow-function", 0.8))
    ]
    return [(RESULTS / f"raw/2026-01-02/testbox/run-0/{t.case.entry}-{t.placement.block}.json", t) for t in trials]


def text_of(name: str, found: list[tuple[Path, Trial]]) -> str:
    """What a format makes of the records."""
    return FORMATS[name](found, judge(read_claims(), found, []), RESULTS)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_what_it_is_of(name: str) -> None:
    """Entry, machine, date, version and the number of trials stand in each."""
    text = text_of(name, records())

    for word in (
        "tensorflow-function",
        "Example CPU 9000" if name in ("latex", "markdown") else "testbox",
        "2026-01-02",
        "2.13.0",
    ):
        assert word in text


def test_csv_and_json_have_the_figures_of_the_records() -> None:
    """Unrounded, with interval and n."""
    found = records()
    row = next(r for r in csv.DictReader(io.StringIO(text_of("csv", found))) if r["entry"] == "tensorflow-function")
    document = json.loads(text_of("json", found))
    of_json = next(r for r in document["sections"][0]["rows"] if r["entry"] == "tensorflow-function")

    assert float(row["samples_per_second_median"]) == of_json["samples_per_second_median"]
    assert float(row["ratio_low"]) < 1.25 < float(row["ratio_high"]) * 1.01
    assert row["trials"] == "3"
    assert {c["claim"]["name"] for c in document["claims"]} == {c.name for c in read_claims()}


def test_latex_has_rules_and_no_character_that_means_something_else() -> None:
    """booktabs; per cent, underscore, hash and ampersand in a record's texts are text."""
    hostile = records(status="failed", reason=r"50% of a_b & c#d {x} \input{secret} ~ ^")
    text = text_of("latex", [*records(), *hostile[:0]]) + text_of("latex", records(run="run_1&2"))

    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2
    assert r"run\_1\&2" in text
    body = text.replace(r"\&", "").replace(r"\%", "").replace(r"\_", "").replace(r"\#", "")
    assert all(line.count("&") == 10 for line in body.splitlines() if line.endswith(r"\\"))
    assert text.isascii()


def test_latex_makes_a_command_plain() -> None:
    """A name that is LaTeX runs nothing."""
    text = text_of("latex", records(run=r"\input{x}"))

    assert r"\textbackslash{}input\{x\}" in text
    assert r"\input{" not in text
