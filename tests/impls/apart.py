"""Which entries a process tests, and those that are tested in a process of their own."""

import os
import subprocess
import sys

import pytest

from bench.contract import ENTRIES

# A process holds one backend of Keras: these entries are tested by the same file in processes of their own.
APART = ("keras-jax", "keras-torch")
ALONE = os.environ.get("ENTRY_UNDER_TEST")
# Each of their trainers compiles for seconds, and each test builds one or two.
COMPILES_LONG = ("jax-jit", "jax-scan", "tensorflow-xla", "torch-compile", "torch-tuned")
HERE = [
    pytest.param(entry, id=entry.name, marks=pytest.mark.slow if entry.name in COMPILES_LONG else ())
    for entry in ENTRIES
    if (entry.name == ALONE if ALONE else entry.name not in APART)
]
here_alone = pytest.mark.skipif(ALONE is not None, reason="this is the process apart")


def apart(file: str, name: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a file on one entry, in a process that has its backend."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file],
        env={**os.environ, "ENTRY_UNDER_TEST": name},
        capture_output=True,
        text=True,
        timeout=290,
    )
