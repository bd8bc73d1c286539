"""torch-by-hand: torch-eager with its gradients written out: the two differ in automatic differentiation alone."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

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
    """See bench.contract. Layers, loss and optimiser are torch-eager's; nothing is recorded for a backward pass."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        super().__init__(task, params, data)
        self.layers, self.activations = list(self.network[::2]), list(self.network[1::2])
        self.slope = SLOPES[task.activation]

    @torch.no_grad()
    def step(self, rows: torch.Tensor) -> torch.Tensor:
        """One step on the rows (batch,) of the training set; returns the loss before it."""
        images, labels = self.images.index_select(0, rows), self.labels.index_select(0, rows)
        loss, gradients = self.gradients(images, labels)
        for p, g in zip(self.network.parameters(), gradients, strict=True):
            p.grad = g
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        return loss

    def gradients(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The loss of a batch, and its gradient by each parameter, weight and bias in turn."""
        before, inputs = [], [images]  # of each layer: what it gives before the activation, and what goes in
        for layer, activation in zip(self.layers, self.activations, strict=False):
            before.append(layer(inputs[-1]))
            inputs.append(activation(before[-1]))
        log_probabilities = F.log_softmax(self.layers[-1](inputs[-1]), dim=1)  # (batch, classes)
        loss = F.nll_loss(log_probabilities, labels)
        delta = log_probabilities.exp_()  # d loss / d logits = (softmax - one-hot) / batch
        delta.scatter_add_(1, labels[:, None], -torch.ones_like(delta[:, :1]))  # F.one_hot reads on the host
        delta /= len(labels)
        gradients: list[torch.Tensor] = []
        for index in reversed(range(len(self.layers))):
            gradients[:0] = [delta.T @ inputs[index], delta.sum(0)]  # torch keeps (fan_out, fan_in)
            if index > 0:
                delta = delta @ self.layers[index].weight
                delta *= self.slope(before[index - 1], inputs[index])
        return loss, gradients


def _slope_of_gelu(x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Phi(x) + x phi(x), of the normal distribution."""
    return 0.5 * (1.0 + torch.erf(x * math.sqrt(0.5))) + x * torch.exp(-0.5 * x * x) * math.sqrt(0.5 / math.pi)


# activation -> its derivative at x, where its value is y
SLOPES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "relu": lambda _, y: y > 0,
    "tanh": lambda _, y: 1 - y * y,
    "gelu": _slope_of_gelu,
}


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
