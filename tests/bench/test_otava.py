"""bench/otava.py: the real tool where it is installed, and its border where it is not."""

import json
import math
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench import otava
from bench.errors import InputError
from bench.history import append
from bench.otava import find_steps, indexes_of, is_there, looked, read_looked, write_looked
from bench.series import Series, changes_of
from tests.bench.test_history import commit
from tests.bench.test_series import make_series
from tests.command import ROOT

ENVIRONMENT = ROOT / otava.FOLDER
needs_otava = pytest.mark.skipif(
    not is_there(ENVIRONMENT), reason=f"{otava.FOLDER} is missing; make it with `bench history --setup`"
)


def make_noise(steps: Sequence[float], *, seed: int, sd: float = 0.004) -> Series:
    """A year of nights in short: 20 runs a level, with the noise of ratios on a quiet machine."""
    rng = np.random.Generator(np.random.Philox(seed))
    return make_series([level + float(rng.normal(0, sd)) for level in steps for _ in range(20)], machine=f"m{seed}")


@needs_otava
def test_a_step_is_found_where_it_is() -> None:
    """3% slower, then back: both, at their commits; and the real tool is called as it is installed."""
    series = make_noise([0.0, -0.03, 0.0], seed=1)

    found = find_steps([series], ENVIRONMENT)
    changes = changes_of(series, found[series.key])

    assert [20, 40] == [change.index for change in changes]
    assert [False, True] == [change.faster for change in changes]
    assert (commit(19), commit(20)) == (changes[0].before, changes[0].after)
    assert pytest.approx(math.exp(-0.03), abs=0.004) == changes[0].ratio


@needs_otava
def test_noise_alone_is_no_step_and_one_per_cent_is_below_the_least_size() -> None:
    """Series are looked at one by one: a step in one is none in its neighbours. Too short a one is left out."""
    quiet = [make_noise([0.0, 0.0, 0.0], seed=seed) for seed in range(2, 8)]
    small, step = make_noise([0.0, 0.01], seed=8), make_noise([0.0, 0.1], seed=9)
    short = make_series([0.0, 0.0, 1.0, 1.0, 1.0], machine="short")

    found = find_steps([*quiet, small, step, short], ENVIRONMENT)

    assert [[]] * 7 == [found[one.key] for one in [*quiet, small]]
    assert ([20], []) == (found[step.key], found[short.key])


@needs_otava
def test_variables_of_a_ci_system_do_not_reach_otava(monkeypatch: pytest.MonkeyPatch) -> None:
    """BRANCH alone makes it refuse every series, with exit code 0."""
    monkeypatch.setenv("BRANCH", "main")
    monkeypatch.setenv("OTAVA_CONFIG", "/nowhere")
    series = make_noise([0.0, 0.1], seed=9)

    assert [20] == find_steps([series], ENVIRONMENT)[series.key]


def fake(tmp_path: Path, script: str) -> Path:
    """An environment whose otava is a shell script."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "otava"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'ERROR: Test series0: no branch' >&2", "otava looked at no series: ERROR: Test series0: no branch"),
        ("exit 3", "otava looked at no series: no message"),
    ],
)
def test_an_otava_that_answers_nothing_is_refused(tmp_path: Path, script: str, message: str) -> None:
    """It ends with 0 after some errors, so its answer is looked for and not its code."""
    with pytest.raises(InputError, match=message):
        find_steps([make_series([0.0] * 6)], fake(tmp_path, script))


def test_an_otava_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    """With what to do."""
    with pytest.raises(InputError, match=r"cannot be run .* --setup"):
        find_steps([make_series([0.0] * 6)], tmp_path)


def test_otava_is_told_what_it_is_to_do(tmp_path: Path) -> None:
    """p, least size, all of time, ratios and not their logarithms, no variables: read by a stand-in."""
    script = f'echo "$@" > {tmp_path}/arguments; env > {tmp_path}/variables\n'
    script += f'while [ "$1" != --config-file ]; do shift; done; cp "$2" {tmp_path}/config\n'
    script += f'cp "$(dirname "$2")"/series0.csv {tmp_path}/series0.csv; echo \'{{"series0": []}}\''
    found = find_steps([make_series([0.0, 0.5, 0.0, 0.0, 0.0, 0.0])], fake(tmp_path, script))

    arguments = (tmp_path / "arguments").read_text().split()
    config = json.loads((tmp_path / "config").read_text())["tests"]["series0"]
    rows = (tmp_path / "series0.csv").read_text().splitlines()
    names = {line.partition("=")[0] for line in (tmp_path / "variables").read_text().splitlines()}
    assert [[]] == list(found.values())
    assert ["analyze", "series0"] == arguments[:2]
    assert "-P 1e-05 -M 0.015 --since 2000-01-01 --until 2200-01-01 --output json" in " ".join(arguments)
    assert ("csv", "time", ["ratio"]) == (config["type"], config["time_column"], list(config["metrics"]))
    assert ["time,run,ratio", "1.0", repr(math.exp(0.5))] == [rows[0], *(row.split(",")[2] for row in rows[1:3])]
    assert names <= {"PATH", "HOME", "LC_ALL", "PWD", "SHLVL", "_", "OLDPWD"}


def test_short_series_start_no_otava(tmp_path: Path) -> None:
    """Five points have no room for a change."""
    series = make_series([0.0] * 5)

    assert {series.key: []} == find_steps([series], tmp_path)


def test_steps_are_kept_by_their_runs(tmp_path: Path) -> None:
    """A run that a merge brings in before them moves no step."""
    series = make_series([0.0] * 3 + [0.1] * 3)
    append(tmp_path, [series.line])
    write_looked(tmp_path, looked([series], {series.key: [3]}))
    grown = make_series([0.0] * 3 + [0.1] * 3)
    grown = Series(reference=grown.reference, points=(grown.points[1], *grown.points), renewals=())

    seen = read_looked(tmp_path)

    assert seen is not None
    assert (6, ["run-003"]) == (seen.series[series.key].points, seen.series[series.key].runs)
    assert ([3], [4]) == (indexes_of(series, seen), indexes_of(grown, seen))
    assert [] == indexes_of(series, None)


def test_a_broken_file_of_steps_is_refused(tmp_path: Path) -> None:
    """Restore it, or look again."""
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "changes.json").write_text("{")

    with pytest.raises(InputError, match=r"changes\.json: is no whole record"):
        read_looked(tmp_path)
    assert read_looked(tmp_path / "absent") is None


def test_an_environment_that_cannot_be_made_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with pip's last one."""
    monkeypatch.setattr(otava, "REQUIREMENT", "no-such-package-of-evenhand==0.0.1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    with pytest.raises(InputError, match=r"cannot be set up with no-such-package-of-evenhand==0\.0\.1: ERROR"):
        otava.set_up(tmp_path / "venv")
    assert not is_there(tmp_path / "venv")


def test_an_environment_that_is_there_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second --setup starts no process."""
    monkeypatch.setattr(subprocess, "run", None)

    otava.set_up(fake(tmp_path, "true"))
