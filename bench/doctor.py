"""The machine now -> findings: would a measurement be worth something here? Each with its severity and remedy."""

import math
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pynvml
from pydantic import ValidationError

from bench.contract import ENTRIES, Precision
from bench.errors import InputError
from bench.interpreters import environment_of
from bench.probes import ceiling, cpu, energy, framework_view, gpu, memory
from bench.probes.available import availability, installed_version
from bench.probes.machine import ROOT, governor
from bench.record import Gpu, Value

Severity = Literal["ok", "note", "warning", "error"]

_SAMPLE_SECONDS = 0.5
_BUSY_SHARE = 0.1  # of one core: less is what any idle system shows
_MEMORY_NEEDED_BYTES = 2 << 30  # a TensorFlow worker with its data takes about 1.2 GiB
_DISK_NEEDED_BYTES = 64 << 20  # some thousand records
_STEERING_VARIABLES = re.compile(
    r"(OMP|MKL|OPENBLAS|NUMEXPR|KMP|GOMP|ONEDNN|DNNL|XLA|TORCH|PYTORCH|TORCHINDUCTOR|KERAS|CUDA|NVIDIA|MALLOC)_"
    r"|TF_(ENABLE|XLA|NUM|FORCE|GPU|DETERMINISTIC|CUDNN|DISABLE|USE)_?|(LD_PRELOAD|GLIBC_TUNABLES)$"
)
# Of these the ones that change no trial: each worker is told its threads and its card, and NVIDIA's images set theirs.
_HARMLESS_VARIABLES = re.compile(r"\w+_NUM_THREADS$|TF_NUM_\w+$|NVIDIA_|CUDA_(VISIBLE_DEVICES|VERSION|HOME|PATH)$")

# Of the spin. Half a second's drift on a virtual machine beside a compiler was 0.5% in the median of 20, its spread 4%.
# Drift of three times the tie band of +-1% would be seen in a ratio; a spread of 10% hides one.
_DRIFT_SHARE = 0.03
_SPREAD_SHARE = 0.1
_FEWEST_SLICES = 8  # two a quarter


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
    """Look at everything; takes the sample's half second, and a spin as long. `root`: where /proc and /sys lie."""
    load = _load(root)  # before the spin adds to it
    before, steal_before, swaps_before = _cpu_times(root), _steal(root), _swaps(root)
    time.sleep(sample_seconds)
    after, steal_after, swaps_after = _cpu_times(root), _steal(root), _swaps(root)
    return [
        _cores(),
        _smt(root),
        _quota(root),
        _governor(root),
        _turbo(root),
        drift(cpu.spin(sample_seconds)),
        load,
        *_others(before, after, sample_seconds),
        _stolen(steal_before, steal_after),
        *_memory(root),
        _memory_limit(root),
        _swapping(swaps_before, swaps_after),
        _huge_pages(root),
        _peak(root),
        _energy(root),
        _mkl(root),
        _disk(results),
        *_variables(environment),
        *_frameworks(),
        _cuda(),
    ]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except (OSError, ValueError):  # ValueError: a path made of garbage
        return None


def _number(text: str | None) -> int | None:
    """A count, as the kernel writes it; None for anything else."""
    found = re.fullmatch(r"[0-9]{1,30}", (text or "").strip())
    return int(found[0]) if found else None


def _not_known(name: str, why: object, remedy: str | None = None) -> Finding:
    return Finding(name=name, severity="note", message=f"not known: {why}", remedy=remedy)


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        message = "1 core: the runner and the worker share it"
        return Finding(name="cores", severity="warning", message=message, remedy="give this process 2 cores or more")
    return Finding(name="cores", severity="ok", message=f"{cores} cores")


