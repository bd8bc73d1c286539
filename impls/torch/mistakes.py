"""A training script in PyTorch, and the same with one mistake each -> what PyTorch makes of them.

Subjects: torch-eager, and torch-compile, whose network is compiled as that entry's is. Where the mistake is a line
that is missing, the line after the gap is marked.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contract import Array, Data
from bench.task import Task
from impls.torch.mlp import configure, versions

__all__ = ["MISTAKES", "Script", "configure", "versions"]


class Script:
    """The step of `torch-eager` as a script of one's own. A mistake overrides the part that it is in."""

    activation: type[nn.Module] = nn.ReLU

    def __init__(self, subject: str, task: Task, data: Data) -> None:
        torch.manual_seed(task.seed)
        self.task = task
        self.sgd: Any = task.optimizer  # the study's task has no other
        self.images, self.labels = self.tensors(data.images.copy(), data.labels.copy())
        self.network = self.build_network()
        self.optimizer = self.build_optimizer()
        if subject == "torch-compile":
            self.network = torch.compile(self.network, dynamic=False, isolate_recompiles=True)

    def tensors(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        """Images float32 (n, pixels), labels int64 (n,)."""
        return torch.tensor(images), torch.tensor(labels)

    def build_network(self) -> nn.Module:
        """The layers of the task, as PyTorch initialises them."""
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(self.task.layers):
            layers += [nn.Linear(fan_in, fan_out), self.activation()]
        return nn.Sequential(*layers[:-1])

    def build_optimizer(self) -> torch.optim.Optimizer:
        """That of the task, gradient descent with momentum."""
        return torch.optim.SGD(self.network.parameters(), lr=self.sgd.learning_rate, momentum=self.sgd.momentum)

    def batch(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Images and labels of a step."""
        return self.images[rows], self.labels[rows]

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One step; returns the loss before it."""
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.network(images), labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def train(self, steps: range) -> list[float]:
        """The steps of these numbers; returns their losses."""
        size = self.task.batch_size
        return [float(self.step(*self.batch(slice(size * step, size * (step + 1))))) for step in steps]


# Mistakes of the data.


class _ImagesNotFlattened(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        side = int(self.task.layers[0] ** (1 / 2))
        images = images.reshape(len(images), side, side)  # the mistake
        return torch.tensor(images), torch.tensor(labels)


class _ImagesFloat64(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        images = images.astype(np.float64)  # the mistake
        return torch.tensor(images), torch.tensor(labels)


class _ImagesUint8(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        images = (images * np.iinfo(np.uint8).max).round().astype(np.uint8)  # the mistake
        return torch.tensor(images), torch.tensor(labels)


class _NanPixel(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        images[0, 0] = np.nan  # the mistake
        return torch.tensor(images), torch.tensor(labels)


class _LabelsFloat(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        labels = labels.astype(np.float32)  # the mistake
        return torch.tensor(images), torch.tensor(labels)


class _LabelTooLarge(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        labels[0] = self.task.layers[-1]  # the mistake
        return torch.tensor(images), torch.tensor(labels)


class _LabelNegative(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        labels[0] = -1  # the mistake
        return torch.tensor(images), torch.tensor(labels)


class _LabelsOneHot(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        return torch.tensor(images), F.one_hot(torch.tensor(labels))  # the mistake


class _LabelsColumn(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        labels = labels.reshape(-1, 1)  # the mistake
        return torch.tensor(images), torch.tensor(labels)


class _BatchSizesDiffer(Script):
    def batch(self, rows: slice) -> tuple[Tensor, Tensor]:
        return self.images[rows], self.labels[rows][1:]  # the mistake


class _OtherDevice(Script):
    def tensors(self, images: Array, labels: Array) -> tuple[Tensor, Tensor]:
        return torch.tensor(images, device="meta"), torch.tensor(labels)  # the mistake


# Mistakes of the network and the optimiser.


class _LayerWidthsDiffer(Script):
    def build_network(self) -> nn.Module:
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(self.task.layers):
            layers += [nn.Linear(fan_in, fan_out + 1), self.activation()]  # the mistake
        return nn.Sequential(*layers[:-1])


class _ActivationInNumpy(Script):
    class activation(nn.Module):  # noqa: N801
        def forward(self, x: Tensor) -> Tensor:
            return torch.from_numpy(np.maximum(x.numpy(), 0))  # the mistake


class _HiddenDetached(Script):
    class activation(nn.Module):  # noqa: N801
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x.detach())  # the mistake


class _SoftmaxTwice(Script):
    def build_network(self) -> nn.Module:
        return nn.Sequential(*super().build_network(), nn.Softmax(dim=1))  # the mistake


class _LearningRateString(Script):
    def build_optimizer(self) -> torch.optim.Optimizer:
        o = self.sgd
        return torch.optim.SGD(self.network.parameters(), lr=f"{o.learning_rate:g}", momentum=o.momentum)  # the mistake


class _LearningRateNegative(Script):
    def build_optimizer(self) -> torch.optim.Optimizer:
        o = self.sgd
        return torch.optim.SGD(self.network.parameters(), lr=-o.learning_rate, momentum=o.momentum)  # the mistake


class _ParametersLeftOut(Script):
    def build_optimizer(self) -> torch.optim.Optimizer:
        o = self.sgd
        return torch.optim.SGD(self.network[-1].parameters(), lr=o.learning_rate, momentum=o.momentum)  # the mistake


# Mistakes of the step.


class _LossArgumentsSwapped(Script):
    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(labels, self.network(images))  # the mistake
        loss.backward()
        self.optimizer.step()
        return loss


class _LossDetached(Script):
    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.network(images).detach(), labels)  # the mistake
        loss.backward()
        self.optimizer.step()
        return loss


class _ForwardNotRecorded(Script):
    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        with torch.no_grad():
            loss = F.cross_entropy(self.network(images), labels)  # the mistake
        loss.backward()
        self.optimizer.step()
        return loss


class _GradientsNotReset(Script):
    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        loss = F.cross_entropy(self.network(images), labels)  # the mistake
        loss.backward()
        self.optimizer.step()
        return loss


class _BackwardForgotten(Script):
    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.network(images), labels)
        self.optimizer.step()  # the mistake
        return loss


class _UpdateBeforeBackward(Script):
    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.network(images), labels)
        self.optimizer.step()  # the mistake
        loss.backward()
        return loss


class _ParameterChangedInPlace(Script):
    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.network(images), labels)
        for p in self.network.parameters():
            p.clamp_(-1, 1)  # the mistake
        loss.backward()
        self.optimizer.step()
        return loss


class _LossesInAList(Script):
    def step(self, images: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.network(images), labels)
        loss.backward()
        self.optimizer.step()
        self.losses.append(loss)  # the mistake

    def train(self, steps: range) -> list[float]:
        self.losses: list[Tensor] = []
        size = self.task.batch_size
        for step in steps:
            self.step(*self.batch(slice(size * step, size * (step + 1))))
        return [float(loss) for loss in self.losses]


# A string: why the mistake cannot be made.
MISTAKES: Mapping[str, type[Script] | str] = {
    "images-not-flattened": _ImagesNotFlattened,
    "images-float64": _ImagesFloat64,
    "images-uint8": _ImagesUint8,
    "nan-pixel": _NanPixel,
    "labels-float": _LabelsFloat,
    "label-too-large": _LabelTooLarge,
    "label-negative": _LabelNegative,
    "labels-one-hot": _LabelsOneHot,
    "labels-column": _LabelsColumn,
    "batch-sizes-differ": _BatchSizesDiffer,
    "other-device": _OtherDevice,
    "layer-widths-differ": _LayerWidthsDiffer,
    "activation-in-numpy": _ActivationInNumpy,
    "hidden-detached": _HiddenDetached,
    "softmax-twice": _SoftmaxTwice,
    "learning-rate-string": _LearningRateString,
    "learning-rate-negative": _LearningRateNegative,
    "parameters-left-out": _ParametersLeftOut,
    "loss-arguments-swapped": _LossArgumentsSwapped,
    "loss-detached": _LossDetached,
    "forward-not-recorded": _ForwardNotRecorded,
    "gradients-not-reset": _GradientsNotReset,
    "backward-forgotten": _BackwardForgotten,
    "update-before-backward": _UpdateBeforeBackward,
    "parameter-changed-in-place": _ParameterChangedInPlace,
    "losses-in-a-list": _LossesInAList,
}
