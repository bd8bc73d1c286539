"""bench/publish/markdown.py: the README of the results, the project's table, and records that mean harm."""

import re
from pathlib import Path

import pytest

from bench import publish, stats
from bench.errors import InputError
from bench.publish import markdown, tables, units
from bench.publish.markdown import BEGIN, END, replace_between_markers
from bench.publish.tables import HEADS, Record
from bench.task import Task, load_task
from tests.make import make_machine, make_record, make_task, make_trial

HOSTILE = "a|b\n\n# c <script>alert(1)</script> `d` [red](javascript:e) <!-- table: end --> \x1b[31m \u202e"


def readme(records: list[Record]) -> str:
    """results/README.md of the records."""
    return publish.files(records, Path("results"))[Path("results/README.md")]


def project_table(records: list[Record]) -> str:
    """The table for the project's README."""
    found = markdown.candidate(tables.sections(records), Path())
    return markdown.project_table([] if found is None else [found])


def table_rows(text: str) -> list[list[str]]:
    """Cells of all lines of tables, split at the bars that are not escaped."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def whole_tables(text: str) -> list[list[list[str]]]:
    """Tables of rows of cells: a table ends where a line does not begin with a bar."""
    return [table_rows(part) for part in re.split(r"\n(?!\|)", text) if "\n|" in part or part.startswith("|")]


def three_blocks() -> list[Record]:
    """Two entries, three blocks."""
    return [
        make_record(make_trial(entry, block, seconds=seconds + block / 10))
        for block in range(3)
        for entry, seconds in (("torch-eager", 1.0), ("tensorflow-function", 2.0))
    ]


def test_the_numbers_in_the_table_are_the_records() -> None:
    """Absolute figures beside the ratio, all recomputed from the trials."""
    records = three_blocks()
    trials = [trial for _, trial in records if trial.case.entry == "tensorflow-function"]
    summary = stats.summarise(trials)[0]
    comparison = stats.compare([t for _, t in records if t.case.entry == "torch-eager"], trials)

    row = next(cells for cells in table_rows(readme(records)) if "tensorflow-function" in cells)

    assert [
        units.rate_spread(summary.samples_per_second),
        units.ratio(comparison).replace("[", "\\[").replace("]", "\\]"),
        comparison.verdict,
        "2.75 s",
        "500 MiB",
        "100 MiB",
        "87.00 % ± 0.00",
        "✓ 3e-16, 1e-07",
    ] == row[3:11]


def test_a_row_links_to_its_records() -> None:
    """Relative to the file that holds the table."""
    records = three_blocks()

    in_results, in_project = readme(records), project_table(records)

    assert "[raw](raw/2026-01-02/testbox/run-0/)" in in_results
    assert "[raw](results/raw/2026-01-02/testbox/run-0/)" in in_project


def test_the_head_tells_date_machine_versions_code_and_how_to_reproduce() -> None:
    """With the reason where a figure is not known."""
    text = readme(three_blocks())

    for expected in (
        "Date: 2026-01-02\n",
        "Example CPU 9000; 2 cores",
        "kernel 6.1.0",
        "governor unknown (no cpufreq here)",
        "torch 2.13.0",
        "git 0123456789ab",
        "profile quick, 3 blocks",
        "bench run --profile quick --task mlp --batch-size 64 --epochs 3 --entry tensorflow-function",
        "--threads 2 --blocks 3 --seed 7",
    ):
        assert expected in text


def asked(task: Task, *environments: str) -> str:
    """What `reproduce` says of two entries of a task."""
    records = [
        make_record(make_trial(entry, task=task, environment=environment))
        for entry in ("torch-eager", "numpy")
        for environment in environments or ("",)
    ]
    [section] = tables.sections(records)
    return markdown.reproduce(section)


@pytest.mark.parametrize(
    ("task", "flags"),
    [
        (load_task("mlp-tiny"), "--task mlp-tiny --entry"),
        (load_task("mlp").changed(batch_size=32), "--task mlp --batch-size 32 --epochs 10 --entry"),
        (load_task("mlp").widened(8), "--task mlp --width 8 --entry"),
        (
            load_task("mlp-deep").widened(9).changed(epochs=2),
            "--task mlp-deep --width 9 --batch-size 64 --epochs 2 --e",
        ),
        (load_task("mlp-wide"), "--task mlp-wide --entry"),
        (load_task("mlp").changed(name="mine"), "--task mine.toml --entry"),
        (load_task("mlp").changed(name="mlp-w77"), "--task mlp-w77.toml --entry"),
        (load_task("mlp").changed(layers=(784, 10), name="linear-w10"), "--task linear-w10.toml --entry"),
    ],
    ids=lambda value: value.name if isinstance(value, Task) else "",
)
def test_what_reproduces_a_section_is_a_command_that_bench_takes(task: Task, flags: str) -> None:
    """By the flags that made the task; a user's own by its file."""
    assert flags in asked(task)


