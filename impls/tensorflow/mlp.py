"""tensorflow-eager: the task as TensorFlow's own guide to training loops writes it, executed eagerly."""

import contextlib
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"  # read at the import of keras; a user may have set another
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read at the import: hints on CPU instructions are no news

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.util import _pywrap_util_port

from bench.contract import Array, Data, Params, Refusal, Settings
from bench.task import Adam, AdamW, RmsProp, Sgd, Task
from impls.tensorflow.optimizers import AdamAsTask, AdamWAsTask, FallingRate, RmsPropAsTask, SgdAsTask

# The operations by which a graph runs Python or prints, both on the host.
_HOST_OPS = frozenset({"EagerPyFunc", "Print", "PrintV2", "PyFunc", "PyFuncStateless"})


def configure(settings: Settings) -> None:
    """Device, threads and precision for the whole process."""
    gpus = tf.config.list_physical_devices("GPU")
    if settings.device == "cuda" and not gpus:
        raise Refusal("TensorFlow finds no CUDA device")
    if settings.precision == "tf32" and (settings.device == "cpu" or not _has_tf32(gpus[0])):
        raise Refusal("TF32 is a format of NVIDIA's GPUs from Ampere on; this device has none, ask for ieee")
    tf.config.set_visible_devices(gpus[:1] if settings.device == "cuda" else [], "GPU")
    for gpu in gpus[:1] if settings.device == "cuda" else []:
        tf.config.experimental.set_memory_growth(gpu, True)  # else it takes the whole card
    tf.config.set_soft_device_placement(False)  # a GPU that is named and not there is an error, and not the CPU
    # Within an op and between ops: the worker has just so many cores, and torch is given the same two numbers.
    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    tf.config.threading.set_inter_op_parallelism_threads(settings.threads)
    tf.config.experimental.enable_tensor_float_32_execution(settings.precision == "tf32")


def _has_tf32(gpu: Any) -> bool:
    return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))[0] >= 8  # Ampere


def versions() -> Mapping[str, str]:
    """The framework, and what it computes with."""
    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "cuda": tf.sysconfig.get_build_info().get("cuda_version", "none"),
        "onednn": "on" if _pywrap_util_port.IsMklEnabled() else "off",  # what the environment and the CPU came to
    }


def build_network(task: Task, params: Params) -> keras.Model:
    """The layers of the task with the given parameters."""
    # 2. The network is a chain of fully connected layers, x W + b, with the activation between layers, none after the
    #    last; the weights and biases start as given.
    activation = {"relu": tf.nn.relu, "tanh": tf.nn.tanh, "gelu": _exact_gelu}[task.activation]
    layers: list[keras.layers.Layer] = [keras.Input((task.layers[0],), dtype=task.dtype)]
    for index, (weight, _) in enumerate(params):
        fan_out = weight.shape[1]
        last = index == len(params) - 1
        layers.append(keras.layers.Dense(fan_out, activation=None if last else activation, dtype=task.dtype))
    network = keras.Sequential(layers)
    network.set_weights([array for layer in params for array in layer])
    return network


def _exact_gelu(x: tf.Tensor) -> tf.Tensor:
    # tf.nn.gelu rounds the root of two to float32, also where x is float64: off by 1e-8 a step
    return 0.5 * x * (1.0 + tf.math.erf(x * tf.constant(math.sqrt(0.5), x.dtype)))


