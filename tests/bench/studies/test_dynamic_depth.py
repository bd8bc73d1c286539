"""bench.studies.dynamic_depth: its reference is right, and a network of another depth has no figure."""

from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest

from bench.conformance import ContractBroken
from bench.contract import Array, Data, Params, Refusal, Settings
from bench.inputs import initial_params
from bench.record import Reading, WorkerRequest
from bench.studies import dynamic_depth
from bench.studies.dynamic_depth import DEPTHS, MEAN_DEPTH, Reference, balanced, depth_of
from bench.task import Task, load_task
from tests.make import small_data

TASK = load_task("mlp-tiny").changed(layers=(784, 6, 6, 10), activation="tanh", dtype="float64")


class Trainer:
    """The reference as a subject; in it a depth, a count or a program can be wrong."""

    wrong_by: ClassVar = {"static": 0, "dynamic": 0}  # layers
    compiles_late = False

    def __init__(
        self, subject: str, task: Task, params: Params, data: Data, *, depths: int, fixed: int | None = None
    ) -> None:
        assert depths == DEPTHS
        wrong_by = self.wrong_by["dynamic" if fixed is None else "static"]

        class Deep(Reference):
            def gradients(self, rows: Array) -> tuple[float, list[Array]]:
                self._fixed = wrong_by + (depth_of(data.labels[rows]) if fixed is None else fixed)
                return super().gradients(rows)

        self.network, self.calls = Deep(task, params, data, fixed=fixed), 0

    def train(self, batches: Array) -> Array:
        self.calls += 1
        return np.array([self.network.step(rows) for rows in batches], dtype=np.float32)

    def compilations(self) -> int | None:
        return self.calls if self.compiles_late else None


def readings(trainer: type[Trainer]) -> dict[str, Reading]:
    """The study of such a trainer, six steps a depth."""
    module = ModuleType("made_up")
    module.configure, module.Trainer = lambda settings: None, trainer  # type: ignore[attr-defined]
    request = WorkerRequest(
        what="study",
        task=load_task("mlp-tiny"),
        training_seed=0,
        entry="made-up",
        entry_module="made_up",
        device="cpu",
        threads=1,
        memory_limit_bytes=None,
        parent_pid=1,
    )
    found = dynamic_depth.measure(module, request, Settings(device="cpu", threads=1), steps_a_depth=6)
    return {reading.name: reading for reading in found}


@pytest.mark.parametrize("fixed", [None, 4])
def test_the_references_gradients_are_those_of_finite_differences(fixed: int | None) -> None:
    """Of every array, the number with the largest gradient; central differences, float64."""
    data, rows = small_data(TASK, 32), np.arange(32)
    reference = Reference(TASK, initial_params(TASK, 0), data, fixed=fixed)
    _, gradients = reference.gradients(rows)

    assert 6 == len(gradients)
    assert fixed is not None or depth_of(data.labels[rows]) > 1  # else nothing is shared
    for array, gradient in zip(reference.flat, gradients, strict=True):
        at = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
        losses = []
        for change in (1e-6, -2e-6):
            array[at] += change
            losses.append(reference.gradients(rows)[0])
        array[at] += 1e-6
        assert gradient[at] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-6)


def test_each_depth_comes_equally_often() -> None:
    """So their mean is the static network's; the batches keep their order."""
    labels = np.random.default_rng(0).integers(0, 10, 6400)
    batches = np.arange(6400).reshape(200, 32)
    chosen = balanced(batches, labels, 20)
    depths = [depth_of(labels[rows]) for rows in chosen]

    assert {20} == {depths.count(1 + k) for k in range(DEPTHS)}
    assert MEAN_DEPTH == np.mean(depths)
    assert np.all(np.diff(chosen[:, 0]) > 0)


def test_two_networks_are_set_beside_each_other() -> None:
    """Their ratio is that of the figures; what is not counted is null, with a reason."""
    found = readings(Trainer)

    assert found["kept"].value == pytest.approx(
        found["samples_per_second.dynamic"].value / found["samples_per_second.static"].value
    )
    assert found["graph_breaks.dynamic"].value is None
    assert found["graph_breaks.dynamic"].reason


@pytest.mark.parametrize("kind", ["static", "dynamic"])
@pytest.mark.parametrize("by", [1, -1])
def test_a_wrong_depth_is_refused(kind: str, by: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One layer too many or too few, in either network."""
    monkeypatch.setattr(Trainer, "wrong_by", {"static": 0, "dynamic": 0} | {kind: by})

    with pytest.raises(Refusal, match=f"not the same work: {kind} depth, step 0"):
        readings(Trainer)


def test_what_compiles_while_it_is_timed_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its throughput would be that of the compiler."""
    monkeypatch.setattr(Trainer, "compiles_late", True)

    with pytest.raises(ContractBroken, match="compiled while it was timed"):
        readings(Trainer)
