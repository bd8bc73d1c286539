"""The NVIDIA cards of this machine, and what one of them did over the measured windows: what NVML says -> Gpu.

The parent process owns NVML (NVIDIA's management library, by nvidia-ml-py); a worker sees one card, by its UUID in
CUDA_VISIBLE_DEVICES. Every call can fail, and its failure is null with the reason, never 0 and never the end of a run.

Of a MIG device, a slice of a card, NVML tells memory and processes. Clocks, temperature and throttling are the whole
chip's and hold for each slice, so they are read from the card; power and energy are the whole chip's too, but would be
other slices' as well, so they are null.
"""

import contextlib
import os
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Any, Literal, Self

import pynvml

from bench.errors import InputError
from bench.record import Gpu

# Bits of nvmlDeviceGetCurrentClocksEventReasons, as nvml.h names them.
_CLOCK_EVENTS = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
# What marks a trial. Not sw_power_cap: the card at its power limit is what a full load looks like on most cards.
_HINDERING = ("hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")

# NVML's numbers of the GPM metrics, each a mean in percent of what is possible, over the time between two samples.
_GPM_METRICS = {
    "sm_busy_percent": pynvml.NVML_GPM_METRIC_SM_UTIL,
    "sm_occupancy_percent": pynvml.NVML_GPM_METRIC_SM_OCCUPANCY,
    "any_tensor_percent": pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL,
    "dram_percent": pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL,
    "fp32_percent": pynvml.NVML_GPM_METRIC_FP32_UTIL,
}
_GPM_SECONDS = 1.0  # between two samples: less gives figures of too few updates of the counters
_GPM_TOO_SHORT = f"a GPM metric needs {_GPM_SECONDS:g} s inside one window before it"
_ENERGY_LEAST_SECONDS = 5.0  # the counter moves every 20 to 100 ms, and power is a mean over up to 1 s
_GAP_SECONDS = 1.0  # no interpolation between readings that are further apart
_PATIENCE_SECONDS = 5.0  # for the last sample; a card that falls off its bus can block a call for ever
_NOT_AVAILABLE = (
    0xFFFFFFFF,
    0xFFFFFFFFFFFFFFFF,
)  # NVML_VALUE_NOT_AVAILABLE: 32 and 64 bits, returned as a success
_SERIES = (
    "busy_percent",
    "memory_used_bytes",
    "power_watts",
    "sm_clock_megahertz",
    "memory_clock_megahertz",
    "temperature_celsius",
)
_COUNTER = "energy_counter"  # in millijoules


class Unreadable(Exception):
    """NVML does not tell; the message says why. code: NVML's number of the error, where it gave one."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code


def _ask(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call pynvml; Unreadable is all that comes of a failure."""
    try:
        return function(*arguments)
    except pynvml.NVMLLibraryMismatchError:  # pynvml's own word for a function that the driver's library lacks
        raise Unreadable("NVML says: Function Not Found", pynvml.NVML_ERROR_FUNCTION_NOT_FOUND) from None
    except pynvml.NVMLError as error:
        raise Unreadable(f"NVML says: {error}", error.value) from None
    except UnicodeDecodeError:
        raise Unreadable("NVML says what is no text") from None


def _number(value: int) -> int:
    if value in _NOT_AVAILABLE:
        raise Unreadable("NVML says: not available")
    return value


