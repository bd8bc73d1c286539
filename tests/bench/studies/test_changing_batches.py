"""bench.studies.changing_batches: sizes change as is said, and what did not train these batches has no figure."""

from types import ModuleType

import numpy as np
import pytest

from bench.contract import Refusal, Settings
from bench.record import Reading, WorkerRequest
from bench.studies import changing_batches, find_study
from bench.studies.changing_batches import SIZES, cut, sizes
from bench.task import load_task
from impls.numpy import mlp


class Counting(mlp.Trainer):
    """NumPy's, which counts the shapes that it has met as one who compiles for each would."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.shapes: set[tuple[int, ...]] = set()

    def train(self, batches: np.ndarray) -> np.ndarray:
        self.shapes.add(batches.shape)
        return super().train(batches)

    def compilations(self) -> int:
        return len(self.shapes)


class Padding(mlp.Trainer):
    """Fills every batch up to one size, so that nothing need be compiled again."""

    def train(self, batches: np.ndarray) -> np.ndarray:
        missing = 96 - batches.shape[1]
        return super().train(np.pad(batches, ((0, 0), (0, missing)), mode="wrap"))


class OneSize(mlp.Trainer):
    """Takes batches of the task's size alone."""

    def train(self, batches: np.ndarray) -> np.ndarray:
        if batches.shape[1] != 64:
            raise Refusal(f"batches have 64 rows here, not {batches.shape[1]}")
        return super().train(batches)


class Late(mlp.Trainer):
    """Loses its mind after the steps that are compared with the oracle."""

    steps = 0

    def train(self, batches: np.ndarray) -> np.ndarray:
        self.steps += 1
        return super().train(batches) * np.float32(np.nan if self.steps > 40 else 1)


def readings(trainer: type[mlp.Trainer]) -> dict[str, Reading]:
    """The study of such a trainer, two steps a size."""
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
    found = changing_batches.measure(module, request, Settings(device="cpu", threads=1), steps_a_size=2)
    return {reading.name: reading for reading in found}


def test_the_sizes_of_a_pass_change_around_the_tasks_own() -> None:
    """Sixteen, between half and one and a half times; as many rows in all; in another order with another seed."""
    found = sizes(64, 5, seed=0)

    assert (SIZES * 5, SIZES) == (len(found), len(set(found.tolist())))
    assert {5} == {found.tolist().count(size) for size in found}
    assert 32 <= found.min() < 64 < found.max() <= 96
    assert 64 * len(found) == found.sum()
    assert np.count_nonzero(np.diff(found)) > 0.8 * len(found)
    assert not np.array_equal(found, sizes(64, 5, seed=1))
    assert np.array_equal(found, sizes(64, 5, seed=0))


def test_rows_are_cut_without_a_loss() -> None:
    """Every row once, in order, in pieces of the given lengths."""
    pieces = cut(np.arange(6), np.array([1, 3, 2]))

    assert [[0], [1, 2, 3], [4, 5]] == [piece.tolist() for piece in pieces]


def test_programs_are_counted_where_they_are_made() -> None:
    """One for the one size, one for each other, none once all are known; ratios are those of the figures."""
    found = {name: reading.value for name, reading in readings(Counting).items()}

    assert (1, SIZES, 0) == tuple(found[f"compilations.{kind}"] for kind in ("fixed", "changing", "changing_again"))
    assert found["samples_per_second.changing"] == pytest.approx(64 * SIZES * 2 / found["seconds.changing"])
    assert all(found[name] > 0 for name in ("samples_per_second.fixed", "kept", "kept_again"))


def test_one_who_does_not_count_programs_has_none_and_a_reason() -> None:
    """Null, not 0."""
    found = readings(mlp.Trainer)["compilations.changing"]

    assert found.value is None
    assert "does not tell" in str(found.reason)


@pytest.mark.parametrize(
    ("trainer", "says"),
    [(Padding, "not the same work"), (OneSize, "batches have 64 rows here"), (Late, "not finite")],
)
def test_what_did_not_train_these_batches_is_refused(trainer: type[mlp.Trainer], says: str) -> None:
    """Batches that were filled up, a size that is not taken, and losses that come to nothing later."""
    with pytest.raises(Refusal, match=says):
        readings(trainer)


def test_the_way_for_any_size_is_a_subject_beside_the_entry() -> None:
    """Of both frameworks."""
    names = {subject.name: subject.module for subject in find_study("changing-batches").subjects}

    assert "impls.torch.compiled" == names["torch-compile"]
    assert "impls.torch.any_size" == names["torch-compile-any-size"]
    assert "impls.tensorflow.any_size" == names["tensorflow-function-any-size"]
