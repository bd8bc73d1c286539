"""bench/publish/details.py: what stands below a table, and that it is left out where there are no figures."""

import json

import pytest

from bench.publish import details, tables
from bench.publish.details import Detail
from bench.publish.tables import Record
from bench.record import Figure, Gpu, Trial
from tests.make import MIB, make_machine, make_record, make_task, make_trial

EPYC = make_machine(fingerprint="epyc", cpu_model="AMD EPYC")


def of_schema_1(trial: Trial) -> Trial:
    """The trial as bench/migrations.py brings it from the first schema."""
    unknown = Figure(value=None, reason="not measured before schema 2")
    measured = trial.measurements
    assert measured is not None
    ceiling = measured.ceiling.model_copy(update={"products": [], "flops_per_second": unknown})
    memory = measured.memory.model_copy(update={"sampled_peak": None})
    epochs = [epoch.model_copy(update={"surroundings": None}) for epoch in measured.epochs]
    changes = {"ceiling": ceiling, "memory": memory, "epochs": epochs, "gather_seconds_per_step": unknown}
    changes |= {"reasons": {"surroundings": "not measured before schema 2"}}
    return trial.model_copy(update={"measurements": measured.model_copy(update=changes)})


def shown(records: list[Record]) -> dict[str, Detail]:
    """The details of the one section, by title."""
    [section] = tables.sections(records)
    return {detail.title: detail for detail in details.details(section)}


def cells(detail: Detail, entry: str) -> dict[str, str]:
    """A row by its heads."""
    [row] = [row for row in detail.rows if row[0] == entry]
    return dict(zip(detail.heads, row, strict=True))


def test_what_schema_1_did_not_measure_has_no_table() -> None:
    """No table of nulls: only the cold start, whose figures were there from the first."""
    actual = shown([make_record(of_schema_1(make_trial(block=block))) for block in range(2)])

    assert ["Cold start"] == list(actual)


def test_schema_2_has_them_all() -> None:
    """The test above can fail."""
    actual = shown([make_record(make_trial(block=block)) for block in range(2)])

    assert ["Ceilings", "Where a step's time goes", "Cold start", "Memory", "Energy"] == list(actual)


def test_shares_of_the_ceilings_are_the_records() -> None:
    """1 s a window of 59,904 samples at 657,408 operations, beside 100 and 250 GFLOP/s."""
    records = [make_record(make_trial()), make_record(make_trial("numpy", flops_per_second=2.5e11))]
    task = make_task()
    achieved = (task.steps_per_epoch - 1) * 64 * (6 * (784 * 128 + 128 * 64 + 64 * 10) - 2 * 784 * 128)

    actual = cells(shown(records)["Ceilings"], "torch-eager")

    assert f"{achieved / 1e9:.1f} (n = 1)" == actual["Achieved, GFLOP/s"]
    assert (f"{achieved / 1e11:.0%}", f"{achieved / 2.5e11:.0%}") == (
        actual["Share of own"].replace(" ", ""),
        actual["Share of the machine's"].replace(" ", ""),
    )


def test_the_bandwidth_of_memory_stands_beside_the_products() -> None:
    """20 GB/s, as the trials measured it."""
    found = shown([make_record(make_trial(block=block)) for block in range(3)])["Ceilings"]

    assert "20.0 (20.0..20.0, n = 3)" == cells(found, "torch-eager")["Memory copy, GB/s"]


@pytest.mark.parametrize(
    ("rate", "machine", "expected"),
    [
        (1e11, EPYC, "They go through MKL 2024.2, and MKL takes its AVX2 path on AMD"),
        (1e11, make_machine(fingerprint="epyc", cpu_model="Intel Xeon"), "100 GFLOP/s beside the 250 of numpy"),
        (2e11, EPYC, ""),
    ],
    ids=["MKL on AMD", "elsewhere", "no finding"],
)
def test_a_slow_ceiling_is_told_with_its_figures_and_mkls_path_where_it_is_that(
    rate: float, machine: object, expected: str
) -> None:
    """Named from measured numbers, or in neutral words, or not at all."""
    mkl = {"torch": "2.13.0", "mkl": "2024.2", "cpu_capability": "AVX512"}
    records = [
        make_record(make_trial(packages=mkl, flops_per_second=rate, machine=machine)),  # type: ignore[arg-type]
        make_record(make_trial("numpy", packages={}, flops_per_second=2.5e11, machine=machine)),  # type: ignore[arg-type]
    ]

    actual = shown(records)["Ceilings"].remarks

    assert len(actual) == bool(expected)
    assert all(expected in remark and "40 %" in remark for remark in actual)
    assert ("MKL" in "".join(actual)) == ("MKL" in expected)


def test_a_step_is_told_in_parts_and_an_unknown_gather_with_its_reason() -> None:
    """Never as 0."""
    records = [make_record(make_trial()), make_record(make_trial("numpy", gather_seconds=None))]

    found = shown(records)["Where a step's time goes"]

    assert cells(found, "torch-eager")["Gather, µs"].startswith("10.0 (")
    assert cells(found, "numpy")["Gather, µs"] == "not measured (no gather)"


