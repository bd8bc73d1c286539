"""keras-fit: the task as Keras' own guide writes it, compile and fit, on TensorFlow."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # read at the import of keras
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read at the import: hints on CPU instructions are no news

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.util import _pywrap_util_port

from bench.contract import Array, Data, Params, Refusal, Settings
from bench.task import Task
from impls.keras import network


def configure(settings: Settings) -> None:
    """Device, threads and precision for the whole process."""
    if keras.backend.backend() != "tensorflow":
        raise Refusal(f"Keras was imported with its backend {keras.backend.backend()} before, and keeps it")
    gpus = tf.config.list_physical_devices("GPU")
    if settings.device == "cuda" and not gpus:
        raise Refusal("TensorFlow finds no CUDA device")
    if settings.precision == "tf32" and (settings.device == "cpu" or not _has_tf32(gpus[0])):
        raise Refusal("TF32 is a format of NVIDIA's GPUs from Ampere on; this device has none, ask for ieee")
    tf.config.set_visible_devices(gpus[:1] if settings.device == "cuda" else [], "GPU")
    for gpu in gpus[:1] if settings.device == "cuda" else []:
        tf.config.experimental.set_memory_growth(gpu, True)  # else it takes the whole card
    tf.config.set_soft_device_placement(False)  # a GPU that is named and not there is an error, and not the CPU
    # Within an op and between ops: the worker has just so many cores, and torch is given the same two numbers.
    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    tf.config.threading.set_inter_op_parallelism_threads(settings.threads)
    tf.config.experimental.enable_tensor_float_32_execution(settings.precision == "tf32")


def _has_tf32(gpu: Any) -> bool:
    return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))[0] >= 8  # Ampere


def versions() -> Mapping[str, str]:
    """The framework, and what it computes with."""
    return {
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "cuda": tf.sysconfig.get_build_info().get("cuda_version", "none"),
        "onednn": "on" if _pywrap_util_port.IsMklEnabled() else "off",  # what the environment and the CPU came to
    }


class Trainer(network.Trainer):
    """See bench.contract."""

    def own(self, array: Array) -> tf.Tensor:
        """A copy of the data from which fit is fed: tf.data works on the CPU."""
        with tf.device("CPU:0"):
            return tf.constant(array)

    def fit(self, batches: NDArray[np.int64]) -> None:
        """One call of fit, with a step for each row of batches."""
        self.network.fit(self.taken(batches), epochs=1, shuffle=False, verbose=0)
        synchronize()

    def taken(self, batches: NDArray[np.int64]) -> tf.data.Dataset:
        """What fit is fed with."""
        rows = tf.data.Dataset.from_tensor_slices(batches)
        data = rows.map(lambda r: (tf.gather(self.images, r), tf.gather(self.labels, r)))
        return data.prefetch(tf.data.AUTOTUNE)

    def device_of(self, tensor: tf.Variable) -> str:
        """See impls.keras.network. Where the memory lies, which need not be where the operation ran."""
        kind = tf.DeviceSpec.from_string(tf.convert_to_tensor(tensor).backing_device).device_type
        return {"CPU": "cpu", "GPU": "cuda"}.get(kind, kind)

    def gather(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract. The pipeline, made anew as at each call of fit, and run to its end without Python."""
        data = self.taken(batches)
        with tf.device("CPU:0"):  # as a pipeline is: what a step copies to a GPU is not part of it
            nothing = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), data.element_spec)
            data.reduce(nothing, lambda _, batch: batch)
        synchronize()

    def compilations(self) -> int:
        """See bench.contract."""
        program = self.program("multi_step_on_iterator")  # its step is traced only while it is traced itself
        return program.experimental_get_tracing_count() if program else 0


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)


def synchronize() -> None:
    """See bench.contract."""
    tf.test.experimental.sync_devices()


def matmul(a: Array, b: Array) -> Callable[[int], Array]:
    """See bench.contract. TensorFlow's own, by a loop in a graph: a call for each takes longer than a small product."""
    x, y = tf.Variable(a), tf.Variable(b)  # a variable is read anew in each turn, so that no turn can be left out
    out = tf.zeros((len(a), b.shape[1]), x.dtype)

    @tf.function(input_signature=[tf.TensorSpec((), tf.int32)], autograph=False, jit_compile=False)
    def _loop(n: tf.Tensor) -> tf.Tensor:
        def _body(turn: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return turn + 1, tf.matmul(x, y)

        return tf.while_loop(lambda turn, _: turn < n, _body, (tf.constant(0), out), parallel_iterations=1)[1]

    def run(n: int) -> Array:
        return _loop(tf.constant(n)).numpy()

    return run


def device_memory() -> Mapping[str, int]:
    """See bench.contract. What TensorFlow keeps in its pool it does not tell."""
    return {"peak_allocated_bytes": tf.config.experimental.get_memory_info("GPU:0")["peak"]}


def reset_device_memory() -> None:
    """See bench.contract."""
    tf.config.experimental.reset_memory_stats("GPU:0")
