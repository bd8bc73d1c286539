"""The task in Keras' own words, whatever the backend: the network, its optimiser, and a trainer that calls fit.

Imported by the entries, which choose the backend first.
"""

import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.backend.common import dtypes
from numpy.typing import NDArray

from bench.contract import Array, Data, Params
from bench.task import Adam, AdamW, RmsProp, Sgd, Task
from impls.keras.optimizers import AdamAsTask, AdamWAsTask, FallingRate, RmsPropAsTask, SgdAsTask

Tensor = Any  # of whichever backend


class Network(keras.Sequential):
    """A chain of layers that keeps the loss of each step of a call of fit.

    fit itself reports the mean of a call alone. The losses are written where fit computes them, into variables of the
    network, so that nothing is read on the host and the step stays one program.
    """

    def __init__(self, layers: list[keras.Layer], *, capacity: int) -> None:
        super().__init__(layers)
        self.capacity = capacity  # steps of a call
        self.kept = keras.Variable(np.zeros(capacity, np.float32), trainable=False, name="kept")
        self.position = keras.Variable(0, dtype="int", trainable=False, name="position")

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Keras' own, and the loss kept."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        self.keep(loss)
        return loss

    def begin(self) -> None:
        """Forget the losses of the last call."""
        self.position.assign(0)

    def keep(self, loss: Tensor) -> None:
        """Part of the step: one more loss."""
        one = ops.reshape(ops.cast(loss, self.kept.dtype), (1,))
        self.kept.assign(ops.scatter_update(self.kept, ops.reshape(self.position, (1, 1)), one))
        self.position.assign(self.position + 1)

    def losses_kept(self, steps: int) -> NDArray[np.float32]:
        """The losses of the last call, on the host."""
        return np.array(ops.convert_to_numpy(self.kept)[:steps])


def build_network(kind: type[Network], task: Task, params: Params) -> Network:
    """The layers of the task with the given parameters."""
    # 2. The network is a chain of fully connected layers, x W + b, with the activation between layers, none after the
    #    last; the weights and biases start as given.
    activation = {"relu": ops.relu, "tanh": ops.tanh, "gelu": _exact_gelu}[task.activation]
    layers: list[keras.Layer] = [keras.Input((task.layers[0],), dtype=task.dtype)]
    for index, (weight, _) in enumerate(params):
        last = index == len(params) - 1
        layers.append(keras.layers.Dense(weight.shape[1], activation=None if last else activation, dtype=task.dtype))
    network = kind(layers, capacity=task.steps_per_epoch)
    for layer, arrays in zip(network.layers, params, strict=True):
        layer.set_weights(arrays)
    return network


def _exact_gelu(x: Tensor) -> Tensor:
    # TensorFlow's own rounds the root of two to float32, also where x is float64: off by 1e-8 a step
    return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))


def build_optimizer(task: Task) -> keras.optimizers.Optimizer:
    """The optimiser of the task, every hyperparameter given."""
    # 4. The optimiser follows the task's formula, with every hyperparameter given.
    match task.optimizer:
        case Sgd() as o:
            rate = o.learning_rate
            if o.decay:
                rate = FallingRate(o.learning_rate, o.decay.factor, o.decay.every_steps)
            kind = SgdAsTask if o.decay or o.weight_decay else keras.optimizers.SGD
            optimizer = kind(learning_rate=rate, momentum=o.momentum, nesterov=False, weight_decay=None)
        case RmsProp() as o:
            optimizer = RmsPropAsTask(
                learning_rate=o.learning_rate, rho=o.rho, epsilon=o.eps, momentum=0.0, centered=False, weight_decay=None
            )
        case Adam() | AdamW() as o:
            kind = AdamWAsTask if isinstance(o, AdamW) else AdamAsTask
            optimizer = kind(
                learning_rate=o.learning_rate,
                beta_1=o.beta1,
                beta_2=o.beta2,
                epsilon=o.eps,
                amsgrad=False,
                weight_decay=None,
            )
    optimizer.l2 = o.weight_decay
    return optimizer


