"""Processes end with their parents, and what was started for a trial is found whatever its session."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

from bench.parent import end_all_with
from tests.bench.test_faults import alive, gone
from tests.command import ROOT


def sleeper(value: str, *, session: bool = False) -> subprocess.Popen[bytes]:
    """A process that was started with EVENHAND_TEST=value."""
    environment = {**os.environ, "EVENHAND_TEST": value}
    return subprocess.Popen(["sleep", "600"], env=environment, start_new_session=session)


def test_every_process_of_an_environment_is_ended_and_no_other() -> None:
    """In a session of its own too; a value that only begins so is another one."""
    mark = uuid.uuid4().hex
    ours, other = [sleeper(mark), sleeper(mark, session=True)], sleeper(mark + "0")
    ended = end_all_with("EVENHAND_TEST", mark)
    left = alive(other.pid)
    other.kill()
    for process in (*ours, other):
        process.wait()

    assert {process.pid for process in ours} == set(ended)
    assert [-signal.SIGKILL] * 2 == [process.returncode for process in ours]
    assert left


def test_a_child_of_one_that_died_is_found() -> None:
    """It is nobody's child by then."""
    mark = uuid.uuid4().hex
    script = f'EVENHAND_TEST={mark} setsid sh -c "sleep 600 >/dev/null & echo \\$!"'
    orphan = int(subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=True).stdout)
    before = alive(orphan)
    end_all_with("EVENHAND_TEST", mark)

    assert before
    assert gone(orphan)


def test_where_nothing_is_left_nothing_is_ended() -> None:
    """The usual case."""
    assert [] == end_all_with("EVENHAND_TEST", uuid.uuid4().hex)


COMMAND = """
import os, subprocess, sys
command = "import os, time; print(os.getpid(), os.environ['EVENHAND_PARENT'], flush=True); time.sleep(600)"
parent = sys.argv[1] or str(os.getpid())
subprocess.run([sys.executable, "-m", "bench.parent", parent, sys.executable, "-c", command])
"""


def test_a_command_that_is_not_ours_ends_with_its_parent() -> None:
    """It is told its own process id, for its children to end with."""
    parent = subprocess.Popen([sys.executable, "-c", COMMAND, ""], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid, told = map(int, parent.stdout.readline().split())
    before = alive(pid)
    parent.kill()
    parent.communicate()

    assert before
    assert pid == told
    assert gone(pid)


def test_a_command_whose_parent_is_another_by_now_does_not_start(tmp_path: Path) -> None:
    """It died between the two."""
    parent = subprocess.run([sys.executable, "-c", COMMAND, "1"], cwd=ROOT, capture_output=True, timeout=60)

    assert b"" == parent.stdout
