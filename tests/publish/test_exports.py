"""Each export is read back by the tool it is for, and says nothing that the records do not."""

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema_rs
import pandas as pd
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from pytest_benchmark.stats import Stats

from bench import store
from bench.errors import InputError
from bench.publish import exports, tables
from bench.record import Trial, read_value
from tests.bench.test_cli import one_line
from tests.command import ROOT, bench
from tests.make import make_machine, make_record, make_trial

KEPT = ROOT / "tests" / "records" / "v1"
TOOL = Path(sys.executable).with_name("pytest-benchmark")

# Bencher's own schema of its format, as its reference gives it.
BMF_SCHEMA = {
    "type": "object",
    "patternProperties": {
        ".+": {
            "type": "object",
            "patternProperties": {
                ".+": {
                    "type": "object",
                    "properties": {
                        "value": {"type": "number"},
                        "lower_value": {"type": "number"},
                        "upper_value": {"type": "number"},
                    },
                    "required": ["value"],
                    "additionalProperties": False,
                }
            },
        }
    },
}


def results(*extra: Trial) -> list[tables.Record]:
    """Two entries over five blocks, and what else is given."""
    trials = [
        make_trial(entry, block, seconds=seconds * (1 + 0.01 * block))
        for entry, seconds in (("torch-eager", 1.0), ("numpy", 0.5))
        for block in range(5)
    ]
    return [make_record(trial) for trial in (*trials, *extra)]


REFUSED = make_trial("jax-jit", status="refused", reason="no such optimiser")
UNPROVEN = make_trial("jax-scan", certificate=None)


