"""handmade-torch: PyTorch's tensors and autograd alone, without torch.nn and torch.optim."""

import numpy as np
import torch

from bench.contract import Refusal
from bench.task import Sgd

NAME = "handmade-torch"
FRAMEWORK = "torch"
MODE = "eager"
TIER = "as-written"
DEVICES = ("cpu",)

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "gelu": torch.nn.functional.gelu}


def configure(settings):
    """Called once, first: what holds for the whole process."""
    if settings.device != "cpu":
        raise Refusal(f"handmade-torch has no path for {settings.device}")
    if settings.precision != "ieee":
        raise Refusal(f"handmade-torch has no {settings.precision}: it computes on the CPU")
    torch.set_num_threads(settings.threads)


def versions():
    """What computes."""
    return {"torch": torch.__version__}


def build(task, params, data):
    """Timed: data and parameters onto the device."""
    if not isinstance(task.optimizer, Sgd):
        raise Refusal(f"handmade-torch has no {task.optimizer.name}; it writes out SGD alone")
    return Trainer(task, params, data)


class Trainer:
    """One network with its optimiser's state."""

    def __init__(self, task, params, data):
        self.rule, self.activation = task.optimizer, ACTIVATIONS[task.activation]
        self.images = torch.tensor(data.images)  # (n, pixels); torch.tensor copies, torch.from_numpy would not
        self.labels = torch.tensor(data.labels)  # (n,)
        self.flat = [torch.tensor(array, requires_grad=True) for layer in params for array in layer]
        self.velocities = [torch.zeros_like(p) for p in self.flat]
        self.steps = 0

    def forward(self, x):
        """(n, pixels) -> (n, classes)"""
        for i in range(0, len(self.flat), 2):
            x = x @ self.flat[i] + self.flat[i + 1]
            x = self.activation(x) if i + 2 < len(self.flat) else x
        return x

    def step(self, rows):
        """One step on the rows (batch,) of the training set; the loss before it, still on the device."""
        loss = torch.nn.functional.cross_entropy(self.forward(self.images[rows]), self.labels[rows])
        with torch.no_grad():
            for p, v, g in zip(self.flat, self.velocities, torch.autograd.grad(loss, self.flat), strict=True):
                v.mul_(self.rule.momentum).add_(g + self.rule.weight_decay * p)
                p.sub_(self.rule.rate(self.steps) * v)
        self.steps += 1
        return loss.detach()

    def train(self, batches):
        """Timed: int64 (steps, batch) -> float32 (steps,), the losses; reading them is the wait for the device."""
        return torch.stack([self.step(rows) for rows in torch.tensor(batches)]).numpy().astype(np.float32)

    def logits(self, images):
        """(n, pixels) -> (n, classes), on the host."""
        with torch.no_grad():
            return self.forward(torch.tensor(images)).numpy()

    def params(self):
        """Copies: weight (fan_in, fan_out) and bias (fan_out,) of each layer."""
        flat = [p.detach().numpy().copy() for p in self.flat]
        return list(zip(flat[::2], flat[1::2], strict=True))
