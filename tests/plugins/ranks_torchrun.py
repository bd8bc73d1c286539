"""tests.plugins.ranks under PyTorch's launcher."""

from tests.plugins.ranks import build, configure, versions

__all__ = ["build", "configure", "versions"]

LAUNCHER = "torchrun"
