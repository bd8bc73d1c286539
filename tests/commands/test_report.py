"""bench/commands/report.py: the files of a report, with and without what the page needs."""

from pathlib import Path

import pytest
import typer

from bench import publish
from bench.commands.report import report
from tests.bench.test_material import results_of
from tests.make import make_record, make_trial


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with one record."""
    path, trial = make_record(make_trial(certificate=None), tmp_path / "results")
    path.parent.mkdir(parents=True)
    path.write_text(trial.to_json(), encoding="utf-8")
    return tmp_path / "results"


def test_a_report_has_its_page(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside README and table, named on stderr, and found up to date the next time."""
    report(results, tmp_path / "none.md")
    told = capsys.readouterr().err
    report(results, tmp_path / "none.md", check=True)

    assert (results / "index.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert f"written: {results / 'index.html'}" in told


def test_the_readme_beside_the_results_is_made_anew_and_no_other(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of other results than the project's, the project's own README says nothing."""
    text = "<!-- table: begin -->\n<!-- table: end -->\n<!-- answer: begin -->\n<!-- answer: end -->\n"
    project = tmp_path / "project"
    project.mkdir()
    for place in (project, tmp_path):
        (place / "README.md").write_text(text)
    monkeypatch.chdir(project)

    report(results)

    assert text == (project / "README.md").read_text()
    assert "No claim has been measured yet" in (tmp_path / "README.md").read_text()


def test_from_inside_the_results_the_readme_beside_them_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`.` has no parent by name; what is made does not tell where one stood."""
    results = results_of(tmp_path / "results", "run-0")
    readme = tmp_path / "README.md"
    empty = "<!-- table: begin -->\n<!-- table: end -->\n<!-- answer: begin -->\n<!-- answer: end -->\n"
    readme.write_text(empty)
    monkeypatch.chdir(tmp_path)
    report(Path("results"))
    from_outside = readme.read_text()
    readme.write_text(empty)
    monkeypatch.chdir(results)

    report(Path())

    assert "](results/raw/" in from_outside
    assert from_outside == readme.read_text()


def test_a_page_that_was_edited_is_found(results: Path, tmp_path: Path) -> None:
    """As any other generated file."""
    report(results, tmp_path / "none.md")
    with (results / "index.html").open("a", encoding="utf-8") as page:
        page.write("edited")

    with pytest.raises(typer.Exit) as left:
        report(results, tmp_path / "none.md", check=True)

    assert 1 == left.value.exit_code


def test_a_picture_whose_pixels_differ_is_up_to_date_and_one_of_other_data_is_not(
    tmp_path: Path,
) -> None:
    """The pixels of an edge differ from processor to processor; the SVG that a picture names does not."""
    results = results_of(tmp_path / "results", "run-0")
    report(results, tmp_path / "none.md")
    picture = results / "plots" / "throughput.png"
    made = bytearray(picture.read_bytes())
    made[100] ^= 1
    picture.write_bytes(made)
    report(results, tmp_path / "none.md", check=True)

    made[-80] ^= 1
    picture.write_bytes(made)
    with pytest.raises(typer.Exit) as left:
        report(results, tmp_path / "none.md", check=True)

    assert 1 == left.value.exit_code


def test_without_the_extra_the_rest_is_written_and_a_line_says_how_to_get_the_page(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr, with what is missing and the remedy."""
    monkeypatch.setattr(publish.page, "missing", lambda: ["altair"])

    report(results, tmp_path / "none.md")

    told = [line for line in capsys.readouterr().err.splitlines() if "index.html" in line]
    assert 1 == len(told)
    assert "altair missing" in told[0]
    assert "pip install" in told[0]
    assert (results / "README.md").is_file()
    assert not (results / "index.html").exists()
