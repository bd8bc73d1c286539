"""Entry x task -> Measurements. The only code that holds a clock.

The order of a trial, each part timed by itself: import and configure, data, build, first step, the rest of each
epoch, single steps. Training takes exactly the task's epochs on one trainer. Each epoch is two calls, its first batch
alone and then all the others: so the first step of all is timed without a step of its own, and every later window has
the same shape as the first one, which compiled entries need.
"""

import gc
import hashlib
import importlib
import time
from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bench.certificate import check, own_dtype_steps
from bench.conformance import ContractBroken, check_module, check_trainer, checked_logits, checked_losses
from bench.contract import EntryModule, Settings, Trainer
from bench.inputs import epoch_batches, first_batches, initial_params, load_data, training_rows
from bench.probes import memory
from bench.record import Check, Epoch, Measurements, Memory, MemorySample
from bench.task import Task

SINGLE_STEPS = 200  # enough for a p99 that is not the maximum
LOSSES_KEPT = 100  # the record stays a few kB; the hash covers the rest


def accuracy(logits: object, labels: NDArray[np.int64], classes: int) -> float:
    """Share of rows whose largest logit is the label's: the one evaluation that all entries share."""
    return float(np.mean(np.argmax(checked_logits(logits, len(labels), classes), axis=1) == labels))


def compilations(trainer: Trainer) -> int | None:
    """How many programs a trainer says it has traced or compiled; None where it does not tell."""
    tell = getattr(trainer, "compilations", None)
    return int(tell()) if callable(tell) else None


def _memory(read: Callable[[], MemorySample]) -> tuple[MemorySample | None, str | None]:
    try:
        return read(), None
    except memory.Unreadable as error:
        return None, str(error)


def measure(
    name: str, module_name: str, task: Task, training_seed: int, settings: Settings
) -> tuple[Measurements, Check, EntryModule]:
    """Train the task once with the entry and say what was seen; the check is made after the last clock.

    Raises Refusal where the entry cannot do the task, ContractBroken where it breaks its contract, and whatever the
    entry itself raises.
    """
    started = time.perf_counter()
    entry = load_entry(name, module_name, settings)
    import_seconds = time.perf_counter() - started
    after_import, no_memory = _memory(memory.sample)

    started = time.perf_counter()
    sets = load_data(task)
    params = initial_params(task, training_seed)
    data_seconds = time.perf_counter() - started

    batches = epoch_batches(task, training_seed, 0)
    started = time.perf_counter()
    trainer = entry.build(task, params, sets.train)
    build_seconds = time.perf_counter() - started
    check_trainer(trainer)
    test = sets.test
    del sets  # the entry has its own copy: what remains resident is what the framework holds
    gc.collect()
    after_build, _ = _memory(memory.sample)

    try:
        memory.reset_peak()
    except memory.Unreadable as error:
        no_memory = str(error)
    epochs: list[Epoch] = []
    losses: list[NDArray[np.float32]] = []
    for epoch in range(task.epochs):
        if epoch > 0:
            batches = epoch_batches(task, training_seed, epoch)
        epochs.append(_epoch(trainer, batches, losses, test.images, test.labels, task.layers[-1]))
        _refuse_compilation(epochs[-1].compilations, f"the window of epoch {epoch}", allowed=epoch == 0)
    peak = None if no_memory else memory.peak_bytes()

    programs = compilations(trainer)
    latencies = _single_steps(trainer, batches)
    after = compilations(trainer)
    _refuse_compilation(None if programs is None or after is None else after - programs, "the single steps")
    del trainer
    gc.collect()

    every = np.concatenate(losses)
    checked = check_of(entry, task, training_seed, measured=every)
    measurements = Measurements(
        import_seconds=import_seconds,
        data_seconds=data_seconds,
        build_seconds=build_seconds,
        first_step_seconds=epochs[0].first_batch_seconds,
        total_training_seconds=sum(e.window_seconds + e.first_batch_seconds for e in epochs),
        epochs=epochs,
        step_latency_nanoseconds=latencies,
        first_losses=[float(loss) for loss in every[:LOSSES_KEPT]],
        losses_sha256=hashlib.sha256(every.astype("<f4").tobytes()).hexdigest(),
        memory=Memory(
            after_import=after_import,
            after_build=after_build,
            peak_training_bytes=peak,
            peak_above_import_bytes=peak - after_import.rss_bytes if peak is not None and after_import else None,
            reason=no_memory,
        ),
    )
    return measurements, checked, entry


def _refuse_compilation(programs: int | None, where: str, *, allowed: bool = False) -> None:
    """Raise ContractBroken where programs were made inside a window that counts: its time would be another thing's.

    The first epoch is warm-up: there the program of the long call may still be made.
    """
    if programs and not allowed:
        raise ContractBroken(f"{programs} program(s) traced or compiled inside {where}; its time counts no training")


def _epoch(
    trainer: Trainer,
    batches: NDArray[np.int64],
    losses: list[NDArray[np.float32]],
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
) -> Epoch:
    """Train one epoch in its two calls, append its losses, evaluate."""
    gc.collect()  # the collector may still run in the window, as it does for a user; only our own garbage goes first
    started = time.perf_counter()
    first = trainer.train(batches[:1])
    first_batch_seconds = time.perf_counter() - started
    losses.append(checked_losses(first, 1))

    programs = compilations(trainer)
    cpu_started = time.process_time()
    started = time.perf_counter()
    rest = trainer.train(batches[1:])
    window_seconds = time.perf_counter() - started
    window_cpu_seconds = time.process_time() - cpu_started
    after = compilations(trainer)
    losses.append(checked_losses(rest, len(batches) - 1))

    of_epoch = np.concatenate(losses[-2:]).astype(np.float64)
    if not np.isfinite(of_epoch).all():
        raise ContractBroken(f"the loss of step {int(np.argmin(np.isfinite(of_epoch)))} of an epoch is not finite")
    return Epoch(
        window_seconds=window_seconds,
        window_cpu_seconds=window_cpu_seconds,
        window_steps=len(batches) - 1,
        first_batch_seconds=first_batch_seconds,
        compilations=None if programs is None or after is None else after - programs,
        mean_loss=float(of_epoch.mean()),
        last_loss=float(of_epoch[-1]),
        test_accuracy=accuracy(trainer.logits(images), labels, classes),
    )


def _single_steps(trainer: Trainer, batches: NDArray[np.int64]) -> list[int]:
    """Nanoseconds of single steps, one call each: a user who looks at every loss waits so long."""
    latencies = []
    for step in range(SINGLE_STEPS):
        row = step % len(batches)
        started = time.perf_counter_ns()
        trainer.train(batches[row : row + 1])
        latencies.append(time.perf_counter_ns() - started)
    return latencies


def load_entry(name: str, module_name: str, settings: Settings) -> EntryModule:
    """Import an entry, see that it has the contract's names, configure the process. Raises what any of it raises."""
    module = importlib.import_module(module_name)
    check_module(module, name)
    entry = cast(EntryModule, module)
    entry.configure(settings)
    return entry


def check_of(entry: EntryModule, task: Task, seed: int, *, measured: NDArray[np.float32]) -> Check:
    """The check of a new trainer, and of the first losses of the measured one, beside the oracle."""
    steps = min(own_dtype_steps(task), len(measured))
    data, batches = training_rows(task, first_batches(task, seed, steps))
    trainer = entry.build(task, initial_params(task, seed), data)
    losses = checked_losses(trainer.train(batches), len(batches))
    return check(task, seed=seed, data=data, batches=batches, losses=losses, measured_losses=measured[: len(batches)])
