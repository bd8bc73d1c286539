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
# Flags of /proc/cpuinfo (x86), features (Arm): BLAS, oneDNN and XLA choose their kernels by them.
_VECTOR_EXTENSIONS = (
    *("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_tile", "amx_bf16"),
    *("asimd", "asimdhp", "bf16", "i8mm", "sve", "sve2"),
)


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


def _cpu_type(cpuinfo: dict[str, list[str]]) -> str | None:
    """AuthenticAMD 25/1/1: maker, family, model, stepping; on Arm 0x41/8/0x3/0xd0c/1. None where nothing is named."""
    keys = ("cpu family", "model", "stepping"), ("CPU architecture", "CPU variant", "CPU part", "CPU revision")
    makers = "vendor_id", "CPU implementer"
    for maker, of in zip(makers, keys, strict=True):
        if maker in cpuinfo and all(key in cpuinfo for key in of):
            return f"{cpuinfo[maker][0]} {'/'.join(cpuinfo[key][0] for key in of)}"
    return None


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

    The fingerprint covers what decides speed and stays (CPU model, type and vector extensions, cores, memory in GiB,
    architecture, cards), not the kernel or the GPU's driver: it says which results may stand in one table.
    """
    reasons = {}
    cpuinfo = _cpuinfo(root)
    cpu_model = next(iter(cpuinfo.get("model name", [])), None)
    flags = " ".join([*cpuinfo.get("flags", [])[:1], *cpuinfo.get("Features", [])[:1]]).split()
    facts = {
        "cpu_model": (cpu_model, "/proc/cpuinfo names no model"),
        "cpu_type": (_cpu_type(cpuinfo), "/proc/cpuinfo names no family and model by number"),
        "vector_extensions": (
            [name for name in _VECTOR_EXTENSIONS if name in flags] if flags else None,
            "/proc/cpuinfo names no flags",
        ),
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
    # "AMD EPYC" is the whole name of many a processor in a virtual machine, with and without AVX-512. Records older
    # than these two facts keep the fingerprint that they were given.
    if machine.cpu_type is not None:
        stable["cpu_type"] = machine.cpu_type
    if machine.vector_extensions is not None:
        stable["vector_extensions"] = machine.vector_extensions
    return hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest()[:12]
