"""The sides of a case -> Duet: their processes are alive at once on the same cores and train in turn, window by window.

What drifts on a machine is slow beside a round, in which every side has one window, so it cancels within a round; the
shorter the windows, the more of it: what other guests of a host take comes and goes within hundredths of a second. What
differs between two processes of the same program does not cancel: the process stays the unit of repetition, and a duet
gives one number a pair of sides, however many rounds it has. The idea is near that of Bulej et al. (2020, "Duet
benchmarking: improving measurement accuracy in the cloud", ICPE), where both sides run at the same time; ours take
turns, so that none is timed while another uses caches or memory.
"""

import contextlib
import math
import os
import random
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from bench import runner
from bench.contract import Device, Entry
from bench.probes import surroundings
from bench.record import Case, Count, Finite, Seconds, Status, Value, WorkerReply, WorkerRequest
from bench.task import Task
from bench.windows import Command, Ready, Window

SideName = Literal["base", "control", "head"]

LEAST_ROUNDS = 6
LIMIT_SECONDS = 300.0  # of a duet, beside twice what long windows should take
_TICKS = os.sysconf("SC_CLK_TCK")
_STDERR_KEPT = 4000
_SINGLE_STEPS = 20  # windows of one step, of which the least tells what a call takes

Line = TypeVar("Line", bound=Value)


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How the time of a duet is cut. seconds: the least of a window. side_seconds: of all windows of a side together.

    call_share: of a window, that the call itself may take. longest: seconds of a window, whatever its call takes.
    most_rounds: however short a window is. warm_up: windows of each side before the first round. lead_in: windows of a
    side at the start of each of its turns, before the one that counts.
    """

    seconds: float
    side_seconds: float
    call_share: float
    longest: float
    most_rounds: int
    warm_up: int
    lead_in: int


# Of one entry against itself. A window: long beside the switch from one process to the next, short beside what drifts.
# On a shared host, as many seconds in windows of 3 ms told two sides apart three times as well as in windows of 40 ms.
# All of a side's take about as long as the start of the processes. A change in a step must show beside the call, which
# both sides pay alike, as they do what a turn's first steps take longer.
OF_ONE_ENTRY = Windows(
    seconds=0.005, side_seconds=1.25, call_share=0.1, longest=0.25, most_rounds=250, warm_up=1, lead_in=0
)
# Of two entries, each with calls and caches of its own: a window must be long beside a call, and begin when the caches
# are the side's own again, else the side of the shorter windows would pay most for it.
OF_TWO_ENTRIES = Windows(
    seconds=0.05, side_seconds=8.0, call_share=0.01, longest=2.5, most_rounds=2000, warm_up=10, lead_in=1
)


@dataclass(frozen=True, kw_only=True)
class Side:
    """What starts the workers of a side. folder: of the code that they run; None: the runner's own.

    entry: what it trains; None: the score's. slowdown: the share of its own seconds by which each of its windows is
    made longer. scratch: the temporary folder of its workers, which outlives them, so that what a compiler left there
    is found by the next; None: an empty one for each.
    """

    name: SideName
    python: str = sys.executable
    folder: Path | None = None
    entry: Entry | None = None
    slowdown: float = 0.0
    scratch: Path | None = None

    @property
    def command(self) -> tuple[str, ...]:
        """`python -m` takes the package from the working folder before an installed one."""
        start = () if self.folder is None else ("env", "-C", str(self.folder))
        return (*start, self.python, "-m", "bench.worker")


class Duet(Value):
    """What came of the processes of one duet, whatever they did.

    steps: of a window. windows: the seconds of a side's window in each round, to 0.1 us. order: in which the sides of a
    round were trained, by their initials, such as "hbc"; start_order: in which their processes were started, "" where
    that is not known. cpu_seconds: of a side's windows together.
    failed: the side that failed, where status is not ok. warm_up_seconds: of each side's windows before the first
    round, which do not count. lead_in: as many windows of a side at the start of each of its turns do not count either.
    programs_kept: the sides found what a compiler had made for those before them.
    foreign_share and steal_share: of the time of the cores while the rounds ran, what processes other than the sides'
    and what other guests took; null where the system does not tell.
    """

    case: Case
    seed: Count
    steps: Annotated[int, Field(ge=1)]
    slowdown: dict[SideName, Finite]
    started_utc: str
    status: Status
    reason: str | None = None
    failed: SideName | None = None
    implementation_sha256: dict[SideName, str | None] = Field(default_factory=dict)
    packages: dict[SideName, dict[str, str]] = Field(default_factory=dict)
    lead_in: Count = 0
    programs_kept: bool = False
    warm_up_seconds: dict[SideName, Seconds] = Field(default_factory=dict)
    windows: dict[SideName, list[Seconds]] = Field(default_factory=dict)
    order: list[str] = Field(default_factory=list)
    start_order: str = ""
    cpu_seconds: dict[SideName, Seconds] = Field(default_factory=dict)
    foreign_share: Finite | None = None
    steal_share: Finite | None = None
    start_seconds: Seconds = 0.0  # until every side was ready
    wall_seconds: Seconds = 0.0  # the whole life of the duet

    def log_seconds(self, side: SideName) -> float:
        """The mean over the rounds of ln(seconds of a side's window)."""
        return math.fsum(map(math.log, self.windows[side])) / len(self.windows[side])


def _starting_cores(cores: list[int], nodes: Path = Path("/sys/devices/system/node")) -> list[int]:
    """Where the sides may start, side by side: their imports take longer than all their windows.

    On a machine of several memory nodes they start where they will train, so that their memory lies there.
    """
    return cores if (nodes / "node1").exists() else sorted(os.sched_getaffinity(0))


class _Failed(Exception):
    """A side did not answer as it should."""

    def __init__(self, side: SideName, status: Status, reason: str) -> None:
        super().__init__(f"{side}: {reason}")
        self.side, self.status = side, status


class _Player:
    """The live process of a side."""

    def __init__(self, side: Side, request: WorkerRequest, *, cores: list[int], scratch: str, err: IO[str]) -> None:
        self.side, self._err, self._unread = side, err, b""
        environment = runner.worker_environment(request.threads, python=side.python)
        with runner.affinity(_starting_cores(cores)):
            self.process = subprocess.Popen(
                side.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                env={**environment, "TMPDIR": scratch},
                text=True,
                start_new_session=True,
            )
        self._say(request)

    def _say(self, value: Value) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its end shows when the answer is read
            self.process.stdin.write(value.model_dump_json() + "\n")
            self.process.stdin.flush()

    def pin(self, cores: list[int]) -> None:
        """Keep every thread of the process to its cores from now on; later threads inherit it."""
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                os.sched_setaffinity(int(thread.name), cores)

    def ask(self, command: Command, deadline: float) -> Window:
        """Let it train a window. Raises _Failed."""
        self._say(command)
        return self.answer(Window, deadline)

    def answer(self, kind: type[Line], deadline: float) -> Line:
        """Its next line as a value. Raises _Failed where it is another one, or where it does not come."""
        line = self._line(deadline)
        try:
            return kind.model_validate_json(line)
        except ValidationError:
            pass
        try:
            reply = WorkerReply.model_validate_json(line)
        except ValidationError:
            raise self._failed("broken-output", f"answered with no {kind.__name__.lower()}: {line[:80]!r}") from None
        raise self._failed("failed" if reply.status == "ok" else reply.status, reply.reason or "gave no reason")

    def _line(self, deadline: float) -> str:
        assert self.process.stdout is not None
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, left))
            if not ready:
                raise self._failed("timed-out", "did not answer within the duet's time")
            chunk = os.read(self.process.stdout.fileno(), 1 << 16)
            if not chunk or len(self._unread) > 1 << 20:
                raise self._ended()
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode(errors="replace")

    def _ended(self) -> _Failed:
        """Why there will be no more lines."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        code = self.process.poll()
        self._err.seek(0)
        finished = runner.Finished(
            pid=self.process.pid,
            returncode=code,
            stdout=self._unread.decode(errors="replace"),
            stderr=self._err.read()[-_STDERR_KEPT:],
            seconds=0.0,
        )
        if code in (0, None):
            return self._failed("broken-output", f"ended without an answer: {finished.stdout[:80]!r}")
        status, reason, _ = runner.judge(finished, 0)
        return self._failed(status, reason or "gave no reason")

    def _failed(self, status: Status, reason: str) -> _Failed:
        return _Failed(self.side.name, status, reason)

    def cpu_seconds(self) -> float:
        """CPU time of the process so far, all threads, as the system counts it."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / _TICKS  # utime + stime


