"""One rank of a trial of several processes: `python -m bench.rank`, started by torchrun or by bench.launch.

Rank 0 does what bench.worker does and leaves its reply in a file; the others follow it (bench.followers). What went
wrong on a rank is left in a file of that rank, for bench.launch to find.
"""

import contextlib
import faulthandler
import os
import resource
import signal
import sys
import time
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import NoReturn

from bench import worker
from bench.faults import fault
from bench.followers import Followers, follow
from bench.launch import LINE, REQUEST, RankFile, cores_of_rank
from bench.measure import load_entry
from bench.parent import PARENT, die_with_parent
from bench.record import WorkerReply, WorkerRequest, compact_json

_LINGER_SECONDS = 2.0  # in which rank 0 may say in its own words what went wrong on all ranks
_LOOK_SECONDS = 0.01


def main() -> NoReturn:
    """Be the rank that the environment says."""
    die_with_parent(int(os.environ[PARENT]))
    rank, scratch = int(os.environ["RANK"]), Path(os.environ["TMPDIR"])
    files = RankFile(scratch, rank)
    stack = files.stack.open("w")
    faulthandler.register(signal.SIGUSR1, stack, all_threads=True)  # where it is, for whoever ends it
    files.pid.write_text(str(os.getpid()))
    request = WorkerRequest.model_validate_json((scratch / REQUEST).read_text())
    os.sched_setaffinity(0, cores_of_rank(sorted(os.sched_getaffinity(0)), request.threads, rank))
    if cards := os.environ.get("CUDA_VISIBLE_DEVICES"):  # a card for each, where there are so many
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(cards.split(",")[rank : rank + 1])
    if request.memory_limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (request.memory_limit_bytes, request.memory_limit_bytes))
    line = scratch / LINE
    if rank == 0:
        _lead(request, line, files)
    _follow(line, rank, files)


def _lead(request: WorkerRequest, line: Path, files: RankFile) -> NoReturn:
    with Listener(str(line), "AF_UNIX", backlog=request.processes) as listener:
        lines: dict[int, Connection] = {}
        while len(lines) < request.processes - 1:
            connection = listener.accept()
            lines[connection.recv()] = connection
    followers = Followers([lines[rank] for rank in sorted(lines)])
    _leave(files, worker.run(request, followers))
    followers.stop()
    os._exit(0)  # also where the reply is a failure: that is said, and the launcher looks for who failed without a word


def _follow(line: Path, rank: int, files: RankFile) -> NoReturn:
    connection = _connected(line)
    connection.send(rank)
    try:
        follow(connection, rank, load_entry)
    except Exception as error:
        _leave(files, fault(error))
        sys.stderr.flush()
        time.sleep(_LINGER_SECONDS)
        os._exit(1)
    os._exit(0)


def _connected(line: Path) -> Connection:
    """Rank 0 listens as soon as it has started; whoever started us ends us if it does not."""
    while True:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return Client(str(line), "AF_UNIX")
        time.sleep(_LOOK_SECONDS)


def _leave(files: RankFile, reply: WorkerReply) -> None:
    files.leave(time.monotonic(), compact_json(reply.model_dump(mode="json")))


if __name__ == "__main__":
    main()