@contextlib.contextmanager
def _nvml() -> Iterator[None]:
    """NVML, started and ended (it counts its users, so that pairs may nest). Raises Unreadable where there is none."""
    _ask(pynvml.nvmlInit)
    try:
        yield
    finally:
        with contextlib.suppress(Unreadable):  # what was read is not worse for it
            _ask(pynvml.nvmlShutdown)


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a worker can be given: a card, or a MIG device of one. uuid: as CUDA_VISIBLE_DEVICES takes it."""

    uuid: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.uuid})"


@dataclass(frozen=True, kw_only=True)
class _Slot:
    """One index of NVML: a card, or the reason why there is none. slices: its MIG devices; None: not in MIG mode."""

    index: int
    card: Card | None
    slices: list[Card] | None
    reason: str | None

    def __str__(self) -> str:
        if self.card is None:
            return f"{self.index}: {self.reason}"
        if self.slices is None:
            return f"{self.index}: {self.card}"
        return f"{self.index}: {self.card} in MIG mode with {', '.join(map(str, self.slices)) or 'no MIG device'}"


def _card(handle: Any) -> Card:
    return Card(uuid=_ask(pynvml.nvmlDeviceGetUUID, handle), name=_ask(pynvml.nvmlDeviceGetName, handle))


def _in_mig_mode(handle: Any) -> bool:
    """Whether a card is cut into MIG devices now. Raises Unreadable where NVML does not tell."""
    try:
        current, _after_reset = _ask(pynvml.nvmlDeviceGetMigMode, handle)
    except Unreadable as error:
        if error.code == pynvml.NVML_ERROR_NOT_SUPPORTED:  # so NVML answers for a card that cannot do it
            return False
        raise
    return bool(current == pynvml.NVML_DEVICE_MIG_ENABLE)


def _slices(handle: Any) -> list[Card] | None:
    """The MIG devices of a card; None where it is in one piece, or NVML does not tell."""
    try:
        if not _in_mig_mode(handle):
            return None
        most = _ask(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle)
    except Unreadable:
        return None
    found = []
    for index in range(most):
        with contextlib.suppress(Unreadable):  # Not Found: few cards have all of them made
            found.append(_card(_ask(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)))
    return found


def _slots() -> list[_Slot]:
    """Every index of NVML. Raises Unreadable where it tells nothing at all."""

    def look(index: int) -> _Slot:
        try:
            handle = _ask(pynvml.nvmlDeviceGetHandleByIndex, index)
            return _Slot(index=index, card=_card(handle), slices=_slices(handle), reason=None)
        except Unreadable as error:
            return _Slot(index=index, card=None, slices=None, reason=str(error))

    with _nvml():
        return [look(index) for index in range(_ask(pynvml.nvmlDeviceGetCount))]


def list_gpus() -> tuple[list[str], str | None]:
    """Names of the cards with their UUIDs, and the reason where there is none."""
    try:
        slots = _slots()
    except Unreadable as error:
        return [], str(error)
    cards = [str(slot.card) for slot in slots if slot.card is not None]
    return cards, None if cards else next((slot.reason for slot in slots), "NVML lists no card")


def others(first: str) -> list[str]:
    """The UUIDs of the cards beside one; those in MIG mode are left out, for CUDA would take a slice in silence."""
    try:
        slots = _slots()
    except Unreadable:
        return []
    found = [slot.card.uuid for slot in slots if slot.card is not None and slot.slices is None]
    return [uuid for uuid in found if uuid != first]


def driver() -> tuple[str | None, str | None]:
    """The version of NVIDIA's driver, such as 580.95.05, or None and the reason."""
    try:
        with _nvml():
            return str(_ask(pynvml.nvmlSystemGetDriverVersion)), None
    except Unreadable as error:
        return None, str(error)


def choose(wanted: str | None) -> Card:
    """The card to measure on: by UUID, the beginning of one, or NVML's index; None: the first that answers.

    Raises InputError, with the cards that there are, for an unknown or ambiguous one, for a card in MIG mode (CUDA
    would take its first MIG device in silence), and where there is none.
    """
    place = "--device cuda" if wanted is None else f"--gpu {wanted}"
    try:
        slots = _slots()
    except Unreadable as error:
        raise InputError(f"{place}: no card: {error}; install NVIDIA's driver, or take --device cpu") from None
    listed = "; ".join(map(str, slots)) or "NVML lists no card"
    if not any(slot.card for slot in slots):
        raise InputError(f"{place}: no card: {listed}; give this process a card, or take --device cpu")
    found: Sequence[Card | _Slot]
    if wanted is None or (wanted.isascii() and wanted.isdecimal()):
        found = [slot for slot in slots if (slot.card if wanted is None else slot.index == int(wanted))][:1]
    else:
        named: list[tuple[str, Card | _Slot]] = [(slot.card.uuid, slot) for slot in slots if slot.card]
        named += [(piece.uuid, piece) for slot in slots for piece in slot.slices or []]
        found = [one for uuid, one in named if uuid.lower().startswith(wanted.lower())]
    if not found:
        raise InputError(f"{place}: no such card; name a UUID or an index; there are {listed}")
    if len(found) > 1:
        raise InputError(f"{place}: begins several UUIDs; name one in full; there are {listed}")
    one = found[0]
    if isinstance(one, Card):
        return one
    if one.card is None:
        raise InputError(f"{place}: that card cannot be used: {one.reason}; name another; there are {listed}")
    if one.slices is not None:
        remedy = "name one of its MIG devices by UUID" if one.slices else "make a MIG device with `nvidia-smi mig`"
        raise InputError(f"{place}: that card is in MIG mode; {remedy}, or end the mode; there are {listed}")
    return one.card


