"""tensorflow-data: tensorflow-function fed by a tf.data pipeline, which prepares the next batches during a step."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bench.contract import Data, Params, Settings
from bench.task import Task
from impls.tensorflow import mlp
from impls.tensorflow.mlp import device_memory, host_reads, matmul, reset_device_memory, synchronize, versions

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

THREADS = 1
GPU = False


def configure(settings: Settings) -> None:
    """Device, threads and precision for the whole process."""
    global THREADS, GPU
    mlp.configure(settings)
    THREADS, GPU = settings.threads, settings.device == "cuda"  # a pipeline has threads of its own


class Trainer(mlp.Trainer):
    """See bench.contract. The pipeline is made once; each call of train gives it an order and iterates it anew."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        self.network = mlp.build_network(task, params)
        self.optimizer = mlp.build_optimizer(task, self.network)
        self._graph = tf.function(self.step_on, jit_compile=False)
        self._pipeline_traces = 0
        with tf.device("CPU:0"):  # a pipeline runs on the host
            self.images = tf.constant(data.images)  # (n, pixels)
            self.labels = tf.constant(data.labels)  # (n,)
            nothing = np.zeros((0, task.batch_size), np.int64)
            self._order = tf.Variable(nothing, shape=(None, task.batch_size), trainable=False)
            self.pipeline = self._pipeline()

    def _pipeline(self) -> tf.data.Dataset:
        """The present order, row by row -> images (batch, pixels) and labels (batch,), the next ones ahead of time."""
        options = tf.data.Options()
        options.threading.private_threadpool_size = THREADS
        options.threading.max_intra_op_parallelism = 1
        # The order is read when an iterator starts. A new pipeline for each order would be traced anew.
        rows = tf.data.Dataset.range(1).flat_map(lambda _: tf.data.Dataset.from_tensor_slices(self._traced_order()))
        batches = rows.map(self._batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return batches.prefetch(tf.data.AUTOTUNE).with_options(options)

    def _traced_order(self) -> tf.Tensor:
        self._pipeline_traces += 1  # Python runs once a trace
        return self._order.read_value()

    def _batch(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        self._pipeline_traces += 1
        return tf.gather(self.images, rows), tf.gather(self.labels, rows)

    def step_on(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """One step on a batch, images (batch, pixels) and labels (batch,); returns the loss before it."""
        with tf.GradientTape() as tape:
            logits = self.network(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, self.network.trainable_variables)
        self.optimizer.apply(gradients)
        return loss

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        self._order.assign(batches)
        losses = tf.stack([self._graph(images, labels) for images, labels in self.pipeline])
        return losses.numpy().astype(np.float32, copy=False)

    def placement(self) -> Mapping[str, str]:
        """See bench.contract. The data are not named: that they lie on the host is what this entry is."""
        return {name: mlp._device_of(x) for name, x in mlp._trained(self.network, self.optimizer).items()}

    def gather(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract."""
        self._order.assign(batches)
        for images, labels in self.pipeline:
            if GPU:  # a step copies its batch there
                images, labels = tf.identity(images), tf.identity(labels)
        synchronize()

    def compilations(self) -> int:
        """See bench.contract: the step's traces and those of the pipeline's functions."""
        return self._graph.experimental_get_tracing_count() + self._pipeline_traces

    def _graphs(self, batches: NDArray[np.int64]) -> list[tf.Graph]:
        images, labels = (tf.TensorSpec((batches.shape[1], *x.shape[1:]), x.dtype) for x in (self.images, self.labels))
        return [self._graph.get_concrete_function(images, labels).graph]


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
