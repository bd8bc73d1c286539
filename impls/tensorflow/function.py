"""tensorflow-function: tensorflow-eager with its step as a graph, called batch by batch from Python."""

import tensorflow as tf

from bench.contract import Data, Params
from bench.task import Task
from impls.tensorflow import mlp
from impls.tensorflow.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


class Trainer(mlp.Trainer):
    """See bench.contract. The step is traced once a trainer, as all batches have one shape."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        super().__init__(task, params, data)
        self._graph = tf.function(super().step, jit_compile=False)

    def step(self, rows: tf.Tensor) -> tf.Tensor:
        """One step on the rows (batch,) of the training set; returns the loss before it."""
        return self._graph(rows)


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
