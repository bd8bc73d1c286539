"""An entry that prints to standard output, where the record goes."""

import os

from impls.numpy.mlp import build as numpy_build
from impls.numpy.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


def build(task, params, data):
    print("{not a record")
    os.write(1, b"nor this\n")
    return numpy_build(task, params, data)
