"""tensorflow-function: tensorflow-eager with its step as a graph, called batch by batch from Python."""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bench.contract import Data, Params
from bench.task import Task
from impls.tensorflow import mlp
from impls.tensorflow.mlp import configure, host_reads, versions

__all__ = ["build", "configure", "host_reads", "versions"]


class Trainer(mlp.Trainer):
    """See bench.contract. The step is traced once a trainer, as all batches have one shape."""

    jit_compile = False

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        super().__init__(task, params, data)
        self._graph = tf.function(super().step, jit_compile=self.jit_compile)

    def step(self, rows: tf.Tensor) -> tf.Tensor:
        """One step on the rows (batch,) of the training set; returns the loss before it."""
        return self._graph(rows)

    def compilations(self) -> int:
        """See bench.contract."""
        return self._graph.experimental_get_tracing_count()

    def _graphs(self, batches: NDArray[np.int64]) -> list[tf.Graph]:
        return [self._graph.get_concrete_function(tf.constant(batches[0])).graph]


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
