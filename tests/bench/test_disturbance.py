"""A disturbed trial is marked, with the figure."""

from typing import Any

from bench.disturbance import disturbances
from bench.record import Gpu, Measurements
from tests.make import make_trial


def measured(**changes: Any) -> Measurements:
    """Three windows of one second after the first, with these surroundings."""
    found = make_trial().measurements
    assert found is not None
    epochs = [
        epoch.model_copy(update={"surroundings": epoch.surroundings.model_copy(update=changes)})  # type: ignore[union-attr]
        for epoch in found.epochs
    ]
    return found.model_copy(update={"epochs": epochs})


def test_a_quiet_trial_has_no_mark() -> None:
    """Nothing was stolen and nothing foreign ran."""
    assert [] == disturbances(measured(), cores=1)


def test_a_foreign_process_marks_the_trial_with_its_share() -> None:
    """A tenth of a second in each second, on one core; on two cores it is half of that, and allowed."""
    assert ["other processes took 10.0% of the cores' time"] == disturbances(measured(foreign_seconds=0.1), cores=1)
    assert [] == disturbances(measured(foreign_seconds=0.1), cores=2)


def test_steal_marks_the_trial() -> None:
    """Time that the hypervisor gave to others is lost to the window, whoever had it."""
    found = disturbances(measured(steal_seconds=0.03), cores=1)

    assert ["the hypervisor gave to other guests 3.0% of the cores' time"] == found


def test_the_rounding_of_the_kernels_ticks_marks_nothing() -> None:
    """A window may come out below 0 by a tick."""
    assert [] == disturbances(measured(foreign_seconds=-0.01), cores=1)


def test_what_was_not_counted_marks_nothing() -> None:
    """Unknown is neither quiet nor disturbed; the reasons stand in the record."""
    assert [] == disturbances(measured(foreign_seconds=None, steal_seconds=None), cores=1)


def test_a_throttled_card_marks_the_trial() -> None:
    """Whatever the probe names is a mark."""
    card = Gpu.model_construct(uuid="GPU-0", foreign_processes=None)

    assert ["hot in 20% of samples"] == disturbances(
        measured(), cores=1, gpu=card, throttled=lambda _: ["hot in 20% of samples"]
    )


def test_a_foreign_process_on_the_card_marks_the_trial() -> None:
    """It has had a share of the card; a card that nobody else used has no mark."""
    shared, alone = (Gpu.model_construct(uuid="GPU-0", foreign_processes=found) for found in ([17, 23], []))

    assert ["other processes were on the card: 17, 23"] == disturbances(
        measured(), cores=1, gpu=shared, throttled=lambda _: []
    )
    assert [] == disturbances(measured(), cores=1, gpu=alone, throttled=lambda _: [])
