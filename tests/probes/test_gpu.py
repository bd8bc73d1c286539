"""A card is read through the real pynvml from a stand-in for NVIDIA's library, in real processes; never published."""

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pynvml
import pytest

from bench import store
from bench.errors import InputError
from bench.probes import gpu
from bench.probes.gpu import Identity, Sample, clock_events, cut, summary, throttled
from bench.record import Gpu, Machine, Suite
from tests.command import ROOT
from tests.make import make_certificate, make_machine, make_trial
from tests.probes import stub
from tests.probes.stub import CARDS, SLICES

GIB = 1 << 30
SERIES = (
    "busy_percent",
    "memory_used_bytes",
    "power_watts",
    "sm_clock_megahertz",
    "memory_clock_megahertz",
    "temperature_celsius",
    "throttle_reasons",
)
GPM = ("sm_busy_percent", "sm_occupancy_percent", "any_tensor_percent", "dram_percent", "fp32_percent")
CODES = sorted(
    value for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_") and isinstance(value, int)
)
# What NVML calls it -> the figures that are null without it.
FUNCTIONS = {
    "nvmlDeviceGetUtilizationRates": {"busy_percent"},
    "nvmlDeviceGetMemoryInfo": {"memory_used_bytes"},
    "nvmlDeviceGetPowerUsage": {"power_watts"},
    "nvmlDeviceGetClockInfo": {"sm_clock_megahertz", "memory_clock_megahertz"},
    "nvmlDeviceGetTemperatureV": {"temperature_celsius"},
    "nvmlDeviceGetCurrentClocksEventReasons": {"throttle_reasons"},
    "nvmlDeviceGetComputeRunningProcesses_v3": {"foreign_processes"},
    "nvmlGpmQueryDeviceSupport": {"gpm"},
    "nvmlGpmSampleAlloc": set(GPM),
    "nvmlGpmSampleGet": set(GPM),
    "nvmlDeviceGetName": {"name"},
    "nvmlDeviceGetMigMode": {"mig"},
    "nvmlSystemGetDriverVersion": {"driver"},
}

Run = Callable[..., Any]


