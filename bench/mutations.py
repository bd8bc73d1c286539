"""Deliberate faults, each with the task that shows it and the part of the certificate that is meant to catch it.

A check that was never seen to fail is no check: every fault here is planted into an honest entry, by the module
`mutants` in the folder of its framework under impls/, and must be refused by what is meant to find it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bench.certificate import prove
from bench.conformance import ContractBroken
from bench.contract import Data, EntryModule, Params, Trainer
from bench.inputs import training_rows
from bench.record import Kill
from bench.task import Task, load_task

# framework -> the entry that its mutants are made of
MUTATED = {"torch": "torch-eager", "tensorflow": "tensorflow-function"}

Mutants = Mapping[str, Callable[[Task, Params, Data], Trainer]]

_MOMENTUM = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9}
_ADAM = {"name": "adam", "learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A fault. meant: the part and the beginning of the figure's name that must catch it; changes: to the task."""

    name: str
    fault: str
    meant: tuple[str, str] = ("float64", "parameter")
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """A small network with a square hidden layer, so that a transposed weight fits."""
        base = load_task("mlp-tiny").changed(layers=(784, 24, 24, 10), batch_size=32, optimizer=_MOMENTUM)
        return base.changed(**self.changes)


def _optimizer(**values: Any) -> dict[str, Any]:
    return {"optimizer": values}


MUTATIONS: tuple[Mutation, ...] = (
    Mutation(name="no-zero-grad", fault="gradients accumulate over steps", meant=("float64", "gradient")),
    Mutation(name="default-initialisation", fault="the framework's own initial values", meant=("float64", "loss")),
    Mutation(name="bias-frozen", fault="biases get no update", meant=("float64", "parameter bias")),
    Mutation(name="nesterov", fault="Nesterov's momentum for plain momentum"),
    Mutation(name="dampening", fault="the gradient is damped: v = mu v + (1 - mu) g"),
    Mutation(
        name="momentum-form",
        fault="v = mu v - rate g; p += v: another algorithm once the rate falls",
        changes=_optimizer(**_MOMENTUM, decay={"factor": 0.5, "every_steps": 30}),
    ),
    Mutation(
        name="weight-decay-decoupled",
        fault="L2's decay applied to the parameter, not to the gradient",
        changes=_optimizer(**_MOMENTUM, weight_decay=0.001),
    ),
    Mutation(
        name="weight-decay-coupled",
        fault="AdamW's decay put into the gradient",
        changes=_optimizer(**_ADAM | {"name": "adamw"}, weight_decay=0.01),
    ),
    Mutation(name="weight-decay-forgotten", fault="no L2", changes=_optimizer(**_MOMENTUM, weight_decay=0.001)),
    Mutation(name="adam-eps-value", fault="eps 1e-7 for 1e-8", changes=_optimizer(**_ADAM)),
    Mutation(name="adam-eps-placement", fault="eps beside the uncorrected root", changes=_optimizer(**_ADAM)),
    Mutation(
        name="rmsprop-eps-placement",
        fault="eps inside the root",
        changes=_optimizer(name="rmsprop", learning_rate=0.001, rho=0.9, eps=1e-7),
    ),
    Mutation(name="no-bias-correction", fault="Adam's means uncorrected", changes=_optimizer(**_ADAM)),
    Mutation(name="label-smoothing", fault="labels smoothed by 0.01", meant=("float64", "loss")),
    Mutation(name="sum-for-mean", fault="the loss summed over the batch", meant=("float64", "loss")),
    Mutation(name="double-softmax", fault="softmax before the cross-entropy from logits", meant=("float64", "loss")),
    Mutation(name="relu-on-output", fault="an activation after the last layer", meant=("float64", "loss")),
    Mutation(name="layer-transposed", fault="a square layer's weight used transposed", meant=("float64", "loss")),
    Mutation(
        name="batches-reversed", fault="the batches of a call in reverse order", meant=("float64", "loss in whole")
    ),
    Mutation(name="shuffle-off-by-one", fault="each row's neighbour in its place", meant=("float64", "loss")),
    Mutation(name="step-skipped", fault="no update in every 50th step"),
    Mutation(
        name="last-batch-dropped",
        fault="the last batch of a call is not trained, the loss before it told twice",
        meant=("float64", "loss in whole"),
    ),
    Mutation(name="half-batch", fault="the first half of each batch alone", meant=("float64", "loss")),
    Mutation(name="inputs-rounded-tf32", fault="images rounded to TF32's 10 bits", meant=("own-dtype", "loss")),
    Mutation(name="inputs-rounded-bf16", fault="images rounded to bfloat16", meant=("own-dtype", "loss")),
    Mutation(name="gradient-clipped", fault="the gradient's norm clipped at 1"),
    Mutation(name="learning-rate-off", fault="the rate 1% higher"),
    Mutation(name="stale-parameters", fault="each update applied one step late"),
    Mutation(name="evaluation-in-place-of-training", fault="no update at all"),
    Mutation(name="momentum-off", fault="momentum 0.89 for 0.9"),
    Mutation(name="gelu-approximate", fault="GELU by tanh", meant=("float64", "loss"), changes={"activation": "gelu"}),
    Mutation(name="last-layer-only", fault="only the last layer is trained"),
    Mutation(name="loss-after-update", fault="the loss after the update, not before", meant=("float64", "loss")),
)


def run_suite(mutants: Mutants) -> list[Kill]:
    """Certify each mutant on its task. Raises KeyError where a mutant of the list is not there."""
    return [_kill(mutation, mutants[mutation.name]) for mutation in MUTATIONS]


@cache
def _rows(dtype: str, batches: bytes, shape: tuple[int, ...]) -> tuple[Data, NDArray[np.int64]]:
    return training_rows(load_task("mlp").changed(dtype=dtype), np.frombuffer(batches, np.int64).reshape(shape))


def _load(task: Task, batches: NDArray[np.int64]) -> tuple[Data, NDArray[np.int64]]:
    """The rows of a certificate, decoded once for all mutants."""
    return _rows(task.dtype, batches.tobytes(), batches.shape)


def _kill(mutation: Mutation, build: Callable[[Task, Params, Data], Trainer]) -> Kill:
    task = mutation.task
    try:
        parts = prove(cast(EntryModule, SimpleNamespace(build=build)), task, task.seed, load=_load)
        faults = [f"part {part.name}: {fault}" for part in parts for fault in part.faults]
        part_name, figure = mutation.meant
        caught = any(fault.startswith(f"part {part_name}: {figure}") for fault in faults)
        faults.sort(key=lambda fault: not fault.startswith(f"part {part_name}: {figure}"))
    except ContractBroken as broken:
        faults, caught = [str(broken)], False  # refused, but not by what is meant to find it
    return Kill(
        name=mutation.name,
        fault=mutation.fault,
        task=f"{task.optimizer.name}, {task.activation}",
        meant=f"part {mutation.meant[0]}, {mutation.meant[1]}",
        caught=caught,
        faults=faults,
    )