def tool(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run pytest-benchmark's own command."""
    command = [str(TOOL), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def kept(folder: Path, text: str, name: str = "results.json") -> Path:
    """The text in a file."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_pytest_benchmark_compares_our_results(tmp_path: Path) -> None:
    """Its own command reads the file and prints each entry in the group of its time."""
    file = kept(tmp_path, exports.to_pytest_benchmark(results()))
    done = tool("compare", file, "--name=long", cwd=tmp_path)

    assert 0 == done.returncode, done.stderr
    for what in ("training step", "single step", "time to first step"):
        assert f"cpu-t2-b64: {what}': 2 tests" in done.stdout
    assert 6 == done.stdout.count("::")


def test_pytest_benchmark_reads_real_records(tmp_path: Path) -> None:
    """Through `bench export`, from records of an older schema at that."""
    file = tmp_path / "real.json"
    exported = bench("export", "--format", "pytest-benchmark", "--results", KEPT, "--output", file)
    done = tool("compare", file, cwd=tmp_path)

    assert (0, "") == (exported.returncode, exported.stdout), exported.stderr
    assert "torch-eager[cpu-t1-b64]" in done.stdout


def test_pytest_benchmark_sets_two_exports_side_by_side(tmp_path: Path) -> None:
    """Names are the same from run to run, so that its --between finds the pairs."""
    slow = [make_record(make_trial(block=b, seconds=1.5)) for b in range(3)]
    fast = [make_record(make_trial(block=b, seconds=1.0)) for b in range(3)]
    files = [
        kept(tmp_path, exports.to_pytest_benchmark(records), name)
        for name, records in (("a.json", fast), ("b.json", slow))
    ]
    done = tool("compare", *files, "--between=median", "-k", "training", cwd=tmp_path)

    assert "+50.0%" in done.stdout, done.stdout + done.stderr


def test_pytest_benchmark_draws_its_histogram(tmp_path: Path) -> None:
    """`compare --histogram` writes one SVG a group."""
    file = kept(tmp_path, exports.to_pytest_benchmark(results()))
    done = tool("compare", file, f"--histogram={tmp_path / 'plot'}", cwd=tmp_path)

    assert 0 == done.returncode, done.stderr
    assert [True] * 3 == ["<svg" in svg.read_text() for svg in sorted(tmp_path.glob("plot-*.svg"))]


def test_a_pytest_run_compares_with_our_results(tmp_path: Path) -> None:
    """`--benchmark-compare` and `--benchmark-histogram` of a run take the file too, and pair what has one name."""
    document = json.loads(exports.to_pytest_benchmark(results()))
    document["benchmarks"][0]["fullname"] = "test_one.py::test_one"
    kept(tmp_path, json.dumps(document))
    kept(tmp_path, "def test_one(benchmark):\n    benchmark(sum, range(1000))\n", "test_one.py")
    command = [sys.executable, "-m", "pytest", "-q", "test_one.py", "-p", "no:cacheprovider"]
    command += ["--benchmark-compare=results.json", "--benchmark-histogram=plot", "--benchmark-max-time=0.1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "Comparing against benchmarks from: results.json" in done.stdout + done.stderr
    assert ("NOW" in done.stdout, ": 2 tests" in done.stdout) == (True, True), done.stdout
    assert [*tmp_path.glob("plot*.svg")]


def test_pytest_benchmark_refuses_a_file_that_is_not_its_own(tmp_path: Path) -> None:
    """The checks above can fail: without a round's figures the tool has nothing to show."""
    document = json.loads(exports.to_pytest_benchmark(results()))
    for benchmark in document["benchmarks"]:
        del benchmark["stats"]
    done = tool("compare", kept(tmp_path, json.dumps(document)), cwd=tmp_path)

    assert "torch-eager" not in done.stdout
    assert "Failed to load" in done.stdout + done.stderr


@given(st.lists(st.floats(min_value=1e-6, max_value=1e3), min_size=1, max_size=30))
def test_the_figures_of_the_rounds_are_those_the_tool_would_have_kept(values: list[float]) -> None:
    """Every field, to the last bit but that of rounding."""
    theirs = Stats()
    theirs.data = list(values)

    assert pytest.approx(
        {name: value for name, value in theirs.as_dict().items() if name != "outliers"}, rel=1e-12, abs=1e-15
    ) == {
        name: value for name, value in exports._stats(values).items() if name not in ("data", "iterations", "outliers")
    }


def test_a_round_is_a_process() -> None:
    """Five trials are five rounds of the median time of a step; the batch over the samples a second."""
    document = json.loads(exports.to_pytest_benchmark(results()))
    trials = [trial for _, trial in results()[:5]]
    (found,) = [b for b in document["benchmarks"] if b["fullname"].endswith("torch-eager/cpu/t2/b64::training step")]

    assert [64 / exports.samples_per_second(trial) for trial in trials] == found["stats"]["data"]


def test_bmf_is_what_bencher_s_schema_says() -> None:
    """And the bounds lie around the value."""
    document = json.loads(exports.to_bmf(results()))
    jsonschema_rs.Draft7Validator(BMF_SCHEMA).validate(document)

    assert 2 == len(document)
    for name, case in document.items():
        ratio = set() if "torch-eager" in name else {exports.RATIO}
        assert {"throughput", "latency", "time-to-first-step", "peak-memory", "final-accuracy"} | ratio == set(case)
        assert all(one["lower_value"] <= one["value"] <= one["upper_value"] for one in case.values())


def test_bencher_s_schema_refuses_what_is_not_its_own() -> None:
    """The check above can fail."""
    document = json.loads(exports.to_bmf(results()))
    next(iter(document.values()))["throughput"]["value"] = "fast"

    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.Draft7Validator(BMF_SCHEMA).validate(document)


def test_a_single_trial_has_no_bounds() -> None:
    """A range of one value would claim a certainty that nobody measured."""
    (case,) = json.loads(exports.to_bmf([make_record(make_trial())])).values()

    assert [{"value"}] * len(case) == [set(one) for one in case.values()]


def test_bencher_s_own_measures_are_in_its_units() -> None:
    """latency in nanoseconds, throughput a second."""
    (case,) = json.loads(exports.to_bmf([make_record(make_trial(seconds=2.0))])).values()
    task = make_trial().task

    assert 1e6 == case["latency"]["value"]
    assert (task.steps_per_epoch - 1) * 64 / 2.0 == case["throughput"]["value"]


def measures_of(text: str) -> set[str]:
    """The measures that a file for github-action-benchmark follows."""
    return {one["name"].split(" ")[-1] for one in json.loads(text)}


def test_each_direction_has_its_own_measures() -> None:
    """More throughput and accuracy is better, less of everything else; none is in both, none in neither."""
    bigger = measures_of(exports.to_github_action_benchmark(results(), "bigger"))
    smaller = measures_of(exports.to_github_action_benchmark(results(), "smaller"))

    assert {"throughput", "final-accuracy", exports.RATIO} == bigger
    assert {"latency", "time-to-first-step", "peak-memory"} == smaller


@pytest.mark.parametrize("direction", ["bigger", "smaller"])
def test_a_slower_entry_is_worse_in_its_direction(direction: exports.Direction) -> None:
    """What the tool computes, the ratio of now and before in its direction, is above 1 for a loss."""
    before = [make_record(make_trial(seconds=1.0, accuracy=0.88, import_seconds=1, peak_bytes=100))]
    now = [make_record(make_trial(seconds=1.2, accuracy=0.8, import_seconds=2, peak_bytes=200))]

    def values(records: Sequence[tables.Record]) -> dict[str, float]:
        found = json.loads(exports.to_github_action_benchmark(records, direction))
        return {one["name"]: one["value"] for one in found if not one["name"].endswith("latency")}

    old, new = values(before), values(now)
    ratios = [old[name] / new[name] if direction == "bigger" else new[name] / old[name] for name in old]
    assert all(ratio > 1 for ratio in ratios)


def test_a_file_for_github_action_benchmark_has_its_fields() -> None:
    """name, unit and value it must have; range and extra are text."""
    for one in json.loads(exports.to_github_action_benchmark(results(), "bigger")):
        assert {"name": str, "unit": str, "value": float, "range": str, "extra": str} == {
            key: type(value) for key, value in one.items()
        }


SERIES = [
    exports.to_pytest_benchmark,
    exports.to_bmf,
    lambda records: exports.to_github_action_benchmark(records, "bigger"),
    lambda records: exports.to_github_action_benchmark(records, "smaller"),
]


@pytest.mark.parametrize("made", SERIES)
def test_a_series_leaves_out_what_does_not_count(made) -> None:
    """A refused trial and one without a proof are in no series, and change none."""
    text = made(results(REFUSED, UNPROVEN))

    assert ("torch-eager" in text, "jax-jit" in text, "jax-scan" in text) == (True, False, False)
    assert made(results()) == text


@pytest.mark.parametrize("made", SERIES)
def test_a_series_of_nothing_is_refused(made) -> None:
    """An empty file would read as a job that went well."""
    with pytest.raises(InputError, match="no trial of these results counts"):
        made([make_record(REFUSED), make_record(UNPROVEN)])


@pytest.mark.parametrize("made", SERIES)
def test_a_series_of_two_machines_is_refused(made) -> None:
    """The format has no place for the second machine: its values would be taken for the first one's."""
    other = make_trial(machine=make_machine(fingerprint="machine-1", name="otherbox"))
    with pytest.raises(InputError, match=r"have 2: otherbox \(machine-1\), testbox \(machine-0\); take one with"):
        made(results(other))


def test_the_ratio_is_that_of_the_tables() -> None:
    """With its 95% interval as bounds: numpy takes half the time here, so its ratio is 2 in every format."""
    (section,) = tables.sections(results())
    (comparison,) = [row.comparison for row in section.rows if row.case.entry == "numpy"]
    bmf = json.loads(exports.to_bmf(results()))[exports.series_name(results()[5][1].case)][exports.RATIO]
    found = {
        s.labels["stat"]: s.value for s in metrics(exports.to_openmetrics(results()))["evenhand_speed_ratio"].samples
    }

    assert comparison is not None
    assert comparison.interval is not None
    assert pytest.approx(2.0) == comparison.ratio
    assert (comparison.ratio, *comparison.interval) == (bmf["value"], bmf["lower_value"], bmf["upper_value"])
    assert (comparison.ratio, *comparison.interval) == (found["point"], found["low"], found["high"])


def test_a_changed_task_begins_a_new_series() -> None:
    """So does another precision or interpreter; the usual ones are not in the name."""
    case = make_trial().case
    longer = make_trial(task=make_trial().task.changed(epochs=5)).case
    names = [exports.series_name(one) for one in (case, longer)]
    names += [exports.series_name(case.model_copy(update=change)) for change in ({"precision": "tf32"},)]
    names += [exports.series_name(case.model_copy(update={"environment": "nightly"}))]

    assert f"mlp-{case.fingerprint[:8]}/torch-eager/cpu/t2/b64" == names[0]
    assert 4 == len(set(names))


def test_a_figure_that_nobody_measured_is_in_no_series() -> None:
    """Unknown memory is absent, not 0."""
    records = [make_record(make_trial(peak_bytes=None, above_import_bytes=None, memory_reason="no /proc"))]
    (case,) = json.loads(exports.to_bmf(records)).values()

    assert "peak-memory" not in case
    assert "evenhand_peak_memory_bytes" not in exports.to_openmetrics(records)


def csv_of(records: Sequence[tables.Record]) -> pd.DataFrame:
    """The export read back as anybody would."""
    return pd.read_csv(io.StringIO(exports.to_csv(records)))


def test_csv_has_a_row_for_every_trial() -> None:
    """With the figures unrounded, in order of their start."""
    read = csv_of(results())
    trials = sorted((trial for _, trial in results()), key=lambda trial: trial.started_utc)

    assert [exports.samples_per_second(trial) for trial in trials] == list(read["samples_per_second"])
    assert [*(column.name for column in exports.COLUMNS), exports.SHOWN] == list(read)


def test_csv_says_of_a_trial_that_it_does_not_count() -> None:
    """With status and reason, and without a figure that a mean could take in."""
    read = csv_of(results(REFUSED, UNPROVEN)).set_index("entry")
    figures = [column.name for column in exports.COLUMNS if column.name.endswith(("_bytes", "_seconds", "_second"))]

    assert (False, "refused", "no such optimiser") == tuple(read.loc["jax-jit", ["counts", "status", "reason"]])
    assert (False, "uncertified") == tuple(read.loc["jax-scan", ["counts", "status"]])
    assert read.loc[["jax-jit", "jax-scan"], [*figures, "final_accuracy"]].isna().all(axis=None)
    assert 12 == len(read)


def test_csv_says_which_run_the_tables_show() -> None:
    """An older run with fewer blocks is in the file, and marked."""
    read = csv_of(results(make_trial(run="older", started_utc="2025-01-01T00:00:00Z")))

    assert {("older", False), ("run-0", True)} == set(zip(read["run"], read["shown"], strict=True))


def test_what_csv_says_is_shown_is_what_the_tables_show() -> None:
    """Of several runs, machines, environments, threads and precisions; the records are gone through once."""
    records = [
        make_record(make_trial(entry, block, run=run, started_utc=start, threads=threads, environment=label))
        for entry in ("torch-eager", "numpy")
        for run, start, blocks in (("a", "2026-01-02T03", 2), ("b", "2026-01-01T03", 2), ("c", "2026-01-03T03", 1))
        for threads in (1, 2)
        for label in ("", "older")
        for block in range(blocks)
    ]
    expected = {(trial.placement.run, trial.case) for section in tables.sections(records) for trial in section.trials}

    frame = exports.frame(iter(records))

    assert [(trial.placement.run, trial.case) in expected for _, trial in in_order(records)] == list(frame["shown"])


def in_order(records: Sequence[tables.Record]) -> list[tables.Record]:
    """As the rows of a frame stand."""
    return sorted(records, key=lambda one: (one[1].started_utc, one[1].placement.run, one[1].placement.block))


def test_csv_starts_no_formula() -> None:
    """A reason from a stranger's entry opens in a spreadsheet as text."""
    text = exports.to_csv([make_record(make_trial(status="failed", reason='=cmd|" /C calc"!A0'))])

    assert ("'=cmd" in text, ',"=cmd' in text, ",=cmd" in text) == (True, False, False)


def test_parquet_is_the_same_table(tmp_path: Path) -> None:
    """Read back by pandas: each column with its kind, missing where CSV is empty."""
    file = tmp_path / "results.parquet"
    file.write_bytes(exports.to_parquet(results(REFUSED)))
    read, expected = pd.read_parquet(file), exports.frame(results(REFUSED))
    kinds = {"string": "large_string", "Int64": "int64", "Float64": "double", "boolean": "bool"}
    stored = pyarrow.parquet.read_schema(file)

    assert [kinds[column.kind] for column in exports.COLUMNS] == [
        str(stored.field(column.name).type) for column in exports.COLUMNS
    ]
    for name in expected:
        assert expected[name].isna().tolist() == read[name].isna().tolist()
        assert expected[name].dropna().tolist() == read[name].dropna().tolist()


def test_parquet_without_pyarrow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no dependency of a run."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match="parquet needs pyarrow; install it with"):
        exports.to_parquet(results())


def metrics(text: str) -> dict[str, Any]:
    """The families of the text, by the parser of Prometheus' own client."""
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_openmetrics_is_read_by_prometheus_own_parser() -> None:
    """Names, units, labels and values; every measure is a gauge."""
    found = metrics(exports.to_openmetrics(results()))
    (median,) = [
        sample.value
        for sample in found["evenhand_samples_per_second"].samples
        if (sample.labels["entry"], sample.labels["stat"]) == ("numpy", "median")
    ]

    assert {"gauge"} == {family.type for family in found.values()}
    assert "seconds" == found["evenhand_step_latency_seconds"].unit
    assert pytest.approx(1e-3) == found["evenhand_step_latency_seconds"].samples[0].value
    assert exports.samples_per_second(results()[7][1]) == median


def test_openmetrics_counts_what_does_not_count() -> None:
    """Six states of affairs are told apart: a refused trial is a number of its own, and no figure."""
    found = metrics(exports.to_openmetrics(results(REFUSED)))
    trials = {(s.labels["entry"], s.labels["status"]): s.value for s in found["evenhand_trials"].samples}

    assert {("numpy", "counts"): 5, ("torch-eager", "counts"): 5, ("jax-jit", "refused"): 1} == trials
    assert {"numpy", "torch-eager"} == {s.labels["entry"] for s in found["evenhand_samples_per_second"].samples}


def test_openmetrics_survives_any_name() -> None:
    """Quotes, backslashes and line breaks of an entry's name end no label."""
    trial = make_trial()
    hostile = trial.model_copy(update={"case": trial.case.model_copy(update={"entry": 'a"} 1\nb\\n'})})
    (sample, *_) = metrics(exports.to_openmetrics([make_record(hostile)]))["evenhand_samples_per_second"].samples

    assert 'a"} 1 b\\n' == sample.labels["entry"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("# EOF\n", ""),
        lambda text: text.replace(
            "# UNIT evenhand_step_latency_seconds seconds", "# UNIT evenhand_step_latency_seconds s"
        ),
        lambda text: text.replace('entry="numpy"', 'entry="nu"mpy"'),
        lambda text: text.replace("# TYPE evenhand_trials gauge", "# TYPE evenhand_trials speed"),
    ],
)
def test_the_parser_refuses_what_is_no_openmetrics(spoil) -> None:
    """The checks above can fail."""
    text = exports.to_openmetrics(results())
    assert text != spoil(text)
    with pytest.raises(ValueError, match=r".+"):
        metrics(spoil(text))


@pytest.mark.parametrize(
    ("arguments", "cause", "remedy"),
    [
        (("--format", "xml"), "--format 'xml'", "take one of pytest-benchmark, bmf"),
        ((), "'--format'", "--help"),
        (("--format", "parquet"), "is not text", "--output"),
        (("--format", "github-action-benchmark"), "--direction is missing", "smaller for customSmallerIsBetter"),
        (("--format", "github-action-benchmark", "--direction", "up"), "'up': no such direction", "take bigger"),
        (("--format", "csv", "--direction", "bigger"), "means nothing with --format csv", "leave it out"),
        (("--format", "csv", "--results", "absent"), "absent: holds no results", "bench run"),
        (("--format", "csv", "--results", KEPT, "--machine", "mine"), "has no record here", "take one of amd-epyc"),
        (("--format", "csv", "--results", KEPT, "--output", "/proc/x"), "/proc/x: cannot be written", "check --output"),
    ],
)
def test_an_export_that_makes_no_sense_is_refused_in_one_line(
    arguments: tuple[object, ...], cause: str, remedy: str
) -> None:
    """Cause and remedy in the line, exit 2, nothing on standard output."""
    line = one_line(bench("export", *arguments))

    assert (True, True) == (cause in line, remedy in line), line


def test_an_empty_results_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    """For every format: an empty file would look like results."""
    (tmp_path / "raw").mkdir()
    line = one_line(bench("export", "--format", "openmetrics", "--results", tmp_path))

    assert "holds no record; make some with `bench run`" in line


def test_every_format_of_the_help_is_made(tmp_path: Path) -> None:
    """Through the command itself, on real records."""
    for format_ in ("pytest-benchmark", "bmf", "csv", "openmetrics", "parquet"):
        file = tmp_path / format_
        done = bench("export", "--format", format_, "--results", KEPT, "--output", file)
        assert (0, True) == (done.returncode, file.stat().st_size > 100), done.stderr
    for direction in ("bigger", "smaller"):
        arguments = ("--format", "github-action-benchmark", "--direction", direction, "--machine", "amd-epyc-2c-18cf")
        done = bench("export", *arguments, "--results", KEPT)
        assert (0, True) == (done.returncode, bool(json.loads(done.stdout))), done.stderr


def test_the_figures_of_an_export_are_those_of_the_record() -> None:
    """Of a real trial, recomputed here by hand."""
    ((path, trial),) = store.read_trials(KEPT)
    rates = sorted(e["window_steps"] * 64 / e["window_seconds"] for e in _raw(path)["epochs"][1:])
    (case,) = json.loads(exports.to_bmf([(path, trial)])).values()

    assert trial == read_value(Trial, path)
    assert pytest.approx(rates[len(rates) // 2]) == case["throughput"]["value"]
    assert 731181056 == case["peak-memory"]["value"]
    assert 0.8797 == case["final-accuracy"]["value"]


def _raw(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())["measurements"]
