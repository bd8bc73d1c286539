"""torch-loader: torch-eager fed by a DataLoader, as the classic tutorial of PyTorch writes it."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch.utils.data import DataLoader, TensorDataset

from bench.contract import Data, Params
from bench.task import Task
from impls.torch import mlp
from impls.torch.mlp import (
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


class Trainer(mlp.Trainer):
    """See bench.contract. The data stay on the host, and each batch is put together there, row by row."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        self.dataset = TensorDataset(torch.tensor(data.images), torch.tensor(data.labels))
        self.network = mlp.build_network(task, params)
        self.optimizer = mlp.build_optimizer(task, self.network)
        self.schedule = mlp._build_schedule(task, self.optimizer)

    def loader(self, batches: NDArray[np.int64]) -> DataLoader:
        """The batches of the given rows, in place of shuffle=True. No worker processes, which is the default."""
        return DataLoader(self.dataset, batch_sampler=batches.tolist(), num_workers=0)

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        losses = []
        for images, labels in self.loader(batches):
            images, labels = images.to(mlp.DEVICE), labels.to(mlp.DEVICE)
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.network(images), labels)
            loss.backward()
            self.optimizer.step()
            if self.schedule is not None:
                self.schedule.step()
            losses.append(loss.detach())
        return torch.stack(losses).cpu().numpy().astype(np.float32, copy=False)

    def placement(self) -> Mapping[str, str]:
        """See bench.contract. The data are not named: that they lie on the host is what this entry is."""
        return {name: x.device.type for name, x in mlp._trained(self.network, self.optimizer).items()}

    def gather(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract."""
        for images, labels in self.loader(batches):
            images, labels = images.to(mlp.DEVICE), labels.to(mlp.DEVICE)
        synchronize()


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
