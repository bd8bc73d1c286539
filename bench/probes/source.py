"""The code that measures: its commit and its hash."""

import hashlib
import subprocess
import sys
from pathlib import Path

from bench.record import Source

_FOLDERS = ("bench", "impls")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        raise OSError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "git failed")
    return done.stdout


def source_sha256(root: Path) -> str:
    """SHA-256 over path and content of every *.py and *.toml under bench/ and impls/, in order of path."""
    files = [path for folder in _FOLDERS for path in (root / folder).rglob("*") if path.suffix in (".py", ".toml")]
    return _sha256(files, root)


def module_sha256(module_name: str) -> str | None:
    """SHA-256 over the Python files beside a loaded module: what its entry is made of. None where it has no file."""
    file = getattr(sys.modules.get(module_name), "__file__", None)
    if file is None:
        return None
    folder = Path(file).parent
    return _sha256(list(folder.glob("*.py")), folder)


def _sha256(files: list[Path], root: Path) -> str:
    sha = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        sha.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        sha.update(content)
    return sha.hexdigest()


def read_source(root: Path) -> Source:
    """Commit, whether the code differs from it, and the code's hash. Without git: null and the reason."""
    sha256 = source_sha256(root)
    try:
        top = Path(_git(root, "rev-parse", "--show-toplevel").strip())
        if top.resolve() != root.resolve():  # installed inside somebody else's repository: not our commit
            raise OSError("the code is not the root of a git repository")
        commit = _git(root, "rev-parse", "HEAD").strip()
        dirty = bool(_git(root, "status", "--porcelain", "--", *_FOLDERS).strip())
    except (OSError, subprocess.TimeoutExpired) as error:
        return Source(git_commit=None, git_dirty=None, sha256=sha256, reason=f"no commit: {error}")
    return Source(git_commit=commit, git_dirty=dirty, sha256=sha256)