def _smt(root: Path) -> Finding:
    """Whether a core that we may use shares its arithmetic with another one, which anybody may use."""
    try:
        groups = cpu.siblings(os.sched_getaffinity(0), root)
    except cpu.Unreadable as error:
        return _not_known("smt", error)
    shared = [group for group in groups if len(group) > 1]
    if not shared:
        return Finding(name="smt", severity="ok", message="no core shares a physical one, as this system sees it")
    first = " and ".join(map(str, shared[0]))
    message = f"{len(shared)} physical cores are two or more to the system: {first} share one, and slow each other"
    remedy = "echo off | sudo tee /sys/devices/system/cpu/smt/control; or leave the siblings idle"
    return Finding(name="smt", severity="warning", message=message, remedy=remedy)


def _groups(root: Path, controller: str) -> list[Path]:
    """The folders of the control group that this process is in and of its parents, whose limits hold too.

    controller: of version 1, which has a tree for each; "" for version 2. In a container the own group may be the
    tree's root, and the path that the kernel tells one of the host's: then only the root is found.
    """
    own = ""
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(","):
            own = path
    names = [name for name in own.split("/") if name not in ("", "..")]
    top = root / "sys/fs/cgroup" / controller
    return [top.joinpath(*names[:count]) for count in range(len(names), -1, -1)]


def _quota(root: Path) -> Finding:
    """A CPU quota of the control group, version 2 or 1: it stops the worker for parts of each period."""
    name = "cpu quota"
    if not (root / "sys/fs/cgroup").is_dir():
        return _not_known(name, "no control groups in /sys/fs/cgroup")
    quotas = []
    for group in _groups(root, ""):
        text = _text(group / "cpu.max")
        granted, _, period = (text or "max 1").strip().partition(" ")
        quotas.append((group / "cpu.max", granted, period))
    for group in _groups(root, "cpu"):
        granted = (_text(group / "cpu.cfs_quota_us") or "-1").strip()
        quotas.append((group / "cpu.cfs_quota_us", granted, _text(group / "cpu.cfs_period_us") or "1"))
    cores = []
    for path, granted, period in quotas:
        if granted in ("max", "-1"):
            continue
        micros, of = _number(granted), _number(period)
        if micros is None or not of:
            return _not_known(name, f"{path} makes no sense: {granted[:20]!r} of {period.strip()[:20]!r}")
        cores.append(micros / of)
    if not cores:
        return Finding(name=name, severity="ok", message="none found")
    message = f"the control group grants {min(cores):g} cores' time, and stops what goes beyond it"
    remedy = "measure without a quota; pin by cpuset instead"
    return Finding(name=name, severity="warning", message=message, remedy=remedy)


def _memory_limit(root: Path) -> Finding:
    """A memory limit of the control group, version 2 or 1: who goes beyond it is killed."""
    name = "memory limit"
    if not (root / "sys/fs/cgroup").is_dir():
        return _not_known(name, "no control groups in /sys/fs/cgroup")
    paths = [group / "memory.max" for group in _groups(root, "")]
    paths += [group / "memory.limit_in_bytes" for group in _groups(root, "memory")]
    limits = []
    for path in paths:
        text = (_text(path) or "max").strip()
        limit = _number(text)
        if limit is None and text != "max":
            return _not_known(name, f"{path} holds {text[:20]!r}")
        if limit is not None and limit < 1 << 60:  # version 1 writes no limit as the largest number of pages
            limits.append(limit)
    if not limits:
        return Finding(name=name, severity="ok", message="none found")
    message = f"the control group grants {min(limits) / 2**30:.1f} GiB, and kills what goes beyond it"
    if min(limits) < _MEMORY_NEEDED_BYTES:
        remedy = f"raise it: a worker needs about {_MEMORY_NEEDED_BYTES / 2**30:.0f} GiB"
        return Finding(name=name, severity="error", message=message, remedy=remedy)
    return Finding(name=name, severity="ok", message=message)


