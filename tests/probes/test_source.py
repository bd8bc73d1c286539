"""The code that measured is named by its commit and by its hash."""

import subprocess
from pathlib import Path

import pytest

from bench.probes.source import read_source, source_sha256


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project of two files, without git."""
    for name in ("bench/a.py", "impls/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    return tmp_path


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


def test_without_git_the_commit_is_null_with_a_reason(tree: Path) -> None:
    """The hash holds all the same."""
    found = read_source(tree)

    assert (None, None, 64) == (found.git_commit, found.git_dirty, len(found.sha256))
    assert found.reason.startswith("no commit: ")


def test_a_changed_file_makes_the_code_dirty(tree: Path) -> None:
    """Clean after the commit, dirty after a change of code, not after a change of results."""
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "one")
    clean = read_source(tree)
    (tree / "results").mkdir()
    (tree / "results" / "x.json").write_text("{}")
    with_results = read_source(tree)
    (tree / "bench" / "a.py").write_text("x = 2\n")
    changed = read_source(tree)

    assert (40, False, False, True) == (
        len(clean.git_commit),
        clean.git_dirty,
        with_results.git_dirty,
        changed.git_dirty,
    )
    assert clean.sha256 == with_results.sha256 != changed.sha256


def test_somebody_elses_repository_is_not_our_commit(tree: Path) -> None:
    """Installed below another project, its commit says nothing of our code."""
    git(tree, "init", "-q")
    inner = tree / "lib"
    (inner / "bench").mkdir(parents=True)

    assert read_source(inner).git_commit is None


def test_name_and_content_are_both_in_the_hash(tree: Path) -> None:
    """A renamed file is other code."""
    before = source_sha256(tree)
    (tree / "bench" / "a.py").rename(tree / "bench" / "c.py")

    assert before != source_sha256(tree)
