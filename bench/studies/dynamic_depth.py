"""A network of one depth, and one whose depth the batch decides -> the throughput that is kept.

The network is a first layer, a hidden layer that is applied k times with the same weights, and a last layer. In the
static network k is a constant of the programme; in the dynamic one it is 1 + (sum of the batch's labels mod DEPTHS),
found out inside the step. Both train on the same batches, each depth equally often, so that the mean of k is the
constant. A subject's module has configure and versions as an entry has (bench.contract), and

    Trainer(subject, task, params, data, *, depths, fixed=None)     fixed: the constant; None: as the labels say

with `train` as in the contract, `compilations` (None where nothing is compiled), and, where a compiler leaves parts of
the programme to Python, `graph_breaks`. params: first, hidden and last layer; task.layers names them once each.
"""

import time
from collections.abc import Callable
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from bench.conformance import ContractBroken, checked_losses
from bench.contract import Array, Data, Params, Settings
from bench.inputs import epoch_batches, initial_params, load_data, training_rows
from bench.oracle import Oracle
from bench.record import Reading, WorkerRequest
from bench.studies.same_work import STEPS, require_same_losses
from bench.task import Task

DEPTHS = 5  # odd, so that the mean depth is a whole number, which a static network can have
MEAN_DEPTH = (1 + DEPTHS) // 2
STEPS_A_DEPTH = 300  # 1,500 in all, some two seconds of the fastest subject
WINDOWS = 15  # of either network, in turn
FEW = 3  # steps of the trainer that is timed, in its float32, which are compared; of float64 it is STEPS
FLOAT64_TOLERANCE = 1e-6  # losses are handed over as float32, which rounds them by 6e-8
EPOCHS = 2  # that the batches are chosen from: some 370 of each depth


def measure(
    module: ModuleType, request: WorkerRequest, settings: Settings, *, steps_a_depth: int = STEPS_A_DEPTH
) -> list[Reading]:
    """`samples_per_second.static` and `.dynamic`, and `kept`, their ratio; of each kind what was compiled.

    Raises Refusal where one of the two networks did not have the depths that it should have.
    """
    module.configure(settings)
    width = request.task.layers[1]
    task = request.task.changed(layers=(request.task.layers[0], width, width, request.task.layers[-1]))
    seed = request.training_seed
    params, data = initial_params(task, seed), load_data(task).train
    batches = balanced(
        np.concatenate([epoch_batches(task, seed, epoch) for epoch in range(EPOCHS)]), data.labels, steps_a_depth
    )
    fixed = {"static": MEAN_DEPTH, "dynamic": None}
    trainers = {
        kind: module.Trainer(request.entry, task, params, data, depths=DEPTHS, fixed=depth)
        for kind, depth in fixed.items()
    }

    for kind, trainer in trainers.items():
        losses = checked_losses(trainer.train(batches), len(batches))  # whatever is compiled is so after this
        reference = Reference(task, params, data, fixed=fixed[kind])
        first = [reference.step(rows) for rows in batches[:FEW]]
        require_same_losses(losses.tolist(), first, f"{kind} depth")
    programs = [trainer.compilations() for trainer in trainers.values()]

    seconds = dict.fromkeys(trainers, 0.0)
    for turn, part in enumerate(np.array_split(batches, WINDOWS)):
        for kind in sorted(trainers, reverse=turn % 2 == 1):
            started = time.perf_counter()
            trainers[kind].train(part)
            seconds[kind] += time.perf_counter() - started
    if programs != [trainer.compilations() for trainer in trainers.values()]:
        raise ContractBroken("something was compiled while it was timed, though every batch had been trained on before")

    # Last of all: JAX's switch for float64 is one for the process and stays on, and so does what PyTorch has learnt to
    # compile; what is timed must be as without.
    for kind, depth in fixed.items():
        _prove(module, request, task, batches[:STEPS], kind=kind, fixed=depth)
    per_second = {kind: batches.size / taken for kind, taken in seconds.items()}
    return [
        *(Reading(name=f"samples_per_second.{kind}", unit="1/s", value=x) for kind, x in per_second.items()),
        Reading(name="kept", unit="1", value=per_second["dynamic"] / per_second["static"]),
        *(_count(f"compilations.{kind}", trainer.compilations) for kind, trainer in trainers.items()),
        *(_count(f"graph_breaks.{kind}", getattr(trainer, "graph_breaks", None)) for kind, trainer in trainers.items()),
    ]


def _prove(
    module: ModuleType, request: WorkerRequest, task: Task, batches: NDArray[np.int64], *, kind: str, fixed: int | None
) -> None:
    """Train the steps in float64 beside the reference. Raises Refusal where a loss is another.

    In float32 the sign of a ReLU's input can turn by rounding within 20 steps of such a network, and honest losses then
    part by more than a wrong layer might change them later on; in float64 it does not.
    """
    task = task.changed(dtype="float64")
    data, places = training_rows(task, batches)
    params = initial_params(task, request.training_seed)
    trainer = module.Trainer(request.entry, task, params, data, depths=DEPTHS, fixed=fixed)
    losses = checked_losses(trainer.train(places), len(places))
    reference = Reference(task, params, data, fixed=fixed)
    true = [reference.step(rows) for rows in places]
    require_same_losses(losses.tolist(), true, f"{kind} depth in float64", tolerance=FLOAT64_TOLERANCE)


def _count(name: str, tell: Callable[[], int | None] | None) -> Reading:
    """What a trainer counts, or null where there is nothing to count."""
    count = tell() if tell else None
    reason = "the subject has none to count" if count is None else None
    return Reading(name=name, unit="1", value=count, reason=reason)


def depth_of(labels: NDArray[np.int64]) -> int:
    """How often the hidden layer is applied to a batch with these labels."""
    return 1 + int(labels.sum()) % DEPTHS


def balanced(batches: NDArray[np.int64], labels: NDArray[np.int64], steps_a_depth: int) -> NDArray[np.int64]:
    """The first batches of each depth, as many of each, in the order in which they came."""
    depths = np.array([depth_of(labels[rows]) for rows in batches])
    chosen = [np.flatnonzero(depths == 1 + k)[:steps_a_depth] for k in range(DEPTHS)]
    return np.take(batches, np.sort(np.concatenate(chosen)), axis=0)


class Reference(Oracle):
    """The oracle of the network: that of the unrolled one, where gradients of the same weights add up."""

    def __init__(self, task: Task, params: Params, data: Data, *, fixed: int | None) -> None:
        super().__init__(task, params, data)
        self._fixed = fixed

    def gradients(self, rows: NDArray[np.int64]) -> tuple[float, list[Array]]:
        """See bench.oracle."""
        shared = self._params
        depth = depth_of(self._data.labels[rows]) if self._fixed is None else self._fixed
        self._params = [*shared[:2], *shared[2:4] * depth, *shared[4:]]
        try:
            loss, unrolled = super().gradients(rows)
        finally:
            self._params = shared
        hidden = unrolled[2:-2]
        return loss, [*unrolled[:2], np.sum(hidden[::2], axis=0), np.sum(hidden[1::2], axis=0), *unrolled[-2:]]
