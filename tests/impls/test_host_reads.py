"""A read on the host inside a step is found, in each framework that can tell."""

import numpy as np
import pytest

from bench.inputs import initial_params
from bench.task import load_task
from tests.make import load_configured, small_data

TASK = load_task("mlp-tiny").changed(layers=(784, 8, 10), batch_size=16)
BATCHES = np.random.default_rng(0).integers(0, 64, (3, 16))


def float_of(loss):
    return float(loss)


def item_of(loss):
    return loss.item() if hasattr(loss, "item") else loss.numpy()


def truth_of(loss):
    return bool(loss > 0)


@pytest.mark.parametrize("read", [float_of, item_of, truth_of], ids=lambda read: read.__name__)
@pytest.mark.parametrize("name", ["impls.torch.mlp", "impls.tensorflow.mlp"])
def test_a_planted_read_is_found(name: str, read) -> None:
    """Once a step, with the line that reads."""
    module = load_configured(name)

    class Reads(module.Trainer):
        def step(self, rows):
            loss = super().step(rows)
            read(loss)
            return loss

    honest = module.build(TASK, initial_params(TASK, 0), small_data(TASK, 64))
    reading = Reads(TASK, initial_params(TASK, 0), small_data(TASK, 64))

    assert [] == module.host_reads(honest, BATCHES)
    assert any("test_host_reads.py" in place for place in module.host_reads(reading, BATCHES))


def test_a_small_data_set_that_tensorflow_makes_a_constant_of_is_no_read() -> None:
    """Up to 128 elements a graph takes a captured tensor by value while it is traced: once, and inside no step."""
    module = load_configured("impls.tensorflow.function")
    task = load_task("mlp-tiny").changed(batch_size=8)
    trainer = module.build(task, initial_params(task, 0), small_data(task, 24))

    assert [] == module.host_reads(trainer, np.arange(24).reshape(3, 8))
