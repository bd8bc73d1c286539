"""Ceilings: the precision that an error betrays, products timed without their calls, and a copy of known size."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.budget import _tf32
from bench.contract import Array
from bench.probes.ceiling import classify, copy_bandwidth, measure_ceiling, product_error, refuse_other_precision
from bench.task import load_task

TASK = load_task("mlp-tiny")


def rounding(bits: int) -> Callable[[Array, Array], Callable[[int], Array]]:
    """A product of float32 matrices whose factors keep so many bits, as a device's product of that precision does."""

    def rounded(x: Array) -> Array:
        mantissa, exponent = np.frexp(x)
        return np.ldexp(np.round(mantissa * 2**bits) / 2**bits, exponent).astype(np.float32)

    return lambda a, b: lambda _times: rounded(a) @ rounded(b)


@pytest.mark.parametrize(("bits", "precision"), [(24, "ieee"), (11, "tf32"), (8, "bfloat16"), (3, "other")])
def test_the_error_of_a_product_betrays_its_precision(bits: int, precision: str) -> None:
    """Without a GPU: factors rounded by hand to the bits of each format."""
    assert precision == classify(product_error(rounding(bits)))


def test_a_product_that_is_not_finite_is_of_no_known_precision() -> None:
    """NaN must not pass for IEEE."""
    assert "other" == classify(float("nan"))


def test_the_draws_of_tf32_round_as_tf32_does() -> None:
    """Each of the ways keeps 11 bits: the error is that of TF32, and what is representable stays as it is."""
    for seed in range(6):
        factor = _tf32(np.random.default_rng(seed))
        exact = np.array([1.0, -1.5, 2.0**-20, 1 + 2.0**-10], np.float32)

        assert "tf32" == classify(product_error(lambda a, b, f=factor: lambda _times: f(a) @ f(b)))
        np.testing.assert_array_equal(exact, factor(exact))


def module(seconds: float, call_seconds: float = 0.0) -> Any:
    """A framework whose products take so long, and whose every call takes so much more; large squares take long."""

    def matmul(a: Array, b: Array) -> Callable[[int], Array]:
        large = len(a) > 600 and len(b.T) > 600
        product = np.zeros(1) if large else a @ b

        def run(times: int) -> Array:
            until = time.perf_counter() + call_seconds + times * (0.05 if large else seconds)
            while time.perf_counter() < until:
                pass
            return product

        return run

    return SimpleNamespace(matmul=matmul)


def test_the_time_of_a_product_is_told_without_that_of_its_call() -> None:
    """100 us a product and 1 ms a call: it is timed as 100 us, of several the least, for a machine may be busy."""
    found = measure_ceiling(module(1e-4, 1e-3), TASK, 1)

    assert 0.8e-4 < min(product.seconds for product in found.products) < 1.3e-4
    assert ["square", "square"] == [product.what for product in found.products[5:]]  # the second is too slow to go on


def test_the_ceiling_is_the_best_of_all_products_and_names_each() -> None:
    """Every product of a step, and squares."""
    found = measure_ceiling(module(1e-4), TASK, 1)
    names = [product.what for product in found.products]

    assert {"layer 0 forward", "layer 0 weight gradient", "layer 1 input gradient", "square"} <= set(names)
    assert found.flops_per_second.value == max(product.flops_per_second for product in found.products)
    assert "ieee" == found.product_precision


def test_an_entry_without_products_has_no_ceiling_but_the_reason() -> None:
    """Null and why, never 0."""
    found = measure_ceiling(SimpleNamespace(), TASK, 1)  # type: ignore[arg-type]

    assert found.flops_per_second.value is None
    assert "no product of its own" in (found.flops_per_second.reason or "")
    assert refuse_other_precision(found, "cpu", "ieee") is None


def test_another_precision_than_asked_for_is_refused() -> None:
    """TF32 where IEEE was asked for would be the faster side's secret."""
    found = measure_ceiling(module(1e-4), TASK, 1)
    secret = found.model_copy(update={"product_precision": "tf32"})

    assert refuse_other_precision(found, "cuda", "ieee") is None
    assert "asked for ieee products on cuda" in (refuse_other_precision(secret, "cuda", "ieee") or "")
    assert "asked for tf32 products on cuda" in (refuse_other_precision(found, "cuda", "tf32") or "")


def test_a_copy_is_not_faster_than_memory_can_be() -> None:
    """Between 0.5 GB/s and 2 TB/s, and two threads copy as many bytes as one: the count of bytes is not off by 1000."""
    one, two = copy_bandwidth(1).value, copy_bandwidth(2).value

    assert one is not None
    assert two is not None
    assert all(5e8 < value < 2e12 for value in (one, two))
