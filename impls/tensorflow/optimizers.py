"""Keras optimisers with the task's formulas, where the stock one is another algorithm; README.md says which, and why.

Each overrides `update_step` alone. `l2` is the task's weight decay; the stock `weight_decay` is decoupled in every
Keras optimiser, so it is left None. The names p, g, m, s, t are those of bench.task's formulas.
"""

import math

import keras
import tensorflow as tf
from keras import ops


class FallingRate(keras.optimizers.schedules.LearningRateSchedule):
    """rate * factor^floor(t / every_steps), as the task has it.

    Keras' ExponentialDecay divides in float32, and a graph turns that division into a product with the reciprocal,
    which can miss a whole number by a bit. The power is taken in float64, as a GPU's float32 power is not exact.
    """

    def __init__(self, rate: float, factor: float, every_steps: int) -> None:
        super().__init__()
        self.rate, self.factor, self.every_steps = rate, factor, every_steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """float32, and exact: the rate is a float32 value and the factor a power of two."""
        times = ops.cast(ops.floor_divide(step, self.every_steps), "float64")
        return ops.cast(self.rate * ops.power(ops.cast(self.factor, "float64"), times), "float32")


class SgdAsTask(keras.optimizers.SGD):
    """L2 in the gradient, where the stock one shrinks p beside the momentum, and the rate outside the momentum.

    The stock form, v = mu v - rate g; p = p + v, is the task's for a constant rate alone.
    """

    l2: float

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        """One update of one variable."""
        rate = ops.cast(learning_rate, variable.dtype)
        v = gradient + self.l2 * variable if self.l2 else gradient
        if self.momentum:
            momentums = self.momentums[self._get_variable_index(variable)]
            v = self.momentum * momentums + v
            self.assign(momentums, v)
        self.assign_sub(variable, rate * v)


class RmsPropAsTask(keras.optimizers.RMSprop):
    """Divides by sqrt(s) + eps; the stock one by sqrt(s + eps), which no choice of eps makes the same."""

    l2: float

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        """One update of one variable."""
        rate = ops.cast(learning_rate, variable.dtype)
        s = self._velocities[self._get_variable_index(variable)]
        g = gradient + self.l2 * variable if self.l2 else gradient
        self.assign(s, self.rho * s + (1 - self.rho) * ops.square(g))
        self.assign_sub(variable, rate * g / (ops.sqrt(s) + self.epsilon))


class AdamAsTask(keras.optimizers.Adam):
    """Adds eps to the corrected root; the stock one to the uncorrected, so that its eps means another number."""

    l2: float

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        """One update of one variable."""
        g = gradient + self.l2 * variable if self.l2 else gradient
        self._adam_step(g, variable, learning_rate)

    def _adam_step(self, g: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        t = ops.cast(self.iterations + 1, variable.dtype)
        m = self._momentums[self._get_variable_index(variable)]
        s = self._velocities[self._get_variable_index(variable)]
        self.assign(m, self.beta_1 * m + (1 - self.beta_1) * g)
        self.assign(s, self.beta_2 * s + (1 - self.beta_2) * ops.square(g))
        m_hat, s_hat = m / one_minus_power(self.beta_1, t), s / one_minus_power(self.beta_2, t)
        self.assign_sub(variable, rate * m_hat / (ops.sqrt(s_hat) + self.epsilon))


class AdamWAsTask(AdamAsTask):
    """The decay first, decoupled, then Adam's step without it."""

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        """One update of one variable."""
        rate = ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, rate * self.l2 * variable)
        self._adam_step(gradient, variable, learning_rate)


def one_minus_power(beta: float, t: tf.Tensor) -> tf.Tensor | float:
    """1 - beta^t in the dtype of t; in float32 the plain difference loses most of its digits while beta^t is near 1."""
    return -ops.expm1(t * math.log(beta)) if beta else 1.0
