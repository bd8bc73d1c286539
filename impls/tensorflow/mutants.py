"""tensorflow-function with one deliberate fault each, for the suite that shows that a certificate finds it.

A fault is a change to the task that is built, to a part of the honest trainer, or to one of its methods. Where a task
has nothing that the fault could change (eps in gradient descent), the trainer is the honest one.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bench.contract import Array, Data, Params
from bench.task import Adam, AdamW, RmsProp, Sgd, Task
from impls.tensorflow import function
from impls.tensorflow.function import Trainer
from impls.tensorflow.mlp import configure, versions
from impls.tensorflow.optimizers import AdamAsTask, FallingRate, SgdAsTask

__all__ = ["MUTANTS", "configure", "versions"]

Build = Callable[[Task, Params, Data], Trainer]

_SMOOTHING = 1 / 100
_SKIPPED = 50
_TF32_BITS_DROPPED = 13  # of the 23 that float32 has in the mantissa
_BFLOAT16_BITS_DROPPED = 16


# Changes to the task.


def _retasked(change: Callable[[Any], dict[str, Any]]) -> Build:
    """The honest trainer of a task whose optimiser has other values; change: optimiser -> those values."""

    def _build(task: Task, params: Params, data: Data) -> Trainer:
        return function.build(
            task.changed(optimizer=task.optimizer.model_dump() | change(task.optimizer)), params, data
        )

    return _build


def _eps_value(o: Any) -> dict[str, Any]:
    return {"eps": o.eps * (1 + 9)} if isinstance(o, Adam) else {}


def _momentum_off(o: Any) -> dict[str, Any]:
    return {"momentum": o.momentum - _SMOOTHING} if isinstance(o, Sgd) and o.momentum else {}


def _coupled(o: Any) -> dict[str, Any]:
    return {"name": "adam"} if isinstance(o, AdamW) else {}


def _no_decay(o: Any) -> dict[str, Any]:
    return {} if isinstance(o, AdamW) else {"weight_decay": 0.0}


# Changes to a part of the honest trainer, before its step is traced.


def _planted(plant: Callable[[Task, Trainer], None]) -> Build:
    """The honest trainer, changed by plant."""

    def _build(task: Task, params: Params, data: Data) -> Trainer:
        trainer = function.build(task, params, data)
        plant(task, trainer)
        return trainer

    return _build


def _default_initialisation(task: Task, trainer: Trainer) -> None:
    for layer in trainer.network.layers:
        initial = keras.initializers.GlorotUniform(seed=task.seed)  # Dense's own
        layer.kernel.assign(initial(layer.kernel.shape, dtype=task.dtype))


def _output_activation(activation: Callable[[tf.Tensor], tf.Tensor]) -> Build:
    def _plant(_: Task, trainer: Trainer) -> None:
        trainer.network.layers[-1].activation = activation

    return _planted(_plant)


def _gelu_approximate(task: Task, trainer: Trainer) -> None:
    if task.activation == "gelu":
        for layer in trainer.network.layers[:-1]:
            layer.activation = functools.partial(tf.nn.gelu, approximate=True)


def _inputs_rounded(dropped: int) -> Build:
    """The images with so many bits fewer in the mantissa, rounded to nearest, ties to even."""

    def _plant(task: Task, trainer: Trainer) -> None:
        bits = trainer.images.numpy().astype(np.float32).view(np.uint32)
        last = (bits >> dropped) & 1
        bits = (bits + (1 << (dropped - 1)) - 1 + last) >> dropped << dropped
        trainer.images = tf.constant(bits.astype(np.uint32).view(np.float32).astype(task.dtype))

    return _planted(_plant)


# Changes to the optimiser.


def _optimized(make: Callable[[Any], keras.optimizers.Optimizer | None]) -> Build:
    """The trainer with the optimiser that make gives for the task's; None: with the honest one."""

    def _plant(task: Task, trainer: Trainer) -> None:
        optimizer = make(task.optimizer)
        if optimizer is not None:
            optimizer.l2 = task.optimizer.weight_decay
            optimizer.build(trainer.network.trainable_variables)
            trainer.optimizer = optimizer

    return _planted(_plant)


class Dampened(SgdAsTask):
    """v = mu v + (1 - mu) g, but v = g in the first step, as torch has it."""

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        share = tf.where(self.iterations.value > 0, tf.cast(1 - self.momentum, gradient.dtype), 1)
        super().update_step(share * gradient, variable, learning_rate)


