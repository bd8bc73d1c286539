"""keras-jax: keras-fit on JAX."""

import os

os.environ["KERAS_BACKEND"] = "jax"  # read at the import of keras

from collections.abc import Mapping

import jax
import keras
import numpy as np
from numpy.typing import NDArray

from bench.contract import Data, Params, Refusal, Settings
from bench.task import Task
from impls.keras import network


def configure(settings: Settings) -> None:
    """Device of the whole process. Threads: XLA starts as many as the process may use cores; JAX has no setting."""
    if keras.backend.backend() != "jax":
        raise Refusal(f"Keras was imported with its backend {keras.backend.backend()} before, and keeps it")
    if settings.device != "cpu":
        raise Refusal("Keras on JAX is measured on the CPU alone, not on CUDA")
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

    def compilations(self) -> int:
        """See bench.contract."""
        program = self.program("step_function")
        return program._cache_size() if program else 0


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
