"""bench/ceilings.py: shares of ceilings, and frameworks whose products are slow."""

import pytest

from bench.attribution import seconds_per_step
from bench.ceilings import best_ceilings, ceiling_of, shares, slow_ceilings
from bench.flops import flops_per_sample
from bench.record import Figure, Trial
from bench.stats import samples_per_second
from tests.make import make_machine, make_step, make_task, make_trial, without_ceiling

EPYC = make_machine(fingerprint="epyc", cpu_model="AMD EPYC")
MKL = {"torch": "2.13.0", "mkl": "2024.2", "cpu_capability": "AVX512"}


def test_shares_are_of_the_own_and_of_the_machines_ceiling() -> None:
    """Achieved: samples/s times the operations of a sample."""
    slow = [make_step("torch-eager", block, 1e-3, flops_per_second=1e11) for block in range(2)]
    fast = [make_step("numpy", block, 1e-3, flops_per_second=2.5e11) for block in range(2)]
    best = best_ceilings(slow + fast)
    rate = samples_per_second(slow[0])

    seen = shares(slow, best)

    assert seen is not None
    assert seen.achieved is not None
    assert seen.machine is not None
    assert rate is not None
    achieved = rate * flops_per_sample(make_task())
    assert pytest.approx(achieved) == seen.achieved.median
    assert (pytest.approx(achieved / 1e11), pytest.approx(achieved / 2.5e11)) == (seen.of_own, seen.of_machine)
    assert seen.machine.framework == "numpy"


@pytest.mark.parametrize(
    "other",
    [
        make_trial("numpy", flops_per_second=9e11, threads=1),
        make_trial("numpy", flops_per_second=9e11, processes=2),
        make_trial("numpy", flops_per_second=9e11, machine=make_machine(fingerprint="other")),
        make_trial("numpy", flops_per_second=9e11, device="cuda"),
        make_trial("numpy", flops_per_second=9e11, precision="tf32"),
        make_trial("numpy", flops_per_second=9e11, task=make_task(dtype="float64")),
        make_trial("numpy", flops_per_second=9e11, certificate="refused"),
    ],
    ids=["threads", "processes", "machine", "device", "precision", "dtype", "refused"],
)
def test_the_machines_ceiling_is_of_the_same_place(other: Trial) -> None:
    """Other threads, machines, devices, precisions and dtypes have ceilings of their own; refused trials none."""
    trial = make_trial(flops_per_second=1e11)

    seen = shares([trial], best_ceilings([trial, other]))

    assert seen is not None
    assert seen.machine is not None
    assert seen.machine.flops_per_second == 1e11


def test_two_ranks_have_twice_the_ceiling_of_one() -> None:
    """Each is taken for as fast as rank 0; devices of one process were measured at once."""
    trial = make_trial("torch-ddp", processes=2, flops_per_second=1e11)
    assert trial.measurements is not None
    peaks = {"peak_training_bytes_of_ranks": [Figure(value=1e9), Figure(value=1e9)]}
    memory = trial.measurements.memory.model_copy(update=peaks)
    ranks = trial.model_copy(update={"measurements": trial.measurements.model_copy(update={"memory": memory})})

    assert (1e11, 2e11) == (ceiling_of(trial), ceiling_of(ranks))


def test_a_ceiling_that_was_not_measured_says_why() -> None:
    """No share, and the record's reason."""
    trial = without_ceiling(make_trial())

    seen = shares([trial], best_ceilings([trial]))

    assert seen is not None
    assert (None, None, None, "not measured before schema 2") == (
        seen.own,
        seen.of_own,
        seen.of_machine,
        seen.reason,
    )


@pytest.mark.parametrize(
    ("rate", "packages", "machine", "expected"),
    [
        (1.0e11, MKL, EPYC, [True]),
        (1.0e11, MKL, make_machine(fingerprint="epyc", cpu_model="Intel Xeon"), [False]),
        (1.0e11, {"torch": "2.13.0", "mkl": "none"}, EPYC, [False]),
        (1.3e11, MKL, EPYC, []),
    ],
    ids=["MKL on AMD", "MKL on Intel", "no MKL", "above half"],
)
def test_mkls_path_is_named_only_where_it_is_the_reason(
    rate: float, packages: dict[str, str], machine: object, expected: list[bool]
) -> None:
    """Under half the machine's ceiling, with MKL, on AMD."""
    trials = [
        make_trial("torch-eager", flops_per_second=rate, packages=packages, machine=machine),  # type: ignore[arg-type]
        make_trial("numpy", flops_per_second=2.5e11, packages={}, machine=machine),  # type: ignore[arg-type]
    ]

    seen = slow_ceilings(trials, best_ceilings(trials))

    assert expected == [one.by_mkls_path for one in seen]
    assert [pytest.approx(rate / 2.5e11)] * len(seen) == [one.share for one in seen]


def test_time_per_step_is_the_median_of_the_later_windows() -> None:
    """The inverse of the speed that the tables show."""
    trial = make_trial(seconds=2.0)

    seconds, rate = seconds_per_step(trial), samples_per_second(trial)

    assert seconds is not None
    assert rate is not None
    assert pytest.approx(64 / rate) == seconds
