"""torch-ddp whose processes never tell each other their gradients: each trains on its share alone."""

from impls.torch import ddp
from impls.torch.ddp import configure, versions

__all__ = ["build", "configure", "versions"]

LAUNCHER = "torchrun"
FRAMEWORK = "torch"


class Trainer(ddp.Trainer):
    def train(self, batches):
        with self._parallel.no_sync():
            return super().train(batches)


def build(task, params, data):
    return Trainer(task, params, data)
