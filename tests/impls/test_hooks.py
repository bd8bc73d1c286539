"""What an entry offers beside its training: products, gather, placement, waits. Each check is seen to fail, too."""

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.contract import Array, Entry, Refusal, Settings
from bench.inputs import initial_params
from bench.task import Task, load_task
from tests.impls.apart import APART, apart, here_alone
from tests.make import OPTIMIZERS, load_configured, small_data

TASK = load_task("mlp-tiny").changed(layers=(784, 24, 16, 10), batch_size=32)
BATCHES = np.random.default_rng(1).integers(0, 512, (8, 32))
BATCHES.flags.writeable = False

MODULE_HOOKS = ("synchronize", "matmul", "device_memory", "reset_device_memory")
TRAINER_HOOKS = ("placement", "gather")
# What an entry does not offer; the README beside it says why.
NOT_OFFERED = {
    "numpy": {"synchronize", "device_memory", "reset_device_memory", "placement"},
    "sklearn": {"synchronize", "device_memory", "reset_device_memory"},
    "jax-jit": {"device_memory", "reset_device_memory"},
    "jax-scan": {"device_memory", "reset_device_memory"},
    "keras-jax": {"device_memory", "reset_device_memory"},
}


def trainer_of(module: ModuleType, task: Task = TASK) -> Any:
    return module.build(task, initial_params(task, 0), small_data(task, 512))


@pytest.mark.slow
@here_alone
@pytest.mark.parametrize("name", APART)
def test_an_entry_with_another_backend_of_keras_is_held_to_the_same(name: str) -> None:
    """All tests of this file, in a process whose Keras has that backend."""
    done = apart(__file__, name)

    assert 0 == done.returncode, done.stdout[-3000:]


def test_an_entry_offers_every_hook_that_it_can(entry: Entry, module: ModuleType) -> None:
    """None is lost without a word: what is missing stands in the table above."""
    trainer = trainer_of(module)
    missing = {name for name in MODULE_HOOKS if not hasattr(module, name)}
    missing |= {name for name in TRAINER_HOOKS if not hasattr(trainer, name)}

    assert NOT_OFFERED.get(entry.name, set()) == missing


# Products.


def product_error(module: Any, a: Array, b: Array) -> float:
    """The largest deviation from NumPy's product, in units of the last place of the largest element."""
    product = module.matmul(a, b)(3)
    assert (np.ndarray, a.dtype, (len(a), b.shape[1])) == (type(product), product.dtype, product.shape)
    exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
    return float(np.abs(product - exact).max() / np.abs(exact).max() / np.finfo(a.dtype).eps)


FEW_ULPS = (
    20  # of a sum of some hundred terms, in whichever order; TF32 or float32 in place of float64 are thousands off
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(32, 784, 24), (5, 3, 7), (1, 1, 1)], ids=str)
def test_a_product_is_numpys(module: ModuleType, dtype: str, shape: tuple[int, int, int]) -> None:
    """Within the rounding of its dtype, and of the given shape."""
    m, k, n = shape
    generator = np.random.default_rng(0)
    a, b = generator.random((m, k)).astype(dtype), generator.random((k, n)).astype(dtype)

    assert product_error(module, a, b) < FEW_ULPS


def test_a_product_that_was_rounded_is_found() -> None:
    """The comparison above can fail: factors of half the digits, and factors in the wrong order."""
    a, b = (np.random.default_rng(seed).random((24, 24)) for seed in (0, 1))
    rounding = SimpleNamespace(matmul=lambda a, b: lambda n: (a.astype("f4") @ b.astype("f4")).astype(a.dtype))
    swapping = SimpleNamespace(matmul=lambda a, b: lambda n: b @ a)

    assert product_error(rounding, a, b) > FEW_ULPS
    assert product_error(swapping, a, b) > FEW_ULPS


def growth(run: Callable[[int], object]) -> float:
    """CPU time of 2 n over that of n, in turns, with n so large that what a call costs hardly counts; least of many."""

    def seconds(n: int) -> float:
        started = time.process_time()
        run(n)
        return time.process_time() - started

    def least(n: int, repeats: int) -> float:
        run(n)  # some compile a program for each number
        return min(seconds(n) for _ in range(repeats))

    enough, n = max(0.02, 6 * least(1, 3)), 64
    while n < 1 << 20 and (found := least(n, 2)) < enough:
        n *= 1 + int(min(16, enough / max(found, 1e-9)))
    least(2 * n, 1)
    twice, once = zip(*((seconds(2 * n), seconds(n)) for _ in range(5)), strict=True)
    return min(twice) / min(once)


