"""Plan -> trials: block by block, each trial in a fresh process of its own, each record kept at once.

Imports no framework and holds no clock of a measurement: workers measure, the runner starts them, waits and records.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal

from pydantic import ValidationError

from bench import store
from bench.certificate import LIMITS
from bench.contract import Device, Entry, Precision, Refusal, share_of
from bench.disturbance import disturbances
from bench.errors import InputError
from bench.interpreters import environment_of
from bench.launch import how_it_ended, where_ranks_are
from bench.parent import end_all_with, pidfd
from bench.plan import block_order, cases, entry_of, interpreter_of, task_of
from bench.precision import enough, looks
from bench.probes import gpu as cards
from bench.probes.available import availability
from bench.record import (
    FAILURES,
    Case,
    Certificate,
    Conditions,
    Gpu,
    Machine,
    Measurements,
    Placement,
    Plan,
    Proof,
    Source,
    Status,
    Trial,
    WorkerReply,
    WorkerRequest,
)
from bench.task import Task

# Every variable that a BLAS or a framework of ours takes its number of threads from.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_STDERR_KEPT = 4000
MOST_SHARING = 4  # processes a core: more say nothing about training, and fill the memory


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A worker that ended, as the runner saw it. returncode: None where its time ran out.

    ranks: of a trial of several processes whose time ran out, where each rank was.
    """

    pid: int
    returncode: int | None
    stdout: str
    stderr: str
    seconds: float
    ranks: tuple[str, ...] = ()


def worker_cores(threads: int, processes: int = 1) -> list[int]:
    """The cores of a worker: the last ones this process may use, so that the first is left to the runner.

    Processes get cores of their own where there are so many, else they share all of them. Raises InputError where
    there are fewer cores than threads of one process, or more than MOST_SHARING processes for each core.
    """
    cores = sorted(os.sched_getaffinity(0))
    if threads > len(cores):
        raise InputError(f"--threads {threads}: this machine gives {len(cores)} cores; take at most {len(cores)}")
    if processes > MOST_SHARING * len(cores):
        raise InputError(
            f"--processes {processes}: this machine gives {len(cores)} cores; take at most {len(cores)}, "
            f"or {MOST_SHARING * len(cores)} that share them"
        )
    return cores[-min(len(cores), threads * processes) :]


def cores_shared(threads: int, processes: int) -> bool:
    """Whether processes have to share cores here."""
    return len(worker_cores(threads, processes)) < threads * processes


@contextlib.contextmanager
def affinity(cores: list[int]) -> Iterator[None]:
    """Let children of this thread inherit an affinity: it holds before their first instruction."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def worker_environment(threads: int, *, python: str = sys.executable, gpu: str | None = None) -> dict[str, str]:
    """The environment of a worker: ours, with the number of threads, a fixed order of hashes, and the cards it sees.

    gpu: the UUID of the card, or several with commas between, one a process; None hides all of them, for what finds a
    card may take memory of it.
    """
    changes = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    return {**environment_of(python), **changes, "PYTHONHASHSEED": "0", "CUDA_VISIBLE_DEVICES": gpu or ""}


def end(process: subprocess.Popen[str]) -> None:
    """Kill the worker's whole session, and wait for it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(file: IO[str], kept: int | None = None) -> str:
    file.seek(0)
    text = file.read()
    return text if kept is None else text[-kept:]


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """An empty folder for what workers leave in TMPDIR. What cannot be removed at its end stays, without a word."""
    return tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)


def run_worker(
    request: WorkerRequest,
    *,
    cores: list[int],
    time_limit_seconds: float,
    environment: Mapping[str, str],
    command: tuple[str, ...] = (sys.executable, "-m", "bench.worker"),
) -> Finished:
    """Start a worker in a session of its own, pinned to its cores, and wait for its end or its limit.

    Output goes to files, not pipes: a worker that prints without end or leaves a child behind cannot block us. On any
    exception here (Ctrl-C among them) the worker is dead before it goes on.
    """
    with (
        tempfile.TemporaryFile("w+", errors="replace") as out,
        tempfile.TemporaryFile("w+", errors="replace") as err,
        # Empty for each worker: a compiler's cache there would make the first step of all but one a warm one.
        scratch_folder() as scratch,
    ):
        with affinity(cores):
            started = time.monotonic()
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                text=True,
                env={**environment, "TMPDIR": scratch},
                start_new_session=True,
            )
        try:
            with contextlib.suppress(BrokenPipeError):
                assert process.stdin is not None
                with process.stdin as stdin:
                    stdin.write(request.model_dump_json())
            ended = _wait(process.pid, time_limit_seconds)
            seconds = time.monotonic() - started
            ranks = () if ended else tuple(where_ranks_are(Path(scratch)))
        finally:
            # Also after a good end: a child that the worker left behind goes with it, whatever its session.
            end(process)
            end_all_with("TMPDIR", scratch)
        return Finished(
            pid=process.pid,
            returncode=process.returncode if ended else None,
            stdout=_tail(out),
            stderr=_tail(err, _STDERR_KEPT),
            seconds=seconds,
            ranks=ranks,
        )


