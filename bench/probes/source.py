"""The code that measures: its commit and its hash."""

import hashlib
import subprocess
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
    sha = hashlib.sha256()
    files = [path for folder in _FOLDERS for path in (root / folder).rglob("*") if path.suffix in (".py", ".toml")]
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
