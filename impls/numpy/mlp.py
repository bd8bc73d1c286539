"""NumPy: the oracle in the task's dtype. threads: taken from the environment, before NumPy is loaded."""

import platform
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from bench.contract import Array, Data, Params, Refusal, Settings
from bench.oracle import Oracle
from bench.task import Task


def configure(settings: Settings) -> None:
    """NumPy's BLAS took its threads from the environment; there is no device but the CPU."""
    if settings.device != "cpu":
        raise Refusal(f"NumPy has no device {settings.device}")
    if settings.precision != "ieee":
        raise Refusal(f"NumPy has no {settings.precision.upper()}: it computes on the CPU, in IEEE arithmetic")


def versions() -> Mapping[str, str]:
    """NumPy, and the interpreter that runs the loop."""
    return {"numpy": np.__version__, "python": platform.python_version()}


class Trainer:
    """The oracle behind the contract's names."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        self._data = Data(images=data.images.copy(), labels=data.labels.copy())
        self._oracle = Oracle(task, params, self._data, dtype=task.dtype)

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        return np.array([self._oracle.step(rows) for rows in batches], dtype=np.float32)

    def logits(self, images: Array) -> Array:
        """See bench.contract."""
        return self._oracle.logits(images)

    def params(self) -> Params:
        """See bench.contract."""
        return self._oracle.params()

    def gather(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract."""
        for rows in batches:
            _ = self._data.images[rows], self._data.labels[rows]


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)


def matmul(a: Array, b: Array) -> Callable[[int], Array]:
    """See bench.contract."""
    x, y = a.copy(), b.copy()
    out = np.empty((len(a), b.shape[1]), a.dtype)

    def run(n: int) -> Array:
        for _ in range(n):
            np.matmul(x, y, out=out)
        return out.copy()

    return run
