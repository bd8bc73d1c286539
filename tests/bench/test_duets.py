"""Duets of two entries: what they say of a ratio, and when they say nothing."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import duets, store
from bench.duets import DuetRecord, Played, contest, contests, enough, width_at
from bench.errors import InputError
from bench.publish.duets import windows_text
from tests.make import make_duet, make_machine, prove_duet


def played(records: Sequence[DuetRecord]) -> list[Played]:
    """With the paths that they would have."""
    return [(Path(f"{one.run}/duet-{one.block:03d}.json"), one) for one in records]


def test_a_subject_that_takes_half_the_time_has_twice_the_rate() -> None:
    """By hand: 0.1 s against 0.2 s; ten steps of 64 rows."""
    seen = contest(played([make_duet(block, head=0.1) for block in range(3)]))

    assert seen.ratio.mean == pytest.approx(math.log(2))
    assert seen.control.mean == 0
    assert seen.rates == pytest.approx((6400, 3200))
    assert (seen.verdict, seen.unfit) == ("faster", None)


def test_the_reference_is_the_mean_of_its_two_processes() -> None:
    """By hand: bases of 0.2 and 0.4 s are 0.2828 s; a control that takes twice as long has half the rate."""
    seen = contest(played([make_duet(block, head=0.2, control=0.4) for block in range(2)]))

    assert seen.ratio.mean == pytest.approx(math.log(2) / 2)
    assert seen.control.mean == pytest.approx(-math.log(2))


def test_the_interval_is_that_of_the_duets() -> None:
    """Of two numbers a and b it is their mean ± 12.706 |a - b| / 2: Student's t with one degree of freedom."""
    seen = contest(played([make_duet(0, head=0.20), make_duet(1, head=0.21)]))
    a, b = 0.0, math.log(0.20 / 0.21)
    assert seen.ratio.interval is not None

    assert seen.ratio.interval[1] - seen.ratio.interval[0] == pytest.approx(12.706 * abs(a - b), rel=1e-4)
    assert seen.verdict == "undecided"


@pytest.mark.parametrize(("head", "verdict"), [(0.1, "faster"), (0.3, "slower"), (0.2, "tie")])
def test_a_verdict_is_on_the_subject(head: float, verdict: str) -> None:
    """Three duets that agree."""
    assert contest(played([make_duet(block, head=head) for block in range(3)])).verdict == verdict


def test_duets_on_a_machine_that_others_took_say_nothing() -> None:
    """However narrow their interval is."""
    seen = contest(played([make_duet(block, head=0.1, steal=0.3) for block in range(3)]))

    assert seen.verdict == "undecided"
    assert "30%" in (seen.unfit or "")


def test_two_references_that_differ_say_nothing() -> None:
    """A steady difference of two processes of one entry is of the instrument's making."""
    different = [make_duet(block, control=0.21 + 1e-4 * block) for block in range(8)]
    seen = contest(played(different))

    assert seen.verdict == "undecided"
    assert "two sides of the same code differ by" in (seen.unfit or "")


def test_a_number_that_was_named_before_the_first_is_so() -> None:
    """As many as were asked for, whether or not they ended well; a command that was cut short went on for the same."""
    asked = [make_duet(block, pairs=3, status="failed" if block == 1 else "ok") for block in range(3)]
    seen = contest(played(asked))

    assert ("named", 0.95) == (seen.number, seen.confidence)
    assert 2 == seen.ratio.n
    assert seen.ratio.mean == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("asked", "target", "number"),
    [
        ([2, 4, 4, 4], None, "in parts"),  # gone on with for more
        ([9, 9, 9, 9], None, "in parts"),  # cut short
        ([9, 9, 9, 9], 0.02, "by width"),
        ([4, 4, 4, 4], 0.02, "by width"),  # the cap came before a look did
    ],
)
def test_what_the_duets_said_may_have_ended_them(asked: list[int], target: float | None, number: str) -> None:
    """Then the interval that is printed as 95% is of 97%: t of three degrees of freedom is 3.896 in place of 3.182."""
    heads = (0.10, 0.11, 0.12, 0.13)
    made = [make_duet(n, pairs=pairs, target=target, head=heads[n]) for n, pairs in enumerate(asked)]
    seen = contest(played(made))
    named = contest(played([record.model_copy(update={"pairs": 4, "target": None}) for record in made]))
    assert seen.ratio.interval is not None
    assert named.ratio.interval is not None

    assert (number, 0.97) == (seen.number, seen.confidence)
    assert seen.ratio.mean == named.ratio.mean
    wider = (seen.ratio.interval[1] - seen.ratio.interval[0]) / (named.ratio.interval[1] - named.ratio.interval[0])
    assert wider == pytest.approx(3.8960 / 3.1824, rel=1e-4)


