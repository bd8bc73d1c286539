"""The machine now -> findings: would a measurement be worth something here? Each with its severity and remedy."""

import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from bench.contract import ENTRIES
from bench.probes import memory
from bench.probes.available import availability, installed_version
from bench.probes.gpu import list_gpus
from bench.probes.machine import ROOT, governor, physical_cores
from bench.record import Value

Severity = Literal["ok", "note", "warning", "error"]

_SAMPLE_SECONDS = 0.5
_BUSY_SHARE = 0.1  # of one core: less is what any idle system shows
_MEMORY_NEEDED_BYTES = 2 << 30  # a TensorFlow worker with its data takes about 1.2 GiB
_DISK_NEEDED_BYTES = 64 << 20  # some thousand records
_STEERING_VARIABLES = re.compile(
    r"(OMP|MKL|OPENBLAS|NUMEXPR|KMP|GOMP|ONEDNN|DNNL|XLA|TORCH|PYTORCH|TORCHINDUCTOR|KERAS|CUDA|NVIDIA)_"
    r"|TF_(ENABLE|XLA|NUM|FORCE|GPU|DETERMINISTIC|CUDNN|DISABLE|USE)_?"
)


class Finding(Value):
    """One thing that was looked at. remedy: what to do where it is not ok."""

    name: str
    severity: Severity
    message: str
    remedy: str | None = None


def unfit(findings: list[Finding]) -> bool:
    """Whether one of the findings forbids a measurement."""
    return any(finding.severity == "error" for finding in findings)


def examine(
    results: Path,
    *,
    root: Path = ROOT,
    environment: Mapping[str, str] = os.environ,
    sample_seconds: float = _SAMPLE_SECONDS,
) -> list[Finding]:
    """Look at everything; takes the sample's half second. `root`: where /proc and /sys lie."""
    before, steal_before = _cpu_times(root), _steal(root)
    time.sleep(sample_seconds)
    after, steal_after = _cpu_times(root), _steal(root)
    return [
        _cores(root),
        _cgroup(root),
        _governor(root),
        _load(root),
        *_others(before, after, sample_seconds),
        _stolen(steal_before, steal_after),
        *_memory(root),
        _peak(root),
        _disk(results),
        *_variables(environment),
        *_frameworks(),
        _cuda(),
    ]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def _cores(root: Path) -> Finding:
    cores, physical = len(os.sched_getaffinity(0)), physical_cores(root)
    if cores < 2:
        message = "1 core: the runner and the worker share it"
        return Finding(name="cores", severity="warning", message=message, remedy="give this process 2 cores or more")
    if physical is not None and cores > physical:
        message = f"{cores} logical cores on {physical} physical ones: neighbours share a core"
        remedy = "turn SMT off, or use at most as many threads as physical cores"
        return Finding(name="cores", severity="note", message=message, remedy=remedy)
    return Finding(name="cores", severity="ok", message=f"{cores} cores")


