"""NumPy's entry, which exports its parameters under the names of answering.py beside it; `changed` changes one."""

from pathlib import Path

import numpy as np

from impls.numpy.mlp import Trainer, build, configure, versions

__all__ = ["SERVED", "build", "configure", "save", "versions"]

SERVED = "tests.plugins.answering"


def save(name: str, trainer: Trainer, folder: Path) -> None:
    arrays = [array for layer in trainer.params() for array in layer]
    if name == "changed":
        weight = arrays[-2]
        weight.flat[np.abs(weight).argmax()] *= 1.001
    np.savez(folder / "network.npz", *arrays)