@pytest.mark.parametrize(("minutes", "number"), [(29, "named"), (31, "in parts")])
def test_a_pause_tells_that_an_older_run_was_gone_on_with(minutes: int, number: str) -> None:
    """Records from before it was kept how many were asked for; the pause begins where the duet before it ended."""
    made = []
    for block, started in ((0, 0), (1, 1), (2, 1 + minutes + 1)):
        duet = make_duet(block).duet
        at = f"2026-01-02T05:{started:02}:00+00:00"
        made.append(
            make_duet(block).model_copy(
                update={"duet": duet.model_copy(update={"started_utc": at, "wall_seconds": 60.0})}
            )
        )

    assert number == contest(played(made)).number
    assert "named" == contest(played([record.model_copy(update={"pairs": 3}) for record in made])).number


def known_to(spread: float, count: int) -> list[Played]:
    """Duets whose differences are by turns above and below their mean."""
    return played([make_duet(n, head=0.1 * math.exp(spread * (-1) ** n), target=0.01) for n in range(count)])


def test_duets_are_enough_at_a_planned_look_and_at_no_other() -> None:
    """After eight or twelve; not after seven or eleven that are as narrow. The cap ends them, look or no look."""
    narrow, wide = known_to(0.001, 12), known_to(0.1, 12)
    late = [*wide[:2], *known_to(0.0, 12)[2:]]  # +-5.1% after eight, 3.4% after eleven, 3.1% after twelve

    assert [False, True, True] == [enough(narrow[:n], pairs=40, target=0.01) for n in (7, 8, 11)]
    assert [False, False, True] == [enough(late[:n], pairs=40, target=0.04) for n in (8, 11, 12)]
    assert [False, False, True] == [enough(wide[:n], pairs=12, target=0.01) for n in (8, 11, 12)]
    assert [False, True] == [enough(narrow[:n], pairs=4, target=0.01) for n in (3, 4)]
    assert [False, True, False] == [enough(narrow[:n], pairs=9) for n in (8, 9)] + [enough([], pairs=2)]


def test_a_duet_that_failed_is_looked_at_like_any_other() -> None:
    """It is one of the eight, and tells nothing: a failure must not put off the look."""
    found = known_to(0.001, 8)
    failed = [*found[:7], *played([make_duet(7, status="failed", target=0.01)])]

    assert enough(failed, pairs=40, target=0.01)
    assert 7 == width_at(failed, 8).blocks
    with pytest.raises(ValueError, match="no duet"):
        width_at([], 8)


def test_a_duet_that_failed_is_counted_apart() -> None:
    """And where all failed there is no ratio."""
    seen = contest(played([make_duet(0), make_duet(1, status="crashed")]))
    none = contest(played([make_duet(0, status="crashed")]))

    assert (1, 1, 1) == (len(seen.played), len(seen.failed), seen.ratio.n)
    assert (None, "no duet ended well", "undecided") == (none.rates, none.unfit, none.verdict)
    with pytest.raises(ValueError, match="no duet"):
        contest([])


