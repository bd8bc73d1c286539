"""Losses of a subject and of a float64 reference -> nothing where they are the same work's, else Refusal."""

from collections.abc import Iterable, Sequence

import numpy as np

from bench.contract import Refusal

STEPS = 20  # that are compared: as many as a certificate compares in the task's own dtype (bench/tolerances.toml)
# Of a loss, relative. In so few steps honest float32 strays some 1e-7 from float64; one wrong row in a batch, or one
# layer more or less, changes the loss by 1e-3 and more.
TOLERANCE = 1e-5


def require_same_losses(
    found: Sequence[float], expected: Iterable[float], what: str, *, tolerance: float = TOLERANCE
) -> None:
    """Raise Refusal at the first loss that is not the reference's. found may go on for longer than expected."""
    for step, (ours, true) in enumerate(zip(found, expected, strict=False)):
        if not abs(ours - true) <= tolerance * abs(true):
            raise Refusal(
                f"not the same work: {what}, step {step}: the loss is {ours:.8g}, by float64 {true:.8g}; "
                f"tolerated is a relative deviation of {tolerance:g}"
            )
    if not np.isfinite(found).all():
        raise Refusal(f"not the same work: {what}: the loss of step {int(np.argmin(np.isfinite(found)))} is not finite")
