"""A document of an older schema -> the same in the present one. Pure; what was not measured then is null, with why."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

Document = dict[str, Any]

_THEN = "not measured before schema 2"
_MISSING = {"value": None, "reason": _THEN}


def _trial_to_2(document: Document) -> Document:
    """Memory of the sampled pass and the device, surroundings, ceiling, gather, GPU and disturbances came with 2."""
    document = _with_machine(document) | {"gpu": None, "disturbances": []}
    document["conditions"] = document["conditions"] | {"sensors": False}
    measured = document["measurements"]
    if measured is not None:
        memory = {
            "sampled_peak": None,
            "sampled_peak_samples": 0,
            "device_peak_allocated_bytes": _MISSING,
            "device_peak_reserved_bytes": _MISSING,
        }
        layers = document["task"]["layers"]
        document["measurements"] = measured | {
            "epochs": [epoch | {"surroundings": None} for epoch in measured["epochs"]],
            "memory": measured["memory"] | memory,
            # The formula of bench/flops.py, written out: a migration must not change when that is.
            "flops_per_sample": 6 * sum(a * b for a, b in pairwise(layers)) - 2 * layers[0] * layers[1],
            "gather_seconds_per_step": _MISSING,
            "ceiling": {
                "products": [],
                "flops_per_second": _MISSING,
                "bandwidth_bytes_per_second": _MISSING,
                "product_relative_error": _MISSING,
                "product_precision": None,
            },
            "reasons": {"surroundings": _THEN},
        }
    return document


def _certificate_to_2(document: Document) -> Document:
    """The precision moved into the case, where it has the same value by default."""
    return {name: value for name, value in _with_machine(document).items() if name != "precision"}


def _with_machine(document: Document) -> Document:
    machine = document["machine"]
    reasons = machine["reasons"] | {"gpu_driver": _THEN}
    return document | {"machine": machine | {"gpu_driver": None, "reasons": reasons}}


# kind of document -> number -> what brings it to the next one
_STEPS: Mapping[str, Mapping[int, Callable[[Document], Document]]] = {
    "Trial": {1: _trial_to_2},
    "Certificate": {1: _certificate_to_2},
    "Suite": {1: _with_machine},
    "Plan": {1: lambda document: document},
}


def migrate(kind: str, document: Any) -> Any:
    """The document with its number brought up as far as steps are known. What is no document is left as it is.

    Raises KeyError, TypeError or ValueError where a document of an old number has not that number's shape.
    """
    steps = _STEPS.get(kind, {})
    while isinstance(document, dict):
        number = document.get("schema_version")
        if not isinstance(number, int) or number not in steps:
            break
        document = steps[number](document) | {"schema_version": number + 1}
    return document
