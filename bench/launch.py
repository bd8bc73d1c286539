"""One trial of several processes: `python -m bench.launch LAUNCHER`; as bench.worker, a request in, a reply out.

Starts the ranks by the entry's launcher, waits for them, and answers with rank 0's reply, or with what went wrong on
the rank where it began. Standard library alone, so that little stands between the runner and the ranks. Files in the
trial's scratch folder (TMPDIR) carry the request and what each rank leaves: a launcher has the ranks' standard input
and output.
"""

import contextlib
import json
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.parent import PARENT, die_with_parent, pidfd

REQUEST = "request.json"
LINE = "line"  # the socket by which rank 0 tells the others what to do
_GRACE_SECONDS = 4.0  # from the first rank's end to that of the last; a rank that failed lingers for two
_STACK_SECONDS = 1.0
_PORTS = range(20_000, 32_000)  # below what Linux hands out by itself, so that no other program is given one meanwhile

# Of what torchrun prints when a process failed: torch.distributed.elastic.multiprocessing.errors.
_TORCHRUN_FAILURE = re.compile(rb"^  rank +: (\d+) \(local_rank: \d+\)\n  exitcode +: (-?\d+) ", re.MULTILINE)


def cores_of_rank(cores: Sequence[int], threads: int, rank: int) -> list[int]:
    """The cores of a rank out of those of its trial: its own where there are enough, else in turn, shared."""
    return sorted({cores[(rank * threads + number) % len(cores)] for number in range(threads)})


@dataclass(frozen=True)
class RankFile:
    """The files of a rank in the scratch folder."""

    scratch: Path
    rank: int

    @property
    def pid(self) -> Path:
        """Its process id."""
        return self.scratch / f"rank-{self.rank}.pid"

    @property
    def stack(self) -> Path:
        """Where its threads are, once it was sent SIGUSR1."""
        return self.scratch / f"rank-{self.rank}.stack"

    @property
    def reply(self) -> Path:
        """The time of its last word and its reply: of rank 0 always, of others where something went wrong."""
        return self.scratch / f"rank-{self.rank}.json"

    def leave(self, at: float, reply: str) -> None:
        """Write the reply, whole or not at all: whoever reads it may do so at any time."""
        part = self.reply.with_suffix(".part")
        part.write_text(f"{at!r}\n{reply}", encoding="utf-8")
        part.replace(self.reply)

    def said(self) -> tuple[float, dict[str, Any]] | None:
        """Time and reply; None where it has left none."""
        try:
            at, _, reply = self.reply.read_text(encoding="utf-8").partition("\n")
        except FileNotFoundError:
            return None
        return float(at), json.loads(reply)


def where_ranks_are(scratch: Path) -> list[str]:
    """For each rank that is alive, in their order, where in which file it is: rank 1: in train, loop.py:12."""
    files = sorted((RankFile(scratch, int(path.stem[5:])) for path in scratch.glob("rank-*.pid")), key=lambda f: f.rank)
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(file.pid.read_text()), signal.SIGUSR1)
    deadline = time.monotonic() + _STACK_SECONDS
    while time.monotonic() < deadline and any(not _place(file.stack) for file in files):
        time.sleep(0.05)
    time.sleep(0.05)  # a stack is written line by line
    return [f"rank {file.rank}: {_place(file.stack) or 'does not say where it is'}" for file in files]


def _place(stack: Path) -> str:
    """The innermost line of the main thread, the last one listed; of no installed package, where there is one."""
    with contextlib.suppress(OSError):
        main = stack.read_text(errors="replace").rpartition("hread 0x")[2]
        frames = re.findall(r'^  File "(.+)", line (\d+) in (\S+)$', main, re.MULTILINE)
        own = [frame for frame in frames if "site-packages" not in frame[0] and "/lib/python" not in frame[0]]
        for file, line, function in (own or frames)[:1]:
            return f"in {function}, {Path(file).name}:{line}"
    return ""


# --- the launchers ------------------------------------------------------------------------------------------------

Ended = dict[int, int]  # ranks that ended badly by themselves, the first of them first; exit code, or minus the signal


def _torchrun(processes: int) -> Ended:
    """PyTorch's own launcher; it starts each rank in a session of its own, and ends all when one fails."""
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}")
    agent = subprocess.Popen(
        (sys.executable, "-m", "bench.parent", str(os.getpid()), *torchrun, "-m", "bench.rank"),
        stdin=subprocess.DEVNULL,
        stdout=2,
        stderr=subprocess.PIPE,
        # One machine: its loopback, whatever names and networks it has.
        env={**os.environ, "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo")},
    )
    printed = _until_ended(agent)
    found = [(int(rank), int(code)) for rank, code in _TORCHRUN_FAILURE.findall(printed)]
    return dict(reversed(found))  # the root cause is printed last


