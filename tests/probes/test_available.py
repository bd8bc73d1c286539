"""What can't run here says why, and what would help."""

import pytest

from bench.contract import ENTRIES, Entry
from bench.probes.available import availability, installed_version
from bench.probes.blas import blas_builds
from bench.probes.gpu import list_gpus


def test_an_entry_whose_framework_is_missing_names_package_and_remedy() -> None:
    """The extra of our own distribution."""
    entry = Entry(
        name="x", module="x", framework="torch", mode="eager", tier="as-written", packages=("no-such-package",)
    )

    assert "no-such-package is not installed; pip install 'evenhand[torch]'" == availability(entry, "cpu")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_shipped_entries_can_run_here(entry: Entry) -> None:
    """`make setup` installs all of them."""
    assert availability(entry, "cpu") is None


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_cuda_is_refused_with_a_reason_where_there_is_none(entry: Entry) -> None:
    """No card, or no CUDA path in the entry: never None by accident."""
    if list_gpus()[0]:
        pytest.skip("this machine has a CUDA device")
    reason = availability(entry, "cuda")

    assert reason is not None
    assert reason.startswith(("no CUDA device: ", f"{entry.name} has no CUDA path"))


def test_no_card_comes_with_a_reason() -> None:
    """An empty list alone could mean anything."""
    cards, reason = list_gpus()

    assert bool(cards) != bool(reason)


def test_versions_are_read_without_an_import() -> None:
    """NumPy is there, nonsense is not."""
    import numpy as np

    assert np.__version__ == installed_version("numpy")
    assert installed_version("no-such-package") is None


def test_numpys_blas_is_named_with_its_threads() -> None:
    """Which kernels it chose decides its speed."""
    assert any("openblas" in build and "thread(s)" in build for build in blas_builds())
