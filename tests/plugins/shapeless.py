"""An entry that returns one loss, whatever was asked."""

import numpy as np

from impls.numpy.mlp import build as numpy_build
from impls.numpy.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


def build(task, params, data):
    trainer = numpy_build(task, params, data)
    train = trainer.train
    trainer.train = lambda batches: np.float64(train(batches)[0])
    return trainer
