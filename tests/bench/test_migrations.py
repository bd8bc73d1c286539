"""Records of every past schema stay readable: tests/records/vN keeps a real results folder of number N."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from bench import publish, stats, store
from bench.errors import InputError
from bench.migrations import migrate
from bench.record import SCHEMA_VERSION, Certificate, Plan, Suite, Trial, Value, read_value
from tests.bench.test_record import validator
from tests.command import ROOT

KEPT = ROOT / "tests" / "records"
KINDS: dict[str, type[Value]] = {
    "block-*.json": Trial,
    "certificate_*.json": Certificate,
    "plan.json": Plan,
    "mutations-*.json": Suite,
}


def folders() -> dict[int, Path]:
    """The kept results folder of each past number."""
    return {int(path.name.removeprefix("v")): path for path in KEPT.glob("v*")}


def kept() -> list[tuple[int, type[Value], Path]]:
    """Number, kind and file of every kept record."""
    return [
        (number, kind, path)
        for number, folder in sorted(folders().items())
        for pattern, kind in KINDS.items()
        for path in sorted(folder.rglob(pattern))
    ]


def the_one(pattern: str, number: int = 1) -> Path:
    """The kept record of a number whose name matches."""
    (path,) = folders()[number].rglob(pattern)
    return path


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every plain value of a document, with the way to it."""
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(child, (*path, key))
    else:
        yield path, value


def invented_figures(old: Any, new: Any) -> list[tuple[Any, ...]]:
    """Where the new document says a number that the old one did not hold at that place."""
    held = {path for path, _ in leaves(old)}
    return [
        path
        for path, value in leaves(new)
        if path not in held and isinstance(value, int | float) and not isinstance(value, bool)
    ]


# Numbers that a migration may add: what they say was so then as well. Whatever else came later is null.
MEANT = {
    ("case", "processes"),  # there was one, before there could be several
    ("measurements", "flops_per_sample"),  # counted from the task, which the old record holds
    ("measurements", "memory", "sampled_peak_samples"),  # no sample was taken: a count, and 0 is true
}


def missing_numbers(present: int, known: set[int]) -> list[int]:
    """The past numbers of which nothing is kept."""
    return [number for number in range(1, present) if number not in known]


def test_every_past_number_has_its_kept_records() -> None:
    """Whoever raises SCHEMA_VERSION keeps a results folder of the number that goes: tests/records/vN."""
    assert [] == missing_numbers(SCHEMA_VERSION, set(folders()))


def test_a_forgotten_number_is_found() -> None:
    """The check above can fail."""
    assert [SCHEMA_VERSION] == missing_numbers(SCHEMA_VERSION + 1, set(folders()))


@pytest.mark.parametrize("number", sorted(folders()))
def test_a_kept_folder_has_every_kind_of_record(number: int) -> None:
    """A trial, a certificate, a plan and a kill table, each of that number."""
    found = [(kind, json.loads(path.read_text())["schema_version"]) for n, kind, path in kept() if n == number]

    assert {(kind, number) for kind in KINDS.values()} == set(found)


@pytest.mark.parametrize(("number", "kind", "path"), kept(), ids=lambda value: getattr(value, "name", None))
def test_a_kept_record_is_read_into_the_present_types(number: int, kind: type[Value], path: Path) -> None:
    """By the one way in that everything else takes."""
    value = read_value(kind, path)

    assert SCHEMA_VERSION == value.model_dump()["schema_version"]


@pytest.mark.parametrize("number", sorted(folders()))
def test_a_kept_folder_is_reported_like_a_new_one(number: int) -> None:
    """The proof's SHA-256 is of the file as it lies, so it holds whatever the migration made of it."""
    results = folders()[number]
    records = store.read_trials(results)
    files = publish.files(records, results, store.read_suites(results), store.newest_certificates(results))

    assert all(stats.counts(trial) for _, trial in records)
    assert "torch-eager" in files[results / "README.md"]


@pytest.mark.parametrize("number", sorted(folders()))
def test_a_kept_record_is_what_its_own_schema_says(number: int) -> None:
    """The schema of the number is kept beside the present one, for readers in other languages."""
    for document, pattern in (("trial", "block-*.json"), ("certificate", "certificate_*.json")):
        validator(f"{document}-{number}.schema.json").validate(json.loads(the_one(pattern, number).read_text()))


@pytest.mark.parametrize("number", sorted(folders()))
def test_a_migrated_record_is_valid_under_the_present_schema(number: int) -> None:
    """What is read can be written again."""
    for document, kind, pattern in (("trial", Trial, "block-*.json"), ("certificate", Certificate, "certificate_*")):
        text = read_value(kind, the_one(pattern, number)).to_json()
        validator(f"{document}.schema.json").validate(json.loads(text))


def test_an_unmigrated_record_is_not_valid_under_the_present_schema() -> None:
    """The check above can fail: the old document is another one."""
    with pytest.raises(jsonschema_rs.ValidationError):
        validator("trial.schema.json").validate(json.loads(the_one("block-*.json").read_text()))