def _cgroup(root: Path) -> Finding:
    """A CPU quota of the control group, version 2 or 1: it stops the worker for parts of each period."""
    quota = None
    two = (_text(root / "sys/fs/cgroup/cpu.max") or "").split()
    if len(two) == 2 and two[0].isdigit() and two[1].isdigit():
        quota = int(two[0]) / int(two[1])
    one = _text(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    period = _text(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us")
    if quota is None and one and period and one.strip().isdigit() and period.strip().isdigit():
        quota = int(one) / int(period)
    if quota is None:
        return Finding(name="cpu quota", severity="ok", message="none found")
    message = f"the control group grants {quota:g} cores' time, and stops what goes beyond it"
    remedy = "measure without a quota; pin by cpuset instead"
    return Finding(name="cpu quota", severity="warning", message=message, remedy=remedy)


def _governor(root: Path) -> Finding:
    found = governor(root)
    if found is None:
        message = "not known: no cpufreq in /sys, as in most virtual machines"
        return Finding(name="governor", severity="note", message=message, remedy="trust interleaved ratios only")
    if found == "performance":
        return Finding(name="governor", severity="ok", message=found)
    message = f"{found}: the clock follows the load"
    return Finding(name="governor", severity="warning", message=message, remedy="cpupower frequency-set -g performance")


def _load(root: Path) -> Finding:
    words = (_text(root / "proc/loadavg") or "").split()
    try:
        load = float(words[0])
    except (IndexError, ValueError):
        return Finding(name="load", severity="note", message="not known: /proc/loadavg cannot be read")
    cores = len(os.sched_getaffinity(0))
    message = f"{load:.2f} on {cores} cores over the last minute"
    if load > 0.5 * cores:
        return Finding(name="load", severity="warning", message=message, remedy="wait until the machine is idle")
    return Finding(name="load", severity="ok", message=message)


def _cpu_times(root: Path) -> dict[int, tuple[str, float]]:
    """Name and CPU seconds of each process that can be seen."""
    ticks = os.sysconf("SC_CLK_TCK")
    found = {}
    for path in (root / "proc").glob("[0-9]*/stat"):
        text = _text(path)
        if text is None or ")" not in text:
            continue  # it ended meanwhile
        name, rest = text.split("(", 1)[1].rsplit(")", 1)
        words = rest.split()
        if len(words) > 12:
            found[int(path.parent.name)] = (name, (int(words[11]) + int(words[12])) / ticks)  # utime + stime
    return found


def _others(before: dict[int, tuple[str, float]], after: dict[int, tuple[str, float]], seconds: float) -> list[Finding]:
    busy = []
    for pid, (name, used) in after.items():
        share = (used - before.get(pid, (name, used))[1]) / seconds if seconds else 0.0
        if pid != os.getpid() and share > _BUSY_SHARE:
            busy.append(
                Finding(
                    name="other processes",
                    severity="warning",
                    message=f"{name} (process {pid}) takes {share:.0%} of a core",
                    remedy="stop it, or wait for its end",
                )
            )
    return busy or [
        Finding(name="other processes", severity="ok", message=f"none takes over {_BUSY_SHARE:.0%} of a core")
    ]


def _steal(root: Path) -> tuple[int, int] | None:
    """(stolen, all) ticks of the first line of /proc/stat."""
    words = (_text(root / "proc/stat") or "").split("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu":
        return None
    ticks = [int(word) for word in words[1:9]]
    return ticks[7], sum(ticks)


def _stolen(before: tuple[int, int] | None, after: tuple[int, int] | None) -> Finding:
    if before is None or after is None:
        return Finding(name="steal time", severity="note", message="not known: /proc/stat has no such column")
    share = (after[0] - before[0]) / max(1, after[1] - before[1])
    message = f"{share:.1%} of the time went to other guests"
    if share > 0.02:
        return Finding(name="steal time", severity="warning", message=message, remedy="use a machine of your own")
    return Finding(name="steal time", severity="ok", message=message)


def _memory(root: Path) -> list[Finding]:
    text = _text(root / "proc/meminfo") or ""
    values = {name: int(kb) * 1024 for name, kb in re.findall(r"^(\w+):\s+(\d+) kB", text, flags=re.MULTILINE)}
    free = values.get("MemAvailable")
    if free is None:
        return [Finding(name="memory", severity="note", message="not known: /proc/meminfo cannot be read")]
    findings = []
    message = f"{free / 2**30:.1f} GiB available"
    if free < _MEMORY_NEEDED_BYTES:
        remedy = f"free some: a worker needs about {_MEMORY_NEEDED_BYTES / 2**30:.0f} GiB"
        findings.append(Finding(name="memory", severity="error", message=message, remedy=remedy))
    else:
        findings.append(Finding(name="memory", severity="ok", message=message))
    swapped = values.get("SwapTotal", 0) - values.get("SwapFree", 0)
    if swapped > 0:
        message = f"{swapped / 2**20:.0f} MiB are swapped out"
        findings.append(
            Finding(name="swap", severity="warning", message=message, remedy="swapoff -a, with memory free")
        )
    return findings


def _peak(root: Path) -> Finding:
    try:
        memory.reset_peak(root / "proc/self")
    except memory.Unreadable as error:
        remedy = "let /proc be writable; peak memory is null until then"
        return Finding(name="peak memory", severity="warning", message=str(error), remedy=remedy)
    return Finding(name="peak memory", severity="ok", message="can be reset and read")


def _disk(results: Path) -> Finding:
    place = results.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    message = f"{free / 2**30:.1f} GiB free for {results}"
    if free < _DISK_NEEDED_BYTES:
        return Finding(name="disk", severity="error", message=message, remedy="free some, or take another --results")
    return Finding(name="disk", severity="ok", message=message)


def _variables(environment: Mapping[str, str]) -> list[Finding]:
    found = sorted(name for name in environment if _STEERING_VARIABLES.match(name))
    if not found:
        return [Finding(name="environment", severity="ok", message="no variable that steers threads or frameworks")]
    shown = ", ".join(f"{name}={environment[name]}" for name in found)
    message = f"set by someone: {shown}"
    remedy = "unset them; workers get their numbers of threads from --threads"
    return [Finding(name="environment", severity="note", message=message, remedy=remedy)]


def _frameworks() -> list[Finding]:
    findings = []
    for entry in ENTRIES:
        reason = availability(entry, "cpu")
        versions = ", ".join(f"{package} {installed_version(package)}" for package in entry.packages)
        if reason is None:
            findings.append(Finding(name=entry.name, severity="ok", message=versions))
        else:
            cause, _, remedy = reason.partition("; ")
            findings.append(Finding(name=entry.name, severity="warning", message=cause, remedy=remedy or None))
    return findings


def _cuda() -> Finding:
    gpus, reason = list_gpus()
    if gpus:
        return Finding(name="cuda", severity="ok", message="; ".join(gpus))
    return Finding(name="cuda", severity="note", message=f"no CUDA device: {reason}", remedy="CPU only; nothing to do")
