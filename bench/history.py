"""A run's trials -> lines of results/history, and the pin of the reference that they are ratios to.

A line is one ratio: of a case to the pinned reference, measured in the same blocks of the same run. Seconds of two
days never meet, for a machine is not the same on two days. Files are append-only JSON lines, one file for each machine
and month, and git is told to merge them by keeping the lines of both sides (.gitattributes); readers drop doubles and
put the lines in order.

The reference is pinned by what it is made of: its code, its interpreter, its packages. When it is renewed, one run
measures the old and the new one, and bench/series.py chains by that overlap.
"""

import fcntl
import json
import math
import os
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from bench.errors import InputError, validation_message
from bench.record import Case, Finite, Trial, Value
from bench.stats import QUANTITIES, Quantity, counts, estimate

PIN_FILE = "reference.toml"
LEAST_BLOCKS = 2  # one block has no standard error
_MERGE = "*.jsonl merge=union\n"
_HEAD = """\
# Which case every ratio of the history is taken against, the newest last. Made by `bench history --pin` and `--renew`;
# do not edit: a reference that is not what it was makes steps in every series.
"""


class Pin(Value):
    """What the reference is made of. implementation_sha256: over the folder of the entry's module."""

    name: str
    entry: str
    implementation_sha256: str
    python: str
    numpy: str
    packages: dict[str, str]
    pinned_utc: str

    def is_of(self, trial: Trial) -> bool:
        """Whether a trial is of this very reference, under whatever label its interpreter goes."""
        return trial.case.entry == self.entry and why_not(self, trial) is None


class Line(Value):
    """One ratio of one run.

    log_ratio: mean over n blocks of ln(value of the case / value of the reference); standard_error: of that mean.
    committed_utc: null where git did not know the commit. case_is: the pin that the case itself is, if any. packages:
    what the case ran on. folder, files: the raw records, both sides', below the results folder.
    """

    schema_version: Literal[1] = 1
    run: str
    commit: str
    committed_utc: str | None
    measured_utc: str
    machine: str
    machine_name: str
    case: Case
    case_is: str | None
    quantity: Quantity
    reference: str
    log_ratio: Finite
    standard_error: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    n: Annotated[int, Field(ge=2)]
    packages: dict[str, str]
    folder: str
    files: list[str]

    @property
    def place(self) -> tuple[str, ...]:
        """Where ratios of several cases may be chained: task, machine, device, threads, precision, quantity."""
        case = self.case
        threads = f"{case.threads}" if case.processes == 1 else f"{case.processes} x {case.threads}"
        return case.fingerprint, self.machine, case.device, threads, case.precision, self.quantity

    @property
    def series(self) -> tuple[str, ...]:
        """What lines of one series share."""
        return *self.place, self.case.entry, self.case.environment

    @property
    def identity(self) -> tuple[str, ...]:
        """What no two lines share, unless a merge doubled them."""
        return *self.series, self.run, self.reference


def folder_of(results: Path) -> Path:
    """Where the history of a results folder lies."""
    return results / "history"


def why_not(pin: Pin, trial: Trial) -> str | None:
    """What makes a trial of the pinned entry another reference; None where nothing does."""
    if trial.versions is None:
        return "its versions are not recorded"
    if trial.implementation_sha256 != pin.implementation_sha256:
        return f"its code is {(trial.implementation_sha256 or 'unknown')[:12]}, pinned {pin.implementation_sha256[:12]}"
    has = {"python": trial.versions.python, "numpy": trial.versions.numpy} | trial.versions.packages
    wants = {"python": pin.python, "numpy": pin.numpy} | pin.packages
    different = [n for n in sorted(has.keys() | wants.keys()) if has.get(n) != wants.get(n)]
    return "; ".join(f"{n} is {has.get(n)}, pinned {wants.get(n)}" for n in different) or None


def pin_of(trial: Trial, *, names: Iterable[str] = (), pinned_utc: str) -> Pin:
    """A pin of what a trial was made of, under a name that is not taken: numpy-1, numpy-2."""
    if trial.versions is None or trial.implementation_sha256 is None:
        raise InputError(f"{trial.case.entry}: its versions or its code are not recorded, so it cannot be pinned")
    taken = set(names)
    number = next(k for k in range(1, len(taken) + 2) if f"{trial.case.entry}-{k}" not in taken)
    return Pin(
        name=f"{trial.case.entry}-{number}",
        entry=trial.case.entry,
        implementation_sha256=trial.implementation_sha256,
        python=trial.versions.python,
        numpy=trial.versions.numpy,
        packages=trial.versions.packages,
        pinned_utc=pinned_utc,
    )