@contextlib.contextmanager
def _players(sides: Sequence[Side], requests: Sequence[WorkerRequest], cores: list[int]) -> Iterator[list[_Player]]:
    """A live process for each side; whatever happens, none is left, nor what they left behind."""
    with contextlib.ExitStack() as stack:
        players: list[_Player] = []
        for side, request in zip(sides, requests, strict=True):
            err = stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))
            scratch = stack.enter_context(_scratch(side))
            player = _Player(side, request, cores=cores, scratch=scratch, err=err)
            stack.callback(_close, player)
            players.append(player)
        yield players


def _scratch(side: Side) -> contextlib.AbstractContextManager[str]:
    """The temporary folder of a side's worker; one that is not the side's own ends with the worker."""
    if side.scratch is not None:
        side.scratch.mkdir(parents=True, exist_ok=True)
        return contextlib.nullcontext(str(side.scratch))
    return runner.scratch_folder()


def _close(player: _Player) -> None:
    runner.end(player.process)
    for pipe in (player.process.stdin, player.process.stdout):
        assert pipe is not None
        with contextlib.suppress(OSError):  # what could not be written before it died
            pipe.close()


def _request(side: Side, task: Task, entry: Entry, *, seed: int, device: Device, threads: int) -> WorkerRequest:
    return WorkerRequest(
        what="windows",
        task=task,
        training_seed=seed,
        entry=entry.name,
        entry_module=entry.module,
        device=device,
        threads=threads,
        slowdown=side.slowdown,
        memory_limit_bytes=None,
        parent_pid=os.getpid(),
    )


