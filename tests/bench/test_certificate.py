"""A certificate says yes to the same work, and names part, figure and step of any other."""

import tomllib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.certificate import (
    LIMITS,
    LIMITS_FILE,
    check,
    fault_of,
    host_reads,
    own_dtype_steps,
    prove,
    reason_of,
    relative,
)
from bench.conformance import ContractBroken
from bench.contract import Data, Params
from bench.inputs import first_batches, initial_params
from bench.oracle import Oracle
from bench.record import Check, Limits, Part, Series
from bench.task import Task, load_task
from tests.command import ROOT
from tests.make import small_data

TASK = load_task("mlp-tiny").changed(layers=(784, 12, 10, 10), batch_size=32)
ROWS = 640
FEW = LIMITS.model_copy(update={"float64_steps": 12, "own_dtype_steps": 6, "gradient_steps": 4})


def load(task: Task, batches: np.ndarray) -> tuple[Data, np.ndarray]:
    """Random images in place of the data set, which takes a second to decode."""
    return small_data(task, ROWS), batches % ROWS


class Honest:
    """The oracle in the task's dtype, behind the contract's names."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        self.task = task
        self.oracle = Oracle(task, params, data, dtype=task.dtype)

    def train(self, batches: np.ndarray) -> np.ndarray:
        return np.array([self.oracle.step(rows) for rows in batches], dtype=np.float32)

    def logits(self, images: np.ndarray) -> np.ndarray:
        return self.oracle.logits(images)

    def params(self) -> Params:
        return self.oracle.params()


def proven(trainer: Any = Honest, task: Task = TASK, limits: Limits = FEW) -> list[Part]:
    return prove(SimpleNamespace(build=trainer), task, 0, limits=limits, load=load)  # type: ignore[arg-type]


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_the_same_work_is_certified(activation: str) -> None:
    """Both parts, every figure: losses, gradients, parameters, whole calls and logits."""
    parts = proven(task=TASK.changed(activation=activation))

    assert [("float64", 12), ("own-dtype", 6)] == [(part.name, part.steps) for part in parts]
    assert (None, [[], []]) == (reason_of(parts, []), [part.faults for part in parts])
    for part in parts:
        kinds = {series.what.split()[0] for series in part.series}
        assert {"loss", "gradient", "parameter", "logits"} == kinds
        assert 1 + 6 + 1 + 1 + 6 + 6 == len(part.series)


def test_a_task_in_float64_has_no_second_part() -> None:
    """Its own dtype is the first part's."""
    assert ["float64"] == [part.name for part in proven(task=TASK.changed(dtype="float64"))]


