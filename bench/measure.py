"""Entry x task -> Measurements. The only code that holds a clock.

The order of a trial, each part timed by itself: import and configure, data, build, first step, the rest of each
epoch, single steps. Training takes exactly the task's epochs on one trainer. Each epoch is two calls, its first batch
alone and then all the others: so the first step of all is timed without a step of its own, and every later window has
the same shape as the first one, which compiled entries need.

What would disturb the training comes after it: one more epoch with memory sampled, the gather alone, the ceilings of
the machine, and the check against the oracle.
"""

import gc
import hashlib
import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bench.certificate import check, own_dtype_steps
from bench.conformance import (
    ContractBroken,
    check_module,
    check_placement,
    check_trainer,
    checked_logits,
    checked_losses,
)
from bench.contract import EntryModule, Precision, Settings, Trainer
from bench.flops import flops_per_sample
from bench.followers import ALONE, Followers
from bench.inputs import epoch_batches, first_batches, initial_params, load_data, training_rows
from bench.probes import memory, surroundings
from bench.probes.ceiling import measure_ceiling, refuse_other_precision
from bench.record import (
    Check,
    Communication,
    Epoch,
    Figure,
    Measurements,
    Memory,
    MemorySample,
    Surroundings,
)
from bench.task import Task

SINGLE_STEPS = 200  # enough for a p99 that is not the maximum
LOSSES_KEPT = 100  # the record stays a few kB; the hash covers the rest
COMMUNICATION_PAIRS = 5  # of windows with and without communication, in turn
COMMUNICATION_STEPS = 100


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


@dataclass(kw_only=True)
class Watch:
    """What goes along with each window of a trial: waiting for the device, and the system's counters around it.

    cores_shared: another rank runs on the same cores, so that time of others on them is no disturbance.
    """

    synchronize: Callable[[], None]
    sensors: bool
    cores_shared: bool = False
    followers: Followers = ALONE
    cores: frozenset[int] = field(default_factory=lambda: frozenset(os.sched_getaffinity(0)))
    windows: list[tuple[float, float]] = field(default_factory=list)  # start and end, CLOCK_MONOTONIC
    reasons: dict[str, str] = field(default_factory=dict)

    def counters(self) -> surroundings.Counters | None:
        """The system's counters now; None where the sensors are off."""
        if not self.sensors:
            return None
        read = surroundings.read(self.cores)
        self.reasons |= read.reasons
        if self.cores_shared:
            self.reasons["foreign_seconds"] = "the trial's processes share cores, so one is foreign to another"
        return read

    def between(self, before: surroundings.Counters | None, after: surroundings.Counters | None) -> Surroundings | None:
        """What was counted over a window; None where the sensors are off."""
        if before is None or after is None:
            return None
        seen = surroundings.between(before, after)
        return seen.model_copy(update={"foreign_seconds": None}) if self.cores_shared else seen