def _governor(root: Path) -> Finding:
    found = governor(root)
    if found is None:
        message = "not known: no cpufreq in /sys, as in most virtual machines"
        return Finding(name="governor", severity="note", message=message, remedy="trust interleaved ratios only")
    if found == "performance":
        return Finding(name="governor", severity="ok", message=found)
    message = f"{found}: the clock follows the load"
    return Finding(name="governor", severity="warning", message=message, remedy="cpupower frequency-set -g performance")


def _turbo(root: Path) -> Finding:
    try:
        on, path = cpu.turbo(root)
    except cpu.Unreadable as error:
        return _not_known("turbo", error, "trust interleaved ratios only")
    if not on:
        return Finding(name="turbo", severity="ok", message="off")
    message = "on: the clock follows heat and what the other cores do"
    remedy = f"echo {int(path.name == 'no_turbo')} | sudo tee {path}"
    return Finding(name="turbo", severity="warning", message=message, remedy=remedy)


def drift(rates: list[float]) -> Finding:
    """The rates of `cpu.spin` -> whether the clock stayed the same. Medians, so that one interrupt is not a drift."""
    name, quarter = "clock drift", len(rates) // 4
    if len(rates) < _FEWEST_SLICES or min(rates) <= 0:
        return _not_known(name, f"the spin made {len(rates)} slices; {_FEWEST_SLICES} are needed")
    change = statistics.median(rates[-quarter:]) / statistics.median(rates[:quarter]) - 1
    tenths = statistics.quantiles(rates, n=10)
    spread = (tenths[-1] - tenths[0]) / statistics.median(rates)
    message = (
        f"one core's speed changed by {change:+.1%} within a short spin; 80% of its slices lie within {spread:.1%}"
    )
    if abs(change) > _DRIFT_SHARE or spread > _SPREAD_SHARE:
        remedy = (
            "fix the clock (governor, turbo), cool the machine, or find who shares its cores; else trust blocks only"
        )
        return Finding(name=name, severity="warning", message=message, remedy=remedy)
    return Finding(name=name, severity="ok", message=message)


def _load(root: Path) -> Finding:
    words = (_text(root / "proc/loadavg") or "").split()
    try:
        load = float(words[0])
    except (IndexError, ValueError):
        load = math.nan
    if not math.isfinite(load):
        return _not_known("load", "/proc/loadavg cannot be read")
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
        pid = _number(path.parent.name)
        user, system = (_number(word) for word in words[11:13]) if len(words) > 12 else (None, None)
        if pid is not None and user is not None and system is not None:
            found[pid] = (name, (user + system) / ticks)
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
    ticks = [count for word in words[1:9] if (count := _number(word)) is not None]
    return (ticks[7], sum(ticks)) if len(ticks) == 8 else None


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
    values = {name: int(kb) * 1024 for name, kb in re.findall(r"^(\w+):\s+([0-9]{1,20}) kB", text, flags=re.MULTILINE)}
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


def _swaps(root: Path) -> int | None:
    """Pages swapped in and out since boot."""
    text = _text(root / "proc/vmstat") or ""
    found = re.findall(r"^pswp(?:in|out) ([0-9]{1,20})$", text, flags=re.MULTILINE)
    return sum(map(int, found)) if len(found) == 2 else None


def _swapping(before: int | None, after: int | None) -> Finding:
    if before is None or after is None:
        return _not_known("swapping", "/proc/vmstat does not count it")
    if after > before:
        message = f"{after - before} pages were swapped while the doctor looked"
        return Finding(name="swapping", severity="warning", message=message, remedy="free memory; then swapoff -a")
    return Finding(name="swapping", severity="ok", message="none while the doctor looked")


def _huge_pages(root: Path) -> Finding:
    """Pages of 2 MiB given unasked: resident memory then grows in such steps, and differs from run to run."""
    path = root / "sys/kernel/mm/transparent_hugepage/enabled"
    found = re.search(r"\[(\w+)\]", _text(path) or "")
    if found is None:
        return _not_known("huge pages", f"{path} names no choice")
    if found[1] != "always":
        return Finding(name="huge pages", severity="ok", message=found[1])
    message = "always: resident memory grows in steps of 2 MiB, and differs more from run to run"
    return Finding(name="huge pages", severity="note", message=message, remedy=f"echo madvise | sudo tee {path}")


