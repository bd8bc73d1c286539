"""An entry's name or import path -> Entry: shipped, installed by another package, or any module. Loads none of them.

What a module says of itself stands in it as plain assignments, read from its source without running it, for a runner
imports no framework:

    NAME = "my-entry"  FRAMEWORK = "torch"  MODE = "graph"  TIER = "tuned"  DEVICES = ("cpu", "cuda")
    LAUNCHER = "torchrun"

Each may be left out; an entry without a launcher trains in one process. Another package offers its entries through the
entry-point group `bench.entries`.
"""

import ast
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

from bench.contract import ENTRIES, Device, Entry, Launcher, Mode, Tier
from bench.errors import InputError

GROUP = "bench.entries"
_ALLOWED: dict[str, tuple[str, ...]] = {
    "MODE": get_args(Mode),
    "TIER": get_args(Tier),
    "DEVICES": get_args(Device),
    "LAUNCHER": get_args(Launcher),
}


@cache
def entries() -> tuple[Entry, ...]:
    """The shipped entries, then those that installed packages offer, in order of their names.

    Raises InputError where an offered one takes a name that is taken, or declares itself wrongly.
    """
    found = {entry.name: entry for entry in ENTRIES}
    for point in sorted(metadata.entry_points(group=GROUP), key=lambda point: point.name):
        if point.name in found:
            raise InputError(
                f"entry point {point.name} = {point.value}: the name is taken by {found[point.name].module}; "
                "uninstall that package, or rename its entry"
            )
        found[point.name] = _entry(point.value, point.name)
    return tuple(found.values())


def find_entry(name: str) -> Entry:
    """A known entry by its name, or any module by its import path (a name with a dot). Raises InputError."""
    known = {entry.name: entry for entry in entries()}
    if name in known:
        return known[name]
    parts = name.split(".")
    if len(parts) > 1 and all(part.isidentifier() for part in parts):
        return _entry(name, None)
    listed = ", ".join(known)
    raise InputError(f"no entry {name!r}; take one of {listed}, or an importable module package.module")


def _entry(module: str, offered_as: str | None) -> Entry:
    """What the module declares. offered_as: the name of its entry point, which its own NAME must be."""
    said = _declared(module)
    name = said.get("NAME", offered_as or module)
    if offered_as is not None and name != offered_as:
        raise InputError(
            f"entry point {offered_as} = {module}: the module calls itself {name!r}; NAME must be the same"
        )
    if offered_as is None and name in {entry.name for entry in ENTRIES}:
        raise InputError(f"{module}: calls itself {name!r}, which is an entry of the suite; choose another NAME")
    return Entry(
        name=name,
        module=module,
        framework=said.get("FRAMEWORK", module.split(".")[0]),
        mode=said.get("MODE", "unstated"),
        tier=said.get("TIER", "unstated"),
        devices=tuple(said.get("DEVICES", ("cpu", "cuda"))),
        launcher=said.get("LAUNCHER"),
    )


def _declared(module: str) -> dict[str, Any]:
    """The plain assignments of a module's source; none where it has no source that can be found."""
    path = _source(module)
    if path is None:
        return {}
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{module}: cannot be read ({error}); mend {path}") from None
    said: dict[str, Any] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
            continue
        key = node.targets[0].id
        if key not in ("NAME", "FRAMEWORK", *_ALLOWED):
            continue
        try:
            said[key] = ast.literal_eval(node.value)
        except ValueError:
            raise InputError(f"{path}: {key}: must be written out as plain text, it is read without running") from None
        _check(path, key, said[key])
    return said


def _check(path: Path, key: str, value: Any) -> None:
    """Raise InputError where a declaration is no text, or none of the words that its key allows."""
    values = value if key == "DEVICES" and isinstance(value, tuple) else (value,)
    for one in values:
        if not isinstance(one, str) or not one or (key in _ALLOWED and one not in _ALLOWED[key]):
            wanted = f"one of {', '.join(_ALLOWED[key])}" if key in _ALLOWED else "a text"
            raise InputError(f"{path}: {key}: must be {wanted}, is {one!r}")


def _source(module: str) -> Path | None:
    """The file of a module, found without importing its parents, as find_spec would for a dotted name."""
    first, *rest = module.split(".")
    try:
        spec = find_spec(first)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        for path in (Path(folder, *rest).with_suffix(".py"), Path(folder, *rest, "__init__.py")):
            if rest and path.is_file():
                return path
    return None
