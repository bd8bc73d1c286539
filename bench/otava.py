"""list[Series] -> where each of them steps, by apache-otava in an environment of its own.

otava pins its own numpy, so it is never installed beside the frameworks: it runs as a process, over CSV files. The
method is E-divisive means with a t-test in place of permutations (Matteson and James 2014; Fleming et al. 2023, the
paper of "Hunter", as otava was called).
"""

import csv
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.errors import InputError
from bench.history import folder_of
from bench.record import Value, compact_json, read_value
from bench.series import LEAST_POINTS, Series

REQUIREMENT = "apache-otava==0.8.0"
P = 1e-5  # of otava's t-test on each step; at its own 0.001 a year of nights yields false steps in every series
SIZE = 0.015  # the least step: below it, ratios of one machine move with kernels and firmware
LOOKED_FILE = "changes.json"
FOLDER = ".venv-otava"


class Steps(Value):
    """Of one series: how many points were looked at, and the run of the first point after each step."""

    points: int
    runs: list[str]


class Looked(Value):
    """What a detector found in the history, kept so that a report needs no detector."""

    tool: str
    p: float
    least_size: float
    series: dict[str, Steps]


def is_there(environment: Path) -> bool:
    """Whether otava is installed in its environment."""
    return (environment / "bin" / "otava").exists()


def set_up(environment: Path) -> None:
    """Make the environment, with plain venv and pip; does nothing where it is there. Raises InputError."""
    if is_there(environment):
        return
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", str(environment)], [*pip, REQUIREMENT]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"{environment}: cannot be set up with {REQUIREMENT}: {last}")


def find_steps(series: Sequence[Series], environment: Path) -> dict[str, list[int]]:
    """Indexes of the first points after a step, by the series' key. Raises InputError where otava fails."""
    found: dict[str, list[int]] = {one.key: [] for one in series}
    long = [one for one in series if len(one.points) >= 2 * LEAST_POINTS]
    if not long:
        return found
    with tempfile.TemporaryDirectory(prefix="bench-otava-") as scratch:
        names = {f"series{number}": one for number, one in enumerate(long)}
        for name, one in names.items():
            _write_csv(Path(scratch) / f"{name}.csv", one)
        config = Path(scratch) / "otava.yaml"
        config.write_text(json.dumps({"tests": {name: _test(Path(scratch) / f"{name}.csv") for name in names}}))
        done = _run(environment, config, list(names), home=Path(scratch))
    answers = _answers(done.stdout)
    for name, one in names.items():
        if name not in answers:  # otava ends with 0 after some errors
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            raise InputError(
                f"{environment}: otava looked at no series: {lines[-1]}; make the folder anew with --setup"
            )
        found[one.key] = sorted({change["index"] for group in answers[name] for change in group["changes"]})
    return found


def _test(path: Path) -> dict[str, Any]:
    """A series in otava's configuration; YAML holds JSON."""
    return {
        "type": "csv",
        "file": str(path),
        "time_column": "time",
        "attributes": ["run"],
        "metrics": {"ratio": {"column": "ratio", "direction": 1, "scale": 1}},
        "csv_options": {"delimiter": ",", "quote_char": '"'},
    }


def _write_csv(path: Path, series: Series) -> None:
    """Ratios, not their logarithms: otava's size of a step is a quotient of means. Its times only put them in order."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "run", "ratio"])
        for number, point in enumerate(series.points):
            hour = datetime(2001, 1, 1, tzinfo=UTC) + timedelta(hours=number)
            writer.writerow([hour.isoformat(), point.line.run, repr(math.exp(point.log_ratio))])


def _run(environment: Path, config: Path, names: Sequence[str], *, home: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(environment / "bin" / "otava"), "analyze", *names, "--config-file", str(config)]
    command += ["-P", repr(P), "-M", repr(SIZE), "--since", "2000-01-01", "--until", "2200-01-01", "--output", "json"]
    # otava takes options from variables such as BRANCH, which CI systems set, and from files in the home folder.
    clean = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LC_ALL": "C.UTF-8"}
    try:
        return subprocess.run(command, capture_output=True, text=True, env=clean, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{environment}: otava cannot be run ({error}); make the folder anew with --setup") from None


def _answers(text: str) -> dict[str, Any]:
    """One JSON document a line, each with one series by its name; other lines are otava's own."""
    answers: dict[str, Any] = {}
    for line in text.splitlines():
        if line.startswith("{"):
            answers |= json.loads(line)
    return answers


def looked(series: Sequence[Series], steps: Mapping[str, Sequence[int]]) -> Looked:
    """What is kept of a look at every series."""
    of = {one.key: [one.points[index].line.run for index in steps[one.key]] for one in series}
    counted = {one.key: Steps(points=len(one.points), runs=of[one.key]) for one in series}
    return Looked(tool=REQUIREMENT.replace("==", " "), p=P, least_size=SIZE, series=counted)


def write_looked(results: Path, seen: Looked) -> None:
    """Keep it, in place of what was found before."""
    path = folder_of(results) / LOOKED_FILE
    try:
        path.write_text(compact_json(seen.model_dump(mode="json")), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); check the folder's permissions") from None


def read_looked(results: Path) -> Looked | None:
    """What was found last; None where nothing was looked for yet."""
    path = folder_of(results) / LOOKED_FILE
    return read_value(Looked, path) if path.exists() else None


def indexes_of(series: Series, seen: Looked | None) -> list[int]:
    """The steps of a series that were kept, wherever their runs stand in it now."""
    runs = set(seen.series[series.key].runs) if seen is not None and series.key in seen.series else set()
    return [index for index, point in enumerate(series.points) if point.line.run in runs]
