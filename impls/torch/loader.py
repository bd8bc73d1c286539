"""torch-loader: torch-eager fed by a DataLoader, as the classic tutorial of PyTorch writes it."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch.utils.data import DataLoader, TensorDataset

from bench.contract import Data, Params
from bench.task import Task
from impls.torch import mlp
from impls.torch.mlp import configure, host_reads, versions

__all__ = ["build", "configure", "host_reads", "versions"]


class Trainer(mlp.Trainer):
    """See bench.contract. The data stay on the host, and each batch is put together there, row by row."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        super().__init__(task, params, data)
        self.dataset = TensorDataset(self.images.cpu(), self.labels.cpu())
        del self.images, self.labels

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        # The given rows take the place of shuffle=True. No worker processes, which is the default.
        loader = DataLoader(self.dataset, batch_sampler=batches.tolist(), num_workers=0)
        losses = []
        for images, labels in loader:
            images, labels = images.to(mlp.DEVICE), labels.to(mlp.DEVICE)
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.network(images), labels)
            loss.backward()
            self.optimizer.step()
            if self.schedule is not None:
                self.schedule.step()
            losses.append(loss.detach())
        return torch.stack(losses).cpu().numpy().astype(np.float32, copy=False)


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
