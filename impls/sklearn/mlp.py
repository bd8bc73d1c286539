"""sklearn: MLPClassifier, one call of partial_fit a batch."""

from collections.abc import Callable, Mapping

import numpy as np
import sklearn
import threadpoolctl
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier

from bench.contract import Array, Data, Params, Refusal, Settings
from bench.task import Adam, AdamW, RmsProp, Sgd, Task


def configure(settings: Settings) -> None:
    """scikit-learn computes with NumPy: the threads are those of its BLAS, and there is no device but the CPU."""
    if settings.device != "cpu":
        raise Refusal(f"scikit-learn has no device {settings.device}: MLPClassifier computes with NumPy")
    if settings.precision != "ieee":
        raise Refusal(
            f"scikit-learn has no {settings.precision.upper()}: MLPClassifier computes with NumPy, on the CPU"
        )
    threadpoolctl.threadpool_limits(settings.threads)


def versions() -> Mapping[str, str]:
    """The framework, and what it computes with."""
    return {"scikit-learn": sklearn.__version__, "numpy": np.__version__}


def refusal(task: Task) -> str | None:
    """Why MLPClassifier cannot do the task; None where it can."""
    if task.activation == "gelu":
        return "MLPClassifier has no GELU: its activations are identity, logistic, tanh and relu"
    match task.optimizer:
        case Sgd(weight_decay=0, decay=None):
            return None
        case Sgd(decay=None):
            return "MLPClassifier's L2 is another formula: it divides alpha by the batch's size and leaves biases out"
        case Sgd():
            return "MLPClassifier's falling rates are others: 'invscaling' by a power of t, 'adaptive' by the loss"
        case Adam():
            return "MLPClassifier's Adam is another formula: its eps stands beside the uncorrected root"
        case AdamW() | RmsProp() as o:
            return f"MLPClassifier has no {o.name}: its solvers are sgd, adam and lbfgs"


def build_network(task: Task, params: Params, data: Data) -> MLPClassifier:
    """The layers of the task with the given parameters, and its optimiser: here they are one object."""
    # 2. The network is a chain of fully connected layers, x W + b, with the activation between layers, none after the
    #    last; the weights and biases start as given.
    # 3. The loss is the mean over the batch of the cross-entropy, computed from the logits.
    # 4. The optimiser follows the task's formula, with every hyperparameter given.
    o = task.optimizer
    assert isinstance(o, Sgd)  # see refusal
    network = MLPClassifier(
        hidden_layer_sizes=task.layers[1:-1],
        activation=task.activation,
        solver="sgd",
        alpha=0.0,
        batch_size=task.batch_size,
        learning_rate="constant",
        learning_rate_init=o.learning_rate,
        shuffle=False,  # the order of the rows is given
        momentum=o.momentum,
        nesterovs_momentum=False,
        early_stopping=False,
    )
    # Only a first batch makes the arrays. It is undone: parameters as given, and an optimiser that has seen nothing.
    rows = slice(task.batch_size)
    network.partial_fit(data.images[rows], data.labels[rows], classes=np.arange(task.layers[-1]))
    network.coefs_ = [weight.copy() for weight, _ in params]
    network.intercepts_ = [bias.copy() for _, bias in params]
    del network._optimizer  # the next call makes a new one, its velocities 0
    return network


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


class Trainer:
    """See bench.contract."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        # 1. The data are the given images, float in [0, 1], and the given labels, class numbers.
        self.images = data.images.copy()  # (n, pixels)
        self.labels = data.labels.copy()  # (n,)
        self.network = build_network(task, params, data)

    def step(self, rows: NDArray[np.int64]) -> float:
        """One step on the rows (batch,) of the training set; returns the loss before it."""
        # 5. A step takes the batch's rows, computes the loss, its gradients, and updates the parameters once.
        self.network.partial_fit(self.images[rows], self.labels[rows])
        return self.network.loss_

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        # 6. Training takes the steps in the order of the given batches, and ends when the losses are on the host.
        return np.array([self.step(rows) for rows in batches], dtype=np.float32)

    def logits(self, images: Array) -> Array:
        """See bench.contract."""
        # 7. Evaluation gives the logits of the given images: MLPClassifier offers probabilities alone.
        activation = np.tanh if self.network.activation == "tanh" else _relu
        *hidden, (weight, bias) = self.params()
        x = images
        for w, b in hidden:
            x = activation(x @ w + b)  # (n, fan_out)
        return x @ weight + bias  # (n, classes)

    def params(self) -> Params:
        """See bench.contract."""
        pairs = zip(self.network.coefs_, self.network.intercepts_, strict=True)
        return [(weight.copy(), bias.copy()) for weight, bias in pairs]

    def placement(self) -> Mapping[str, str]:
        """See bench.contract."""
        arrays = {"images": self.images, "labels": self.labels}
        for index, pair in enumerate(zip(self.network.coefs_, self.network.intercepts_, strict=True)):
            arrays |= {f"weight {index}": pair[0], f"bias {index}": pair[1]}
        optimizer = getattr(self.network, "_optimizer", None)  # made by the first step
        if optimizer is not None:
            arrays |= {f"velocity {index}": v for index, v in enumerate(optimizer.velocities)}
        return {name: array.device for name, array in arrays.items()}

    def gather(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract. What partial_fit does with the rows that it is given is not part of it."""
        for rows in batches:
            _ = self.images[rows], self.labels[rows]


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    reason = refusal(task)
    if reason:
        raise Refusal(reason)
    return Trainer(task, params, data)


def matmul(a: Array, b: Array) -> Callable[[int], Array]:
    """See bench.contract. NumPy's, with which MLPClassifier computes."""
    x, y = a.copy(), b.copy()
    out = np.empty((len(a), b.shape[1]), a.dtype)

    def run(n: int) -> Array:
        for _ in range(n):
            np.matmul(x, y, out=out)
        return out.copy()

    return run
