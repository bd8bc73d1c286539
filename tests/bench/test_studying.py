"""bench.studying and `bench study`: each record is of a process of its own, whatever it does, and none is lost."""

import json
from pathlib import Path

import pytest

from bench import store
from bench.errors import InputError
from bench.studies import STUDIES
from bench.studying import StudyPlan, StudyRecord, asked, create_run, missing, read_studies, unfinished
from tests.bench.test_cli import one_line
from tests.command import bench
from tests.make import make_machine

ONE = ("study", "repeat", "--entry", "torch-eager", "--blocks", 1)


def plan(**changes: object) -> StudyPlan:
    """Two blocks of every study."""
    values = {
        "run": "000000-study-0000",
        "seed": 3,
        "blocks": 2,
        "studies": [study.name for study in STUDIES],
        "subjects": [],
        "threads": 1,
        "time_limit_seconds": None,
        "created_utc": "2026-01-02T03:04:05+00:00",
        "machine_fingerprint": "machine-0",
        "source": {"git_commit": None, "git_dirty": None, "sha256": "a" * 64},
    }
    return StudyPlan.model_validate(values | changes)


def test_every_block_asks_everything_once_in_an_order_of_its_own() -> None:
    """The order is drawn from the recorded seed, anew for each block."""
    blocks: dict[int, list[tuple[str, str, str]]] = {0: [], 1: []}
    for block, _, study, subject, task in asked(plan()):
        blocks[block].append((study.name, subject.name, task.name))
    everything = sorted((s.name, e.name, t) for s in STUDIES for e in s.subjects for t in s.tasks)

    assert sorted(blocks[0]) == sorted(blocks[1]) == everything
    assert blocks[0] != blocks[1]
    assert blocks[0] == [(s.name, e.name, t.name) for b, _, s, e, t in asked(plan()) if b == 0]


def test_each_study_has_its_own_number_of_blocks() -> None:
    """Where the plan names none."""
    counted: dict[str, int] = {}
    for block, _, study, _, _ in asked(plan(blocks=None)):
        counted[study.name] = max(counted.get(study.name, 0), block + 1)

    assert counted == {study.name: study.blocks for study in STUDIES}


def test_a_study_is_recorded_and_gone_on_with(tmp_path: Path) -> None:
    """Its record is read back with what it saw; what is recorded is not run again, what is missing is."""
    done = bench(*ONE, "--results", tmp_path, "--json")
    ((path, record),) = read_studies(tmp_path)

    assert done.returncode == 0
    assert json.loads(done.stdout)[0]["readings"] == [r.model_dump(mode="json") for r in record.readings]
    assert (record.status, record.study, record.case.entry) == ("ok", "repeat", "torch-eager")
    assert "torch" in (record.versions.packages if record.versions else {})
    again = bench("study", "--resume", "--results", tmp_path)
    assert again.returncode == 2
    assert "holds no unfinished run of studies" in again.stderr

    path.unlink()
    assert bench("study", "--resume", "--results", tmp_path).returncode == 0
    ((_, second),) = read_studies(tmp_path)

    assert second.value("bits") == record.value("bits")


def test_flags_beside_resume_say_which_run(tmp_path: Path) -> None:
    """The newest one that does what they ask; none of them is passed over in silence."""
    older = create_run(tmp_path, plan(run="000000-study-0000", studies=["repeat"], threads=2, seed=8), make_machine())
    newer = plan(run="000001-study-0001", studies=["repeat"], created_utc="2026-01-02T03:04:06+00:00")
    newest = create_run(tmp_path, newer, make_machine())

    assert newest == unfinished(tmp_path)[0]
    assert older == unfinished(tmp_path, plan(run="another", studies=["repeat"], threads=2))[0]
    assert older == unfinished(tmp_path, seed=8)[0]
    with pytest.raises(InputError, match="no unfinished run of these studies with these flags"):
        unfinished(tmp_path, plan(studies=["repeat"], time_limit_seconds=3.0))
    for flags in (("repeat", "--blocks", 1), ("--seed", 9), ("--memory-limit", "1GiB")):
        refused = bench("study", *flags, "--resume", "--dry-run", "--results", tmp_path)
        assert "no unfinished run of these studies with these flags" in one_line(refused)


def test_a_process_that_takes_too_long_is_a_record_and_exit_3(tmp_path: Path) -> None:
    """With its reason, and nothing in place of its readings."""
    done = bench(*ONE, "--time-limit", 0.5, "--results", tmp_path)
    ((_, record),) = read_studies(tmp_path)

    assert done.returncode == 3
    assert (record.status, record.readings) == ("timed-out", [])
    assert "limit of 0.5 s" in (record.reason or "")


def test_a_process_that_wants_too_much_memory_is_a_record_and_exit_3(tmp_path: Path) -> None:
    """With the limit that it ran under; what gives up first, the loader, an allocator or a thread, decides how."""
    done = bench(*ONE, "--memory-limit", "200MiB", "--results", tmp_path)
    ((_, record),) = read_studies(tmp_path)

    assert done.returncode == 3
    assert record.status in ("out-of-memory", "crashed")
    assert record.readings == []
    assert record.reason
    assert record.memory_limit_bytes == 200 << 20


def test_a_dry_run_starts_nothing(tmp_path: Path) -> None:
    """It prints a line for each process."""
    done = bench(*ONE, "--dry-run", "--results", tmp_path)

    assert done.stdout == "block 0: repeat torch-eager on mlp\n"
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("repet",), "no such study; there are"),
        (("repeat", "--entry", "torch-eagr"), "no subject of these studies"),
        (("repeat", "--threads", -1), "--threads -1: must be at least 1"),
        (("repeat", "--blocks", 0), "--blocks 0: must be at least 1"),
        (("repeat", "--seed", -1), "--seed -1: must be at least 0"),
        (("repeat", "--memory-limit", "1MiB"), "--memory-limit '1MiB': must be at least 64MiB"),
        (("repeat", "--time-limit", "nan"), "--time-limit nan: must be a number of seconds above 0"),
    ],
)
def test_a_request_that_makes_no_sense_is_one_line(tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    """Cause and remedy, exit 2, nothing written."""
    done = bench("study", *arguments, "--results", tmp_path)

    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "raw").exists()


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    """In one line, by every command that reads it."""
    path = store.raw_folder(tmp_path) / "2026-01-02" / "testbox" / "run-s" / "study_soak_block-000_x.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    done = bench("claims", "--results", tmp_path)

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_reading_without_a_value_says_why() -> None:
    """Null without a reason is refused."""
    values = {"name": "rss_bytes", "unit": "bytes", "value": None}
    from bench.record import Reading

    with pytest.raises(ValueError, match="has no value and no reason"):
        Reading.model_validate(values)


def test_what_is_missing_is_told_by_the_files(tmp_path: Path) -> None:
    """A new folder lacks everything."""
    assert len(missing(plan(), tmp_path)) == len(list(asked(plan())))
    assert StudyRecord.model_fields["readings"].is_required()