def _energy(root: Path) -> Finding:
    try:
        packages = energy.read(root).packages
    except energy.Unreadable as error:
        cause, _, remedy = str(error).partition("; ")
        remedy = remedy or "none: joules are null, all else is measured"
        return Finding(name="energy", severity="note", message=f"not known: {cause}", remedy=remedy)
    return Finding(name="energy", severity="ok", message=f"RAPL counts {', '.join(packages)}")


def _mkl(root: Path) -> Finding:
    """PyTorch's wheels for x86-64 carry MKL. What it costs here is measured by each trial's own ceiling."""
    name = "blas"
    try:
        vendor = cpu.vendor(root)
    except cpu.Unreadable as error:
        return _not_known(name, error)
    torch = installed_version("torch")
    if vendor != "AuthenticAMD" or torch is None or platform.machine() not in ("x86_64", "AMD64"):
        return Finding(name=name, severity="ok", message=f"no library is known to be slow on {vendor}")
    message = f"torch {torch}'s MKL may take a slower path on AMD than on Intel, and than other frameworks' libraries"
    remedy = "nothing to repair: compare each framework's measured ceiling in its records"
    return Finding(name=name, severity="note", message=message, remedy=remedy)


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
    message = f"{free / 2**30:.1f} GiB free for the results"  # without their path: findings are kept and published
    if free < _DISK_NEEDED_BYTES:
        return Finding(name="disk", severity="error", message=message, remedy="free some, or take another --results")
    return Finding(name="disk", severity="ok", message=message)


def _variables(environment: Mapping[str, str]) -> list[Finding]:
    found = sorted(name for name in environment if _STEERING_VARIABLES.match(name))
    if not found:
        return [Finding(name="environment", severity="ok", message="no variable that steers threads or frameworks")]
    shown = ", ".join(f"{name}={environment[name]}" for name in found)
    message = f"set by someone: {shown}"
    harmful = [name for name in found if not _HARMLESS_VARIABLES.match(name)]
    if harmful:
        remedy = f"unset {' '.join(harmful)}: workers inherit what is set here"
        return [Finding(name="environment", severity="warning", message=message, remedy=remedy)]
    remedy = "none needed: workers get their numbers of threads from --threads, and their card from --gpu"
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
    cards, reason = gpu.list_gpus()
    if cards:
        return Finding(name="cuda", severity="ok", message="; ".join(cards))
    return Finding(name="cuda", severity="note", message=f"no CUDA device: {reason}", remedy="CPU only; nothing to do")


# ---- the first GPU, and each one after it

_FRAMEWORK_SECONDS = 180.0  # the first import of a framework and its CUDA libraries from a cold disk takes a minute
_IDLE_SECONDS = 6.0  # NVML's energy counter wants five, GPM metrics one
_OLDEST_DRIVER = 580  # serves the CUDA 13 of torch's wheels and the CUDA 12 of TensorFlow's
_TAKEN_SHARE = 0.5  # of the card: no check needs a tenth, and a framework that takes it all takes most of it
_READ_SECONDS = 0.002  # a read of one value takes a tenth of that; more means that it waited for work
_ONE_EACH = "make setup-cuda makes an environment for each framework; name them by --python"


class View(Value):
    """What `bench.probes.framework_view` replies. reason: why there are no devices, and then nothing else is told."""

    versions: dict[str, str]
    cuda_packages: list[str]
    devices: list[str]
    reason: str | None
    lies_on: str = ""
    relative_error: float = math.nan
    call_seconds: float = math.nan
    wait_seconds: float = math.nan
    read_seconds: float = math.nan
    taken_bytes: int | None = None
    card_bytes: int | None = None
    missing_device_refused: bool = False


