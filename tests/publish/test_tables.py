"""bench/publish/tables.py: which run a case shows, and that the figures are the records'."""

import json
import math

import pytest

from bench import stats
from bench.errors import InputError
from bench.publish import tables
from bench.publish.tables import HEADS, Record
from bench.record import Trial
from tests.make import make_machine, make_record, make_task, make_trial


def run_of(blocks: int, **changes: object) -> list[Record]:
    """Records of torch-eager and tensorflow-function, the latter at twice the seconds, a little apart in each block."""
    return [
        make_record(make_trial(entry, block, seconds=seconds * (1 + 0.01 * block), **changes))  # type: ignore[arg-type]
        for block in range(blocks)
        for entry, seconds in (("torch-eager", 1.0), ("tensorflow-function", 2.0 + 0.01 * block))
    ]


def test_the_figures_are_those_of_the_records() -> None:
    """Median, range and ratio, computed again from the raw records by hand."""
    records = run_of(3)
    rates = sorted(stats.samples_per_second(t) or 0 for _, t in records if t.case.entry == "tensorflow-function")
    of_torch = [stats.samples_per_second(t) or 0 for _, t in records if t.case.entry == "torch-eager"]
    of_function = [stats.samples_per_second(t) or 0 for _, t in records if t.case.entry == "tensorflow-function"]
    ratio = math.exp(sum(math.log(b / a) for a, b in zip(of_torch, of_function, strict=True)) / 3)

    actual = tables.frame(tables.sections(records)).set_index("entry").loc["tensorflow-function"]

    assert [rates[1], rates[0], rates[2], pytest.approx(ratio), 3] == [
        actual["samples_per_second_median"],
        actual["samples_per_second_least"],
        actual["samples_per_second_greatest"],
        actual["ratio_to_reference"],
        actual["trials"],
    ]


def test_rows_are_grouped_by_mode_and_the_reference_stands_first() -> None:
    """Like meets like: eager, graph, compiled, whole-loop."""
    records = [
        make_record(make_trial(entry, mode=mode))
        for entry, mode in (("keras-fit", "whole-loop"), ("tensorflow-function", "graph"), ("numpy", "eager"))
    ]
    records.append(make_record(make_trial("torch-eager")))

    actual = [row.case.entry for row in tables.sections(records)[0].rows]

    assert actual == ["torch-eager", "numpy", "tensorflow-function", "keras-fit"]


def test_tasks_machines_threads_and_precisions_have_tables_of_their_own() -> None:
    """They are never pooled; devices share a table and keep rows of their own."""
    trials = [
        make_trial(),
        make_trial(threads=1),
        make_trial(machine=make_machine(fingerprint="other")),
        make_trial(task=make_task(batch_size=32)),
        make_trial(device="cuda"),
        make_trial(precision="tf32", device="cuda"),
    ]

    actual = sorted(len(section.rows) for section in tables.sections(map(make_record, trials)))

    assert actual == [1, 1, 1, 1, 2]


def test_a_small_newer_run_does_not_displace_a_large_one() -> None:
    """The most blocks win, so smoke never replaces full."""
    records = run_of(3, run="full-1", profile="full") + run_of(
        1, run="smoke-1", profile="smoke", started_utc="2026-05-05T00:00:00Z"
    )

    section = tables.sections(records)[0]

    assert ({"full-1"}, 2) == ({row.run for row in section.rows}, section.not_shown)


def test_among_equal_runs_the_newest_is_shown() -> None:
    """An upgrade shows as soon as it is measured as often."""
    records = run_of(2, run="b-old") + run_of(2, run="a-new", started_utc="2026-05-05T00:00:00Z")

    actual = {row.run for row in tables.sections(records)[0].rows}

    assert {"a-new"} == actual


def test_a_failure_does_not_bring_back_an_older_run() -> None:
    """Blocks are counted with those that failed: no choice by luck."""
    old = [make_record(make_trial("numpy", block, run="old")) for block in range(2)]
    late = "2026-05-05T00:00:00Z"
    new = [
        make_record(make_trial("numpy", 0, run="new", started_utc=late)),
        make_record(make_trial("numpy", 1, run="new", started_utc=late, status="crashed", reason="signal 11")),
    ]

    section = tables.sections(old + new)[0]

    assert (
        [row.run for row in section.rows],
        [row.summary.n for row in section.rows],
        [failure.reason for failure in section.failures],
    ) == (["new"], [1], ["signal 11"])


def test_the_ratio_is_taken_inside_one_run() -> None:
    """Where the reference's own row shows another run, its trials of the same run are the ones to compare with."""
    records = run_of(2, run="both")
    records += [make_record(make_trial("torch-eager", block, run="alone", seconds=50.0)) for block in range(4)]

    section = tables.sections(records)[0]

    rows = {row.case.entry: row for row in section.rows}
    assert rows["tensorflow-function"].comparison is not None
    assert rows["tensorflow-function"].comparison.ratio is not None
    assert rows["torch-eager"].run == "alone"
    assert pytest.approx(0.5, rel=0.01) == rows["tensorflow-function"].comparison.ratio


