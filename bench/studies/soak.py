"""100,000 steps of one trainer -> its resident memory and its pace, every 10,000 steps.

The batches repeat: those of two epochs, in turn, so that nothing of our own grows.
"""

import contextlib
import ctypes
import gc
import time
from types import ModuleType

import numpy as np

from bench.conformance import ContractBroken, checked_losses
from bench.contract import Settings
from bench.inputs import epoch_batches, initial_params, load_data
from bench.probes import memory
from bench.record import Reading, WorkerRequest

STEPS = 100_000
EVERY = 10_000
CALL = 500  # steps a call: one shape, which compiled entries want


def measure(module: ModuleType, request: WorkerRequest, settings: Settings) -> list[Reading]:
    """Readings `rss_bytes.N`, resident bytes after N steps, and `steps_per_second.N`, of the EVERY steps before N.

    `rss_growth_bytes`: last minus that after the first EVERY steps, in which allocators and caches fill.
    """
    module.configure(settings)
    task, seed = request.task, request.training_seed
    trainer = module.build(task, initial_params(task, seed), load_data(task).train)
    rows = np.concatenate([epoch_batches(task, seed, epoch) for epoch in range(2)])
    rows = rows[: len(rows) // CALL * CALL]
    found: list[Reading] = []
    resident: list[int] = []
    done = 0
    for mark in range(EVERY, STEPS + 1, EVERY):
        started = time.perf_counter()
        while done < mark:
            at = done % len(rows)
            losses = checked_losses(trainer.train(rows[at : at + CALL]), CALL)
            if not np.isfinite(losses).all():
                raise ContractBroken(f"a loss is not finite within the first {done + CALL} steps")
            done += CALL
        seconds = time.perf_counter() - started
        _give_back()
        found.append(Reading(name=f"steps_per_second.{mark}", unit="1/s", value=EVERY / seconds))
        try:
            resident.append(memory.sample().rss_bytes)
            found.append(Reading(name=f"rss_bytes.{mark}", unit="bytes", value=resident[-1]))
        except memory.Unreadable as error:
            found.append(Reading(name=f"rss_bytes.{mark}", unit="bytes", value=None, reason=str(error)))
    growth = resident[-1] - resident[0] if len(resident) == STEPS // EVERY else None
    reason = None if growth is not None else "resident memory could not be read"
    return [*found, Reading(name="rss_growth_bytes", unit="bytes", value=growth, reason=reason)]


def _give_back() -> None:
    """Return freed memory to the system: a leak would fill it first, and show only once it is used up."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another libc than glibc keeps what it keeps
        ctypes.CDLL(None).malloc_trim(0)