def _wait(pid: int, seconds: float) -> bool:
    """Wait for the end of a child without polling (polling would cost time on every trial). False: time ran out."""
    with pidfd(pid) as handle:
        ready, _, _ = select.select([handle], [], [], seconds)
    return bool(ready)


def judge(finished: Finished, time_limit_seconds: float) -> tuple[Status, str | None, WorkerReply | None]:
    """What a worker's end means: status, reason, and its reply where that is whole."""
    last = next((line.strip() for line in reversed(finished.stderr.splitlines()) if line.strip()), "no message")
    if finished.returncode is None:
        where = "".join(f"; {rank}" for rank in finished.ranks)
        return "timed-out", f"was still running after its limit of {time_limit_seconds:g} s{where}"[:500], None
    if finished.returncode != 0:
        if "bad_alloc" in finished.stderr or "MemoryError" in finished.stderr:
            return "out-of-memory", f"died for lack of memory: {last}"[:500], None
        return "crashed", f"{how_it_ended(finished.returncode)}; last message: {last}"[:500], None
    try:
        reply = WorkerReply.model_validate_json(finished.stdout)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "whole"
        return "broken-output", f"printed no valid record ({place}: {first['msg']}): {finished.stdout[:100]!r}", None
    if reply.status == "ok" and not (reply.measurements or reply.parts or reply.kills or reply.readings):
        return "broken-output", f"said ok without a result: {finished.stdout[:100]!r}", None
    return reply.status, reply.reason, reply


def load_average() -> float | None:
    """The 1-minute load average, or None where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a worker may take."""

    time_limit_seconds: float
    memory_limit_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Where:
    """On what, and with which code, a record is made.

    python: the interpreter of the worker. packages: what it has installed, None for the runner's own. gpu: the UUID of
    the card that a worker on CUDA sees, of several processes that of rank 0's. command: what starts a worker, in place
    of the interpreter's bench.worker.
    """

    machine: Machine
    source: Source
    python: str = sys.executable
    packages: Mapping[str, str] | None = None
    gpu: str | None = None
    command: tuple[str, ...] | None = None

    def of(self, plan: Plan, case: Case) -> "Where":
        """The same with the interpreter and the card that the plan has for a case."""
        given = interpreter_of(plan, case)
        gpu = plan.gpu if case.device == "cuda" else None
        if given is None:
            return replace(self, gpu=gpu)
        return replace(self, python=given.python, packages=given.packages, gpu=gpu)


def ask_worker(
    what: Literal["trial", "certificate", "mutations", "study"],
    *,
    entry: Entry,
    module: str,
    task: Task,
    seed: int,
    device: Device,
    threads: int,
    bounds: Bounds,
    where: Where,
    processes: int = 1,
    precision: Precision = "ieee",
    sensors: bool = True,
    study: str | None = None,
) -> tuple[Status, str | None, WorkerReply | None, Finished]:
    """Let a fresh worker do one thing; what came of it, whatever it did."""
    request = WorkerRequest(
        what=what,
        study=study,
        task=task,
        training_seed=seed,
        entry=entry.name,
        entry_module=module,
        device=device,
        threads=threads,
        processes=processes,
        cores_shared=cores_shared(threads, processes),
        precision=precision,
        sensors=sensors,
        memory_limit_bytes=bounds.memory_limit_bytes,
        parent_pid=os.getpid(),
    )
    finished = run_worker(
        request,
        cores=worker_cores(threads, processes),
        time_limit_seconds=bounds.time_limit_seconds,
        environment=worker_environment(threads, python=where.python, gpu=_cards(where.gpu, processes)),
        command=where.command or (where.python, "-m", *_worker(entry, processes)),
    )
    return *judge(finished, bounds.time_limit_seconds), finished


def _worker(entry: Entry, processes: int) -> tuple[str, ...]:
    """The module that is the worker, and its arguments: several processes are started by the entry's launcher."""
    if processes == 1 or entry.launcher in (None, "one-process"):
        return ("bench.worker",)
    return "bench.launch", str(entry.launcher)


