"""Results folders from several machines -> one. Every raw file is copied as it is, or nothing is.

Records are never rewritten, so two folders either hold the same bytes under a name, or they contradict each other.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import store
from bench.errors import InputError
from bench.record import Certificate, Plan, Suite, Trial, Value, read_value
from bench.studying import StudyPlan, StudyRecord

# What a file must be, by its name; others (overhead, gate, doctor) are copied as they are.
_KINDS: tuple[tuple[str, type[Value]], ...] = (
    (r"block-.*\.json", Trial),
    (r"certificate_.*\.json", Certificate),
    (r"mutations-.*\.json", Suite),
    (r"plan\.json", Plan),
    (r"study_.*\.json", StudyRecord),
    (r"study-plan\.json", StudyPlan),
)


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A file to be copied, and where to, below raw/."""

    source: Path
    name: Path


def missing(sources: Sequence[Path], results: Path) -> list[Copy]:
    """The files of the sources that the results lack; each is read as what its name says it is.

    Raises InputError, before anything is copied, where a source is no results folder, where a file is broken, or where
    two folders hold different bytes under one name.
    """
    found: dict[Path, Path] = {}
    for source in sources:
        raw = store.raw_folder(source)
        if not raw.is_dir():
            raise InputError(f"{source}: holds no results (no folder raw/); name the folder that `bench run` wrote to")
        for path in _files(raw):
            name = path.relative_to(raw)
            for other in (found.get(name), store.raw_folder(results) / name):
                if other is not None and other.exists() and not _same(path, other):
                    raise InputError(
                        f"{path}: differs from {other}, and a record is never rewritten; find out which is the "
                        "measured one and take the other away"
                    )
            found.setdefault(name, path)
    todo = [Copy(source=path, name=n) for n, path in found.items() if not (store.raw_folder(results) / n).exists()]
    for copy in todo:
        _check(copy.source)
    return sorted(todo, key=lambda copy: _last(copy.name))


def _files(raw: Path) -> Iterable[Path]:
    """Every whole file: what begins with a dot was being written when its run was killed."""
    return (path for path in sorted(raw.rglob("*")) if path.is_file() and not path.name.startswith("."))


def _same(a: Path, b: Path) -> bool:
    return a.stat().st_size == b.stat().st_size and a.read_bytes() == b.read_bytes()


def _check(path: Path) -> None:
    for pattern, kind in _KINDS:
        if re.fullmatch(pattern, path.name):
            read_value(kind, path)


def _last(name: Path) -> tuple[bool, str]:
    """Trials after the certificates that they name: a merge that is cut off leaves no trial without its proof."""
    return name.name.startswith("block-"), str(name)


def merge(todo: Iterable[Copy], results: Path) -> int:
    """Copy the files, each whole or not at all; returns how many. A merge that was cut off is gone on with."""
    count = 0
    for copy in todo:
        store.write_once(store.raw_folder(results) / copy.name, copy.source.read_bytes())
        count += 1
    return count
