"""An entry that fills the disk its file lies on, and then trains well."""

import contextlib
import os
from pathlib import Path

from impls.numpy.mlp import build as numpy_build
from impls.numpy.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


def build(task, params, data):
    for size in (1 << 16, 1):  # coarse, then to the last byte
        with contextlib.suppress(OSError), Path(os.environ["FILLS_FILE"]).open("ab", buffering=0) as file:
            while file.write(bytes(size)) == size:
                pass
    return numpy_build(task, params, data)
