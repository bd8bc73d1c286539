"""torch-ddp: torch-eager in several processes, each on its share of a batch, by DistributedDataParallel.

As PyTorch's guide to DistributedDataParallel writes it, started by torchrun. One process is a group of its own.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch.nn.parallel import DistributedDataParallel

from bench.contract import Data, Params, Settings, share_of
from bench.task import Task
from impls.torch import mlp
from impls.torch.mlp import device_memory, host_reads, matmul, reset_device_memory, synchronize

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


def configure(settings: Settings) -> None:
    """Device, threads and precision for the whole process, and the group of all processes."""
    mlp.configure(settings)
    if settings.processes > 1:
        dist.init_process_group(_backend())  # rank, world and meeting point are torchrun's variables


def _backend() -> str:
    return "nccl" if mlp.DEVICE == "cuda" else "gloo"


def versions() -> Mapping[str, str]:
    """The framework, and what it computes and communicates with."""
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if _backend() == "nccl" else "none"
    return {**mlp.versions(), "collectives": _backend(), "nccl": nccl}


class Trainer(mlp.Trainer):
    """See bench.contract. Every process has all data and parameters, and takes its share of each batch's rows."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        # 1. The data are the given images, float in [0, 1], and the given labels, class numbers.
        super().__init__(task, params, data)
        if not dist.is_initialized():
            dist.init_process_group(_backend(), store=dist.HashStore(), rank=0, world_size=1)
        share = share_of(task.batch_size, dist.get_world_size())
        self._own = slice(dist.get_rank() * share, (dist.get_rank() + 1) * share)
        self._parallel = DistributedDataParallel(self.network)

    def step(self, rows: torch.Tensor) -> torch.Tensor:
        """One step on this process' rows (share,) of the training set; returns the loss of these before it."""
        # 5. A step takes the batch's rows, computes the loss, its gradients, and updates the parameters once.
        images, labels = self.images.index_select(0, rows), self.labels.index_select(0, rows)
        self.optimizer.zero_grad()
        # 3. The loss is the mean over the batch of the cross-entropy, computed from the logits.
        loss = F.cross_entropy(self._parallel(images), labels)  # of the share; all shares have one size
        loss.backward()  # and the mean of the gradients over the processes, which is the batch's
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        return loss.detach()

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract. The losses of the shares are brought together once, after the last step."""
        # 6. Training takes the steps in the order of the given batches, and ends when the losses are on the host.
        order = torch.tensor(batches[:, self._own], device=mlp.DEVICE)
        losses = torch.stack([self.step(rows) for rows in order])
        dist.all_reduce(losses)
        losses /= dist.get_world_size()
        return losses.cpu().numpy().astype(np.float32, copy=False)

    def train_local(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract."""
        with self._parallel.no_sync():
            order = torch.tensor(batches[:, self._own], device=mlp.DEVICE)
            torch.stack([self.step(rows) for rows in order]).cpu()

    def gather(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract. Of this process' share."""
        super().gather(batches[:, self._own])


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
