"""The command `bench` as a person runs it: a real process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH = (sys.executable, "-m", "bench.cli")


def bench(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `bench ARGUMENTS` in the project's folder and wait for it."""
    return subprocess.run(
        [*BENCH, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=290,
    )


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
        # As a terminal leaves it: who starts the tests in the background may have had it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
