"""An entry that leaves a child process behind."""

import os
import subprocess
from pathlib import Path

from impls.numpy.mlp import build as numpy_build
from impls.numpy.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


def build(task, params, data):
    process = subprocess.Popen(["sleep", "600"])
    Path(os.environ["CHILD_PID_FILE"]).write_text(str(process.pid))
    return numpy_build(task, params, data)
