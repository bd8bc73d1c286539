"""An entry that ends the process with a code, having said nothing."""

import os
import sys

from impls.numpy.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


def build(task, params, data):
    print("about to leave", file=sys.stderr, flush=True)
    os._exit(7)
