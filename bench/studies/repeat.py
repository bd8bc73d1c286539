"""The same task and seed in one process after another -> a number that is the same where the bits are.

Every block of this study trains with the task's own seed, so that blocks differ in the process alone.
"""

import hashlib
from types import ModuleType

import numpy as np

from bench.conformance import checked_losses
from bench.contract import Settings
from bench.inputs import epoch_batches, initial_params, load_data
from bench.record import Reading, WorkerRequest


def measure(module: ModuleType, request: WorkerRequest, settings: Settings) -> list[Reading]:
    """`bits`: the first 48 bits of a SHA-256 over an epoch's losses and the parameters after it, as a whole number."""
    module.configure(settings)
    task = request.task
    trainer = module.build(task, initial_params(task, task.seed), load_data(task).train)
    batches = epoch_batches(task, task.seed, 0)
    losses = [checked_losses(trainer.train(part), len(part)) for part in (batches[:1], batches[1:])]
    told = hashlib.sha256(np.concatenate(losses).astype("<f4").tobytes())
    for weight, bias in trainer.params():
        told.update(np.ascontiguousarray(weight).tobytes())
        told.update(np.ascontiguousarray(bias).tobytes())
    digest = told.hexdigest()
    return [Reading(name="bits", unit="1", value=int(digest[:12], 16), text=digest)]
