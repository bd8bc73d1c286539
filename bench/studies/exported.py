"""A network trained for one epoch and exported -> its bytes, and how a fresh process starts, answers and agrees.

A subject is an export format, or the framework itself without one. Its module is an entry's (configure, versions,
build: bench.contract) with two names more:

    SERVED: the import path of the module that serves, which is loaded in the serving process alone
    save(name, trainer, folder) -> None     writes all that serving needs into the empty folder

and the module that serves has, and imports no framework before it is asked to:

    IMPORTS: dict[name, tuple[module, ...]]  what serving imports, and nothing else
    load(name, folder, threads) -> function  of images, float32 (n, pixels), to logits (n, classes), NumPy both
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np

from bench.conformance import ContractBroken, checked_logits, checked_losses
from bench.contract import Array, Refusal, Settings
from bench.inputs import epoch_batches, initial_params, load_data
from bench.record import Reading, WorkerRequest
from bench.serving import Order

# max|answers - logits| / max|logits|. Sums of 784 float32 products in another order differ by some 1e-7; bfloat16, TF32
# or quantised weights by 1e-4 and more.
TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Load:
    """How often a serving process is asked, and how long it may take in all."""

    warm_up_calls: int = 200
    calls: int = 2000  # at batch 1; so the 99th percentile has 20 calls above it
    batch_size: int = 256
    seconds: float = 2  # at batch_size, at least
    limit_seconds: float = 120


def measure(
    module: ModuleType,
    request: WorkerRequest,
    settings: Settings,
    *,
    load: Load = Load(),
) -> list[Reading]:
    """`export_seconds`, `exported_bytes`, and of a fresh process that serves (docs/studies.md says what each is).

    Raises Refusal where an answer that was timed is not the trained network's.
    """
    module.configure(settings)
    task, seed = request.task, request.training_seed
    sets, batches = load_data(task), epoch_batches(task, seed, 0)
    trainer = module.build(task, initial_params(task, seed), sets.train)
    checked_losses(trainer.train(batches), len(batches))
    images, classes = sets.test.images, task.layers[-1]
    logits = checked_logits(trainer.logits(images), len(images), classes)
    with tempfile.TemporaryDirectory() as scratch:
        exported = Path(scratch) / "exported"
        exported.mkdir()
        started = time.perf_counter()
        module.save(request.entry, trainer, exported)
        export_seconds, exported_bytes = time.perf_counter() - started, bytes_in(exported)
        np.save(exported.with_name("images.npy"), images)
        order = Order(
            module=module.SERVED,
            name=request.entry,
            folder=scratch,
            threads=settings.threads,
            warm_up_calls=load.warm_up_calls,
            calls=load.calls,
            batch_size=load.batch_size,
            seconds=load.seconds,
            parent_pid=os.getpid(),
        )
        # Once for nothing: what exports has read some runtimes' files already and others' not, so without this some
        # would start from memory and others from the disk.
        served(replace(order, warm_up_calls=0, calls=0, seconds=0), load.limit_seconds)
        found = served(order, load.limit_seconds)
    answers = checked_logits(found["answers"], len(found["rows"]), classes)
    deviation = float(np.abs(answers - logits[found["rows"]]).max() / np.abs(logits).max())
    if not deviation <= TOLERANCE:
        raise Refusal(
            f"{request.entry}: what was exported is not what was trained: max|exported - trained| / max|trained| is "
            f"{deviation:.1e}, tolerated {TOLERANCE:.0e}"
        )
    p50, p99 = np.percentile(found["latency_nanoseconds"], (50, 99)) / 1e9
    resident = found.get("rss_bytes")
    return [
        Reading(name="export_seconds", unit="s", value=export_seconds),
        Reading(name="exported_bytes", unit="bytes", value=exported_bytes),
        *(
            Reading(name=name, unit="s", value=float(found[name]))
            for name in ("cold_start_seconds", "import_seconds", "load_seconds", "first_answer_seconds")
        ),
        Reading(name="latency_p50_seconds", unit="s", value=float(p50)),
        Reading(name="latency_p99_seconds", unit="s", value=float(p99)),
        Reading(name="samples_per_second", unit="1/s", value=float(found["samples_per_second"])),
        Reading(
            name="rss_bytes",
            unit="bytes",
            value=None if resident is None else int(resident),
            reason="/proc/self/statm could not be read" if resident is None else None,
        ),
        Reading(name="relative_deviation", unit="1", value=deviation),
    ]


def bytes_in(folder: Path) -> int:
    """The size of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def served(order: Order, limit_seconds: float) -> dict[str, Array]:
    """What bench.serving found in a process of its own, which has this one's cores, thread variables and session.

    Raises ContractBroken where it fails, crashes, or runs for longer than limit_seconds.
    """
    what = f"the serving process of {order.name}"
    try:
        done = subprocess.run(
            (sys.executable, "-m", "bench.serving", json.dumps(asdict(order))),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_seconds,
        )
    except subprocess.TimeoutExpired:  # it is dead by now
        raise ContractBroken(f"{what} was still running after its limit of {limit_seconds:g} s") from None
    if done.returncode != 0:
        sys.stderr.write(done.stderr)
        last = next((line.strip() for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
        end = f"ended with code {done.returncode}"
        if done.returncode < 0:
            end = f"was killed by {signal.Signals(-done.returncode).name}"
        raise ContractBroken(f"{what} {end}; last message: {last}"[:500])
    with np.load(Path(order.folder) / "served.npz") as file:
        return dict(file)
