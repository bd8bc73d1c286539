"""The bytes that every entry trains on are the same everywhere."""

import hashlib

import numpy as np
import pytest

from bench.inputs import _raw, epoch_batches, initial_params, load_data
from bench.task import load_task

MLP = load_task("mlp")


def digest(*arrays: np.ndarray) -> str:
    """SHA-256 of the little-endian bytes of arrays, in order."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return sha.hexdigest()


def test_the_generator_is_philox_as_published() -> None:
    """Philox-4x64-10: the known answer of Random123 (kat_vectors) for counter 0 and key (0, 0).

    NumPy steps the counter before each block of four words, so its first block is that of counter 1, and the one
    before, from a counter of all ones, is that of counter 0.
    """
    before = np.random.Philox(counter=np.full(4, 2**64 - 1, dtype=np.uint64), key=np.zeros(2, dtype=np.uint64))
    words = before.random_raw(8).tolist()

    assert [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B] == words[:4]
    assert words[4:] == _raw(0, 0, 4).tolist()


def test_initial_parameters_have_golden_bytes() -> None:
    """The same on every platform and for ever: published results rest on them."""
    params = initial_params(MLP, 0)

    assert "4562f4d6dcbc53bbb7140e9244b3510006c358186daafafb398fac6fb6b74692" == digest(
        *(array for layer in params for array in layer)
    )


def test_batches_have_golden_bytes() -> None:
    """Likewise the order of the rows."""
    assert "52e1578049ca87181c93f75992a0fa13021d149eecf4a70b7ae1c4e5ec3688d9" == digest(
        epoch_batches(MLP, 0, 0), epoch_batches(MLP, 0, 9)
    )


def test_the_data_have_golden_bytes() -> None:
    """Likewise the scaled images and the labels."""
    sets = load_data(MLP)

    assert "a64cc0dca83e19f43d6f56e7ab55c0e1841b583125883db27e3b8198b9b9c8ed" == digest(
        sets.train.images, sets.train.labels, sets.test.images, sets.test.labels
    )


def test_another_seed_gives_other_bytes() -> None:
    """A golden hash that no seed could change would prove nothing."""
    assert digest(initial_params(MLP, 0)[0][0]) != digest(initial_params(MLP, 1)[0][0])
    assert digest(epoch_batches(MLP, 0, 0)) != digest(epoch_batches(MLP, 1, 0))
    assert digest(epoch_batches(MLP, 0, 0)) != digest(epoch_batches(MLP, 0, 1))


def test_an_epoch_takes_each_row_at_most_once_and_drops_the_remainder() -> None:
    """937 whole batches of 64 leave 32 of the 60,000 rows out."""
    batches = epoch_batches(MLP, 0, 0)

    assert ((937, 64), 937 * 64, 0) == (batches.shape, len(np.unique(batches)), int(batches.min()))
    assert batches.max() < 60_000


@pytest.mark.parametrize(("init", "bound"), [("he-uniform", (6 / 784) ** 0.5), ("glorot-uniform", (6 / 912) ** 0.5)])
def test_weights_fill_the_interval_of_their_initialisation(init: str, bound: float) -> None:
    """Uniform within the published bound, biases 0."""
    weight, bias = initial_params(MLP.changed(init=init), 0)[0]

    assert 0.999 * bound < np.abs(weight).max() <= bound * (1 + 1e-6)
    assert abs(weight.std() - bound / 3**0.5) < 0.01 * bound
    assert not bias.any()


def test_float64_starts_where_float32_starts() -> None:
    """So that the oracle and the entry begin at one point."""
    single, double = initial_params(MLP, 3), initial_params(MLP.changed(dtype="float64"), 3)

    assert all((a == b).all() and b.dtype == np.float64 for (a, _), (b, _) in zip(single, double, strict=True))


def test_inputs_cannot_be_written_to() -> None:
    """An entry that changes its inputs fails at once instead of changing the next trainer's."""
    for array in (*initial_params(MLP, 0)[0], epoch_batches(MLP, 0, 0)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
