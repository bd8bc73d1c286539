"""A process id -> this process ends when that one, its parent, does. Standard library alone.

`python -m bench.parent PID COMMAND...` becomes the command, which then ends with the process PID.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

PARENT = "EVENHAND_PARENT"  # for children of a command that is not ours: the process id that they end with

_PR_SET_PDEATHSIG = 1  # linux/prctl.h; holds beyond execve


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when its parent dies, also by kill -9: no orphan works on."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the call
        os._exit(1)


def end_all_with(variable: str, value: str, root: Path = Path("/proc")) -> list[int]:
    """Kill every process that was started with this value in its environment; returns their ids.

    Whatever session, group or parent they have by now: torchrun starts its processes in sessions of their own, and a
    child of one that died is nobody's. Looks again until none is left, as a killed one may just have started another.
    """
    wanted, ended = f"{variable}={value}".encode(), []
    while found := [pid for pid in _processes(root) if pid != os.getpid() and _has(root, pid, wanted)]:
        for pid in found:
            # By a handle, and asked once more: an id alone may be another process by now.
            with contextlib.suppress(ProcessLookupError), pidfd(pid) as handle:
                if _has(root, pid, wanted):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    ended.append(pid)
    return list(dict.fromkeys(ended))


@contextlib.contextmanager
def pidfd(pid: int) -> Iterator[int]:
    """A handle of a process, which never becomes that of another; readable once it has ended."""
    handle = os.pidfd_open(pid)
    try:
        yield handle
    finally:
        os.close(handle)


def _processes(root: Path) -> list[int]:
    return [int(path.name) for path in root.iterdir() if path.name.isdigit()]


def _has(root: Path, pid: int, wanted: bytes) -> bool:
    """Whether a process was started with that in its environment. Not so once it has died, nor of other users'."""
    try:
        return wanted in (root / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.environ[PARENT] = str(os.getpid())
    os.execvp(sys.argv[2], sys.argv[2:])
