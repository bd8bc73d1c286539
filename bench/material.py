"""Results folders -> Material: all that a report is made of, less what was withdrawn.

A withdrawn result stays where it is and stays listed, with its reason; it enters no table, plot or verdict.
results/withdrawn.toml:

    [[withdrawn]]
    records = "2026-11-24/amd-epyc-2c-18cf/215231-full-97ee"    # below raw/: a run, or a file; * and ? as in a shell
    date = "2026-12-01"
    reason = "a package was being installed meanwhile"
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field

from bench import duets, store, studying
from bench.brief import Briefer
from bench.duets import DuetRecord, Played
from bench.errors import InputError
from bench.probes.machine import fingerprint_of
from bench.record import Certificate, Proof, Suite, Trial, Value, read_toml, read_value
from bench.studying import StudyRecord

FILE = "withdrawn.toml"
T = TypeVar("T")
R = TypeVar("R", Trial, StudyRecord, Certificate, DuetRecord)
Place = tuple[int, str, str]  # the results folder among those that are read, and store.Newest.first


class Entry(Value):
    """What was withdrawn, when, and why."""

    records: Annotated[str, Field(min_length=1)]
    date: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
    reason: Annotated[str, Field(min_length=1)]


class _File(Value):
    withdrawn: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Withdrawn:
    """An entry of withdrawn.toml with the records that it takes out."""

    entry: Entry
    paths: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything with the file it was read from. withdrawn: what is not among the rest.

    Trials and certificates are brief (bench/brief.py). certified: by a certificate's file its place among all.
    """

    trials: list[tuple[Path, Trial]]
    studies: list[tuple[Path, StudyRecord]]
    suites: list[tuple[Path, Suite]]
    certificates: list[tuple[Path, Certificate]]
    withdrawn: tuple[Withdrawn, ...]
    duets: list[Played] = field(default_factory=list)
    certified: dict[Path, Place] = field(default_factory=dict)


def read(results: Path, added: Sequence[Path] = ()) -> Material:
    """Of a results folder, and of contributed ones, which are checked as if they were our own.

    Raises InputError on a broken record, a trial without the certificate it was run under, a machine whose fingerprint
    is not that of its own facts, or an entry of withdrawn.toml that takes nothing out.
    """
    parts = [_read(folder, number) for number, folder in enumerate((results, *added))]
    for folder, part in zip(added, parts[1:], strict=True):
        check_machines(folder, part)
        _refuse_twice(folder, parts[0], part)
    return Material(
        trials=[one for part in parts for one in part.trials],
        studies=[one for part in parts for one in part.studies],
        suites=[one for part in parts for one in part.suites],
        certificates=[one for part in parts for one in part.certificates],
        withdrawn=tuple(one for part in parts for one in part.withdrawn),
        duets=[one for part in parts for one in part.duets],
        certified={path: place for part in parts for path, place in part.certified.items()},
    )


def _read(results: Path, number: int) -> Material:
    store.machine_folders(results)
    withdrawn = read_withdrawn(results)
    gone = taken_out(withdrawn)
    read = _of_folders(results, None, gone, number)
    return replace(read, suites=left(store.read_suites(results), gone), withdrawn=withdrawn)


def taken_out(withdrawn: Iterable[Withdrawn]) -> frozenset[Path]:
    """The files that are withdrawn."""
    return frozenset(path for one in withdrawn for path in one.paths)


def read_machines(results: Path, names: Sequence[str], gone: Collection[Path]) -> list[Material]:
    """Of a results folder, all but the suites in the folders of some machines, machine by machine.

    gone: files that are withdrawn. Raises InputError as `read`, but not where there is no record.
    """
    return of_machines(_of_folders(results, names, gone, 0))


