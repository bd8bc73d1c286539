"""bench.material: withdrawn results leave the tables and stay listed; contributed folders are checked."""

import json
from pathlib import Path

import pytest

from bench import store
from bench.errors import InputError
from bench.material import read
from bench.probes.machine import fingerprint_of
from bench.record import Machine
from tests.command import bench
from tests.make import make_certificate, make_duet, make_machine, make_trial, prove_duet


def machine(name: str, **facts: object) -> Machine:
    """A machine whose fingerprint is that of its facts."""
    made = make_machine(name=name, **facts)
    return made.model_copy(update={"fingerprint": fingerprint_of(made)})


def results_of(folder: Path, *runs: str, on: Machine | None = None) -> Path:
    """A results folder with runs of two trials each, certificate beside them."""
    on = on or machine("testbox")
    for run in runs:
        trials = [make_trial(block=block, run=run, machine=on) for block in range(2)]
        place = store.raw_folder(folder) / "2026-01-02" / on.name / run
        certificate = make_certificate().model_copy(update={"case": trials[0].case, "machine": on})
        proof = store.write_certificate(place, certificate)
        for trial in trials:
            store.write_trial(place, trial.model_copy(update={"certificate": proof}))
    return folder


def withdraw(results: Path, records: str, reason: str = "the fan had failed") -> None:
    """Write withdrawn.toml."""
    text = f'[[withdrawn]]\nrecords = "{records}"\ndate = "2026-02-03"\nreason = "{reason}"\n'
    (results / "withdrawn.toml").write_text(text)


def test_a_withdrawn_run_enters_nothing_and_stays_listed(tmp_path: Path) -> None:
    """Its trials and certificate are gone from the tables; the report names it with its reason; its files stay."""
    results = results_of(tmp_path, "run-a", "run-b")
    withdraw(results, "2026-01-02/testbox/run-b")
    material = read(results)

    assert {t.placement.run for _, t in material.trials} == {"run-a"}
    assert len(material.withdrawn[0].paths) == 3
    readme = tmp_path / "PROJECT.md"
    readme.write_text("<!-- table: begin -->\n<!-- table: end -->\n")
    done = bench("report", "--results", results, "--readme", readme)
    text = (results / "README.md").read_text()

    assert done.returncode == 0
    assert "the fan had failed" in text
    assert "run-b" in text.split("## Withdrawn")[1]
    assert "run-b" not in text.split("## Withdrawn")[0]


OWN_CLAIM = """[[claim]]
name = "pace"
topic = "own"
sentence = "It trains."
said_by = "someone"
meaning = "At some pace."
[[claim.evidence]]
what = "pace"
measure = "samples_per_second"
kind = "at-most"
limit = 1e12
subjects = ["torch-eager"]
"""


def test_what_was_withdrawn_decides_no_claim(tmp_path: Path) -> None:
    """`bench claims` stands on the records that the report stands on: here on the older run, once the newer is gone."""
    results = results_of(tmp_path / "results", "run-a", "run-b")
    (tmp_path / "claims.toml").write_text(OWN_CLAIM)

    def run() -> str:
        done = bench("claims", "--claims", tmp_path / "claims.toml", "--results", results, "--json")
        return str(json.loads(done.stdout)[0]["observations"][0]["run"])

    before = run()
    withdraw(results, "2026-01-02/testbox/run-b")

    assert ("run-b", "run-a") == (before, run())


def test_contributed_duets_are_checked_as_trials_are(tmp_path: Path) -> None:
    """A machine that its facts do not give, and a run that is there already."""
    on = machine("testbox")
    for number in range(3):
        run = f"run-d{number // 2}"
        folder = results_of(tmp_path / str(number), f"run-{number}")
        place = store.run_folder(folder, "2026-01-02T00:00:00", on.name, run)
        prove_duet(place, make_duet(machine=on, run=run))
    [path] = place.glob("duet-*.json")
    path.write_text(path.read_text().replace(on.fingerprint, "0123456789ab"))

    with pytest.raises(InputError, match="run run-d0 is in the results already"):
        read(tmp_path / "0", [tmp_path / "1"])
    with pytest.raises(InputError, match=r"duet-000.*its facts give"):
        read(tmp_path / "0", [tmp_path / "2"])


def test_one_file_can_be_withdrawn(tmp_path: Path) -> None:
    """A pattern as in a shell takes out what it matches, and no more."""
    results = results_of(tmp_path, "run-a")
    withdraw(results, "*/*/run-a/block-000_*.json")

    assert [t.placement.block for _, t in read(results).trials] == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[withdrawn]]\nrecords = "nowhere"\ndate = "2026-02-03"\nreason = "x"', "takes nothing out"),
        ('[[withdrawn]]\nrecords = "../.."\ndate = "2026-02-03"\nreason = "x"', "must lie below raw/"),
        ('[[withdrawn]]\nrecords = "*"\ndate = "yesterday"\nreason = "x"', "date"),
        ('[[withdrawn]]\nrecords = "*"\ndate = "2026-02-03"', "reason: is missing"),
        ("[[withdrawn", "is no TOML"),
    ],
)
def test_a_wrong_entry_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    """With the file's name: a withdrawal that does nothing would be worse than none."""
    results = results_of(tmp_path, "run-a")
    (results / "withdrawn.toml").write_text(text)

    with pytest.raises(InputError, match=message):
        read(results)


def test_contributed_results_stand_beside_ours_and_are_never_pooled(tmp_path: Path) -> None:
    """`bench report --add`: each machine has tables of its own."""
    ours = results_of(tmp_path / "ours", "run-a")
    theirs = results_of(tmp_path / "theirs", "run-b", on=machine("otherbox", cores=64))

    assert len(read(ours, [theirs]).trials) == 4
    done = bench("report", "--results", ours, "--add", theirs, "--format", "json")
    sections = json.loads(done.stdout)["sections"]

    assert sorted(s["machine"]["name"] for s in sections) == ["otherbox", "testbox"]
    assert all(row["trials"] == 2 for s in sections for row in s["rows"])


def edit(folder: Path, pattern: str, **changes: object) -> None:
    """Change a file of a contributed folder."""
    path = next(folder.rglob(pattern))
    document = json.loads(path.read_text())
    for key, value in changes.items():
        document[key] = {**document[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("pattern", "changes", "message"),
    [
        ("block-*.json", {"case": {"fingerprint": "0" * 16}}, "case"),
        ("block-*.json", {"machine": {"cores": 128}}, "machine.fingerprint"),
        ("certificate_*.json", {"worker_seconds": 7.0}, "is not the one it was run under"),
        ("block-*.json", {"schema_version": 99}, "schema_version"),
        ("block-*.json", {"worker_seconds": -1}, "worker_seconds"),
    ],
)
def test_a_contribution_that_is_not_what_a_run_wrote_is_refused(
    tmp_path: Path, pattern: str, changes: dict[str, object], message: str
) -> None:
    """Fingerprints, certificates and schema are checked before anything is shown."""
    ours = results_of(tmp_path / "ours", "run-a")
    theirs = results_of(tmp_path / "theirs", "run-b", on=machine("otherbox", cores=64))
    edit(theirs, pattern, **changes)

    with pytest.raises(InputError, match=message):
        read(ours, [theirs])


def test_a_contribution_that_is_there_already_is_refused(tmp_path: Path) -> None:
    """Else its trials would count twice."""
    ours, theirs = results_of(tmp_path / "ours", "run-a"), results_of(tmp_path / "theirs", "run-a")

    with pytest.raises(InputError, match="is in the results already"):
        read(ours, [theirs])