def measure(
    name: str,
    module_name: str,
    task: Task,
    training_seed: int,
    settings: Settings,
    *,
    sensors: bool = True,
    cores_shared: bool = False,
    followers: Followers = ALONE,
) -> tuple[Measurements, Check, EntryModule, list[tuple[float, float]]]:
    """Train the task once with the entry and say what was seen; the check is made after the last clock.

    sensors: whether anything is read around the windows and beside an epoch of its own; without, such figures are
    null. followers: the other ranks, where this is rank 0 of several. Last of what is returned: start and end of each
    epoch's window, by CLOCK_MONOTONIC.

    Raises Refusal where the entry cannot do the task, ContractBroken where it breaks its contract, and whatever the
    entry itself raises.
    """
    started = time.perf_counter()
    entry = load_entry(name, module_name, settings, followers)
    import_seconds = time.perf_counter() - started
    after_import, no_memory = _memory(memory.sample)

    started = time.perf_counter()
    followers.read_data(task)
    sets = load_data(task)
    followers.hold(sets.train)
    params = initial_params(task, training_seed)
    data_seconds = time.perf_counter() - started

    watch = Watch(
        synchronize=getattr(entry, "synchronize", _nothing),
        sensors=sensors,
        cores_shared=cores_shared,
        followers=followers,
    )
    batches = epoch_batches(task, training_seed, 0)
    followers.ahead("build", (task, params, sets.train))
    started = time.perf_counter()
    trainer = entry.build(task, params, sets.train)
    watch.synchronize()
    build_seconds = time.perf_counter() - started
    check_trainer(trainer)
    check_placement(trainer, settings.device)
    test = sets.test
    del sets  # the entry has its own copy: what remains resident is what the framework holds
    gc.collect()
    after_build, _ = _memory(memory.sample)

    try:
        memory.reset_peak()
    except memory.Unreadable as error:
        no_memory = str(error)
    followers.reset_peaks()
    if settings.device == "cuda" and hasattr(entry, "reset_device_memory"):
        entry.reset_device_memory()
    epochs: list[Epoch] = []
    losses: list[NDArray[np.float32]] = []
    for epoch in range(task.epochs):
        if epoch > 0:
            batches = epoch_batches(task, training_seed, epoch)
        epochs.append(_epoch(trainer, batches, losses, test.images, test.labels, task.layers[-1], watch))
        _refuse_compilation(epochs[-1].compilations, f"the window of epoch {epoch}", allowed=epoch == 0)
    peak = None if no_memory else memory.peak_bytes()
    peaks = followers.peaks()
    allocated, reserved = _device_memory(entry, settings)
    check_placement(trainer, settings.device)  # now with what the optimiser keeps

    programs = compilations(trainer)
    latencies = _single_steps(trainer, batches, followers)
    after = compilations(trainer)
    _refuse_compilation(None if programs is None or after is None else after - programs, "the single steps")
    sampled, samples = _sampled_peak(trainer, batches, watch)
    gather = _gather(trainer, batches, watch)
    communication = _communication(trainer, batches, watch) if settings.processes > 1 else None
    del trainer
    gc.collect()
    ranks = 1 + len(peaks)  # each makes the products of its share
    ceiling = measure_ceiling(entry, task.changed(batch_size=task.batch_size // ranks), settings.threads)

    every = np.concatenate(losses)
    checked = check_of(entry, task, training_seed, measured=every, precision=settings.precision)
    wrong = refuse_other_precision(ceiling, settings.device, settings.precision)
    if wrong is not None and checked.verdict == "same-work":
        checked = checked.model_copy(update={"verdict": "refused", "reason": wrong})
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
            sampled_peak=sampled,
            sampled_peak_samples=samples,
            device_peak_allocated_bytes=allocated,
            device_peak_reserved_bytes=reserved,
            reason=no_memory,
            peak_training_bytes_of_ranks=[Figure(value=peak, reason=no_memory), *peaks] if peaks else [],
        ),
        flops_per_sample=flops_per_sample(task),
        gather_seconds_per_step=gather,
        ceiling=ceiling,
        reasons=watch.reasons if sensors else {"surroundings": "the run was told to leave the sensors off"},
        communication=communication,
    )
    _refuse_above_ceiling(measurements, task, ranks)
    return measurements, checked, entry, watch.windows


def _nothing() -> None:
    """What synchronises a device that does all it is told before it returns."""


def _refuse_above_ceiling(measured: Measurements, task: Task, ranks: int = 1) -> None:
    """Raise ContractBroken where the training did more operations a second than the framework's best product.

    Of several ranks: than as many times that of rank 0, measured while the others were idle.

    The work cannot have been done then, or the clock or the count of operations is wrong.
    """
    best = measured.ceiling.flops_per_second.value
    rates = [e.window_steps / e.window_seconds for e in measured.epochs if e.window_seconds > 0]
    achieved = float(np.median(rates)) * task.batch_size * measured.flops_per_sample if rates else 0.0
    if best is not None and achieved > best * ranks:
        raise ContractBroken(
            f"the training did {achieved:.3g} FLOP/s, the framework's best product {best * ranks:.3g}: "
            "the clock, the work or the count of operations is wrong"
        )


def _device_memory(entry: EntryModule, settings: Settings) -> tuple[Figure, Figure]:
    """Peaks of allocated and reserved bytes of the framework's own allocator on the device."""
    tell: Callable[[], Any] | None = getattr(entry, "device_memory", None)
    reason = "not on CUDA" if settings.device != "cuda" else None if tell else "the framework does not tell"
    peaks: dict[str, Any] = {} if reason is not None or tell is None else dict(tell())

    def figure(name: str) -> Figure:
        value = peaks.get(name)
        return Figure(value=value, reason=None if value is not None else reason or "the framework does not tell")

    return figure("peak_allocated_bytes"), figure("peak_reserved_bytes")


def _sampled_peak(trainer: Trainer, batches: NDArray[np.int64], watch: Watch) -> tuple[MemorySample | None, int]:
    """Train one more epoch, unmeasured, with the resident memory sampled; the largest figures, and of how many."""
    if not watch.sensors:
        return None, 0
    with memory.PeakSampler() as sampler:
        trainer.train(batches[1:])
    if sampler.reason is not None:
        watch.reasons["sampled_peak"] = sampler.reason
    return sampler.peak, sampler.samples


