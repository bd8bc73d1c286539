"""results/raw: written once, read whole. A file is complete or absent, never half, never rewritten."""

import contextlib
import errno
import fcntl
import fnmatch
import glob
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.errors import InputError
from bench.record import Case, Certificate, Plan, Proof, Suite, Trial, compact_json, read_value

PLAN_FILE = "plan.json"
TRIALS, CERTIFICATES = "block-*.json", "certificate_*.json"  # files in the folder of a run
STUDIES, DUETS = "study_*.json", "duet-*.json"
MEASURED = (TRIALS, STUDIES, DUETS)  # what a report can be made of


_DRIVER_NUMBER = re.compile(r"[0-9]+\.[0-9]+(\.[0-9]+)?")  # 580.95.05; the stub of the tests calls itself "stub"


class NoSpace(InputError):
    """The disk is full; what was written before is whole."""


class NameTaken(InputError):
    """A record of this name is there already."""


def raw_folder(results: Path) -> Path:
    """Where the records of a results folder lie."""
    return results / "raw"


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def trial_file(case: Case, block: int) -> str:
    """The name of a trial's file inside the folder of its run."""
    where = f"{case.device}_t{case.threads}_b{case.batch_size}"
    where += "" if case.processes == 1 else f"_p{case.processes}"
    where += "" if case.precision == "ieee" else f"_{case.precision}"
    where += f"_{_safe(case.environment)}" if case.environment else ""
    return f"block-{block:03d}_{_safe(case.task)}_{_safe(case.entry)}_{where}.json"


def duet_file(subject: Case, reference: Case, block: int) -> str:
    """The name of the file of a duet of two entries inside the folder of its run."""
    name = trial_file(subject, block).replace("block-", "duet-", 1).removesuffix(".json")
    return f"{name}_against_{_safe(reference.entry)}.json"


def certificate_file(case: Case) -> str:
    """The name of the file of a case's certificate, beside its trials."""
    return trial_file(case, 0).replace("block-000_", "certificate_", 1)


def write_once(path: Path, text: str | bytes) -> None:
    """Write a new file whole: to a temporary name, to the disk, then link it to its name. Text is written as UTF-8.

    Raises NameTaken where the name is taken already, InputError where the folder refuses, NoSpace on a full disk. None
    leaves a part of a file behind.
    """
    # Nodes of a cluster share the folder, and two of them may have one process id.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(text.encode() if isinstance(text, str) else text)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)  # unlike a rename it refuses a name that is taken
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise NameTaken(f"{path}: exists already, and a record is never rewritten; take another --results") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise NoSpace(f"{path.parent}: no space left for a record; free some, then go on with --resume") from None
        raise InputError(f"{path}: cannot be written ({error.strerror}); check the folder's permissions") from None


@contextlib.contextmanager
def locked(results: Path) -> Iterator[None]:
    """Hold the results folder for one run. Raises InputError at once where another run holds it.

    A kernel lock (flock), so that it ends with the process, however that ends.
    """
    path = results / ".lock"
    try:
        results.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise NoSpace(f"{results}: no space left; free some") from None
        raise InputError(f"{results}: cannot be used for results ({error.strerror}); check --results") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
            raise InputError(
                f"{results}: another run (process {holder}) is writing here; wait for it, or take another --results"
            ) from None
        with contextlib.suppress(OSError):  # the number is a courtesy; the lock holds without it, on a full disk too
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(lock)


def refuse_stub(place: Path, *drivers: str | None) -> None:
    """Raise InputError where a GPU's driver is no driver's number: no stand-in for NVML may reach the results."""
    for driver in drivers:
        if driver is not None and not _DRIVER_NUMBER.fullmatch(driver):
            raise InputError(
                f"{place}: the GPU's driver is {driver!r}, no number of a driver such as 580.95.05, so its readings are"
                " no measurement and are not kept; take the stand-in for libnvidia-ml.so.1 out of LD_LIBRARY_PATH"
            )


def run_name(now: datetime, kind: str) -> str:
    """Of a run that begins now: HHMMSS-KIND-XXXX, its end at random, so that two of one second differ."""
    return f"{now:%H%M%S}-{kind}-{secrets.token_hex(2)}"


def run_folder(results: Path, created_utc: str, machine_name: str, run: str) -> Path:
    """results/raw/YYYY-MM-DD/MACHINE/RUN"""
    return raw_folder(results) / created_utc[:10] / machine_name / run


