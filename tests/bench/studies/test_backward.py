"""bench.studies.backward: three kinds of work are told apart, and none is taken for another."""

from types import ModuleType

import numpy as np
import pytest

from bench.contract import Params, Refusal, Settings
from bench.record import Reading, WorkerRequest
from bench.studies import backward
from bench.task import load_task
from impls.numpy import mlp


class Trainer(mlp.Trainer):
    """NumPy's with the three methods more."""

    def forward(self, batches: np.ndarray) -> np.ndarray:
        return self.gradients(batches)

    def gradients(self, batches: np.ndarray) -> np.ndarray:
        return np.array([self._oracle.gradients(rows)[0] for rows in batches], dtype=np.float32)

    def latest_gradients(self) -> Params:
        flat = self._oracle.latest_gradients
        return list(zip(flat[::2], flat[1::2], strict=True))


class TrainsInstead(Trainer):
    """Its forward pass is a step."""

    def forward(self, batches: np.ndarray) -> np.ndarray:
        return self.train(batches)


class SkipsTheBackwardPass(Trainer):
    """Its gradients are nothing."""

    def latest_gradients(self) -> Params:
        return [(0 * weight, 0 * bias) for weight, bias in super().latest_gradients()]


class LeavesOutABias(Trainer):
    """One gradient of four is not there."""

    def latest_gradients(self) -> Params:
        first, (weight, bias) = super().latest_gradients()
        return [first, (weight, 0 * bias)]


class NeverUpdates(Trainer):
    """Its step is no step."""

    def train(self, batches: np.ndarray) -> np.ndarray:
        return self.gradients(batches)


def readings(trainer: type[Trainer]) -> dict[str, Reading]:
    """The study of such a trainer, two steps a window."""
    module = ModuleType("made_up")
    module.configure, module.build = mlp.configure, trainer  # type: ignore[attr-defined]
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
    found = backward.measure(module, request, Settings(device="cpu", threads=1), steps_a_window=2)
    return {reading.name: reading for reading in found}


def test_the_ratio_is_that_of_the_seconds() -> None:
    """Backward is both passes without the forward one."""
    found = {name: reading.value for name, reading in readings(Trainer).items()}
    forward, both = found["forward_seconds"], found["gradient_seconds"]

    assert ["forward_seconds", "gradient_seconds", "step_seconds", "backward_to_forward"] == list(found)
    assert forward > 0
    assert found["backward_to_forward"] == pytest.approx((both - forward) / forward)


@pytest.mark.parametrize(
    ("trainer", "says"),
    [
        (TrainsInstead, "forward, step 1"),
        (SkipsTheBackwardPass, "the gradient of weight 0"),
        (LeavesOutABias, "the gradient of bias 1"),
        (NeverUpdates, "step, step 1"),
    ],
)
def test_other_work_is_refused(trainer: type[Trainer], says: str) -> None:
    """A pass that is more or less than it should be would be timed for another."""
    with pytest.raises(Refusal, match=f"not the same work: {says}"):
        readings(trainer)
