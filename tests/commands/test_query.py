"""SQL over the trials: what it answers, and what it refuses in one line."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from bench import store
from bench.publish import exports
from bench.studying import keep
from tests.bench.test_merge import results_of
from tests.command import ROOT, bench
from tests.make import make_study


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trials of torch-eager."""
    return results_of(tmp_path_factory.mktemp("results"), "run-a")


def test_a_query_answers_as_json_csv_and_table(results: Path) -> None:
    """The same figures in each."""
    sql = "SELECT entry, count(*) AS n, max(samples_per_second) AS best FROM trials WHERE counts GROUP BY entry"
    as_json, as_csv, table = (bench("query", sql, "--results", results, *flag) for flag in (["--json"], ["--csv"], []))
    [row] = json.loads(as_json.stdout)

    assert ("torch-eager", 2) == (row["entry"], row["n"])
    assert f"torch-eager,2,{row['best']}" in as_csv.stdout
    assert "torch-eager" in table.stdout


def test_what_is_missing_is_null(results: Path) -> None:
    """Never 0, never an empty text."""
    done = bench("query", "SELECT reason, device_peak_allocated_bytes AS b FROM trials", "--results", results, "--json")

    assert [{"reason": None, "b": None}] * 2 == json.loads(done.stdout)


def test_readings_of_studies_are_asked_alike(results: Path) -> None:
    """A row a reading; one that was not measured is null with its reason, and a process without any has one row."""
    _, record = make_study("soak", "torch-eager", 0, growth=12.0, pace=None)
    _, broken = make_study("soak", "tensorflow-function", 0)
    for one in (record, broken.model_copy(update={"status": "failed", "reason": "it broke"})):
        keep(store.raw_folder(results) / "2026-01-02" / "testbox" / "run-s", one)
    sql = "SELECT entry, status, reading, value, reason FROM readings ORDER BY ALL"
    done = bench("query", sql, "--results", results, "--csv")

    assert done.stdout.splitlines() == [
        "entry,status,reading,value,reason",
        "tensorflow-function,failed,,,it broke",
        "torch-eager,ok,growth,12.0,",
        "torch-eager,ok,pace,,unknown",
    ]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT", "parser error"),
        ("SELECT nothing FROM trials", "nothing"),
        ("SELECT * FROM other", "other"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled by configuration"),
        ("COPY trials TO 'stolen.csv'", "disabled by configuration"),
    ],
)
def test_a_query_that_cannot_be_answered_is_one_line(results: Path, sql: str, message: str) -> None:
    """With the columns there are; and nothing outside the records is read or written."""
    done = bench("query", sql, "--results", results)

    assert 2 == done.returncode
    assert message.lower() in done.stderr.lower()
    assert "the table trials has the columns run, profile" in done.stderr
    assert 1 == len(done.stderr.splitlines())
    assert not Path("stolen.csv").exists()


def test_without_results_it_is_one_line(tmp_path: Path) -> None:
    """As everywhere."""
    done = bench("query", "SELECT 1", "--results", tmp_path)

    assert (2, 1) == (done.returncode, len(done.stderr.splitlines()))


def test_exported_files_are_asked_in_place_of_records(results: Path, tmp_path: Path) -> None:
    """The same answer of one file, twice as many rows of two; nothing else can be read through them."""
    file, sql = (
        tmp_path / "trials.parquet",
        "SELECT entry, count(*) AS n, max(samples_per_second) FROM trials GROUP BY 1",
    )
    assert 0 == bench("export", "--format", "parquet", "--results", results, "--output", file).returncode

    asked = bench("query", sql, "--results", results, "--csv").stdout
    one = bench("query", sql, "--parquet", file, "--csv")
    two = bench("query", "SELECT count(*) AS n FROM trials", "--parquet", file, "--parquet", file, "--json")
    other = bench("query", "SELECT * FROM readings", "--parquet", file)

    assert asked == one.stdout
    assert [{"n": 4}] == json.loads(two.stdout)
    assert (2, 1) == (other.returncode, len(other.stderr.splitlines()))


def test_a_file_that_is_no_export_is_one_line(tmp_path: Path) -> None:
    """Missing, no Parquet, or of other columns: which file, what is wrong with it, and the remedy."""
    other, text = tmp_path / "other.parquet", tmp_path / "text.parquet"
    pd.DataFrame({"run": ["a"], "speed": [1.0]}).to_parquet(other)
    text.write_text("run,speed")
    told = {path.name: bench("query", "SELECT 1", "--parquet", path) for path in (other, text, tmp_path / "none")}

    assert [(2, 1)] * 3 == [(done.returncode, len(done.stderr.splitlines())) for done in told.values()]
    assert "has other columns" in told["other.parquet"].stderr
    assert "speed" in told["other.parquet"].stderr
    assert "is no Parquet" in told["text.parquet"].stderr
    assert "cannot be read" in told["none"].stderr


def test_the_document_lists_the_columns_of_readings() -> None:
    """docs/schema.md, in their order, each with what it says."""
    document = (ROOT / "docs" / "schema.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| ", document.partition("### Columns of readings")[2], re.MULTILINE)

    assert list(exports.READING_COLUMNS) == listed
