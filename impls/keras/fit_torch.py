"""keras-torch: keras-fit on PyTorch."""

import os

os.environ["KERAS_BACKEND"] = "torch"  # read at the import of keras

import re
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import torch
from numpy.typing import NDArray

from bench.contract import Array, Data, Params, Refusal, Settings
from bench.task import Task
from impls.keras import network

DEVICE = "cpu"


def configure(settings: Settings) -> None:
    """Device, threads and precision for the whole process."""
    global DEVICE
    if keras.backend.backend() != "torch":
        raise Refusal(f"Keras was imported with its backend {keras.backend.backend()} before, and keeps it")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise Refusal("PyTorch finds no CUDA device")
    if settings.precision == "tf32" and (settings.device == "cpu" or not torch.cuda.is_tf32_supported()):
        raise Refusal("TF32 is a format of NVIDIA's GPUs from Ampere on; this device has none, ask for ieee")
    DEVICE = settings.device
    torch.set_num_threads(settings.threads)
    torch.set_num_interop_threads(settings.threads)
    torch.backends.fp32_precision = settings.precision  # PyTorch's words are the contract's


def versions() -> Mapping[str, str]:
    """The framework, and what it computes with."""
    mkl = re.search(r"Math Kernel Library Version (\S+)", torch.__config__.show())
    return {
        "keras": keras.__version__,
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "none",
        "mkl": mkl[1] if mkl else "none",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


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

    def device_of(self, tensor: torch.Tensor) -> str:
        """See impls.keras.network."""
        return tensor.device.type

    def gather(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract."""
        with keras.device(DEVICE):
            super().gather(batches)

    def wait(self, tensors: Any) -> None:  # noqa: ARG002
        """See impls.keras.network. For the device, all of it."""
        synchronize()


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)


def synchronize() -> None:
    """See bench.contract. On the CPU an operation has ended when its call returns."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def matmul(a: Array, b: Array) -> Callable[[int], Array]:
    """See bench.contract. PyTorch's own, into one tensor, so that no memory is asked for in between."""
    x, y = torch.tensor(a, device=DEVICE), torch.tensor(b, device=DEVICE)
    out = torch.empty(len(x), y.shape[1], dtype=x.dtype, device=DEVICE)

    def run(n: int) -> Array:
        for _ in range(n):
            torch.mm(x, y, out=out)
        return out.cpu().numpy().copy()

    return run


def device_memory() -> Mapping[str, int]:
    """See bench.contract."""
    return {
        "peak_allocated_bytes": torch.cuda.max_memory_allocated(),
        "peak_reserved_bytes": torch.cuda.max_memory_reserved(),
    }


def reset_device_memory() -> None:
    """See bench.contract."""
    torch.cuda.reset_peak_memory_stats()
