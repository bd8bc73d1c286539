"""The clock stops when the work has ended: with a TensorFlow that returns at once, and with N against 2N steps."""

import gc
import hashlib
import json
import subprocess
import sys
import threading
import time
from statistics import median

import numpy as np
import pytest

from bench.inputs import initial_params
from bench.measure import Watch, _epoch
from bench.task import load_task
from tests.command import ROOT
from tests.make import load_configured, small_data

ASYNCHRONOUS = """
import json, time
import numpy as np
import tensorflow as tf
from bench.contract import Settings
from bench.inputs import initial_params
from bench.task import load_task
from impls.tensorflow import function, mlp
from tests.make import load_configured, small_data

mlp.configure(Settings(device="cpu", threads=1))
tf.config.experimental.set_synchronous_execution(False)
task = load_task("mlp-tiny").changed(layers=(784, 512, 512, 10), batch_size=256)
data = small_data(task, 1024)


class Hasty(function.Trainer):
    def train(self, batches):  # the same steps, but nobody waits for their losses
        for rows in tf.unstack(tf.constant(batches)):
            self.step(rows)
        return np.zeros(len(batches), np.float32)


batches = np.random.default_rng(0).integers(0, 1024, (12, 256))
found = {}
for name, kind in (("honest", function.Trainer), ("hasty", Hasty)):
    trainer = kind(task, initial_params(task, 0), data)
    trainer.train(batches)
    tf.test.experimental.sync_devices()
    found[name] = []
    for _ in range(5):
        started = time.perf_counter()
        trainer.train(batches)
        returned = time.perf_counter()
        tf.test.experimental.sync_devices()
        found[name].append((time.perf_counter() - returned) / (time.perf_counter() - started))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def unfinished() -> dict[str, float]:
    """The share of the work that was still to be done when train() returned; the median of five calls."""
    command = [sys.executable, "-c", ASYNCHRONOUS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert 0 == done.returncode, done.stderr[-2000:]
    return {name: median(shares) for name, shares in json.loads(done.stdout).items()}


def test_train_returns_when_the_work_has_ended(unfinished: dict[str, float]) -> None:
    """With asynchronous TensorFlow, a device of its own as it were: at most the last step's update is left over."""
    assert unfinished["honest"] < 0.15


def test_a_train_that_does_not_wait_is_found(unfinished: dict[str, float]) -> None:
    """The check above can fail: without the read of the losses most of the work is still to come."""
    assert unfinished["hasty"] > 0.3


class Paced:
    """A trainer whose steps all do the same work; or which does as much, whatever it is asked."""

    def __init__(self, *, honest: bool) -> None:
        self.honest = honest

    def train(self, batches: np.ndarray) -> np.ndarray:
        for _ in range(len(batches) if self.honest else 60):
            hashlib.sha256(bytes(100_000))
        return np.ones(len(batches), dtype=np.float32)

    def logits(self, images: np.ndarray) -> np.ndarray:
        return np.zeros((len(images), 10), dtype=np.float32)


def ratio(trainer: object, steps: int) -> float:
    """Seconds of a window of 2N steps over those of N, by the clock of a trial.

    The median over 25 pairs, each pair's two windows run one after the other and every second pair the other way
    round: a machine whose pace drifts changes both windows of a pair, where the least of each would compare its
    luckiest moments.
    """
    images, labels = np.zeros((1, 784), np.float32), np.zeros(1, np.int64)
    alone = Watch(synchronize=lambda: None, sensors=False)

    def seconds(n: int) -> float:
        return _epoch(trainer, np.zeros((n + 1, 1), np.int64), [], images, labels, 10, alone).window_seconds  # type: ignore[arg-type]

    gc.freeze()  # each epoch begins with a collection, which need not look through all that other tests have imported
    try:
        turns = [[(n, seconds(n)) for n in ((steps, 2 * steps), (2 * steps, steps))[turn % 2]] for turn in range(25)]
    finally:
        gc.unfreeze()
    return median(took[2 * steps] / took[steps] for took in map(dict, turns))


def test_twice_the_steps_take_twice_the_time() -> None:
    """The clock sees all of the work and nothing else."""
    assert 1.6 < ratio(Paced(honest=True), 60) < 2.5


def test_a_clock_that_sees_something_else_is_found() -> None:
    """The check above can fail: here the time does not depend on the number of steps."""
    assert ratio(Paced(honest=False), 60) < 1.5


def test_twice_the_steps_of_a_real_entry_take_twice_the_time() -> None:
    """torch-eager, without a plant."""
    torch = load_configured("impls.torch.mlp")
    task = load_task("mlp-tiny").changed(layers=(784, 64, 10), batch_size=32)
    trainer = torch.build(task, initial_params(task, 0), small_data(task, 64))

    assert 1.6 < ratio(trainer, 40) < 2.5


class Late:
    """A trainer whose device is still at work when train() returns: 50 ms each call."""

    def __init__(self) -> None:
        self.work: list[threading.Thread] = []

    def train(self, batches: np.ndarray) -> np.ndarray:
        self.work.append(threading.Thread(target=time.sleep, args=(0.05,)))
        self.work[-1].start()
        return np.ones(len(batches), dtype=np.float32)

    def logits(self, images: np.ndarray) -> np.ndarray:
        return np.zeros((len(images), 10), dtype=np.float32)

    def synchronize(self) -> None:
        for one in self.work:
            one.join()


def late_window(*, wait: bool) -> float:
    """Seconds of a window of that trainer, with and without the wait."""
    trainer = Late()
    watch = Watch(synchronize=trainer.synchronize if wait else lambda: None, sensors=False)
    images, labels = np.zeros((1, 784), np.float32), np.zeros(1, np.int64)
    return _epoch(trainer, np.zeros((3, 1), np.int64), [], images, labels, 10, watch).window_seconds  # type: ignore[arg-type]


def test_the_clock_waits_for_a_device_that_is_still_at_work() -> None:
    """An entry whose losses arrive before its last update has ended wins nothing by it."""
    assert late_window(wait=True) >= 0.05


def test_without_the_wait_the_work_would_be_missed() -> None:
    """The check above can fail."""
    assert late_window(wait=False) < 0.05