def test_environments_are_named_with_a_place_for_their_path() -> None:
    """Where the interpreters lay is in no record; their labels are, quoted for the shell."""
    said = asked(load_task("mlp"), "torch-2.12.1", "a b")

    assert "--python torch:torch-2.12.1=PATH" in said
    assert "--python 'torch:a b=PATH'" in said


def test_a_code_without_git_says_why() -> None:
    """And names the hash of the source instead."""
    actual = readme([make_record(make_trial(git_commit=None))])

    assert "no git commit (no reason was recorded), source aaaaaaaaaaaa" in actual


def test_cuda_is_a_line_of_the_table() -> None:
    """With the reason, and no 0."""
    lines = table_rows(readme(three_blocks()))

    actual = next(cells for cells in lines if cells[2] == "cuda")

    assert actual[3] == "not measured: no CUDA device (no NVIDIA driver)"
    assert not any("0" in cell for cell in actual[4:])


def test_failures_stand_in_sight_with_their_reason() -> None:
    """And in no row."""
    records = [*three_blocks(), make_record(make_trial("numpy", status="out-of-memory", reason="limit of 1 MiB"))]

    text = readme(records)

    assert "numpy (cpu), out-of-memory in block 0: limit of 1 MiB" in text
    assert not any("numpy" in cells for cells in table_rows(text))


def test_the_same_records_in_any_order_give_the_same_bytes() -> None:
    """`bench report --check` rests on it."""
    records = [*three_blocks(), make_record(make_trial("numpy", status="failed", reason="x"))]

    actual = publish.files(records[::-1], Path("results"))

    assert publish.files(records, Path("results")) == actual


def test_hostile_text_cannot_break_markdown() -> None:
    """Bars, line breaks, HTML, links, escape sequences and our own markers in every text of a record."""
    machine = make_machine(
        fingerprint="evil",
        name="evil",
        cpu_model=HOSTILE,
        kernel=HOSTILE,
        reasons={"gpus": HOSTILE, "governor": HOSTILE},
    )
    versions = {HOSTILE: HOSTILE}
    good = make_trial("evil" + HOSTILE, run=HOSTILE, profile=HOSTILE, machine=machine, packages=versions)
    bad = make_trial("bad" + HOSTILE, status="failed", reason=HOSTILE, machine=machine)
    records = [(Path("results/raw/day/evil/run/block-000.json"), trial) for trial in (good, bad)]

    text = readme(records)
    filled = replace_between_markers(f"{BEGIN}\n{END}\n", project_table(records))

    assert len(HEADS) + 1 in {len(rows[0]) for rows in whole_tables(text)}
    assert all(len({len(cells) for cells in rows}) == 1 for rows in whole_tables(text))
    assert "<script" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert not any(line.startswith("# c") for line in text.splitlines())
    assert not re.search(r"(?<!\\)\]\(javascript", text)
    assert filled.count(END) == 1


def test_the_hostile_text_would_break_an_unescaped_table() -> None:
    """The checks above can fail."""
    text = f"| {HOSTILE}"

    assert "<script" in text
    assert any(line.startswith("# c") for line in text.splitlines())
    assert [len(cells) for cells in table_rows("| " + HOSTILE.replace("\n", " ") + " |")] != [1]


def test_a_long_reason_is_cut() -> None:
    """A stack trace does not bury the table; the record has it whole."""
    text = readme([make_record(make_trial(status="failed", reason="x" * 100_000))])

    assert len(text) < 5_000


def test_the_project_table_stands_between_the_markers() -> None:
    """What is outside them stays; a second time changes nothing."""
    text = f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n"

    once = replace_between_markers(text, "new")

    assert f"before\n\n{BEGIN}\n\nnew\n\n{END}\n\nafter\n" == once
    assert once == replace_between_markers(once, "new")


@pytest.mark.parametrize("text", ["", BEGIN, END, END + BEGIN, BEGIN + BEGIN + END])
def test_missing_doubled_or_turned_markers_are_an_error(text: str) -> None:
    """It names the file and the remedy."""
    with pytest.raises(InputError, match=r"HERE\.md: must hold the lines"):
        replace_between_markers(text, "table", place="HERE.md")


