"""A file is complete or absent, and never rewritten."""

from pathlib import Path

import pytest

from bench import store
from bench.errors import InputError
from tests.make import make_trial


def test_a_record_is_never_rewritten(tmp_path: Path) -> None:
    """The second write of a name is refused, and the first content stays."""
    file = tmp_path / "record.json"
    store.write_once(file, "first")

    with pytest.raises(InputError, match="a record is never rewritten"):
        store.write_once(file, "second")
    assert "first" == file.read_text()
    assert [file] == list(tmp_path.iterdir())


def test_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    """Held once; free again afterwards."""
    with store.locked(tmp_path), pytest.raises(InputError, match="another run"), store.locked(tmp_path):
        pass
    with store.locked(tmp_path):
        pass


def test_two_cases_never_share_a_file() -> None:
    """Entries, threads, processes and batch sizes are all in the name."""
    trials = [
        make_trial(entry=entry, threads=threads, block=block, processes=processes)
        for entry in ("torch-eager", "my.entry", "my.entry_2", "my_.entry")
        for threads in (1, 2)
        for processes in (1, 2, 12)
        for block in (0, 1)
    ]
    names = {store.trial_file(trial.case, trial.placement.block) for trial in trials}

    assert len(trials) == len(names)


def test_a_folder_without_records_is_named(tmp_path: Path) -> None:
    """The line says what makes some."""
    (tmp_path / "raw").mkdir()

    with pytest.raises(InputError, match="holds no record; make some with `bench run`"):
        store.read_trials(tmp_path)


def test_records_are_counted_without_a_path_of_each(tmp_path: Path) -> None:
    """As many as `files` finds of each kind; what else lies about, and other machines' records, are not among them."""
    folder = store.run_folder(tmp_path, "2026-01-02", "odd[1]", "120000-full-aaaa")
    elsewhere = store.run_folder(tmp_path, "2026-01-03", "odd1", "120000-full-bbbb")
    for place, names in {
        folder: ("block-000_a.json", "duet-000_a.json", "study_a.json", "certificate_a.json", "plan.json"),
        elsewhere: ("block-000_a.json",),
    }.items():
        place.mkdir(parents=True)
        for name in names:
            (place / name).touch()
    (folder.parent / "overhead-120000.json").touch()

    assert 3 == store.count(tmp_path, "odd[1]")
    assert 3 == sum(len(store.files(tmp_path, kind, ["odd[1]"])) for kind in store.MEASURED)
    assert 0 == store.count(tmp_path, "no-such")