def test_without_the_reference_in_the_run_there_is_no_ratio() -> None:
    """Said in the table, not left empty."""
    cells = tables.texts(tables.sections([make_record(make_trial("numpy"))])[0])[0]

    actual = dict(zip(HEADS, cells, strict=True))["Ratio to torch-eager [95%]"]

    assert actual == "none (no torch-eager in the same run)"


@pytest.mark.parametrize(
    "bad",
    [
        make_trial("numpy", certificate="refused", certificate_reason="loss of step 3 differs"),
        make_trial("numpy").model_copy(update={"certificate": None}),
    ],
    ids=["refused", "none"],
)
def test_a_refused_trial_is_never_a_row(bad: Trial) -> None:
    """It is listed with its reason instead."""
    section = tables.sections([make_record(make_trial()), make_record(bad)])[0]

    assert [row.case.entry for row in section.rows] == ["torch-eager"]
    assert [failure.case.entry for failure in section.failures] == ["numpy"]


def test_a_good_trial_is_a_row() -> None:
    """The check above can fail."""
    section = tables.sections([make_record(make_trial()), make_record(make_trial("numpy"))])[0]

    assert [row.case.entry for row in section.rows] == ["torch-eager", "numpy"]


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([make_trial()], "not measured: no CUDA device (no NVIDIA driver)"),
        (
            [make_trial(machine=make_machine(gpus=["Example GPU"]))],
            "not measured: no trial was run with --device cuda on Example GPU",
        ),
        (
            [
                make_trial(machine=make_machine(reasons={})),
                make_trial(device="cuda", status="refused", reason="torch sees none", machine=make_machine(reasons={})),
            ],
            "not measured: no CUDA device (torch sees none)",
        ),
        ([make_trial(device="cuda", machine=make_machine(gpus=["Example GPU"]))], None),
    ],
    ids=["no device", "not asked for", "refused", "measured"],
)
def test_what_is_not_measured_on_cuda_says_why(trials: list[object], expected: str | None) -> None:
    """Never 0, and no line where there are figures."""
    section = tables.sections(make_record(trial) for trial in trials)[0]  # type: ignore[arg-type]

    cells = [cell for line in tables.texts(section) for cell in line]

    assert expected == section.cuda_reason
    assert (expected in cells) == (expected is not None)


def test_unknown_memory_says_why() -> None:
    """A figure that could not be read is never 0."""
    trial = make_trial(peak_bytes=None, above_import_bytes=None, memory_reason="no /proc here")

    cells = dict(zip(HEADS, tables.texts(tables.sections([make_record(trial)])[0])[0], strict=True))

    assert "not measured (no /proc here)" == cells["Peak memory in training"] == cells["Peak above import"]


def test_a_copied_record_is_an_error() -> None:
    """Twice the same trial must not pass as two."""
    records = run_of(2)

    with pytest.raises(InputError, match="twice in block"):
        tables.sections([*records, records[1]])


def test_the_json_holds_the_unrounded_figures_and_null_for_none() -> None:
    """Valid JSON without NaN; a single block has neither interval nor sd."""
    document = json.loads(tables.to_json(run_of(1)))

    row = document["sections"][0]["rows"][1]

    assert [None, None, None, stats.samples_per_second(run_of(1)[1][1])] == [
        row["ratio_low"],
        row["ratio_high"],
        row["final_accuracy_sd"],
        row["samples_per_second_median"],
    ]


def test_no_cell_of_the_csv_is_a_formula() -> None:
    """A spreadsheet would run what begins with an equals sign."""
    text = tables.to_csv(tables.sections([make_record(make_trial("=cmd()\n2", mode="eager"))]))

    assert "'=cmd() 2" in text
    assert len(text.splitlines()) == 2


def four_entries() -> list[Record]:
    """Two blocks of PyTorch and TensorFlow, eager and as a whole loop, which is faster; and torch-compile alone."""
    seconds = {
        "torch-eager": 4.0,
        "torch-tuned": 2.0,
        "torch-compile": 3.0,
        "tensorflow-eager": 8.0,
        "tensorflow-loop": 1.0,
    }
    return [
        make_record(make_trial(entry, block, seconds=value * (1 + block / 100)))
        for block in range(2)
        for entry, value in seconds.items()
    ]


def test_like_modes_are_compared_with_the_first_frameworks_entry() -> None:
    """eager with eager, whole loop with whole loop; a mode that one framework alone has is left out."""
    [section] = tables.sections(four_entries())
    found = [
        (one.group, one.row.case.entry, one.reference.case.entry, one.comparison and round(one.comparison.ratio, 3))
        for one in tables.like_modes(section)
    ]

    assert [
        ("eager", "torch-eager", "torch-eager", None),
        ("eager", "tensorflow-eager", "torch-eager", 0.5),
        ("whole-loop", "torch-tuned", "torch-tuned", None),
        ("whole-loop", "tensorflow-loop", "torch-tuned", 2.0),
    ] == found