class Trainer:
    """See bench.contract. A backend's own says whether it compiles, and what it does better in its own words."""

    kind = Network
    jit_compile = False

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        self.dtype = task.dtype
        _set_precision(task.dtype)
        # 1. The data are the given images, float in [0, 1], and the given labels, class numbers.
        self.images = self.own(data.images)  # (n, pixels)
        self.labels = self.own(data.labels)  # (n,)
        self.network = build_network(self.kind, task, params)
        # 3. The loss is the mean over the batch of the cross-entropy, computed from the logits.
        self.network.compile(
            optimizer=build_optimizer(task),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=task.dtype),
            jit_compile=self.jit_compile,
        )

    def own(self, array: Array) -> Any:
        """A copy of the data from which fit is fed: in the host's memory, as fit copies each batch to the device."""
        return array.copy()

    def fit(self, batches: NDArray[np.int64]) -> None:
        """One call of fit, with a step for each row of batches."""
        # 5. A step takes the batch's rows, computes the loss, its gradients, and updates the parameters once.
        self.network.fit(self.taken(batches), steps_per_epoch=len(batches), epochs=1, shuffle=False, verbose=0)

    def taken(self, batches: NDArray[np.int64]) -> Iterator[tuple[Array, Array]]:
        """What fit is fed with."""
        return ((self.images[rows], self.labels[rows]) for rows in batches)

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        # 6. Training takes the steps in the order of the given batches, and ends when the losses are on the host.
        _set_precision(self.dtype)  # a trainer of another one may have been built since
        losses = []
        for start in range(0, len(batches), self.network.capacity):
            part = batches[start : start + self.network.capacity]
            self.network.begin()
            self.fit(part)
            losses.append(self.network.losses_kept(len(part)))
        return np.concatenate(losses)

    def logits(self, images: Array) -> Array:
        """See bench.contract."""
        # 7. Evaluation gives the logits of the given images.
        return np.array(ops.convert_to_numpy(self.network(ops.convert_to_tensor(images), training=False)))

    def params(self) -> Params:
        """See bench.contract."""
        arrays = [[np.array(array) for array in layer.get_weights()] for layer in self.network.layers]
        return [(weight, bias) for weight, bias in arrays]

    def placement(self) -> Mapping[str, str]:
        """See bench.contract. Not named: the data, which fit takes from the host; counts and rates, single numbers."""
        variables: dict[str, keras.Variable] = {}
        for index, layer in enumerate(self.network.layers):
            variables |= {f"weight {index}": layer.kernel, f"bias {index}": layer.bias}
        variables |= {v.path: v for v in self.network.optimizer.variables if len(v.shape) > 0}
        return {name: self.device_of(variable.value) for name, variable in variables.items()}

    def device_of(self, tensor: Tensor) -> str:
        """Where a tensor of the backend lies: "cpu" or "cuda"."""
        raise NotImplementedError

    def gather(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract. Each batch is made a tensor, as in a step; what else fit does with it is left out."""
        tensor = None
        for images, labels in self.taken(batches):
            tensor = [ops.convert_to_tensor(images), ops.convert_to_tensor(labels)]
        self.wait(tensor)

    def wait(self, tensors: Any) -> None:
        """Until the tensors of the backend are there."""

    def program(self, name: str) -> Any:
        """What fit calls at each step: Keras keeps it in the closure of its train_function. None before the first."""
        function = self.network.train_function
        return inspect.getclosurevars(function).nonlocals[name] if function else None


def _set_precision(dtype: str) -> None:
    keras.config.set_floatx(dtype)  # of the loss, the rate and the batches
    if dtype == "float64":
        # On JAX and PyTorch, Keras computes float64 in float32 wherever its table of promotions is asked.
        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
