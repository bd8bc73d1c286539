"""An entry that can't do what is asked, and says so."""

from bench.contract import Refusal
from impls.numpy.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


def build(task, params, data):
    raise Refusal("has no SGD")
