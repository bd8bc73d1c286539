"""An entry whose trainer lacks a method of the contract."""

from impls.numpy.mlp import build as numpy_build
from impls.numpy.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


class Trainer:
    def __init__(self, trainer):
        self.train, self.params = trainer.train, trainer.params


def build(task, params, data):
    return Trainer(numpy_build(task, params, data))
