"""jax-jit: the task as JAX's own tutorials write it, a jitted step called batch by batch from Python."""

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from bench.contract import Array, Data, Params, Refusal, Settings
from bench.task import Adam, AdamW, RmsProp, Sgd, Task

Network = Callable[[list[jax.Array], jax.Array], jax.Array]  # (parameters, images) -> logits
Slots = tuple[jax.Array, ...]  # a parameter and what the optimiser keeps of it: (p), (p, v), (p, s) or (p, m, s)
Update = Callable[..., Slots]  # (step, gradient, *slots) -> slots
State = tuple[jax.Array, list[Slots]]  # steps done; weight and bias of each layer in turn

DEVICE = "cpu"


def configure(settings: Settings) -> None:
    """Device and precision for the whole process.

    Threads: JAX has no setting for them. XLA starts as many as the process may use cores: just those of the worker.
    """
    global DEVICE
    if settings.device == "cuda":
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else it takes three quarters of the card
        try:
            gpu = jax.devices("cuda")[0]
        except RuntimeError:
            raise Refusal("JAX finds no CUDA device") from None
    if settings.precision == "tf32" and (settings.device == "cpu" or float(gpu.compute_capability) < 8):  # Ampere
        raise Refusal("TF32 is a format of NVIDIA's GPUs from Ampere on; this device has none, ask for ieee")
    if settings.device == "cuda":
        jax.config.update("jax_default_device", gpu)
    else:
        jax.config.update("jax_platforms", "cpu")  # else a GPU is taken where there is one
    DEVICE = settings.device
    # On a GPU the default may be TF32.
    jax.config.update("jax_default_matmul_precision", {"ieee": "highest", "tf32": "tensorfloat32"}[settings.precision])


def versions() -> Mapping[str, str]:
    """The framework, and what it computes with."""
    return {"jax": jax.__version__, "jaxlib": version("jaxlib")}


def build_network(task: Task) -> Network:
    """The layers of the task, as a function of parameters and images."""
    # 2. The network is a chain of fully connected layers, x W + b, with the activation between layers, none after the
    #    last; the weights and biases start as given.
    activations = {"relu": jax.nn.relu, "tanh": jnp.tanh, "gelu": partial(jax.nn.gelu, approximate=False)}
    activation = activations[task.activation]

    def network(parameters: list[jax.Array], x: jax.Array) -> jax.Array:
        *hidden, (weight, bias) = zip(parameters[::2], parameters[1::2], strict=True)
        for w, b in hidden:
            x = activation(x @ w + b)  # (batch, fan_out)
        return x @ weight + bias  # (batch, classes)

    return network


def build_optimizer(task: Task) -> tuple[int, Update]:
    """The optimiser of the task: the arrays it keeps beside a parameter, all 0 at the start, and its update."""
    # 4. The optimiser follows the task's formula, with every hyperparameter given.
    match task.optimizer:
        case Sgd() as o:
            return (1, partial(_momentum, o)) if o.momentum else (0, partial(_sgd, o))
        case RmsProp() as o:
            return 1, partial(_rmsprop, o)
        case Adam() | AdamW() as o:
            return 2, partial(_adam, o)


# The formulas of bench.task: p, g, v, m, s are its names, t counts from 0.


def _sgd(o: Sgd, t: jax.Array, g: jax.Array, p: jax.Array) -> Slots:
    return (p - _rate(o, t, p.dtype) * _with_l2(o, g, p),)


def _momentum(o: Sgd, t: jax.Array, g: jax.Array, p: jax.Array, v: jax.Array) -> Slots:
    v = o.momentum * v + _with_l2(o, g, p)
    return p - _rate(o, t, p.dtype) * v, v


def _rmsprop(o: RmsProp, _: jax.Array, g: jax.Array, p: jax.Array, s: jax.Array) -> Slots:
    g = _with_l2(o, g, p)
    s = o.rho * s + (1 - o.rho) * jnp.square(g)
    return p - o.learning_rate * g / (jnp.sqrt(s) + o.eps), s


def _adam(o: Adam | AdamW, t: jax.Array, g: jax.Array, p: jax.Array, m: jax.Array, s: jax.Array) -> Slots:
    if isinstance(o, AdamW):
        p = p - o.learning_rate * o.weight_decay * p
    else:
        g = _with_l2(o, g, p)
    m = o.beta1 * m + (1 - o.beta1) * g
    s = o.beta2 * s + (1 - o.beta2) * jnp.square(g)
    m_hat, s_hat = m / _one_minus_power(o.beta1, t + 1, p.dtype), s / _one_minus_power(o.beta2, t + 1, p.dtype)
    return p - o.learning_rate * m_hat / (jnp.sqrt(s_hat) + o.eps), m, s


def _with_l2(o: Sgd | RmsProp | Adam, g: jax.Array, p: jax.Array) -> jax.Array:
    return g + o.weight_decay * p if o.weight_decay else g


