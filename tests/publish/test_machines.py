"""Contests side by side: a column a machine, nothing pooled, nothing filled in."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.duets import Contest, contest
from bench.publish import claims, duets, files_of, machines
from bench.record import Machine
from bench.stats import Estimate
from tests.make import make_duet, make_machine

_WEAK = make_machine(name="weakbox", fingerprint="5" * 16)


def seen(head: float = 0.1, machine: Machine | None = None, **changes: Any) -> Contest:
    """A contest of two duets, in which the subject's windows last so long, on a machine."""
    changes |= {} if machine is None else {"machine": machine}
    records = [make_duet(block, head=head + 0.001 * block).model_copy(update=changes) for block in range(2)]
    folder = Path("raw/2026-01-02") / records[0].machine.name / "run-d"
    return contest([(folder / f"duet-{one.block:03d}.json", one) for one in records])


def _rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]


def test_each_machine_has_a_column_of_its_own_figures() -> None:
    """Of the same two cases: one row, and no number of one machine under the other."""
    fast, weak = seen(0.05), seen(0.2, _WEAK)

    heads, _, *rows = _rows(machines.section([fast, weak], Path()))

    assert heads[3:] == ["testbox", "weakbox"]
    assert len(rows) == 1
    for cell, one in zip(rows[0][3:], (fast, weak), strict=True):
        assert duets.ratio_text(one.ratio).split(" ")[0] in cell
        assert f"(raw/2026-01-02/{one.first.machine.name}/run-d/)" in cell
    assert duets.ratio_text(fast.ratio).split(" ")[0] not in rows[0][4]


def test_what_a_machine_did_not_measure_is_said_to_be_missing() -> None:
    """Under the machine that lacks it, which has fewer and so comes last."""
    other = seen().subject.model_copy(update={"entry": "other-entry"})

    heads, _, *rows = _rows(machines.section([seen(), seen(subject=other), seen(machine=_WEAK)], Path()))

    assert heads[3:] == ["testbox", "weakbox"]
    assert {row[1]: row[4] == "not measured" for row in rows} == {seen().subject.entry: False, "other-entry": True}


def test_the_machine_with_more_of_them_comes_first() -> None:
    """Whatever it is called and whichever was read first."""
    other = seen().subject.model_copy(update={"entry": "other-entry"})

    table = machines.beside([seen(), seen(machine=_WEAK), seen(machine=_WEAK, subject=other)])

    assert [column.machine.name for column in table.columns] == ["weakbox", "testbox"]
    assert [[one is not None for one in row.found] for row in table.rows if row.subject == "other-entry"] == [
        [True, False]
    ]


def test_a_cell_says_how_many_duets_and_whether_they_had_no_lead_in() -> None:
    """So that a ratio of another method is not taken for one like the others."""
    record = make_duet()
    without = seen(duet=record.duet.model_copy(update={"lead_in": 0}))
    with_one = seen(duet=record.duet.model_copy(update={"lead_in": 1}))

    assert machines.cell_text(without) == f"{duets.verdict_text(without)}, n = 2, no lead-in"
    assert machines.cell_text(with_one) == f"{duets.verdict_text(with_one)}, n = 2"


def test_the_results_readme_has_the_table_where_there_are_several_machines() -> None:
    """Above the tables of each."""
    one, two = (files_of([], Path("results"), contests=found) for found in ([seen()], [seen(), seen(machine=_WEAK)]))
    text = two[Path("results/README.md")]

    assert "machine by machine" not in one[Path("results/README.md")]
    [line] = machines.answer_lines([seen(), seen(machine=_WEAK)])
    heads = "## In turns, machine by machine\n", f"\n- {line}\n", "## In turns\n"
    assert sorted(map(text.index, heads)) == [text.index(head) for head in heads]


def test_a_cell_says_how_many_duets_failed() -> None:
    """They are in no figure."""
    failed = make_duet(2, status="failed")
    good = [make_duet(block) for block in range(2)]

    text = machines.cell_text(contest([(Path(f"{one.block}.json"), one) for one in (*good, failed)]))

    assert "n = 2, 1 failed" in text


def test_under_the_table_stands_when_and_with_what_each_machine_measured() -> None:
    """With the machine's own facts."""
    lines = [line for line in machines.section([seen()], Path()).splitlines() if line.startswith("- ")]

    assert len(lines) == 1
    assert seen().first.duet.started_utc[:10] in lines[0]
    assert lines[0].startswith("- testbox: ")


def test_the_projects_readme_has_the_tasks_as_they_ship_and_says_where_the_others_are() -> None:
    """A width has a name of its own; another batch size is another task."""
    task = seen().first.task
    wide, large = task.changed(name="mlp-w64", layers=(784, 64, 64, 10)), task.changed(batch_size=512)
    case = seen().subject
    every = [
        seen(),
        seen(task=wide, subject=case.model_copy(update={"task": "mlp-w64"})),
        seen(task=large, subject=case.model_copy(update={"batch_size": 512})),
    ]

    readme = machines.for_readme(every, Path(), "results")

    assert [row[0] for row in _rows(readme)[2:]] == ["mlp, batch 64, 2 threads"]
    assert (
        "and 2 ratios of other widths, batch sizes or tasks: [results/README.md](results/README.md#in-turns)." in readme
    )
    assert "other widths" not in machines.for_readme(every[:1], Path(), "results")
    assert "" == machines.for_readme([], Path(), "results")


