"""Trial or Certificate -> the same with what a report reads of it, and no more: about a fifth of the memory. Pure.

A report of 100,000 records has to hold them side by side. What is left out is not there at all, so that asking for it
raises AttributeError and no gap is taken for a value. What many records share (machine, versions, code, task, case,
proof) is kept once. Never for writing: a brief record has no JSON.
"""

import sys
from array import array
from collections.abc import Hashable
from typing import Any, TypeVar, cast

from bench import stats
from bench.record import (
    Ceiling,
    Certificate,
    Conditions,
    Epoch,
    Figure,
    Gpu,
    Machine,
    Measurements,
    Memory,
    Part,
    Readings,
    Series,
    Surroundings,
    Trial,
    Value,
    Versions,
)

T = TypeVar("T", bound=Value)

# pydantic keeps with every value the set of the fields that it was given: of small values that is most of the memory.
_NO_NAMES: set[str] = set()
_set = object.__setattr__  # 50 times a record; values are frozen


def _made(kind: type[T], values: dict[str, Any]) -> T:
    """A value of these fields alone, not validated: they come out of a validated one. A fast `model_construct`."""
    one = kind.__new__(kind)
    _set(one, "__pydantic_extra__", None)
    _set(one, "__pydantic_private__", None)
    return _thin(one, values)


def _bare(value: T) -> T:
    """The value without its own set of names."""
    _set(value, "__pydantic_fields_set__", _NO_NAMES)
    return value


def _thin(value: T, values: dict[str, Any]) -> T:
    """The value with these fields alone. It is used up: to make another would take three times as long."""
    _set(value, "__dict__", values)
    _set(value, "__pydantic_fields_set__", _NO_NAMES)
    return value


_NO_ENERGY = _made(Surroundings, {"energy_joules": None})


