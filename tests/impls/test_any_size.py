"""impls/*/any_size.py: batches of any size by one program more, where the entry has one for each."""

import numpy as np
import pytest

from bench.inputs import initial_params
from bench.oracle import Oracle
from bench.task import load_task
from tests.make import load_configured, small_data

TASK = load_task("mlp-tiny").changed(layers=(784, 24, 10), dtype="float64", batch_size=32)
DATA = small_data(TASK, 256)
SIZES = (32, 20, 41)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entry", "any_size"),
    [("impls.torch.compiled", "impls.torch.any_size"), ("impls.tensorflow.function", "impls.tensorflow.any_size")],
)
def test_every_size_is_trained_and_two_programs_are_enough(entry: str, any_size: str) -> None:
    """Losses are the oracle's; the entry, which expects one size, makes a program for each of the three."""
    params, generator = initial_params(TASK, 0), np.random.default_rng(4)
    batches = [generator.integers(0, 256, size) for size in SIZES]
    oracle = Oracle(TASK, params, DATA)
    true = [oracle.step(rows) for rows in batches]
    programs = []
    for name in (entry, any_size):
        trainer = load_configured(name).build(TASK, params, DATA)
        losses = [trainer.train(rows[np.newaxis])[0] for rows in batches]
        np.testing.assert_allclose(losses, true, rtol=1e-7)
        programs.append(trainer.compilations())

    assert len(SIZES) == programs[0]
    assert 1 <= programs[1] <= 2  # one where PyTorch has seen in this process that this code's sizes change
