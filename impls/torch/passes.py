"""The step of torch-eager, in parts -> losses of the forward pass, and of both passes, without an update."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from bench.contract import Data, Params
from bench.task import Task
from impls.torch import mlp
from impls.torch.mlp import configure, versions

__all__ = ["build", "configure", "versions"]


class Trainer(mlp.Trainer):
    """See bench.contract and bench.studies.backward."""

    def loss(self, rows: torch.Tensor) -> torch.Tensor:
        """The loss of the rows (batch,), recorded for a backward pass as in a step."""
        images, labels = self.images.index_select(0, rows), self.labels.index_select(0, rows)
        return F.cross_entropy(self.network(images), labels)

    def loss_and_gradients(self, rows: torch.Tensor) -> torch.Tensor:
        """The loss of the rows (batch,); its gradients are in the parameters' `grad`."""
        self.optimizer.zero_grad()
        loss = self.loss(rows)
        loss.backward()
        return loss

    def forward(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """The loss of each batch by the present parameters."""
        order = torch.tensor(batches, device=mlp.DEVICE)
        losses = torch.stack([self.loss(rows).detach() for rows in order])
        return losses.cpu().numpy().astype(np.float32, copy=False)

    def gradients(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """The loss of each batch by the present parameters, its gradients computed too."""
        order = torch.tensor(batches, device=mlp.DEVICE)
        losses = torch.stack([self.loss_and_gradients(rows).detach() for rows in order])
        return losses.cpu().numpy().astype(np.float32, copy=False)

    def latest_gradients(self) -> Params:
        """By weight (fan_in, fan_out) and bias (fan_out,) of each layer, of the last batch given to `gradients`."""
        layers = [layer for layer in self.network if isinstance(layer, nn.Linear)]
        return [(x.weight.grad.cpu().numpy().T.copy(), x.bias.grad.cpu().numpy().copy()) for x in layers]


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
