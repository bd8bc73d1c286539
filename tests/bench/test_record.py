"""The record's schema is shipped, current and true of every record."""

import functools
import json
from pathlib import Path

import jsonschema_rs
import pytest

from bench import store
from bench.cli import DOCUMENTS
from bench.duets import DuetRecord
from bench.errors import InputError
from bench.record import SCHEMA_VERSION, Certificate, Trial, Value, compact_json, read_value, schema_of
from bench.studying import StudyRecord
from tests.command import ROOT
from tests.make import make_trial


@functools.cache
def validator(name: str) -> jsonschema_rs.Draft202012Validator:
    """Of a shipped schema."""
    return jsonschema_rs.Draft202012Validator(json.loads((ROOT / "bench" / "schema" / name).read_text()))


def validate(kind: str, document: dict) -> None:
    """Raise ValidationError where a document is not what the schema of its number says; older schemas are kept."""
    number = document["schema_version"]
    validator(f"{kind}.schema.json" if number == SCHEMA_VERSION else f"{kind}-{number}.schema.json").validate(document)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_shipped_schema_is_that_of_the_types(document: str) -> None:
    """`make generate` makes it anew."""
    assert schema_of(document, DOCUMENTS[document]) == json.loads(
        (ROOT / "bench" / "schema" / f"{document}.schema.json").read_text()
    )


PUBLISHED: dict[str, tuple[str, type[Value]]] = {
    "trial": ("block-*.json", Trial),
    "study": ("study_*.json", StudyRecord),
    "duet": ("duet-*.json", DuetRecord),
    "certificate": ("certificate_*.json", Certificate),
}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_every_published_record_is_valid(kind: str) -> None:
    """Against the schema of its own number, by another library than the one that wrote it, and by the reader."""
    pattern, value = PUBLISHED[kind]
    paths = sorted((ROOT / "results").glob(f"raw/*/*/*/{pattern}"))
    wrong = {}
    for path in paths:
        try:
            validate(kind, json.loads(path.read_text()))
            read_value(value, path)
        except (jsonschema_rs.ValidationError, InputError) as error:
            wrong[str(path)] = str(error)

    assert paths
    assert {} == wrong


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    """What is read is what was written."""
    trial = make_trial()
    file = store.write_trial(tmp_path, trial)

    assert trial == read_value(Trial, file)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: record.pop("case"),
        lambda record: record.update(worker_seconds=-1),
        lambda record: record.update(status="fine"),
        lambda record: record.update(extra=1),
        lambda record: record["case"].update(threads=0),
    ],
)
def test_a_wrong_record_is_found_by_both(tmp_path: Path, spoil) -> None:
    """The schema and the reader refuse the same."""
    record = json.loads(make_trial().to_json())
    spoil(record)
    file = tmp_path / "record.json"
    file.write_text(json.dumps(record))

    with pytest.raises(jsonschema_rs.ValidationError):
        validate("trial", record)
    with pytest.raises(InputError, match=r"record\.json: "):
        read_value(Trial, file)


@pytest.mark.parametrize(
    "document",
    [{}, [], {"a": [], "b": {}}, {"a": [1, 2.5, None, "x"], "b": [{"c": 'é"\n'}], "d": True}, [[1], [2]], 1e-5],
)
def test_compact_json_is_json(document: object) -> None:
    """Our own layout, any parser's document."""
    assert document == json.loads(compact_json(document))


def test_compact_json_refuses_what_json_has_not() -> None:
    """NaN and infinities are no JSON; a record that held one could be read by some and not by others."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        compact_json({"loss": float("nan")})