def _of_folders(results: Path, names: Sequence[str] | None, gone: Collection[Path], number: int) -> Material:
    """All but the suites, each file read once; of some machines' folders where they are named."""
    brief = Briefer()
    proofs: dict[Path, Proof] = {}
    certificates = []
    trials = [(path, brief.trial(read_value(Trial, path))) for path in store.files(results, store.TRIALS, names)]
    for path in store.files(results, store.CERTIFICATES, names):
        certificate = read_value(Certificate, path)
        proofs[path] = store.proof_of(path, certificate)
        certificates.append((path, brief.certificate(certificate)))
    store.check_proofs(trials, proofs)
    newest = [one for one in store.newest_of(certificates) if one.path not in gone]
    studies, played = studying.read_studies(results, names), duets.read(results, names, proofs)
    if names is None and not (trials or studies or played):
        raise store.no_record(results)
    return Material(
        trials=left(trials, gone),
        studies=left(studies, gone),
        suites=[],
        certificates=[(one.path, one.certificate) for one in newest],
        withdrawn=(),
        duets=left(played, gone),
        certified={one.path: (number, *one.first) for one in newest},
    )


def of_machines(material: Material) -> list[Material]:
    """All but the suites of each machine by itself, in order of the fingerprints."""
    trials, studies = _by_machine(material.trials), _by_machine(material.studies)
    certificates, played = _by_machine(material.certificates), _by_machine(material.duets)
    return [
        Material(
            trials=trials.get(fingerprint, []),
            studies=studies.get(fingerprint, []),
            suites=[],
            certificates=certificates.get(fingerprint, []),
            withdrawn=(),
            duets=played.get(fingerprint, []),
            certified=material.certified,
        )
        for fingerprint in sorted({*trials, *studies, *certificates, *played})
    ]


def _by_machine(found: Iterable[tuple[Path, R]]) -> dict[str, list[tuple[Path, R]]]:
    groups: dict[str, list[tuple[Path, R]]] = defaultdict(list)
    for path, record in found:
        groups[record.machine.fingerprint].append((path, record))
    return groups


def left(found: Iterable[tuple[Path, T]], gone: Collection[Path]) -> list[tuple[Path, T]]:
    """What was not withdrawn."""
    return [(path, value) for path, value in found if path not in gone]


def read_withdrawn(results: Path) -> tuple[Withdrawn, ...]:
    """The entries of a folder's withdrawn.toml; none where there is no such file. Raises InputError."""
    path = results / FILE
    if not path.exists():
        return ()
    entries = read_toml(_File, path).withdrawn
    return tuple(Withdrawn(entry=entry, paths=_taken(results, path, entry)) for entry in entries)


def _taken(results: Path, place: Path, entry: Entry) -> tuple[Path, ...]:
    raw = store.raw_folder(results)
    if Path(entry.records).is_absolute() or ".." in Path(entry.records).parts:
        raise InputError(f"{place}: records {entry.records!r}: must lie below raw/; name it from there")
    found: set[Path] = set()
    for path in raw.glob(entry.records):
        found |= set(path.rglob("*.json")) if path.is_dir() else {path}
    if not found:
        raise InputError(f"{place}: records {entry.records!r}: takes nothing out; correct the name")
    return tuple(sorted(found))


def check_machines(folder: Path, part: Material) -> None:
    """Raise InputError where a record's machine has another fingerprint than its facts give: tables go by it."""
    records: list[tuple[Path, Trial | StudyRecord | Certificate | DuetRecord]]
    records = [*part.trials, *part.studies, *part.certificates, *part.duets]
    for path, record in records:
        expected = fingerprint_of(record.machine)
        if record.machine.fingerprint != expected:
            raise InputError(
                f"{path}: machine.fingerprint: is {record.machine.fingerprint!r}, its facts give {expected!r}; "
                f"{folder} is not what a run wrote, ask its contributor"
            )


def _refuse_twice(folder: Path, ours: Material, theirs: Material) -> None:
    def names(part: Material) -> set[tuple[str, int, str, str]]:
        trials = {(t.placement.run, t.placement.block, t.case.entry, t.case.fingerprint) for _, t in part.trials}
        return trials | {(d.run, d.block, d.subject.entry, d.subject.fingerprint) for _, d in part.duets}

    both = names(ours) & names(theirs)
    if both:
        raise InputError(f"{folder}: run {min(both)[0]} is in the results already; leave --add out for it")
