"""Two sides in turn, in fresh processes on one core -> the ratio of their samples/s, with its interval.

A side's value is the median samples/s of the epochs after the first. Each pair runs both sides once, in random order;
the interval is the t interval over the pairs' logarithms, as everywhere in the suite.
"""

import argparse
import random
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench import store
from bench.plugins import find_entry
from bench.probes.machine import read_machine
from bench.probes.source import read_source
from bench.record import compact_json
from bench.runner import Bounds, Where, ask_worker, worker_cores, worker_environment
from bench.stats import estimate
from bench.task import load_task
from tests.command import ROOT

LIMIT_SECONDS = 600

Side = Callable[[int], tuple[float, list[float]]]  # epochs -> samples/s, accuracy after each epoch


def trial(name: str, *, sensors: bool = True) -> Side:
    """An entry, as a trial records it; with the sensors around its windows, or without."""

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
            where=Where(machine=read_machine(), source=read_source(ROOT)),
            sensors=sensors,
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


@dataclass(frozen=True, kw_only=True)
class Statement:
    """Two sides to compare.

    same_bytes: both run the same code on the same bytes, one of them without a certificate, so their accuracies must
    agree. Of two trials each has its own proof; their float32 rounds differently, and an epoch's accuracy with it.
    """

    what: str
    a: Side
    b: Side
    same_bytes: bool


def run(name: str, description: str, heads: str, statements: list[Statement]) -> None:
    """Parse --pairs, --epochs, --only and --results; run, print a Markdown table, keep every pair in results/raw."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--only", choices=[statement.what for statement in statements], action="append")
    parser.add_argument("--results", type=Path, default=Path("results"))
    asked = parser.parse_args()
    machine, started, order = read_machine(), datetime.now(UTC), random.Random(0)
    print(
        f"{started:%Y-%m-%d}, {machine.cpu_model}, {machine.cores} cores, kernel {machine.kernel}; "
        f"{asked.pairs} pairs, {asked.epochs} epochs of `mlp`, one thread.\n"
    )
    print(heads)
    print("|---|---|---|---|---|")
    kept = {}
    for statement in (one for one in statements if asked.only is None or one.what in asked.only):
        pairs = kept[statement.what] = _pairs(statement, asked.pairs, asked.epochs, order)
        print(f"| {statement.what} | {_cells(pairs)} |", flush=True)
    document = {
        "what": name,
        "unit": "samples/s, median of the epochs after the first",
        "epochs": asked.epochs,
        "pairs": kept,
        "machine": machine.model_dump(mode="json"),
        "source": read_source(ROOT).model_dump(mode="json"),
        "created_utc": started.isoformat(timespec="seconds"),
    }
    folder = store.raw_folder(asked.results) / f"{started:%Y-%m-%d}" / machine.name
    path = folder / f"{name}-{started:%H%M%S}.json"
    store.write_once(path, compact_json(document))
    print(f"\n{path}", file=sys.stderr)


def _pairs(statement: Statement, count: int, epochs: int, order: random.Random) -> list[list[float]]:
    """[samples/s of a, samples/s of b] of each pair."""
    found = []
    for _ in range(count):
        sides = {side: side(epochs) for side in order.sample([statement.a, statement.b], 2)}
        (a, accuracies_a), (b, accuracies_b) = sides[statement.a], sides[statement.b]
        # Two builds of the same sums: a handful of the 10,000 images may fall the other way.
        if statement.same_bytes and not np.allclose(accuracies_a, accuracies_b, atol=0.003):
            sys.exit(f"{statement.what}: not the same work: accuracies {accuracies_a} and {accuracies_b}")
        found.append([a, b])
    return found


def _cells(pairs: list[list[float]]) -> str:
    """Median of a / b, ratio with its 95% interval, both medians: cells of a Markdown table."""
    seen = estimate([float(np.log(a / b)) for a, b in pairs])
    assert seen.mean is not None
    assert seen.interval is not None
    low, middle, high = np.exp([seen.interval[0], seen.mean, seen.interval[1]])
    median = statistics.median(a / b for a, b in pairs)
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    return f"{median:.3f} | {middle:.3f} [{low:.3f}, {high:.3f}] | {ours:,.0f} | {theirs:,.0f}"