def test_a_compiled_entry_is_held_against_what_its_framework_begins_with() -> None:
    """10 s dearer, 0.5 s an epoch faster; others of the framework's first mode have no break-even."""
    records = []
    for block in range(3):
        records.append(make_record(make_trial("torch-eager", block, seconds=1.0)))
        slow = make_trial("torch-compile", block, seconds=0.5, import_seconds=12.5 + 0.01 * block)
        records.append(make_record(slow))
        records.append(make_record(make_trial("torch-loader", block, seconds=3.0)))
        records.append(make_record(make_trial("jax-jit", block, seconds=0.1)))
    steps = make_task().steps_per_epoch - 1

    found = shown(records)["Cold start"]

    assert cells(found, "torch-compile")["Break-even [95%]"].startswith(f"after {(10.01) * 2 * steps:,.0f} steps [")
    assert cells(found, "torch-compile")["Break-even [95%]"].endswith("epochs), against torch-eager")
    assert ["", "", ""] == [
        cells(found, name)["Break-even [95%]"] for name in ("torch-eager", "torch-loader", "jax-jit")
    ]


def test_memory_of_a_card_has_columns_only_where_there_is_one() -> None:
    """And its reason where the framework cannot tell."""
    trial = make_trial(device="cuda")
    assert trial.measurements is not None
    allocated = Figure(value=512.0 * MIB)
    memory = trial.measurements.memory.model_copy(update={"device_peak_allocated_bytes": allocated})
    trial = trial.model_copy(update={"measurements": trial.measurements.model_copy(update={"memory": memory})})

    on_card, on_host = shown([make_record(trial)])["Memory"], shown([make_record(make_trial())])["Memory"]

    assert "512 MiB" == cells(on_card, "torch-eager")["CUDA allocated"]
    assert "CUDA allocated" not in on_host.heads
    assert "300 MiB" == cells(on_host, "torch-eager")["Anonymous, peak"]


def test_energy_that_nobody_could_read_is_a_reason_and_no_table() -> None:
    """Where it was read it is a table."""
    trial = make_trial()
    assert trial.measurements is not None
    epochs = [
        epoch.model_copy(update={"surroundings": epoch.surroundings.model_copy(update={"energy_joules": 10.0})})
        for epoch in trial.measurements.epochs
        if epoch.surroundings is not None
    ]
    read = trial.model_copy(update={"measurements": trial.measurements.model_copy(update={"epochs": epochs})})

    without, with_it = shown([make_record(trial)])["Energy"], shown([make_record(read)])["Energy"]

    assert ("not measured: no RAPL here", ()) == (without.note, without.rows)
    assert cells(with_it, "torch-eager")["Microjoules a sample"] == "167"


def test_a_card_tells_what_throttled_it() -> None:
    """With the share of the samples, and why a figure is missing."""
    card = Gpu(
        uuid="GPU-0",
        name="Example GPU",
        driver=None,
        mig=None,
        at_seconds=[0.1, 0.2],
        busy_percent=[90.0, 100.0],
        memory_used_bytes=[None, None],
        power_watts=[300.0, 310.0],
        sm_clock_megahertz=[1980.0, 1980.0],
        memory_clock_megahertz=[None, None],
        temperature_celsius=[40.0, 44.0],
        throttle_reasons=[["hw-slowdown"], []],
        gpm={},
        energy_joules=None,
        window_seconds=3.0,
        foreign_processes=[4242],
        reasons={"memory_used_bytes": "not supported"},
    )
    trial = make_trial(device="cuda").model_copy(update={"gpu": card})

    found = shown([make_record(trial)])["Card"]

    row = cells(found, "torch-eager")
    assert ("95.0 %", "305 W", "44.0 °C", "not measured", "hw-slowdown (50 %)") == (
        row["Busy"],
        row["Power"],
        row["Hottest"],
        row["Memory used"],
        row["Throttled"],
    )
    assert (
        "torch-eager: other processes on the card in 1 trials",
        "torch-eager: memory_used_bytes: not supported",
    ) == found.remarks


def test_what_a_compiled_entry_must_make_up_for_took_turns_with_it() -> None:
    """PyTorch's plain entry, not one whose name comes before, in the run that has both where a newer one does not."""
    old = [make_record(make_trial(e, b)) for e in ("torch-by-hand", "torch-eager", "torch-compile") for b in range(2)]
    new = [
        make_record(make_trial("torch-eager", block, run="run-1", started_utc=f"2026-01-03T03:0{block}:00Z"))
        for block in range(3)
    ]
    [section] = tables.sections([*old, *new])
    cold = {one["entry"]: one for one in details.figures(section)["cold_starts"]}
    paid = cold["torch-compile"]["break_even"]

    assert (None, None) == (cold["torch-eager"]["break_even"], cold["torch-by-hand"]["break_even"])
    assert ("torch-eager", 2, "run-0") == (paid["against"]["entry"], paid["blocks"], paid["run"])
    found = details.cold_starts(section)
    assert found is not None
    [text] = [row[-1] for row in found.rows if row[0] == "torch-compile"]
    assert text.endswith("(run run-0)")


def test_the_json_holds_them_unrounded() -> None:
    """Valid JSON without NaN, with the case's name in each."""
    records = [
        make_record(make_trial(entry, block)) for entry in ("torch-eager", "torch-compile") for block in range(2)
    ]

    [section] = json.loads(tables.to_json(records))["sections"]

    assert ["torch-eager", "torch-compile"] == [one["entry"] for one in section["ceilings"]]
    assert section["cold_starts"][1]["break_even"]["against"]["entry"] == "torch-eager"
    assert section["memory_energy_and_cards"][0]["energy_reason"] == "no RAPL here"
