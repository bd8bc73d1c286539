"""What can run here, and the reason where something cannot. Imports no framework."""

from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec

from bench.contract import Device, Entry
from bench.probes.gpu import list_gpus


def installed_version(package: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def availability(entry: Entry, device: Device, packages: Mapping[str, str] | None = None) -> str | None:
    """None where the entry can run on the device here, else the reason with its remedy.

    packages: what the interpreter of the entry has installed, with versions; None: this one runs it.
    """
    version = installed_version if packages is None else packages.get
    missing = [package for package in entry.packages if version(package) is None]
    if missing:
        extras = ",".join((entry.framework, *entry.extras))
        return f"{', '.join(missing)} is not installed; pip install 'evenhand[{extras}]'"
    if device == "cuda":
        if entry.mode != "unstated" and "cuda" not in entry.devices:
            return f"{entry.name} has no CUDA path"
        gpus, reason = list_gpus()
        if not gpus:
            return f"no CUDA device: {reason}"
    return None


def importable(module: str) -> bool:
    """Whether a module's file can be found; it is not loaded, its parents are."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
