"""A training script by Keras' compile and fit, and the same with one mistake each -> what Keras makes of them.

Subject: keras-fit, on TensorFlow. The step is fit's own, so that many mistakes cannot be made.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bench.contract import Array, Data, Settings
from bench.task import Task
from impls.keras import fit
from impls.keras.fit import versions

__all__ = ["MISTAKES", "Script", "configure", "versions"]


def configure(settings: Settings) -> None:
    """See impls.keras.fit. The CPU counts as two devices, for the mistake of a tensor on another one."""
    fit.configure(settings)
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


class Script:
    """compile and fit as a script of one's own. A mistake overrides the part that it is in."""

    def __init__(self, subject: str, task: Task, data: Data) -> None:  # noqa: ARG002
        keras.utils.set_random_seed(task.seed)
        self.task = task
        self.sgd: Any = task.optimizer  # the study's task has no other
        self.images, self.labels = self.arrays(data.images.copy(), data.labels.copy())
        self.network = self.build_network()
        self.network.compile(
            optimizer=self.build_optimizer(),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )

    def arrays(self, images: Array, labels: Array) -> tuple[Array, Array]:
        """Images float32 (n, pixels), labels int64 (n,)."""
        return images, labels

    def activation(self, x: tf.Tensor) -> tf.Tensor:
        """Between layers."""
        return keras.ops.relu(x)

    def build_network(self) -> keras.Model:
        """The layers of the task, as Keras initialises them."""
        layers: list[keras.layers.Layer] = [keras.Input((self.task.layers[0],))]
        for fan_out in self.task.layers[1:-1]:
            layers.append(keras.layers.Dense(fan_out, activation=self.activation))
        return keras.Sequential([*layers, keras.layers.Dense(self.task.layers[-1])])

    def build_optimizer(self) -> keras.optimizers.Optimizer:
        """That of the task, gradient descent with momentum."""
        return keras.optimizers.SGD(learning_rate=self.sgd.learning_rate, momentum=self.sgd.momentum)

    def batches(self, rows: slice) -> tuple[Array, Array]:
        """Images and labels of one call of fit."""
        return self.images[rows], self.labels[rows]

    def train(self, steps: range) -> list[float]:
        """The steps of these numbers, by one call of fit; returns their losses."""
        size, means = self.task.batch_size, _Means()
        images, labels = self.batches(slice(size * steps.start, size * steps.stop))
        self.network.fit(images, labels, batch_size=size, shuffle=False, verbose=0, callbacks=[means])
        return np.diff(np.arange(1, len(steps) + 1) * means.seen, prepend=0).tolist()


class _Means(keras.callbacks.Callback):
    """What fit reports after each batch: the mean of the losses so far."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:  # noqa: ARG002
        self.seen.append(logs["loss"])


# Mistakes of the data.


class _ImagesNotFlattened(Script):
    def arrays(self, images: Array, labels: Array) -> tuple[Array, Array]:
        side = int(self.task.layers[0] ** (1 / 2))
        images = images.reshape(len(images), side, side)  # the mistake
        return images, labels


class _ImagesFloat64(Script):
    def arrays(self, images: Array, labels: Array) -> tuple[Array, Array]:
        images = images.astype(np.float64)  # the mistake
        return images, labels


class _ImagesUint8(Script):
    def arrays(self, images: Array, labels: Array) -> tuple[Array, Array]:
        images = (images * np.iinfo(np.uint8).max).round().astype(np.uint8)  # the mistake
        return images, labels


class _NanPixel(Script):
    def arrays(self, images: Array, labels: Array) -> tuple[Array, Array]:
        images[0, 0] = np.nan  # the mistake
        return images, labels


class _LabelsFloat(Script):
    def arrays(self, images: Array, labels: Array) -> tuple[Array, Array]:
        labels = labels.astype(np.float32)  # the mistake
        return images, labels


class _LabelTooLarge(Script):
    def arrays(self, images: Array, labels: Array) -> tuple[Array, Array]:
        labels[0] = self.task.layers[-1]  # the mistake
        return images, labels


class _LabelNegative(Script):
    def arrays(self, images: Array, labels: Array) -> tuple[Array, Array]:
        labels[0] = -1  # the mistake
        return images, labels


class _LabelsOneHot(Script):
    def arrays(self, images: Array, labels: Array) -> tuple[Array, Array]:
        return images, keras.utils.to_categorical(labels)  # the mistake


class _LabelsColumn(Script):
    def arrays(self, images: Array, labels: Array) -> tuple[Array, Array]:
        labels = labels.reshape(-1, 1)  # the mistake
        return images, labels


class _BatchSizesDiffer(Script):
    def batches(self, rows: slice) -> tuple[Array, Array]:
        return self.images[rows], self.labels[rows][1:]  # the mistake


class _OtherDevice(Script):
    def arrays(self, images: Array, labels: Array) -> tuple[Array, Array]:
        with tf.device("CPU:1"):
            images = tf.constant(images)  # the mistake
        return images, labels


# Mistakes of the network and the optimiser.


class _ActivationInNumpy(Script):
    def activation(self, x: tf.Tensor) -> tf.Tensor:
        return keras.ops.convert_to_tensor(np.maximum(x.numpy(), 0))  # the mistake


class _HiddenDetached(Script):
    def activation(self, x: tf.Tensor) -> tf.Tensor:
        return keras.ops.relu(keras.ops.stop_gradient(x))  # the mistake


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


_OWN_STEP = "the step is fit's own: forward, loss, gradients and update cannot be left out or put in another order"

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
    "parameters-left-out": "compile hands all parameters of the network to the optimiser",
    "loss-arguments-swapped": "fit calls the loss",
    "loss-detached": _OWN_STEP,
    "forward-not-recorded": _OWN_STEP,
    "gradients-not-reset": _OWN_STEP,
    "backward-forgotten": _OWN_STEP,
    "update-before-backward": _OWN_STEP,
    "parameter-changed-in-place": _OWN_STEP,
    "losses-in-a-list": "fit keeps the losses",
}
