"""keras-jax: keras-fit on JAX."""

import os

os.environ["KERAS_BACKEND"] = "jax"  # read at the import of keras

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from numpy.typing import NDArray

from bench.contract import Array, Data, Params, Refusal, Settings
from bench.task import Task
from impls.keras import network


def configure(settings: Settings) -> None:
    """Device of the whole process. Threads: XLA starts as many as the process may use cores; JAX has no setting."""
    if keras.backend.backend() != "jax":
        raise Refusal(f"Keras was imported with its backend {keras.backend.backend()} before, and keeps it")
    if settings.device != "cpu":
        raise Refusal("Keras on JAX is measured on the CPU alone, not on CUDA")
    if settings.precision == "tf32":
        raise Refusal("TF32 is a format of NVIDIA's GPUs; Keras on JAX is measured on the CPU alone, ask for ieee")
    jax.config.update("jax_platforms", "cpu")  # else a GPU is taken where there is one


def versions() -> Mapping[str, str]:
    """The framework, and what it computes with."""
    return {"keras": keras.__version__, "jax": jax.__version__}


class Trainer(network.Trainer):
    """See bench.contract."""

    jit_compile = True  # as Keras itself chooses on JAX: without it every operation is dispatched by itself

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        if task.dtype == "float64":  # never switched off again: an older trainer may live on
            jax.config.update("jax_enable_x64", True)
        super().__init__(task, params, data)

    def fit(self, batches: NDArray[np.int64]) -> None:
        """One call of fit, with a step for each row of batches."""
        super().fit(batches)
        jax.block_until_ready([variable.value for variable in self.network.variables])

    def device_of(self, tensor: jax.Array) -> str:
        """See impls.keras.network."""
        (device,) = tensor.devices()
        return device.platform

    def wait(self, tensors: Any) -> None:
        """See impls.keras.network."""
        jax.block_until_ready(tensors)

    def compilations(self) -> int:
        """See bench.contract."""
        program = self.program("step_function")
        return program._cache_size() if program else 0


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)


def synchronize() -> None:
    """See bench.contract. JAX has no wait for a device; this is one for all that was computed and is still held."""
    jax.block_until_ready(jax.live_arrays())


def matmul(a: Array, b: Array) -> Callable[[int], Array]:
    """See bench.contract. JAX's own, by a loop in a program: a call for each takes longer than a small product."""
    if a.dtype == np.float64:  # never switched off again: an older trainer may live on
        jax.config.update("jax_enable_x64", True)
    x, y = jnp.array(a), jnp.array(b)
    out = jnp.zeros((len(a), b.shape[1]), x.dtype)
    loop = jax.jit(_products)

    def run(n: int) -> Array:
        return np.array(loop(n, x, y, out))

    return run


def _products(n: int, x: jax.Array, y: jax.Array, out: jax.Array) -> jax.Array:
    """x @ y, n times. One number of x is given 0 times the last result, so that XLA cannot take the product out."""

    def turn(_: int, carried: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        x, out = carried
        x = x.at[0, 0].add(0 * out[0, 0])
        return x, x @ y

    return jax.lax.fori_loop(0, n, turn, (x, out))[1]
