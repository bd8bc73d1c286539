"""The error budget: drawn from honest trainings, wide enough for one more, and for nothing else."""

import numpy as np
import pytest
from scipy import stats as distributions

from bench.budget import Draw, student_quantile, tolerances
from bench.inputs import initial_params
from bench.oracle import Oracle
from bench.task import Task, load_task
from tests.make import small_data

TASK = load_task("mlp-tiny").changed(layers=(784, 12, 9, 10), batch_size=16)
DATA = small_data(TASK, 64)
ROWS = np.arange(16)


def pair(task: Task = TASK, seed: int = 0) -> tuple[Oracle, Draw]:
    params = initial_params(task, 0)
    return Oracle(task, params, DATA), Draw(task, params, DATA, np.random.default_rng(seed))


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_a_draw_is_the_same_training_but_for_its_rounding(activation: str) -> None:
    """In float64 its parameters and logits, put back in order, are the oracle's to the last digits."""
    task = TASK.changed(dtype="float64", activation=activation)
    params, data = initial_params(task, 0), small_data(task, 64)
    oracle, draw = Oracle(task, params, data), Draw(task, params, data, np.random.default_rng(1))
    for _ in range(5):
        loss = oracle.step(ROWS)
        assert loss == pytest.approx(draw.step(ROWS, oracle.before), rel=1e-13)

    for ours, true in zip(draw.flat(), oracle.flat, strict=True):
        np.testing.assert_allclose(ours, true, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(draw.logits(data.images), oracle.logits(data.images), rtol=1e-10)


def test_draws_round_each_in_its_own_way() -> None:
    """Another order of the sums gives other last bits; one draw twice gives the same."""

    def weights(seed: int) -> np.ndarray:
        oracle, draw = pair(seed=seed)
        oracle.step(ROWS)
        draw.step(ROWS, oracle.before)
        return draw.flat()[0]

    np.testing.assert_array_equal(weights(1), weights(1))
    assert (weights(1) != weights(2)).any()
    np.testing.assert_allclose(weights(1), weights(2), rtol=1e-3, atol=1e-6)


def test_a_unit_in_doubt_goes_either_way() -> None:
    """Where rounding decides the sign of a ReLU's input, some draws pass the gradient on and some do not."""
    params = initial_params(TASK, 0)
    weight, bias = params[0][0].copy(), params[0][1].copy()
    weight[:, 3] = 0
    bias[3] = 1e-9  # an input of 1e-9 in every row: below the rounding of the layer's other sums
    changed = [(weight, bias), *params[1:]]
    moved = set()
    for seed in range(12):
        oracle = Oracle(TASK, changed, DATA)
        oracle.step(ROWS[:1])
        draw = Draw(TASK, changed, DATA, np.random.default_rng(seed))
        draw.step(ROWS[:1], oracle.before)
        moved.add(bool((draw.flat()[0][:, 3] != 0).any()))

    assert {True, False} == moved


def test_the_tolerance_is_students_prediction_interval() -> None:
    """By hand: rms over the draws, running maximum, roundoff at least, the quantile with Bonferroni's correction."""
    draws = [{"loss": [1e-6, 0.0, 4e-6]}, {"loss": [3e-6, 0.0, 2e-6]}]
    found = tolerances(draws, dtype="float32", false_refusal=0.01)
    quantile = distributions.t.ppf(1 - 0.01 / 6, df=2)

    np.testing.assert_allclose(
        found["loss"], quantile * np.array([np.sqrt(5e-12), np.sqrt(5e-12), np.sqrt(10e-12)]), rtol=1e-12
    )
    least = tolerances([{"loss": [0.0]}, {"loss": [0.0]}], dtype="float32", false_refusal=0.01)["loss"]
    np.testing.assert_allclose(least, [distributions.t.ppf(1 - 0.005, df=2) * 2.0**-24], rtol=1e-12)


def test_a_draw_that_overflows_is_no_licence() -> None:
    """Without a finite budget nothing is tolerated."""
    assert [0.0] == tolerances([{"loss": [None]}, {"loss": [1e-7]}], dtype="float32", false_refusal=0.01)["loss"]


def test_an_honest_training_is_refused_as_rarely_as_promised() -> None:
    """200 more draws beside a budget of 8: at most the promised share leaves it, checked at 5% to have a count."""
    promised, tries, steps = 0.05, 200, 4
    params = initial_params(TASK, 0)
    oracle = Oracle(TASK, params, DATA)
    everyone = [Draw(TASK, params, DATA, np.random.default_rng(100 + i)) for i in range(8 + tries)]
    strayed: list[dict[str, list[float | None]]] = [{"loss": []} for _ in everyone]
    for _ in range(steps):
        true = oracle.step(ROWS)
        for draw, figures in zip(everyone, strayed, strict=True):
            figures["loss"].append(abs(draw.step(ROWS, oracle.before) - true) / true)
    bounds = tolerances(strayed[:8], dtype="float32", false_refusal=promised)["loss"]
    refused = sum(any(d > t for d, t in zip(one["loss"], bounds, strict=True)) for one in strayed[8:])

    # One-sided binomial test against the promise at 0.1%: a budget that is too tight fails here.
    assert distributions.binomtest(refused, tries, promised, alternative="greater").pvalue > 0.001


@pytest.mark.parametrize("beyond", [0.3, 0.05, 1e-3, 1e-6])
@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 16, 33])
def test_the_quantile_is_that_of_scipy(freedom: int, beyond: float) -> None:
    """To what is left of 1 - beyond in a double: of 1e-6, ten digits."""
    assert student_quantile(freedom, 1 - beyond) == pytest.approx(distributions.t.isf(beyond, freedom), rel=1e-9)
