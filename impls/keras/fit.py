"""keras-fit: the task as Keras' own guide writes it, compile and fit, on TensorFlow."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # read at the import of keras
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read at the import: hints on CPU instructions are no news

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bench.contract import Array, Data, Params, Refusal, Settings
from bench.task import Task
from impls.keras import network


def configure(settings: Settings) -> None:
    """Device, threads and IEEE precision for the whole process."""
    if keras.backend.backend() != "tensorflow":
        raise Refusal(f"Keras was imported with its backend {keras.backend.backend()} before, and keeps it")
    gpus = tf.config.list_physical_devices("GPU")
    if settings.device == "cuda" and not gpus:
        raise Refusal("TensorFlow finds no CUDA device")
    tf.config.set_visible_devices(gpus[:1] if settings.device == "cuda" else [], "GPU")
    for gpu in gpus[:1] if settings.device == "cuda" else []:
        tf.config.experimental.set_memory_growth(gpu, True)  # else it takes the whole card
    tf.config.set_soft_device_placement(False)  # what has no kernel on the device fails, instead of moving to the CPU
    # Within an op and between ops: the worker has just so many cores, and torch is given the same two numbers.
    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    tf.config.threading.set_inter_op_parallelism_threads(settings.threads)
    tf.config.experimental.enable_tensor_float_32_execution(False)


def versions() -> Mapping[str, str]:
    """The framework, and what it computes with."""
    return {"keras": keras.__version__, "tensorflow": tf.__version__}


class Trainer(network.Trainer):
    """See bench.contract."""

    def own(self, array: Array) -> tf.Tensor:
        """A copy of the data from which fit is fed: tf.data works on the CPU."""
        with tf.device("CPU:0"):
            return tf.constant(array)

    def fit(self, batches: NDArray[np.int64]) -> None:
        """One call of fit, with a step for each row of batches."""
        rows = tf.data.Dataset.from_tensor_slices(batches)
        data = rows.map(lambda r: (tf.gather(self.images, r), tf.gather(self.labels, r)))
        self.network.fit(data.prefetch(tf.data.AUTOTUNE), epochs=1, shuffle=False, verbose=0)
        tf.test.experimental.sync_devices()

    def compilations(self) -> int:
        """See bench.contract."""
        program = self.program("multi_step_on_iterator")  # its step is traced only while it is traced itself
        return program.experimental_get_tracing_count() if program else 0


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