def test_hostile_names_stay_text() -> None:
    """Of machines and entries: records may come from strangers."""
    bad = "<script>alert(1)</script>|[x](y)"
    case = seen().subject.model_copy(update={"entry": bad})

    text = machines.section([seen(machine=make_machine(name=bad), subject=case)], Path())

    assert "<script>" not in text
    assert "|[x](y)" not in text
    assert len({line.count(" | ") for line in text.splitlines() if line[:1] == "|"}) == 1


def told(low: float, high: float, machine: Machine | None = None, **changes: Any) -> Contest:
    """A contest whose ratio of rates has this interval."""
    one = seen(machine=machine, **changes)
    low, high = math.log(low), math.log(high)
    ratio = Estimate(n=2, mean=(low + high) / 2, sd=0.01, interval=(low, high), reason=None)
    return replace(one, ratio=ratio, unfit=None)


def test_what_all_machines_say_alike_is_said_with_the_range_of_the_ratios() -> None:
    """The faster one first, and only what more than one machine measured."""
    other = seen().subject.model_copy(update={"entry": "other-entry"})
    both = [told(1.9, 2.1), told(3.9, 4.1, _WEAK)]

    assert machines.answer_lines([*both, told(1.9, 2.1, subject=other)]) == [
        "The same on each machine: tensorflow-function trains 2.00 to 4.00 times as fast as torch-eager "
        "(mlp with 2 threads)."
    ]
    assert machines.answer_lines([told(0.19, 0.21), told(0.19, 0.21, _WEAK)]) == [
        "The same on each machine: torch-eager trains 5.01 times as fast as tensorflow-function (mlp with 2 threads)."
    ]
    assert machines.answer_lines([told(0.995, 1.005), told(0.996, 1.006, _WEAK)]) == [
        "The same on each machine: tensorflow-function trains as fast as torch-eager (mlp with 2 threads)."
    ]


def test_one_thread_is_not_said_for_it_is_the_usual() -> None:
    """As in every other sentence of the report."""
    one = {"subject": seen().subject.model_copy(update={"threads": 1})}

    assert machines.answer_lines([told(1.1, 1.2, **one), told(1.1, 1.2, _WEAK, **one)])[0].endswith(
        " torch-eager (mlp)."
    )


@pytest.mark.parametrize("there", [(0.64, 0.66), (0.985, 1.004)], ids=["slower", "undecided"])
def test_intervals_that_exclude_each_other_depend_on_the_machine(there: tuple[float, float]) -> None:
    """Also where one of them is not told apart from 1: it is not what the other machine says."""
    assert machines.answer_lines([told(1.1, 1.2), told(*there, _WEAK)]) == [
        "Depends on the machine: tensorflow-function against torch-eager (mlp with 2 threads)."
    ]


def test_what_is_undecided_on_a_machine_is_not_said_to_depend_on_it() -> None:
    """Its wide interval holds what the other machine found; nor has a contest that cannot be believed a say."""
    text = ["Still open: tensorflow-function against torch-eager (mlp with 2 threads)."]

    assert machines.answer_lines([told(1.1, 1.2), told(0.9, 1.3, _WEAK)]) == text
    assert machines.answer_lines([told(1.1, 1.2), replace(told(0.5, 0.6, _WEAK), unfit="planted")]) == text


def test_a_ratio_without_lead_in_is_not_set_against_one_with() -> None:
    """What tells the two apart may be the way of measuring, not the machine."""
    record = make_duet()
    led = {"duet": record.duet.model_copy(update={"lead_in": 1})}

    assert machines.answer_lines([told(1.1, 1.2), told(0.8, 0.9, _WEAK, **led)])[0].startswith("Still open: ")
    assert machines.answer_lines([told(1.1, 1.2, **led), told(0.8, 0.9, _WEAK, **led)])[0].startswith("Depends ")


def test_duets_that_all_failed_have_no_say() -> None:
    """They found no ratio, so one machine is left."""
    none = contest([(Path("duet.json"), make_duet(status="failed").model_copy(update={"machine": _WEAK}))])

    assert machines.answer_lines([told(1.1, 1.2), none]) == []


def test_one_machine_or_another_width_gives_no_sentence_of_machines() -> None:
    """A sentence that speaks of machines must stand on more than one."""
    wide = {"task": seen().first.task.changed(name="mlp-w64", layers=(784, 64, 64, 10))}

    assert machines.answer_lines([told(1.1, 1.2)]) == []
    assert machines.answer_lines([told(1.1, 1.2, **wide), told(1.1, 1.2, _WEAK, **wide)]) == []


def test_the_readme_and_the_page_begin_with_what_all_machines_say() -> None:
    """Before what each says."""
    lines = machines.answer_lines([told(1.9, 2.1), told(3.9, 4.1, _WEAK)])

    text = claims.answer([], "results", lines)

    assert text.splitlines()[:3] == [claims.ON_ALL, "", f"- {lines[0]}"]
    assert claims.ON_ALL not in claims.answer([], "results")