def _rate(o: Sgd, t: jax.Array, dtype: jnp.dtype) -> jax.Array | float:
    if o.decay is None:
        return o.learning_rate
    # The factor is a power of two, so this is exact in each dtype; a general power need not be.
    _, exponent = math.frexp(o.decay.factor)
    return jnp.ldexp(jnp.asarray(o.learning_rate, dtype), (exponent - 1) * (t // o.decay.every_steps))


def _one_minus_power(beta: float, t: jax.Array, dtype: jnp.dtype) -> jax.Array | float:
    # In float32 the plain difference loses most of its digits while beta^t is near 1.
    return -jnp.expm1(t.astype(dtype) * math.log(beta)) if beta else 1.0


class Trainer:
    """See bench.contract."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        if task.dtype == "float64":  # never switched off again: an older trainer may live on
            jax.config.update("jax_enable_x64", True)
        # 1. The data are the given images, float in [0, 1], and the given labels, class numbers.
        self.images = jnp.array(data.images)  # (n, pixels)
        self.labels = jnp.array(data.labels)  # (n,)
        self.network = build_network(task)
        kept, self._update = build_optimizer(task)
        flat = [jnp.array(array) for layer in params for array in layer]
        self.state: State = (jnp.zeros((), jnp.int32), [(p, *(jnp.zeros_like(p) for _ in range(kept))) for p in flat])
        self._step = jax.jit(self.step, donate_argnums=0)
        self._gather = jax.jit(_take_each)
        jax.block_until_ready((self.images, self.labels, self.state))  # JAX copies in the background

    def loss(self, parameters: list[jax.Array], images: jax.Array, labels: jax.Array) -> jax.Array:
        """The loss of a batch."""
        # 3. The loss is the mean over the batch of the cross-entropy, computed from the logits.
        log_probabilities = jax.nn.log_softmax(self.network(parameters, images))  # (batch, classes)
        return -jnp.mean(jnp.take_along_axis(log_probabilities, labels[:, None], axis=1))

    def step(self, state: State, images: jax.Array, labels: jax.Array, rows: jax.Array) -> tuple[State, jax.Array]:
        """One step on the rows (batch,) of the training set: (state, ...) -> (state, loss before it)."""
        # 5. A step takes the batch's rows, computes the loss, its gradients, and updates the parameters once.
        t, arrays = state
        parameters = [p for p, *_ in arrays]
        loss, gradients = jax.value_and_grad(self.loss)(parameters, images[rows], labels[rows])
        return (t + 1, [self._update(t, g, *slots) for g, slots in zip(gradients, arrays, strict=True)]), loss

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        # 6. Training takes the steps in the order of the given batches, and ends when the losses are on the host.
        losses = []
        for rows in batches:
            self.state, loss = self._step(self.state, self.images, self.labels, rows)
            losses.append(loss)
        jax.block_until_ready(self.state)
        return np.stack(jax.device_get(losses)).astype(np.float32, copy=False)

    def logits(self, images: Array) -> Array:
        """See bench.contract."""
        # 7. Evaluation gives the logits of the given images.
        _, arrays = self.state
        return np.array(self.network([p for p, *_ in arrays], jnp.array(images)))

    def params(self) -> Params:
        """See bench.contract."""
        _, arrays = self.state
        flat = [np.array(p) for p, *_ in arrays]
        return list(zip(flat[::2], flat[1::2], strict=True))

    def placement(self) -> Mapping[str, str]:
        """See bench.contract."""
        arrays = {"images": self.images, "labels": self.labels}
        for index, (p, *kept) in enumerate(self.state[1]):
            name = f"{'bias' if index % 2 else 'weight'} {index // 2}"
            arrays |= {name: p, **{f"moment {number} of {name}": m for number, m in enumerate(kept)}}
        return {name: _device_of(array) for name, array in arrays.items()}

    def gather(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract. By a program of its own, a loop, as a call a batch would add what a call costs."""
        jax.block_until_ready(self._gather(self.images, self.labels, batches))

    def compilations(self) -> int:
        """See bench.contract."""
        return self._step._cache_size()


def _take_each(images: jax.Array, labels: jax.Array, order: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The last batch of order (steps, batch), each before it taken too: a turn's is carried into the next."""
    nothing = tuple(jnp.zeros((order.shape[1], *x.shape[1:]), x.dtype) for x in (images, labels))
    taken, _ = jax.lax.scan(lambda _, rows: ((images[rows], labels[rows]), None), nothing, order)
    return taken


def _device_of(array: jax.Array) -> str:
    (device,) = array.devices()
    return {"gpu": "cuda"}.get(device.platform, device.platform)  # JAX says gpu of CUDA


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)


def synchronize() -> None:
    """See bench.contract. JAX has no wait for a device; this is one for all that was computed and is still held."""
    jax.block_until_ready(jax.live_arrays())


def matmul(a: Array, b: Array) -> Callable[[int], Array]:
    """See bench.contract. On the CPU by a loop in a program: a call for each takes longer than a small product.

    On CUDA by calls, which do not wait for the device, where a loop without a known end asks the host at each turn.
    """
    if a.dtype == np.float64:  # never switched off again: an older trainer may live on
        jax.config.update("jax_enable_x64", True)
    x, y = jnp.array(a), jnp.array(b)
    out = jnp.zeros((len(a), b.shape[1]), x.dtype)
    loop, once = jax.jit(_products), jax.jit(jnp.matmul)

    def run(n: int) -> Array:
        if DEVICE == "cpu":
            return np.array(loop(n, x, y, out))
        for _ in range(n):
            product = once(x, y)
        return np.array(product)

    return run


def _products(n: int, x: jax.Array, y: jax.Array, out: jax.Array) -> jax.Array:
    """x @ y, n times. One number of x is given 0 times the last result, so that XLA cannot take the product out."""

    def turn(_: int, carried: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        x, out = carried
        x = x.at[0, 0].add(0 * out[0, 0])
        return x, x @ y

    return jax.lax.fori_loop(0, n, turn, (x, out))[1]
