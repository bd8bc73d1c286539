"""What the sensors around a window cost, their own time counted in: windows with and without, in turn in one process.

python -m tests.perf.sensors --pairs 60

Pairs of windows a second apart share the drift of the machine, which pairs of processes do not: those vary here by more
than the 1% that is asked about (`--trials` runs them all the same).
"""

import argparse
import json
import math
import random
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from scipy.stats import binom

from bench import store
from bench.contract import Settings
from bench.inputs import epoch_batches, initial_params, load_data
from bench.measure import Watch, load_entry
from bench.plugins import find_entry
from bench.probes.machine import read_machine
from bench.probes.source import read_source
from bench.record import compact_json
from bench.stats import estimate
from bench.task import load_task
from tests.command import ROOT
from tests.perf.pairs import Statement, run, trial

ENTRIES = ("torch-eager", "tensorflow-function")
STEPS = 400  # about 0.3 s: shorter than an epoch of `mlp`, so that the readings weigh more than they do in a trial


def windows(name: str, pairs: int) -> list[list[float]]:
    """[seconds with, seconds without, seconds of the readings alone] of each pair, its windows in random order.

    The readings are in the first of the three; alone they are the direct cost, which is known better than the
    difference of two windows, but has nothing of what a reading does to the caches.
    """
    task, entry = load_task("mlp"), find_entry(name)
    module = load_entry(entry.name, entry.module, Settings(device="cpu", threads=1))
    trainer = module.build(task, initial_params(task, 0), load_data(task).train)
    batches, order = epoch_batches(task, 0, 0)[:STEPS], random.Random(0)
    found = []
    for pair in range(pairs + 2):
        seconds, reading = {}, 0.0
        for sensors in order.sample([True, False], 2):
            watch = Watch(synchronize=lambda: None, sensors=sensors)
            started = time.perf_counter()
            watch.counters()
            begun = time.perf_counter()
            trainer.train(batches)
            done = time.perf_counter()
            watch.counters()
            ended = time.perf_counter()
            seconds[sensors] = ended - started
            reading += (begun - started + ended - done) if sensors else 0.0
        if pair >= 2:  # the first ones warm up
            found.append([seconds[True], seconds[False], reading])
    return found


def table(kept: dict[str, list[list[float]]]) -> str:
    """The Markdown table of an entry's pairs, and of all together."""
    heads = ("entry", "mean ratio [95%]", "median ratio [95%]", "readings alone, share of a window [95%]", "pairs")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, pairs in {**kept, "both": [pair for of in kept.values() for pair in of]}.items():
        ratios = [math.log(a / b) for a, b, _ in pairs]
        alone = _mean([math.log(reading / b) for _, b, reading in pairs])
        cells = (_cell(_mean(ratios)), _cell(_median(ratios)), _cell(alone, scale=100) + " %", str(len(pairs)))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(logs: list[float]) -> list[float]:
    """Mean, and both ends of its t interval."""
    seen = estimate(logs)
    assert seen.mean is not None
    assert seen.interval is not None
    return [seen.mean, *seen.interval]


def _median(logs: list[float]) -> list[float]:
    """Median, and the order statistics that are both ends of its sign-test interval (of at least 95%).

    A single window that another guest of the machine delays moves a mean, and not a median.
    """
    ordered = sorted(logs)
    rank = int(binom.ppf(0.025, len(ordered), 0.5))
    return [statistics.median(ordered), ordered[max(0, rank - 1)], ordered[min(len(ordered) - 1, len(ordered) - rank)]]


def _cell(logs: list[float], *, scale: float = 1) -> str:
    middle, low, high = (scale * math.exp(value) for value in logs)
    return f"{middle:.4f} [{low:.4f}, {high:.4f}]"


def main() -> None:
    """Print a Markdown table, keep every pair in results/raw."""
    parser = argparse.ArgumentParser(description="What the sensors cost: windows with them against windows without.")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--read", type=Path, help="Print the table of a record in place of measuring.")
    asked = parser.parse_args()
    if asked.read is not None:
        print(table(json.loads(asked.read.read_text())["pairs"]))
        return
    machine, started = read_machine(), datetime.now(UTC)
    kept = {name: windows(name, asked.pairs) for name in ENTRIES}
    print(table(kept))
    document = {
        "what": "sensors in turn",
        "unit": f"seconds of {STEPS} steps: with the sensors, without; of the readings alone",
        "pairs": kept,
        "machine": machine.model_dump(mode="json"),
        "source": read_source(ROOT).model_dump(mode="json"),
        "created_utc": started.isoformat(timespec="seconds"),
    }
    folder = store.raw_folder(asked.results) / f"{started:%Y-%m-%d}" / machine.name
    path = folder / f"sensors-{started:%H%M%S}.json"
    store.write_once(path, compact_json(document))
    print(f"\n{path}", file=sys.stderr)


if __name__ == "__main__":
    if "--trials" in sys.argv:
        sys.argv.remove("--trials")
        run(
            "sensors",
            "What the sensors cost: trials with them against trials without.",
            "| entry | with / without, median | ratio [95%] | with, samples/s | without, samples/s |",
            [Statement(what=one, a=trial(one), b=trial(one, sensors=False), same_bytes=True) for one in ENTRIES],
        )
    else:
        main()
