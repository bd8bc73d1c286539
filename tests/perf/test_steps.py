"""Each entry's training step as a benchmark of pytest-benchmark: `make bench-steps`.

For people who know that tool: its table, --benchmark-autosave, --benchmark-compare, --benchmark-histogram. A round is
one call of 100 steps on the task mlp, and its time is that of one step of it. Every entry has a process of its own on
one core, as a trial has: so memory is of one framework, and Keras has the backend it needs. The clock is the child's:
no pipe is in the time.

In extra_info: samples_per_second (the batch over the median of the rounds); peak_memory_bytes, resident, from after
the build to the last round, and peak_above_import_bytes; final_accuracy, by the evaluation that all trials share, on
the whole test set after the 2,200 steps of this short training, which are the same rows from the same parameters for
every entry. It is no result of the task, whose training is longer. Rounds of one process are not independent: to
compare two entries or two versions, use `bench compare` or `bench gate`.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bench.contract import ENTRIES, Refusal, Settings
from bench.inputs import first_batches, initial_params, load_data
from bench.measure import accuracy, load_entry
from bench.plugins import find_entry
from bench.probes import memory
from bench.probes.available import availability
from bench.runner import worker_cores, worker_environment
from bench.task import load_task
from tests.command import ROOT

STEPS = 100  # a call: long enough that what a call costs is little, the same always, so that nothing compiles twice
WARM_UP, ROUNDS = 2, 20
TASK = load_task("mlp")


class Child:
    """An entry in a process of its own. seconds: what its steps took so far, for one step of each call."""

    present: "Child"  # the one that the clock belongs to: pytest-benchmark takes its timer before there is a child

    def __init__(self, name: str) -> None:
        cores = worker_cores(1)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.perf.test_steps", name],
            cwd=ROOT,
            env=worker_environment(1),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        self.seconds = 0.0
        Child.present = self

    def ask(self, what: str) -> dict[str, Any]:
        """Its answer to one word; an entry that fails ends the test with what it said."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the entry's process ended with {self.process.wait()}; see above"
        return json.loads(answer)

    def train(self) -> None:
        """One call of STEPS steps."""
        self.seconds += self.ask("train")["seconds"] / STEPS


def child_seconds() -> float:
    """The timer that pytest-benchmark reads before and after a round: the child's own clock."""
    return Child.present.seconds


@pytest.fixture(params=[entry.name for entry in ENTRIES])
def child(request: pytest.FixtureRequest) -> Iterator[Child]:
    """The entry's process, built and ready; skipped where it cannot run here."""
    entry = find_entry(request.param)
    reason = availability(entry, "cpu")
    if reason is not None:
        pytest.skip(f"{entry.name}: {reason}")
    made = Child(entry.name)
    try:
        refused = made.ask("build")["refused"]
        if refused is not None:
            pytest.skip(f"{entry.name}: {refused}")
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


@pytest.mark.benchmark(group=f"step, {TASK.name}, batch {TASK.batch_size}, one thread", timer=child_seconds)
def test_step(benchmark, child: Child) -> None:
    """The time of a training step, with what it costs in memory and what it reaches."""
    benchmark.pedantic(child.train, rounds=ROUNDS, warmup_rounds=WARM_UP, iterations=1)
    seen = child.ask("finish")
    benchmark.extra_info |= seen
    if benchmark.enabled:
        benchmark.extra_info["samples_per_second"] = TASK.batch_size / benchmark.stats.stats.median

    assert seen["steps"] == (ROUNDS + WARM_UP) * STEPS or not benchmark.enabled
    assert 0.5 < seen["final_accuracy"] < 1, "it has not learnt: this is no training step"


def serve(name: str) -> None:
    """The child: answers each word on standard input with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a framework prints is no answer

    def answer(**said: Any) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    entry = find_entry(name)
    trained = 0
    for line in sys.stdin:
        if line == "build\n":
            try:
                module = load_entry(entry.name, entry.module, Settings(device="cpu", threads=1))
                imported = None if _no_memory() else memory.sample().rss_bytes
                sets = load_data(TASK)
                trainer = module.build(TASK, initial_params(TASK, 0), sets.train)
            except Refusal as refusal:
                answer(refused=str(refusal))
                continue
            test, batches = sets.test, first_batches(TASK, 0, (ROUNDS + WARM_UP) * STEPS)
            del sets
            no_memory = _no_memory()
            answer(refused=None)
        elif line == "train\n":
            rows = batches[trained : trained + STEPS]
            started = time.perf_counter()
            trainer.train(rows)
            answer(seconds=time.perf_counter() - started)
            trained += STEPS
        else:
            peak = None if no_memory else memory.peak_bytes()
            answer(
                steps=trained,
                peak_memory_bytes=peak,
                peak_above_import_bytes=None if peak is None or imported is None else peak - imported,
                memory_reason=no_memory,
                final_accuracy=accuracy(trainer.logits(test.images), test.labels, TASK.layers[-1]),
            )


def _no_memory() -> str | None:
    """Let the peak start anew; why it cannot be told, where it cannot."""
    try:
        memory.reset_peak()
    except memory.Unreadable as error:
        return str(error)
    return None


if __name__ == "__main__":
    serve(sys.argv[1])
