"""The oracle is right: held against finite differences and against formulas written out once more."""

import numpy as np
import pytest

from bench.contract import Data
from bench.inputs import initial_params
from bench.oracle import Oracle
from bench.task import Task, load_task
from tests.make import OPTIMIZERS, small_data

SMALL = load_task("mlp-tiny").changed(layers=(784, 6, 5, 10), dtype="float64", batch_size=8)
ROWS = np.arange(8)


def oracle(task: Task, seed: int = 0) -> Oracle:
    """An oracle on a few random images."""
    return Oracle(task, initial_params(task, seed), small_data(task, 64))


def numeric_gradient(one: Oracle, index: int, place: tuple[int, ...], h: float = 1e-5) -> float:
    """Central difference of the loss by one number of one parameter; error O(h^2) plus rounding / h."""
    array = one._params[index]
    kept = array[place]
    losses = []
    for sign in (1, -1):
        array[place] = kept + sign * h
        losses.append(one.gradients(ROWS)[0])
    array[place] = kept
    return (losses[0] - losses[1]) / (2 * h)


def largest_gap(one: Oracle, gradients: list[np.ndarray]) -> float:
    """The largest deviation from finite differences, at the largest gradients and at random places."""
    generator = np.random.default_rng(0)
    gap = 0.0
    for index, gradient in enumerate(gradients):
        largest = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
        anywhere = [tuple(generator.integers(0, n) for n in gradient.shape) for _ in range(6)]
        for place in (tuple(map(int, largest)), *anywhere):
            gap = max(gap, abs(gradient[place] - numeric_gradient(one, index, place)))
    return gap / max(float(np.abs(gradient).max()) for gradient in gradients)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_gradients_are_those_of_finite_differences(activation: str) -> None:
    """Every parameter of every layer, within what central differences can tell."""
    one = oracle(SMALL.changed(activation=activation))

    assert largest_gap(one, one.gradients(ROWS)[1]) < 1e-8


@pytest.mark.parametrize("fault", ["sum for mean", "bias forgotten", "wrong sign"])
def test_a_wrong_gradient_is_found_by_finite_differences(fault: str) -> None:
    """The check above can fail."""
    one = oracle(SMALL)
    gradients = one.gradients(ROWS)[1]
    if fault == "sum for mean":
        gradients = [gradient * len(ROWS) for gradient in gradients]
    elif fault == "bias forgotten":
        gradients[3] = np.zeros_like(gradients[3])
    else:
        gradients[0] = -gradients[0]

    assert largest_gap(one, gradients) > 1e-3


def by_the_book(optimizer: dict, p: float, gradients: list[float]) -> float:
    """One number under a task's optimiser, written once more from the formulas of the papers."""
    rate, decay = optimizer["learning_rate"], optimizer.get("weight_decay", 0.0)
    v = m = s = 0.0
    for t, g in enumerate(gradients, start=1):
        if optimizer["name"] == "adamw":
            p = p - rate * decay * p
        else:
            g = g + decay * p
        if optimizer["name"] == "sgd":
            v = optimizer.get("momentum", 0.0) * v + g
            fall = optimizer.get("decay") or {"factor": 1.0, "every_steps": 1}
            p = p - rate * fall["factor"] ** ((t - 1) // fall["every_steps"]) * v
        elif optimizer["name"] == "rmsprop":
            s = optimizer["rho"] * s + (1 - optimizer["rho"]) * g**2
            p = p - rate * g / (s**0.5 + optimizer["eps"])
        else:
            b1, b2 = optimizer["beta1"], optimizer["beta2"]
            m, s = b1 * m + (1 - b1) * g, b2 * s + (1 - b2) * g**2
            p = p - rate * (m / (1 - b1**t)) / ((s / (1 - b2**t)) ** 0.5 + optimizer["eps"])
    return p


FALLING = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "decay": {"factor": 0.5, "every_steps": 2}}


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, FALLING], ids=str)
def test_each_optimiser_follows_its_formula(optimizer: dict) -> None:
    """Five updates with given gradients, number by number."""
    task = SMALL.changed(optimizer=optimizer)
    one = oracle(task)
    rounded = task.optimizer.model_dump()
    start = one._params[0][0, 0]
    gradients = [0.5, -0.25, 0.125, 1.0, -2.0]
    for t, gradient in enumerate(gradients, start=1):
        one._updates = t
        one._update(0, np.full_like(one._params[0], gradient))

    assert by_the_book(rounded, start, gradients) == pytest.approx(one._params[0][0, 0], rel=1e-14)


def test_a_step_returns_the_loss_before_its_update() -> None:
    """The loss that gradients() tells, and then the parameters move."""
    one = oracle(SMALL)
    before = one.gradients(ROWS)[0]

    assert before == one.step(ROWS)
    assert before != one.gradients(ROWS)[0]


def test_the_loss_of_untrained_zeros_is_the_logarithm_of_the_classes() -> None:
    """Equal logits: -ln(1/10)."""
    params = [(np.zeros_like(w), np.zeros_like(b)) for w, b in initial_params(SMALL, 0)]

    assert np.log(10) == pytest.approx(Oracle(SMALL, params, small_data(SMALL, 8)).gradients(ROWS)[0], rel=1e-15)


def test_large_logits_do_not_overflow() -> None:
    """A loss of 2000 is 2000, not infinite."""
    params = [(w * 0, b * 0) for w, b in initial_params(SMALL, 0)]
    params[-1][1][:] = 0
    params[-1] = (params[-1][0], np.eye(10)[0] * 2000)
    data = Data(images=np.zeros((1, 784)), labels=np.array([1]))

    assert 2000 == pytest.approx(Oracle(SMALL, params, data).gradients(np.array([0]))[0])


def test_float32_stays_float32() -> None:
    """As the entry `numpy`, no float64 creeps in."""
    for activation in ("relu", "tanh", "gelu"):
        task = SMALL.changed(dtype="float32", activation=activation)
        one = Oracle(task, initial_params(task, 0), small_data(task, 64), dtype="float32")
        one.step(ROWS)

        assert {np.dtype("float32")} == {array.dtype for layer in one.params() for array in layer}
        assert np.float32 == one.logits(small_data(task, 4).images).dtype