def examine_cuda(
    *,
    card: str | None = None,
    pythons: Mapping[str, str] | None = None,
    timeout_seconds: float = _FRAMEWORK_SECONDS,
) -> list[Finding]:
    """Can a card be measured on? Without one a single error; else takes a minute or two.

    card: as --gpu takes it. pythons: the interpreter of a framework, by "torch" or "torch:label"; this one where none
    is named.
    """
    found, reason = gpu.list_gpus()
    if not found:
        remedy = "nvidia-smi must list a card: install NVIDIA's driver; start a container with --gpus all"
        return [Finding(name="cuda", severity="error", message=f"no CUDA device: {reason}", remedy=remedy)]
    try:
        chosen = gpu.choose(card)
    except InputError as error:
        return [Finding(name="cuda", severity="error", message=str(error), remedy="choose another by --gpu")]
    findings = [
        Finding(name="cuda", severity="ok", message=f"{chosen} of {len(found)}"),
        _driver(*gpu.driver()),
        *_modes(chosen.uuid),
    ]
    with gpu.Sampler(chosen.uuid) as sampler:
        start = time.monotonic()
        time.sleep(_IDLE_SECONDS)
        end = time.monotonic()
    findings += idle(sampler.series([(start, end)], worker_pids=()))
    named = dict(pythons or {})
    for framework in framework_view.ENTRIES:
        mine = {key: path for key, path in named.items() if key.partition(":")[0] == framework}
        for key, python in (mine or {framework: sys.executable}).items():
            for precision in ("ieee", "tf32"):
                seen = ask(framework, python, precision=precision, card=chosen.uuid, timeout_seconds=timeout_seconds)
                if isinstance(seen, Finding):
                    findings.append(seen.model_copy(update={"name": key}))
                    break  # it would fail a second time
                findings += judge(key, seen) if precision == "ieee" else [_precision(key, seen, "tf32")]
    return findings


def _driver(version: str | None, reason: str | None) -> Finding:
    name = "driver"
    if version is None:
        return _not_known(name, reason, "nvidia-smi must print it")
    if (_number(version.partition(".")[0]) or 0) < _OLDEST_DRIVER:
        message = f"{version}: torch's wheels for CUDA 13 want {_OLDEST_DRIVER} or newer"
        return Finding(name=name, severity="warning", message=message, remedy="update the driver")
    return Finding(name=name, severity="ok", message=version)


def _modes(uuid: str, nvml: Any = pynvml) -> list[Finding]:
    """How a card is set: what NVML says of the modes that no sample holds."""
    findings = []

    def ask_nvml(name: str, function: Callable[[Any], Any]) -> Any:
        try:
            nvml.nvmlInit()
            try:
                return function(nvml.nvmlDeviceGetHandleByUUID(uuid))
            finally:
                nvml.nvmlShutdown()
        except (nvml.NVMLError, nvml.NVMLLibraryMismatchError) as error:  # the second: the driver's library is older
            findings.append(_not_known(name, f"NVML says: {error}"))
            return None

    persistent = ask_nvml("persistence mode", nvml.nvmlDeviceGetPersistenceMode)
    if persistent is not None and not persistent:
        message = "off: the driver lets go of the card between two workers, and each start pays for it"
        remedy = f"sudo nvidia-smi -i {uuid} -pm 1"
        findings.append(Finding(name="persistence mode", severity="warning", message=message, remedy=remedy))
    elif persistent is not None:
        findings.append(Finding(name="persistence mode", severity="ok", message="on"))
    ecc = ask_nvml("ecc", nvml.nvmlDeviceGetEccMode)
    if ecc is not None:
        now, later = ("on" if mode else "off" for mode in ecc)
        if now != later:
            message, remedy = f"{now}, and {later} after the next start", "restart the machine before measuring"
            findings.append(Finding(name="ecc", severity="warning", message=message, remedy=remedy))
        else:
            findings.append(Finding(name="ecc", severity="ok", message=now))
    return findings


