"""What makes a CPU's clock move and who shares its cores, from /sys; and how steady it is, by a short spin."""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path("/")
_CPU = Path("sys/devices/system/cpu")
_SLICE_SECONDS = 0.01  # long beside an interrupt, short beside a quarter of the spin
_BLOCK = b"\0" * (16 << 10)  # hashed at once: stays in the first cache, so that memory does not decide the rate
_TURBO_FILES = (  # and the word that says it is on; later ones are read only where the earlier are missing
    ("intel_pstate/no_turbo", "0"),
    ("cpufreq/boost", "1"),
    ("cpufreq/policy0/boost", "1"),  # amd_pstate of older kernels
)


class Unreadable(Exception):
    """The system does not tell; the message says which file and why."""


def text(path: Path) -> str:
    """A file of /proc or /sys, without the space around it. Raises Unreadable."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError as error:
        raise Unreadable(f"{path} cannot be read ({error.strerror})") from None


def vendor(root: Path = ROOT) -> str:
    """Such as AuthenticAMD or GenuineIntel."""
    path = root / "proc/cpuinfo"
    found = re.search(r"^vendor_id\s*:\s*(\w+)", text(path), flags=re.MULTILINE)
    if found is None:
        raise Unreadable(f"{path} names no vendor")
    return found[1]


def turbo(root: Path = ROOT) -> tuple[bool, Path]:
    """Whether the clock may rise above its base while there is heat and power to spare, and the file that says so."""
    for name, on in _TURBO_FILES:
        path = root / _CPU / name
        if not path.exists():
            continue
        found = text(path)
        if found not in ("0", "1"):
            raise Unreadable(f"{path} holds {found[:40]!r}, neither 0 nor 1")
        return found == on, path
    raise Unreadable(f"{root / _CPU} has neither intel_pstate/no_turbo nor cpufreq/boost")


def siblings(cores: Iterable[int], root: Path = ROOT) -> list[list[int]]:
    """The logical cores that share a physical one, for each physical one that `cores` touch; [[0], [1]]: none does."""
    groups = set()
    for core in cores:
        path = root / _CPU / f"cpu{core}/topology/thread_siblings_list"
        group = _core_list(text(path), path)
        if core not in group:
            raise Unreadable(f"{path} does not name core {core} itself")
        groups.add(group)
    return [list(group) for group in sorted(groups)]


def _core_list(words: str, path: Path) -> tuple[int, ...]:
    """The kernel's list format: '0,4' or '0-1,8-9'."""
    found: list[int] = []
    for part in words.split(","):
        match = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", part)
        if match is None:
            raise Unreadable(f"{path} holds {words[:40]!r}, which is no list of cores")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(found)


def _hash_block() -> None:
    hashlib.sha256(_BLOCK).digest()


def spin(
    seconds: float,
    work: Callable[[], object] = _hash_block,
    clock: Callable[[], float] = time.thread_time,
) -> list[float]:
    """Do the same piece of work over and over on one core; the rate of each slice, in pieces a second.

    The clock is the thread's CPU time, so that waiting for the core, which is another finding, is not in it.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        rates = []
        end = clock() + seconds
        while (start := clock()) < end:
            pieces = 0
            while (now := clock()) - start < _SLICE_SECONDS:
                work()
                pieces += 1
            rates.append(pieces / (now - start))
        return rates
    finally:
        os.sched_setaffinity(0, allowed)
