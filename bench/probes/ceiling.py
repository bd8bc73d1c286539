"""What the machine can do at most, in the process that trained: products in the entry's framework, copies in memory.

A share of a ceiling is worth only what the ceiling is worth, so it is measured in the same process, with the same
threads and at the same clock as the training, by the framework's own product.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from bench.contract import Array, Device, EntryModule, Precision
from bench.flops import products
from bench.record import Ceiling, Figure, Product
from bench.task import Task

Matmul = Callable[[Array, Array], Callable[[int], Array]]

_REPEATS = 5  # of each product, the least is taken: a ceiling is what can be reached, not what usually is
_REPEAT_SECONDS = 0.02
_SQUARES = (512, 1024, 2048, 4096, 8192, 16384)
_SQUARE_SECONDS = 0.1  # of one product: no square is tried that would take longer
_GAIN = 1.03  # nor where the last one was hardly faster
_COPY_BYTES = 128 << 20  # well beyond the cache that a core has a share of
# The largest error of `product_error` at each precision. Factors rounded to 24, 11 and 8 bits give 4e-7, 3e-4 and 2e-3
# (tests/probes/test_ceiling.py); each bound lies between two of them, as a geometric mean or so.
_ERRORS = (("ieee", 1e-5), ("tf32", 8e-4), ("bfloat16", 2e-2))


def measure_ceiling(module: EntryModule, task: Task, threads: int) -> Ceiling:
    """The ceilings of one process; takes one to three seconds on a CPU."""
    matmul: Matmul | None = getattr(module, "matmul", None)
    if matmul is None:
        reason = "the entry offers no product of its own"
        none = Figure(value=None, reason=reason)
        return Ceiling(
            products=[],
            flops_per_second=none,
            bandwidth_bytes_per_second=copy_bandwidth(threads),
            product_relative_error=none,
            product_precision=None,
        )
    made = [_product(matmul, what, m, k, n, task.dtype) for what, m, k, n in products(task)]
    made += _squares(matmul, task.dtype)
    error = product_error(matmul)
    return Ceiling(
        products=made,
        flops_per_second=Figure(value=max(one.flops_per_second for one in made)),
        bandwidth_bytes_per_second=copy_bandwidth(threads),
        product_relative_error=Figure(value=error),
        product_precision=classify(error),  # type: ignore[arg-type]
    )


def _squares(matmul: Matmul, dtype: str) -> Iterator[Product]:
    """Square products, growing while they get faster and stay short."""
    best = 0.0
    for size in _SQUARES:
        made = _product(matmul, "square", size, size, size, dtype)
        yield made
        if made.flops_per_second < best * _GAIN or made.seconds * 8 > _SQUARE_SECONDS:
            return
        best = made.flops_per_second


def _product(matmul: Matmul, what: str, m: int, k: int, n: int, dtype: str) -> Product:
    """The time of one product: the least difference of many and of none, so that what a call costs drops out."""
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal(shape).astype(dtype) for shape in ((m, k), (k, n)))
    run = matmul(a, b)
    run(1)  # what is compiled at the first call is not the product's speed
    one = _seconds(run, 1)
    times = max(1, round(_REPEAT_SECONDS / max(one, 1e-7)))
    # From here on `times` are so many that the call and the copy of the result to the host hardly count; they are
    # taken off all the same, by the run of a single product, where there are at least ten.
    many = min(_seconds(run, times) for _ in range(_REPEATS))
    least = many / times
    if times >= 10:
        single = min(_seconds(run, 1) for _ in range(_REPEATS))
        least = max((many - single) / (times - 1), many / times / 2)
    return Product(what=what, m=m, k=k, n=n, seconds=least, flops_per_second=2.0 * m * k * n / least)


def _seconds(run: Callable[[int], Array], times: int) -> float:
    started = time.perf_counter()
    run(times)
    return time.perf_counter() - started


def product_error(matmul: Matmul) -> float:
    """max|a - b| / max|b| of a product of float32 matrices, 512 by 512, beside NumPy's in float64."""
    generator = np.random.default_rng(1)
    a, b = (generator.standard_normal((512, 512)).astype(np.float32) for _ in range(2))
    exact = a.astype(np.float64) @ b.astype(np.float64)
    return float(np.max(np.abs(matmul(a, b)(1) - exact)) / np.max(np.abs(exact)))


def classify(error: float) -> str:
    """The precision that a product's error betrays: of the factors, 24 bits are IEEE, 11 TF32 (or float16), 8 bfloat16.

    Rounding a factor to t bits is a relative error of up to 2^-t; summed over 512 products with random signs and taken
    beside the largest of the result, about half a unit of that remains.
    """
    return next((name for name, bound in _ERRORS if error <= bound), "other")


def copy_bandwidth(threads: int) -> Figure:
    """Bytes a second read and written by copying float64 arrays in the host's memory, all threads at once.

    The copy of STREAM (McCalpin 1995): each byte counts twice, once read and once written; what the caches read before
    they write is not counted. The best of five.
    """
    size = _COPY_BYTES // 8 // threads
    try:
        parts: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = [
            (np.ones(size), np.zeros(size)) for _ in range(threads)
        ]
    except MemoryError:
        return Figure(value=None, reason=f"no room for two arrays of {_COPY_BYTES >> 20} MiB")

    def copy(part: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
        np.copyto(part[1], part[0])

    seconds = []
    with ThreadPoolExecutor(threads) as pool:  # NumPy lets others run while it copies
        for _ in range(_REPEATS):
            started = time.perf_counter()
            list(pool.map(copy, parts))
            seconds.append(time.perf_counter() - started)
    return Figure(value=2 * 8 * size * threads / min(seconds))


def refuse_other_precision(ceiling: Ceiling, device: Device, asked: Precision) -> str | None:
    """Why the probed precision is not the one that was asked for; None where it is, or where it was not probed."""
    found = ceiling.product_precision
    if found is None or found == asked:
        return None
    error = ceiling.product_relative_error.value
    return f"asked for {asked} products on {device}, but their error of {error:.0e} says {found}"
