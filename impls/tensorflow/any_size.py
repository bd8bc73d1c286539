"""tensorflow-function-any-size: tensorflow-function as TensorFlow's guide has it where sizes change."""

from functools import partial

import tensorflow as tf

from bench.contract import Data, Params
from bench.task import Task
from impls.tensorflow import function, mlp
from impls.tensorflow.function import (
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
    """See bench.contract. The first other size traces a graph for every size."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        super().__init__(task, params, data)
        self._graph = tf.function(partial(mlp.Trainer.step, self), jit_compile=self.jit_compile, reduce_retracing=True)


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
