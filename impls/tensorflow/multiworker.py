"""tensorflow-multiworker: tensorflow-function in several processes, each on its share of a batch.

By MultiWorkerMirroredStrategy, as TensorFlow's guide to custom training loops with it writes it: the step is a graph,
called batch by batch from Python, and the loss of a share is its sum over the size of the whole batch.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bench.contract import Data, Params, Settings, share_of
from bench.task import Task
from impls.tensorflow import mlp
from impls.tensorflow.mlp import device_memory, host_reads, matmul, reset_device_memory

__all__ = [
    "Trainer",
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
    """Device, threads and precision for the whole process, and the group of all processes."""
    global STRATEGY
    mlp.configure(settings)
    if settings.processes > 1:  # before the first operation; who the others are stands in the variable TF_CONFIG
        STRATEGY = _strategy("NCCL" if settings.device == "cuda" else "RING")


def _strategy(implementation: str) -> tf.distribute.Strategy:
    kind = tf.distribute.experimental.CommunicationImplementation[implementation]
    options = tf.distribute.experimental.CommunicationOptions(implementation=kind)
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def versions() -> Mapping[str, str]:
    """The framework, and what it computes and communicates with."""
    nccl = bool(tf.config.get_visible_devices("GPU"))
    return {**mlp.versions(), "collectives": "NCCL" if nccl else "RING"}


class Trainer(mlp.Trainer):
    """See bench.contract. Every replica has all data and parameters, and takes its share of each batch's rows."""

    def __init__(self, task: Task, params: Params, data: Data, strategy: tf.distribute.Strategy) -> None:
        self._strategy, self._batch_size = strategy, task.batch_size
        self._share = share_of(task.batch_size, strategy.num_replicas_in_sync)
        # 1. The data are the given images, float in [0, 1], and the given labels, class numbers.
        self._images, self._labels = (self._on_each(array) for array in (data.images, data.labels))
        self.images = strategy.experimental_local_results(self._images)[0]  # (n, pixels)
        self.labels = strategy.experimental_local_results(self._labels)[0]  # (n,)
        with strategy.scope():
            self.network = mlp.build_network(task, params)
            self.optimizer = mlp.build_optimizer(task, self.network)
        self._graph = tf.function(self._on_all_replicas)
        self._local_graph = tf.function(self._on_all_replicas)
        self._sum_graph = tf.function(self._sum_over_processes)

    def _on_each(self, array: NDArray) -> tf.Tensor:  # type: ignore[type-arg]
        """A copy on the device of each replica."""
        return self._strategy.experimental_distribute_values_from_function(lambda _: tf.constant(array))

    def replica_step(self, rows: tf.Tensor, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """One step on this replica's share of the rows (batch,); returns its part of the loss before it."""
        # 5. A step takes the batch's rows, computes the loss, its gradients, and updates the parameters once.
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        rows = tf.reshape(rows, (-1, self._share))[replica]
        images, labels = tf.gather(images, rows), tf.gather(labels, rows)
        with tf.GradientTape() as tape:
            # 3. The loss is the mean over the batch of the cross-entropy, computed from the logits.
            logits = self.network(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_sum(losses) / self._batch_size  # of the share; the parts add up to the mean
        gradients = tape.gradient(loss, self.network.trainable_variables)
        self.optimizer.apply(gradients)  # and the sum of the gradients over the replicas, which is the batch's
        return loss

    def _on_all_replicas(self, rows: tf.Tensor) -> tf.Tensor:
        """(batch,) -> the sum of the parts of the loss that are computed in this process."""
        parts = self._strategy.run(self.replica_step, args=(rows, self._images, self._labels))
        return tf.add_n(self._strategy.experimental_local_results(parts))

    def _sum_over_processes(self, losses: tf.Tensor) -> tf.Tensor:
        """(steps,) of this process -> (steps,) of all."""
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract. The losses of the shares are brought together once, after the last step."""
        # 6. Training takes the steps in the order of the given batches, and ends when the losses are on the host.
        order = tf.unstack(tf.constant(batches))
        losses = self._sum_graph(tf.stack([self._graph(rows) for rows in order]))
        return losses.numpy().astype(np.float32, copy=False)

    def train_local(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract. By a graph of its own, traced without the sum of the gradients."""
        with _without_sum(self.optimizer):
            order = tf.unstack(tf.constant(batches))
            tf.stack([self._local_graph(rows) for rows in order]).numpy()

    def gather(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract. Of this process' share."""
        for rows in tf.unstack(tf.constant(batches[:, : self._share])):
            _ = tf.gather(self.images, rows), tf.gather(self.labels, rows)
        synchronize()

    def compilations(self) -> int:
        """See bench.contract."""
        return self._graph.experimental_get_tracing_count() + self._sum_graph.experimental_get_tracing_count()

    def _graphs(self, batches: NDArray[np.int64]) -> list[tf.Graph]:
        return [self._graph.get_concrete_function(tf.constant(batches[0])).graph]


def synchronize() -> None:
    """See bench.contract. `sync_devices` fails where there are other workers; a read waits for what came before."""
    tf.zeros(()).numpy()


@contextmanager
def _without_sum(optimizer: tf.keras.optimizers.Optimizer) -> Iterator[None]:
    """Let what is traced here update each replica by its own gradients. Keras has no public word for that."""
    optimizer._all_reduce_sum_gradients = list
    try:
        yield
    finally:
        del optimizer._all_reduce_sum_gradients


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    global STRATEGY
    STRATEGY = STRATEGY or _strategy("RING")
    return Trainer(task, params, data, STRATEGY)