def idle(card: Gpu) -> list[Finding]:
    """What NVML told of a card on which nothing should run. Pure."""
    findings = []
    if card.mig is None:
        findings.append(_not_known("mig", card.reasons.get("mig")))
    elif card.mig:
        message = "on: the measured device is a slice of a card, and NVML counts the whole card's power"
        remedy = f"sudo nvidia-smi -i {card.uuid} -mig 0"
        findings.append(Finding(name="mig", severity="warning", message=message, remedy=remedy))
    else:
        findings.append(Finding(name="mig", severity="ok", message="off"))
    others = card.foreign_processes
    if others is None:
        findings.append(_not_known("gpu processes", card.reasons.get("foreign_processes")))
    elif others:
        message = (
            f"{len(others)} on the card: {', '.join(map(str, others[:5]))} (the host's numbers, in a container too)"
        )
        remedy = "stop them, or wait for their end"
        findings.append(Finding(name="gpu processes", severity="warning", message=message, remedy=remedy))
    else:
        findings.append(Finding(name="gpu processes", severity="ok", message="none on the card"))
    marks = gpu.throttled(card)
    if not any(reasons is not None for reasons in card.throttle_reasons):
        findings.append(_not_known("gpu clocks", card.reasons.get("throttle_reasons")))
    elif marks:
        message, remedy = f"held down while idle: {', '.join(marks)}", "mend cooling or power supply first"
        findings.append(Finding(name="gpu clocks", severity="warning", message=message, remedy=remedy))
    else:
        findings.append(Finding(name="gpu clocks", severity="ok", message="nothing holds them down while idle"))
    powers = [watts for watts in card.power_watts if watts is not None]
    if powers:
        message = f"{statistics.median(powers):.0f} W while idle"
        findings.append(Finding(name="gpu power", severity="ok", message=message))
    else:
        findings.append(_not_known("gpu power", card.reasons.get("power_watts"), "none: watts are null"))
    if card.energy_joules is None or "energy_counter" in card.reasons:
        why = card.reasons.get("energy_counter") or card.reasons.get("energy_joules")
        findings.append(_not_known("gpu energy", why, "none: joules come from sampled power, or are null"))
    else:
        message = f"{card.energy_joules:.0f} J in {card.window_seconds:.0f} s, by NVML's counter"
        findings.append(Finding(name="gpu energy", severity="ok", message=message))
    if any(value is not None for readings in card.gpm.values() for value in readings):
        findings.append(Finding(name="gpm", severity="ok", message=", ".join(card.gpm)))
    else:
        why = card.reasons.get("gpm") or next(map(card.reasons.get, card.gpm), None)
        findings.append(_not_known("gpm", why, "none: only `busy` is told then"))
    return findings


def ask(
    framework: str,
    python: str,
    *,
    precision: Precision,
    card: str,
    device: Literal["cpu", "cuda"] = "cuda",
    timeout_seconds: float = _FRAMEWORK_SECONDS,
) -> View | Finding:
    """A framework's own view, by a process of its own; whatever goes wrong there is a finding."""
    environment = {**environment_of(python), "CUDA_VISIBLE_DEVICES": card}
    command = [python, "-m", framework_view.__name__, framework, device, precision]

    def failed(message: str, remedy: str) -> Finding:
        return Finding(name=framework, severity="error", message=message, remedy=remedy)

    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=timeout_seconds
        )
    except subprocess.TimeoutExpired:
        return failed(f"gave no answer within {timeout_seconds:g} s", f"look what it does: {' '.join(command)}")
    except OSError as error:
        return failed(f"{python} cannot be started ({error.strerror})", _ONE_EACH)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:300]
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        return failed(f"ended with {how}: {said}", f"see all of it: {' '.join(command)}")
    try:
        return View.model_validate_json(done.stdout)
    except ValidationError:
        return failed(f"answered what is no view: {done.stdout[:60]!r}", f"see all of it: {' '.join(command)}")


