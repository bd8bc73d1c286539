"""What an entry is and returns -> the same, checked; or ContractBroken: what is wrong, and what was wanted."""

import numpy as np
from numpy.typing import NDArray

from bench.contract import Array, Device, Params, Refusal
from bench.task import Task

_OF_MODULE = ("configure", "versions", "build")
_OF_TRAINER = ("train", "logits", "params")


class ContractBroken(Exception):
    """An entry is or returned something that the contract does not allow; the message says what."""


def check_module(module: object, name: str) -> None:
    """Raise ContractBroken where a module lacks a function of the contract or calls itself by another name."""
    missing = [verb for verb in _OF_MODULE if not callable(getattr(module, verb, None))]
    if missing:
        raise ContractBroken(f"the module lacks {', '.join(f'{verb}()' for verb in missing)}; see bench/contract.py")
    called = getattr(module, "NAME", name)
    if called != name:
        raise ContractBroken(
            f"the module calls itself {called!r}, but was asked for as {name!r}; NAME must be the same"
        )


def check_trainer(trainer: object) -> None:
    """Raise ContractBroken where what build() returned lacks a method of the contract."""
    missing = [verb for verb in _OF_TRAINER if not callable(getattr(trainer, verb, None))]
    if missing:
        what = type(trainer).__name__
        raise ContractBroken(f"build() returned {what} without {', '.join(f'{verb}()' for verb in missing)}")


def check_placement(trainer: object, device: Device) -> None:
    """Raise ContractBroken where a tensor of the trainer lies on another device than the case's.

    Raises Refusal where the device is CUDA and the trainer does not tell: a framework may compute on the CPU without a
    word, and nothing else would show it.
    """
    tell = getattr(trainer, "placement", None)
    if tell is None:
        if device == "cuda":
            raise Refusal(
                "the entry does not tell where its tensors lie (placement()), so nothing shows that it is CUDA"
            )
        return
    placed = dict(tell())
    elsewhere = sorted(f"{name} on {where}" for name, where in placed.items() if where != device)
    if elsewhere or not placed:
        found = ", ".join(elsewhere[:5]) or "no tensor at all"
        raise ContractBroken(f"every tensor must lie on {device}; placement() tells of {found}")


def _found(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def checked_losses(losses: object, steps: int) -> NDArray[np.float32]:
    """The losses as float32 (steps,)."""
    if not isinstance(losses, np.ndarray) or losses.dtype != np.float32 or losses.shape != (steps,):
        wanted = f"a NumPy array float32 ({steps},)"
        raise ContractBroken(f"train() must return the losses as {wanted}, returned {_found(losses)}")
    return losses


def checked_logits(logits: object, rows: int, classes: int) -> Array:
    """The logits as an array of floats (rows, classes), all finite."""
    if not isinstance(logits, np.ndarray) or logits.shape != (rows, classes) or logits.dtype.kind != "f":
        raise ContractBroken(
            f"logits() must return a NumPy array of floats ({rows}, {classes}), returned {_found(logits)}"
        )
    if not np.isfinite(logits).all():
        raise ContractBroken("logits() returned a value that is not finite")
    return logits


def checked_params(params: object, task: Task) -> list[Array]:
    """The parameters, weight and bias of each layer in turn, in the task's shapes and dtype."""
    layers = list(zip(task.layers, task.layers[1:], strict=False))
    if not isinstance(params, list) or len(params) != len(layers):
        found = f"{len(params)} layers" if isinstance(params, list) else type(params).__name__
        raise ContractBroken(f"params() must return a list of {len(layers)} layers (weight, bias), returned {found}")
    flat: list[Array] = []
    for index, (layer, (fan_in, fan_out)) in enumerate(zip(params, layers, strict=True)):
        if not isinstance(layer, tuple | list) or len(layer) != 2:
            raise ContractBroken(
                f"params() must return a pair (weight, bias) for layer {index}, returned {layer!r:.60}"
            )
        for what, array, shape in (("weight", layer[0], (fan_in, fan_out)), ("bias", layer[1], (fan_out,))):
            if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != task.dtype:
                wanted = f"{task.dtype} {shape}"
                raise ContractBroken(f"params() must return {what} {index} as {wanted}, returned {_found(array)}")
            flat.append(array)
    return flat


def check_unchanged(before: Params, after: Params, what: str = "initial parameters") -> None:
    """Raise ContractBroken where an entry wrote into the arrays that it was given."""
    for (weight, bias), (kept_weight, kept_bias) in zip(after, before, strict=True):
        if not (np.array_equal(weight, kept_weight) and np.array_equal(bias, kept_bias)):
            raise ContractBroken(f"the entry changed the {what} that it was given; it must copy them")
