"""`bench compare` as a person runs it: the table, the document, the exit code, and the one line of a refusal."""

import json
import subprocess
from pathlib import Path

import pytest

from bench.record import Trial, read_value
from tests.bench.test_cli import one_line
from tests.bench.test_selection import OTHER, keep, make_run
from tests.command import bench
from tests.make import prove_case


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a fast and a slow entry, a later run of one of them, and one of another machine."""
    folder = tmp_path_factory.mktemp("results")
    first = [*make_run(run="first", blocks=4, seconds=1.0), *make_run("numpy", run="first", blocks=4, seconds=2.0)]
    keep(first, folder)
    keep(make_run(run="second", blocks=4, seconds=3.0), folder)
    keep(make_run(run="elsewhere", blocks=4, seconds=3.0, machine=OTHER), folder)
    for path in folder.rglob("block-*.json"):  # as certified: the proof lies beside the records of a real run
        prove(path)
    return folder


def prove(path: Path) -> None:
    """Give a record its certificate, and write that beside it."""
    trial = read_value(Trial, path)
    proof = prove_case(path.parent, trial.case, trial.machine)
    path.write_text(trial.model_copy(update={"certificate": proof}).to_json())


def compare(results: Path, a: str, b: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Compare two selections of the results."""
    return bench("compare", f"{results}@{a}", f"{results}@{b}", *more)


def test_something_slower_is_exit_1(results: Path) -> None:
    """With a table that says what, by how much and over how many pairs."""
    done = compare(results, "run=first,entry=torch-eager", "run=first,entry=numpy")

    assert 1 == done.returncode, done.stderr
    line = next(line for line in done.stdout.splitlines() if "samples/s" in line)
    assert ["0.5 × [0.5, 0.5]" in line, "4 pairs" in line, line.rstrip().endswith("slower")] == [True] * 3
    assert "torch-eager → numpy" in done.stdout


def test_nothing_slower_is_exit_0(results: Path) -> None:
    """The same sides turned around."""
    done = compare(results, "run=first,entry=numpy", "run=first,entry=torch-eager")

    assert (0, True) == (done.returncode, "faster" in done.stdout)


def test_sides_of_two_times_are_shown_with_a_warning_and_exit_0(results: Path) -> None:
    """A third of the speed, and still no verdict: nothing took turns."""
    done = compare(results, "run=first,entry=torch-eager", "run=second")

    assert 0 == done.returncode
    assert "undecided (did not take turns)" in done.stdout
    assert "Order decides more than the test" in done.stderr
    assert "70%" in done.stderr


def test_machines_are_compared_where_they_are_the_subject(results: Path) -> None:
    """And a slower one is exit 1."""
    done = compare(results, "run=second", "run=elsewhere", "--across", "machines", "--json")
    faster = compare(results, "run=first,entry=torch-eager", "run=elsewhere", "--across", "machines")

    found = json.loads(done.stdout)["comparisons"][0]
    assert (False, "tie") == (found["paired"], found["findings"][0]["verdict"])
    assert (0, 1) == (done.returncode, faster.returncode)


def test_json_holds_every_figure_with_its_interval(results: Path) -> None:
    """Data on standard output, notes inside it too."""
    done = compare(results, "run=first,entry=torch-eager", "run=first,entry=numpy", "--json")
    [found] = json.loads(done.stdout)["comparisons"]

    assert (1, "") == (done.returncode, done.stderr)
    assert ["samples_per_second", "time_to_first_step_seconds", "peak_training_bytes", "final_accuracy"] == [
        finding["figure"] for finding in found["findings"]
    ]
    assert ("numpy", "first", 4) == (found["b"]["case"]["entry"], found["b"]["run"], found["b"]["trials"])
    assert ([0.5, 0.5], 4, "slower") == (
        pytest.approx(found["findings"][0]["interval"]),
        found["findings"][0]["pairs"],
        found["findings"][0]["verdict"],
    )


@pytest.mark.parametrize(
    ("a", "b", "more", "cause", "remedy"),
    [
        ("run=absent", "run=first", (), "run=absent matches none", "correct the selection"),
        ("run", "run=first", (), "'run' is no condition", "write KEY=VALUE"),
        ("speed=1", "run=first", (), "no key 'speed'", "take one of batch"),
        ("run=first", "run=first", (), "are the same trials", "select two runs"),
        ("run=second", "run=elsewhere", (), "comparisons across machines are refused", "--across machines"),
        ("run=first", "run=second", ("--across", "time"), "--across 'time'", "take one of versions"),
        ("run=first", "run=second", ("--loose",), "No such option: --loose", "--help"),
    ],
)
def test_a_bad_request_is_one_line_and_exit_2(
    results: Path, a: str, b: str, more: tuple[str, ...], cause: str, remedy: str
) -> None:
    """Cause and remedy are in it."""
    line = one_line(compare(results, a, b, *more))

    assert (True, True) == (cause in line, remedy in line), line


def test_a_broken_record_is_one_line_and_exit_2(tmp_path: Path) -> None:
    """The line names the file."""
    folder = keep(make_run(run="first"), tmp_path)
    file = sorted(folder.glob("block-*.json"))[1]
    file.write_text(file.read_text()[:400])
    line = one_line(bench("compare", tmp_path, folder))

    assert str(file) in line
    assert "is no whole record" in line
