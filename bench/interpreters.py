"""--python FRAMEWORK=PATH and a config file -> Interpreters: which Python runs the entries of which framework.

On CUDA, PyTorch and TensorFlow want libraries of two CUDA releases that overwrite each other's files, so each has an
environment of its own; and two environments of one framework compare its versions within one run. The code of the
suite is the runner's in all of them: it comes first on their path.
"""

import json
import os
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.contract import ENTRIES
from bench.errors import InputError
from bench.plugins import entries
from bench.record import Interpreter

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "evenhand.toml"  # read from the working folder where no --config is given
_SECONDS = 120  # for an interpreter to start and import what a worker needs

# Run by the other interpreter: that it can be a worker, and what is installed there.
_ASK = """
import json, sys
from importlib import metadata
import bench.worker
found = {}
for name in json.loads(sys.argv[1]):
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def read_interpreters(flags: Sequence[str], config: Path | None) -> list[Interpreter]:
    """What the flags name; of frameworks that they do not name, what the config file names. Raises InputError.

    Several of one framework are told apart by labels: given as FRAMEWORK:LABEL=PATH, else made of the version that is
    installed there.
    """
    named = [_parsed(flag, f"--python {flag!r}") for flag in flags]
    told = {framework for framework, _, _ in named}
    named += [one for one in _configured(config) if one[0] not in told]
    several = Counter(framework for framework, _, _ in named)
    made = [_asked(*one, labelled=several[one[0]] > 1) for one in named]
    for (framework, label), times in Counter((one.framework, one.label) for one in made).items():
        if times > 1:
            raise InputError(
                f"--python: {framework} has {times} interpreters called {label!r}; "
                f"tell them apart: --python {framework}:LABEL=PATH"
            )
    return made


def _parsed(text: str, place: str) -> tuple[str, str, str]:
    """FRAMEWORK[:LABEL]=PATH -> its three parts."""
    key, equals, path = text.partition("=")
    framework, _, label = key.partition(":")
    known = sorted({entry.framework for entry in entries()})
    if not equals or not path:
        raise InputError(f"{place}: must be FRAMEWORK=PATH, such as torch=.venv-torch/bin/python")
    if framework not in known:
        raise InputError(f"{place}: no framework {framework!r}; take one of {', '.join(known)}")
    return framework, label, path


def _configured(config: Path | None) -> list[tuple[str, str, str]]:
    """The table [python] of the config file: framework, or "framework:label", to path; relative to the file."""
    path = config or Path(CONFIG)
    if config is None and not path.is_file():
        return []
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); check --config") from None
    unknown = sorted(set(document) - {"python"})
    table = document.get("python", {})
    if unknown or not isinstance(table, dict):
        raise InputError(f"{path}: {', '.join(unknown) or 'python'}: is no table of it; it holds [python] alone")
    found = []
    for key, value in table.items():
        if not isinstance(value, str):
            raise InputError(f"{path}: python.{key}: must be a path as text, is {value!r}")
        framework, label, given = _parsed(f"{key}={value}", f"{path}: python.{key}")
        found.append((framework, label, str(path.parent / given)))
    return found


def _asked(framework: str, label: str, path: str, *, labelled: bool) -> Interpreter:
    """Start the interpreter once: can it be a worker, and what does it have?"""
    packages = sorted({package for entry in ENTRIES for package in entry.packages})
    # As it was given: a venv's python is a link, through whose target the packages would not be found, and a relative
    # path does not tell everyone who reads the plan where on the machine it lay.
    python = path if os.sep in path else f"./{path}"  # else it would be looked for on PATH
    try:
        done = subprocess.run(
            [python, "-c", _ASK, json.dumps(packages)],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env=environment_of(python),
        )
    except OSError as error:
        raise InputError(f"--python {framework}={path}: cannot be started ({error.strerror}); check the path") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"--python {framework}={path}: gave no answer in {_SECONDS} s; check it") from None
    try:
        found = json.loads(done.stdout)
    except ValueError:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
        raise InputError(
            f"--python {framework}={path}: cannot run a worker ({last.strip()}); "
            f"install this project there: {path} -m pip install '.[{framework}]'"
        ) from None
    first = next((entry.packages[0] for entry in ENTRIES if entry.framework == framework and entry.packages), framework)
    version = found.get(framework) or found.get(first) or "unknown"
    made = label or (f"{framework}-{version}" if labelled else "")
    return Interpreter(framework=framework, label=made, python=python, packages=found)


def environment_of(python: str) -> dict[str, str]:
    """What another interpreter needs in its environment: this project's code first on its path."""
    if python == sys.executable:
        return dict(os.environ)
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), before] if before else [str(ROOT)])}
