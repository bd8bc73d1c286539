"""tensorflow-function: tensorflow-eager with its step as a graph, called batch by batch from Python."""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bench.contract import Data, Params
from bench.task import Task
from impls.tensorflow import mlp
from impls.tensorflow.mlp import (
    configure,
    device_memory,
    host_reads,
    matmul,
    reset_device_memory,
    synchronize,
    versions,
)

__all__ = [
    "build",
    "configure",
    "device_memory",
    "host_reads",
    "matmul",
    "reset_device_memory",
    "synchronize",
    "versions",
]


def gathering(
    images: tf.Tensor, labels: tf.Tensor, batch_size: int, *, jit_compile: bool
) -> tf.types.experimental.PolymorphicFunction:
    """A graph that takes the rows of each batch of an order (steps, batch), and nothing else.

    `compilations` of a trainer leaves it out: it is no part of the training.
    """
    order = tf.TensorSpec((None, batch_size), tf.int64)

    @tf.function(input_signature=[order], autograph=False, jit_compile=jit_compile)
    def _loop(order: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        steps = tf.shape(order)[0]

        def _body(step: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            rows = tf.gather(order, step)
            return step + 1, tf.gather(images, rows), tf.gather(labels, rows)

        # What a turn took is carried into the next, so that no turn can be left out.
        nothing = [tf.zeros((batch_size, *x.shape[1:]), x.dtype) for x in (images, labels)]
        start = (tf.constant(0), *nothing)
        _, *taken = tf.while_loop(lambda step, *_: step < steps, _body, start, parallel_iterations=1)
        return tuple(taken)

    return _loop


class Trainer(mlp.Trainer):
    """See bench.contract. The step is traced once a trainer, as all batches have one shape."""

    jit_compile = False

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        super().__init__(task, params, data)
        self._graph = tf.function(super().step, jit_compile=self.jit_compile)
        self._gather = gathering(self.images, self.labels, task.batch_size, jit_compile=self.jit_compile)

    def step(self, rows: tf.Tensor) -> tf.Tensor:
        """One step on the rows (batch,) of the training set; returns the loss before it."""
        return self._graph(rows)

    def gather(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract. By a graph of its own, a loop, as a call a batch would add what a call costs."""
        self._gather(tf.constant(batches))
        synchronize()

    def compilations(self) -> int:
        """See bench.contract."""
        return self._graph.experimental_get_tracing_count()

    def _graphs(self, batches: NDArray[np.int64]) -> list[tf.Graph]:
        return [self._graph.get_concrete_function(tf.constant(batches[0])).graph]


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
