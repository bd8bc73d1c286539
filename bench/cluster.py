"""Plan -> trials on the nodes of a cluster: a job a block, through submitit; records come back by the shared folder.

The submitting side: it submits, waits, and says what was lost. What a job does on its node is bench/node.py.
"""

import contextlib
import io
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from bench import runner, slurm, store
from bench.errors import InputError
from bench.node import Order, jobs_folder, note_name, results_of, run_block
from bench.plan import cases
from bench.precision import enough, looks
from bench.record import Case, Plan, Trial, Value, compact_json, read_value

FILE = "cluster.json"  # beside plan.json, in the folder of the machine that submitted

_POLL_SECONDS = 1.0
_LEAST_ASK_SECONDS, _MOST_ASK_SECONDS = 2.0, 30.0  # between two questions to Slurm: soon at first, then ever less often
_MOST_ELEMENTS = 1000  # of one array: Slurm's MaxArraySize is 1001 where nobody set it
_START_SECONDS = 120.0  # of a job, beside its trials: Python on a cold file system, the doctor
_CANCEL_SECONDS = 60.0  # Slurm's KillWait is 30 s where nobody set it
_LAG_SECONDS = 60.0  # a shared file system may show a file so late (NFS: acdirmax)


class Slurm(Value):
    """What sbatch is told of each block's job; the keys of the file of --executor-config.

    exclusive: no other job on the node. job_minutes: in place of what the trials' own limits add up to. at_once: the
    most blocks that run at a time. setup: lines of shell before Python starts.
    """

    partition: str | None = None
    constraint: str | None = None
    exclusive: bool = True
    gres: str | None = None
    account: str | None = None
    qos: str | None = None
    memory: str | None = None
    job_minutes: Annotated[int, Field(ge=1)] | None = None
    at_once: Annotated[int, Field(ge=1)] | None = None
    setup: tuple[str, ...] = ()


class Executor(Value):
    """Who starts the jobs of a run. local: submitit's own, one after the other on this machine."""

    name: Literal["slurm", "local"]
    slurm: Slurm = Slurm()


class Submitted(Value):
    """Jobs by the blocks that they run, written as soon as they are known: who resumes finds those that still run."""

    executor: Executor
    jobs: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A job of this run. handle: submitit's; None of a local one that ended with an earlier bench that started it."""

    id: str
    block: int
    handle: Any | None

    def left_result(self) -> bool:
        """Whether its function came to an end, good or bad."""
        return self.handle is not None and self.handle.paths.result_pickle.exists()


def folders(head: Path) -> list[Path]:
    """The folders of a run, one for each kind of machine that ran a part of it."""
    return sorted(path.parent for path in head.parents[1].glob(f"*/{head.name}/{store.PLAN_FILE}"))


def executor_of(folder: Path) -> Executor | None:
    """Who started the jobs of this run; None where it was run without any."""
    path = folder / FILE
    return read_value(Executor, path) if path.exists() else None


def is_part(folder: Path) -> bool:
    """Whether a run's folder is a node's part of a run that was submitted from another machine."""
    return not (folder / FILE).exists() and any((other / FILE).exists() for other in folders(folder))


def machine_of_nodes(records: Iterable[tuple[Path, Trial]]) -> str | None:
    """The fingerprint of the machine of the newest record that a job on Slurm made; None where none did."""
    by_run: dict[Path, bool] = {}
    found: tuple[str, str] | None = None
    for path, trial in records:
        folder = path.parent
        if folder not in by_run:
            starters = map(executor_of, folders(folder))
            by_run[folder] = any(starter is not None and starter.name == "slurm" for starter in starters)
        if by_run[folder]:
            found = max(found or ("", ""), (trial.started_utc, trial.machine.fingerprint))
    return found[1] if found else None


def keep(head: Path, executor: Executor) -> None:
    """Say beside the plan who starts its jobs."""
    store.write_once(head / FILE, compact_json(executor.model_dump(mode="json")))


def discard(head: Path) -> None:
    """Take away the folders of a run none of whose jobs could be submitted: it never began."""
    for name in (FILE, store.PLAN_FILE):
        (head / name).unlink(missing_ok=True)
    shutil.rmtree(jobs_folder(head), ignore_errors=True)
    for folder in (head, jobs_folder(head).parent):
        with contextlib.suppress(OSError):  # not empty: it was there before
            os.removedirs(folder)


def trials_of(head: Path) -> list[Trial]:
    """Every record of a run, machine by machine."""
    return [trial for folder in folders(head) for _, trial in store.read_run(folder)]