@pytest.fixture(scope="session")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a script with the stub in the place of NVML."""
    folder = stub.build(tmp_path_factory.mktemp("nvml"))

    def run(code: str, **how: Any) -> Any:
        return stub.run(folder, code, **how)

    return run


def nulls(found: dict[str, Any]) -> set[str]:
    """The names of the figures that no sample has."""
    series = {name: found[name] for name in SERIES} | found["gpm"]
    scalars = {"energy_joules", "foreign_processes", "mig", "driver"}
    return {name for name, readings in series.items() if all(value is None for value in readings)} | {
        name for name in scalars if found[name] is None
    }


# ---- which cards there are


def test_cards_are_listed_with_their_uuids(nvml: Run) -> None:
    """Name and UUID of each, and the driver, which is called what it is."""
    (cards, reason), driver = nvml("tell([gpu.list_gpus(), gpu.driver()])")

    assert [f"Stub Accelerator ({CARDS[0]})", f"Stub Accelerator Two ({CARDS[1]})"] == cards
    assert (None, ["stub", None]) == (reason, driver)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"scenario": "no-cards"}, "NVML lists no card"),
        ({"fail": "nvmlInitWithFlags=9"}, "NVML says: Driver Not Loaded"),
        ({"fail": "nvmlDeviceGetCount_v2=999"}, "NVML says: Unknown Error"),
        ({"fail": "nvmlDeviceGetHandleByIndex_v2=4"}, "NVML says: Insufficient Permissions"),
        ({"fail": "nvmlDeviceGetUUID=15"}, "NVML says: GPU is lost"),
    ],
)
def test_no_card_comes_with_the_reason(nvml: Run, how: dict[str, str], reason: str) -> None:
    """Whichever call fails; what was started is ended."""
    assert [[], reason] == nvml("tell(gpu.list_gpus())", **how)


@pytest.mark.parametrize("code", CODES)
def test_a_driver_that_does_not_tell_its_version_is_null_with_the_reason(code: int, versions: dict[str, Any]) -> None:
    """Every code of NVML."""
    version, reason = versions[str(code)]

    assert version is None
    assert reason.startswith("NVML says: ")


@pytest.fixture(scope="module")
def versions(nvml: Run) -> dict[str, Any]:
    """driver() under every code, in one process: the stub reads its orders anew at each call."""
    return nvml(
        f"found = {{}}\nfor code in {CODES}:\n"
        "    os.environ['NVML_STUB_FAIL'] = f'nvmlSystemGetDriverVersion={code}'\n"
        "    found[code] = gpu.driver()\n"
        "tell(found)"
    )


def test_an_end_that_fails_spoils_nothing(nvml: Run) -> None:
    """nvmlShutdown in the way out must not take the answer with it."""
    cards, driver = nvml("tell([gpu.list_gpus(), gpu.driver()])", fail="nvmlShutdown=999", pairs=False)

    assert (2, "stub") == (len(cards[0]), driver[0])


# ---- which one is taken


@pytest.fixture(scope="module")
def choices(nvml: Run) -> Run:
    """What choose() says to each wish under a scenario, in one process a scenario."""
    wishes = [None, "0", "1", "2", "-1", "³", "", "GPU-57ab", "GPU-57ab1", "GPU-ffff", "mig-57ab3"]
    wishes += [*CARDS, CARDS[1].upper(), *SLICES]

    @cache
    def under(scenario: str) -> dict[str | None, Any]:
        return dict(zip(wishes, nvml(f"tell([chosen(wish) for wish in {wishes}])", scenario=scenario), strict=True))

    return under


@pytest.mark.parametrize(
    ("wanted", "uuid"),
    [
        (None, CARDS[0]),
        ("0", CARDS[0]),
        ("1", CARDS[1]),
        (CARDS[1], CARDS[1]),
        (CARDS[1].upper(), CARDS[1]),
        ("GPU-57ab1", CARDS[1]),
    ],
)
def test_a_card_is_chosen_by_uuid_by_its_beginning_or_by_index(choices: Run, wanted: str | None, uuid: str) -> None:
    """None takes the first."""
    assert uuid == choices("two-cards")[wanted][0]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("2", "--gpu 2: no such card; name a UUID or an index; there are 0: Stub Accelerator ("),
        ("GPU-ffff", "--gpu GPU-ffff: no such card"),
        ("-1", "--gpu -1: no such card"),
        ("³", "--gpu ³: no such card"),
        ("GPU-57ab", "--gpu GPU-57ab: begins several UUIDs; name one in full; there are 0: "),
        ("", "--gpu : begins several UUIDs"),
        (SLICES[0], f"--gpu {SLICES[0]}: no such card"),  # of a card that is not in MIG mode
    ],
)
def test_another_card_is_refused_with_those_there_are(choices: Run, wanted: str, message: str) -> None:
    """One line: place, cause, remedy."""
    said = choices("two-cards")[wanted]

    assert said.startswith(message)
    assert all(uuid in said for uuid in CARDS)


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ({"scenario": "no-cards"}, "NVML lists no card"),
        ({"fail": "nvmlInitWithFlags=12"}, "NVML says: NVML Shared Library Not Found; install NVIDIA's driver"),
        ({"fail": "nvmlDeviceGetHandleByIndex_v2=4"}, "0: NVML says: Insufficient Permissions; 1: NVML says"),
    ],
)
def test_without_a_card_the_request_is_refused(nvml: Run, how: dict[str, str], cause: str) -> None:
    """Never a card that is not there."""
    assert nvml("tell(chosen(None))", **how).startswith(f"--device cuda: no card: {cause}")


def test_a_card_without_permission_is_passed_over_and_refused_by_name(choices: Run) -> None:
    """Its neighbour keeps its index."""
    found = choices("no-permission")

    assert (CARDS[1], CARDS[1]) == (found[None][0], found["1"][0])
    assert found["0"].startswith("--gpu 0: that card cannot be used: NVML says: Insufficient Permissions; name another")


def test_a_mig_device_is_chosen_by_its_own_uuid(choices: Run) -> None:
    """Also where the slot before it is empty."""
    found = choices("mig")

    assert [*SLICES, SLICES[1]] == [found[wish][0] for wish in (*SLICES, "mig-57ab3")]


@pytest.mark.parametrize("wanted", [None, "0", CARDS[0]])
def test_a_card_in_mig_mode_is_refused(choices: Run, wanted: str | None) -> None:
    """CUDA would take its first MIG device in silence."""
    said = choices("mig")[wanted]

    assert "that card is in MIG mode; name one of its MIG devices by UUID" in said
    assert all(uuid in said for uuid in SLICES)


def test_a_card_in_mig_mode_without_a_mig_device_has_another_remedy(choices: Run) -> None:
    """The card beside it can be had."""
    found = choices("mig-empty")

    assert "make a MIG device with `nvidia-smi mig`" in found["0"]
    assert CARDS[1] == found["1"][0]


# ---- what a card did


@pytest.fixture(scope="module")
def second_card(nvml: Run) -> dict[str, Any]:
    """Card 1 over a window that is long enough for all figures."""
    return nvml(f"tell(sampled({CARDS[1]!r}, 5.2, interval=0.1))")


def test_every_figure_is_read_in_its_unit(second_card: dict[str, Any]) -> None:
    """Milliwatts become watts; the chosen card is read, not the first; nothing is null."""
    found = Gpu.model_validate(second_card)
    series = summary(found)

    assert (CARDS[1], "Stub Accelerator Two", "stub", False) == (found.uuid, found.name, found.driver, found.mig)
    assert 200 <= series["power_watts"].minimum < series["power_watts"].maximum < 320
    assert series["power_watts"].maximum - series["power_watts"].minimum == pytest.approx(20 * 5.1, rel=0.2)
    assert (5 * GIB, 2619) == (series["memory_used_bytes"].mean, series["memory_clock_megahertz"].minimum)
    assert 50 <= series["busy_percent"].minimum <= series["busy_percent"].maximum < 100
    assert 1500 <= series["sm_clock_megahertz"].minimum < series["sm_clock_megahertz"].maximum < 1900
    assert 40 <= series["temperature_celsius"].minimum < series["temperature_celsius"].maximum < 60
    assert all(names == ["sw_power_cap"] for names in found.throttle_reasons)
    assert [] == found.foreign_processes
    assert set(GPM) == set(found.reasons)


def test_samples_stand_in_the_window_and_in_step(second_card: dict[str, Any]) -> None:
    """One reading a sample; times since the window's start."""
    at = second_card["at_seconds"]
    lengths = {len(second_card[name]) for name in SERIES} | {len(values) for values in second_card["gpm"].values()}

    assert {len(at)} == lengths
    assert 0 <= at[0] < 0.5
    assert at == sorted(at)
    assert second_card["window_seconds"] == pytest.approx(5.2, abs=0.5)
    assert 20 <= len(at) <= 60