@pytest.mark.parametrize("path", [path for _, kind, path in kept() if kind is Trial], ids=lambda path: path.name)
def test_nothing_that_was_not_measured_became_a_number(path: Path) -> None:
    """Null with its reason, never 0: a zero would be read as a measurement."""
    old = json.loads(path.read_text())
    new = json.loads(read_value(Trial, path).to_json())

    assert MEANT >= set(invented_figures(old, new))


def test_a_zero_for_the_unmeasured_is_found() -> None:
    """The check above can fail."""
    old = json.loads(the_one("block-*.json").read_text())
    new = json.loads(read_value(Trial, the_one("block-*.json")).to_json())
    new["measurements"]["ceiling"]["flops_per_second"]["value"] = 0.0

    place = ("measurements", "ceiling", "flops_per_second", "value")
    assert {place} == set(invented_figures(old, new)) - MEANT


@pytest.mark.parametrize("path", [path for _, kind, path in kept() if kind is Trial], ids=lambda path: path.name)
def test_every_measurement_of_an_old_record_is_kept(path: Path) -> None:
    """A migration adds; what was measured stands where it stood, to the last bit."""
    old, new = json.loads(path.read_text()), read_value(Trial, path).model_dump(mode="json")
    now = dict(leaves(new))
    changed = [where for where, value in leaves(old) if where != ("schema_version",) and now.get(where) != value]

    assert [] == changed


def test_what_was_not_measured_says_why() -> None:
    """A reader of a null finds its reason beside it."""
    measured = read_value(Trial, the_one("block-*.json")).measurements

    assert measured is not None
    for figure in (
        measured.gather_seconds_per_step,
        measured.ceiling.flops_per_second,
        measured.ceiling.bandwidth_bytes_per_second,
        measured.memory.device_peak_allocated_bytes,
    ):
        assert (None, "not measured before schema 2") == (figure.value, figure.reason)
    assert "not measured before schema 2" in measured.reasons.values()


def test_the_operations_of_an_old_trial_are_those_of_its_task() -> None:
    """784-128-64-10: 6 times each weight a sample, less the gradient of the inputs, which nobody needs."""
    measured = read_value(Trial, the_one("block-*.json")).measurements

    assert measured is not None
    assert math.isclose(6 * (784 * 128 + 128 * 64 + 64 * 10) - 2 * 784 * 128, measured.flops_per_sample)


def test_an_old_trial_without_measurements_is_read(tmp_path: Path) -> None:
    """A failure of then has nothing to migrate, and is still a failure with its reason."""
    document = json.loads(the_one("block-*.json").read_text())
    document |= {"status": "crashed", "reason": "SIGSEGV", "measurements": None, "check": None, "certificate": None}
    file = tmp_path / "record.json"
    file.write_text(json.dumps(document))
    trial = read_value(Trial, file)

    assert ("crashed", "SIGSEGV", None) == (trial.status, trial.reason, trial.measurements)


@pytest.mark.parametrize(("number", "kind", "path"), kept(), ids=lambda value: getattr(value, "name", None))
def test_a_record_of_a_future_number_is_refused_in_one_line(
    tmp_path: Path, number: int, kind: type[Value], path: Path
) -> None:
    """An older suite must not guess at what a newer one wrote."""
    file = tmp_path / "record.json"
    file.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(InputError) as refused:
        read_value(kind, file)

    assert f"{file}: " in str(refused.value)
    assert "schema_version: " in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.pop("measurements"),
        lambda document: document.pop("machine"),
        lambda document: document["measurements"].pop("memory"),
        lambda document: document["measurements"].pop("epochs"),
        lambda document: document.update(machine=[]),
        lambda document: document.update(measurements=3),
        lambda document: document["task"].pop("layers"),
        lambda document: document["task"].update(layers="784"),
        lambda document: document.update(schema_version="1"),
        lambda document: document.update(schema_version=0),
        lambda document: document.update(schema_version=None),
        lambda document: document.update(worker_seconds=-1),
    ],
)
def test_a_broken_old_record_is_refused_in_one_line(tmp_path: Path, spoil) -> None:
    """Its file is named, and no traceback of a migration reaches a person."""
    document = json.loads(the_one("block-*.json").read_text())
    spoil(document)
    file = tmp_path / "record.json"
    file.write_text(json.dumps(document))
    with pytest.raises(InputError) as refused:
        read_value(Trial, file)

    assert str(refused.value).startswith(f"{file}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kept_bytes", [0, 1, 100, 5000])
def test_half_an_old_record_is_refused_in_one_line(tmp_path: Path, kept_bytes: int) -> None:
    """A file cut short, as a full disk leaves it."""
    file = tmp_path / "record.json"
    file.write_bytes(the_one("block-*.json").read_bytes()[:kept_bytes])

    with pytest.raises(InputError, match=r"record\.json: is no whole record"):
        read_value(Trial, file)


def test_a_present_document_is_left_alone() -> None:
    """A migration touches no record of the present number, nor what is no document at all."""
    document = read_value(Trial, the_one("block-*.json")).model_dump(mode="json")

    assert (document, [1], None) == (migrate("Trial", document), migrate("Trial", [1]), migrate("Trial", None))