def _cards(first: str | None, processes: int) -> str | None:
    """The cards of a trial, one a process, the given one first; as many as there are, where these are fewer."""
    if first is None or processes == 1:
        return first
    return ",".join([first, *cards.others(first)[: processes - 1]])


def why_not(entry: Entry, case: Case, packages: Mapping[str, str] | None = None) -> str | None:
    """Why a case cannot run here, before any worker is started; None where nothing is known against it."""
    if case.processes > 1 and entry.launcher is None:
        return f"{entry.name} trains in one process"
    try:
        share_of(case.batch_size, case.processes)
    except Refusal as refusal:
        return str(refusal)
    return availability(entry, case.device, packages)


def make_certificate(case: Case, task: Task, *, entry: Entry, bounds: Bounds, where: Where) -> Certificate:
    """The certificate of a case, by a worker of its own. Whatever the worker does, a Certificate comes back."""
    started_utc = datetime.now(UTC).isoformat(timespec="seconds")
    status: Status
    reason, reply, seconds = why_not(entry, case, where.packages), None, 0.0
    if reason is not None:
        status = "refused"
    else:
        status, reason, reply, finished = ask_worker(
            "certificate",
            entry=entry,
            module=entry.module,
            task=task,
            seed=task.seed,
            device=case.device,
            threads=case.threads,
            processes=case.processes,
            bounds=bounds,
            where=where,
            precision=case.precision,
        )
        seconds = finished.seconds
        if status == "ok" and (reply is None or not reply.parts):  # another thing than was asked for
            status, reason, reply = "broken-output", "said ok without a certificate", None
    return Certificate(
        status=status,
        reason=reason,
        case=case,
        task=task,
        training_seed=task.seed,
        implementation_sha256=reply.implementation_sha256 if reply else None,
        versions=reply.versions if reply else None,
        parts=reply.parts if reply else [],
        host_reads=reply.host_reads if reply else None,
        limits=LIMITS,
        machine=where.machine,
        source=where.source,
        started_utc=started_utc,
        worker_seconds=seconds,
    )


def placement_of(plan: Plan, block: int, position: int) -> Placement:
    """Where in its plan a trial stands."""
    return Placement(
        run=plan.run,
        profile=plan.profile,
        plan_seed=plan.seed,
        block=block,
        position=position,
        target=plan.target,
    )


def conditions_of(plan: Plan, case: Case, where: Where) -> Conditions:
    """Under what a trial that begins now is run."""
    environment = worker_environment(case.threads, python=where.python, gpu=where.gpu)
    return Conditions(
        cores=worker_cores(case.threads, case.processes),
        cores_shared=cores_shared(case.threads, case.processes),
        load_before=load_average(),
        memory_limit_bytes=plan.memory_limit_bytes,
        time_limit_seconds=plan.time_limit_seconds,
        environment={name: environment[name] for name in _THREAD_VARIABLES},
        sensors=plan.sensors,
    )


def run_trial(plan: Plan, case: Case, *, block: int, position: int, proof: Proof, where: Where) -> Trial:
    """Run one trial and say what came of it. Whatever the worker does, a Trial comes back.

    Without a certificate there is no row, so where `proof` is none, no worker is started: the trial says why.
    """
    task: Task = task_of(plan, case)
    bounds = Bounds(time_limit_seconds=plan.time_limit_seconds, memory_limit_bytes=plan.memory_limit_bytes)
    started_utc = datetime.now(UTC).isoformat(timespec="seconds")
    where = where.of(plan, case)
    conditions = conditions_of(plan, case, where)
    status, reason, reply, stderr, seconds = proof.status, proof.reason, None, "", 0.0
    card: Gpu | None = None
    if status == "ok":
        entry = entry_of(plan, case)
        with _watched(where.gpu if plan.sensors else None) as sampler:
            status, reason, reply, finished = ask_worker(
                "trial",
                entry=entry,
                module=entry.module,
                task=task,
                seed=task.seed + block,
                device=case.device,
                threads=case.threads,
                processes=case.processes,
                bounds=bounds,
                where=where,
                precision=case.precision,
                sensors=plan.sensors,
            )
        stderr, seconds = finished.stderr, finished.seconds
        if status == "ok" and (reply is None or reply.measurements is None or reply.check is None):
            status, reason, reply = "broken-output", "said ok without measurements or check", None
        elif status == "ok" and reply is not None and reply.implementation_sha256 != proof.implementation_sha256:
            status, reason = "refused", "the entry's source is not the one that was certified; run anew"
        if sampler is not None and reply is not None and reply.windows:
            card = sampler.series(reply.windows, {finished.pid, *reply.pids})
    measured = reply.measurements if reply else None
    return Trial(
        placement=placement_of(plan, block, position),
        case=case,
        task=task,
        training_seed=task.seed + block,
        status=status,
        reason=reason,
        started_utc=started_utc,
        worker_seconds=seconds,
        measurements=measured,
        check=reply.check if reply else None,
        certificate=proof,
        versions=reply.versions if reply else None,
        implementation_sha256=reply.implementation_sha256 if reply else None,
        machine=where.machine,
        source=where.source,
        conditions=conditions,
        gpu=card,
        disturbances=_disturbances(measured, _watched_cores(entry_of(plan, case), case, len(conditions.cores)), card),
        stderr_tail=stderr if stderr and status in FAILURES else None,
    )


