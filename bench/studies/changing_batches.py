"""One trainer, batches of one size and of many, a call a step -> the throughput kept where the size changes each step.

A pass is SIZES * steps_a_size steps with as many rows in all as steps of the task's own batch size have. The sizes lie
between half of that and one and a half times, in pairs around it; each comes steps_a_size times, in random order, and
the first pass is the first time that the trainer sees any of them; a second goes over the same batches again. Each pass
takes turns with one of the task's own size, part by part.
"""

import itertools
import time
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from bench.conformance import check_trainer, checked_losses
from bench.contract import Settings, Trainer
from bench.inputs import epoch_batches, initial_params, load_data, training_rows
from bench.measure import compilations
from bench.oracle import Oracle
from bench.record import Reading, WorkerRequest
from bench.studies.same_work import STEPS, require_same_losses

SIZES = 16
STEPS_A_SIZE = 100  # a pass of 1,600 steps, a second and more of the fastest subject
PARTS = 8  # of a pass: windows of the one size and of the many take turns
WARM_UP_STEPS = 3
_STREAM = 3 << 32  # of Philox, beside those of bench.inputs

Batches = list[NDArray[np.int64]]  # (rows,) each


def measure(
    module: ModuleType, request: WorkerRequest, settings: Settings, *, steps_a_size: int = STEPS_A_SIZE
) -> list[Reading]:
    """`samples_per_second.fixed`, `.changing` (the first pass) and `.changing_again`; docs/studies.md says the rest.

    Raises Refusal where the trainer did not train these very batches.
    """
    module.configure(settings)
    task, seed = request.task, request.training_seed
    steps = SIZES * steps_a_size
    epochs = -(-(steps + WARM_UP_STEPS) // task.steps_per_epoch)
    rows = np.concatenate([epoch_batches(task, seed, epoch) for epoch in range(epochs)])
    warm_up, fixed = list(rows[:WARM_UP_STEPS]), list(rows[WARM_UP_STEPS : WARM_UP_STEPS + steps])
    changing = cut(np.concatenate(fixed), sizes(task.batch_size, steps_a_size, seed))
    params = initial_params(task, seed)
    trainer = module.build(task, params, load_data(task).train)
    check_trainer(trainer)

    _, first_losses = _train(trainer, warm_up)
    programs = [compilations(trainer)]
    seconds = {kind: {"fixed": 0.0, "changing": 0.0} for kind in ("changing", "changing_again")}
    losses: list[float] = []
    for in_turn in seconds.values():  # a pass
        for turn, part in enumerate(np.array_split(np.arange(steps), PARTS)):
            for kind in sorted(in_turn, reverse=turn % 2 == 1):  # changing is first in the first turn, then last
                batches = fixed if kind == "fixed" else changing
                taken, found = _train(trainer, [batches[step] for step in part])
                in_turn[kind] += taken
                losses += found
        programs.append(compilations(trainer))

    checked = [*warm_up, *changing[: min(STEPS, steps // PARTS)]]  # no batch of the one size is among them yet
    data, places = training_rows(task, np.concatenate(checked))
    oracle = Oracle(task, params, data)
    true = [oracle.step(rows) for rows in cut(places, np.array([len(rows) for rows in checked]))]
    require_same_losses([*first_losses, *losses], true, "batches of changing size")

    rows_a_pass = steps * task.batch_size
    readings = [
        Reading(
            name="samples_per_second.fixed",
            unit="1/s",
            value=len(seconds) * rows_a_pass / sum(in_turn["fixed"] for in_turn in seconds.values()),
        ),
        _programs("fixed", 0, programs[0]),
    ]
    for (kind, in_turn), before, after in zip(seconds.items(), programs, programs[1:], strict=False):
        kept = "kept" if kind == "changing" else "kept_again"
        readings += [
            Reading(name=f"samples_per_second.{kind}", unit="1/s", value=rows_a_pass / in_turn["changing"]),
            Reading(name=kept, unit="1", value=in_turn["fixed"] / in_turn["changing"]),
            Reading(name=f"seconds.{kind}", unit="s", value=in_turn["changing"]),
            _programs(kind, before, after),
        ]
    return readings


def sizes(batch_size: int, steps_a_size: int, seed: int) -> NDArray[np.int64]:
    """The size of each step of a pass: SIZES different ones around batch_size, which is their mean, shuffled."""
    generator = np.random.Philox(key=np.array([seed, _STREAM], dtype=np.uint64))
    offsets = 1 + np.argsort(generator.random_raw(batch_size // 2))[: SIZES // 2]  # different, up to half
    of_steps = np.repeat(np.concatenate([batch_size - offsets, batch_size + offsets]), steps_a_size)
    return of_steps[np.argsort(generator.random_raw(len(of_steps)), kind="stable")]


def cut(rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> Batches:
    """The rows in pieces of these lengths."""
    return np.split(rows, np.cumsum(lengths)[:-1])


def _train(trainer: Trainer, batches: Batches) -> tuple[float, list[float]]:
    """Seconds and losses of a call for each batch."""
    calls = [rows[np.newaxis] for rows in batches]
    started = time.perf_counter()
    found = [trainer.train(call) for call in calls]
    seconds = time.perf_counter() - started
    return seconds, list(itertools.chain.from_iterable(checked_losses(one, 1).tolist() for one in found))


def _programs(kind: str, before: int | None, after: int | None) -> Reading:
    """How many programs were traced or compiled in between."""
    name = f"compilations.{kind}"
    if after is None or before is None:
        return Reading(name=name, unit="1", value=None, reason="the entry compiles nothing, or does not tell of it")
    return Reading(name=name, unit="1", value=after - before)