def read_pins(results: Path) -> list[Pin]:
    """The references, the newest last. Raises InputError on a broken file; none where there is no file."""
    path = folder_of(results) / PIN_FILE
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: is not TOML ({error}); restore the file") from None
    try:
        pins = [Pin.model_validate(one) for one in document.get("reference", [])]
    except (ValidationError, TypeError) as error:
        why = validation_message(str(path), error) if isinstance(error, ValidationError) else f"{path}: {error}"
        raise InputError(f"{why}; restore the file") from None
    names = [pin.name for pin in pins]
    if len(set(names)) != len(names) or document.keys() - {"reference"}:
        raise InputError(f"{path}: must hold [[reference]] tables of different names alone; restore the file")
    return pins


def write_pins(results: Path, pins: Sequence[Pin]) -> Path:
    """Write the file of references anew, whole."""
    path = folder_of(results) / PIN_FILE
    blocks = [_HEAD]
    for pin in pins:
        packages = ", ".join(f"{_quoted(name)} = {_quoted(version)}" for name, version in sorted(pin.packages.items()))
        texts = [f"{name} = {_quoted(value)}" for name, value in pin.model_dump(exclude={"packages"}).items()]
        blocks.append("\n".join(["[[reference]]", *texts, f"packages = {{ {packages} }}"]) + "\n")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text("\n".join(blocks), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); check the folder's permissions") from None
    return path


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are among TOML's, but for U+007F, which TOML wants escaped."""
    return json.dumps(text).replace("\x7f", "\\u007f")


def lines_of(
    trials: Sequence[Trial], pins: Sequence[Pin], *, folder: str, files: Mapping[int, str], committed_utc: str | None
) -> list[Line]:
    """Every ratio of one run to every pin that it measured; several in a run that renews the reference.

    folder, files: where the records lie, each by the id() of its trial. Raises InputError where the run is of no single
    commit, or has no pinned reference.
    """
    counted = [trial for trial in trials if counts(trial)]
    if not counted:
        raise InputError(f"{folder}: no trial counts, so there is no ratio to keep")
    commit = _commit(counted, folder)
    cases: dict[tuple[str, ...], dict[str, list[Trial]]] = defaultdict(lambda: defaultdict(list))
    for trial in counted:
        case = trial.case
        place = case.fingerprint, case.device, str(case.threads), case.precision, str(case.processes)
        cases[place][f"{case.entry}\0{case.environment}"].append(trial)
    lines = []
    for _, found in sorted(cases.items()):
        for pin in pins:
            reference = next((of for _, of in sorted(found.items()) if all(map(pin.is_of, of))), None)
            if reference is None:
                continue
            for _, of in sorted(found.items()):
                if of is reference:
                    continue
                for quantity in QUANTITIES:
                    line = _line(of, reference, quantity, pin, pins, folder, files, commit, committed_utc)
                    lines += [line] if line is not None else []
    if not lines:
        raise InputError(f"{folder}: {_why_no_line(counted, pins)}")
    return lines


def _why_no_line(counted: Sequence[Trial], pins: Sequence[Pin]) -> str:
    newest = pins[-1]
    of_entry = [trial for trial in counted if trial.case.entry == newest.entry]
    if not of_entry:
        return f"does not hold the reference {newest.entry} ({newest.name}); run it with --entry {newest.entry} as well"
    reason = why_not(newest, of_entry[0])
    if reason is None:
        return f"the reference {newest.name} shares fewer than {LEAST_BLOCKS} blocks with every other case; run more"
    return (
        f"{newest.entry} is not the reference {newest.name}: {reason}; run the pinned one with --python, or renew it "
        f"by a run of both and `bench history --renew {newest.entry}`"
    )


def _commit(trials: Sequence[Trial], folder: str) -> str:
    commits = {trial.source.git_commit for trial in trials}
    if len(commits) != 1 or None in commits:
        raise InputError(f"{folder}: is of no single known commit, so it has no place in a history; run it in a clone")
    if any(trial.source.git_dirty for trial in trials):
        raise InputError(f"{folder}: was measured with local changes, which no commit holds; commit them and run again")
    return str(commits.pop())