def _gather(trainer: Trainer, batches: NDArray[np.int64], watch: Watch) -> Figure:
    """Seconds of a step's gather alone, in the shape of a window: the least of three after one that may compile."""
    gather: Callable[[NDArray[np.int64]], None] | None = getattr(trainer, "gather", None)
    rows = batches[1:] if len(batches) > 1 else batches
    if gather is None:
        return Figure(value=None, reason="the entry cannot take a batch's rows alone")
    gather(rows)
    seconds = []
    for _ in range(3):
        watch.synchronize()
        started = time.perf_counter()
        gather(rows)
        watch.synchronize()
        seconds.append(time.perf_counter() - started)
    return Figure(value=min(seconds) / len(rows))


def _communication(trainer: Trainer, batches: NDArray[np.int64], watch: Watch) -> Communication | None:
    """Seconds of the same steps with and without the exchange of gradients, in turn, each once before for nothing.

    The last thing that is done with the trainer. None where it cannot leave the exchange out.
    """
    if not callable(getattr(trainer, "train_local", None)):
        return None
    rows = batches[1 : 1 + COMMUNICATION_STEPS] if len(batches) > 1 else batches
    seconds: dict[str, list[float]] = {"train": [], "train_local": []}
    for turn in range(COMMUNICATION_PAIRS + 1):
        for verb in ("train", "train_local") if turn % 2 else ("train_local", "train"):
            watch.followers.ahead(verb, (rows,), of=trainer)
            watch.synchronize()
            started = time.perf_counter()
            getattr(trainer, verb)(rows)
            watch.synchronize()
            seconds[verb].append(time.perf_counter() - started)
    return Communication(
        steps=len(rows), exchanging_seconds=seconds["train"][1:], local_seconds=seconds["train_local"][1:]
    )


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
    watch: Watch,
) -> Epoch:
    """Train one epoch in its two calls, append its losses, evaluate."""
    gc.collect()  # the collector may still run in the window, as it does for a user; only our own garbage goes first
    head, tail = batches[:1], batches[1:]
    watch.followers.ahead("train", (head,), of=trainer)
    watch.synchronize()
    started = time.perf_counter()
    first = trainer.train(head)
    watch.synchronize()
    first_batch_seconds = time.perf_counter() - started
    losses.append(checked_losses(first, 1))

    programs = compilations(trainer)
    watch.followers.ahead("train", (tail,), of=trainer)
    counted = watch.counters()
    watch.synchronize()
    cpu_started = time.process_time()
    started = time.perf_counter()
    rest = trainer.train(tail)
    watch.synchronize()
    ended = time.perf_counter()
    window_seconds = ended - started
    window_cpu_seconds = time.process_time() - cpu_started
    recounted = watch.counters()
    after = compilations(trainer)
    watch.windows.append((started, ended))
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
        surroundings=watch.between(counted, recounted),
    )


def _single_steps(trainer: Trainer, batches: NDArray[np.int64], followers: Followers = ALONE) -> list[int]:
    """Nanoseconds of single steps, one call each: a user who looks at every loss waits so long."""
    rows = [batches[row : row + 1] for row in (step % len(batches) for step in range(SINGLE_STEPS))]
    followers.ahead("train", *((row,) for row in rows), of=trainer)
    latencies = []
    for row in rows:
        started = time.perf_counter_ns()
        trainer.train(row)
        latencies.append(time.perf_counter_ns() - started)
    return latencies


def load_entry(name: str, module_name: str, settings: Settings, followers: Followers = ALONE) -> EntryModule:
    """Import an entry, see that it has the contract's names, configure the process. Raises what any of it raises.

    Followers do the same at the same time; what comes back leads them.
    """
    followers.load(name, module_name, settings)
    module = importlib.import_module(module_name)
    check_module(module, name)
    entry = cast(EntryModule, module)
    entry.configure(settings)
    return followers.lead(entry)


def check_of(
    entry: EntryModule, task: Task, seed: int, *, measured: NDArray[np.float32], precision: Precision
) -> Check:
    """The check of a new trainer, and of the first losses of the measured one, beside the oracle."""
    steps = min(own_dtype_steps(task), len(measured))
    data, batches = training_rows(task, first_batches(task, seed, steps))
    trainer = entry.build(task, initial_params(task, seed), data)
    losses = checked_losses(trainer.train(batches), len(batches))
    return check(
        task,
        seed=seed,
        data=data,
        batches=batches,
        losses=losses,
        measured_losses=measured[: len(batches)],
        precision=precision,
    )