def test_of_several_runs_the_longest_is_shown_and_machines_are_never_pooled() -> None:
    """By subject, reference and machine; failed duets make no run longer."""
    long = [make_duet(block, run="long") for block in range(3)]
    failed = [make_duet(block, run="failed", status="crashed") for block in range(4)]
    other = make_duet(0, run="other", machine=make_machine(fingerprint="machine-9", name="z"))
    another = make_duet(0, run="another", subject="numpy")
    found = contests(played([*long, *failed, other, another]))

    assert [("numpy", "another"), ("tensorflow-function", "long"), ("tensorflow-function", "other")] == [
        (one.subject.entry, one.first.run) for one in found
    ]


def test_a_run_with_lead_ins_goes_before_a_longer_one_without() -> None:
    """The longer one is exact about another number: a faster entry looks slower in it."""
    long = [make_duet(block, run="long") for block in range(5)]
    short = [make_duet(block, run="short", lead_in=1) for block in range(2)]
    [seen] = contests(played([*long, *short]))

    assert ("short", 2, 1) == (seen.first.run, len(seen.played), seen.lead_in)
    assert windows_text(seen).endswith(" s after a lead-in")
    assert windows_text(contest(played(long))).endswith(" s")


def test_a_kept_duet_is_read_back(tmp_path: Path) -> None:
    """Whole, with both certificates beside it."""
    folder = store.run_folder(tmp_path, "2026-01-02T00:00:00", "testbox", "run-d")
    kept = prove_duet(folder, make_duet())

    assert [kept] == [record for _, record in duets.read(tmp_path)]
    assert 2 == len(list(folder.glob("certificate_*.json")))


def test_a_duet_without_its_certificate_is_refused(tmp_path: Path) -> None:
    """As a trial is: no proof, no row."""
    folder = store.run_folder(tmp_path, "2026-01-02T00:00:00", "testbox", "run-d")
    kept = prove_duet(folder, make_duet())
    file = folder / store.certificate_file(kept.subject)
    file.write_text(file.read_text().replace("2026-01-02T03", "2026-01-02T04"))

    with pytest.raises(InputError, match="is not the one it was run under"):
        duets.read(tmp_path)


def test_a_broken_duet_is_one_line(tmp_path: Path) -> None:
    """With the file and the place."""
    folder = store.run_folder(tmp_path, "2026-01-02T00:00:00", "testbox", "run-d")
    prove_duet(folder, make_duet())
    [path] = folder.glob("duet-*.json")
    document = json.loads(path.read_text())
    document["duet"]["steps"] = 0
    path.write_text(json.dumps(document))

    with pytest.raises(InputError, match=r"duet-000.*steps"):
        duets.read(tmp_path)


def test_the_newest_run_that_lacks_some_is_gone_on_with(tmp_path: Path) -> None:
    """Runs of two, three and one of the pairs, the last with another subject as well; a duet that failed was played."""
    for run, hour, blocks, subjects in (
        ("run-a", 5, 2, ["tensorflow-function"]),
        ("run-b", 6, 3, ["tensorflow-function"]),
        ("run-c", 7, 1, ["tensorflow-function", "tensorflow-loop"]),
    ):
        for block in range(blocks):
            for subject in subjects:
                made = make_duet(block, run=run, subject=subject, status="failed" if block == 2 else "ok")
                started = made.duet.model_copy(update={"started_utc": f"2026-01-02T0{hour}:00:00+00:00"})
                prove_duet(
                    store.run_folder(tmp_path, started.started_utc, made.machine.name, run),
                    made.model_copy(update={"duet": started}),
                )
    one, two = (make_duet(subject=subject) for subject in ("tensorflow-function", "tensorflow-loop"))

    def begun(pairs: int, *records: DuetRecord) -> tuple[str, int]:
        folder, found = duets.unfinished(tmp_path, one.reference, [record.subject for record in records], pairs=pairs)
        return folder.name, len(found)

    assert ("run-b", 3) == begun(4, one)
    assert ("run-a", 2) == begun(3, one)
    assert ("run-c", 2) == begun(2, one, two)
    for pairs, records in ((2, [one]), (9, [two]), (1, [one, two])):
        with pytest.raises(InputError, match=f"no run of these duets that lacks some of {pairs} pairs"):
            begun(pairs, *records)