def test_gpm_metrics_span_a_second_inside_the_window(second_card: dict[str, Any]) -> None:
    """By NVML's numbers 2, 3, 5, 10, 12, which the stub multiplies; the first second has none, and says so."""
    ends = [0 if at < 1 else None for at in second_card["at_seconds"]]

    for name, number in zip(GPM, (2, 3, 5, 10, 12), strict=True):
        readings = second_card["gpm"][name]
        assert {None, number * 5 + 1} == set(readings)
        assert all(value is None for value, early in zip(readings, ends, strict=True) if early == 0)
        assert sum(value is not None for value in readings) >= 15
        assert "a GPM metric needs 1 s inside one window" in second_card["reasons"][name]


def test_energy_is_the_difference_of_the_counter(second_card: dict[str, Any]) -> None:
    """Millijoules become joules: the integral of the power that the stub draws, to a step of its counter."""
    power = second_card["power_watts"]
    mean = (power[0] + power[-1]) / 2

    assert second_card["energy_joules"] == pytest.approx(mean * second_card["window_seconds"], rel=0.03)


def test_a_short_window_has_no_energy(nvml: Run) -> None:
    """The counter's step would be a good part of it."""
    found = nvml(f"tell(sampled({CARDS[0]!r}, 0.3))")

    assert found["energy_joules"] is None
    assert found["reasons"]["energy_joules"].startswith("the windows are 0.")


