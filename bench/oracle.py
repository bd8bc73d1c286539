"""Task, parameters, data -> the same training written out in NumPy, float64, gradients by hand.

The one implementation that no framework wrote: certificates hold every entry against it. Plain rather than fast. Its
gradients are checked against central finite differences (tests/bench/test_oracle.py). In the task's own dtype it is the
entry `numpy`.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bench.contract import Array, Data, Params
from bench.task import Adam, AdamW, RmsProp, Sgd, Task


class Oracle:
    """The network of a task, its optimiser's state, and the data, in one dtype.

    The arrays given are not changed. Images are converted batch by batch, so that no second training set is held.
    """

    def __init__(
        self,
        task: Task,
        params: Params,
        data: Data,
        *,
        dtype: DTypeLike = np.float64,
        slope: Callable[[int, Array, Array], Array] | None = None,
        factor: Callable[[Array], Array] | None = None,
    ) -> None:
        """For the error budget: slope, (layer, input, slope) of a ReLU -> the slope to take, since it tries either;
        factor, a factor of a matrix product -> the one to multiply, since a device may round it first."""
        self._task, self._data, self._relu_slope, self._factor = task, data, slope, factor
        self._dtype: np.dtype[Any] = np.dtype(dtype)
        # One flat list, weight and bias in turn: an optimiser treats both alike.
        self._params: list[Array] = [array.astype(self._dtype) for layer in params for array in layer]
        self._first = [np.zeros_like(p) for p in self._params]  # velocity, or mean of gradients
        self._second = [np.zeros_like(p) for p in self._params]  # mean of squared gradients
        self._updates = 0
        # Of the latest step, for those who compare with it: what each layer gave before its activation, the gradients.
        self.before: list[Array] = []
        self.latest_gradients: list[Array] = []

    @property
    def flat(self) -> list[Array]:
        """The present parameters themselves, weight and bias of each layer in turn. Not to be changed."""
        return self._params

    def params(self) -> Params:
        """Copies of weight (fan_in, fan_out) and bias (fan_out,) of each layer."""
        flat = [p.copy() for p in self._params]
        return list(zip(flat[::2], flat[1::2], strict=True))

    def logits(self, images: Array) -> Array:
        """(n, pixels) -> (n, classes)."""
        x = images.astype(self._dtype, copy=False)
        last = len(self._params) - 2
        for layer in range(0, len(self._params), 2):
            x = self._product(x, self._params[layer]) + self._params[layer + 1]  # (n, fan_out)
            if layer < last:
                x = self._activation(x)
        return x

    def gradients(self, rows: NDArray[np.int64]) -> tuple[float, list[Array]]:
        """Mean loss over the rows, and its gradient by each parameter, weight and bias in turn."""
        images = self._data.images[rows].astype(self._dtype, copy=False)  # (batch, pixels)
        labels = self._data.labels[rows]  # (batch,)
        inputs, before = [images], []  # of each layer: what went in, and what came out before the activation
        for layer in range(0, len(self._params), 2):
            before.append(self._product(inputs[-1], self._params[layer]) + self._params[layer + 1])
            inputs.append(self._activation(before[-1]))
        logits = before[-1]  # (batch, classes): no activation after the last layer

        each = np.arange(len(rows))
        shifted = logits - logits.max(axis=1, keepdims=True)  # exp cannot overflow
        exponentials = np.exp(shifted)
        sums = exponentials.sum(axis=1, keepdims=True)
        loss = float((np.log(sums[:, 0]) - shifted[each, labels]).mean())

        delta = exponentials / sums  # d loss / d logits = (softmax - one-hot) / batch
        delta[each, labels] -= 1
        delta /= len(rows)
        gradients: list[Array] = []
        for layer in range(len(before) - 1, -1, -1):
            gradients[:0] = [self._product(inputs[layer].T, delta), delta.sum(axis=0)]
            if layer > 0:
                slope = self._slope(layer - 1, before[layer - 1], inputs[layer])
                delta = self._product(delta, self._params[2 * layer].T) * slope
        self.before, self.latest_gradients = before, gradients
        return loss, gradients

    def step(self, rows: NDArray[np.int64]) -> float:
        """One optimiser step; returns the mean loss of the rows before it."""
        loss, gradients = self.gradients(rows)
        self._updates += 1
        for index, gradient in enumerate(gradients):
            self._update(index, gradient)
        return loss

    def _product(self, a: Array, b: Array) -> Array:
        product: Array = a @ b if self._factor is None else self._factor(a) @ self._factor(b)
        return product

    def _activation(self, x: Array) -> Array:
        match self._task.activation:
            case "relu":
                return np.maximum(x, 0)
            case "tanh":
                return np.tanh(x)
            case "gelu":  # exact: x Phi(x)
                return x * self._normal_cdf(x)

    def _slope(self, layer: int, x: Array, y: Array) -> Array:
        """Derivative of the activation at x, where it has the value y. ReLU's at 0 is 0, as in every framework."""
        match self._task.activation:
            case "relu":
                slope = (x > 0).astype(self._dtype)
                return self._relu_slope(layer, x, slope) if self._relu_slope else slope
            case "tanh":
                return 1 - y * y
            case "gelu":  # Phi(x) + x phi(x)
                return self._normal_cdf(x) + x * np.exp(-0.5 * x * x) * math.sqrt(0.5 / math.pi)

    def _normal_cdf(self, x: Array) -> Array:
        from scipy.special import erf  # a third of a second to load, for gelu alone

        # Python's numbers take the dtype of the array they meet: float32 stays float32.
        cdf: Array = 0.5 * (1 + erf(x * math.sqrt(0.5)))
        return cdf

    def _update(self, index: int, g: Array) -> None:
        """The formulas in the docstrings of bench.task, letter by letter; p, m and s are changed in place."""
        p, m, s = self._params[index], self._first[index], self._second[index]
        optimizer, t = self._task.optimizer, self._updates
        if not isinstance(optimizer, AdamW) and optimizer.weight_decay:
            g = g + optimizer.weight_decay * p
        match optimizer:
            case Sgd(momentum=momentum):
                m *= momentum
                m += g
                p -= optimizer.rate(t - 1) * m
            case RmsProp(learning_rate=rate, rho=rho, eps=eps):
                s *= rho
                s += (1 - rho) * g * g
                p -= rate * g / (np.sqrt(s) + eps)
            case (
                Adam(learning_rate=rate, beta1=beta1, beta2=beta2, eps=eps)
                | AdamW(learning_rate=rate, beta1=beta1, beta2=beta2, eps=eps)
            ):
                if isinstance(optimizer, AdamW):
                    p -= rate * optimizer.weight_decay * p
                m *= beta1
                m += (1 - beta1) * g
                s *= beta2
                s += (1 - beta2) * g * g
                p -= rate * (m / (1 - beta1**t)) / (np.sqrt(s / (1 - beta2**t)) + eps)
