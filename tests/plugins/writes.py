"""An entry that trains in the very arrays that it was given."""

from impls.numpy.mlp import build as numpy_build
from impls.numpy.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


def build(task, params, data):
    weight = params[0][0]
    weight.flags.writeable = True
    trainer = numpy_build(task, params, data)
    weight += 1
    return trainer