class Briefer:
    """Makes records brief, and keeps once what they share. One a reading of records; what is given is used up."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}
        self._alike: dict[Hashable, list[Any]] = {}

    def trial(self, trial: Trial) -> Trial:
        """Everything that tables, plots, claims and the page read of a trial."""
        check, versions = trial.check, trial.versions
        return _thin(
            trial,
            {
                "placement": _bare(trial.placement),
                "case": self._once(trial.case),
                "task": self._once(trial.task),
                "training_seed": trial.training_seed,
                "status": sys.intern(trial.status),
                "reason": self._once(trial.reason),
                "started_utc": trial.started_utc,
                "measurements": self._measurements(trial.measurements) if trial.measurements else None,
                "check": check
                and _thin(
                    check,
                    {
                        "verdict": sys.intern(check.verdict),
                        "largest_deviation": check.largest_deviation,
                        "reason": self._once(check.reason),
                    },
                ),
                "certificate": self._once(trial.certificate),
                "versions": versions and self._versions(versions),
                "machine": self._machine(trial.machine),
                "source": self._once(trial.source),
                "conditions": self._conditions(trial.conditions),
                "gpu": self._gpu(trial.gpu) if trial.gpu else None,
                "disturbances": trial.disturbances,
            },
        )

    def certificate(self, certificate: Certificate) -> Certificate:
        """Everything that the matrix of certificates and the list of failures read; of a series, its largest figure."""
        return _made(
            Certificate,
            {
                "status": sys.intern(certificate.status),
                "reason": self._once(certificate.reason),
                "case": self._once(certificate.case),
                "task": self._once(certificate.task),
                "parts": [_part(part) for part in certificate.parts],
                "machine": self._machine(certificate.machine),
                "started_utc": certificate.started_utc,
            },
        )

    def _once(self, value: Any) -> Any:
        """The first of all equal values; any that can be hashed."""
        # By its fields, which compare in C: pydantic compares two values in Python, which took a twentieth of a report.
        key = (type(value), *value.__dict__.values()) if isinstance(value, Value) else value
        return self._known.setdefault(key, value)

    def _equal(self, key: Hashable, value: T) -> T:
        """The first of all equal values that share a key and their kind, where the value itself has no hash."""
        known = self._alike.setdefault(key, [])
        for one in known:
            if one.__dict__ == value.__dict__:
                return cast(T, one)
        known.append(value)
        return value

    def _machine(self, machine: Machine) -> Machine:
        return self._equal(("machine", machine.fingerprint), machine)

    def _versions(self, versions: Versions) -> Versions:
        return self._equal(("versions", *versions.packages.items()), versions)

    def _measurements(self, measured: Measurements) -> Measurements:
        reasons = self._known.setdefault(("reasons", *measured.reasons.items()), measured.reasons)
        return _thin(
            measured,
            {
                "import_seconds": measured.import_seconds,
                "build_seconds": measured.build_seconds,
                "first_step_seconds": measured.first_step_seconds,
                "total_training_seconds": measured.total_training_seconds,
                "epochs": [_epoch(epoch) for epoch in measured.epochs],
                "step_latency_nanoseconds": _packed(measured.step_latency_nanoseconds),
                "memory": self._memory(measured.memory),
                "communication": measured.communication,
                "flops_per_sample": measured.flops_per_sample,
                "gather_seconds_per_step": self._figure(measured.gather_seconds_per_step),
                "ceiling": self._ceiling(measured.ceiling),
                "reasons": reasons,
            },
        )

    def _conditions(self, given: Conditions) -> Conditions:
        values = {"cores": given.cores, "cores_shared": given.cores_shared}
        return self._equal(("conditions", *given.cores), _made(Conditions, values))

    def _memory(self, memory: Memory) -> Memory:
        return _thin(
            memory,
            {
                "after_import": memory.after_import and _bare(memory.after_import),
                "after_build": memory.after_build and _bare(memory.after_build),
                "sampled_peak": memory.sampled_peak and _bare(memory.sampled_peak),
                "peak_training_bytes": memory.peak_training_bytes,
                "peak_above_import_bytes": memory.peak_above_import_bytes,
                "peak_training_bytes_of_ranks": memory.peak_training_bytes_of_ranks,
                "device_peak_allocated_bytes": self._figure(memory.device_peak_allocated_bytes),
                "device_peak_reserved_bytes": self._figure(memory.device_peak_reserved_bytes),
                "reason": self._once(memory.reason),
            },
        )

    def _figure(self, figure: Figure) -> Figure:
        return cast(Figure, self._once(figure)) if figure.value is None else _bare(figure)

    def _ceiling(self, ceiling: Ceiling) -> Ceiling:
        products = [_thin(p, {"what": self._once(p.what), "seconds": p.seconds}) for p in ceiling.products]
        return _thin(
            ceiling,
            {
                "products": products,
                "flops_per_second": self._figure(ceiling.flops_per_second),
                "bandwidth_bytes_per_second": self._figure(ceiling.bandwidth_bytes_per_second),
                "product_precision": ceiling.product_precision,
            },
        )

    def _gpu(self, gpu: Gpu) -> Gpu:
        """A reading's list of samples as the one figure that summaries take of it, under which it stays what it is."""

        def mean(readings: Readings) -> Readings:
            return [stats.mean_reading(readings)]

        def greatest(readings: Readings) -> Readings:
            return [stats.greatest(readings)]

        return _made(
            Gpu,
            {
                "name": self._once(gpu.name),
                "busy_percent": mean(gpu.busy_percent),
                "power_watts": mean(gpu.power_watts),
                "sm_clock_megahertz": mean(gpu.sm_clock_megahertz),
                "temperature_celsius": greatest(gpu.temperature_celsius),
                "memory_used_bytes": greatest(gpu.memory_used_bytes),
                "gpm": {self._once(name): mean(readings) for name, readings in gpu.gpm.items()},
                "throttle_reasons": [
                    None if reasons is None else self._known.setdefault(("throttle", *reasons), reasons)
                    for reasons in gpu.throttle_reasons
                ],
                "energy_joules": gpu.energy_joules,
                "foreign_processes": gpu.foreign_processes,
                "reasons": self._known.setdefault(("gpu reasons", *gpu.reasons.items()), gpu.reasons),
            },
        )


def _epoch(epoch: Epoch) -> Epoch:
    seen = epoch.surroundings
    if seen is not None:
        joules = seen.energy_joules
        seen = _NO_ENERGY if joules is None else _thin(seen, {"energy_joules": joules})
    return _thin(
        epoch,
        {
            "window_seconds": epoch.window_seconds,
            "window_steps": epoch.window_steps,
            "first_batch_seconds": epoch.first_batch_seconds,
            "test_accuracy": epoch.test_accuracy,
            "surroundings": seen,
        },
    )


def _packed(values: list[int]) -> list[int]:
    """The same whole numbers in 8 bytes each in place of 40; a list to whoever reads it."""
    try:
        return cast("list[int]", array("q", values))
    except OverflowError:
        return values


def _part(part: Part) -> Part:
    """With one series a figure, and of that its largest deviation: what `Certificate.largest` finds in either."""
    series = []
    for one in part.series:
        known = [deviation for deviation in one.deviations if deviation is not None]
        if known:
            series.append(_made(Series, {"what": sys.intern(one.what), "deviations": [max(known)]}))
    return _made(Part, {"name": part.name, "series": series})
