"""What else ran on the worker's cores over a window: /proc/stat and getrusage, before and after -> Surroundings.

Read outside the clock, at both ends of a window; nothing runs beside the training.
"""

import contextlib
import os
import resource
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bench.probes import energy
from bench.record import Surroundings

ROOT = Path("/")
_TICKS = os.sysconf("SC_CLK_TCK")  # of /proc/stat in a second: 100 nearly everywhere, so a window counts to 10 ms


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Counters at one moment; None where one cannot be had, with the reason by the figure's name in `reasons`.

    busy_seconds and steal_seconds: summed over the cores. own_seconds: CPU time of this process, all threads.
    """

    busy_seconds: float | None
    steal_seconds: float | None
    own_seconds: float
    voluntary_switches: int
    involuntary_switches: int
    energy: energy.Counters | None
    reasons: dict[str, str]


def read(cores: Collection[int], root: Path = ROOT) -> Counters:
    """The counters now, for these cores."""
    reasons: dict[str, str] = {}
    busy = steal = None
    try:
        busy, steal = _cpu_seconds(cores, root / "proc/stat")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        reasons |= dict.fromkeys(("steal_seconds", "foreign_seconds"), f"/proc/stat cannot be read ({why})")
    joules = None
    try:
        joules = energy.read(root)
    except energy.Unreadable as error:
        reasons["energy_joules"] = str(error)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Counters(
        busy_seconds=busy,
        steal_seconds=steal,
        own_seconds=time.process_time(),
        voluntary_switches=usage.ru_nvcsw,
        involuntary_switches=usage.ru_nivcsw,
        energy=joules,
        reasons=reasons,
    )


def _cpu_seconds(cores: Collection[int], stat: Path) -> tuple[float, float]:
    """(busy, stolen) seconds of the cores since boot: columns of proc(5). Raises OSError, or ValueError on garbage."""
    busy = steal = 0
    found = set()
    for line in stat.read_text(errors="replace").splitlines():
        name, _, rest = line.partition(" ")
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            user, nice, system, _idle, _iowait, irq, softirq, stolen = map(int, rest.split()[:8])
            busy += user + nice + system + irq + softirq  # guest time is in user already
            steal += stolen
            found.add(int(name[3:]))
    if found != set(cores):
        raise ValueError(f"it has no line for {', '.join(f'cpu{core}' for core in sorted(set(cores) - found))}")
    return busy / _TICKS, steal / _TICKS


def between(before: Counters, after: Counters) -> Surroundings:
    """What was counted from one reading to the next.

    foreign_seconds is the cores' busy time less this process' own. The kernel counts the former in whole ticks, so a
    window is known to 10 ms a core, and may come out below 0 by as much.
    """
    foreign = steal = joules = None
    if before.busy_seconds is not None and after.busy_seconds is not None:
        own = after.own_seconds - before.own_seconds
        foreign = after.busy_seconds - before.busy_seconds - own
    if before.steal_seconds is not None and after.steal_seconds is not None:
        steal = after.steal_seconds - before.steal_seconds
    if before.energy is not None and after.energy is not None:
        with contextlib.suppress(energy.Unreadable):  # a package came or went: what was used is not known
            joules = energy.joules(before.energy, after.energy)
    return Surroundings(
        steal_seconds=steal,
        foreign_seconds=foreign,
        voluntary_switches=after.voluntary_switches - before.voluntary_switches,
        involuntary_switches=after.involuntary_switches - before.involuntary_switches,
        energy_joules=joules,
    )
