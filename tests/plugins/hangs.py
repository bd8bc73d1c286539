"""An entry that never returns from build, having said in a file that it began."""

import os
import time
from pathlib import Path

from impls.numpy.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


def build(task, params, data):
    if "HANGS_PID_FILE" in os.environ:
        Path(os.environ["HANGS_PID_FILE"]).write_text(str(os.getpid()))
    time.sleep(600)
