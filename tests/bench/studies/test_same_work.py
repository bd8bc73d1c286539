"""bench.studies.same_work: other losses are refused, at the step where they are the first time."""

import pytest

from bench.contract import Refusal
from bench.studies.same_work import TOLERANCE, require_same_losses


def test_losses_within_the_tolerance_are_the_same() -> None:
    """Also where more were trained than are compared."""
    require_same_losses([2.0 * (1 + 0.9 * TOLERANCE), 1.0, 0.5], [2.0, 1.0], "this")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([2.0, 1.0 + 2 * TOLERANCE], "this, step 1: the loss is"),
        ([float("nan"), 1.0], "this, step 0: the loss is nan"),
        ([2.0, 1.0, float("inf")], "the loss of step 2 is not finite"),
    ],
)
def test_others_are_refused(found: list[float], says: str) -> None:
    """By name and step; what is not finite is refused wherever it comes."""
    with pytest.raises(Refusal, match=says):
        require_same_losses(found, [2.0, 1.0], "this")
