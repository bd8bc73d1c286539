"""A network whose hidden layer is applied as often as the labels of the batch say -> its training.

Subjects: tensorflow-eager; tensorflow-function and tensorflow-xla, whose step is a graph as those entries' is: there
AutoGraph makes a tf.while_loop of the Python loop.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bench.contract import Data, Params
from bench.task import Task
from impls.tensorflow import mlp
from impls.tensorflow.mlp import configure, versions

__all__ = ["Trainer", "configure", "versions"]


class Network:
    """The first layer, the hidden one again and again, the last one. fixed: how often; None: as the labels say."""

    def __init__(self, task: Task, params: Params, depths: int, fixed: int | None) -> None:
        self.layers = mlp.build_network(task, params)
        self.depths, self.fixed = depths, fixed

    def depth(self, labels: tf.Tensor) -> int | tf.Tensor:
        """How often the hidden layer is applied: fixed, or 1 + sum of the labels mod depths."""
        if self.fixed is not None:
            return self.fixed
        depth = tf.cast(1 + tf.reduce_sum(labels) % self.depths, tf.int32)
        return int(depth) if tf.executing_eagerly() else depth

    def __call__(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """(batch, pixels), (batch,) -> logits (batch, classes)."""
        first, hidden, last = self.layers.layers
        x = first(images)
        depth, turn = self.depth(labels), 0
        while turn < depth:  # not tf.range: XLA compiles that anew for each batch, as the bound must be a constant
            # XLA has a gradient of a loop only where it knows how often it goes round at most.
            tf.autograph.experimental.set_loop_options(maximum_iterations=self.depths)
            x = hidden(x)
            turn += 1
        return last(x)


class Trainer:
    """`train` and `compilations` as in bench.contract, and nothing else of it."""

    def __init__(
        self, subject: str, task: Task, params: Params, data: Data, *, depths: int, fixed: int | None = None
    ) -> None:
        self.images = tf.constant(data.images)  # (n, pixels)
        self.labels = tf.constant(data.labels)  # (n,)
        self.network = Network(task, params, depths, fixed)
        self.optimizer = mlp.build_optimizer(task, self.network.layers)
        self.compiles = subject != "tensorflow-eager"
        jit_compile = subject == "tensorflow-xla"
        self._step: Any = tf.function(self.step, jit_compile=jit_compile) if self.compiles else self.step

    def step(self, rows: tf.Tensor) -> tf.Tensor:
        """One step on the rows (batch,) of the training set; returns the loss before it."""
        images, labels = tf.gather(self.images, rows), tf.gather(self.labels, rows)
        with tf.GradientTape() as tape:
            logits = self.network(images, labels)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, self.network.layers.trainable_variables)
        self.optimizer.apply(gradients)
        return loss

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        order = tf.unstack(tf.constant(batches))
        losses = tf.stack([self._step(rows) for rows in order])
        return losses.numpy().astype(np.float32, copy=False)

    def compilations(self) -> int | None:
        """See bench.contract; None where nothing is compiled."""
        return self._step.experimental_get_tracing_count() if self.compiles else None