def missing(plan: Plan, head: Path) -> dict[int, int]:
    """Block -> trials that it lacks, for every block that no machine holds whole: only a whole one is paired."""
    held = []
    for folder in folders(head):
        _refresh(folder)
        held.append({path.name for path in folder.iterdir()})
    names = [store.trial_file(case, 0).removeprefix("block-000") for case in cases(plan)]
    found = {}
    for block in range(plan.blocks):
        lacking = min((sum(f"block-{block:03d}{n}" not in there for n in names) for there in held), default=len(names))
        if lacking:
            found[block] = lacking
    return found


def remaining(plan: Plan, head: Path) -> list[tuple[int, int, Case]]:
    """(block, position, case) of what is missing, as of the machine that has the most of a block."""
    best = {}
    for block in todo(plan, head):
        best[block] = min((runner.remaining(plan, folder, [block]) for folder in folders(head)), key=len)
    return [one for block in sorted(best) for one in best[block]]


def todo(plan: Plan, head: Path) -> dict[int, int]:
    """The same, or nothing where a run with a target width may stop."""
    lacking = missing(plan, head)
    return {} if plan.target is not None and _limit(plan, head, lacking) == 0 else lacking


def _limit(plan: Plan, head: Path, lacking: dict[int, int]) -> int:
    """Blocks that may be run without another look at the widths; 0 where the run may stop."""
    complete = min(lacking, default=plan.blocks)
    if plan.target is None:
        return plan.blocks
    trials = [trial for trial in trials_of(head) if trial.status != "lost"]
    if enough(trials, target=plan.target, cap=plan.blocks, complete=complete, against=plan.against) is not None:
        return 0
    return next(look for look in looks(plan.blocks) if look > complete)


def _refresh(folder: Path) -> None:
    """Let a network file system look anew what a folder holds."""
    with contextlib.suppress(OSError):
        folder.chmod(folder.stat().st_mode)


def check_available(executor: Executor) -> None:
    """Raise InputError where jobs cannot be submitted from here."""
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise InputError(
            f"--executor {executor.name}: submitit is not installed; pip install 'evenhand[cluster]'"
        ) from None
    if executor.name == "slurm":
        absent = [command for command in ("sbatch", "squeue", "srun", "scancel") if shutil.which(command) is None]
        if absent:
            raise InputError(
                f"--executor slurm: {', '.join(absent)}: not on PATH; submit from a machine that has Slurm's commands"
            )


def run(
    plan: Plan,
    head: Path,
    executor: Executor,
    *,
    after: Callable[[Trial], None] = lambda _trial: None,
    say: Callable[[str], None] = lambda _line: None,
) -> None:
    """Let jobs run what is missing of a plan; returns when none of them is left. Each block is submitted once.

    Jobs of the same run that an earlier bench submitted and that still run are waited for, not submitted again. A trial
    whose job ended under it gets a record of that. Raises InputError where nothing can be submitted; KeyboardInterrupt
    on Ctrl-C, with the jobs cancelled and what they were at left missing, as when no cluster is between.
    """
    team = _Team(plan, head, executor, after, say)
    try:
        team.adopt()
        tried = {job.block for job in team.live.values()}
        while True:
            lacking = missing(plan, head)
            limit = _limit(plan, head, lacking)
            queue = [block for block in lacking if block < limit and block not in tried]
            if not queue and not team.live:
                return
            tried |= set(queue)
            team.do(queue)
    except KeyboardInterrupt:
        team.cancel()
        raise