def test_without_a_counter_energy_is_the_integral_of_power_and_says_so(nvml: Run) -> None:
    """An older card: neither counter nor GPM metrics."""
    found = nvml(f"gpu._ENERGY_LEAST_SECONDS = 0.5\ntell(sampled({CARDS[0]!r}, 0.8, interval=0.05))", scenario="old")
    power = found["power_watts"]

    assert found["energy_joules"] == pytest.approx((power[0] + power[-1]) / 2 * found["window_seconds"], rel=0.03)
    assert "NVML says: Not Supported" == found["reasons"]["energy_counter"]
    assert ({}, "the card has no GPM metrics; Hopper and newer have") == (found["gpm"], found["reasons"]["gpm"])


def test_a_mig_device_has_the_chips_clocks_and_none_of_its_power(nvml: Run) -> None:
    """Memory and processes are its own; utilisation is not told; GPM metrics are of its GPU instance."""
    found = nvml(f"tell(sampled({SLICES[1]!r}, 1.4))", scenario="mig")
    whole = "NVML counts the whole card, other MIG devices among it"

    assert {"busy_percent", "power_watts", "energy_joules"} == nulls(found)
    assert ("NVML says: Not Supported", whole) == (found["reasons"]["busy_percent"], found["reasons"]["power_watts"])
    assert (True, {GIB}, {2619}) == (
        found["mig"],
        set(found["memory_used_bytes"]),
        set(found["memory_clock_megahertz"]),
    )
    assert {None, 2 * 5 + 4} == set(found["gpm"]["sm_busy_percent"])
    assert [] == found["foreign_processes"]


def test_a_mig_device_whose_card_cannot_be_had_keeps_what_is_its_own(nvml: Run) -> None:
    """The chip's figures are null, with why."""
    fail = "nvmlDeviceGetDeviceHandleFromMigDeviceHandle=4"
    found = nvml(f"tell(sampled({SLICES[0]!r}, 0.2))", scenario="mig", fail=fail)

    assert {GIB} == set(found["memory_used_bytes"])
    assert "NVML says: Insufficient Permissions" == found["reasons"]["temperature_celsius"] == found["reasons"]["gpm"]


# ---- what fails


@pytest.fixture(scope="module")
def failing(nvml: Run) -> dict[str, Any]:
    """A sampling for every code of every reading, and for every function, in one process."""
    orders = [f"readings={code}" for code in CODES] + [f"nvmlDeviceGetHandleByUUID={code}" for code in CODES]
    orders += [f"nvmlInitWithFlags={code}" for code in CODES] + [f"{function}=4" for function in FUNCTIONS]
    return nvml(
        f"found = {{}}\nfor order in {orders}:\n"
        "    os.environ['NVML_STUB_FAIL'] = order\n"
        "    seconds = 0 if order.startswith(('nvmlInit', 'nvmlDeviceGetHandle')) else 0.1\n"
        f"    found[order] = sampled({CARDS[0]!r}, seconds, before=0, after=0)\n"
        "tell(found)"
    )


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_every_reading_is_null_with_the_reason(failing: dict[str, Any], code: int) -> None:
    """No crash, no 0, and the samples keep their times."""
    found = failing[f"readings={code}"]

    assert {*SERIES, *GPM, "energy_joules", "foreign_processes"} == nulls(found)
    assert len(found["at_seconds"]) >= 2
    for name in (*SERIES, *GPM, "foreign_processes"):
        assert found["reasons"][name].startswith("NVML says: ")
    assert found["reasons"]["energy_joules"]


