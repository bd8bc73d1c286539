"""Tasks: frozen, exact, identified."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.errors import InputError
from bench.task import Task, load_task, shipped_tasks, unwidened


def test_the_shipped_tasks_are_those_of_the_document() -> None:
    """mlp is the document's network, with its optimiser; the others vary one thing each."""
    mlp = load_task("mlp")

    assert ((784, 128, 64, 10), "relu", 64, 10) == (mlp.layers, mlp.activation, mlp.batch_size, mlp.epochs)
    assert ("sgd", float(np.float32(0.01)), float(np.float32(0.9))) == (
        mlp.optimizer.name,
        mlp.optimizer.learning_rate,
        mlp.optimizer.momentum,
    )
    assert ((784, 1024, 1024, 10), 256) == (load_task("mlp-wide").layers, load_task("mlp-wide").batch_size)
    assert (784, *[256] * 8, 10) == load_task("mlp-deep").layers
    assert (784, 32, 10) == load_task("mlp-tiny").layers


@pytest.mark.parametrize("name", shipped_tasks())
def test_a_task_is_named_as_its_file(name: str) -> None:
    """bench list and --task speak of the same thing."""
    assert name == load_task(name).name


def test_a_task_cannot_be_changed() -> None:
    """A value that a record and a process share must not move."""
    with pytest.raises(ValidationError, match="frozen"):
        load_task("mlp").batch_size = 32


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 32},
        {"seed": 1},
        {"epochs": 9},
        {"dtype": "float64"},
        {"activation": "tanh"},
        {"init": "glorot-uniform"},
        {"layers": (784, 128, 10)},
        {"optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.8}},
    ],
)
def test_all_that_decides_the_arithmetic_changes_the_fingerprint(changes: dict) -> None:
    """Two tasks that compute differently are never compared."""
    mlp = load_task("mlp")

    assert mlp.fingerprint != mlp.changed(**changes).fingerprint


def test_prose_does_not_change_the_fingerprint() -> None:
    """A better title must not orphan the results of years."""
    mlp = load_task("mlp")

    assert mlp.fingerprint == mlp.changed(name="other", title="Other words").fingerprint


def test_the_fingerprint_of_mlp_is_kept() -> None:
    """Published results carry it: a change here means that they can be compared no more."""
    assert "6c24f48b272e623d" == load_task("mlp").fingerprint


def test_hyperparameters_are_values_of_float32() -> None:
    """Keras rounds some of them, torch none: only a value that both hold is the same on both sides."""
    mlp = load_task("mlp").changed(optimizer={"name": "sgd", "learning_rate": 0.1, "momentum": 0.3})

    assert float(np.float32(0.1)) == mlp.optimizer.learning_rate != 0.1


@given(st.floats(1e-37, 3e38))
def test_they_are_rounded_as_numpy_rounds(value: float) -> None:
    """To the nearest, the even one of two."""
    task = load_task("mlp").changed(optimizer={"name": "sgd", "learning_rate": value})

    assert float(np.float32(value)) == task.optimizer.learning_rate


@pytest.mark.parametrize("value", [1e300, 1e-60])
def test_a_rate_that_float32_cannot_hold_is_refused(value: float) -> None:
    """It would be infinite, or none at all."""
    with pytest.raises(InputError, match=r"learning_rate: must be a number that float32 holds"):
        load_task("mlp").changed(optimizer={"name": "sgd", "learning_rate": value})


def test_a_rate_falls_by_exact_factors_alone() -> None:
    """A power of two times a float32 rate is exact, so every framework reaches the same rate."""
    falling = {"name": "sgd", "learning_rate": 0.1, "decay": {"factor": 0.5, "every_steps": 3}}
    optimizer = load_task("mlp").changed(optimizer=falling).optimizer
    rates = [optimizer.rate(step) / optimizer.learning_rate for step in (0, 2, 3, 5, 6)]

    assert [1.0, 1.0, 0.5, 0.5, 0.25] == rates
    with pytest.raises(InputError, match=r"decay\.factor: must be a power of two"):
        load_task("mlp").changed(optimizer=falling | {"decay": {"factor": 0.1, "every_steps": 3}})


def test_a_changed_task_is_validated_anew() -> None:
    """changed() does not let in what the file could not."""
    with pytest.raises(InputError, match="batch_size: input should be greater than or equal to 1, is 0"):
        load_task("mlp").changed(batch_size=0)


def test_a_task_survives_its_json() -> None:
    """Records carry the task whole."""
    mlp = load_task("mlp")

    assert mlp == Task.model_validate_json(mlp.model_dump_json())


@pytest.mark.parametrize("name", shipped_tasks())
def test_the_name_of_a_widened_task_tells_what_it_was_made_of(name: str) -> None:
    """Of each shipped task, mlp-wide among them, whose name only begins like one."""
    assert (name, None) == unwidened(name)
    assert (name, 64) == unwidened(load_task(name).widened(64).name)