def test_the_reference_of_all_tables_is_that_of_its_mode() -> None:
    """Not an entry of PyTorch's whose name comes before, which other frameworks' entries may share no run with."""
    other = [make_record(make_trial("torch-by-hand", block, seconds=5.0, run="run-1")) for block in range(2)]
    [section] = tables.sections([*four_entries(), *other])
    found = {one.row.case.entry: one for one in tables.like_modes(section) if one.group == "eager"}

    assert ["torch-eager", "torch-by-hand", "tensorflow-eager"] == list(found)
    assert {"torch-eager"} == {one.reference.case.entry for one in found.values()}
    assert found["tensorflow-eager"].comparison is not None


def test_the_best_of_each_framework_is_its_fastest_entry() -> None:
    """One row a framework, against PyTorch's best."""
    [section] = tables.sections(four_entries())
    found = [
        (one.group, one.row.case.entry, one.reference.case.entry, one.comparison and round(one.comparison.ratio, 3))
        for one in tables.best_of(section)
    ]

    assert [
        ("torch", "torch-tuned", "torch-tuned", None),
        ("tensorflow", "tensorflow-loop", "torch-tuned", 2.0),
    ] == found


def test_a_single_framework_has_nothing_to_be_best_against() -> None:
    """No table of one row."""
    [section] = tables.sections([record for record in four_entries() if record[1].case.framework == "torch"])

    assert ([], []) == (tables.best_of(section), tables.like_modes(section))


def two_versions() -> list[Record]:
    """torch-eager of two environments, the later twice as fast, and one TensorFlow, in two blocks."""
    return [
        make_record(make_trial(entry, block, seconds=seconds * (1 + block / 100), environment=environment))
        for block in range(2)
        for entry, environment, seconds in (
            ("torch-eager", "torch-2.12", 2.0),
            ("torch-eager", "torch-2.13", 1.0),
            ("torch-compile", "torch-2.13", 0.5),
            ("tensorflow-function", "", 4.0),
        )
    ]


def test_the_reference_is_of_the_same_environment_else_of_the_first() -> None:
    """Two versions of the reference are compared with each other: that is what they were run for."""
    [section] = tables.sections(two_versions())

    actual = {
        tables.entry_name(row.case): row.comparison
        and (row.comparison.a.environment, round(row.comparison.ratio or 0, 3))
        for row in section.rows
    }

    assert actual == {
        "torch-eager [torch-2.12]": None,
        "torch-eager [torch-2.13]": ("torch-2.12", 2.0),
        "torch-compile [torch-2.13]": ("torch-2.13", 2.0),
        "tensorflow-function": ("torch-2.12", 0.5),
    }
    assert tables.references(section) == "torch-eager of the entry's own environment, and of torch-2.12 for all others"
    assert [tables.texts(section)[0][4], tables.texts(section)[0][1]] == [
        tables.REFERENCE_TEXT,
        "torch-eager [torch-2.12]",
    ]


def test_one_environment_needs_no_word_on_the_reference() -> None:
    """The line is there only where it says something."""
    assert tables.references(tables.sections(run_of(1))[0]) == ""


def test_disturbed_trials_are_counted_marked_and_named() -> None:
    """In the cell, and in a line with the reasons."""
    records = run_of(2)
    path, trial = records[3]
    records[3] = path, trial.model_copy(update={"disturbances": ["steal of 0.4 s"]})
    [section] = tables.sections(records)

    rates = [
        dict(zip(HEADS, cells, strict=True))["Samples/s, median (range, n)"] for cells in tables.texts(section)[:2]
    ]

    assert [False, True] == [rate.endswith("n = 2; 1 disturbed)") for rate in rates]
    assert ["tensorflow-function (cpu), block 1: steal of 0.4 s"] == tables.disturbances(section)
    assert [] == tables.disturbances(tables.sections(run_of(2))[0])


def test_rows_of_two_runs_are_compared_in_the_run_that_both_are_in() -> None:
    """A newer run of one entry must not leave it without a comparison; the run that it is of is named."""
    both = [("torch-tuned", 1.0), ("tensorflow-loop", 0.5)]
    old = [make_record(make_trial(e, block, seconds=s + block / 20)) for e, s in both for block in range(3)]
    new = [
        make_record(make_trial("torch-tuned", block, run="run-1", started_utc=f"2026-01-03T03:0{block}:00Z"))
        for block in range(3)
    ]
    [section] = tables.sections([*old, *new])
    found = {one.row.case.entry: one for one in tables.like_modes(section)}
    one = found["tensorflow-loop"]

    assert ("run-0", 3) == (one.run, one.comparison.pairs if one.comparison else None)
    assert "(run run-0)" in " ".join(tables.against_texts(one))
    assert found["torch-tuned"].row.run == "run-1"