@pytest.mark.parametrize("call", ["nvmlInitWithFlags", "nvmlDeviceGetHandleByUUID"])
@pytest.mark.parametrize("code", CODES)
def test_a_card_that_cannot_be_opened_is_null_with_the_reason(failing: dict[str, Any], call: str, code: int) -> None:
    """No sample at all; each figure says why."""
    found = failing[f"{call}={code}"]

    assert ([], {}, None, None) == (found["at_seconds"], found["gpm"], found["driver"], found["mig"])
    for name in (*SERIES, "gpm", "energy_joules", "foreign_processes", "name", "driver", "mig"):
        assert found["reasons"][name].startswith("NVML says: ")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_one_failing_function_takes_its_own_figures_alone(failing: dict[str, Any], function: str) -> None:
    """The others stay; 0.1 s are too few for energy and GPM metrics anyway."""
    found, lost = failing[f"{function}=4"], FUNCTIONS[function]

    assert (nulls(found) | {"name", "gpm"}) >= lost
    assert nulls(found) - lost <= {"energy_joules", *GPM}
    assert {"NVML says: Insufficient Permissions"} == {found["reasons"][name] for name in lost}


def test_a_card_lost_in_mid_run_is_null_from_there_on(nvml: Run) -> None:
    """The stub's falls off 0.6 s after the start; what was read before stays."""
    found = nvml(f"gpu._ENERGY_LEAST_SECONDS = 0.5\ntell(sampled({CARDS[0]!r}, 1.0))", scenario="lost")
    power = found["power_watts"]
    first = power.index(None)

    assert first >= 2
    assert {None} == set(power[first:])
    assert 0.3 < found["at_seconds"][first] < 0.7
    assert found["reasons"]["power_watts"] == (
        f"NVML says: GPU is lost (from {found['at_seconds'][first]:.2f} s on, {len(power) - first} of {len(power)}"
        " samples)"
    )
    assert found["energy_joules"] is None
    assert "NVML says: GPU is lost" in found["reasons"]["energy_joules"]


def test_a_reading_that_failed_once_is_null_once(nvml: Run) -> None:
    """Two samples of some thirty; energy bridges the gap of its counter."""
    fail = "nvmlDeviceGetPowerUsage=10@14-15,nvmlDeviceGetTotalEnergyConsumption=10@16-16"
    found = nvml(f"gpu._ENERGY_LEAST_SECONDS = 0.5\ntell(sampled({CARDS[0]!r}, 0.6))", fail=fail)

    assert 2 == found["power_watts"].count(None)
    assert "NVML says: Timeout (first at " in found["reasons"]["power_watts"]
    assert 0 == sum(found[name].count(None) for name in SERIES if name != "power_watts")
    assert found["energy_joules"] == pytest.approx(107 * found["window_seconds"], rel=0.2)


def test_a_gpm_metric_with_a_return_of_its_own_is_null_alone(nvml: Run) -> None:
    """Each metric says for itself whether it could be had, and NaN is no number."""
    one = nvml(f"tell(sampled({CARDS[0]!r}, 1.3))", fail="metric5=3")
    nan = nvml(f"tell(sampled({CARDS[0]!r}, 1.3))", scenario="unavailable")

    assert ({None}, {None, 10}) == (set(one["gpm"]["any_tensor_percent"]), set(one["gpm"]["sm_busy_percent"]))
    assert "NVML says: Not Supported" in one["reasons"]["any_tensor_percent"]
    assert ({None}, {None, 50}) == (set(nan["gpm"]["fp32_percent"]), set(nan["gpm"]["dram_percent"]))
    assert "NVML says: nan" in nan["reasons"]["fp32_percent"]


def test_what_nvml_calls_not_available_is_no_number(nvml: Run) -> None:
    """It returns success and all bits set: 4 294 967 W, 16 EiB."""
    found = nvml(f"tell(sampled({CARDS[0]!r}, 0.2))", scenario="unavailable")

    assert {"power_watts", "memory_used_bytes"} <= nulls(found)
    assert "NVML says: not available" == found["reasons"]["power_watts"] == found["reasons"]["memory_used_bytes"]


def test_an_older_driver_tells_the_temperature_by_its_older_function(nvml: Run) -> None:
    """Only where it has not the new one."""
    found = nvml(f"tell(sampled({CARDS[0]!r}, 0.1))", fail="nvmlDeviceGetTemperatureV=13")

    assert {33} == set(found["temperature_celsius"])


