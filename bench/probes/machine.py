"""What this machine is: the facts that decide whether two results may be compared."""

import hashlib
import json
import os
import platform
import re
from pathlib import Path

from bench.probes.gpu import driver, list_gpus
from bench.record import Machine

ROOT = Path("/")


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def _cpuinfo(root: Path) -> dict[str, list[str]]:
    """Every key of /proc/cpuinfo with its value for each processor."""
    values: dict[str, list[str]] = {}
    for line in (_read(root / "proc/cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values.setdefault(key.strip(), []).append(value.strip())
    return values


def physical_cores(root: Path = ROOT) -> int | None:
    """Distinct (socket, core) pairs of /proc/cpuinfo; None where it does not name them."""
    cpuinfo = _cpuinfo(root)
    pairs = set(zip(cpuinfo.get("physical id", []), cpuinfo.get("core id", []), strict=False))
    return len(pairs) or None


def memory_bytes(root: Path = ROOT) -> int | None:
    """MemTotal of /proc/meminfo."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", _read(root / "proc/meminfo") or "", flags=re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def governor(root: Path = ROOT) -> str | None:
    """The frequency governor of the first core; None in most virtual machines."""
    return _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def _system(root: Path) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', _read(root / "etc/os-release") or "", flags=re.MULTILINE)
    return found[1] if found else platform.system()


def read_machine(root: Path = ROOT) -> Machine:
    """The machine as a value; no host or user name. Figures that cannot be read are null, with the reason.

    The fingerprint covers what decides speed and stays (CPU model, cores, memory in GiB, architecture, cards), not the
    kernel or the GPU's driver: it says which results may stand in one table.
    """
    reasons = {}
    cpuinfo = _cpuinfo(root)
    cpu_model = next(iter(cpuinfo.get("model name", [])), None)
    flags = " ".join(cpuinfo.get("flags", [])[:1]).split()
    facts = {
        "cpu_model": (cpu_model, "/proc/cpuinfo names no model"),
        "physical_cores": (physical_cores(root), "/proc/cpuinfo names no cores"),
        "memory_bytes": (memory_bytes(root), "/proc/meminfo cannot be read"),
        "governor": (governor(root), "no cpufreq in /sys, as in most virtual machines"),
        "hypervisor": ("yes" if "hypervisor" in flags else None, "the CPU has no hypervisor flag"),
    }
    for name, (value, reason) in facts.items():
        if value is None:
            reasons[name] = reason
    gpus, no_gpu = list_gpus()
    if no_gpu is not None:
        reasons["gpus"] = no_gpu
    gpu_driver, no_driver = driver()
    if no_driver is not None:
        reasons["gpu_driver"] = no_driver
    cores = len(os.sched_getaffinity(0))
    words = re.sub(r"\((r|tm|c)\)|cpu|@.*", " ", (cpu_model or platform.machine()).lower())
    slug = "-".join(re.findall(r"[a-z0-9]+", words))[:40].strip("-")
    machine = Machine.model_validate(
        {name: value for name, (value, _) in facts.items()}
        | {
            "fingerprint": "",
            "name": "",
            "architecture": platform.machine(),
            "cores": cores,
            "kernel": platform.release(),
            "system": _system(root),
            "gpus": gpus,
            "gpu_driver": gpu_driver,
            "reasons": reasons,
        }
    )
    fingerprint = fingerprint_of(machine)
    return machine.model_copy(update={"fingerprint": fingerprint, "name": f"{slug}-{cores}c-{fingerprint[:4]}"})


def fingerprint_of(machine: Machine) -> str:
    """The fingerprint that a machine's facts give; its own field is not looked at."""
    memory = machine.memory_bytes
    stable = {
        "cpu_model": machine.cpu_model,
        "cores": machine.cores,
        "memory_gib": round(memory / 2**30) if memory is not None else None,
        "architecture": machine.architecture,
        "gpus": [card.split(" (")[0] for card in machine.gpus],
    }
    return hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest()[:12]
