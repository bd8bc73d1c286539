"""The step of jax-jit, in parts -> losses of the forward pass, and of both passes, without an update."""

import jax
import numpy as np
from numpy.typing import NDArray

from bench.contract import Data, Params
from bench.task import Task
from impls.jax import mlp
from impls.jax.mlp import configure, versions

__all__ = ["build", "configure", "versions"]

Parameters = list[jax.Array]


class Trainer(mlp.Trainer):
    """See bench.contract and bench.studies.backward. Each pass is a program of its own, as the step is."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        super().__init__(task, params, data)
        self._forward = jax.jit(self.loss_of_rows)
        self._gradients = jax.jit(jax.value_and_grad(self.loss_of_rows))

    def loss_of_rows(self, p: Parameters, images: jax.Array, labels: jax.Array, rows: jax.Array) -> jax.Array:
        """The loss of the rows (batch,)."""
        return self.loss(p, images[rows], labels[rows])

    def forward(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """The loss of each batch by the present parameters."""
        p = [p for p, *_ in self.state[1]]
        losses = [self._forward(p, self.images, self.labels, rows) for rows in batches]
        return np.stack(jax.device_get(losses)).astype(np.float32, copy=False)

    def gradients(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """The loss of each batch by the present parameters, its gradients computed too."""
        p = [p for p, *_ in self.state[1]]
        losses = []
        for rows in batches:
            loss, self._latest = self._gradients(p, self.images, self.labels, rows)
            losses.append(loss)
        jax.block_until_ready(self._latest)
        return np.stack(jax.device_get(losses)).astype(np.float32, copy=False)

    def latest_gradients(self) -> Params:
        """By weight (fan_in, fan_out) and bias (fan_out,) of each layer, of the last batch given to `gradients`."""
        flat = [np.array(gradient) for gradient in self._latest]
        return list(zip(flat[::2], flat[1::2], strict=True))


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
