"""torch-compile: torch-eager with its network compiled, as PyTorch's guide to torch.compile writes it."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch._dynamo.utils import counters
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler
from torch.utils._triton import has_triton

from bench.contract import Data, Params, Refusal, Settings
from bench.task import Task
from impls.torch import mlp
from impls.torch.mlp import device_memory, matmul, reset_device_memory, synchronize, versions

__all__ = [
    "ProgramCount",
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
    """Device, threads and precision for the whole process; refuses where there is nothing to compile with."""
    mlp.configure(settings)
    try:
        get_cpp_compiler()  # CUDA needs it as well: the code that starts the kernels is C++
    except InvalidCxxCompiler:
        raise Refusal("torch.compile finds no C++ compiler; install g++") from None
    if settings.device == "cuda" and not has_triton():
        raise Refusal("torch.compile finds no Triton that has this GPU")


class ProgramCount:
    """How many programs torch.compile has made inside `counting`."""

    def __init__(self) -> None:
        self.total = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what is compiled in the block: PyTorch's own count is one for the whole process."""
        before = counters["stats"]["unique_graphs"]
        yield
        self.total += counters["stats"]["unique_graphs"] - before


class Trainer(mlp.Trainer):
    """See bench.contract. The network is compiled, forward and backward; optimiser and loop are torch-eager's."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        super().__init__(task, params, data)
        self._programs = ProgramCount()
        # Not network.compile(): of a plain nn.Sequential it compiles nothing, without a word (torch 2.13).
        # Isolated: all networks share the code of nn.Sequential, and from the ninth on it would run uncompiled.
        self._compiled = torch.compile(self.network, dynamic=False, isolate_recompiles=True)

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract. Evaluation is left to the network itself: its shape would compile another program."""
        plain, self.network = self.network, self._compiled
        try:
            with self._programs.counting():
                return super().train(batches)
        finally:
            self.network = plain

    def compilations(self) -> int:
        """See bench.contract."""
        return self._programs.total


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)


def host_reads(trainer: mlp.Trainer, batches: NDArray[np.int64]) -> list[str]:
    """See impls.torch.mlp. Of the same steps uncompiled, as PyTorch compiles nothing while it is observed."""
    with torch.compiler.set_stance("force_eager"):
        return mlp.host_reads(trainer, batches)