def build_optimizer(task: Task, network: keras.Model) -> keras.optimizers.Optimizer:
    """The optimiser of the task, every hyperparameter given."""
    # 4. The optimiser follows the task's formula, with every hyperparameter given.
    match task.optimizer:
        case Sgd() as o:
            kind = SgdAsTask if o.weight_decay or o.decay else keras.optimizers.SGD
            rate = FallingRate(o.learning_rate, o.decay.factor, o.decay.every_steps) if o.decay else o.learning_rate
            optimizer = kind(learning_rate=rate, momentum=o.momentum, nesterov=False, weight_decay=None)
        case RmsProp() as o:
            optimizer = RmsPropAsTask(
                learning_rate=o.learning_rate, rho=o.rho, epsilon=o.eps, momentum=0.0, centered=False, weight_decay=None
            )
        case Adam() as o:
            optimizer = AdamAsTask(
                learning_rate=o.learning_rate,
                beta_1=o.beta1,
                beta_2=o.beta2,
                epsilon=o.eps,
                amsgrad=False,
                weight_decay=None,
            )
        case AdamW() as o:
            optimizer = AdamWAsTask(
                learning_rate=o.learning_rate,
                beta_1=o.beta1,
                beta_2=o.beta2,
                epsilon=o.eps,
                amsgrad=False,
                weight_decay=None,
            )
    optimizer.l2 = o.weight_decay
    optimizer.build(network.trainable_variables)
    return optimizer


class Trainer:
    """See bench.contract."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        # 1. The data are the given images, float in [0, 1], and the given labels, class numbers.
        self.images = tf.constant(data.images)  # (n, pixels)
        self.labels = tf.constant(data.labels)  # (n,)
        self.network = build_network(task, params)
        self.optimizer = build_optimizer(task, self.network)

    def step(self, rows: tf.Tensor) -> tf.Tensor:
        """One step on the rows (batch,) of the training set; returns the loss before it."""
        # 5. A step takes the batch's rows, computes the loss, its gradients, and updates the parameters once.
        images, labels = tf.gather(self.images, rows), tf.gather(self.labels, rows)
        with tf.GradientTape() as tape:
            # 3. The loss is the mean over the batch of the cross-entropy, computed from the logits.
            logits = self.network(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, self.network.trainable_variables)
        self.optimizer.apply(gradients)
        return loss

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        # 6. Training takes the steps in the order of the given batches, and ends when the losses are on the host.
        order = tf.unstack(tf.constant(batches))  # iterating a tensor would slice it step by step
        losses = tf.stack([self.step(rows) for rows in order])
        return losses.numpy().astype(np.float32, copy=False)

    def logits(self, images: Array) -> Array:
        """See bench.contract."""
        # 7. Evaluation gives the logits of the given images.
        logits = self.network(tf.constant(images), training=False)
        return logits.numpy()

    def params(self) -> Params:
        """See bench.contract."""
        layers = self.network.layers
        return [(x.kernel.numpy().copy(), x.bias.numpy().copy()) for x in layers]

    def placement(self) -> Mapping[str, str]:
        """See bench.contract."""
        tensors = {"images": self.images, "labels": self.labels, **_trained(self.network, self.optimizer)}
        return {name: _device_of(tensor) for name, tensor in tensors.items()}

    def gather(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract."""
        for rows in tf.unstack(tf.constant(batches)):
            _ = tf.gather(self.images, rows), tf.gather(self.labels, rows)
        synchronize()

    def _graphs(self, batches: NDArray[np.int64]) -> list[tf.Graph]:  # noqa: ARG002
        """The graphs that training on such batches runs: none where every operation is called from Python."""
        return []


def _trained(network: keras.Model, optimizer: Any) -> dict[str, tf.Tensor]:
    """The parameters and what the optimiser keeps of each, by name; no count or rate, which are single numbers."""
    tensors: dict[str, Any] = {}
    for index, layer in enumerate(network.layers):
        tensors |= {f"weight {index}": layer.kernel, f"bias {index}": layer.bias}
    tensors |= {v.name: v for v in optimizer.variables if len(v.shape) > 0}
    return {name: tf.convert_to_tensor(variable) for name, variable in tensors.items()}


def _device_of(tensor: tf.Tensor) -> str:
    """Where the memory of the tensor lies, which need not be where its operation ran."""
    kind = tf.DeviceSpec.from_string(tensor.backing_device).device_type
    return {"CPU": "cpu", "GPU": "cuda"}.get(kind, kind)


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)


