"""An entry of another learning rate: 1% off, as a slip of the pen would be."""

from impls.numpy.mlp import build as numpy_build
from impls.numpy.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


def build(task, params, data):
    optimizer = task.optimizer.model_copy(update={"learning_rate": task.optimizer.learning_rate * 1.01})
    return numpy_build(task.model_copy(update={"optimizer": optimizer}), params, data)
