"""Keras optimisers with the task's formulas, where the stock one is another algorithm; README.md says which, and why.

Each overrides `update_step` alone, and knows no backend. `l2` is the task's weight decay; the stock `weight_decay` is
decoupled in every Keras optimiser, so it is left None. The names p, g, v, m, s, t are those of bench.task's formulas.
"""

import math
from typing import Any

import keras
from keras import ops

Tensor = Any  # of whichever backend


class FallingRate(keras.optimizers.schedules.LearningRateSchedule):
    """rate * factor^floor(t / every_steps), as the task has it.

    Keras' ExponentialDecay divides in float32, and a compiled program turns that division into a product with the
    reciprocal, which can miss a whole number by a bit. The factor is a power of two, so its power is an exponent: exp2
    and power are off by some bits in XLA.
    """

    def __init__(self, rate: float, factor: float, every_steps: int) -> None:
        self.rate, self.halvings, self.every_steps = rate, round(-math.log2(factor)), every_steps

    def __call__(self, step: Tensor) -> Tensor:
        """The rate of a step, counted from 0, as float32."""
        times = ops.cast(ops.floor_divide(step, self.every_steps), "int32")
        return ops.ldexp(ops.convert_to_tensor(self.rate, "float32"), -self.halvings * times)


class SgdAsTask(keras.optimizers.SGD):
    """L2 in the gradient, and momentum that the rate is no part of: v = momentum * v + g;  p = p - rate * v.

    The stock one keeps rate * v, so that a rate that falls does not reach what is in it already.
    """

    l2: float

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        """One update of one variable."""
        rate = ops.cast(learning_rate, variable.dtype)
        g = gradient + self.l2 * variable if self.l2 else gradient
        if self.momentum:
            v = self.momentums[self._get_variable_index(variable)]
            g = self.momentum * v + g
            self.assign(v, g)
        self.assign_sub(variable, rate * g)


class RmsPropAsTask(keras.optimizers.RMSprop):
    """Divides by sqrt(s) + eps; the stock one by sqrt(s + eps), which no choice of eps makes the same."""

    l2: float

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        """One update of one variable."""
        rate = ops.cast(learning_rate, variable.dtype)
        s = self._velocities[self._get_variable_index(variable)]
        g = gradient + self.l2 * variable if self.l2 else gradient
        self.assign(s, self.rho * s + (1 - self.rho) * ops.square(g))
        self.assign_sub(variable, rate * g / (ops.sqrt(s) + self.epsilon))


class AdamAsTask(keras.optimizers.Adam):
    """Adds eps to the corrected root; the stock one to the uncorrected, so that its eps means another number."""

    l2: float

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        """One update of one variable."""
        g = gradient + self.l2 * variable if self.l2 else gradient
        self._adam_step(g, variable, learning_rate)

    def _adam_step(self, g: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        t = ops.cast(self.iterations + 1, variable.dtype)
        m = self._momentums[self._get_variable_index(variable)]
        s = self._velocities[self._get_variable_index(variable)]
        self.assign(m, self.beta_1 * m + (1 - self.beta_1) * g)
        self.assign(s, self.beta_2 * s + (1 - self.beta_2) * ops.square(g))
        m_hat, s_hat = m / _one_minus_power(self.beta_1, t), s / _one_minus_power(self.beta_2, t)
        self.assign_sub(variable, rate * m_hat / (ops.sqrt(s_hat) + self.epsilon))


class AdamWAsTask(AdamAsTask):
    """The decay first, decoupled, then Adam's step without it."""

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        """One update of one variable."""
        rate = ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, rate * self.l2 * variable)
        self._adam_step(gradient, variable, learning_rate)


def _one_minus_power(beta: float, t: Tensor) -> Tensor:
    # In float32 the plain difference loses most of its digits while beta^t is near 1.
    return -ops.expm1(t * math.log(beta)) if beta else 1.0
