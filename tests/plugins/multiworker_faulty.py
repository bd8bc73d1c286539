"""tensorflow-multiworker with the fault of tests.plugins.ranks on its last rank, for which the others then wait."""

import json
import os

from impls.tensorflow import multiworker
from impls.tensorflow.multiworker import configure, versions
from tests.plugins.ranks import WINDOW, fault

__all__ = ["build", "configure", "versions"]

LAUNCHER = "tf-config"
FRAMEWORK = "tensorflow"


class Trainer(multiworker.Trainer):
    def train(self, batches):
        if json.loads(os.environ["TF_CONFIG"])["task"]["index"] > 0 and len(batches) > WINDOW:
            fault(os.environ.get("RANKS_FAULT"))
        return super().train(batches)


def build(task, params, data):
    return Trainer(task, params, data, multiworker.STRATEGY)
