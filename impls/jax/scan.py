"""jax-scan: jax-jit's step in a loop that is part of the compiled program."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bench.contract import Data, Params
from bench.task import Task
from impls.jax import mlp
from impls.jax.mlp import State, configure, matmul, synchronize, versions

__all__ = ["build", "configure", "matmul", "synchronize", "versions"]


class Trainer(mlp.Trainer):
    """See bench.contract. Another number of steps is another program: one for the first step, one for the others."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        super().__init__(task, params, data)
        self._loop = jax.jit(self.loop, donate_argnums=0)

    def loop(self, state: State, images: jax.Array, labels: jax.Array, order: jax.Array) -> tuple[State, jax.Array]:
        """A step for each row of order (steps, batch): (state, ...) -> (state, losses)."""
        return jax.lax.scan(lambda carry, rows: self.step(carry, images, labels, rows), state, order)

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        self.state, losses = self._loop(self.state, self.images, self.labels, jnp.array(batches))
        jax.block_until_ready(self.state)
        return np.array(losses, dtype=np.float32)

    def compilations(self) -> int:
        """See bench.contract."""
        return self._loop._cache_size()


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
