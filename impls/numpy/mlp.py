"""NumPy: the oracle in the task's dtype. threads: taken from the environment, before NumPy is loaded."""

import platform
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bench.contract import Array, Data, Params, Refusal, Settings
from bench.oracle import Oracle
from bench.task import Task


def configure(settings: Settings) -> None:
    """NumPy's BLAS took its threads from the environment; there is no device but the CPU."""
    if settings.device != "cpu":
        raise Refusal(f"NumPy has no device {settings.device}")


def versions() -> Mapping[str, str]:
    """NumPy, and the interpreter that runs the loop."""
    return {"numpy": np.__version__, "python": platform.python_version()}


class Trainer:
    """The oracle behind the contract's names."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        own = Data(images=data.images.copy(), labels=data.labels.copy())
        self._oracle = Oracle(task, params, own, dtype=task.dtype)

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        return np.array([self._oracle.step(rows) for rows in batches], dtype=np.float32)

    def logits(self, images: Array) -> Array:
        """See bench.contract."""
        return self._oracle.logits(images)

    def params(self) -> Params:
        """See bench.contract."""
        return self._oracle.params()


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