def grows(run: Callable[[int], object]) -> bool:
    """Whether twice as much takes about twice as long; in one of three tries, as others use the machine too."""
    return any(1.5 < growth(run) < 2.6 for _ in range(3))


def test_every_product_is_made(module: ModuleType) -> None:
    """2 n of them take twice as long as n: none is taken out of a loop, made once for all, or left out."""
    a, b = (np.random.default_rng(0).random(shape).astype("f4") for shape in ((64, 256), (256, 96)))

    assert grows(module.matmul(a, b))


@here_alone
def test_a_product_that_is_made_once_for_all_is_found() -> None:
    """The check above can fail."""
    a = np.random.default_rng(0).random((256, 256))

    def planted(n: int) -> None:
        for _ in range(20):  # whatever n is
            np.matmul(a, a)

    assert not grows(planted)


# The gather.


def changed_by_gather(trainer: Any, other: Any) -> list[str]:
    """What differs between a trainer that gathers between its steps and one that does not."""
    found = []
    trainer.train(BATCHES[:3])
    other.train(BATCHES[:3])
    before = trainer.params()
    trainer.gather(BATCHES[3:5])
    pairs = zip(before, trainer.params(), strict=True)
    if any((a != b).any() for x, y in pairs for a, b in zip(x, y, strict=True)):
        found.append("parameters")
    if (trainer.train(BATCHES[3:]) != other.train(BATCHES[3:])).any():
        found.append("the next losses")
    return found


def test_a_gather_trains_nothing(module: ModuleType) -> None:
    """Neither the parameters nor the next losses move, to the bit."""
    assert [] == changed_by_gather(trainer_of(module), trainer_of(module))


@here_alone
def test_a_gather_that_trains_is_found() -> None:
    """The check above can fail."""
    module = load_configured("impls.numpy.mlp")
    trainer = trainer_of(module)
    trainer.gather = trainer.train

    assert ["parameters", "the next losses"] == changed_by_gather(trainer, trainer_of(module))


def test_every_batch_is_gathered(module: ModuleType) -> None:
    """2 n batches take twice as long as n: none is left out because nobody looks at it."""
    trainer = trainer_of(module)

    assert grows(lambda n: trainer.gather(np.resize(BATCHES, (n, BATCHES.shape[1]))))


# Placement.


def misplaced(placement: Mapping[str, str], task: Task = TASK) -> list[str]:
    """Parameters that are not named, and tensors that are not on the CPU."""
    layers = range(len(task.layers) - 1)
    missing = [
        f"no {what} {layer}" for layer in layers for what in ("weight", "bias") if f"{what} {layer}" not in placement
    ]
    return [*missing, *(f"{name} on {where}" for name, where in placement.items() if where != "cpu")]


def test_every_parameter_has_its_place(entry: Entry, module: ModuleType) -> None:
    """On the CPU, before the first step and after it; then the optimiser's moments too, one of each."""
    if "placement" in NOT_OFFERED.get(entry.name, ()):
        pytest.skip("does not tell")
    trainer = trainer_of(module)
    before = trainer.placement()
    trainer.train(BATCHES[:2])
    after = trainer.placement()
    parameters = 2 * (len(TASK.layers) - 1)
    data = {"images", "labels"} & set(after)

    assert [] == misplaced(before)
    assert [] == misplaced(after)
    assert len(after) == 2 * parameters + len(data)


def test_a_tensor_that_lies_elsewhere_is_found() -> None:
    """The check above can fail: a parameter that is not named, a moment on another device."""
    placed = {f"{what} {layer}": "cpu" for layer in range(3) for what in ("weight", "bias")}

    assert [] == misplaced(placed)
    assert ["bias 2 on cuda"] == misplaced(placed | {"bias 2": "cuda"})
    assert ["no weight 1"] == misplaced({name: where for name, where in placed.items() if name != "weight 1"})


@here_alone
@pytest.mark.parametrize("name", ["impls.torch.mlp", "impls.torch.loader", "impls.torch.tuned"])
def test_placement_is_read_off_the_tensors(name: str) -> None:
    """And not off the settings: a parameter that is moved is told of. PyTorch alone has a second device everywhere."""
    import torch

    trainer = trainer_of(load_configured(name))
    if hasattr(trainer, "states"):
        p, *moments = trainer.states[0]
        trainer.states[0] = (p.to("meta"), *moments)
    else:
        trainer.network[0].weight = torch.nn.Parameter(trainer.network[0].weight.to("meta"))

    assert ["weight 0 on meta"] == misplaced(trainer.placement())


# Precision and waits.


def test_tf32_on_a_cpu_is_refused(module: ModuleType) -> None:
    """In one line that says why: a CPU has none, and IEEE in its place would be another case's number."""
    with pytest.raises(Refusal, match=r"^[^\n]*TF32[^\n]*$"):
        module.configure(Settings(device="cpu", threads=1, precision="tf32"))


