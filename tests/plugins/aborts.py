"""An entry that dies by a signal."""

import os

from impls.numpy.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


def build(task, params, data):
    os.abort()
