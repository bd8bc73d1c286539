"""Nothing under bench/ imports a framework; implementations import the task and the contract alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import ROOT

FRAMEWORKS = ("torch", "tensorflow", "keras", "jax", "sklearn")
LOOK = f"""
import importlib, pkgutil, sys
import bench
for module in pkgutil.walk_packages(bench.__path__, "bench."):
    if module.name != "bench.__main__":
        importlib.import_module(module.name)
{{planted}}
print(sorted(set(sys.modules) & set({FRAMEWORKS!r})))
"""


def frameworks_loaded(planted: str = "") -> str:
    """The frameworks in sys.modules once all of bench is imported, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(planted=planted)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout.strip()


def test_nothing_under_bench_imports_a_framework() -> None:
    """`bench report` and `bench list` work where none is installed."""
    assert "[]" == frameworks_loaded()


def test_an_import_of_a_framework_is_found() -> None:
    """The check above can fail."""
    assert "['torch']" == frameworks_loaded(planted="import impls.torch.mlp")


def imports_of(source: str) -> set[str]:
    """Every module that a source imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def forbidden(path: Path, source: str) -> set[str]:
    """What an implementation imports of bench and of other implementations beyond what it may."""
    framework = path.relative_to(ROOT / "impls").parts[0]
    allowed = {"bench.task", "bench.contract"}
    if framework == "numpy":
        allowed |= {"bench.oracle"}  # docs/decisions/0006
    ours = {name for name in imports_of(source) if name.split(".")[0] in ("bench", "impls", "")}
    return {name for name in ours if name not in allowed and not f"{name}.".startswith(f"impls.{framework}.")}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "impls").rglob("*.py")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_an_implementation_imports_the_task_and_the_contract_alone(path: Path) -> None:
    """Never the clock, the record or another framework's implementation."""
    assert set() == forbidden(path, path.read_text())


@pytest.mark.parametrize(
    "line",
    [
        "import bench.measure",
        "from bench.record import Trial",
        "from impls.tensorflow import mlp",
        "from ..tensorflow import mlp",
        "from impls.torchlike import mlp",
    ],
)
def test_a_forbidden_import_is_found(line: str) -> None:
    """The check above can fail."""
    assert 1 == len(forbidden(ROOT / "impls" / "torch" / "mlp.py", line))
