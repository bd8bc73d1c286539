"""torch-ddp with the fault of tests.plugins.ranks on its last rank: the others wait for it in a collective."""

import os

import torch.distributed as dist

from impls.torch import ddp
from impls.torch.ddp import configure, versions
from tests.plugins.ranks import WINDOW, fault

__all__ = ["build", "configure", "versions"]

LAUNCHER = "torchrun"
FRAMEWORK = "torch"


class Trainer(ddp.Trainer):
    def train(self, batches):
        if dist.get_rank() == dist.get_world_size() - 1 > 0 and len(batches) > WINDOW:
            fault(os.environ.get("RANKS_FAULT"))
        return super().train(batches)


def build(task, params, data):
    return Trainer(task, params, data)
