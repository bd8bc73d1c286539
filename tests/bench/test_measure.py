"""The evaluation that all share, and windows in which nothing but training may happen."""

import numpy as np
import pytest

from bench.conformance import ContractBroken
from bench.measure import _refuse_compilation, accuracy, compilations


def test_accuracy_is_the_share_of_rows_whose_largest_logit_is_the_labels() -> None:
    """Three of four by hand."""
    logits = np.array([[2, 1], [0, 1], [3, 2], [5, 4]], dtype=np.float32)

    assert 0.75 == accuracy(logits, np.array([0, 1, 0, 1]), 2)


class Compiles:
    """A trainer that has made three programs."""

    def compilations(self) -> int:
        return 3


def test_an_entry_tells_what_it_compiled_or_nothing() -> None:
    """None is not 0: an entry that cannot tell has not been watched."""
    assert (3, None) == (compilations(Compiles()), compilations(object()))  # type: ignore[arg-type]


@pytest.mark.parametrize(("programs", "allowed"), [(0, False), (None, False), (2, True)])
def test_a_window_without_a_compilation_counts(programs: int | None, allowed: bool) -> None:
    """Nor does one of the warm-up harm."""
    _refuse_compilation(programs, "the window of epoch 0", allowed=allowed)


def test_a_compilation_inside_a_window_fails_the_trial() -> None:
    """Its seconds would be the compiler's."""
    with pytest.raises(ContractBroken, match=r"1 program\(s\) traced or compiled inside the window of epoch 2"):
        _refuse_compilation(1, "the window of epoch 2")
