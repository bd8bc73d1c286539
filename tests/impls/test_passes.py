"""impls/*/passes.py: the forward pass and the gradients are those of a step, and change nothing."""

from types import ModuleType

import numpy as np
import pytest

from bench.inputs import initial_params
from bench.oracle import Oracle
from bench.studies import find_study
from bench.task import load_task
from tests.make import load_configured, small_data

TASK = load_task("mlp-tiny").changed(layers=(784, 24, 16, 10), dtype="float64", batch_size=32)
DATA = small_data(TASK, 256)
BATCHES = np.random.default_rng(3).integers(0, 256, (4, 32))


@pytest.fixture(params=find_study("backward").subjects, ids=lambda subject: subject.name)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return load_configured(request.param.module)


def test_both_passes_are_the_oracles_and_change_no_parameter(module: ModuleType) -> None:
    """Losses of both to float32, gradients of the last batch to 1e-10 of their largest, parameters to the bit."""
    params = initial_params(TASK, 0)
    trainer, oracle = module.build(TASK, params, DATA), Oracle(TASK, params, DATA)
    losses = [oracle.gradients(rows)[0] for rows in BATCHES]

    np.testing.assert_allclose(trainer.forward(BATCHES), losses, rtol=1e-7)
    np.testing.assert_allclose(trainer.gradients(BATCHES), losses, rtol=1e-7)
    found = [array for layer in trainer.latest_gradients() for array in layer]
    for ours, true in zip(found, oracle.latest_gradients, strict=True):
        np.testing.assert_allclose(ours, true, atol=1e-10 * np.abs(true).max())
    for (weight, bias), (first_weight, first_bias) in zip(trainer.params(), params, strict=True):
        np.testing.assert_array_equal(weight, first_weight)
        np.testing.assert_array_equal(bias, first_bias)


def test_the_passes_are_those_of_the_present_parameters(module: ModuleType) -> None:
    """After training their loss is another, that of the trained oracle: nothing was compiled in as a constant."""
    params = initial_params(TASK, 0)
    trainer, oracle = module.build(TASK, params, DATA), Oracle(TASK, params, DATA)
    before = trainer.forward(BATCHES[:1])[0]
    trainer.gradients(BATCHES[:1])
    trainer.train(BATCHES)
    for rows in BATCHES:
        oracle.step(rows)
    loss = oracle.gradients(BATCHES[0])[0]

    assert abs(before - loss) > 1e-3
    np.testing.assert_allclose([trainer.forward(BATCHES[:1])[0], trainer.gradients(BATCHES[:1])[0]], loss, rtol=1e-7)
