"""A network whose hidden layer is applied as often as the labels of the batch say -> its training.

Subjects: torch-eager, and torch-compile, whose network is compiled as that entry's is: there the depth is read between
two compiled programs (a graph break), and the second one is compiled for each depth.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from torch._dynamo.utils import counters

from bench.contract import Data, Params, Settings
from bench.task import Task
from impls.torch import compiled, mlp
from impls.torch.mlp import versions

__all__ = ["Trainer", "configure", "versions"]


def configure(settings: Settings) -> None:
    """Of both subjects, so a machine that has nothing to compile with is refused for both."""
    compiled.configure(settings)


class Network(nn.Module):
    """The first layer, the hidden one again and again, the last one. fixed: how often; None: as the labels say."""

    def __init__(self, task: Task, params: Params, depths: int, fixed: int | None) -> None:
        super().__init__()
        self.layers = mlp.build_network(task, params)
        self.depths, self.fixed = depths, fixed

    def depth(self, labels: torch.Tensor) -> int:
        """How often the hidden layer is applied: fixed, or 1 + sum of the labels mod depths."""
        if self.fixed is not None:
            return self.fixed
        return int(1 + labels.sum() % self.depths)

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """(batch, pixels), (batch,) -> logits (batch, classes)."""
        first, activation, hidden, _, last = self.layers
        x = activation(first(images))
        for _ in range(self.depth(labels)):
            x = activation(hidden(x))
        return last(x)


class Trainer:
    """`train` and `compilations` as in bench.contract, and nothing else of it."""

    def __init__(
        self, subject: str, task: Task, params: Params, data: Data, *, depths: int, fixed: int | None = None
    ) -> None:
        self.images = torch.tensor(data.images, device=mlp.DEVICE)  # (n, pixels)
        self.labels = torch.tensor(data.labels, device=mlp.DEVICE)  # (n,)
        self.network: nn.Module = Network(task, params, depths, fixed)
        self.optimizer = mlp.build_optimizer(task, self.network)
        self.compiles = subject == "torch-compile"
        if self.compiles:
            self.network = torch.compile(self.network, dynamic=False, isolate_recompiles=True)
        self._programs = self._breaks = 0

    def step(self, rows: torch.Tensor) -> torch.Tensor:
        """One step on the rows (batch,) of the training set; returns the loss before it."""
        images, labels = self.images.index_select(0, rows), self.labels.index_select(0, rows)
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.network(images, labels), labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        programs, breaks = counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())
        order = torch.tensor(batches, device=mlp.DEVICE)
        losses = torch.stack([self.step(rows) for rows in order])
        # PyTorch's own counts are of the whole process.
        self._programs += counters["stats"]["unique_graphs"] - programs
        self._breaks += sum(counters["graph_break"].values()) - breaks
        return losses.cpu().numpy().astype(np.float32, copy=False)

    def compilations(self) -> int | None:
        """See bench.contract; None where nothing is compiled."""
        return self._programs if self.compiles else None

    def graph_breaks(self) -> int | None:
        """How many places PyTorch has met so far that it could not compile; None where nothing is compiled."""
        return self._breaks if self.compiles else None
