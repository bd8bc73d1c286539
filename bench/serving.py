"""An Order, as JSON in the first argument -> served.npz: what a fresh process took to answer, and its answers.

Run as `python -m bench.serving ORDER` by bench.studies.exported; holds the clock of every export format. Imports NumPy
and the standard library alone, for what is imported here adds to the resident memory of what serves.
"""

import contextlib
import importlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.parent import die_with_parent

SINGLES = 1000  # images that calls at batch 1 take in turn: few, as they lie in the resident memory


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be served, and how often it is asked.

    module: the one that serves, with `IMPORTS` and `load` (see bench.studies.exported). folder: holds what was
    exported, in `exported`, and `images.npy`, float32 (n, pixels); served.npz goes there. calls: at batch 1.
    seconds: at batch_size, at least.
    """

    module: str
    name: str
    folder: str
    threads: int
    warm_up_calls: int
    calls: int
    batch_size: int
    seconds: float
    parent_pid: int


def serve(order: Order) -> dict[str, Any]:
    """Load and answer: the figures, by name, and all answers that were timed.

    rows: int64 (m,), of the images; answers: (m, classes), to these. latency_nanoseconds: (calls,), of each call.
    rss_bytes: after the calls at batch 1; left out where the system does not tell. The batches cover all images, the
    last one overlapping, so that there is one shape; after a pass that is not timed come whole passes.
    """
    module, folder = importlib.import_module(order.module), Path(order.folder)
    few = np.array(np.load(folder / "images.npy", mmap_mode="r")[:SINGLES])
    singles = [few[row : row + 1] for row in range(len(few))]

    started = time.perf_counter()
    for name in module.IMPORTS[order.name]:
        importlib.import_module(name)
    imported = time.perf_counter()
    answer = module.load(order.name, folder / "exported", order.threads)
    loaded = time.perf_counter()
    answers = [answer(singles[0])]
    answered = time.perf_counter()

    for call in range(order.warm_up_calls):
        answer(singles[call % len(singles)])
    nanoseconds = []
    for call in range(order.calls):
        image = singles[call % len(singles)]
        begun = time.perf_counter_ns()
        one = answer(image)
        nanoseconds.append(time.perf_counter_ns() - begun)
        answers.append(one)
    resident = resident_bytes()

    images = np.load(folder / "images.npy")
    last = len(images) - order.batch_size
    starts = [*range(0, last, order.batch_size), last]
    batches = [images[start : start + order.batch_size] for start in starts]
    for batch in batches:
        answer(batch)
    passes, seconds, begun_seconds = 0, 0.0, time.perf_counter()
    while passes == 0 or seconds < order.seconds:
        batched = [answer(batch) for batch in batches]
        passes += 1
        seconds = time.perf_counter() - begun_seconds

    rows = [[0], np.arange(order.calls) % len(singles), *(start + np.arange(order.batch_size) for start in starts)]
    return {
        "import_seconds": imported - started,
        "load_seconds": loaded - imported,
        "first_answer_seconds": answered - loaded,
        "cold_start_seconds": answered - started,
        "latency_nanoseconds": nanoseconds,
        "samples_per_second": passes * len(batches) * order.batch_size / seconds,
        "rows": np.concatenate(rows),
        "answers": np.concatenate([*answers, *batched]),
        **({} if resident is None else {"rss_bytes": resident}),
    }


def resident_bytes() -> int | None:
    """What is resident now; None where the system does not tell. (bench.probes.memory would bring its own imports.)"""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def main() -> None:
    """Read, serve, write."""
    order = Order(**json.loads(sys.argv[1]))
    die_with_parent(order.parent_pid)
    np.savez(Path(order.folder) / "served.npz", **serve(order))
    sys.stderr.flush()
    os._exit(0)  # no framework's exit handlers may hang or crash what is measured already


if __name__ == "__main__":
    main()