class Uncorrected(AdamAsTask):
    """m and s as they are, without 1 - beta^t."""

    def _adam_step(self, g: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        m = self._momentums[self._get_variable_index(variable)]
        s = self._velocities[self._get_variable_index(variable)]
        self.assign(m, self.beta_1 * m + (1 - self.beta_1) * g)
        self.assign(s, self.beta_2 * s + (1 - self.beta_2) * tf.square(g))
        self.assign_sub(variable, tf.cast(learning_rate, g.dtype) * m / (tf.sqrt(s.value) + self.epsilon))


def _sgd(kind: type[keras.optimizers.SGD], **others: Any) -> Callable[[Any], keras.optimizers.Optimizer | None]:
    """Keras' form of SGD, v = mu v - rate g; p = p + v, or a subclass."""

    def _make(o: Any) -> keras.optimizers.Optimizer | None:
        if not isinstance(o, Sgd) or not o.momentum:
            return None
        rate = FallingRate(o.learning_rate, o.decay.factor, o.decay.every_steps) if o.decay else o.learning_rate
        return kind(learning_rate=rate, momentum=o.momentum, **others)

    return _make


def _decoupled(o: Any) -> keras.optimizers.Optimizer | None:
    return _sgd(keras.optimizers.SGD, weight_decay=o.weight_decay)(o) if o.weight_decay else None


def _adam(kind: type[keras.optimizers.Adam]) -> Callable[[Any], keras.optimizers.Optimizer | None]:
    def _make(o: Any) -> keras.optimizers.Optimizer | None:
        if not isinstance(o, Adam):
            return None
        return kind(learning_rate=o.learning_rate, beta_1=o.beta1, beta_2=o.beta2, epsilon=o.eps)

    return _make


def _stock_rmsprop(o: Any) -> keras.optimizers.Optimizer | None:
    if not isinstance(o, RmsProp):
        return None
    return keras.optimizers.RMSprop(learning_rate=o.learning_rate, rho=o.rho, epsilon=o.eps)


# Changes to what the optimiser is given.


class _Fed:
    """An optimiser whose `apply` is another function of the honest one and the gradients."""

    def __init__(self, optimizer: keras.optimizers.Optimizer, apply: Callable[[Any, list[tf.Tensor]], None]) -> None:
        self._optimizer, self._apply = optimizer, apply

    def apply(self, gradients: list[tf.Tensor]) -> None:
        self._apply(self._optimizer, gradients)


def _fed(make: Callable[[list[tf.Variable]], Callable[[Any, list[tf.Tensor]], None]]) -> Build:
    """make: the network's variables -> what is done with the honest optimiser and the gradients."""

    def _plant(_: Task, trainer: Trainer) -> None:
        trainer.optimizer = _Fed(trainer.optimizer, make(trainer.network.trainable_variables))

    return _planted(_plant)


def _only(chosen: Callable[[list[Any]], list[Any]]) -> Build:
    """Only the chosen variables are trained."""

    def _make(variables: list[Any]) -> Callable[[Any, list[tf.Tensor]], None]:
        def _apply(optimizer: Any, gradients: list[tf.Tensor]) -> None:
            pairs = chosen(list(zip(gradients, variables, strict=True)))
            optimizer.apply([g for g, _ in pairs], [p for _, p in pairs])

        return _apply

    return _fed(_make)


def _zeros(variables: list[Any]) -> list[tf.Variable]:
    return [tf.Variable(tf.zeros_like(p.value), trainable=False) for p in variables]


def _accumulated(variables: list[Any]) -> Callable[[Any, list[tf.Tensor]], None]:
    sums = _zeros(variables)
    return lambda optimizer, gradients: optimizer.apply([s.assign_add(g) for s, g in zip(sums, gradients, strict=True)])


def _clipped(_: list[Any]) -> Callable[[Any, list[tf.Tensor]], None]:
    return lambda optimizer, gradients: optimizer.apply(tf.clip_by_global_norm(gradients, 1.0)[0])


def _when(condition: tf.Tensor, optimizer: Any, gradients: list[tf.Tensor]) -> None:
    def _apply() -> tf.Tensor:
        optimizer.apply(gradients)
        return tf.constant(True)

    tf.cond(condition, _apply, lambda: tf.constant(False))


def _skipping(_: list[Any]) -> Callable[[Any, list[tf.Tensor]], None]:
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    return lambda optimizer, gradients: _when(step.assign_add(1) % _SKIPPED != 0, optimizer, gradients)


def _late(variables: list[Any]) -> Callable[[Any, list[tf.Tensor]], None]:
    kept, started = _zeros(variables), tf.Variable(False, trainable=False)

    def _apply(optimizer: Any, gradients: list[tf.Tensor]) -> None:
        _when(started.read_value(), optimizer, [k.read_value() for k in kept])
        for k, g in zip(kept, gradients, strict=True):
            k.assign(g)
        started.assign(True)

    return _apply


# Changes to a method.


class _BatchesReversed(Trainer):
    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        return super().train(batches[::-1])


class _ShuffleOffByOne(Trainer):
    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        return super().train((batches + 1) % len(self.labels))


class _HalfBatch(Trainer):
    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        return super().train(batches[:, : batches.shape[1] // 2])


class _LastBatchDropped(Trainer):
    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        if len(batches) == 1:
            return super().train(batches)
        losses = super().train(batches[:-1])
        return np.append(losses, losses[-1:])


class _LayerTransposed(Trainer):
    """x W^T is the honest layer with W transposed on its way in and out."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        super().__init__(task, [(_transposed(weight), bias) for weight, bias in params], data)

    def params(self) -> Params:
        return [(_transposed(weight), bias) for weight, bias in super().params()]


def _transposed(weight: Array) -> Array:
    return weight.T.copy() if weight.shape[0] == weight.shape[1] else weight


class _LossAfterUpdate(Trainer):
    def step(self, rows: tf.Tensor) -> tf.Tensor:
        super().step(rows)
        logits = self.network(tf.gather(self.images, rows))
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(self.labels, rows), logits))


class _OtherLoss(Trainer):
    """The honest step but for `_loss`, labels and logits -> loss."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        super().__init__(task, params, data)
        self._graph = tf.function(self._step, jit_compile=False)

    def _step(self, rows: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = self.network(tf.gather(self.images, rows), training=True)
            loss = self._loss(tf.gather(self.labels, rows), logits)
        self.optimizer.apply(tape.gradient(loss, self.network.trainable_variables))
        return loss

    def _loss(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError


class _SumForMean(_OtherLoss):
    def _loss(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


class _LabelSmoothing(_OtherLoss):
    def _loss(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        classes = logits.shape[1]
        smooth = (1 - _SMOOTHING) * tf.one_hot(labels, classes, dtype=logits.dtype) + _SMOOTHING / classes
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(smooth, logits))


MUTANTS: dict[str, Build] = {
    "no-zero-grad": _fed(_accumulated),
    "default-initialisation": _planted(_default_initialisation),
    "bias-frozen": _only(lambda pairs: [pair for pair in pairs if len(pair[0].shape) > 1]),
    "nesterov": _optimized(_sgd(keras.optimizers.SGD, nesterov=True)),
    "dampening": _optimized(_sgd(Dampened)),
    "momentum-form": _optimized(_sgd(keras.optimizers.SGD)),
    "weight-decay-decoupled": _optimized(_decoupled),
    "weight-decay-coupled": _retasked(_coupled),
    "weight-decay-forgotten": _retasked(_no_decay),
    "adam-eps-value": _retasked(_eps_value),
    "adam-eps-placement": _optimized(_adam(keras.optimizers.Adam)),
    "rmsprop-eps-placement": _optimized(_stock_rmsprop),
    "no-bias-correction": _optimized(_adam(Uncorrected)),
    "label-smoothing": _LabelSmoothing,
    "sum-for-mean": _SumForMean,
    "double-softmax": _output_activation(tf.nn.softmax),
    "relu-on-output": _output_activation(tf.nn.relu),
    "layer-transposed": _LayerTransposed,
    "batches-reversed": _BatchesReversed,
    "shuffle-off-by-one": _ShuffleOffByOne,
    "step-skipped": _fed(_skipping),
    "last-batch-dropped": _LastBatchDropped,
    "half-batch": _HalfBatch,
    "inputs-rounded-tf32": _inputs_rounded(_TF32_BITS_DROPPED),
    "inputs-rounded-bf16": _inputs_rounded(_BFLOAT16_BITS_DROPPED),
    "gradient-clipped": _fed(_clipped),
    "learning-rate-off": _retasked(lambda o: {"learning_rate": o.learning_rate * 1.01}),
    "stale-parameters": _fed(_late),
    "evaluation-in-place-of-training": _only(lambda _: []),
    "momentum-off": _retasked(_momentum_off),
    "gelu-approximate": _planted(_gelu_approximate),
    "last-layer-only": _only(lambda pairs: pairs[-2:]),
    "loss-after-update": _LossAfterUpdate,
}
