"""An entry whose NAME, once it runs, is another's."""

from impls.numpy.mlp import build, configure, versions

__all__ = ["build", "configure", "versions"]

globals()["NAME"] = "torch-eager"  # not a plain assignment, so that it is not seen before it runs
