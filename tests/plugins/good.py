"""An entry that does the task's arithmetic: NumPy's, under another name."""

from impls.numpy.mlp import build, configure, versions

__all__ = ["build", "configure", "versions"]
