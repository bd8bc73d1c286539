"""An entry whose losses are not numbers."""

import numpy as np

from impls.numpy.mlp import build as numpy_build
from impls.numpy.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


def build(task, params, data):
    trainer = numpy_build(task, params, data)
    train = trainer.train
    trainer.train = lambda batches: train(batches) * np.float32(np.nan)
    return trainer