class RateOff(Honest):
    """A rate that is off by one part in ten million: only float64 can tell."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        rate = task.optimizer.learning_rate * (1 + 1e-7)
        other = task.model_copy(update={"optimizer": task.optimizer.model_copy(update={"learning_rate": rate})})
        super().__init__(other, params, data)


class Coarse(Honest):
    """Inputs rounded as TF32 rounds them, in float32 alone."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        if task.dtype == "float32":
            coarse = (data.images.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
            data = Data(images=coarse, labels=data.labels)
        super().__init__(task, params, data)


class DropsLast(Honest):
    """Trains all but the last batch of a call."""

    def train(self, batches: np.ndarray) -> np.ndarray:
        losses = super().train(batches[: max(1, len(batches) - 1)])
        return np.resize(losses, len(batches))


class OtherLogits(Honest):
    """Evaluates with a bias that is not the trained one."""

    def logits(self, images: np.ndarray) -> np.ndarray:
        return self.oracle.logits(images) + images.dtype.type(1e-3)


@pytest.mark.parametrize(
    ("trainer", "part", "figure"),
    [
        (RateOff, 0, "parameter weight 0 at step 0"),
        (Coarse, 1, "loss at step 0"),
        (DropsLast, 0, "loss in whole calls at step 11"),
        (OtherLogits, 0, "logits: "),
    ],
)
def test_other_work_is_refused_by_part_figure_and_step(trainer: Any, part: int, figure: str) -> None:
    """The fault names what deviates, where, by how much and what is tolerated."""
    parts = proven(trainer)
    faults = [fault for fault in parts[part].faults if fault.startswith(figure)]

    assert 1 == len(faults), parts[part].faults
    assert "deviates by" in faults[0]
    assert "tolerated" in faults[0]
    assert reason_of(parts, []).startswith("not the same work: part ")


class NeverFalls(Honest):
    """A rate that stays what it was."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        constant = task.optimizer.model_copy(update={"decay": None})
        super().__init__(task.model_copy(update={"optimizer": constant}), params, data)


def test_a_rate_that_falls_late_is_seen_to_fall() -> None:
    """Every 2811 steps in the task, sooner in the certificate: an entry that never lowers it is refused."""
    falling = TASK.optimizer.model_dump() | {"decay": {"factor": 0.5, "every_steps": 2811}}
    sooner = FEW.model_copy(update={"float64_most_decay_steps": 5})
    parts = proven(NeverFalls, TASK.changed(optimizer=falling), sooner)

    assert parts[0].faults[0].startswith("loss at step 6: ")
    assert [] == proven(Honest, TASK.changed(optimizer=falling), sooner)[0].faults


def test_float32_cannot_tell_what_float64_can() -> None:
    """The second part has room for rounding, and only for that: a rate off by 1e-7 is lost in it."""
    assert [] == proven(RateOff)[1].faults


class Writes(Honest):
    """Trains in the very arrays that it was given."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        super().__init__(task, params, data)
        params[0][0].flags.writeable = True
        self.given = params[0][0]

    def train(self, batches: np.ndarray) -> np.ndarray:
        self.given += 1
        return super().train(batches)


class NoLogits:
    """Half a trainer."""

    def __init__(self, *_: object) -> None:
        self.train = self.params = lambda *_: None


class NotANumber(Honest):
    """Losses that are no numbers."""

    def train(self, batches: np.ndarray) -> np.ndarray:
        return super().train(batches) * np.float32(np.nan)


class Transposed(Honest):
    """Parameters in the framework's own layout."""

    def params(self) -> Params:
        return [(weight.T.copy(), bias) for weight, bias in super().params()]


class Wide(Honest):
    """Parameters in another dtype than the task's."""

    def params(self) -> Params:
        return [(weight.astype(np.float16), bias) for weight, bias in super().params()]


class WrongLogits(Honest):
    """Classes first."""

    def logits(self, images: np.ndarray) -> np.ndarray:
        return super().logits(images).T


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (Writes, "the entry changed the initial parameters that it was given; it must copy them"),
        (NoLogits, r"build\(\) returned NoLogits without logits\(\)"),
        (Transposed, r"params\(\) must return weight 0 as float64 \(784, 12\), returned float64 \(12, 784\)"),
        (Wide, r"must return weight 0 as float64 \(784, 12\), returned float16"),
        (WrongLogits, r"logits\(\) must return a NumPy array of floats \(100, 10\), returned float64 \(10, 100\)"),
    ],
)
def test_a_broken_contract_is_named(trainer: Any, message: str) -> None:
    """Which of its promises an entry broke, what was wanted and what came."""
    with pytest.raises(ContractBroken, match=message):
        proven(trainer)


def test_a_loss_that_is_no_number_is_a_fault() -> None:
    """NaN compares false with everything: it must not slip through a comparison."""
    parts = proven(NotANumber)

    assert "loss at step 0: is not finite" == parts[0].faults[0]


@pytest.mark.parametrize(("deviation", "found"), [(None, True), (float("nan"), True), (2e-6, True), (1e-6, False)])
def test_a_figure_is_held_to_its_tolerance(deviation: float | None, found: bool) -> None:
    """Equal passes, larger and unknown do not."""
    series = Series.model_construct(what="loss", deviations=[0.0, deviation], tolerances=[1e-6, 1e-6])

    assert found == (fault_of(series) is not None)


def test_relative_deviations_are_of_the_largest_value() -> None:
    """max|found - true| / max|true|; of nothing but zeros only zeros are near."""
    assert 0.25 == relative(np.array([1.0, 5.0]), np.array([1.0, 4.0]))
    assert 0.0 == relative(np.zeros(2), np.zeros(2))
    assert relative(np.array([1e-30]), np.zeros(1)) > 1
    assert relative(np.array([np.inf]), np.ones(1)) is None
    assert relative(np.ones(1), np.array([np.nan])) is None


def checked(second: Any = Honest, measured: Any = Honest) -> Check:
    data, batches = load(TASK, first_batches(TASK, 0, 6))
    params = initial_params(TASK, 0)
    losses = [trainer(TASK, params, data).train(batches) for trainer in (second, measured)]
    return check(TASK, seed=0, data=data, batches=batches, losses=losses[0], measured_losses=losses[1])


