"""An entry that takes more memory than it may."""

import numpy as np

from impls.numpy.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


def build(task, params, data):
    return [np.empty(1 << 27) for _ in range(64)]  # 64 times 1 GiB of address space, which is what the limit bounds
