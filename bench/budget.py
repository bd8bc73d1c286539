"""Task and inputs -> how far honest training in the task's dtype strays from the float64 oracle, step by step. Pure.

A *draw* is the oracle's own training in that dtype with its sums in another order: pixels, units and rows are permuted,
which changes no result but its rounding. Where a ReLU's input is so close to 0 that rounding decides its sign, a draw
tosses a coin, for there an honest entry may go either way. Where products are TF32, it rounds their factors to that
precision in one of the ways that a device may. What several draws stray is what an honest entry may stray,
and the tolerance is their prediction interval for one more draw.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.contract import Array, Data, Params, Precision
from bench.oracle import Oracle
from bench.task import Task

# A unit is in doubt where its input is at most so many times the largest error of its layer away from 0.
_DOUBT = 2.0
_TF32_DROPPED_BITS = 13  # of float32's 23 stored bits TF32 keeps 10

Figures = dict[str, list[float | None]]


class Draw:
    """An oracle in the task's dtype whose sums run in an order of its own, seen from outside in the oracle's order."""

    def __init__(
        self,
        task: Task,
        params: Params,
        data: Data,
        generator: np.random.Generator,
        *,
        precision: Precision = "ieee",
    ) -> None:
        *inner, classes = task.layers
        self._orders = [*map(generator.permutation, inner), np.arange(classes)]  # of pixels, of each layer's units
        pairs = zip(params, self._orders, self._orders[1:], strict=False)
        permuted = [(weight[before][:, after], bias[after]) for (weight, bias), before, after in pairs]
        images = np.ascontiguousarray(data.images[:, self._orders[0]])
        own = Data(images=images, labels=data.labels)
        rounds = precision == "tf32" and task.dtype == "float32"
        factor = _tf32(generator) if rounds else None
        self._permuted = Oracle(task, permuted, own, dtype=task.dtype, slope=self._toss, factor=factor)
        self._generator = generator
        self._truth: list[Array] = []
        self._errors = [0.0] * len(inner)  # of each layer's inputs to its activation, the largest so far
        self._strayed = False  # a toss has fallen on the other side than the oracle's

    def step(self, rows: NDArray[np.int64], truth: Sequence[Array]) -> float:
        """One step; truth: what the float64 oracle's layers gave for these rows before their activations."""
        order = self._generator.permutation(len(rows))
        self._truth = [layer[order][:, units] for layer, units in zip(truth, self._orders[1:], strict=True)]
        return self._permuted.step(rows[order])

    def flat(self) -> list[Array]:
        """The parameters with their units back in the oracle's order, weight and bias in turn."""
        back = [np.argsort(order) for order in self._orders]
        flat = []
        for layer, (weight, bias) in enumerate(self._permuted.params()):
            flat += [weight[back[layer]][:, back[layer + 1]], bias[back[layer + 1]]]
        return flat

    def logits(self, images: Array) -> Array:
        """(n, pixels), in the oracle's order -> (n, classes)."""
        return self._permuted.logits(images[:, self._orders[0]])

    def _toss(self, layer: int, x: Array, slope: Array) -> Array:
        """Either slope of a ReLU where rounding alone may decide between them."""
        if not self._strayed:  # after that its distance from the truth is no rounding, so the errors of before stand
            self._errors[layer] = max(self._errors[layer], float(np.abs(x - self._truth[layer]).max()))
        doubtful = np.abs(self._truth[layer]) <= _DOUBT * self._errors[layer]
        tossed = slope.copy()
        tossed[doubtful] = self._generator.integers(0, 2, int(doubtful.sum()))
        self._strayed |= not np.array_equal(tossed, self._truth[layer] > 0)
        return tossed


def _tf32(generator: np.random.Generator) -> Callable[[Array], Array]:
    """float32 -> float32 with the 10 stored bits of TF32: cut off, to the nearest, or up and down at random.

    Which of them a device does is not documented, so a draw takes one by chance.
    """
    way = generator.choice(["cut", "nearest", "random"])

    def factor(x: Array) -> Array:
        bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
        unit = np.uint32(1 << _TF32_DROPPED_BITS)
        if way == "nearest":
            bits = bits + unit // np.uint32(2)
        elif way == "random":
            bits = bits + generator.integers(0, unit, bits.shape, dtype=np.uint32)
        return (bits & ~(unit - np.uint32(1))).view(np.float32)

    return factor


def student_quantile(freedom: int, p: float) -> float:
    """The t below which a share p > 1/2 of Student's t lies, for a whole number of degrees of freedom.

    Where t = sqrt(freedom) tan(angle), P(|T| <= t) is a finite sum of powers of the angle's cosine (Abramowitz and
    Stegun 1964, 26.7.3 and 26.7.4), and it grows with the angle, which bisection therefore finds. Every worker needs
    one such number, and nothing else of SciPy, whose import takes as long as its whole budget.
    """
    inside = 2 * p - 1  # P(|T| <= t)
    odd = freedom % 2

    def within(angle: float) -> float:
        cosine = math.cos(angle)
        term, total = (cosine, cosine) if odd else (1.0, 1.0)
        for k in range(3 if odd else 2, freedom, 2):  # the terms up to cos^(freedom - 2)
            term *= (k - 1) / k * cosine * cosine
            total += term
        if not odd:
            return math.sin(angle) * total
        return 2 / math.pi * (angle + (math.sin(angle) * total if freedom > 1 else 0.0))

    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if within(middle) < inside else (low, middle)
    return math.sqrt(freedom) * math.tan(middle)


def tolerances(draws: Sequence[Figures], *, dtype: str, false_refusal: float) -> dict[str, list[float]]:
    """Figures of R draws -> for each figure and step the deviation that an honest entry stays within.

    tolerance(k) = t(1 - p / 2N; R) * max(u, max over j <= k of rms over the draws of deviation(j)): the prediction
    interval of Student's t for one more draw whose mean is known to be 0 (the oracle), with Bonferroni's correction for
    N comparisons in all, p being `false_refusal` and u the unit roundoff of the dtype. Assumes that the entry rounds as
    well as a draw does. The running maximum, because a step where the draws happen to agree proves nothing.
    """
    comparisons = sum(len(steps) for steps in draws[0].values())
    quantile = student_quantile(len(draws), 1 - false_refusal / (2 * comparisons))
    roundoff = float(np.finfo(dtype).eps) / 2
    found = {}
    for figure in draws[0]:
        values = np.array([[np.inf if d is None else d for d in draw[figure]] for draw in draws])  # (draws, steps)
        rms = np.sqrt(np.mean(values**2, axis=0))
        bounds = quantile * np.maximum(roundoff, np.maximum.accumulate(rms))
        # Where a draw has no finite value there is no bound, and nothing is certified: 0.
        found[figure] = np.where(np.isfinite(bounds), bounds, 0.0).tolist()
    return found
