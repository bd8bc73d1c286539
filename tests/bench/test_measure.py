"""The evaluation that all share, and windows in which nothing but training may happen."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench.conformance import ContractBroken
from bench.contract import Settings
from bench.measure import (
    Watch,
    _communication,
    _device_memory,
    _gather,
    _refuse_above_ceiling,
    _refuse_compilation,
    accuracy,
    compilations,
)
from bench.record import Figure, Measurements
from tests.make import make_trial


def test_accuracy_is_the_share_of_rows_whose_largest_logit_is_the_labels() -> None:
    """Three of four by hand."""
    logits = np.array([[2, 1], [0, 1], [3, 2], [5, 4]], dtype=np.float32)

    assert 0.75 == accuracy(logits, np.array([0, 1, 0, 1]), 2)


class Compiles:
    """A trainer that has made three programs."""

    def compilations(self) -> int:
        return 3


def test_an_entry_tells_what_it_compiled_or_nothing() -> None:
    """None is not 0: an entry that cannot tell has not been watched."""
    assert (3, None) == (compilations(Compiles()), compilations(object()))  # type: ignore[arg-type]


@pytest.mark.parametrize(("programs", "allowed"), [(0, False), (None, False), (2, True)])
def test_a_window_without_a_compilation_counts(programs: int | None, allowed: bool) -> None:
    """Nor does one of the warm-up harm."""
    _refuse_compilation(programs, "the window of epoch 0", allowed=allowed)


def test_a_compilation_inside_a_window_fails_the_trial() -> None:
    """Its seconds would be the compiler's."""
    with pytest.raises(ContractBroken, match=r"1 program\(s\) traced or compiled inside the window of epoch 2"):
        _refuse_compilation(1, "the window of epoch 2")


def achieved(flops_per_second: float) -> Measurements:
    """A trial's measurements with this ceiling; its training does 0.42 GFLOP/s."""
    found = make_trial(seconds=60.0).measurements
    assert found is not None
    ceiling = found.ceiling.model_copy(update={"flops_per_second": Figure(value=flops_per_second)})
    return found.model_copy(update={"ceiling": ceiling})


def test_a_training_below_its_ceiling_counts() -> None:
    """As it should be."""
    _refuse_above_ceiling(achieved(1e9), make_trial().task)


def test_several_processes_have_as_many_ceilings() -> None:
    """Rank 0's is measured while the others are idle; five times it is too much for four."""
    _refuse_above_ceiling(achieved(1e8), make_trial().task, ranks=5)
    with pytest.raises(ContractBroken, match=r"the framework's best product 4e\+08"):
        _refuse_above_ceiling(achieved(1e8), make_trial().task, ranks=4)


def test_steps_with_and_without_communication_are_taken_in_turn() -> None:
    """Each once before for nothing, then five of each, the first of a pair alternating; nothing but these."""
    seen: list[str] = []
    trainer = SimpleNamespace(
        train=lambda rows: seen.append(f"train {len(rows)}"), train_local=lambda rows: seen.append(f"local {len(rows)}")
    )
    watch = Watch(synchronize=lambda: None, sensors=False)
    found = _communication(trainer, np.zeros((300, 1), np.int64), watch)  # type: ignore[arg-type]

    assert found is not None
    assert ["local 100", "train 100", "train 100", "local 100"] * 3 == seen
    assert (100, 5, 5) == (found.steps, len(found.exchanging_seconds), len(found.local_seconds))


def test_what_cannot_leave_communication_out_has_no_share_of_it() -> None:
    """None, and never 0."""
    watch = Watch(synchronize=lambda: None, sensors=False)

    assert _communication(SimpleNamespace(), np.zeros((3, 1), np.int64), watch) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("shared", [False, True])
def test_on_shared_cores_nobody_is_foreign(shared: bool) -> None:
    """Another rank's time would pass for a disturbance: null, with the reason."""
    watch = Watch(synchronize=lambda: None, sensors=True, cores_shared=shared)
    seen = watch.between(watch.counters(), watch.counters())

    assert seen is not None
    assert shared == (seen.foreign_seconds is None)
    assert shared == ("foreign_seconds" in watch.reasons)


def test_a_training_above_its_ceiling_fails() -> None:
    """A share of over 100%: the work was not done, or the clock is wrong."""
    with pytest.raises(
        ContractBroken, match=r"the training did 4\.\d+e\+08 FLOP/s, the framework's best product 1e\+08"
    ):
        _refuse_above_ceiling(achieved(1e8), make_trial().task)


def test_the_device_is_waited_for_at_both_ends_of_the_gather() -> None:
    """Work that was still under way would count, or work of the gather be left out."""
    seen: list[str] = []
    trainer = SimpleNamespace(gather=lambda rows: seen.append(f"gather {len(rows)}"))
    watch = Watch(synchronize=lambda: seen.append("wait"), sensors=False)
    found = _gather(trainer, np.zeros((5, 1), np.int64), watch)  # type: ignore[arg-type]

    assert ["gather 4", *["wait", "gather 4", "wait"] * 3] == seen
    assert found.value is not None


def test_memory_of_the_device_is_the_frameworks_own_or_null() -> None:
    """Never 0 where there is no device, or where the framework does not tell."""
    tells = SimpleNamespace(device_memory=lambda: {"peak_allocated_bytes": 5})
    cpu, cuda = (Settings(device=device, threads=1) for device in ("cpu", "cuda"))  # type: ignore[arg-type]
    found = {
        "cpu": _device_memory(tells, cpu),  # type: ignore[arg-type]
        "cuda": _device_memory(tells, cuda),  # type: ignore[arg-type]
        "silent": _device_memory(SimpleNamespace(), cuda),  # type: ignore[arg-type]
    }

    assert [(None, "not on CUDA")] * 2 == [(f.value, f.reason) for f in found["cpu"]]
    assert [(5, None), (None, "the framework does not tell")] == [(f.value, f.reason) for f in found["cuda"]]
    assert [(None, "the framework does not tell")] * 2 == [(f.value, f.reason) for f in found["silent"]]
