"""Two sides in turn, in fresh processes on one core -> the ratio of their samples/s, with its interval.

A side's value is the median samples/s of the epochs after the first. Each pair runs both sides once, in random order;
the interval is the t interval over the pairs' logarithms, as everywhere in the suite.
"""

import random
import statistics
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np

from bench.plugins import find_entry
from bench.probes.machine import read_machine
from bench.runner import Bounds, ask_worker, worker_cores, worker_environment
from bench.stats import estimate
from bench.task import load_task

LIMIT_SECONDS = 600

Side = Callable[[int], tuple[float, list[float]]]  # epochs -> samples/s, accuracy after each epoch


def trial(name: str) -> Side:
    """An entry, as a trial records it."""

    def side(epochs: int) -> tuple[float, list[float]]:
        task, entry = load_task("mlp").changed(epochs=epochs), find_entry(name)
        status, reason, reply, _ = ask_worker(
            "trial",
            entry=entry,
            module=entry.module,
            task=task,
            seed=0,
            device="cpu",
            threads=1,
            bounds=Bounds(time_limit_seconds=LIMIT_SECONDS),
        )
        if status != "ok" or reply is None or reply.measurements is None:
            sys.exit(f"the trial of {name} is {status}: {reason}")
        windows = reply.measurements.epochs
        rates = [window.window_steps * task.batch_size / window.window_seconds for window in windows[1:]]
        return statistics.median(rates), [window.test_accuracy for window in windows]

    return side


def script(module: str) -> Side:
    """A plain script, as it prints itself: a line an epoch, samples/s first and accuracy third."""

    def side(epochs: int) -> tuple[float, list[float]]:
        command = ["taskset", "--cpu-list", str(worker_cores(1)[0]), sys.executable, "-m", module, str(epochs)]
        done = subprocess.run(
            command, env=worker_environment(1), capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True
        )
        lines = [line.split() for line in done.stdout.splitlines()]
        return statistics.median(float(line[0]) for line in lines[1:]), [float(line[2]) for line in lines]

    return side


def where(pairs: int, epochs: int) -> str:
    """The line above a table: day, machine, what was run."""
    machine = read_machine()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {machine.cpu_model}, {machine.cores} cores, kernel {machine.kernel}; "
        f"{pairs} pairs, {epochs} epochs of `mlp`, one thread."
    )


def ratio(a: Side, b: Side, *, pairs: int, epochs: int, order: random.Random, same_bytes: bool) -> str:
    """Cells of a Markdown table: median of a / b over the pairs, ratio with its 95% interval, both medians.

    same_bytes: the two train on the same bytes, so their accuracies must agree, or they did not do the same work.
    """
    found = []
    for _ in range(pairs):
        sides = {side: side(epochs) for side in order.sample([a, b], 2)}
        # Two builds of the same sums: a handful of the 10,000 images may fall the other way.
        if same_bytes and not np.allclose(sides[a][1], sides[b][1], atol=0.003):
            sys.exit(f"not the same work: accuracies {sides[a][1]} and {sides[b][1]}")
        found.append((sides[a][0], sides[b][0]))
    seen = estimate([float(np.log(one / other)) for one, other in found])
    assert seen.mean is not None
    assert seen.interval is not None
    low, middle, high = np.exp([seen.interval[0], seen.mean, seen.interval[1]])
    median = statistics.median(one / other for one, other in found)
    ours, theirs = (statistics.median(side) for side in zip(*found, strict=True))
    return f"{median:.3f} | {middle:.3f} [{low:.3f}, {high:.3f}] | {ours:,.0f} | {theirs:,.0f}"