def synchronize() -> None:
    """See bench.contract."""
    tf.test.experimental.sync_devices()


def matmul(a: Array, b: Array) -> Callable[[int], Array]:
    """See bench.contract. By a loop in a graph: a call for each takes longer than a small product."""
    x, y = tf.Variable(a), tf.Variable(b)  # a variable is read anew in each turn, so that no turn can be left out
    out = tf.zeros((len(a), b.shape[1]), x.dtype)

    @tf.function(input_signature=[tf.TensorSpec((), tf.int32)], autograph=False, jit_compile=False)
    def _loop(n: tf.Tensor) -> tf.Tensor:
        def _body(turn: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return turn + 1, tf.matmul(x, y)

        return tf.while_loop(lambda turn, _: turn < n, _body, (tf.constant(0), out), parallel_iterations=1)[1]

    def run(n: int) -> Array:
        return _loop(tf.constant(n)).numpy()

    return run


def device_memory() -> Mapping[str, int]:
    """See bench.contract. What TensorFlow keeps in its pool it does not tell."""
    return {"peak_allocated_bytes": tf.config.experimental.get_memory_info("GPU:0")["peak"]}


def reset_device_memory() -> None:
    """See bench.contract."""
    tf.config.experimental.reset_memory_stats("GPU:0")


def host_reads(trainer: Trainer, batches: NDArray[np.int64]) -> list[str]:
    """Train the steps and name each place where a tensor's value is read on the host before the losses are.

    The last read of a call is that of all its losses and is not named. A graph cannot read a tensor but by an operation
    that runs Python or prints, so these are looked for in the graph. Not seen: NumPy's functions other than `array`,
    `asarray` and `asanyarray` given a tensor itself, which they take by the buffer protocol.
    """
    trainer.train(batches)  # a graph is traced now, for which TensorFlow reads what it makes a constant of
    reads: list[str] = []
    with _observed(reads):
        trainer.train(batches)
    graphs = [graph.as_graph_def() for graph in trainer._graphs(batches)]
    nodes = [node for g in graphs for nodes in (g.node, *(f.node_def for f in g.library.function)) for node in nodes]
    return [*reads[:-1], *(f"the graph's {node.op} {node.name}" for node in nodes if node.op in _HOST_OPS)]


@contextlib.contextmanager
def _observed(reads: list[str]) -> Iterator[None]:
    """Append to reads the place of every read of an eager tensor's value."""
    tensor = type(tf.constant(0))  # the class of eager tensors has no public name

    def _noting(original: Any) -> Any:
        def _read(*args: Any, **kwargs: Any) -> Any:
            if args and isinstance(args[0], tensor) and not _is_an_axis(args[0]):
                reads.append(_place())
            return original(*args, **kwargs)

        return _read

    # numpy(), float(), int(), bool(), str() and indexing all end in the first; NumPy's own constructors pass it by.
    hooks = [(tensor, "_numpy_internal"), (np, "array"), (np, "asarray"), (np, "asanyarray")]
    originals = [getattr(owner, name) for owner, name in hooks]
    try:
        for (owner, name), original in zip(hooks, originals, strict=True):
            setattr(owner, name, _noting(original))
        yield
    finally:
        for (owner, name), original in zip(hooks, originals, strict=True):
            setattr(owner, name, original)


def _is_an_axis(x: tf.Tensor) -> bool:
    """Whether TensorFlow looks up an axis or a shape, which it does in gradients and keeps on the host as int32."""
    return x.dtype == tf.int32 and any(f.f_code.co_name == "constant_value" for f, _ in traceback.walk_stack(None))


def _place() -> str:
    """File, line and function of the innermost frame that belongs to neither the frameworks nor the hook."""
    packages = tuple(str(Path(str(package.__file__)).parent) for package in (tf, keras, np))
    for frame, line in traceback.walk_stack(sys._getframe(2)):
        if not frame.f_code.co_filename.startswith(packages):
            return f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}"
    return "an unknown place"
