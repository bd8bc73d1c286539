"""Contests as text: what tells two of them apart, and what is said where nothing is known."""

from pathlib import Path
from typing import Any

from bench.duets import Contest, contest
from bench.publish import duets
from tests.make import make_duet, make_machine


def seen(**changes: Any) -> Contest:
    """A contest of two duets, with other values where given."""
    records = [make_duet(block, head=0.1 + 0.001 * block).model_copy(update=changes) for block in range(2)]
    return contest([(Path(f"raw/2026-01-02/testbox/run-d/duet-{one.block:03d}.json"), one) for one in records])


def test_contests_of_two_batch_sizes_are_told_apart() -> None:
    """On the page, where they stand in one table."""
    record = make_duet()
    other = record.subject.model_copy(update={"batch_size": 512, "threads": 1})
    table = duets.table([seen(), seen(subject=other)], Path())
    place = [head.text for head in table.heads].index("Task")

    assert ["mlp, batch 64, 2 threads", "mlp, batch 512, 1 thread"] == [line.cells[place].text for line in table.lines]


def test_the_headings_tell_widths_and_batch_sizes_apart() -> None:
    """A width has a name of its own, another batch size has not: its heading says it."""
    task = seen().first.task
    wide, large = task.changed(name="mlp-w64", layers=(784, 64, 64, 10)), task.changed(batch_size=512)
    section = duets.section([seen(), seen(task=wide), seen(task=large)], Path())

    assert all(name in section for name in ("### mlp: ", "### mlp-w64: ", "### mlp (batch 512): "))


def test_a_machine_without_a_processor_s_name_goes_by_its_own() -> None:
    """Never by the word None."""
    assert "on Testor 9 (testbox), 2 threads" in duets.where_text(seen(machine=make_machine(cpu_model="Testor 9")))
    assert "on testbox, 2 threads" in duets.where_text(seen(machine=make_machine(cpu_model=None)))


def test_the_note_is_whole() -> None:
    """Texts of records are cut where they are long; ours are not."""
    text = duets.section([seen()], Path())

    assert "tables of trials." in text
    assert "…" not in text
