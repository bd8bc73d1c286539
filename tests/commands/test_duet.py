"""`bench duet` as a person runs it, with real processes."""

import json
from pathlib import Path

import pytest

from bench import duets
from tests.bench.test_cli import one_line
from tests.bench.test_selection import keep
from tests.command import bench
from tests.make import make_duet, make_trial, prove_duet

SHORT = ("--task", "mlp-tiny", "--pairs", "2", "--window", "5", "--seconds", "0.5")


def test_two_entries_take_turns_and_each_duet_is_kept(tmp_path: Path) -> None:
    """Two duets of fresh processes, with the proofs of both; a width names the task as that of `bench run` does."""
    entries = ("tests.plugins.chatty", "--against", "tests.plugins.good", "--width", "8")
    done = bench("duet", *entries, *SHORT, "--results", tmp_path, "--json")
    assert 0 == done.returncode, done.stderr
    [said] = json.loads(done.stdout)
    kept = [record for _, record in duets.read(tmp_path)]

    assert [0, 1] == [record.block for record in kept]
    assert ["tests.plugins.chatty"] * 2 == [record.subject.entry for record in kept]
    assert {("mlp-tiny-w8", 64)} == {(record.task.name, record.task.batch_size) for record in kept}
    assert {"base", "control", "head"} == set(kept[0].duet.windows)
    assert kept[0].subject_proof.status == kept[0].reference_proof.status == "ok"
    assert said["rate"]["duets"] == 2
    assert said["control"]["ratio"] > 0


def test_other_work_is_not_compared(tmp_path: Path) -> None:
    """No certificate, no duet: exit 3, and the certificate that says why is kept."""
    done = bench("duet", "tests.plugins.faulty", "--against", "tests.plugins.good", *SHORT, "--results", tmp_path)

    assert 3 == done.returncode
    assert "certificate of tests.plugins.faulty: refused" in done.stderr
    assert "nothing could be compared" in done.stdout
    assert [] == duets.read(tmp_path)
    assert 2 == len(list(tmp_path.glob("raw/*/*/*/certificate_*.json")))


@pytest.mark.slow
def test_a_subject_that_fails_is_kept_with_its_reason(tmp_path: Path) -> None:
    """It does the work of a certificate, and answers a window with a program compiled inside it."""
    done = bench("duet", "tests.plugins.retraces", "--against", "tests.plugins.good", *SHORT, "--results", tmp_path)

    assert 3 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    assert all(record.duet.status == "failed" for _, record in duets.read(tmp_path))
    assert "traced or compiled inside" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("no-such-entry",), "no-such-entry"),
        (("numpy", "--against", "numpy"), "bench duet numpy: is the entry of --against itself"),
        (("numpy", "--pairs", "1"), "--pairs 1: must be at least 2"),
        (("numpy", "--window", "0"), "--window 0: must be from 1 to 250 milliseconds"),
        (("numpy", "--seconds", "0"), "--seconds 0: must be from 0.1 to 60"),
        (("numpy", "--threads", "0"), "--threads 0"),
        (("numpy", "--batch-size", "0"), "batch_size"),
        (("numpy", "--width", "0"), "layers"),
        (("numpy", "--task", "no-such-task"), "no-such-task"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    """Before anything is measured or written."""
    results = tmp_path / "results"

    assert words in one_line(bench("duet", *arguments, "--results", results))
    assert not results.exists()


def test_a_report_shows_duets_with_their_records(tmp_path: Path) -> None:
    """In the README of the results, between the project's markers, and on the page."""
    folder = keep([make_trial("torch-eager", block) for block in range(2)], tmp_path)
    for block in range(3):
        prove_duet(folder, make_duet(block, head=0.1 + 0.001 * block))
    readme = tmp_path / "own.md"
    readme.write_text("<!-- table: begin -->\n<!-- table: end -->\n<!-- turns: begin -->\n<!-- turns: end -->\n")
    done = bench("report", "--results", tmp_path, "--readme", readme)
    assert 0 == done.returncode, done.stderr
    of_results = (tmp_path / "README.md").read_text()
    page = (tmp_path / "index.html").read_text()

    assert "## In turns" in of_results
    assert "| tensorflow-function | torch-eager | 1.980 \\[1.932, 2.030\\]" in of_results
    assert "1.980 \\[1.932, 2.030\\]" in readme.read_text()
    assert "1.980 [1.932, 2.030]" in page
    assert "duet-002_" in page
    assert 0 == bench("report", "--check", "--results", tmp_path, "--readme", readme).returncode


def test_a_withdrawn_duet_enters_nothing(tmp_path: Path) -> None:
    """As a withdrawn trial."""
    folder = keep([make_trial("torch-eager", block) for block in range(2)], tmp_path)
    prove_duet(folder, make_duet(0))
    [path] = folder.glob("duet-*.json")
    (tmp_path / "withdrawn.toml").write_text(
        f'[[withdrawn]]\nrecords = "{path.relative_to(tmp_path / "raw")}"\ndate = "2026-01-03"\nreason = "planted"\n'
    )
    done = bench("report", "--results", tmp_path, "--readme", tmp_path / "own.md")

    assert 0 == done.returncode, done.stderr
    assert "## In turns" not in (tmp_path / "README.md").read_text()
