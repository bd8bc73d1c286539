"""An entry that hands its parameters over in its framework's own layout."""

from impls.numpy.mlp import build as numpy_build
from impls.numpy.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


def build(task, params, data):
    trainer = numpy_build(task, params, data)
    given = trainer.params
    trainer.params = lambda: [(weight.T.copy(), bias) for weight, bias in given()]
    return trainer
