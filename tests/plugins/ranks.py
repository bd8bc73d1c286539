"""An entry for several processes without a framework: NumPy's, each process training on the whole batches.

RANKS_FAULT says what the last rank does in the first window of a trial, which a certificate has not: raises, killed,
hangs, exits. RANKS_PIDS names a folder in which every rank leaves its process id, and that of a child that it starts in
a session of its own.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

from bench.contract import share_of
from impls.numpy import mlp
from impls.numpy.mlp import versions

__all__ = ["build", "configure", "versions"]

LAUNCHER = "tf-config"
SETTINGS = None
WINDOW = 200  # steps: more than any call of a certificate has


def configure(settings):
    global SETTINGS
    SETTINGS = settings
    mlp.configure(settings)
    if "RANKS_PIDS" in os.environ:
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        folder = Path(os.environ["RANKS_PIDS"])
        (folder / f"rank-{settings.rank}").write_text(str(os.getpid()))
        (folder / f"child-{settings.rank}").write_text(str(child.pid))


class Trainer(mlp.Trainer):
    def train(self, batches):
        if SETTINGS.rank == SETTINGS.processes - 1 > 0 and len(batches) > WINDOW:
            fault(os.environ.get("RANKS_FAULT"))
        return super().train(batches)

    def train_local(self, batches):
        super().train(batches)


def fault(kind):
    if kind == "raises":
        raise RuntimeError("the shapes [784, 128] and [3] do not match")
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hangs":
        time.sleep(600)
    if kind == "exits":
        os._exit(7)


def build(task, params, data):
    share_of(task.batch_size, SETTINGS.processes)
    return Trainer(task, params, data)
