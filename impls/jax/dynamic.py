"""A network whose hidden layer is applied as often as the labels of the batch say -> its training.

Subject: jax-jit, whose step is compiled as that entry's is. JAX has no gradient of a loop whose end it does not know,
so the program holds the network of every depth, and the batch chooses among them (lax.switch).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bench.contract import Data, Params
from bench.task import Task
from impls.jax import mlp
from impls.jax.mlp import configure, versions

__all__ = ["Trainer", "configure", "versions"]


class Trainer(mlp.Trainer):
    """`train` and `compilations` as in bench.contract, and nothing else of it."""

    def __init__(
        self,
        subject: str,  # noqa: ARG002 (there is one)
        task: Task,
        params: Params,
        data: Data,
        *,
        depths: int,
        fixed: int | None = None,
    ) -> None:
        self.depths, self.fixed = depths, fixed
        super().__init__(task, params, data)

    def at(self, depth: int) -> Callable[[list[jax.Array], jax.Array], jax.Array]:
        """The first layer, the hidden one so many times, the last one, as a function of parameters and images."""
        return lambda p, images: self.network([*p[:2], *depth * p[2:4], *p[4:]], images)

    def loss(self, parameters: list[jax.Array], images: jax.Array, labels: jax.Array) -> jax.Array:
        """The loss of a batch."""
        if self.fixed is not None:
            logits = self.at(self.fixed)(parameters, images)
        else:
            networks = [self.at(1 + index) for index in range(self.depths)]
            logits = jax.lax.switch(jnp.sum(labels) % self.depths, networks, parameters, images)
        log_probabilities = jax.nn.log_softmax(logits)  # (batch, classes)
        return -jnp.mean(jnp.take_along_axis(log_probabilities, labels[:, None], axis=1))