def test_a_call_that_never_returns_does_not_hold_the_run(nvml: Run) -> None:
    """The samples end there, and the record says so."""
    found, seconds = nvml(
        "gpu._PATIENCE_SECONDS = 0.3\nbegan = time.monotonic()\n"
        f"found = sampled({CARDS[0]!r}, 1.0)\ntell([found, time.monotonic() - began])",
        scenario="hang",
        pairs=False,
    )

    assert seconds < 10
    assert 0 < found["at_seconds"][-1] < 0.8
    assert "NVML did not answer for 0.3 s; there are no samples from then on" == found["reasons"]["at_seconds"]


# ---- who else is on the card


def test_a_foreign_process_is_named_and_the_worker_is_not(nvml: Run) -> None:
    """The worker is the process that uses the stub, the stranger its parent."""
    found, parent = nvml(f"tell([sampled({CARDS[0]!r}, 0.1), os.getppid()])", scenario="foreign")

    assert [parent] == found["foreign_processes"]


def test_the_workers_children_are_its_own(nvml: Run) -> None:
    """They share the session that the worker leads."""
    found = nvml(f"tell(sampled({CARDS[0]!r}, 0.1, pids=[os.getsid(0)]))", scenario="foreign")

    assert [] == found["foreign_processes"]


def test_a_child_of_the_worker_that_ended_stays_its_own() -> None:
    """NVML names it once more when it is gone already."""
    found = cut(CARD, [make_sample(1.0, processes={7: 5}), make_sample(2.0, processes={7: None})], [(0, 3)], [5])

    assert [] == found.foreign_processes


def test_a_process_whose_session_is_led_from_outside_a_container_exists() -> None:
    """The kernel numbers such a session 0."""
    assert [7] == cut(CARD, [make_sample(1.0, processes={7: 0})], [(0, 3)], [5]).foreign_processes


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("container", "NVML names 1 process(es), none of which exists here: it counts as the host does"),
        ("hidden", "NVML names no process, not even the worker: it hides them, as in a container"),
    ],
)
def test_processes_under_the_hosts_numbers_are_null_with_the_reason(nvml: Run, scenario: str, reason: str) -> None:
    """Neither the worker under another number nor an empty list is an all-clear."""
    found = nvml(f"tell(sampled({CARDS[0]!r}, 0.1))", scenario=scenario)

    assert (None, reason) == (found["foreign_processes"], found["reasons"]["foreign_processes"])


# ---- throttling


def test_a_throttled_trial_is_marked_with_shares(nvml: Run) -> None:
    """From 0.6 s on the stub's card is too hot; its power cap is in the record and no mark."""
    found = Gpu.model_validate(nvml(f"tell(sampled({CARDS[0]!r}, 1.2))", scenario="throttled"))
    marks = throttled(found)

    assert ["sw_power_cap"] == found.throttle_reasons[0]
    assert ["sw_power_cap", "hw_slowdown", "hw_thermal_slowdown"] == found.throttle_reasons[-1]
    assert ["hw_slowdown", "hw_thermal_slowdown"] == [mark.split(" in ")[0] for mark in marks]
    assert all(20 < float(mark.split(" in ")[1].split("%")[0]) < 80 for mark in marks)


def test_a_power_cap_alone_is_no_mark(second_card: dict[str, Any]) -> None:
    """It is what a full load looks like."""
    assert [] == throttled(Gpu.model_validate(second_card))


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (0, []),
        (0x1, ["gpu_idle"]),
        (0x28, ["hw_slowdown", "sw_thermal_slowdown"]),
        (0xC0, ["hw_thermal_slowdown", "hw_power_brake_slowdown"]),
        (0x8000000000000100, ["display_clock_setting", "0x8000000000000000"]),
    ],
)
def test_bits_become_names(bits: int, names: list[str]) -> None:
    """Those of nvml.h; an unknown one stays a number."""
    assert names == clock_events(bits)


# ---- samples -> Gpu, without NVML


def make_sample(at: float, **changes: Any) -> Sample:
    """A sample of a card that draws 100 W from the time 0 on."""
    values = {"power_watts": 100.0, "energy_counter": 100_000.0 * at}
    return Sample(
        **{
            "at": at,
            "values": values,
            "throttle_reasons": [],
            "gpm_since": None,
            "processes": {},
            "reasons": {},
            **changes,
        }
    )


