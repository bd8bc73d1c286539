"""The README's examples run, in its order, as a newcomer would type them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import ROOT

README = (ROOT / "README.md").read_text()


def examples() -> list[str]:
    """Every line behind a $ in the README's console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.mark.slow
def test_the_examples_of_the_readme_run(tmp_path: Path) -> None:
    """In an empty folder, one after the other, each with exit code 0 (doctor may find this machine unfit: 1)."""
    commands = examples()
    for command in commands:
        name, *arguments = command.split()
        assert "bench" == name
        done = subprocess.run(
            [sys.executable, "-m", "bench.cli", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=280
        )
        allowed = {0, 1} if arguments == ["doctor"] else {0}
        assert done.returncode in allowed, f"{command}\n{done.stdout}\n{done.stderr}"

    assert len(commands) >= 6
    assert (tmp_path / "results" / "README.md").is_file()


@pytest.mark.slow
def test_the_example_of_a_new_framework_is_certified_and_measured(tmp_path: Path) -> None:
    """docs/adding-a-framework.md: its commands, as typed; the entry has at most 80 lines."""
    text = (ROOT / "docs" / "adding-a-framework.md").read_text()
    [block] = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    first, *commands = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    assert "cd docs/examples" == first
    for command in commands:
        arguments = command.replace("/tmp/handmade", str(tmp_path)).split()[1:]
        done = subprocess.run(
            [sys.executable, "-m", "bench.cli", *arguments],
            cwd=ROOT / "docs" / "examples",
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert 0 == done.returncode, f"{command}\n{done.stdout}\n{done.stderr}"

    assert 2 == len(commands)
    assert "handmade-torch" in done.stdout
    assert len((ROOT / "docs" / "examples" / "handmade" / "entry.py").read_text().splitlines()) <= 80


def test_every_file_that_the_documents_link_to_exists() -> None:
    """A link to nowhere is a promise not kept."""
    documents = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("impls/**/*.md"),
        *ROOT.glob("results/*.md"),
    ]
    missing = [
        (str(document.relative_to(ROOT)), link)
        for document in documents
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
        if "://" not in link and not (document.parent / link).exists()
    ]

    assert [] == missing


def test_make_help_lists_every_target() -> None:
    """What can be made is told by `make help`."""
    # Under `make test` this make is a child of another; without these it is one of its own, and prints no folder.
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, env=environment)
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)

    assert targets == [line.split()[1] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", ["bench", "impls"])
def test_every_package_is_listed_in_pyproject(name: str) -> None:
    """setuptools takes only packages that are listed: a new folder that is not would be missing once installed."""
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {str(path.parent.relative_to(ROOT)).replace("/", ".") for path in (ROOT / name).rglob("__init__.py")}

    assert found == {package for package in listed if package.split(".")[0] == name}
