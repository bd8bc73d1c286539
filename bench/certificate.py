"""Losses of an entry, beside the oracle's on the same inputs -> Certificate. Pure."""

import numpy as np
from numpy.typing import NDArray

from bench.contract import Data, Params
from bench.oracle import Oracle
from bench.record import Certificate
from bench.task import Task

# In the first steps rounding has had no time to be amplified: honest float32 entries stay near 1e-7 for 20 steps, and
# a learning rate 1% off is seen at 1e-4. Later, a ReLU that flips its sign makes honest runs differ (docs/method.md).
CERTIFICATE_STEPS = 20
# Relative deviation of a loss. float32 keeps 1.2e-7 of a number; sums over 784 terms and some steps lose two digits.
TOLERANCE = 1e-5


def certify(
    task: Task,
    *,
    params: Params,
    data: Data,
    batches: NDArray[np.int64],
    losses: NDArray[np.float32],
    measured_losses: NDArray[np.float32] | None = None,
) -> Certificate:
    """Hold losses (steps,) of training on batches (steps, batch_size) against the float64 oracle's.

    `measured_losses`: the first losses of another training on the same inputs, held to the same. The verdict is
    same-work where every loss is finite and within the tolerance.
    """
    oracle = Oracle(task, params, data)
    expected = [oracle.step(rows) for rows in batches]
    trainer = _deviations(losses, expected)
    measured = [] if measured_losses is None else _deviations(measured_losses, expected)
    finite = [deviation for deviation in trainer + measured if deviation is not None]
    reason = _fault("the trainer's", losses, trainer, expected)
    if reason is None and measured_losses is not None:
        reason = _fault("the measured training's", measured_losses, measured, expected)
    return Certificate(
        verdict="same-work" if reason is None else "refused",
        steps=len(batches),
        tolerance=TOLERANCE,
        trainer_deviations=trainer,
        measured_deviations=measured,
        largest_deviation=max(finite, default=None),
        reason=reason,
    )


def _deviations(losses: NDArray[np.float32], expected: list[float]) -> list[float | None]:
    """|loss - expected| / |expected| of each step; None where either is not finite.

    Against the smallest normal float32 where the oracle's loss is 0: then only a loss of 0 is within the tolerance.
    """
    floor = float(np.finfo(np.float32).tiny)
    pairs = zip(losses.tolist(), expected, strict=True)
    return [
        abs(loss - true) / max(abs(true), floor) if np.isfinite(loss) and np.isfinite(true) else None
        for loss, true in pairs
    ]


def _fault(
    whose: str, losses: NDArray[np.float32], deviations: list[float | None], expected: list[float]
) -> str | None:
    """The first step that is not within the tolerance, in words; None where all are."""
    for step, deviation in enumerate(deviations):
        if deviation is None or deviation > TOLERANCE:
            found = "is not finite" if deviation is None else f"deviates by {deviation:.1e}, more than {TOLERANCE:.0e}"
            values = f"{float(losses[step]):.7g} where the oracle has {expected[step]:.7g}"
            return f"not the same work: {whose} loss of step {step} {found} ({values})"
    return None