CARD = Identity(uuid="GPU-1", name="a card", driver="580.95.05", mig=False, reasons={})


def every(seconds: float, until: float, **changes: Any) -> list[Sample]:
    """Samples at a fixed rate from 0 on."""
    return [make_sample(index * seconds, **changes) for index in range(math.floor(until / seconds) + 1)]


def test_what_lies_between_windows_is_left_out() -> None:
    """Times go on from the start of the first window."""
    found = cut(CARD, every(0.5, 20), [(10, 11.1), (14, 15)], [])

    assert [0, 0.5, 1, 4, 4.5, 5] == found.at_seconds
    assert found.window_seconds == pytest.approx(2.1)


def test_energy_is_summed_over_windows_and_interpolated_at_their_edges() -> None:
    """Edges between samples; nothing of what lies between the windows."""
    found = cut(CARD, every(0.3, 20), [(1.1, 4.2), (10.4, 13.3)], [])

    assert found.energy_joules == pytest.approx(100 * 6)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (every(0.3, 4.5), "the energy counter could not be read all along the window from 0.00 s on"),
        (every(1.5, 20), "the energy counter could not be read all along"),
        (every(0.3, 20, values={}, reasons={"power_watts": "NVML says: No"}), "from 0.00 s on: NVML says: No"),
        ([*every(0.3, 5), make_sample(5.1, values={"energy_counter": 0.0}), *every(0.3, 20)[20:]], "fell back"),
    ],
    ids=["ends too soon", "too far apart", "not even power", "loaded anew"],
)
def test_energy_that_is_not_covered_is_null_with_the_reason(samples: list[Sample], reason: str) -> None:
    """No extrapolation, and no line drawn over a hole at an edge."""
    found = cut(CARD, samples, [(0.2, 6.1)], [])

    assert found.energy_joules is None
    assert reason in found.reasons["energy_joules"]


def test_power_with_a_hole_is_not_integrated() -> None:
    """The counter bridges a hole, power does not."""
    with_hole = [one for one in every(0.5, 20) if not 3 < one.at < 5]
    power_only = [make_sample(one.at, values={"power_watts": 100.0}) for one in with_hole]

    assert cut(CARD, with_hole, [(1, 9)], []).energy_joules == pytest.approx(800)
    assert cut(CARD, power_only, [(1, 9)], []).energy_joules is None


def test_a_gpm_span_that_began_before_its_window_is_left_out() -> None:
    """It would hold what was not measured."""
    samples = [make_sample(float(at), values={"sm_busy_percent": 50.0}, gpm_since=at - 1.0) for at in range(1, 6)]
    found = cut(CARD, samples, [(1.5, 4.5)], [])

    assert [None, 50, 50] == found.gpm["sm_busy_percent"]


@pytest.mark.parametrize("windows", [[], [(100.0, 100.1)]])
def test_no_sample_in_the_windows_has_a_reason(windows: list[tuple[float, float]]) -> None:
    """A worker that crashed, or a window between two samples."""
    found = cut(CARD, every(0.5, 20), windows, [1])
    reason = "no sample fell into the measured windows"

    assert ([], None, None) == (found.at_seconds, found.energy_joules, found.foreign_processes)
    assert {reason} == {found.reasons[name] for name in (*SERIES, "gpm", "foreign_processes")}


def test_a_summary_is_of_the_readings_that_are_there() -> None:
    """Null where there is none, with the reason; never 0."""
    samples = [
        make_sample(0.0, values={"power_watts": 100.0}),
        make_sample(0.5, values={}, reasons={"power_watts": "NVML says: Timeout"}),
        make_sample(1.0, values={"power_watts": 200.0}, reasons={"busy_percent": "x"}),
    ]
    found = summary(cut(CARD, samples, [(0, 2)], []))
    power, busy = found["power_watts"], found["busy_percent"]

    assert (150, 100, 200, 2) == (power.mean, power.minimum, power.maximum, power.readings)
    assert "NVML says: Timeout (first at 0.50 s, 1 of 3 samples)" == power.reason
    assert (None, None, None, 0) == (busy.mean, busy.minimum, busy.maximum, busy.readings)


