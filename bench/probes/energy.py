"""Energy of the processor packages, by the RAPL counters of Linux' powercap tree: two readings -> joules.

The tree is the same on Intel and AMD (Documentation/power/powercap in the kernel). Only the zones called package-N are
added: their subzones (core, uncore, dram) are inside them or beside them depending on the model, psys holds the
packages themselves, and intel-rapl-mmio is a second view of the same package.
"""

from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path("sys/class/powercap")
_REMEDY = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"  # for root alone since CVE-2020-8694


class Unreadable(Exception):
    """The system does not tell; the message says which file, why, and what can be done."""


@dataclass(frozen=True, kw_only=True)
class Zone:
    """One package at one moment. range_microjoules: where its counter goes back to 0."""

    microjoules: int
    range_microjoules: int


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Every package at one moment, by its name."""

    packages: dict[str, Zone]


def read(root: Path = Path("/")) -> Counters:
    """The counters now. Raises Unreadable unless every package can be read: a sum without one would be too small."""
    packages = {}
    for folder in sorted((root / _FOLDER).glob("intel-rapl:*")):
        name = _text(folder / "name")
        if name.startswith("package-"):
            energy, most = _number(folder / "energy_uj"), _number(folder / "max_energy_range_uj")
            packages[name] = Zone(microjoules=energy, range_microjoules=most)
    if not packages:
        why = f"{root / _FOLDER} holds no package"
        raise Unreadable(f"{why}: no RAPL here, as in most virtual machines, or intel_rapl_msr is not loaded")
    return Counters(packages=packages)


def joules(before: Counters, after: Counters) -> float:
    """What all packages took from one reading to the next.

    A counter that fell has passed the end of its range and begun anew; that it did so only once is assumed. Ranges are
    65 kJ and more, five minutes of a package at 200 W, so the windows between two readings must be shorter than that.
    """
    if before.packages.keys() != after.packages.keys():
        changed = ", ".join(sorted(before.packages.keys() ^ after.packages.keys()))
        raise Unreadable(f"/{_FOLDER}: {changed} is in one of the two readings alone; load no driver while measuring")
    total = 0
    for name, start in before.packages.items():
        taken = after.packages[name].microjoules - start.microjoules
        total += taken if taken >= 0 else taken + start.range_microjoules
    return total / 1e6


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except PermissionError:
        raise Unreadable(f"{path} may be read by root alone; {_REMEDY}") from None
    except OSError as error:
        raise Unreadable(f"{path} cannot be read ({error.strerror})") from None


def _number(path: Path) -> int:
    text = _text(path)
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise Unreadable(f"{path} holds {text[:40]!r}, which is no count of microjoules")
    return value