@dataclass(frozen=True, kw_only=True)
class Score:
    """What the duets of a case have in common. steps: of a window, which takes call_seconds + steps * step_seconds."""

    case: Case
    task: Task
    entry: Entry
    steps: int
    rounds: int
    warm_up: int = 1
    lead_in: int = 0
    call_seconds: float = 0.0
    step_seconds: float = 0.0
    limit_seconds: float = LIMIT_SECONDS


def calibrate(side: Side, *, task: Task, entry: Entry, case: Case, windows: Windows = OF_ONE_ENTRY) -> Score | str:
    """The windows of a case's duets, or why there can be none. Asked once a case, of a process of its own.

    A window takes windows.seconds, or as much longer as it must for the call to take no more than its share. What a
    call takes beside its steps is told by windows of a single step: from long windows alone it would be as uncertain as
    they are noisy, and a hundredfold of that noise would be a window.
    """
    deadline = time.monotonic() + LIMIT_SECONDS
    request = _request(side, task, entry, seed=task.seed, device=case.device, threads=case.threads)
    try:
        cores = runner.worker_cores(case.threads)
        with _players([side], [request], cores) as [player]:
            player.answer(Ready, deadline)
            player.pin(cores)

            def least(steps: int, times: int) -> float:
                command = Command(steps=steps)
                player.ask(command, deadline)  # the first of a shape may compile
                return min(player.ask(command, deadline).seconds for _ in range(times))

            one = least(1, _SINGLE_STEPS)
            steps, seconds = 4, least(4, 3)
            while seconds < windows.seconds:
                steps *= 4
                seconds = least(steps, 3)
    except _Failed as failure:
        return str(failure)
    a_step = max((seconds - one) / (steps - 1), seconds / steps / 100)
    call = max(0.0, one - a_step)
    wanted = max(windows.seconds - call, call * (1 / windows.call_share - 1))
    steps = max(1, round(min(wanted, windows.longest) / a_step))
    return Score(
        case=case,
        task=task,
        entry=entry,
        steps=steps,
        rounds=_rounds(windows, call + steps * a_step),
        warm_up=windows.warm_up,
        lead_in=windows.lead_in,
        call_seconds=call,
        step_seconds=a_step,
    )


def _rounds(windows: Windows, window_seconds: float) -> int:
    return min(max(round(windows.side_seconds / window_seconds), LEAST_ROUNDS), windows.most_rounds)


def together(reference: Score, subject: Score, windows: Windows = OF_TWO_ENTRIES) -> Score:
    """The windows of two entries' duets: as many steps as each of them needs, rounds by the mean of their windows."""
    steps = max(reference.steps, subject.steps)
    mean = sum(one.call_seconds + steps * one.step_seconds for one in (reference, subject)) / 2
    rounds = _rounds(windows, mean)
    seconds = 3 * rounds * (1 + windows.lead_in) * mean  # of the three sides
    return replace(reference, steps=steps, rounds=rounds, limit_seconds=LIMIT_SECONDS + 2 * seconds)