def _watched_cores(entry: Entry, case: Case, cores: int) -> int:
    """How many cores the counters of a trial are of: those of rank 0, or of all devices where one process has them."""
    count = case.threads * case.processes if entry.launcher == "one-process" else case.threads
    return min(count, cores)


def _disturbances(measured: Measurements | None, cores: int, card: Gpu | None) -> list[str]:
    return [] if measured is None else disturbances(measured, cores=cores, gpu=card, throttled=cards.throttled)


def _watched(card: str | None) -> contextlib.AbstractContextManager["cards.Sampler | None"]:
    """What samples the card while a worker runs; nothing where there is none to watch."""
    return contextlib.nullcontext() if card is None else cards.Sampler(card)


def disproved(trial: Trial) -> bool:
    """Whether the entry did other work than the task's, or read where it must not: worse than a refusal."""
    by_check = trial.check is not None and trial.check.verdict == "refused"
    proof = trial.certificate
    return by_check or (
        proof is not None and proof.status == "refused" and proof.float64_parameter_deviation is not None
    )


def remaining(plan: Plan, folder: Path, blocks: Sequence[int] | None = None) -> list[tuple[int, int, Case]]:
    """(block, position, case) of every trial of the plan that has no record yet, in order; none once it may stop.

    blocks: of these alone, whether or not it may stop.
    """
    if blocks is None and plan.target is not None and stopped(plan, folder) is not None:
        return []
    return [
        (block, position, case)
        for block in (range(plan.blocks) if blocks is None else blocks)
        for position, case in enumerate(block_order(plan, block))
        if not store.has_trial(folder, case, block)
    ]


def stopped(plan: Plan, folder: Path) -> int | None:
    """The number of blocks after which a run with a target width may stop; None where it is not there yet."""
    if plan.target is None:
        return None
    trials = [trial for _, trial in store.read_run(folder) if trial.status != "lost"]
    held = Counter(trial.placement.block for trial in trials)
    size = len(cases(plan))
    complete = next(block for block in range(plan.blocks + 1) if held[block] < size)
    return enough(trials, target=plan.target, cap=plan.blocks, complete=complete, against=plan.against)


def proof_for(plan: Plan, case: Case, folder: Path, where: Where) -> Proof:
    """The proof of a case: of the certificate that the run holds already, or of one that is made and kept now."""
    path = folder / store.certificate_file(case)
    if path.exists():
        return store.proof_of(path)
    bounds = Bounds(time_limit_seconds=plan.time_limit_seconds, memory_limit_bytes=plan.memory_limit_bytes)
    certificate = make_certificate(
        case, task_of(plan, case), entry=entry_of(plan, case), bounds=bounds, where=where.of(plan, case)
    )
    try:
        return store.write_certificate(folder, certificate)
    except store.NameTaken:  # by another node of this kind, meanwhile: one proof for all
        return store.proof_of(path)


def run_plan(
    plan: Plan,
    folder: Path,
    where: Where,
    *,
    blocks: Sequence[int] | None = None,
    before: Callable[[int, Case], None] = lambda _block, _case: None,
    after: Callable[[Trial], None] = lambda _trial: None,
) -> None:
    """Run what is missing of a plan, or of these blocks of it, and keep each record as soon as its trial ends.

    A case is certified once, right before its first trial. Raises KeyboardInterrupt on Ctrl-C, with the worker ended
    and every finished trial kept, and store.NoSpace before or after a trial for which the disk has no room.
    """
    for block, position, case in remaining(plan, folder, blocks):
        if blocks is None and position == 0 and block in looks(plan.blocks) and stopped(plan, folder) is not None:
            return
        store.check_space(folder)
        before(block, case)
        proof = proof_for(plan, case, folder, where)
        trial = run_trial(plan, case, block=block, position=position, proof=proof, where=where)
        store.write_trial(folder, trial)
        after(trial)