def test_the_project_table_takes_the_section_with_the_most_blocks() -> None:
    """A short run of the same task on other epochs does not take its place."""
    records = [*three_blocks(), make_record(make_trial(task=make_task(epochs=1), run="smoke-1"))]

    text = markdown.fill_readme(f"{BEGIN}\n{END}\n", project_table(records), place="README.md")

    assert "3 blocks" in text
    assert "smoke-1" not in text


def test_the_project_table_takes_the_machine_with_the_most_entries() -> None:
    """One that measured a single entry more often, and later, does not take its place."""
    elsewhere = make_machine(fingerprint="machine-1", name="elsewhere", cpu_model="Other CPU")
    often = [make_record(make_trial(block=block, machine=elsewhere, run="often")) for block in range(9)]
    found = [markdown.candidate(tables.sections(records), Path()) for records in (three_blocks(), often)]
    text = markdown.project_table(one for one in found if one is not None)

    assert "Example CPU 9000" in text
    assert "Other CPU" not in text


def test_without_results_the_project_table_says_so() -> None:
    """And how to make some."""
    actual = markdown.project_table([])

    assert actual == "No results of the task mlp yet; make some with `make bench`."


def test_a_table_of_tf32_says_so_and_how_to_run_it_again() -> None:
    """In its title, never beside the other precision."""
    text = readme([*three_blocks(), make_record(make_trial(precision="tf32"))])

    assert "## mlp (batch 64, 3 epochs) on Example CPU 9000 (testbox), 2 threads, products in tf32\n" in text
    assert "--seed 7 --matmul tf32`" in text
    assert "## mlp (batch 64, 3 epochs) on Example CPU 9000 (testbox), 2 threads\n" in text


def test_disturbed_trials_stand_under_their_table() -> None:
    """With their reasons, and as counted."""
    path, trial = make_record(make_trial())

    text = readme([(path, trial.model_copy(update={"disturbances": ["steal of 0.4 s"]}))])

    assert "Disturbed, and counted all the same:\n\n- torch-eager (cpu), block 0: steal of 0.4 s\n" in text
    assert "Disturbed" not in readme(three_blocks())


def test_the_project_table_is_of_the_tasks_own_size() -> None:
    """A larger run of a sweep's other size does not take its place, and details stay with the results."""
    records = [*three_blocks()]
    records += [make_record(make_trial(block=block, task=make_task(batch_size=256), run="more")) for block in range(9)]

    text = markdown.fill_readme(f"{BEGIN}\n{END}\n", project_table(records), place="README.md")

    assert "batch 64" in text
    assert "batch 256" not in text
    assert "Cold start" not in text


def test_the_project_table_is_of_the_task_as_it_ships() -> None:
    """A newer and larger run of fewer epochs does not take its place, and the titles tell them apart."""
    shipped = [make_record(make_trial(block=block, task=load_task("mlp"))) for block in range(3)]
    shorter = [make_record(make_trial(block=block, run="more")) for block in range(9)]
    text = markdown.fill_readme(f"{BEGIN}\n{END}\n", project_table([*shipped, *shorter]), place="README.md")

    assert "## mlp on Example CPU 9000 (testbox), 2 threads\n" in text
    assert "3 epochs" not in text
    assert "## mlp (batch 64, 3 epochs) on Example CPU 9000" in readme([*shipped, *shorter])


def test_the_command_that_runs_it_again_names_what_is_no_default() -> None:
    """Entries, and what makes the task another one; it can be pasted."""
    text = readme([make_record(make_trial(block=block)) for block in range(2)])

    assert (
        "`bench run --profile quick --task mlp --batch-size 64 --epochs 3 --entry torch-eager --threads 2 --blocks 2 "
        "--seed 7`"
    ) in text


def test_the_task_as_it_ships_stands_before_its_variants() -> None:
    """Whatever their fingerprints are."""
    tasks = [load_task("mlp"), load_task("mlp").changed(epochs=2), load_task("mlp").changed(batch_size=32)]
    text = readme([make_record(make_trial(task=task, run=f"run-{n}")) for n, task in enumerate(tasks)])

    titles = [line.split(" on ")[0] for line in text.splitlines() if line.startswith("## mlp")]

    assert ["## mlp", "## mlp (batch 32, 10 epochs)", "## mlp (batch 64, 2 epochs)"] == titles


def test_no_sentence_of_ours_is_cut() -> None:
    """A reason from a record may be; what explains a table may not."""
    text = readme(three_blocks())

    assert "…" not in text
    assert "Memory copy: bytes read and written by NumPy in the same process." in text