# ---- one sample


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What NVML said at one moment.

    at: CLOCK_MONOTONIC, in seconds. values: the figures of Gpu by name, the GPM metrics, and the energy counter in
    millijoules; absent: see reasons. gpm_since: when the GPM metrics' span began. processes: the session of each
    process on the card; None where there is no such process here.
    """

    at: float
    values: dict[str, float]
    throttle_reasons: list[str] | None
    gpm_since: float | None
    processes: dict[int, int | None] | None
    reasons: dict[str, str]


def clock_events(bits: int) -> list[str]:
    """Names of the set bits of NVML's clock event reasons; a bit without a name is its number."""
    return [_CLOCK_EVENTS.get(1 << bit, hex(1 << bit)) for bit in range(bits.bit_length()) if bits >> bit & 1]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (OSError, OverflowError):
        return None


# Whose figure it is: the device's that was chosen; the chip's, which holds for each MIG device of it; or the sum over
# all MIG devices of the chip, which holds for none of them.
_Of = Literal["device", "chip", "sum"]
_READERS: dict[str, tuple[_Of, Callable[[Any], float]]] = {
    _COUNTER: ("sum", lambda card: _number(_ask(pynvml.nvmlDeviceGetTotalEnergyConsumption, card))),  # first: its time
    "power_watts": ("sum", lambda card: _number(_ask(pynvml.nvmlDeviceGetPowerUsage, card)) / 1000),  # from mW
    "busy_percent": ("device", lambda card: _number(_ask(pynvml.nvmlDeviceGetUtilizationRates, card).gpu)),
    "memory_used_bytes": ("device", lambda card: _number(_ask(pynvml.nvmlDeviceGetMemoryInfo, card).used)),
    "sm_clock_megahertz": (
        "chip",
        lambda card: _number(_ask(pynvml.nvmlDeviceGetClockInfo, card, pynvml.NVML_CLOCK_SM)),
    ),
    "memory_clock_megahertz": (
        "chip",
        lambda card: _number(_ask(pynvml.nvmlDeviceGetClockInfo, card, pynvml.NVML_CLOCK_MEM)),
    ),
    "temperature_celsius": ("chip", lambda card: _temperature(card)),
}


def _temperature(card: Any) -> float:
    try:
        return float(_ask(pynvml.nvmlDeviceGetTemperatureV, card, pynvml.NVML_TEMPERATURE_GPU))
    except Unreadable as error:
        if error.code != pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            raise
    # Older drivers have this one alone; later ones call it deprecated.
    return float(_number(_ask(pynvml.nvmlDeviceGetTemperature, card, pynvml.NVML_TEMPERATURE_GPU)))


