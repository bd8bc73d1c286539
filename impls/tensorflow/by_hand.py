"""tensorflow-by-hand: tensorflow-function with its gradients written out: the two differ in the tape alone."""

import math
from collections.abc import Callable

import tensorflow as tf

from bench.contract import Data, Params
from bench.task import Task
from impls.tensorflow import function
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


class Trainer(function.Trainer):
    """See bench.contract. Parameters, loss and optimiser are tensorflow-function's; there is no tape."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        super().__init__(task, params, data)
        self.layers = self.network.layers
        self.slope = SLOPES[task.activation]
        self._graph = tf.function(self.step_by_hand, jit_compile=self.jit_compile)

    def step_by_hand(self, rows: tf.Tensor) -> tf.Tensor:
        """One step on the rows (batch,) of the training set; returns the loss before it."""
        images, labels = tf.gather(self.images, rows), tf.gather(self.labels, rows)
        loss, gradients = self.gradients(images, labels)
        self.optimizer.apply(gradients)
        return loss

    def gradients(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The loss of a batch, and its gradient by each parameter, weight and bias in turn."""
        # Read once, as the tape does. Where each product reads for itself, Grappler's dependency optimisation loses the
        # order of the second read and the update, and now and then the new values are multiplied (TensorFlow 2.21).
        kernels = [tf.convert_to_tensor(layer.kernel) for layer in self.layers]
        before, inputs = [], [images]  # of each layer: what it gives before the activation, and what goes in
        for layer, kernel in zip(self.layers, kernels, strict=True):
            before.append(tf.matmul(inputs[-1], kernel) + layer.bias)
            inputs.append(layer.activation(before[-1]))
        log_probabilities = tf.nn.log_softmax(before[-1])  # (batch, classes)
        loss = -tf.reduce_mean(tf.gather(log_probabilities, labels, batch_dims=1))
        delta = tf.exp(log_probabilities)  # d loss / d logits = (softmax - one-hot) / batch
        delta -= tf.one_hot(labels, delta.shape[1], dtype=delta.dtype)
        delta /= tf.cast(tf.shape(labels)[0], delta.dtype)
        gradients: list[tf.Tensor] = []
        for index in reversed(range(len(kernels))):
            gradients[:0] = [tf.matmul(inputs[index], delta, transpose_a=True), tf.reduce_sum(delta, 0)]
            if index > 0:
                delta = tf.matmul(delta, kernels[index], transpose_b=True)
                delta *= self.slope(before[index - 1], inputs[index])
        return loss, gradients


def _slope_of_gelu(x: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
    """Phi(x) + x phi(x), of the normal distribution."""
    return 0.5 * (1.0 + tf.math.erf(x * math.sqrt(0.5))) + x * tf.exp(-0.5 * x * x) * math.sqrt(0.5 / math.pi)


# activation -> its derivative at x, where its value is y
SLOPES: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "relu": lambda _, y: tf.cast(y > 0, y.dtype),
    "tanh": lambda _, y: 1 - y * y,
    "gelu": _slope_of_gelu,
}


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