def share_left(synchronize: Callable[[], object], start: Callable[[], Callable[[], object]]) -> float:
    """Of the time that a computation takes after its call came back, the share that synchronize did not wait for."""
    read = start()
    started = time.perf_counter()
    synchronize()
    waited = time.perf_counter() - started
    read()
    return 1 - waited / (time.perf_counter() - started)


@contextmanager
def asynchronous(entry: Entry) -> Iterator[Callable[[], Callable[[], object]]]:
    """A computation in the background, where the framework has such a thing on a CPU: () -> (() -> its result)."""
    if entry.packages[0] == "jax":
        import jax
        import jax.numpy as jnp

        x, product = jnp.full((1500, 1500), 1e-3), jax.jit(lambda x: (x @ x) @ x)
        product(x).block_until_ready()

        def start() -> Callable[[], object]:
            result = product(x)
            return lambda: np.asarray(result)

        yield start
    elif entry.packages[0] == "tensorflow":
        import tensorflow as tf

        x = tf.fill((1500, 1500), 1e-3)

        def start() -> Callable[[], object]:
            result = (x @ x) @ x
            return lambda: result.numpy()

        start()()
        tf.config.experimental.set_synchronous_execution(False)
        try:
            yield start
        finally:
            tf.config.experimental.set_synchronous_execution(True)
    else:
        pytest.skip("nothing runs in the background on a CPU")


def test_synchronize_waits(entry: Entry, module: ModuleType) -> None:
    """After it nothing is left to wait for; without it nearly everything is."""
    with asynchronous(entry) as start:
        honest = min(share_left(module.synchronize, start) for _ in range(3))
        planted = max(share_left(lambda: None, start) for _ in range(3))

    assert honest < 0.2
    assert planted > 0.8


# The CUDA path, as far as it can be seen without a GPU.


def left_behind(trainer: Any, step: Callable[[], object]) -> list[str]:
    """Tensors of the CPU that a step on the device `meta` meets, and what it could not do there.

    Single numbers are left out: PyTorch keeps an optimiser's counts of steps on the host, on CUDA too.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    found = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, op, types, args=(), kwargs=None):
            result = op(*args, **(kwargs or {}))
            tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
            found.extend(f"{op.name()} {tuple(x.shape)}" for x in tensors if x.device.type != "meta" and x.ndim > 0)
            return result

    with Watch():
        try:
            step()
        except (RuntimeError, NotImplementedError) as error:  # a read on the host, or two devices in one operation
            found.append(str(error))
    return found


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """torch-eager's module on PyTorch's device without memory."""
    mlp = load_configured("impls.torch.mlp")
    monkeypatch.setattr(mlp, "DEVICE", "meta")
    return mlp


def three_steps(trainer: Any) -> Callable[[], object]:
    import torch

    order = torch.empty((3, TASK.batch_size), dtype=torch.int64, device="meta")
    if hasattr(trainer, "states"):  # torch-tuned, whose step is watched uncompiled
        return lambda: trainer.step_by_step(order, torch.empty((3, 3), device="meta"))
    return lambda: [trainer.step(rows) for rows in order]


@here_alone
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("name", ["impls.torch.mlp", "impls.torch.tuned"])
def test_a_step_of_torch_leaves_nothing_on_the_cpu(meta: ModuleType, name: str, optimizer: dict) -> None:
    """On `meta` there is nothing to read on the host, and every tensor of the CPU is one too many."""
    trainer = trainer_of(load_configured(name), TASK.changed(optimizer=optimizer))

    assert [] == left_behind(trainer, three_steps(trainer))


def leave_images(trainer: Any) -> None:
    import torch

    trainer.images = torch.zeros(trainer.images.shape)


def leave_labels(trainer: Any) -> None:
    import torch

    trainer.labels = torch.zeros(trainer.labels.shape, dtype=torch.int64)


def leave_a_weight(trainer: Any) -> None:
    import torch

    trainer.network[0].weight = torch.nn.Parameter(torch.zeros(trainer.network[0].weight.shape))


def read_a_loss(trainer: Any) -> None:
    step = trainer.step
    trainer.step = lambda rows: step(rows).item()


@here_alone
@pytest.mark.parametrize("plant", [leave_images, leave_labels, leave_a_weight, read_a_loss], ids=lambda f: f.__name__)
def test_what_is_left_on_the_cpu_is_found(meta: ModuleType, plant: Callable[[Any], None]) -> None:
    """The check above can fail."""
    trainer = trainer_of(meta)
    plant(trainer)

    assert [] != left_behind(trainer, three_steps(trainer))


@here_alone
@pytest.mark.parametrize("name", ["impls.tensorflow.mlp", "impls.keras.fit"])
def test_a_gpu_that_is_named_and_not_there_is_an_error_in_tensorflow(name: str) -> None:
    """After `configure`; as TensorFlow comes, it computes on the CPU without a word."""
    import tensorflow as tf

    load_configured(name)
    if tf.config.list_logical_devices("GPU"):
        pytest.skip("this machine has a GPU")

    def place() -> str:
        with tf.device("GPU:0"):
            return (tf.constant([1.0]) + 1).backing_device

    with pytest.raises(tf.errors.InvalidArgumentError, match="GPU:0"):
        place()
    tf.config.set_soft_device_placement(True)
    try:
        assert place().endswith("CPU:0")
    finally:
        tf.config.set_soft_device_placement(False)


@functools.cache
def registered_kernels(operation: str) -> list[Any]:
    """Of TensorFlow, for every device; asked for each of a graph's nodes, most of which are alike."""
    from tensorflow.python.framework import kernels

    return list(kernels.get_registered_kernels_for_op(operation).kernel)