def join_run(results: Path, plan: Plan, machine_name: str) -> Path:
    """The folder of a run on a machine, made with its plan where no other node of that kind has done so.

    Raises InputError where it holds another plan.
    """
    folder = run_folder(results, plan.created_utc, machine_name, plan.run)
    path = folder / PLAN_FILE
    if not path.exists():
        with contextlib.suppress(NameTaken):
            return create_run(results, plan, machine_name)
    if read_value(Plan, path) != plan:
        raise InputError(f"{path}: is another plan than the one that was submitted; take another --results")
    return folder


def create_run(results: Path, plan: Plan, machine_name: str) -> Path:
    """Make the folder of a new run, with its plan in it."""
    folder = run_folder(results, plan.created_utc, machine_name, plan.run)
    write_once(folder / PLAN_FILE, compact_json(plan.model_dump(mode="json")))
    return folder


def write_trial(folder: Path, trial: Trial) -> Path:
    """Keep a trial in the folder of its run; returns its file."""
    path = folder / trial_file(trial.case, trial.placement.block)
    refuse_stub(path, trial.machine.gpu_driver, trial.gpu.driver if trial.gpu else None)
    write_once(path, trial.to_json())
    return path


def write_lost(folder: Path, trial: Trial, job: str) -> Path:
    """Keep the record of a trial whose job was ended under it, beside where its repetition goes; returns its file."""
    path = folder / trial_file(trial.case, trial.placement.block).replace(".json", f"_lost-{_safe(job)}.json")
    write_once(path, trial.to_json())
    return path


def write_findings(folder: Path, findings: list[dict[str, Any]], name: str = "") -> Path:
    """Keep what the doctor found before a run's trials; each time that a run is taken up again has findings of its own.

    name: tells apart what is found at one time, such as by the nodes of a cluster. Returns the file:
    doctor-YYYYMMDDTHHMMSS.json.
    """
    path = folder / f"doctor-{datetime.now(UTC):%Y%m%dT%H%M%S}{name}.json"
    write_once(path, compact_json(findings))
    return path


def write_certificate(folder: Path, certificate: Certificate) -> Proof:
    """Keep a certificate in the folder of its run; returns what its trials say of it."""
    path = folder / certificate_file(certificate.case)
    refuse_stub(path, certificate.machine.gpu_driver)
    write_once(path, certificate.to_json())
    return proof_of(path)


def proof_of(path: Path, certificate: Certificate | None = None) -> Proof:
    """What trials say of a certificate's file, read anew where it is not given. Raises InputError on a broken one."""
    certificate = certificate or read_value(Certificate, path)
    return Proof(
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        status=certificate.status,
        reason=certificate.reason,
        implementation_sha256=certificate.implementation_sha256,
        float64_parameter_deviation=certificate.largest("float64", "parameter"),
        own_dtype_loss_deviation=certificate.largest("own-dtype", "loss"),
    )


def write_suite(results: Path, suite: Suite) -> Path:
    """Keep the kill table of a framework: results/raw/YYYY-MM-DD/MACHINE/mutations-FRAMEWORK-HHMMSS.json."""
    day, clock = suite.created_utc[:10], suite.created_utc[11:19].replace(":", "")
    path = raw_folder(results) / day / suite.machine.name / f"mutations-{_safe(suite.framework)}-{clock}.json"
    refuse_stub(path, suite.machine.gpu_driver)
    write_once(path, compact_json(suite.model_dump(mode="json")))
    return path


def read_suites(results: Path) -> list[tuple[Path, Suite]]:
    """The newest kill table of each framework, with its file."""
    found = [(path, read_value(Suite, path)) for path in raw_folder(results).glob("*/*/mutations-*.json")]
    newest = {suite.framework: (path, suite) for path, suite in sorted(found, key=lambda one: one[1].created_utc)}
    return [newest[framework] for framework in sorted(newest)]


def has_trial(folder: Path, case: Case, block: int) -> bool:
    """Whether this trial is recorded, whatever its status."""
    return (folder / trial_file(case, block)).exists()


def runs(results: Path) -> list[tuple[Path, Plan]]:
    """Folder and plan of every run, oldest first. Raises InputError on a broken plan."""
    found = [(path.parent, read_value(Plan, path)) for path in raw_folder(results).glob(f"*/*/*/{PLAN_FILE}")]
    return sorted(found, key=lambda run: (run[1].created_utc, run[1].run))


def read_run(folder: Path) -> list[tuple[Path, Trial]]:
    """File and trial of every record of one run, in order of their names. Raises InputError on a broken one."""
    return [(path, read_value(Trial, path)) for path in sorted(folder.glob("block-*.json"))]


def machine_folders(results: Path) -> list[str]:
    """The names of the folders of machines below raw/DAY/. Raises InputError where there is no folder raw/."""
    raw = raw_folder(results)
    if not raw.is_dir():
        raise InputError(f"{results}: holds no results (no folder raw/); make some with `bench run`")
    return sorted({path.name for path in raw.glob("*/*") if path.is_dir()})


