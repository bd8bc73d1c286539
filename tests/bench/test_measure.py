"""What an entry returns is checked before it is believed."""

import numpy as np
import pytest

from bench.measure import ContractBroken, accuracy, checked_losses


@pytest.mark.parametrize(
    ("losses", "found"),
    [
        (np.zeros(3, dtype=np.float64), r"float64 \(3,\)"),
        (np.zeros((3, 1), dtype=np.float32), r"float32 \(3, 1\)"),
        (np.zeros(2, dtype=np.float32), r"float32 \(2,\)"),
        ([0.0, 0.0, 0.0], "list"),
        (None, "NoneType"),
    ],
)
def test_losses_of_another_shape_or_dtype_are_named(losses: object, found: str) -> None:
    """The message says what was wanted and what came."""
    with pytest.raises(ContractBroken, match=r"float32 \(3,\), returned " + found):
        checked_losses(losses, 3)


def test_right_losses_pass_as_they_are() -> None:
    """No copy, no change."""
    losses = np.ones(3, dtype=np.float32)

    assert checked_losses(losses, 3) is losses


def test_accuracy_is_the_share_of_rows_whose_largest_logit_is_the_labels() -> None:
    """Three of four by hand."""
    logits = np.array([[2, 1], [0, 1], [3, 2], [5, 4]], dtype=np.float32)

    assert 0.75 == accuracy(logits, np.array([0, 1, 0, 1]), 2)


def test_logits_of_another_shape_are_named() -> None:
    """A transposed result must not become a low accuracy."""
    with pytest.raises(ContractBroken, match=r"\(4, 2\), returned an array \(2, 4\)"):
        accuracy(np.zeros((2, 4)), np.zeros(4, dtype=np.int64), 2)
