"""The command `bench` as a person runs it: a real process."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH = (sys.executable, "-m", "bench.cli")
_LIMIT_SECONDS = 290

# Most of a short command is the import of what it is made of. One process, started at the first call, imports it and
# trains nothing; each call is a fork of it.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["bench.cli", __name__])


def bench(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `bench ARGUMENTS` in the project's folder, as a process of its own, and wait for it."""
    command, whole = [*BENCH, *map(str, arguments)], {**os.environ, **environment}
    if any(name.startswith("PYTHON") for name in environment):  # what an interpreter reads when it starts
        return subprocess.run(command, cwd=ROOT, env=whole, capture_output=True, text=True, timeout=_LIMIT_SECONDS)
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        kept = [multiprocessing.reduction.DupFd(file.fileno()) for file in (stdout, stderr)]
        process = _FORKS.Process(target=_play, args=(command[3:], whole, os.sched_getaffinity(0), kept))
        process.start()
        process.join(_LIMIT_SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, _LIMIT_SECONDS)
        texts = []
        for file in (stdout, stderr):
            file.seek(0)
            texts.append(file.read().decode().replace("\r\n", "\n"))
    return subprocess.CompletedProcess(command, process.exitcode, *texts)


def _play(arguments: list[str], environment: dict[str, str], cores: Collection[int], kept: list) -> None:
    """What a fresh interpreter would do after its imports."""
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), *(one.detach() for one in kept))):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    os.sched_setaffinity(0, cores)
    sys.argv = ["bench", *arguments]
    from bench.cli import main

    main()


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start `bench ARGUMENTS` in a session of its own, as a terminal would."""
    return subprocess.Popen(
        [*BENCH, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