class Slow(Honest):
    """A rate that is 1% lower."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        rate = task.optimizer.learning_rate * 0.99
        other = task.model_copy(update={"optimizer": task.optimizer.model_copy(update={"learning_rate": rate})})
        super().__init__(other, params, data)


def test_the_check_of_a_trial_passes_the_same_work() -> None:
    """Far below what is tolerated, which is itself near the rounding of float32."""
    found = checked()

    assert ("same-work", None) == (found.verdict, found.reason)
    assert 0 < found.largest_deviation < found.tolerances[0] < 2e-6


@pytest.mark.parametrize(
    ("sides", "whose"), [((Slow, Honest), "the second trainer's"), ((Honest, Slow), "the measured training's")]
)
def test_the_check_of_a_trial_holds_both_trainings(sides: tuple[Any, Any], whose: str) -> None:
    """An honest second trainer does not excuse the one that was measured, nor the other way about."""
    found = checked(*sides)

    assert ("refused", True) == (found.verdict, f"not the same work: {whose} loss at step " in found.reason)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_where_the_oracle_has_no_number_nothing_is_certified() -> None:
    """Images so large that everything overflows: refused, not compared with infinity."""
    data, batches = load(TASK, first_batches(TASK, 0, 6))
    huge = Data(images=data.images * np.float32(3e38), labels=data.labels)
    losses = Honest(TASK, initial_params(TASK, 0), huge).train(batches)
    found = check(TASK, seed=0, data=huge, batches=batches, losses=losses, measured_losses=losses)

    assert ("refused", True) == (found.verdict, "is not finite" in found.reason)


def test_a_read_inside_a_step_is_refused() -> None:
    """What the entry tells of itself; an entry that cannot tell says None, which is no fault."""
    parts = proven()
    entry = SimpleNamespace(build=Honest, host_reads=lambda trainer, batches: [f"item() in line {len(batches)}"])
    reads = host_reads(entry, TASK, 0, load=load)  # type: ignore[arg-type]

    assert ["item() in line 3"] == reads
    assert "reads a value on the host inside a step: item() in line 3" == reason_of(parts, reads)
    assert host_reads(SimpleNamespace(build=Honest), TASK, 0, load=load) is None  # type: ignore[arg-type]
    assert reason_of(parts, None) is None


@pytest.mark.parametrize(("batch_size", "steps"), [(32, 20), (256, 20), (512, 10), (2000, 2), (30_000, 2)])
def test_a_large_batch_is_certified_over_fewer_steps(batch_size: int, steps: int) -> None:
    """Its rows are worth as much; never under two, for the second shows the first one's update."""
    assert steps == own_dtype_steps(TASK.changed(batch_size=batch_size))


LOOSER_IF_LARGER = ("float64_deviation", "float64_most_decay_steps")
LOOSER_IF_SMALLER = (
    "float64_steps",
    "float64_most_rows",
    "own_dtype_steps",
    "own_dtype_most_rows",
    "gradient_steps",
    "budget_draws",
    "budget_false_refusal",
)


def loosened(now: dict[str, float], released: dict[str, float]) -> list[str]:
    """The limits that are looser now; one that is gone is loosest of all."""
    return [name for name in LOOSER_IF_LARGER if now.get(name, np.inf) > released[name]] + [
        name for name in LOOSER_IF_SMALLER if now.get(name, 0) < released[name]
    ]


def test_no_tolerance_is_looser_than_in_the_last_release() -> None:
    """A tolerance may be tightened, never raised until it passes."""
    released = tomllib.loads((ROOT / "tests" / "released_tolerances.toml").read_text())
    now = tomllib.loads(LIMITS_FILE.read_text())

    assert {*LOOSER_IF_LARGER, *LOOSER_IF_SMALLER} == set(released) == set(now)
    assert [] == loosened(now, released)


@pytest.mark.parametrize("name", [*LOOSER_IF_LARGER, *LOOSER_IF_SMALLER])
def test_a_loosened_tolerance_is_found(name: str) -> None:
    """The check above can fail, for each value."""
    released = tomllib.loads((ROOT / "tests" / "released_tolerances.toml").read_text())
    worse = released[name] * (2 if name in LOOSER_IF_LARGER else 0.5)

    assert [name] == loosened(released | {name: worse}, released)
