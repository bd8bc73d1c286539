"""What the harness costs: a trial against the same loop as a plain script, in turn, in fresh processes on one core.

    python -m tests.perf.overhead --pairs 10

Each pair runs both sides once, in random order. A side's value is the median samples/s of the epochs after the first.
Prints a Markdown table: the median of trial / script over the pairs, the ratio of means of logarithms with its 95% t
interval, and both sides' medians. The accuracies must agree, else the two did not do the same work.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
from scipy import stats

from bench.plan import find_entry
from bench.probes.machine import read_machine
from bench.record import WorkerRequest
from bench.runner import judge, run_worker, worker_cores, worker_environment
from bench.task import load_task

SCRIPTS = {
    "torch-eager": "tests.perf.plain_torch",
    "tensorflow-function": "tests.perf.plain_tensorflow_function",
}
LIMIT_SECONDS = 300


def trial(entry: str, epochs: int) -> tuple[float, list[float]]:
    """Samples/s as a trial records it, and its accuracy after each epoch."""
    task = load_task("mlp").changed(epochs=epochs)
    request = WorkerRequest(
        task=task,
        training_seed=0,
        entry_module=find_entry(entry).module,
        device="cpu",
        threads=1,
        memory_limit_bytes=None,
        parent_pid=os.getpid(),
    )
    finished = run_worker(
        request, cores=worker_cores(1), time_limit_seconds=LIMIT_SECONDS, environment=worker_environment(1)
    )
    status, reason, reply = judge(finished, LIMIT_SECONDS)
    if status != "ok" or reply is None or reply.measurements is None:
        sys.exit(f"the trial of {entry} is {status}: {reason}")
    windows = reply.measurements.epochs
    rates = [window.window_steps * task.batch_size / window.window_seconds for window in windows[1:]]
    return statistics.median(rates), [window.test_accuracy for window in windows]


def script(entry: str, epochs: int) -> tuple[float, list[float]]:
    """Samples/s as the plain script prints it, and its accuracy after each epoch."""
    command = ["taskset", "--cpu-list", str(worker_cores(1)[0]), sys.executable, "-m", SCRIPTS[entry], str(epochs)]
    done = subprocess.run(
        command, env=worker_environment(1), capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    return statistics.median(float(line[0]) for line in lines[1:]), [float(line[2]) for line in lines]


def main() -> None:
    """Run the pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    order = random.Random(0)
    machine = read_machine()
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {machine.cpu_model}, {machine.cores} cores, kernel {machine.kernel}; ", end=""
    )
    print(f"{arguments.pairs} pairs, {arguments.epochs} epochs of `mlp`, one thread.\n")
    print("| entry | trial / script, median | ratio [95%] | trial, samples/s | script, samples/s |")
    print("|---|---|---|---|---|")
    for entry in SCRIPTS:
        pairs = []
        for _ in range(arguments.pairs):
            sides = {}
            for side in order.sample([trial, script], 2):
                sides[side.__name__] = side(entry, arguments.epochs)
            # Two builds of the same sums: a handful of the 10,000 images may fall the other way.
            if not np.allclose(sides["trial"][1], sides["script"][1], atol=0.003):
                sys.exit(f"{entry}: not the same work: accuracies {sides['trial'][1]} and {sides['script'][1]}")
            pairs.append((sides["trial"][0], sides["script"][0]))
        logs = [float(np.log(a / b)) for a, b in pairs]
        half = stats.t.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / len(logs) ** 0.5
        mean = statistics.mean(logs)
        low, middle, high = np.exp([mean - half, mean, mean + half])
        ratio = statistics.median(a / b for a, b in pairs)
        ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(
            f"| {entry} | {ratio:.3f} | {middle:.3f} [{low:.3f}, {high:.3f}] | {ours:,.0f} | {theirs:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