def play(score: Score, sides: Sequence[Side], *, seed: int, order: random.Random) -> Duet:
    """One duet with fresh processes. Whatever they do, a Duet comes back.

    Processes start in random order too: which memory a process is given may depend on who came before it.
    """
    started, started_utc = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    deadline = started + score.limit_seconds
    case, command = score.case, Command(steps=score.steps)
    cores = runner.worker_cores(case.threads)
    starting = order.sample(sides, len(sides))
    requests = [
        _request(side, score.task, side.entry or score.entry, seed=seed, device=case.device, threads=case.threads)
        for side in starting
    ]
    duet = Duet(
        case=case,
        seed=seed,
        steps=score.steps,
        slowdown={side.name: side.slowdown for side in sides},
        started_utc=started_utc,
        status="ok",
        lead_in=score.lead_in,
        programs_kept=all(side.scratch is not None for side in sides),
        start_order="".join(side.name[0] for side in starting),
    )
    try:
        with _players(starting, requests, cores) as players:
            ready = {player.side.name: player.answer(Ready, deadline) for player in players}
            start_seconds = time.monotonic() - started
            for player in players:
                player.pin(cores)
            warm_up = {
                player.side.name: math.fsum(player.ask(command, deadline).seconds for _ in range(score.warm_up))
                for player in players
            }
            orders = [order.sample(players, len(players)) for _ in range(score.rounds)]
            with runner.affinity(cores):  # nobody trains while we work, and what other cores do cannot delay us
                watch = _Watch(cores, players)
                rounds = [_round(turn, command, score.lead_in, deadline) for turn in orders]
                foreign, steal = watch.shares()
    except _Failed as failure:
        changes = {"status": failure.status, "reason": str(failure)[:500], "failed": failure.side}
        return duet.model_copy(update={**changes, "wall_seconds": time.monotonic() - started})
    return duet.model_copy(
        update={
            "implementation_sha256": {name: one.implementation_sha256 for name, one in ready.items()},
            "packages": {name: one.packages for name, one in ready.items()},
            "warm_up_seconds": warm_up,
            "windows": {s.name: [round(one[s.name].seconds, 7) for one in rounds] for s in sides},
            "order": ["".join(player.side.name[0] for player in turn) for turn in orders],
            "cpu_seconds": {s.name: math.fsum(one[s.name].cpu_seconds for one in rounds) for s in sides},
            "foreign_share": foreign,
            "steal_share": steal,
            "start_seconds": start_seconds,
            "wall_seconds": time.monotonic() - started,
        }
    )


def _round(players: Sequence[_Player], command: Command, lead_in: int, deadline: float) -> dict[SideName, Window]:
    """A window for each side, in the order given, after those that lead in to it. Raises _Failed."""
    windows: dict[SideName, Window] = {}
    for player in players:
        for _ in range(lead_in):
            player.ask(command, deadline)
        windows[player.side.name] = player.ask(command, deadline)
    for name, window in windows.items():
        if window.compilations:
            raise _Failed(name, "failed", f"{window.compilations} program(s) traced or compiled inside a window")
        if window.seconds <= 0:
            raise _Failed(name, "failed", "the clock saw no time pass in a window")
    return windows


class _Watch:
    """Who had the cores from now on."""

    def __init__(self, cores: list[int], players: Sequence[_Player]) -> None:
        self._cores, self._players = cores, players
        self._started, self._before, self._own = time.monotonic(), surroundings.read(cores), self._own_seconds()

    def _own_seconds(self) -> float:
        """CPU time of the sides, and ours, who are on their cores meanwhile."""
        return time.process_time() + sum(player.cpu_seconds() for player in self._players)

    def shares(self) -> tuple[float | None, float | None]:
        """Of the cores' time: what others' processes took, and what other guests took."""
        after, own = surroundings.read(self._cores), self._own_seconds() - self._own
        offered = (time.monotonic() - self._started) * len(self._cores)
        foreign = steal = None
        if self._before.busy_seconds is not None and after.busy_seconds is not None:
            foreign = max(0.0, after.busy_seconds - self._before.busy_seconds - own) / offered
        if self._before.steal_seconds is not None and after.steal_seconds is not None:
            steal = max(0.0, after.steal_seconds - self._before.steal_seconds) / offered
        return foreign, steal