def files(results: Path, pattern: str, machines: Sequence[str] | None = None) -> list[Path]:
    """Files in the folders of runs, in order; of the named machines' folders alone, where some are named."""
    places = ["*"] if machines is None else [glob.escape(machine) for machine in machines]
    found = (path for place in places for path in raw_folder(results).glob(f"*/{place}/*/{pattern}"))
    return sorted(found, key=str)  # as paths they take five times as long to compare


def all_files(results: Path, machines: Iterable[str]) -> Iterator[str]:
    """Every file in the runs of these machines, run by run, in order of their names within it."""
    for machine in machines:
        for run in sorted(raw_folder(results).glob(f"*/{glob.escape(machine)}/*")):
            with contextlib.suppress(OSError), os.scandir(run) as inside:  # no folder, or closed to us
                yield from sorted(entry.path for entry in inside)


def count(results: Path, machine: str) -> int:
    """How many records of MEASURED lie in a machine's folders; of 100,000 in half the time that `files` takes."""
    names = [os.path.split(path)[1] for path in all_files(results, [machine])]
    return sum(len(fnmatch.filter(names, pattern)) for pattern in MEASURED)


def no_record(results: Path) -> InputError:
    """What is said where there is nothing to make a table of."""
    return InputError(f"{raw_folder(results)}: holds no record; make some with `bench run`")


def each_trial(results: Path) -> Iterator[tuple[Path, Trial]]:
    """File and trial of every record, one by one. Raises InputError as `read_trials` does, once it comes to it."""
    machine_folders(results)
    proofs: dict[Path, Proof] = {}
    path = None
    for path in files(results, TRIALS):
        trial = read_value(Trial, path)
        check_proof(path, trial.certificate, proofs)
        yield path, trial
    if path is None:
        raise no_record(results)


def read_trials(results: Path) -> list[tuple[Path, Trial]]:
    """File and trial of every record of a results folder. Raises InputError on a broken record, or where none is."""
    machine_folders(results)
    found = [(path, read_value(Trial, path)) for path in files(results, TRIALS)]
    if not found:
        raise no_record(results)
    check_proofs(found)
    return found


def read_certificates_of(folder: Path) -> list[Certificate]:
    """Every certificate in the folder of a run. Raises InputError on a broken one."""
    return [read_value(Certificate, path) for path in sorted(folder.glob(CERTIFICATES))]


def newest_certificates(results: Path) -> list[tuple[Path, Certificate]]:
    """File and certificate of every case, machine by machine: the newest of each. Raises InputError on a broken one."""
    found = newest_of((path, read_value(Certificate, path)) for path in files(results, CERTIFICATES))
    return [(one.path, one.certificate) for one in found]


@dataclass(frozen=True, kw_only=True)
class Newest:
    """The newest certificate of a case and machine. first: when and where the first of them was made."""

    path: Path
    certificate: Certificate
    first: tuple[str, str]


def newest_of(certificates: Iterable[tuple[Path, Certificate]]) -> list[Newest]:
    """The newest certificate of each case and machine, in the order in which the first of each was made."""
    newest: dict[tuple[Case, str], Newest] = {}
    for path, certificate in sorted(certificates, key=lambda one: (one[1].started_utc, str(one[0]))):
        key = certificate.case, certificate.machine.fingerprint
        first = newest[key].first if key in newest else (certificate.started_utc, str(path))
        newest[key] = Newest(path=path, certificate=certificate, first=first)
    return list(newest.values())


def check_proofs(trials: Iterable[tuple[Path, Trial]], known: Mapping[Path, Proof] | None = None) -> None:
    """Raise InputError where a trial's certificate is not beside it, or is another than the trial was run under.

    known: of files that were read already.
    """
    proofs = dict(known or {})
    for path, trial in trials:
        check_proof(path, trial.certificate, proofs)


def check_proof(path: Path, proof: Proof | None, proofs: dict[Path, Proof]) -> None:
    """Raise InputError where the certificate that a record names is not beside it, or is another. proofs: known ones.

    A record without one names none.
    """
    if proof is None:
        return
    file = path.parent / proof.file
    if file not in proofs:
        proofs[file] = proof_of(file)
    if proofs[file] != proof:
        raise InputError(f"{path}: certificate: {file.name} is not the one it was run under; restore that file")


def check_space(folder: Path, needed_bytes: int = 1 << 20) -> None:
    """Raise NoSpace where the disk could not take another record: before a trial is run for nothing."""
    status = os.statvfs(folder)
    if status.f_bavail * status.f_frsize < needed_bytes:
        raise NoSpace(f"{folder}: under 1 MiB left on the disk; free some, then go on with --resume")