class _Gpm:
    """GPM metrics of a card, or of the GPU instance of a MIG device: each reading spans the last second or more.

    Keeps the samples of the last second, for a reading at every call. Raises Unreadable before Hopper.
    """

    def __init__(self, chip: Any, instance: int | None) -> None:
        if not _ask(pynvml.nvmlGpmQueryDeviceSupport, chip).isSupportedDevice:
            raise Unreadable("the card has no GPM metrics; Hopper and newer have")
        self._chip, self._instance = chip, instance
        self._held: deque[tuple[float, Any]] = deque()
        self._free: list[Any] = []

    def read(self) -> tuple[float | None, dict[str, float], dict[str, str]]:
        """When the span began (None: it is too short yet), the metrics in percent, and reasons of those missing."""
        before = time.monotonic()
        buffer = self._free.pop() if self._free else _ask(pynvml.nvmlGpmSampleAlloc)
        try:
            if self._instance is None:
                _ask(pynvml.nvmlGpmSampleGet, self._chip, buffer)
            else:
                _ask(pynvml.nvmlGpmMigSampleGet, self._chip, self._instance, buffer)
        except Unreadable:
            self._free.append(buffer)
            raise
        self._held.append((time.monotonic(), buffer))
        while len(self._held) > 1 and self._held[1][0] <= before - _GPM_SECONDS:
            self._free.append(self._held.popleft()[1])
        since, first = self._held[0]
        if since > before - _GPM_SECONDS:
            return None, {}, {}
        request = pynvml.c_nvmlGpmMetricsGet_t()
        request.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = len(_GPM_METRICS)
        request.sample1, request.sample2 = first, buffer
        for metric, number in zip(request.metrics, _GPM_METRICS.values(), strict=False):
            metric.metricId = number
        _ask(pynvml.nvmlGpmMetricsGet, request)
        values, reasons = {}, {}
        for metric, name in zip(request.metrics, _GPM_METRICS, strict=False):
            if metric.nvmlReturn != pynvml.NVML_SUCCESS:  # each metric has a return of its own
                reasons[name] = f"NVML says: {pynvml.NVMLError(metric.nvmlReturn)}"
            elif not 0 <= metric.value < float("inf"):  # NaN too: no cycles were counted
                reasons[name] = f"NVML says: {metric.value}"
            else:
                values[name] = float(metric.value)
        return since, values, reasons

    def close(self) -> None:
        """Give the samples back."""
        for buffer in [*self._free, *(buffer for _, buffer in self._held)]:
            with contextlib.suppress(Unreadable):
                _ask(pynvml.nvmlGpmSampleFree, buffer)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a card is; reasons: why one of these is not known, or why no sample could be taken."""

    uuid: str
    name: str = "unknown"
    driver: str | None = None
    mig: bool | None = None
    reasons: dict[str, str]


def _unopened(uuid: str, reason: str) -> Identity:
    return Identity(uuid=uuid, reasons=dict.fromkeys(("at_seconds", "name", "driver", "mig"), reason))


class _Eye:
    """One card, open for reading while NVML is. Raises Unreadable where it is not to be had."""

    def __init__(self, uuid: str) -> None:
        self._device = _ask(pynvml.nvmlDeviceGetHandleByUUID, uuid)
        self._is_slice = uuid.upper().startswith("MIG-")
        self._chip: Any = self._device
        self._no_chip: str | None = None
        instance = None
        reasons: dict[str, str] = {}

        def fact(name: str, read: Callable[[], Any]) -> Any:
            try:
                return read()
            except Unreadable as error:
                reasons[name] = str(error)
                return None

        if self._is_slice:
            try:
                self._chip = _ask(pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, self._device)
                instance = _ask(pynvml.nvmlDeviceGetGpuInstanceId, self._device)
            except Unreadable as error:
                self._no_chip = str(error)
        self.identity = Identity(
            uuid=uuid,
            name=fact("name", lambda: _ask(pynvml.nvmlDeviceGetName, self._device)) or "unknown",
            driver=fact("driver", lambda: _ask(pynvml.nvmlSystemGetDriverVersion)),
            mig=True if self._is_slice else fact("mig", lambda: _in_mig_mode(self._device)),
            reasons=reasons,
        )
        self._gpm = None if self._no_chip else fact("gpm", lambda: _Gpm(self._chip, instance))
        if self._no_chip:
            reasons["gpm"] = self._no_chip

    def _handle(self, of: _Of) -> Any:
        if of == "sum" and self._is_slice:
            raise Unreadable("NVML counts the whole card, other MIG devices among it")
        if of != "device" and self._no_chip:
            raise Unreadable(self._no_chip)
        return self._device if of == "device" else self._chip

    def look(self) -> Sample:
        """One sample. Never raises Unreadable."""
        at, values, reasons = time.monotonic(), {}, {}
        for name, (of, read) in _READERS.items():
            try:
                values[name] = float(read(self._handle(of)))
            except Unreadable as error:
                reasons[name] = str(error)
        throttle_reasons = processes = since = None
        try:
            bits = _ask(pynvml.nvmlDeviceGetCurrentClocksEventReasons, self._handle("chip"))
            throttle_reasons = clock_events(bits)
        except Unreadable as error:
            reasons["throttle_reasons"] = str(error)
        try:
            found = _ask(pynvml.nvmlDeviceGetComputeRunningProcesses, self._device)
            processes = {int(process.pid): _session(process.pid) for process in found}
        except Unreadable as error:
            reasons["foreign_processes"] = str(error)
        if self._gpm is not None:
            try:
                since, metrics, missing = self._gpm.read()
                values |= metrics
                reasons |= missing
            except Unreadable as error:
                reasons |= dict.fromkeys(_GPM_METRICS, str(error))
        return Sample(
            at=at,
            values=values,
            throttle_reasons=throttle_reasons,
            gpm_since=since,
            processes=processes,
            reasons=reasons,
        )

    def close(self) -> None:
        """Give back what NVML lent."""
        if self._gpm is not None:
            self._gpm.close()


class Sampler:
    """Samples one card from __enter__ to __exit__, in a thread of its own: for the parent of a worker, not for one.

    The thread has the affinity of who enters; enter outside of what pins a worker. Whatever NVML does, neither raises:
    what could not be read is null in `series`, with the reason.
    """

    def __init__(self, uuid: str, interval_seconds: float = 0.1) -> None:
        self._uuid, self._interval_seconds = uuid, interval_seconds
        self._identity = _unopened(uuid, "the sampler was not started")
        self._samples: list[Sample] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lent = contextlib.ExitStack()
        self._silent: str | None = None

    def __enter__(self) -> Self:
        try:
            with contextlib.ExitStack() as lent:
                lent.enter_context(_nvml())
                eye = _Eye(self._uuid)
                lent.callback(eye.close)
                self._lent = lent.pop_all()
        except Unreadable as error:
            self._identity = _unopened(self._uuid, str(error))
            return self
        self._identity = eye.identity
        # A daemon: one that hangs in the driver must not keep the process.
        self._thread = threading.Thread(target=self._run, args=(eye,), name="gpu sampler", daemon=True)
        self._thread.start()
        return self

    def _run(self, eye: _Eye) -> None:
        due = time.monotonic()
        while True:
            last = self._stop.is_set()  # one more after the stop: the end of a window lies between two samples
            self._samples.append(eye.look())
            if last:
                return
            due = max(due + self._interval_seconds, time.monotonic())
            self._stop.wait(due - time.monotonic())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is None:
            return
        self._thread.join(_PATIENCE_SECONDS)
        if self._thread.is_alive():  # NVML is left as it is: ending it under a running call may crash
            self._silent = f"NVML did not answer for {_PATIENCE_SECONDS:g} s; there are no samples from then on"
        else:
            self._lent.close()

    def series(self, windows: Sequence[tuple[float, float]], worker_pids: Collection[int]) -> Gpu:
        """The samples inside the windows (start, end; CLOCK_MONOTONIC in seconds), as `cut` puts them."""
        identity = self._identity
        if self._silent is not None:
            reasons = identity.reasons | {"at_seconds": self._silent}
            identity = Identity(
                uuid=identity.uuid, name=identity.name, driver=identity.driver, mig=identity.mig, reasons=reasons
            )
        return cut(identity, list(self._samples), windows, worker_pids)


# ---- samples -> Gpu, pure


def cut(
    identity: Identity, samples: Sequence[Sample], windows: Sequence[tuple[float, float]], worker_pids: Collection[int]
) -> Gpu:
    """What the samples say of the windows. Pure.

    energy_joules: the difference of NVML's counter over each window, interpolated between the samples around its
    edges. Where no sample has the counter: power, integrated by the trapezoidal rule; reasons["energy_counter"] then
    says why, and is what tells the two apart. Null under 5 s of windows in all.

    foreign_processes: those on the card in a sample of the windows that neither are in worker_pids nor belong to the
    session of one (a worker leads a session, so its children are its own). Null where NVML's numbers are not ours, as
    in most containers: none of them exists here, or it names none where the worker must be.
    """
    start = min((begin for begin, _ in windows), default=0.0)
    inside = [(one, begin) for one in samples for begin, end in windows if begin <= one.at <= end]
    chosen = [one for one, _ in inside]
    reasons = dict(identity.reasons)

    def reading(name: str) -> list[float | None]:
        missing = [(one.at - start, one.reasons[name]) for one in chosen if name in one.reasons]
        if missing:
            reasons[name] = _why(missing, [one.at - start for one in chosen])
        return [one.values.get(name) for one in chosen]

    def gpm(name: str) -> list[float | None]:
        found: list[float | None] = []
        missing = []
        for one, begin in inside:
            spans = one.gpm_since is not None and one.gpm_since >= begin
            found.append(one.values.get(name) if spans else None)
            if found[-1] is None:
                missing.append((one.at - start, one.reasons.get(name, _GPM_TOO_SHORT)))
        if missing:
            reasons[name] = _why(missing, [one.at - start for one in chosen])
        return found

    if not chosen:
        none = identity.reasons.get("at_seconds", "no sample fell into the measured windows")
        names = (*_SERIES, "throttle_reasons", "energy_joules", "foreign_processes", "gpm")
        reasons = dict.fromkeys(names, none) | reasons
    series = {name: reading(name) for name in _SERIES}
    reading("throttle_reasons")  # for its reason
    joules, no_joules = _energy(samples, windows, start)
    foreign, not_foreign = _foreign(chosen, worker_pids, start)
    counter = [(one.at - start, one.reasons[_COUNTER]) for one in samples if _COUNTER in one.reasons]
    if joules is not None and len(counter) == len(samples):
        reasons[_COUNTER] = _why(counter, [at for at, _ in counter])
    for name, value, reason in (("energy_joules", joules, no_joules), ("foreign_processes", foreign, not_foreign)):
        if value is None and reason is not None:
            reasons.setdefault(name, reason)
    return Gpu.model_validate(
        {
            "uuid": identity.uuid,
            "name": identity.name,
            "driver": identity.driver,
            "mig": identity.mig,
            "at_seconds": [one.at - start for one in chosen],
            **series,
            "throttle_reasons": [one.throttle_reasons for one in chosen],
            "gpm": {} if "gpm" in reasons else {name: gpm(name) for name in _GPM_METRICS},
            "energy_joules": joules,
            "window_seconds": sum(end - begin for begin, end in windows),
            "foreign_processes": foreign,
            "reasons": reasons,
        }
    )


def _why(missing: Iterable[tuple[float, str]], every: Sequence[float]) -> str:
    """One line of the reasons, each with the samples that it holds for, unless it holds for all."""
    by_reason: dict[str, list[float]] = {}
    for at, reason in missing:
        by_reason.setdefault(reason, []).append(at)
    parts = []
    for reason, times in by_reason.items():
        if len(times) == len(every):
            parts.append(reason)
            continue
        where = f"from {times[0]:.2f} s on" if times == list(every[-len(times) :]) else f"first at {times[0]:.2f} s"
        parts.append(f"{reason} ({where}, {len(times)} of {len(every)} samples)")
    return "; ".join(parts)


def _interpolated(points: Sequence[tuple[float, float]], at: float) -> float | None:
    """The value at a time, on the line between the points around it; None where they are too far apart."""
    after = bisect_left(points, at, key=lambda point: point[0])
    if after < len(points) and points[after][0] == at:
        return points[after][1]
    if after in (0, len(points)):
        return None
    (t0, y0), (t1, y1) = points[after - 1], points[after]
    return y0 + (y1 - y0) * (at - t0) / (t1 - t0) if t1 - t0 <= _GAP_SECONDS else None


def _energy(
    samples: Sequence[Sample], windows: Sequence[tuple[float, float]], start: float
) -> tuple[float | None, str | None]:
    """Joules over all windows, or the reason; the rule stands in `cut`."""
    seconds = sum(end - begin for begin, end in windows)
    if seconds < _ENERGY_LEAST_SECONDS:
        least = f"at least {_ENERGY_LEAST_SECONDS:g} s are needed, as NVML's counter moves every 20 to 100 ms"
        return None, f"the windows are {seconds:.2f} s in all; {least}"
    counted = [(one.at, one.values[_COUNTER] / 1000) for one in samples if _COUNTER in one.values]
    name = _COUNTER if counted else "power_watts"
    powers = [(one.at, one.values["power_watts"]) for one in samples if "power_watts" in one.values]
    missing = [(one.at - start, one.reasons[name]) for one in samples if name in one.reasons]
    because = f": {_why(missing, [one.at - start for one in samples])}" if missing else ""
    if any(later[1] < earlier[1] for earlier, later in pairwise(counted)):
        return None, "the energy counter fell back: the driver was loaded anew"
    total = 0.0
    for begin, end in windows:
        if counted:
            first, last = _interpolated(counted, begin), _interpolated(counted, end)
            joules = None if first is None or last is None else last - first
        else:
            joules = _integral(powers, begin, end)
        if joules is None:
            what = "the energy counter" if counted else "power, in place of the energy counter,"
            return None, f"{what} could not be read all along the window from {begin - start:.2f} s on{because}"
        total += joules
    return total, None


def _integral(points: Sequence[tuple[float, float]], begin: float, end: float) -> float | None:
    """The area under the lines between the points, by the trapezoidal rule; None where some are too far apart."""
    edges = _interpolated(points, begin), _interpolated(points, end)
    if edges[0] is None or edges[1] is None:
        return None
    line = [(begin, edges[0]), *(point for point in points if begin < point[0] < end), (end, edges[1])]
    pairs = list(pairwise(line))
    if any(t1 - t0 > _GAP_SECONDS for (t0, _), (t1, _) in pairs):
        return None
    return sum((t1 - t0) * (y0 + y1) / 2 for (t0, y0), (t1, y1) in pairs)


def _foreign(
    samples: Sequence[Sample], worker_pids: Collection[int], start: float
) -> tuple[list[int] | None, str | None]:
    """Process ids on the card that are not the worker's, or the reason; the rule stands in `cut`."""
    told = [one.processes for one in samples if one.processes is not None]
    if not told:
        missing = [(one.at - start, one.reasons.get("foreign_processes", "")) for one in samples]
        return None, _why(missing, [at for at, _ in missing]) or None
    session: dict[int, int | None] = {}
    for processes in told:
        for pid, sid in processes.items():
            session[pid] = session.get(pid) if sid is None else sid  # one that has ended keeps its session
    if session and all(sid is None for sid in session.values()):  # 0 is a session too: one led from outside a container
        return None, f"NVML names {len(session)} process(es), none of which exists here: it counts as the host does"
    if worker_pids and not session:
        return None, "NVML names no process, not even the worker: it hides them, as in a container"
    return sorted(pid for pid, sid in session.items() if pid not in worker_pids and sid not in worker_pids), None