def without_gpu_kernel(graph: Any) -> set[str]:
    """The operations of a graph that TensorFlow would move to the CPU, as it has no kernel of theirs for a GPU.

    TensorFlow's package for Linux registers its GPU kernels on a machine without a GPU too.
    """

    def fits(kernel: Any, node: Any) -> bool:
        wanted = [(node.attr[c.name].type, c.allowed_values.list.type) for c in kernel.constraint]
        return kernel.device_type in ("GPU", "DEFAULT") and all(not t or t in allowed for t, allowed in wanted)

    definition = graph.as_graph_def()
    nodes = [node for part in (definition.node, *(f.node_def for f in definition.library.function)) for node in part]
    found = set()
    for node in nodes:
        registered = registered_kernels(node.op)  # none: a call of another graph
        if registered and not any(fits(kernel, node) for kernel in registered):
            found.add(node.op)
    return found


def need_gpu_kernels() -> None:
    import tensorflow as tf

    if not tf.sysconfig.get_build_info()["is_cuda_build"]:
        pytest.skip("this TensorFlow has no kernels for a GPU")


@here_alone
@pytest.mark.parametrize(
    ("activation", "optimizer"),
    # An activation has no part in an update, so each need not meet every optimiser.
    [*(("relu", optimizer) for optimizer in OPTIMIZERS), ("tanh", OPTIMIZERS[-1]), ("gelu", OPTIMIZERS[-1])],
    ids=str,
)
@pytest.mark.parametrize("name", ["tensorflow.function", "tensorflow.data", "tensorflow.loop", "keras.fit"])
def test_every_operation_of_a_step_has_a_gpu_kernel(name: str, activation: str, optimizer: dict) -> None:
    """In the dtypes of the task: where one has none, TensorFlow moves it and what it needs to the CPU, silently."""
    need_gpu_kernels()
    module = load_configured(f"impls.{name}")
    trainer = trainer_of(module, TASK.changed(optimizer=optimizer, activation=activation))
    if name == "keras.fit":
        trainer.train(BATCHES[:1])
        graphs = [trainer.program("multi_step_on_iterator").get_concrete_function(iter(trainer.taken(BATCHES))).graph]
    else:
        graphs = trainer._graphs(BATCHES)

    assert [set()] == [without_gpu_kernel(graph) for graph in graphs]


@here_alone
def test_an_operation_of_the_cpu_is_found() -> None:
    """The check above can fail: strings have no kernel on a GPU."""
    need_gpu_kernels()
    import tensorflow as tf

    graph = tf.function(tf.strings.as_string).get_concrete_function(tf.TensorSpec((3,), tf.float32)).graph

    assert {"AsString"} == without_gpu_kernel(graph)


@here_alone
def test_versions_tell_what_computes() -> None:
    """The libraries of the products: torch's MKL and the CPU that it chose for, TensorFlow's oneDNN."""
    torch, tensorflow = (load_configured(f"impls.{name}.mlp").versions() for name in ("torch", "tensorflow"))

    assert {"torch", "cuda", "mkl", "cpu_capability"} == set(torch)
    assert tensorflow["onednn"] in ("on", "off")


@pytest.mark.slow
@here_alone
def test_onednn_is_told_as_it_is() -> None:
    """TensorFlow's own answer, in a process whose environment switches oneDNN off."""
    done = subprocess.run(
        [sys.executable, "-c", "from impls.tensorflow.mlp import versions; print(versions()['onednn'])"],
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert "off" == done.stdout.strip(), done.stderr[-2000:]
