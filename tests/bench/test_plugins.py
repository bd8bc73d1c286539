"""Entries of other packages: found, described without being loaded, and held to what they say."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import InputError
from bench.plugins import find_entry
from tests.command import ROOT

SOURCE = """
import sys
sys.modules["tells-on-import"] = sys
NAME, UNUSED = "not-a-plain-assignment", 1
NAME = "{name}"
FRAMEWORK = "mine"
MODE = "{mode}"
TIER = "tuned"
DEVICES = ("cpu",)
LAUNCHER = "torchrun"
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package of one module, whose import would be seen."""
    folder = tmp_path / "thirdparty"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('the parent was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_a_module_is_described_without_being_loaded(package: Path) -> None:
    """A runner imports no framework: neither the module nor its package is run."""
    (package / "entry.py").write_text(SOURCE.format(name="mine-graph", mode="graph"))
    found = find_entry("thirdparty.entry")

    assert ("mine-graph", "mine", "graph", "tuned", ("cpu",)) == (
        found.name,
        found.framework,
        found.mode,
        found.tier,
        found.devices,
    )
    assert "torchrun" == found.launcher
    assert "tells-on-import" not in sys.modules


def test_a_module_that_says_nothing_is_unstated(package: Path) -> None:
    """Its import path is its name."""
    (package / "quiet.py").write_text("x = 1")
    found = find_entry("thirdparty.quiet")

    assert ("thirdparty.quiet", "thirdparty", "unstated", "unstated") == (
        found.name,
        found.framework,
        found.mode,
        found.tier,
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('NAME = "torch-eager"', "calls itself 'torch-eager', which is an entry of the suite; choose another NAME"),
        ('MODE = "fast"', "MODE: must be one of eager, graph, compiled, whole-loop, unstated, is 'fast'"),
        ('LAUNCHER = "mpirun"', "LAUNCHER: must be one of torchrun, tf-config, one-process, is 'mpirun'"),
        ("NAME = 3", "NAME: must be a text, is 3"),
        ('NAME = "a" + str(1)', "NAME: must be written out as plain text"),
        ("def (", "thirdparty.entry: cannot be read"),
    ],
)
def test_a_wrong_declaration_is_one_clear_line(package: Path, source: str, message: str) -> None:
    """Which module or file, which key, what is allowed."""
    (package / "entry.py").write_text(source)

    with pytest.raises(InputError, match=message):
        find_entry("thirdparty.entry")


INSTALLED = """
from bench.plugins import entries
print([(e.name, e.module, e.mode) for e in entries() if e.name not in %r])
"""


def installed(folder: Path, points: str) -> subprocess.CompletedProcess[str]:
    """What `bench` sees beside a distribution with these entry points, in a process of its own."""
    info = folder / "third_party-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[bench.entries]\n{points}\n")
    (folder / "thirdparty").mkdir()
    (folder / "thirdparty" / "__init__.py").write_text("")
    (folder / "thirdparty" / "entry.py").write_text(SOURCE.format(name="mine-graph", mode="graph"))
    from bench.contract import ENTRIES

    code = INSTALLED % ([entry.name for entry in ENTRIES],)
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_installed_package_offers_its_entries(tmp_path: Path) -> None:
    """Through the entry-point group bench.entries."""
    done = installed(tmp_path, "mine-graph = thirdparty.entry")

    assert "[('mine-graph', 'thirdparty.entry', 'graph')]" == done.stdout.strip(), done.stderr


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("torch-eager = thirdparty.entry", "the name is taken by impls.torch.mlp"),
        ("other = thirdparty.entry", "the module calls itself 'mine-graph'; NAME must be the same"),
    ],
)
def test_an_entry_point_that_lies_about_its_name_is_refused(tmp_path: Path, points: str, message: str) -> None:
    """Neither another's name nor two names."""
    assert message in installed(tmp_path, points).stderr
