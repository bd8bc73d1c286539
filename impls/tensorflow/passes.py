"""The step of tensorflow-function, in parts -> losses of the forward pass, and of both passes, without an update."""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bench.contract import Data, Params
from bench.task import Task
from impls.tensorflow import function
from impls.tensorflow.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


class Trainer(function.Trainer):
    """See bench.contract and bench.studies.backward. Each pass is a graph of its own, as the step is."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        super().__init__(task, params, data)
        self._forward = tf.function(self.loss, jit_compile=self.jit_compile)
        self._gradients = tf.function(self.loss_and_gradients, jit_compile=self.jit_compile)

    def loss(self, rows: tf.Tensor) -> tf.Tensor:
        """The loss of the rows (batch,)."""
        images, labels = tf.gather(self.images, rows), tf.gather(self.labels, rows)
        logits = self.network(images, training=True)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))

    def loss_and_gradients(self, rows: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The loss of the rows (batch,), and its gradients: they are returned, else the graph would leave them out."""
        with tf.GradientTape() as tape:
            loss = self.loss(rows)
        return loss, tape.gradient(loss, self.network.trainable_variables)

    def forward(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """The loss of each batch by the present parameters."""
        order = tf.unstack(tf.constant(batches))
        losses = tf.stack([self._forward(rows) for rows in order])
        return losses.numpy().astype(np.float32, copy=False)

    def gradients(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """The loss of each batch by the present parameters, its gradients computed too."""
        order = tf.unstack(tf.constant(batches))
        losses = []
        for rows in order:
            loss, self._latest = self._gradients(rows)
            losses.append(loss)
        return tf.stack(losses).numpy().astype(np.float32, copy=False)

    def latest_gradients(self) -> Params:
        """By weight (fan_in, fan_out) and bias (fan_out,) of each layer, of the last batch given to `gradients`."""
        flat = [gradient.numpy() for gradient in self._latest]
        return list(zip(flat[::2], flat[1::2], strict=True))


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
