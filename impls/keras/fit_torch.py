"""keras-torch: keras-fit on PyTorch."""

import os

os.environ["KERAS_BACKEND"] = "torch"  # read at the import of keras

from collections.abc import Mapping

import keras
import numpy as np
import torch
from numpy.typing import NDArray

from bench.contract import Array, Data, Params, Refusal, Settings
from bench.task import Task
from impls.keras import network

DEVICE = "cpu"


def configure(settings: Settings) -> None:
    """Device, threads and IEEE precision for the whole process."""
    global DEVICE
    if keras.backend.backend() != "torch":
        raise Refusal(f"Keras was imported with its backend {keras.backend.backend()} before, and keeps it")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise Refusal("PyTorch finds no CUDA device")
    DEVICE = settings.device
    torch.set_num_threads(settings.threads)
    torch.set_num_interop_threads(settings.threads)
    torch.backends.fp32_precision = "ieee"


def versions() -> Mapping[str, str]:
    """The framework, and what it computes with."""
    return {"keras": keras.__version__, "torch": torch.__version__, "cuda": torch.version.cuda or "none"}


class Network(network.Network):
    """Keeps the losses in a list: PyTorch executes Python at each step, so it costs nothing."""

    def begin(self) -> None:
        """Forget the losses of the last call."""
        self.list: list[torch.Tensor] = []

    def keep(self, loss: torch.Tensor) -> None:
        """Part of the step: one more loss."""
        self.list.append(loss.detach())

    def losses_kept(self, steps: int) -> NDArray[np.float32]:
        """The losses of the last call, on the host; Keras' dry run before the first step left one more."""
        return torch.stack(self.list[-steps:]).cpu().numpy().astype(np.float32, copy=False)


class Trainer(network.Trainer):
    """See bench.contract."""

    kind = Network

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        with keras.device(DEVICE):  # Keras by itself takes a GPU where there is one
            super().__init__(task, params, data)

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        with keras.device(DEVICE):
            return super().train(batches)

    def logits(self, images: Array) -> Array:
        """See bench.contract."""
        with keras.device(DEVICE), torch.no_grad():
            return super().logits(images)


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
