"""Which Python runs which framework: flags, the config file, and interpreters that are none. With real interpreters."""

import sys
import venv
from pathlib import Path

import pytest

from bench.errors import InputError
from bench.interpreters import read_interpreters
from bench.plan import case_of, cases, interpreter_of
from bench.plugins import find_entry
from bench.record import Plan
from bench.task import load_task
from tests.command import bench
from tests.make import make_trial


def test_a_flag_names_the_python_of_a_framework_and_what_it_has() -> None:
    """One interpreter of a framework needs no label."""
    (found,) = read_interpreters([f"torch={sys.executable}"], None)

    assert ("torch", "", sys.executable) == (found.framework, found.label, found.python)
    assert found.packages["torch"].startswith("2.")


def test_two_of_one_framework_are_told_apart_by_labels() -> None:
    """Given, or made of the version."""
    found = read_interpreters([f"torch={sys.executable}", f"torch:mine={sys.executable}"], None)

    assert "mine" == found[1].label
    assert found[0].label == f"torch-{found[0].packages['torch']}"


def test_two_of_the_same_version_need_labels() -> None:
    """Their files would overwrite each other."""
    with pytest.raises(InputError, match=r"2 interpreters called .* --python torch:LABEL=PATH"):
        read_interpreters([f"torch={sys.executable}"] * 2, None)


def test_the_config_file_holds_them_too_and_flags_come_first(tmp_path: Path) -> None:
    """Paths are relative to the file."""
    link = tmp_path / "python"
    link.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    link.chmod(0o755)
    config = tmp_path / "mine.toml"
    config.write_text('[python]\ntorch = "python"\n"torch:b" = "python"\ntensorflow = "python"\n')
    found = read_interpreters([f"torch={sys.executable}"], config)

    assert [("torch", sys.executable), ("tensorflow", str(link))] == [(one.framework, one.python) for one in found]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("torch", r"must be FRAMEWORK=PATH"),
        ("torch=", r"must be FRAMEWORK=PATH"),
        ("touch=/usr/bin/python3", r"no framework 'touch'; take one of .*torch"),
        ("torch=/nowhere/python", r"cannot be started \(No such file or directory\)"),
        ("torch=/bin/false", r"cannot run a worker"),
        ("torch=/bin/echo", r"cannot run a worker"),
    ],
)
def test_what_is_no_interpreter_is_one_line(flag: str, message: str) -> None:
    """Cause and remedy, before anything is run."""
    done = bench("run", "--profile", "smoke", "--python", flag, "--dry-run")

    assert 2 == done.returncode
    assert 1 == len(done.stderr.splitlines())
    assert "Traceback" not in done.stderr
    with pytest.raises(InputError, match=message):
        read_interpreters([flag], None)


def test_an_interpreter_without_what_a_worker_needs_is_told_how_to_get_it(tmp_path: Path) -> None:
    """A bare environment, made for real."""
    venv.create(tmp_path / "bare", with_pip=False)

    with pytest.raises(InputError, match=r"cannot run a worker \(ModuleNotFoundError.*pip install '\.\[torch\]'"):
        read_interpreters([f"torch={tmp_path}/bare/bin/python"], None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[python\n", "cannot be read"),
        ("[pythons]\n", r"pythons: is no table of it"),
        ("python = 3\n", r"python: is no table of it"),
        ("[python]\ntorch = 3\n", r"python\.torch: must be a path as text, is 3"),
    ],
)
def test_a_broken_config_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    """File, place and cause."""
    config = tmp_path / "broken.toml"
    config.write_text(text)

    with pytest.raises(InputError, match=message):
        read_interpreters([], config)


def test_a_plan_has_a_case_for_each_interpreter_of_the_framework() -> None:
    """Two versions of torch in one run; TensorFlow stays with the runner's own."""
    plan = Plan.model_validate(
        {
            "run": "run-0",
            "profile": "quick",
            "seed": 1,
            "blocks": 1,
            "tasks": [load_task("mlp")],
            "entries": ["torch-eager", "tensorflow-function"],
            "devices": ["cpu"],
            "threads": [1],
            "interpreters": [
                {"framework": "torch", "label": label, "python": f"/{label}", "packages": {}} for label in ("a", "b")
            ],
            "time_limit_seconds": 1,
            "memory_limit_bytes": None,
            "created_utc": "2026-01-02T03:04:05+00:00",
            "machine_fingerprint": "machine-0",
            "source": make_trial().source,
        }
    )
    found = cases(plan)
    other = case_of(load_task("mlp"), find_entry("tensorflow-function"), "cpu", 1)

    assert [("torch-eager", "a"), ("torch-eager", "b"), ("tensorflow-function", "")] == [
        (case.entry, case.environment) for case in found
    ]
    assert "/b" == interpreter_of(plan, found[1]).python  # type: ignore[union-attr]
    assert interpreter_of(plan, other) is None
