"""torch-compile-any-size: torch-compile as PyTorch compiles by default, which expects that sizes may change."""

import torch

from bench.contract import Data, Params
from bench.task import Task
from impls.torch import compiled
from impls.torch.compiled import (
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


class Trainer(compiled.Trainer):
    """See bench.contract. The first other size compiles a program for every size."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        super().__init__(task, params, data)
        self._compiled = torch.compile(self.network, isolate_recompiles=True)


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