def _until_ended(agent: "subprocess.Popen[bytes]") -> bytes:
    """Wait for a process and hand on what it prints; the last 64 KiB of that.

    Until the process ends, not until its output does: a child that was left behind may hold that open.
    """
    assert agent.stderr is not None
    pipe, printed = agent.stderr.fileno(), b""
    os.set_blocking(pipe, False)
    with pidfd(agent.pid) as process:
        waiting = [process, pipe]
        while True:
            ready, _, _ = select.select(waiting, [], [])
            with contextlib.suppress(BlockingIOError):
                while part := os.read(pipe, 1 << 16):
                    os.write(2, part)
                    printed = (printed + part)[-(1 << 16) :]
                waiting = [process]  # its end: nobody holds it open any more
            if process in ready:
                agent.wait()
                return printed


def _tf_config(processes: int) -> Ended:
    """TensorFlow has no launcher: a process a rank, each told of all by TF_CONFIG."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(processes)]
    ranks = []
    for rank in range(processes):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
        told = {"TF_CONFIG": json.dumps(config), "RANK": str(rank), PARENT: str(os.getpid())}
        command = (sys.executable, "-m", "bench.rank")
        ranks.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2, env={**os.environ, **told}))
    ended: Ended = {}
    with contextlib.ExitStack() as stack:
        alive = {stack.enter_context(pidfd(process.pid)): rank for rank, process in enumerate(ranks)}
        deadline = None
        while alive:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select(list(alive), [], [], left)
            if not ready:
                break  # the others wait for one that has gone
            for handle in ready:
                rank = alive.pop(handle)
                code = ranks[rank].wait()
                ended |= {rank: code} if code else {}
                deadline = deadline or time.monotonic() + _GRACE_SECONDS
    for process in ranks:
        process.kill()
        process.wait()
    return ended


def free_ports(count: int) -> list[int]:
    """So many ports of this machine's loopback that nobody listens on."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.sample(_PORTS, len(_PORTS)):
            taken = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                taken.bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"no {count} free ports from {_PORTS.start} to {_PORTS.stop}")


_LAUNCH = {"torchrun": _torchrun, "tf-config": _tf_config}


# --- the answer ---------------------------------------------------------------------------------------------------


def answer(said: Mapping[int, tuple[float, dict[str, Any]]], ended: Ended) -> dict[str, Any] | None:
    """The reply of the trial: rank 0's, or what went wrong on the rank where it began; None where no rank began.

    A rank that was killed leaves no word, and the others only say that it has gone; else the first word is the cause.
    SIGTERM is how torchrun ends those that were well.
    """
    if 0 in said and said[0][1]["status"] in ("ok", "refused"):
        return said[0][1]
    silent = [(rank, code) for rank, code in ended.items() if rank not in said and code != -signal.SIGTERM]
    if silent:
        rank, code = silent[0]
        return {"status": "crashed", "reason": f"rank {rank}: {how_it_ended(code)}"}
    if said:
        rank = min(said, key=lambda one: said[one][0])
        reply = said[rank][1]
        return {"status": reply["status"], "reason": f"rank {rank}: {reply['reason']}"}
    return None


def how_it_ended(code: int) -> str:
    """An exit code, or minus a signal, in words."""
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name
    return f"killed by {name}" + (" (the kernel does this when memory runs out)" if name == "SIGKILL" else "")


def main() -> int:
    """Read, launch, answer. Standard output is kept for the reply alone.

    Exit code 1 without a reply where the ranks could not be started: what the launcher printed says why.
    """
    reply_file = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    text = sys.stdin.readline()
    request = json.loads(text)
    die_with_parent(request["parent_pid"])
    scratch = Path(os.environ["TMPDIR"])
    (scratch / REQUEST).write_text(text, encoding="utf-8")
    ended = _LAUNCH[sys.argv[1]](request["processes"])
    files = [RankFile(scratch, rank) for rank in range(request["processes"])]
    said = {file.rank: word for file in files if (word := file.said()) is not None}
    pids = [int(file.pid.read_text()) for file in files if file.pid.exists()]
    reply = answer(said, ended)
    if reply is None:
        return 1
    reply_file.write(json.dumps(reply | {"pids": pids}))
    reply_file.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
