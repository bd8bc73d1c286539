"""Task -> images, labels, initial parameters, batch order: the bytes that every entry trains on."""

import functools
import gzip
import hashlib
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contract import Data, Params
from bench.errors import InputError
from bench.task import DATA_SETS, Task

SHIPPED_DATA = Path(__file__).parent / "data"

# name -> (SHA-256 of the decoded bytes, IDX magic, shape); the hashes of the authors' own files, decoded.
_FILES: dict[str, tuple[str, int, tuple[int, ...]]] = {
    "train-images-idx3-ubyte": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        2051,
        (60_000, 28, 28),
    ),
    "train-labels-idx1-ubyte": ("bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", 2049, (60_000,)),
    "t10k-images-idx3-ubyte": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        2051,
        (10_000, 28, 28),
    ),
    "t10k-labels-idx1-ubyte": ("0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", 2049, (10_000,)),
}

# Streams of the generator: Philox is keyed by (seed, stream), so no two purposes share a number.
_STREAM_PARAMS = 1 << 32
_STREAM_BATCHES = 2 << 32


def data_folder() -> Path:
    """The folder of the data set: BENCH_DATA where it is set, else the one that ships with the suite."""
    return Path(os.environ["BENCH_DATA"]) if os.environ.get("BENCH_DATA") else SHIPPED_DATA


def _decoded(folder: Path, name: str) -> NDArray[np.uint8]:
    path = folder / f"{name}.gz"
    remedy = "restore it with `git checkout bench/data`, or correct BENCH_DATA"
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; {remedy}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be decoded ({error}); {remedy}") from None
    sha256, magic, shape = _FILES[name]
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise InputError(
            f"{path}: holds other data (SHA-256 of the decoded bytes {found[:12]}..., not {sha256[:12]}...); {remedy}"
        )
    header = 4 + 4 * len(shape)
    assert int.from_bytes(content[:4], "big") == magic
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


@functools.cache
def _training_set(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels (n, 28, 28) and labels (n,) as they are shipped: 47 MB, which stay resident once a check has asked."""
    return _decoded(folder, "train-images-idx3-ubyte"), _decoded(folder, "train-labels-idx1-ubyte")


@dataclass(frozen=True, kw_only=True)
class Sets:
    """The training set and the test set, read-only arrays."""

    train: Data
    test: Data


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _data(task: Task, pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Data:
    """Pixels (n, 28, 28) and labels (n,) -> images (n, 784) in [0, 1] of the task's dtype, labels (n,) int64."""
    # One correctly rounded division a pixel, the same on every platform; converted on the way, a few at a time.
    images = np.divide(pixels.reshape(len(pixels), -1), 255, dtype=task.dtype)
    return Data(images=_frozen(images), labels=_frozen(labels.astype(np.int64)))


def load_data(task: Task, folder: Path | None = None) -> Sets:
    """The task's data set. images: (n, 784) in [0, 1] of the task's dtype; labels: (n,) int64. Raises InputError."""
    source = folder or data_folder()

    def one(prefix: str) -> Data:
        pixels = _decoded(source, f"{prefix}-images-idx3-ubyte")  # (n, 28, 28)
        labels = _decoded(source, f"{prefix}-labels-idx1-ubyte")  # (n,)
        return _data(task, pixels, labels)

    return Sets(train=one("train"), test=one("t10k"))


def _raw(seed: int, stream: int, count: int) -> NDArray[np.uint64]:
    """`count` 64-bit words of Philox-4x64-10 keyed by (seed, stream) (Salmon et al. 2011).

    The words of the bit generator, not NumPy's distributions: NumPy keeps the first stable for ever, the second not.
    """
    key = np.array([seed, stream], dtype=np.uint64)
    return np.random.Philox(key=key).random_raw(count)


def _uniform(seed: int, stream: int, count: int) -> NDArray[np.float64]:
    """`count` float64 values in [0, 1), 53 bits each."""
    return (_raw(seed, stream, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def initial_params(task: Task, seed: int) -> Params:
    """A pair of weight (fan_in, fan_out) and bias (fan_out,) for each layer; uniform weights, zero biases.

    he-uniform: +-sqrt(6 / fan_in) (He et al. 2015); glorot-uniform: +-sqrt(6 / (fan_in + fan_out)) (Glorot, Bengio
    2010). Neither framework's default is taken from it: all get these bytes.
    """
    params = []
    for layer, (fan_in, fan_out) in enumerate(zip(task.layers, task.layers[1:], strict=False)):
        bound = math.sqrt(6 / fan_in) if task.init == "he-uniform" else math.sqrt(6 / (fan_in + fan_out))
        weight = (_uniform(seed, _STREAM_PARAMS + layer, fan_in * fan_out) * 2 - 1) * bound
        # Through float32 also where the task is float64, so that both start at the same point.
        weight = weight.astype(np.float32).astype(task.dtype).reshape(fan_in, fan_out)
        params.append((_frozen(weight), _frozen(np.zeros(fan_out, dtype=task.dtype))))
    return params


def epoch_batches(task: Task, seed: int, epoch: int) -> NDArray[np.int64]:
    """Rows of the training set for each step, int64 (steps, batch_size): a random order, the remainder dropped."""
    rows = task.steps_per_epoch * task.batch_size
    words = _raw(seed, _STREAM_BATCHES + epoch, DATA_SETS[task.data][2])
    order = np.argsort(words, kind="stable")[:rows]  # a permutation: sorting random keys
    return _frozen(order.astype(np.int64).reshape(task.steps_per_epoch, task.batch_size))


def training_rows(task: Task, batches: NDArray[np.int64]) -> tuple[Data, NDArray[np.int64]]:
    """The rows of the training set that the batches name, in order of the set, and the batches as rows of these.

    images: (rows, 784), the same numbers that `load_data` gives; a certificate needs no more of the set. It asks for
    them part by part, and the set is decoded once; what measures memory asks after that, or not at all.
    """
    rows, places = np.unique(batches, return_inverse=True)
    pixels, labels = _training_set(data_folder())
    return _data(task, pixels[rows], labels[rows]), _frozen(places.reshape(batches.shape).astype(np.int64))


def first_batches(task: Task, seed: int, steps: int) -> NDArray[np.int64]:
    """The batches of the first steps of a training, over as many epochs as they take: int64 (steps, batch_size)."""
    epochs = -(-steps // task.steps_per_epoch)
    return _frozen(np.concatenate([epoch_batches(task, seed, epoch) for epoch in range(epochs)])[:steps])


def check_data() -> None:
    """Raise InputError where the data set is missing or wrong: before a run begins, not once for each trial."""
    for name in _FILES:
        _decoded(data_folder(), name)
