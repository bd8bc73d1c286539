"""What the sensors around a window cost, their own time counted in: windows with and without, in turn in one process.

python -m tests.perf.sensors --pairs 60

Pairs of windows a second apart share the drift of the machine, which pairs of processes do not: those vary here by more
than the 1% that is asked about (`--trials` runs them all the same).
"""

import argparse
import math
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

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


def _ends(logs: list[float]) -> list[float]:
    """Mean, and both ends of its 95% interval."""
    seen = estimate(logs)
    assert seen.mean is not None
    assert seen.interval is not None
    return [seen.mean, *seen.interval]


def main() -> None:
    """Print a Markdown table, keep every pair in results/raw."""
    parser = argparse.ArgumentParser(description="What the sensors cost: windows with them against windows without.")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--results", type=Path, default=Path("results"))
    asked = parser.parse_args()
    machine, started = read_machine(), datetime.now(UTC)
    print("| entry | time with / without [95%] | readings alone, share of a window [95%] | pairs |\n|---|---|---|---|")
    kept = {}
    for name in ENTRIES:
        kept[name] = windows(name, asked.pairs)
        ratio = np.exp(_ends([math.log(a / b) for a, b, _ in kept[name]]))
        alone = 100 * np.exp(_ends([math.log(reading / b) for _, b, reading in kept[name]]))
        print(
            f"| {name} | {ratio[0]:.4f} [{ratio[1]:.4f}, {ratio[2]:.4f}] "
            f"| {alone[0]:.3f} % [{alone[1]:.3f}, {alone[2]:.3f}] | {len(kept[name])} |",
            flush=True,
        )
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
