"""tensorflow-xla: tensorflow-function with its step compiled by XLA, called batch by batch from Python."""

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
    """See bench.contract. The step is traced and compiled once a trainer, as all batches have one shape."""

    jit_compile = True


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
