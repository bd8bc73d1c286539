"""A training script in TensorFlow, and the same with one mistake each -> what TensorFlow makes of them.

Subjects: tensorflow-eager, and tensorflow-function, whose step is a graph as that entry's is. Where the mistake is a
line that is missing, the line after the gap is marked.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bench.contract import Array, Data, Settings
from bench.task import Task
from impls.tensorflow import mlp
from impls.tensorflow.mlp import versions

__all__ = ["MISTAKES", "Script", "configure", "versions"]


def configure(settings: Settings) -> None:
    """See impls.tensorflow.mlp. The CPU counts as two devices, for the mistake of a tensor on another one."""
    mlp.configure(settings)
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


class Script:
    """The step of `tensorflow-eager` as a script of one's own. A mistake overrides the part that it is in."""

    def __init__(self, subject: str, task: Task, data: Data) -> None:
        keras.utils.set_random_seed(task.seed)
        self.task = task
        self.sgd: Any = task.optimizer  # the study's task has no other
        self.images, self.labels = self.tensors(data.images.copy(), data.labels.copy())
        self.network = self.build_network()
        self.optimizer = self.build_optimizer()
        self.run: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = self.step
        if subject == "tensorflow-function":
            self.run = tf.function(self.step, jit_compile=False)

    def tensors(self, images: Array, labels: Array) -> tuple[tf.Tensor, tf.Tensor]:
        """Images float32 (n, pixels), labels int64 (n,)."""
        return tf.constant(images), tf.constant(labels)

    def activation(self, x: tf.Tensor) -> tf.Tensor:
        """Between layers."""
        return tf.nn.relu(x)

    def build_network(self) -> keras.Model:
        """The layers of the task, as Keras initialises them."""
        layers: list[keras.layers.Layer] = [keras.Input((self.task.layers[0],))]
        for fan_out in self.task.layers[1:-1]:
            layers.append(keras.layers.Dense(fan_out, activation=self.activation))
        return keras.Sequential([*layers, keras.layers.Dense(self.task.layers[-1])])

    def build_optimizer(self) -> keras.optimizers.Optimizer:
        """That of the task, gradient descent with momentum."""
        return keras.optimizers.SGD(learning_rate=self.sgd.learning_rate, momentum=self.sgd.momentum)

    def batch(self, rows: slice) -> tuple[tf.Tensor, tf.Tensor]:
        """Images and labels of a step."""
        return self.images[rows], self.labels[rows]

    def step(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """One step; returns the loss before it."""
        with tf.GradientTape() as tape:
            logits = self.network(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, self.network.trainable_variables)
        self.optimizer.apply(gradients, self.network.trainable_variables)
        return loss

    def train(self, steps: range) -> list[float]:
        """The steps of these numbers; returns their losses."""
        size = self.task.batch_size
        return [float(self.run(*self.batch(slice(size * step, size * (step + 1))))) for step in steps]


# Mistakes of the data.


class _ImagesNotFlattened(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[tf.Tensor, tf.Tensor]:
        side = int(self.task.layers[0] ** (1 / 2))
        images = images.reshape(len(images), side, side)  # the mistake
        return tf.constant(images), tf.constant(labels)


class _ImagesFloat64(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[tf.Tensor, tf.Tensor]:
        images = images.astype(np.float64)  # the mistake
        return tf.constant(images), tf.constant(labels)


class _ImagesUint8(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[tf.Tensor, tf.Tensor]:
        images = (images * np.iinfo(np.uint8).max).round().astype(np.uint8)  # the mistake
        return tf.constant(images), tf.constant(labels)


class _NanPixel(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[tf.Tensor, tf.Tensor]:
        images[0, 0] = np.nan  # the mistake
        return tf.constant(images), tf.constant(labels)


class _LabelsFloat(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[tf.Tensor, tf.Tensor]:
        labels = labels.astype(np.float32)  # the mistake
        return tf.constant(images), tf.constant(labels)


class _LabelTooLarge(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[tf.Tensor, tf.Tensor]:
        labels[0] = self.task.layers[-1]  # the mistake
        return tf.constant(images), tf.constant(labels)


class _LabelNegative(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[tf.Tensor, tf.Tensor]:
        labels[0] = -1  # the mistake
        return tf.constant(images), tf.constant(labels)


class _LabelsOneHot(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.constant(images), tf.one_hot(labels, self.task.layers[-1])  # the mistake


class _LabelsColumn(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[tf.Tensor, tf.Tensor]:
        labels = labels.reshape(-1, 1)  # the mistake
        return tf.constant(images), tf.constant(labels)


class _BatchSizesDiffer(Script):
    def batch(self, rows: slice) -> tuple[tf.Tensor, tf.Tensor]:
        return self.images[rows], self.labels[rows][1:]  # the mistake


class _OtherDevice(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.device("CPU:1"):
            images = tf.constant(images)  # the mistake
        return images, tf.constant(labels)


# Mistakes of the network and the optimiser.


class _ActivationInNumpy(Script):
    def activation(self, x: tf.Tensor) -> tf.Tensor:
        return tf.constant(np.maximum(x.numpy(), 0))  # the mistake


class _HiddenDetached(Script):
    def activation(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(tf.stop_gradient(x))  # the mistake


class _SoftmaxTwice(Script):
    def build_network(self) -> keras.Model:
        return keras.Sequential([*super().build_network().layers, keras.layers.Softmax()])  # the mistake


class _LearningRateString(Script):
    def build_optimizer(self) -> keras.optimizers.Optimizer:
        o = self.sgd
        return keras.optimizers.SGD(learning_rate=f"{o.learning_rate:g}", momentum=o.momentum)  # the mistake


class _LearningRateNegative(Script):
    def build_optimizer(self) -> keras.optimizers.Optimizer:
        return keras.optimizers.SGD(learning_rate=-self.sgd.learning_rate, momentum=self.sgd.momentum)  # the mistake


# Mistakes of the step.


class _ParametersLeftOut(Script):
    def step(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = self.network(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        variables = self.network.layers[-1].trainable_variables  # the mistake
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply(gradients, variables)
        return loss


class _LossArgumentsSwapped(Script):
    def step(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = self.network(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(logits, labels))  # the mistake
        gradients = tape.gradient(loss, self.network.trainable_variables)
        self.optimizer.apply(gradients, self.network.trainable_variables)
        return loss


class _LossDetached(Script):
    def step(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = tf.stop_gradient(self.network(images, training=True))  # the mistake
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, self.network.trainable_variables)
        self.optimizer.apply(gradients, self.network.trainable_variables)
        return loss


class _ForwardNotRecorded(Script):
    def step(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        logits = self.network(images, training=True)  # the mistake
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, self.network.trainable_variables)
        self.optimizer.apply(gradients, self.network.trainable_variables)
        return loss


class _BackwardForgotten(Script):
    def step(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape():
            logits = self.network(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        weights = self.network.trainable_weights
        self.optimizer.apply(gradients, weights)  # type: ignore[name-defined]  # noqa: F821  # the mistake
        return loss


class _UpdateBeforeBackward(Script):
    def step(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = self.network(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        weights = self.network.trainable_weights
        self.optimizer.apply(gradients, weights)  # type: ignore[has-type,used-before-def]  # noqa: F821  # the mistake
        gradients = tape.gradient(loss, weights)  # noqa: F841
        return loss


class _ParameterChangedInPlace(Script):
    def step(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = self.network(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
            for v in self.network.trainable_variables:
                v.assign(tf.clip_by_value(v, -1, 1))  # the mistake
        gradients = tape.gradient(loss, self.network.trainable_variables)
        self.optimizer.apply(gradients, self.network.trainable_variables)
        return loss


class _LossesInAList(Script):
    def step(self, images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = self.network(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, self.network.trainable_variables)
        self.optimizer.apply(gradients, self.network.trainable_variables)
        self.losses.append(loss)  # the mistake

    def train(self, steps: range) -> list[float]:
        self.losses: list[tf.Tensor] = []
        size = self.task.batch_size
        for step in steps:
            self.run(*self.batch(slice(size * step, size * (step + 1))))
        return [float(loss) for loss in self.losses]


# A string: why the mistake cannot be made.
MISTAKES: Mapping[str, type[Script] | str] = {
    "images-not-flattened": _ImagesNotFlattened,
    "images-float64": _ImagesFloat64,
    "images-uint8": _ImagesUint8,
    "nan-pixel": _NanPixel,
    "labels-float": _LabelsFloat,
    "label-too-large": _LabelTooLarge,
    "label-negative": _LabelNegative,
    "labels-one-hot": _LabelsOneHot,
    "labels-column": _LabelsColumn,
    "batch-sizes-differ": _BatchSizesDiffer,
    "other-device": _OtherDevice,
    "layer-widths-differ": "a Dense layer takes its input width from what it is given; there is none to get wrong",
    "activation-in-numpy": _ActivationInNumpy,
    "hidden-detached": _HiddenDetached,
    "softmax-twice": _SoftmaxTwice,
    "learning-rate-string": _LearningRateString,
    "learning-rate-negative": _LearningRateNegative,
    "parameters-left-out": _ParametersLeftOut,
    "loss-arguments-swapped": _LossArgumentsSwapped,
    "loss-detached": _LossDetached,
    "forward-not-recorded": _ForwardNotRecorded,
    "gradients-not-reset": "a tape returns the gradients of its own step; there is nothing to reset",
    "backward-forgotten": _BackwardForgotten,
    "update-before-backward": _UpdateBeforeBackward,
    "parameter-changed-in-place": _ParameterChangedInPlace,
    "losses-in-a-list": _LossesInAList,
}
