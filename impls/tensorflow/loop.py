"""tensorflow-loop: the loop over the batches inside one graph, and the updates in TensorFlow's training kernels."""

import math

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bench.contract import Data, Params
from bench.task import Adam, AdamW, RmsProp, Sgd, Task
from impls.tensorflow import mlp
from impls.tensorflow.function import gathering
from impls.tensorflow.mlp import (
    configure,
    device_memory,
    host_reads,
    matmul,
    reset_device_memory,
    synchronize,
    versions,
)
from impls.tensorflow.optimizers import FallingRate, one_minus_power

__all__ = [
    "build",
    "configure",
    "device_memory",
    "host_reads",
    "matmul",
    "reset_device_memory",
    "synchronize",
    "versions",
]


class Trainer(mlp.Trainer):
    """See bench.contract. One trace serves every number of steps."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        self.images = tf.constant(data.images)  # (n, pixels)
        self.labels = tf.constant(data.labels)  # (n,)
        self.network = mlp.build_network(task, params)
        self.optimizer = FusedUpdates(task, [v.value for v in self.network.trainable_variables])
        order = tf.TensorSpec((None, task.batch_size), tf.int64)  # another number of steps is no other graph
        self._graph = tf.function(self._loop, input_signature=[order], autograph=False, jit_compile=False)
        self._gather = gathering(self.images, self.labels, task.batch_size, jit_compile=False)

    def _loop(self, order: tf.Tensor) -> tf.Tensor:
        """(steps, batch) -> losses (steps,)."""
        steps = tf.shape(order)[0]

        def _body(step: tf.Tensor, losses: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            return step + 1, losses.write(step, self.step(tf.gather(order, step)))

        start = (tf.constant(0), tf.TensorArray(self.images.dtype, steps))
        # A step waits for the one before through the variables, so iterations side by side only cost bookkeeping.
        _, losses = tf.while_loop(lambda step, _: step < steps, _body, start, parallel_iterations=1)
        return losses.stack()

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        return self._graph(tf.constant(batches)).numpy().astype(np.float32, copy=False)

    def gather(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract. By a graph of its own, the same loop with nothing else in it."""
        self._gather(tf.constant(batches))
        synchronize()

    def compilations(self) -> int:
        """See bench.contract."""
        return self._graph.experimental_get_tracing_count()

    def _graphs(self, batches: NDArray[np.int64]) -> list[tf.Graph]:  # noqa: ARG002
        return [self._graph.get_concrete_function().graph]


class FusedUpdates:
    """The task's optimiser in TensorFlow's training kernels, which make one pass over a variable and its slots.

    The names p, g, v, s, m and t are those of the formulas in bench.task.
    """

    def __init__(self, task: Task, variables: list[tf.Variable]) -> None:
        self._kind, self._variables = task.optimizer, variables
        self._updates = tf.Variable(0, dtype=tf.int64, trainable=False)
        match self._kind:
            case Sgd(momentum=momentum):
                slots = 1 if momentum else 0
            case RmsProp():
                slots = 1
            case Adam() | AdamW():
                slots = 2
        self._slots = [
            [tf.Variable(tf.zeros_like(p), trainable=False, name=f"moment_{slot}_of_{index}") for slot in range(slots)]
            for index, p in enumerate(variables)
        ]

    @property
    def variables(self) -> list[tf.Variable]:
        """What is kept of the parameters."""
        return [slot for slots in self._slots for slot in slots]

    def apply(self, gradients: list[tf.Tensor]) -> None:
        """One update of every variable."""
        # 4. The optimiser follows the task's formula, with every hyperparameter given.
        o = self._kind
        before = self._updates.read_value()
        for p, g, slots in zip(self._variables, gradients, self._slots, strict=True):
            if o.weight_decay and not isinstance(o, AdamW):
                g = g + o.weight_decay * p
            match o:
                case Sgd():
                    _sgd(o, p, g, slots, before)
                case RmsProp():
                    _rmsprop(o, p, g, slots[0])
                case AdamW():
                    _descend(p, _like(p, o.learning_rate * o.weight_decay)[0], p)
                    _adam(o, p, g, slots, before)
                case Adam():
                    _adam(o, p, g, slots, before)
        self._updates.assign_add(1)


def _like(p: tf.Variable, *values: float) -> list[tf.Tensor]:
    """The numbers as tensors of the variable's dtype: a kernel would take a Python number for float32."""
    return [tf.constant(value, p.dtype) for value in values]


def _descend(p: tf.Variable, rate: tf.Tensor, g: tf.Tensor) -> None:
    """p = p - rate * g."""
    tf.raw_ops.ResourceApplyGradientDescent(var=p.handle, alpha=rate, delta=g)


def _sgd(o: Sgd, p: tf.Variable, g: tf.Tensor, slots: list[tf.Variable], before: tf.Tensor) -> None:
    """v = momentum * v + g; p = p - rate * v. ResourceApplyKerasMomentum has the rate inside v instead."""
    rate, momentum = _like(p, o.learning_rate, o.momentum)
    if o.decay:
        rate = tf.cast(FallingRate(o.learning_rate, o.decay.factor, o.decay.every_steps)(before), p.dtype)
    if not slots:
        _descend(p, rate, g)
        return
    v = slots[0].handle
    tf.raw_ops.ResourceApplyMomentum(var=p.handle, accum=v, lr=rate, grad=g, momentum=momentum, use_nesterov=False)


def _rmsprop(o: RmsProp, p: tf.Variable, g: tf.Tensor, a: tf.Variable) -> None:
    """Adagrad's kernel, a = a + g^2; p = p - lr * g / (sqrt(a) + epsilon), with a multiplied by rho before.

    a is s / (1 - rho), so epsilon and lr are eps and the rate over sqrt(1 - rho). TensorFlow's kernel of the name
    RMSProp has eps inside the root.
    """
    root = math.sqrt(1 - o.rho)
    rho, lr, epsilon = _like(p, o.rho, o.learning_rate / root, o.eps / root)
    a.assign(rho * a)
    tf.raw_ops.ResourceApplyAdagradV2(var=p.handle, accum=a.handle, lr=lr, epsilon=epsilon, grad=g, update_slots=True)


def _adam(o: Adam | AdamW, p: tf.Variable, g: tf.Tensor, slots: list[tf.Variable], before: tf.Tensor) -> None:
    """The kernel divides by the uncorrected root plus epsilon: so the corrections are in the rate and in eps.

    Its own corrections would be 1 - power in float32, which loses most of the digits; a power of 0 leaves them out.
    """
    m, s = slots
    lr, beta1, beta2, eps, no_power = _like(p, o.learning_rate, o.beta1, o.beta2, o.eps, 0.0)
    t = tf.cast(before + 1, p.dtype)
    root = tf.sqrt(one_minus_power(o.beta2, t))
    tf.raw_ops.ResourceApplyAdam(
        var=p.handle,
        m=m.handle,
        v=s.handle,
        beta1_power=no_power,
        beta2_power=no_power,
        lr=lr * root / one_minus_power(o.beta1, t),
        beta1=beta1,
        beta2=beta2,
        epsilon=eps * root,
        grad=g,
        use_nesterov=False,
    )


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)
