"""tensorflow-mirrored: tensorflow-function on several devices of one process, each on its share of a batch.

By MirroredStrategy, as TensorFlow's guide to custom training loops with it writes it; the trainer is that of
tensorflow-multiworker. On the CPU the devices are logical ones, which have the process' threads together.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bench.contract import Data, Params, Refusal, Settings
from bench.task import Task
from impls.tensorflow import mlp, multiworker
from impls.tensorflow.mlp import device_memory, host_reads, matmul, reset_device_memory, synchronize

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

STRATEGY: tf.distribute.Strategy | None = None


def configure(settings: Settings) -> None:
    """Device, threads and precision for the whole process, and as many devices as are asked for."""
    global STRATEGY
    count = settings.processes
    mlp.configure(replace(settings, threads=settings.threads * count))
    if count == 1:
        return
    if settings.device == "cuda":
        gpus = tf.config.list_physical_devices("GPU")
        if len(gpus) < count:
            raise Refusal(f"TensorFlow finds {len(gpus)} CUDA devices, and {count} are asked for")
        tf.config.set_visible_devices(gpus[:count], "GPU")
        for gpu in gpus[:count]:
            tf.config.experimental.set_memory_growth(gpu, True)
    else:
        [cpu] = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    kind = "GPU" if settings.device == "cuda" else "CPU"
    STRATEGY = tf.distribute.MirroredStrategy([f"{kind}:{number}" for number in range(count)])


def versions() -> Mapping[str, str]:
    """The framework, and what it computes and communicates with."""
    return {**mlp.versions(), "collectives": type(_strategy().extended._cross_device_ops).__name__}


def _strategy() -> tf.distribute.Strategy:
    global STRATEGY
    STRATEGY = STRATEGY or tf.distribute.MirroredStrategy([tf.config.list_logical_devices()[-1].name])
    return STRATEGY


class Trainer(multiworker.Trainer):
    """See bench.contract. All replicas are in this process: so are all parts of a loss."""

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        # 6. Training takes the steps in the order of the given batches, and ends when the losses are on the host.
        losses = tf.stack([self._graph(rows) for rows in tf.unstack(tf.constant(batches))])
        return losses.numpy().astype(np.float32, copy=False)

    def gather(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract. On the first device, of all shares one after the other."""
        for rows in tf.unstack(tf.constant(batches)):
            _ = tf.gather(self.images, rows), tf.gather(self.labels, rows)
        synchronize()

    def compilations(self) -> int:
        """See bench.contract."""
        return self._graph.experimental_get_tracing_count()


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data, _strategy())
