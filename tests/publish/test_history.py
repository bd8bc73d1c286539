"""bench/publish/history.py: what a reader is told of a series, and plots that any record may enter."""

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from bench.otava import Looked, Steps
from bench.publish.history import Shown, change_text, document, files, section, svg, text, title
from bench.series import Change, changes_of
from tests.bench.test_history import make_line
from tests.bench.test_series import make_overlap, make_series, of_sklearn

SEEN = Looked(tool="apache-otava 0.8.0", p=1e-5, least_size=0.015, series={"x": Steps(points=1, runs=[])})
CHANGE = Change(index=3, before="a" * 40, after="b" * 40, ratio=0.95, faster=False, at_renewal=None, packages=())


def make_shown(logs: list[float], indexes: list[int], *, looked_at: int | None = 99, **changes: object) -> Shown:
    series = make_series(logs, **changes)
    return Shown(series=series, changes=tuple(changes_of(series, indexes)), looked_at=looked_at)


STEP = make_shown([0.0] * 4 + [-0.05] * 4, [4])


def test_a_title_says_what_is_compared_with_what_and_where() -> None:
    """Task, entry, quantity, reference, device, threads, machine."""
    assert "mlp, sklearn: samples/s against numpy-1 (cpu, 2 threads, testbox)" == title(STEP.series)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "-5.0 % (slower), aaaaaaaaaaaa..bbbbbbbbbbbb"),
        ({"before": "b" * 40}, "-5.0 % (slower), within commit bbbbbbbbbbbb"),
        ({"packages": (("torch", "2.13.0", "2.14.0"),)}, "aaaaaaaaaaaa..bbbbbbbbbbbb; torch 2.13.0 → 2.14.0"),
        ({"at_renewal": 0.1}, "its overlap is known to ±10.0 %, so this may be no change"),
        ({"at_renewal": 0.01}, "its overlap is known to ±1.0 %"),
    ],
)
def test_a_change_names_its_commit_range(changes: dict[str, object], expected: str) -> None:
    """As git log takes it; and what else may have caused it."""
    said = change_text(replace(CHANGE, **changes))  # type: ignore[arg-type]

    assert expected in said
    assert ("may be no change" in expected) == ("may be no change" in said)


@pytest.mark.parametrize(
    ("points", "looked_at", "expected"),
    [
        (8, 8, "8 runs"),
        (8, 6, "8 runs, changes looked for in the first 6"),
        (8, None, "8 runs, changes not looked for"),
        (2, 2, "2 runs, of 6 that a change needs"),
    ],
)
def test_a_reader_is_told_what_was_looked_at(points: int, looked_at: int | None, expected: str) -> None:
    """No change found is something else than not looked for."""
    said = text([make_shown([0.0] * points, [], looked_at=looked_at)])

    assert said.endswith(f"1 [0.9955, 1.005], {expected}")


def test_the_section_links_the_plot_and_lists_the_changes() -> None:
    """And says by which rule they were found, or that they were not looked for."""
    made = section([STEP], SEEN)

    assert "## History" in made
    assert "by apache-otava 0.8.0 at p = 1e-05, least 1.5%, 3 runs on either side at least" in made
    assert f"- mlp, sklearn: samples/s against numpy-1 (cpu, 2 threads, testbox): -4.9 % (slower), {3:012x}.." in made
    assert f"](plots/history_{STEP.series.key}.svg)" in made
    assert "not looked for yet" in section([STEP], None)
    assert "Changes:\n" not in section([make_shown([0.0] * 8, [])], SEEN)


def test_a_series_of_one_run_has_no_plot(tmp_path: Path) -> None:
    """And no link to one."""
    single = make_shown([0.0], [])

    assert [f"history_{STEP.series.key}.svg"] == [path.name for path in files([single, STEP], tmp_path)]
    assert "plots/" not in section([single], SEEN)


def shapes(drawn: str) -> dict[str, int]:
    """How often each element stands in a plot; raises where it is no XML."""
    found: dict[str, int] = {}
    for element in ElementTree.fromstring(drawn).iter():
        name = element.tag.rpartition("}")[2]
        found[name] = found.get(name, 0) + 1
    return found


def test_a_plot_has_every_run_and_every_change() -> None:
    """A circle a run, the commits of the change in words, and the same bytes each time."""
    drawn = svg(STEP)

    assert 8 == shapes(drawn)["circle"]
    assert f"-4.9 % {3:012x}..{4:012x}" in drawn
    assert drawn == svg(STEP)


def test_a_plot_shows_a_renewal_with_how_well_its_overlap_is_known() -> None:
    """So that nobody takes its error for a change."""
    lines = [
        make_line(0),
        make_overlap(1, "numpy-1", "numpy-2", log_ratio=0.2, standard_error=0.004, n=10),
        make_line(2, reference="numpy-2"),
    ]
    [series] = of_sklearn(lines, 2)

    assert "numpy-2, overlap ±0.9 %" in svg(Shown(series=series, changes=(), looked_at=None))


@pytest.mark.parametrize(
    "logs",
    [[0.0, 0.0], [0.0, 1e-12], [-20.0, 20.0], [5.0] * 40, [0.1, 0.100001]],
)
def test_a_plot_stands_any_range(logs: list[float]) -> None:
    """Constant series, huge steps, a single wild interval."""
    for error in (0.0, 0.002, 5.0):
        drawn = svg(make_shown(logs, [], standard_error=error, n=2))

        assert len(logs) == shapes(drawn)["circle"]
        assert "nan" not in drawn
        numbers = [float(part) for word in ('cy="', 'y1="', 'y2="') for part in _after(drawn, word)]
        assert all(0 <= number <= 300 for number in numbers)


def _after(drawn: str, word: str) -> list[str]:
    return [part.partition('"')[0] for part in drawn.split(word)[1:]]


def test_text_of_a_record_cannot_leave_its_place() -> None:
    """Markup of a stranger's record is text, in the plot, the section and the terminal."""
    evil = '<script>alert("x")</script>|\x1b[31m'
    shown = make_shown([0.0] * 3, [], machine_name=evil)

    drawn, made, said = svg(shown), section([shown], SEEN), text([shown])

    assert "script" not in shapes(drawn)
    assert "<script>" not in made
    assert "\x1b" not in drawn + made + said


def test_the_document_holds_every_point_and_change() -> None:
    """For other tools: logs with their errors, and whether a step is the overlap's."""
    [found] = document([STEP])

    assert (8, 4, False) == (
        len(found["points"]),
        found["changes"][0]["index"],
        found["changes"][0]["is_overlap_error"],
    )
    assert pytest.approx(math.exp(-0.05)) == found["changes"][0]["ratio"]
    assert {"run", "commit", "log_ratio", "standard_error", "n"} == found["points"][0].keys()
