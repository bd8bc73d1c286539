"""Resident memory of this process, as /proc tells it.

Never getrusage: a child inherits its parent's peak there. VmHWM, the peak of the resident memory, can be reset by the
process itself (proc(5): writing 5 to clear_refs), with no privilege.
"""

import threading
from pathlib import Path
from types import TracebackType

from bench.record import MemorySample

_INTERVAL_SECONDS = 0.001


class Unreadable(Exception):
    """The system does not tell; the message says which file and why."""


def _status(process: Path) -> dict[str, int]:
    """The Vm and Rss lines of a process's status file, in bytes."""
    path = process / "status"
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise Unreadable(f"{path} cannot be read ({error.strerror})") from None
    values = {}
    for line in lines:
        name, _, rest = line.partition(":")
        words = rest.split()
        if name.startswith(("Vm", "Rss")) and len(words) == 2 and words[1] == "kB" and words[0].isdigit():
            values[name] = int(words[0]) * 1024
    return values


def _of(values: dict[str, int], name: str, process: Path) -> int:
    if name not in values:
        raise Unreadable(f"{process / 'status'} has no {name}")
    return values[name]


def sample(process: Path = Path("/proc/self")) -> MemorySample:
    """What is resident now, in bytes: all, anonymous pages, pages of files (shared memory among them)."""
    values = _status(process)
    return MemorySample(
        rss_bytes=_of(values, "VmRSS", process),
        anon_bytes=_of(values, "RssAnon", process),
        file_bytes=_of(values, "RssFile", process) + _of(values, "RssShmem", process),
    )


def reset_peak(process: Path = Path("/proc/self")) -> None:
    """Let the peak start anew from what is resident now."""
    path = process / "clear_refs"
    try:
        path.write_text("5")
    except OSError as error:
        raise Unreadable(f"{path} cannot be written ({error.strerror}), so the peak cannot be reset") from None


def peak_bytes(process: Path = Path("/proc/self")) -> int:
    """The largest resident memory since the process began or the last reset, in bytes."""
    return _of(_status(process), "VmHWM", process)


class PeakSampler:
    """A thread that reads what is resident every millisecond from entering to leaving, and keeps each largest figure.

    It takes the interpreter's lock each time, so what runs beside it is slower than it would be: never in a window.
    """

    def __init__(self, process: Path = Path("/proc/self")) -> None:
        self.peak: MemorySample | None = None
        self.samples = 0
        self.reason: str | None = None
        self._process = process
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def __enter__(self) -> "PeakSampler":
        self._take()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._take()

    def _run(self) -> None:
        while not self._stop.wait(_INTERVAL_SECONDS):
            self._take()

    def _take(self) -> None:
        try:
            seen = sample(self._process)
        except Unreadable as error:
            self.reason = str(error)
            return
        before = self.peak or seen
        self.samples += 1
        self.peak = MemorySample(
            rss_bytes=max(before.rss_bytes, seen.rss_bytes),
            anon_bytes=max(before.anon_bytes, seen.anon_bytes),
            file_bytes=max(before.file_bytes, seen.file_bytes),
        )
