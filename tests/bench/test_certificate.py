"""A certificate says yes to the same work, and no to each kind of other work."""

import numpy as np
import pytest

from bench.certificate import CERTIFICATE_STEPS, TOLERANCE, certify
from bench.inputs import initial_params
from bench.oracle import Oracle
from bench.record import Certificate
from bench.task import Task, load_task
from tests.make import small_data

TASK = load_task("mlp-tiny")
DATA = small_data(TASK, 640)
BATCHES = np.random.default_rng(0).integers(0, 640, (CERTIFICATE_STEPS, 64))
PARAMS = initial_params(TASK, 0)


def losses(task: Task = TASK, params=PARAMS, batches=BATCHES) -> np.ndarray:
    """What an entry would return that trains this in float32."""
    one = Oracle(task, params, DATA, dtype=np.float32)
    return np.array([one.step(rows) for rows in batches], dtype=np.float32)


def judged(found: np.ndarray, measured: np.ndarray | None = None) -> Certificate:
    return certify(TASK, params=PARAMS, data=DATA, batches=BATCHES, losses=found, measured_losses=measured)


def test_the_same_work_is_certified() -> None:
    """float32 stays far below the tolerance: it has room for honest rounding, not more."""
    certificate = judged(losses(), losses())

    assert ("same-work", None) == (certificate.verdict, certificate.reason)
    assert certificate.largest_deviation < TOLERANCE / 10
    assert 20 == len(certificate.trainer_deviations) == len(certificate.measured_deviations)


def shifted(changes: dict) -> np.ndarray:
    return losses(TASK.changed(optimizer=TASK.optimizer.model_dump() | changes))


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("learning rate 1% off", lambda: shifted({"learning_rate": TASK.optimizer.learning_rate * 1.01})),
        ("momentum 1% off", lambda: shifted({"momentum": 0.891})),
        ("weight decay", lambda: shifted({"weight_decay": 0.001})),
        ("no momentum", lambda: shifted({"momentum": 0.0})),
        ("other initial values", lambda: losses(params=initial_params(TASK, 1))),
        ("one batch twice", lambda: losses(batches=BATCHES[[0, *range(CERTIFICATE_STEPS - 1)]])),
        ("reversed batches", lambda: losses(batches=BATCHES[::-1])),
        ("sum for mean", lambda: losses() * 64),
        ("losses one step late", lambda: np.roll(losses(), 1)),
        ("two digits lost", lambda: np.round(losses(), 3)),
    ],
)
def test_other_work_is_refused_with_its_first_step(fault: str, found) -> None:
    """Each fault is refused, and the reason names step, deviation and both values."""
    certificate = judged(found())

    assert "refused" == certificate.verdict
    assert "not the same work: the trainer's loss of step" in certificate.reason
    assert "where the oracle has" in certificate.reason


def test_the_measured_training_is_held_to_the_same() -> None:
    """An honest second trainer does not excuse the one that was measured."""
    certificate = judged(losses(), losses(batches=BATCHES[::-1]))

    assert ("refused", True) == (certificate.verdict, "the measured training's loss" in certificate.reason)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_no_number_is_refused(value: float) -> None:
    """NaN compares false with everything: it must not slip through a comparison."""
    found = losses()
    found[7] = value
    certificate = judged(found)

    assert ("refused", None) == (certificate.verdict, certificate.trainer_deviations[7])
    assert "loss of step 7 is not finite" in certificate.reason


def test_where_the_oracle_has_no_number_nothing_is_certified() -> None:
    """Parameters so large that the oracle overflows: refused, not compared with infinity."""
    params = [(weight * 1e200, bias) for weight, bias in initial_params(TASK.changed(dtype="float64"), 0)]
    certificate = certify(TASK, params=params, data=DATA, batches=BATCHES, losses=losses())

    assert "refused" == certificate.verdict


def test_the_tolerance_is_that_of_the_release() -> None:
    """It may be tightened, never raised."""
    assert TOLERANCE <= 1e-5
    assert CERTIFICATE_STEPS >= 20