# ---- no stub value reaches results/


@pytest.fixture(scope="module")
def stub_machine(nvml: Run) -> Machine:
    """This machine, as read_machine describes it with the stub in the place of NVML."""
    code = "from bench.probes.machine import read_machine\ntell(read_machine().model_dump(mode='json'))"
    return Machine.model_validate(nvml(code))


def test_the_stub_is_told_by_its_driver(stub_machine: Machine) -> None:
    """What the refusal goes by."""
    assert ("stub", 2) == (stub_machine.gpu_driver, len(stub_machine.gpus))


def test_no_record_of_a_stub_machine_is_kept(stub_machine: Machine, tmp_path: Path) -> None:
    """Trial, certificate, kill table; no file and no folder is left."""
    folder = tmp_path / "raw" / "run"
    certificate = make_certificate().model_copy(update={"machine": stub_machine})
    suite = Suite(
        framework="torch",
        entry="torch-eager",
        kills=[],
        versions=certificate.versions,
        machine=stub_machine,
        source=certificate.source,
        limits=certificate.limits,
        created_utc=certificate.started_utc,
        worker_seconds=1.0,
    )
    with pytest.raises(InputError, match=r"block-000_.*the GPU's driver is 'stub', no number of a driver"):
        store.write_trial(folder, make_trial(machine=stub_machine))
    with pytest.raises(InputError, match=r"certificate_.*the GPU's driver is 'stub'"):
        store.write_certificate(folder, certificate)
    with pytest.raises(InputError, match=r"mutations-.*the GPU's driver is 'stub'"):
        store.write_suite(tmp_path, suite)

    assert [] == list(tmp_path.iterdir())


def test_readings_of_the_stub_are_refused_beside_an_innocent_machine(
    second_card: dict[str, Any], tmp_path: Path
) -> None:
    """The card names its driver too."""
    trial = make_trial().model_copy(update={"gpu": Gpu.model_validate(second_card)})
    with pytest.raises(InputError, match="the GPU's driver is 'stub'"):
        store.write_trial(tmp_path / "run", trial)

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("driver", ["580.95.05", "535.104", None])
def test_a_real_driver_is_kept(tmp_path: Path, driver: str | None) -> None:
    """The refusal is of the stub, not of GPUs."""
    path = store.write_trial(tmp_path, make_trial(machine=make_machine(gpu_driver=driver)))

    assert path.exists()


@pytest.mark.parametrize("driver", ["stub", "", "580", "580.95.05-stub", "580.95.05\n", "5٨0.95"])
def test_what_is_no_drivers_number_is_refused(tmp_path: Path, driver: str) -> None:
    """Digits and dots from end to end."""
    with pytest.raises(InputError, match="no number of a driver"):
        store.refuse_stub(tmp_path, driver)


def drivers(document: Any) -> list[str]:
    """Every driver of a GPU that a record names."""
    named = [document.get("machine", {}).get("gpu_driver"), (document.get("gpu") or {}).get("driver")]
    return [name for name in named if name is not None]


def test_no_published_record_names_a_stub() -> None:
    """All of results/raw."""
    records = sorted((ROOT / "results" / "raw").rglob("*.json"))
    for path in records:
        document = json.loads(path.read_text())
        if isinstance(document, dict):  # the doctor's findings are a list, and name no driver
            store.refuse_stub(path, *drivers(document))

    assert records


def test_a_published_stub_would_be_found(stub_machine: Machine, tmp_path: Path) -> None:
    """The check above can fail."""
    document = json.loads(make_trial(machine=stub_machine).to_json())
    with pytest.raises(InputError, match="the GPU's driver is 'stub'"):
        store.refuse_stub(tmp_path, *drivers(document))


def test_the_hindering_reasons_are_those_that_nvml_names() -> None:
    """Flags 0x8, 0x20, 0x40, 0x80."""
    assert list(gpu._HINDERING) == clock_events(0x8 | 0x20 | 0x40 | 0x80)