# ---- Gpu -> what to say of it, pure


def throttled(gpu: Gpu) -> list[str]:
    """The marks of a throttled trial: what held the clocks down, each with its share of the samples that were read.

    sw_power_cap is in the record, but is no mark: many cards run a full load at their power limit.
    """
    read = [reasons for reasons in gpu.throttle_reasons if reasons is not None]
    shares = {name: sum(name in reasons for reasons in read) / len(read) for name in _HINDERING} if read else {}
    return [f"{name} in {share:.1%} of {len(read)} samples" for name, share in shares.items() if share > 0]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A series in short, over the readings that are there, in the figure's own unit; None with the reason: none is."""

    mean: float | None
    minimum: float | None
    maximum: float | None
    readings: int
    reason: str | None


def summary(gpu: Gpu) -> dict[str, Summary]:
    """Each series of a record in short, GPM metrics among them, by the figure's name. Pure."""
    series = {name: getattr(gpu, name) for name in _SERIES}
    series |= {name: gpu.gpm.get(name, []) for name in _GPM_METRICS}
    found = {}
    for name, readings in series.items():
        values = [value for value in readings if value is not None]
        reason = gpu.reasons.get(name) or (gpu.reasons.get("gpm") if name in _GPM_METRICS else None)
        found[name] = Summary(
            mean=sum(values) / len(values) if values else None,
            minimum=min(values, default=None),
            maximum=max(values, default=None),
            readings=len(values),
            reason=reason,
        )
    return found
