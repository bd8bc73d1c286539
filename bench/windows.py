"""WorkerRequest, then commands line by line -> one line of JSON for each window of training steps.

The worker's side of a duet (bench/duet.py): it trains when it is told to and waits in read() in between, so that
several workers can share a core and take turns on it.
"""

import gc
import time
from collections.abc import Iterator
from itertools import count
from typing import IO, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from bench.conformance import ContractBroken, check_trainer, checked_losses
from bench.contract import Settings, Trainer
from bench.faults import fault
from bench.inputs import epoch_batches, initial_params, load_data
from bench.probes.source import module_sha256
from bench.record import Count, Seconds, Value, WorkerRequest
from bench.task import Task


class Ready(Value):
    """The first line of a worker: its entry is built and has trained one step."""

    ready: bool
    packages: dict[str, str]  # versions
    implementation_sha256: str | None


class Command(Value):
    """Train so many steps in one call. Compiled entries want the same number every time."""

    steps: Annotated[int, Field(ge=1)]


class Window(Value):
    """The answer to a command. seconds and cpu_seconds: of the steps asked for and the extra work together.

    extra_seconds: of the request's slowdown. cpu_seconds: of all threads of the worker.
    """

    steps: Count
    extra_seconds: Seconds
    seconds: Seconds
    cpu_seconds: Seconds
    compilations: Count | None  # programs made inside this window; null where the entry does not tell


_BLOCK = np.ones((32, 32), np.float32)


def _compute_until(moment: float) -> None:
    """Real work on the core, products of a microsecond or two, until time.perf_counter() has come so far."""
    while time.perf_counter() < moment:
        _BLOCK @ _BLOCK


def rows_of(task: Task, seed: int) -> Iterator[NDArray[np.int64]]:
    """The batches (batch_size,) of the task's training, epoch after epoch without end."""
    return (row for epoch in count() for row in epoch_batches(task, seed, epoch))


def serve(request: WorkerRequest, settings: Settings, commands: IO[str], replies: IO[str]) -> None:
    """Build the entry, say that it is ready, then train a window for each command until the commands end.

    Never raises for what an entry does: then the last line is a WorkerReply with status and reason.
    """
    try:
        _serve(request, settings, commands, replies)
    except BrokenPipeError:
        pass  # the runner has gone: nobody listens
    except Exception as error:
        _say(replies, fault(error))


def _serve(request: WorkerRequest, settings: Settings, commands: IO[str], replies: IO[str]) -> None:
    from bench.measure import load_entry

    entry = load_entry(request.entry, request.entry_module, settings)
    task, seed = request.task, request.training_seed
    trainer = entry.build(task, initial_params(task, seed), load_data(task).train)
    check_trainer(trainer)
    rows = rows_of(task, seed)
    checked_losses(trainer.train(next(rows)[np.newaxis]), 1)
    sha256 = module_sha256(request.entry_module)
    gc.collect()  # our own garbage goes first, as before a trial's epoch; a window is too short for that
    _say(replies, Ready(ready=True, packages=dict(entry.versions()), implementation_sha256=sha256))
    for line in commands:
        try:
            steps = Command.model_validate_json(line).steps
        except ValidationError:
            raise ContractBroken(f"not a command: {line.strip()[:60]!r}") from None
        _say(replies, _window(trainer, rows, steps, request.slowdown))


def _window(trainer: Trainer, rows: Iterator[NDArray[np.int64]], steps: int, slowdown: float) -> Window:
    """Train, with the clock around one call. A slowdown computes on for this share of what the call took."""
    from bench.measure import compilations

    batches = np.stack([next(rows) for _ in range(steps)])  # (steps, batch_size)
    programs = compilations(trainer)
    cpu_started = time.process_time()
    started = time.perf_counter()
    losses = trainer.train(batches)
    trained = time.perf_counter()
    if slowdown:
        _compute_until(trained + slowdown * (trained - started))
    ended = time.perf_counter()
    cpu_seconds = time.process_time() - cpu_started
    after = compilations(trainer)
    if not np.isfinite(checked_losses(losses, steps)).all():
        raise ContractBroken("a loss of a window is not finite")
    return Window(
        steps=steps,
        extra_seconds=ended - trained,
        seconds=ended - started,
        cpu_seconds=cpu_seconds,
        compilations=None if programs is None or after is None else after - programs,
    )


def _say(replies: IO[str], value: Value) -> None:
    """One line, at once."""
    replies.write(value.model_dump_json() + "\n")
    replies.flush()