class _Team:
    """The jobs of a run, as the submitting side sees them. live: those that have not ended, by their id."""

    def __init__(
        self, plan: Plan, head: Path, executor: Executor, after: Callable[[Trial], None], say: Callable[[str], None]
    ) -> None:
        self.live: dict[str, _Job] = {}
        self._plan, self._head, self._executor, self._after, self._say = plan, head, executor, after, say
        self._folder = jobs_folder(head)
        self._notes = self._folder / "begun"
        self._notes.mkdir(parents=True, exist_ok=True)
        self._reported = {str(path) for path in self._records()}
        self._began = time.monotonic()
        self._asked = -math.inf
        self._lagging: dict[str, float] = {}  # jobs that ended well without a result, and when that was first seen

    # -- submitting

    def adopt(self) -> None:
        """Take up the jobs of earlier submissions: those that ended meanwhile are settled, the others waited for."""
        import submitit

        done = {path.stem for path in self._folder.glob("settled/*")}
        for path in sorted(self._folder.glob("submitted-*.json")):
            earlier = read_value(Submitted, path)
            for job, block in earlier.jobs.items():
                if job in done:
                    continue
                on_cluster = earlier.executor.name == "slurm"
                handle: Any = submitit.SlurmJob(self._folder, job) if on_cluster else None
                self.live[job] = _Job(id=job, block=block, handle=handle)
        for ended, state in self._ended(ask=True):
            self._settle(ended, state)
        if self.live:
            self._say(f"{len(self.live)} jobs of an earlier submission still run or wait; they are waited for")

    def do(self, queue: Sequence[int]) -> None:
        """Submit these blocks and wait until no job is left."""
        # Blocks of one machine must not run side by side. Slurm keeps a queue of its own.
        room = 1 if self._executor.name == "local" else _MOST_ELEMENTS
        while queue or self.live:
            if queue and (self._executor.name == "slurm" or not self.live):
                self._submit(queue[:room])
                queue = queue[room:]
                continue
            time.sleep(_POLL_SECONDS)
            self._report()
            for job, state in self._ended():
                self._settle(job, state)

    def _submit(self, blocks: Sequence[int]) -> None:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        local = self._executor.name == "local"
        orders = [
            Order(
                plan=self._plan,
                results=str(results_of(self._head).resolve()),
                block=block,
                submitter_pid=os.getpid() if local else None,
                exclusive=local or self._executor.slurm.exclusive,
            ).model_dump_json()
            for block in blocks
        ]
        maker = submitit.LocalExecutor if local else submitit.SlurmExecutor
        executor: Any = maker(folder=self._folder, max_num_timeout=0)
        executor.update_parameters(**_parameters(self._plan, self._executor))
        with _unheard():
            try:
                # What sbatch says to its standard error is printed by submitit; it is in the error as well.
                with contextlib.redirect_stderr(io.StringIO()):
                    handles = executor.map_array(run_block, orders)
            except (FailedJobError, FailedSubmissionError, OSError) as error:
                raise InputError(f"--executor {self._executor.name}: no job could be submitted: {error}") from None
            jobs = {
                handle.job_id: _Job(id=handle.job_id, block=block, handle=handle)
                for handle, block in zip(handles, blocks, strict=True)
            }
            self.live |= jobs
            first = next(iter(jobs))
            written = Submitted(executor=self._executor, jobs={job.id: job.block for job in jobs.values()})
            store.write_once(
                self._folder / f"submitted-{datetime.now(UTC):%Y%m%dT%H%M%S}-{first}.json",
                compact_json(written.model_dump(mode="json")),
            )
        if not local:
            self._say(f"submitted: {len(jobs)} blocks as job {first.partition('_')[0]}")

    # -- waiting

    def _ended(self, *, ask: bool = False) -> list[tuple[_Job, slurm.State]]:
        """The jobs that have ended since, with how. ask: Slurm, whether or not it is time to."""
        found = []
        on_cluster: list[_Job] = []
        for job in self.live.values():
            if job.left_result():
                found.append((job, slurm.State(name="COMPLETED")))
            elif job.handle is None:
                found.append((job, slurm.State(name="ended", why="with the bench that had started it")))
            elif self._executor.name == "slurm":
                on_cluster.append(job)
            elif job.handle.done():
                found.append((job, slurm.State(name="ended", why="without a result")))
        waited = time.monotonic() - self._began
        interval = min(_MOST_ASK_SECONDS, max(_LEAST_ASK_SECONDS, waited / 20))
        if on_cluster and (ask or time.monotonic() - self._asked >= interval):
            states = slurm.states(job.id for job in on_cluster)
            self._asked = time.monotonic()
            for job in on_cluster if states is not None else ():
                assert states is not None
                if states[job.id].ended and not self._may_lag(job, states[job.id]):
                    found.append((job, states[job.id]))
        return found

    def _may_lag(self, job: _Job, state: slurm.State) -> bool:
        """Whether the result of a job that ended well may only not be seen here yet."""
        _refresh(self._folder)
        if state.name != "COMPLETED" or job.left_result():
            return False
        first = self._lagging.setdefault(job.id, time.monotonic())
        return time.monotonic() - first < _LAG_SECONDS

    def _records(self) -> list[Path]:
        return [path for folder in folders(self._head) for path in folder.glob("block-*.json")]

    def _report(self) -> None:
        """Hand on the records that have come since."""
        for path in sorted(self._records()):
            if str(path) not in self._reported:
                self._reported.add(str(path))
                self._after(read_value(Trial, path))

    def _settle(self, job: _Job, state: slurm.State) -> None:
        """Say what became of a job; where it was ended under a trial, keep a record of that."""
        self._report()
        trouble = _trouble_of(job)
        if trouble is not None:
            self._say(f"block {job.block}, job {job.id}: {trouble}")
        _refresh(self._notes)
        note = self._notes / note_name(job.block, job.id)
        if note.exists():
            self._keep_lost(read_value(Trial, note), job, str(state) if trouble is None else trouble)
            note.unlink()
        elif trouble is None and job.block in missing(self._plan, self._head):
            self._say(f"block {job.block}, job {job.id}: {state} before its trials were done")
        self._close(job)

    def _close(self, job: _Job) -> None:
        """Who resumes need not look at it again."""
        (self._folder / "settled").mkdir(exist_ok=True)
        (self._folder / "settled" / job.id).touch()
        self.live.pop(job.id, None)

    def _keep_lost(self, draft: Trial, job: _Job, how: str) -> None:
        results = results_of(self._head)
        folder = store.run_folder(results, self._plan.created_utc, draft.machine.name, self._plan.run)
        _refresh(folder)
        if store.has_trial(folder, draft.case, draft.placement.block):
            return  # it was done, and its job ended before it could say so
        began = datetime.fromisoformat(draft.started_utc)
        by = "Slurm's job" if self._executor.name == "slurm" else "job"
        memory = how.startswith("OUT_OF_MEMORY")
        trial = draft.model_copy(
            update={
                "status": "out-of-memory" if memory else "lost",
                "reason": f"{by} {job.id} was at this trial when it ended: {how}",
                "worker_seconds": max(0.0, (datetime.now(UTC) - began).total_seconds()),
            }
        )
        # Memory that ran out says something of the case, as it does where no cluster is between: it stands.
        path = store.write_trial(folder, trial) if memory else store.write_lost(folder, trial, job.id)
        self._reported.add(str(path))
        self._after(trial)

    # -- ending

    def cancel(self) -> None:
        """End every job and forget what they were at, as Ctrl-C does where no cluster is between."""
        if not self.live:
            return
        self._say(f"cancelling {len(self.live)} jobs; once more Ctrl-C to leave them to themselves")
        arrays = {job.partition("_")[0] for job in self.live}
        if self._executor.name == "slurm":
            subprocess.run(["scancel", *sorted(arrays, key=int)], check=False)
        else:
            for job in arrays:
                with contextlib.suppress(OSError):
                    os.kill(int(job), signal.SIGTERM)  # submitit's own way is SIGINT, which a local job does not hear
        deadline = time.monotonic() + _CANCEL_SECONDS
        while self.live and time.monotonic() < deadline:
            for ended, _ in self._ended(ask=True):
                (self._notes / note_name(ended.block, ended.id)).unlink(missing_ok=True)
                self._close(ended)
            if self.live:
                time.sleep(_POLL_SECONDS)
        self._report()


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Let Ctrl-C wait until jobs are submitted and known; a local job never hears it: it is ended in good order."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _parameters(plan: Plan, executor: Executor) -> dict[str, Any]:
    """What submitit is told of a job."""
    given = executor.slurm
    minutes = given.job_minutes or minutes_of(plan)
    if executor.name == "local":
        return {"timeout_min": minutes}
    told: dict[str, Any] = {
        "job_name": f"evenhand-{plan.run}",
        "time": minutes,
        "cpus_per_task": max(plan.threads) * max(plan.processes),
        # Else Slurm starts a lost block anew by itself, and nobody learns of it.
        "additional_parameters": {"no-requeue": True},
        # All cores of the job, of which the runner chooses: Slurm would bind a step to some of them.
        "srun_args": ["--cpu-bind=none"],
        "setup": list(given.setup) or None,
        "mem": given.memory,
        "array_parallelism": given.at_once or _MOST_ELEMENTS,
    }
    if given.exclusive:
        told["exclusive"] = True
    told |= {name: getattr(given, name) for name in ("partition", "constraint", "gres", "account", "qos")}
    return {name: value for name, value in told.items() if value is not None}


def minutes_of(plan: Plan) -> int:
    """The longest that a block can take, by the limits of its trials and certificates."""
    return math.ceil((_START_SECONDS + 2 * len(cases(plan)) * plan.time_limit_seconds) / 60)


def _trouble_of(job: _Job) -> str | None:
    """What kept a job from doing its block, where its function came to an end; None where nothing did."""
    if not job.left_result():
        return None
    assert job.handle is not None
    error = job.handle.exception()
    if error is None:
        answer = job.handle.result()
        return None if answer is None else str(answer)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if not line.startswith(("-", "You can check", "or at paths", "File "))]
    return raised[-1] if raised else "failed without a message"