def judge(name: str, view: View, device: Literal["cpu", "cuda"] = "cuda") -> list[Finding]:
    """What a framework that was configured for IEEE products showed of itself. Pure."""
    findings = []

    def add(what: str, severity: Severity, message: str, remedy: str | None = None) -> None:
        findings.append(Finding(name=f"{name}: {what}", severity=severity, message=message, remedy=remedy))

    made_for = sorted({package.rpartition("-cu")[2] for package in view.cuda_packages})
    if len(made_for) > 1:
        message = f"libraries of CUDA {' and '.join(made_for)} lie in one environment and overwrite each other's files"
        add("installation", "warning", message, _ONE_EACH)
    versions = ", ".join(f"{package} {version}" for package, version in view.versions.items())
    if not view.devices:
        add("device", "error", f"{view.reason or 'it sees no device'} ({versions or 'not installed'})", _ONE_EACH)
        return findings
    add("device", "ok", f"{len(view.devices)}: {', '.join(view.devices)} ({versions})")
    if view.lies_on == device:
        add("placement", "ok", f"a product lies on {device}")
    else:
        add("placement", "error", f"a product lies on {view.lies_on}, not on {device}", "report it: the entry is wrong")
    if view.missing_device_refused:
        add("missing device", "ok", "a card that is not there is refused")
    else:
        message = "a card that is not there is replaced by another device in silence"
        add("missing device", "error", message, "report it: configure() of the entry must forbid it")
    findings.append(_precision(name, view, "ieee"))
    findings.append(_waiting(name, view))
    findings.append(_taken(name, view))
    return findings


def _precision(name: str, view: View, asked: Precision) -> Finding:
    name = f"{name}: {asked} products"
    found = ceiling.classify(view.relative_error)
    message = f"relative error {view.relative_error:.1e}: {found}"
    if found == asked:
        return Finding(name=name, severity="ok", message=message)
    if asked == "tf32" and found == "ieee":
        remedy = "none for the main table; leave out --matmul tf32: it would show the same arithmetic twice"
        return Finding(name=name, severity="warning", message=message, remedy=remedy)
    remedy = "report it: configure() of the entry must set the precision; NVIDIA_TF32_OVERRIDE must not be set"
    return Finding(name=name, severity="error", message=message, remedy=remedy)


def _waiting(name: str, view: View) -> Finding:
    """Calls come back before the work has ended, the wait does not: then a clock that waits at both ends is right."""
    name = f"{name}: waiting"
    call, wait, read = (1e3 * x for x in (view.call_seconds, view.wait_seconds, view.read_seconds))
    message = f"calls {call:.1f} ms, then the wait {wait:.1f} ms, then a read {read:.1f} ms"
    if view.read_seconds > max(view.wait_seconds, _READ_SECONDS):
        remedy = "report it: a clock that stops there would stop too early"
        message += ": the wait ends before the work does"
        return Finding(name=name, severity="error", message=message, remedy=remedy)
    if view.wait_seconds < view.call_seconds:
        remedy = "unset CUDA_LAUNCH_BLOCKING; times hold, but are not those of a common user"
        message += ": the calls themselves waited for the work"
        return Finding(name=name, severity="warning", message=message, remedy=remedy)
    return Finding(name=name, severity="ok", message=message)


def _taken(name: str, view: View) -> Finding:
    name = f"{name}: memory growth"
    total = view.card_bytes
    if view.taken_bytes is None or total is None:
        return _not_known(name, "NVML does not tell the card's memory")
    message = f"it took {view.taken_bytes / 2**30:.1f} of the card's {total / 2**30:.1f} GiB"
    if view.taken_bytes > _TAKEN_SHARE * total:
        remedy = (
            "report it: memory must grow as needed (TF: set_memory_growth; JAX: XLA_PYTHON_CLIENT_PREALLOCATE=false)"
        )
        return Finding(name=name, severity="error", message=message, remedy=remedy)
    return Finding(name=name, severity="ok", message=message)