def _line(
    of: Sequence[Trial],
    reference: Sequence[Trial],
    quantity: Quantity,
    pin: Pin,
    pins: Sequence[Pin],
    folder: str,
    files: Mapping[int, str],
    commit: str,
    committed_utc: str | None,
) -> Line | None:
    ours, theirs = _by_block(of, quantity), _by_block(reference, quantity)
    shared = sorted(ours.keys() & theirs.keys())
    seen = estimate([math.log(ours[block][1]) - math.log(theirs[block][1]) for block in shared])
    if seen.mean is None or seen.sd is None:
        return None
    newest = of[-1]
    assert newest.versions is not None
    return Line(
        run=newest.placement.run,
        commit=commit,
        committed_utc=committed_utc,
        measured_utc=min(trial.started_utc for trial in of),
        machine=newest.machine.fingerprint,
        machine_name=newest.machine.name,
        case=newest.case,
        case_is=next((other.name for other in reversed(pins) if other.is_of(newest)), None),
        quantity=quantity,
        reference=pin.name,
        log_ratio=seen.mean,
        standard_error=seen.sd / math.sqrt(seen.n),
        n=seen.n,
        packages={"python": newest.versions.python, "numpy": newest.versions.numpy} | newest.versions.packages,
        folder=folder,
        files=[files[id(side[block][0])] for block in shared for side in (ours, theirs)],
    )


def _by_block(trials: Iterable[Trial], quantity: Quantity) -> dict[int, tuple[Trial, float]]:
    found = {}
    for trial in trials:
        value = QUANTITIES[quantity][0](trial)
        if value is not None and value > 0:
            found[trial.placement.block] = trial, value
    return found


def append(results: Path, lines: Sequence[Line]) -> list[Line]:
    """Append the lines that are not there yet; returns them. Raises InputError on a broken file.

    Each file is held by a kernel lock while it is read and appended to, so that two processes neither lose nor double
    a line; what is appended goes out in one write at the file's end.
    """
    by_file: dict[Path, list[Line]] = defaultdict(list)
    for line in lines:
        by_file[file_of(results, line)].append(line)
    added = []
    for path, wanted in by_file.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _tell_git(path.parent)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise InputError(f"{path}: cannot be opened ({error.strerror}); check the folder's permissions") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            known = {line.identity for line in read_file(path)}
            new = [line for line in wanted if line.identity not in known]
            _write(handle, "".join(line.model_dump_json() + "\n" for line in new).encode(), path)
        finally:
            os.close(handle)  # the lock ends with it
        added += new
    return added


def _write(handle: int, content: bytes, path: Path) -> None:
    """All of it or nothing: a full disk must leave no half line, which every later reader would stumble over."""
    size = os.fstat(handle).st_size
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    except OSError as error:
        os.ftruncate(handle, size)
        raise InputError(f"{path}: cannot be appended to ({error.strerror}); free some space, then again") from None


def _tell_git(folder: Path) -> None:
    try:
        with (folder / ".gitattributes").open("x", encoding="utf-8") as file:
            file.write(_MERGE)
    except FileExistsError:
        return


def file_of(results: Path, line: Line) -> Path:
    """One file a machine and month, so that branches of different machines never touch the same one."""
    return folder_of(results) / f"{safe(line.machine)}-{safe(line.measured_utc[:7])}.jsonl"


def safe(name: str) -> str:
    """A record's text as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def read(results: Path) -> list[Line]:
    """Every line once, in order of commit, then of measurement. Raises InputError on a broken line."""
    found = {line.identity: line for path in sorted(folder_of(results).glob("*.jsonl")) for line in read_file(path)}
    return sorted(
        found.values(), key=lambda line: (line.committed_utc or line.measured_utc, line.measured_utc, line.run)
    )


def read_file(path: Path) -> list[Line]:
    """The lines of one file. Raises InputError with the number of the first that is not whole."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    remedy = "take the line out and append its run again with `bench history RUN`"
    texts = content.split(b"\n")
    last = texts.pop()
    lines = []
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        try:
            lines.append(Line.model_validate_json(text))
        except ValidationError as error:
            cause = validation_message(f"{path}:{number}", error)
            raise InputError(f"{cause}; {remedy}") from None
    if last:
        raise InputError(f"{path}:{len(texts) + 1}: is cut off, it has no end of line; {remedy}")
    return lines
