"""What an entry offers, and the table of the entries that ship with the suite. Imports no framework."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.task import Task

Array = NDArray[Any]
Params = list[tuple[Array, Array]]  # a layer: weight (fan_in, fan_out), bias (fan_out,)
Mode = Literal["eager", "graph", "compiled", "whole-loop", "unstated"]
Tier = Literal["as-written", "tuned", "unstated"]
Device = Literal["cpu", "cuda"]
Precision = Literal["ieee", "tf32"]
Launcher = Literal["torchrun", "tf-config", "one-process"]


@dataclass(frozen=True, kw_only=True)
class Data:
    """images: (n, pixels) of the task's dtype in [0, 1]; labels: (n,) int64. Read-only."""

    images: Array
    labels: Array


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `configure` sets for the whole process.

    precision: of products of float32 matrices. ieee: no TF32, no bfloat16; tf32: TensorFloat-32 where the device has
    it, which is CUDA alone. threads: of each process. processes: that share each batch, this one being `rank` of them;
    an entry whose launcher is "one-process" has as many devices in this one instead.
    """

    device: Device
    threads: int
    precision: Precision = "ieee"
    processes: int = 1
    rank: int = 0


class Refusal(Exception):
    """Raised by an entry that cannot do what is asked (a task it can't express, a device that is not there).

    The trial is recorded as refused with this reason; it is no failure and never a row of a table.
    """


def share_of(batch_size: int, processes: int) -> int:
    """Rows of a batch that fall to each process: rank r takes those from r * share on. Raises Refusal on a remainder.

    Shares of one size, because then the mean of the processes' means is the mean over the batch.
    """
    if batch_size % processes:
        raise Refusal(
            f"a batch of {batch_size} rows cannot be shared evenly by {processes} processes; "
            f"take a batch size that is a multiple of {processes}"
        )
    return batch_size // processes


class Trainer(Protocol):
    """A network on its device, with its optimiser. Made by `build`."""

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """One optimiser step for each row of batches (steps, batch_size).

        Returns the mean loss of each step before its update, float32 (steps,), once all device work has ended.
        """

    def logits(self, images: Array) -> Array:
        """(n, pixels) -> (n, classes) in the task's dtype, on the host. Never timed."""

    def params(self) -> Params:
        """Copies of the present parameters, on the host. Never timed."""

    # Optional, none of it timed with the training:
    #
    # `compilations(self) -> int`: how many programs this trainer has traced or compiled so far. Read around each timed
    # window, never inside: a window in which it grows fails the trial.
    #
    # `placement(self) -> Mapping[str, str]`: for each tensor that it keeps, by a name for people, the kind of device it
    # lies on: "cpu" or "cuda". A tensor on another device than the case's fails the trial. On CUDA an entry that does
    # not offer it is refused: nothing else shows that the card was used.
    #
    # `gather(self, batches) -> None`: of each step the taking of the batch's rows, images and labels, as `train` does
    # it, and nothing else; returns when that work has ended.
    #
    # `train_local(self, batches) -> None`: of an entry that can do several processes: the steps of `train`, but that
    # each process keeps to the gradients of its own share. Its time beside that of `train` is what communication costs.
    # The last thing that is done with a trainer, for the processes' parameters then differ.


class EntryModule(Protocol):
    """A module that is an entry. `build` and `train` are timed, the rest never."""

    def configure(self, settings: Settings) -> None:
        """Process-wide settings; called once, before all else. Raises Refusal where the device is not there."""

    def versions(self) -> Mapping[str, str]:
        """Versions of the framework and of what computes for it."""

    def build(self, task: Task, params: Params, data: Data) -> Trainer:
        """Put data and parameters onto the device. Copies; the arrays are read-only and not kept."""

    # Optional, none of it timed with the training:
    #
    # `host_reads(trainer, batches) -> list[str]`: trains the steps of batches under observation and names each place
    # where a value of the device was read on the host in between.
    #
    # `synchronize() -> None`: returns when the device has done all that it was given. Called right before the clock of
    # a window starts, and before it stops.
    #
    # `matmul(a, b) -> Callable[[int], Array]`: puts a (m, k) and b (k, n) onto the device and returns a function that
    # makes their product n times, by the framework's usual means for one product, and hands the last one (m, n) to the
    # host. Its time, as a difference of two n, is the framework's own speed of products.
    #
    # `device_memory() -> Mapping[str, int]` and `reset_device_memory() -> None`: the peaks of the framework's own
    # allocator on the device since the last reset, "peak_allocated_bytes" and, where it keeps a pool,
    # "peak_reserved_bytes". Called on CUDA alone.


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One way of running one framework.

    packages: distributions that must be installed. extras: of this distribution, beside the framework's own, that
    bring them. launcher: how its processes are started, where it can do several: by PyTorch's torchrun; each with
    TensorFlow's variable TF_CONFIG; or as devices of one process. Each but the last calls `build` and `train` in every
    process, with the whole batches, of which each takes its share (`share_of`).
    """

    name: str
    module: str
    framework: str
    mode: Mode
    tier: Tier
    packages: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ("cpu",)
    launcher: Launcher | None = None


ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="numpy",
        module="impls.numpy.mlp",
        framework="numpy",
        mode="eager",
        tier="as-written",
        packages=("numpy",),
        devices=("cpu",),
    ),
    Entry(
        name="torch-eager",
        module="impls.torch.mlp",
        framework="torch",
        mode="eager",
        tier="as-written",
        packages=("torch",),
        devices=("cpu", "cuda"),
    ),
    Entry(
        name="torch-loader",
        module="impls.torch.loader",
        framework="torch",
        mode="eager",
        tier="as-written",
        packages=("torch",),
        devices=("cpu", "cuda"),
    ),
    Entry(
        name="torch-by-hand",
        module="impls.torch.by_hand",
        framework="torch",
        mode="eager",
        tier="as-written",
        packages=("torch",),
        devices=("cpu", "cuda"),
    ),
    Entry(
        name="torch-compile",
        module="impls.torch.compiled",
        framework="torch",
        mode="compiled",
        tier="as-written",
        packages=("torch",),
        devices=("cpu", "cuda"),
    ),
    Entry(
        name="torch-tuned",
        module="impls.torch.tuned",
        framework="torch",
        mode="whole-loop",
        tier="tuned",
        packages=("torch",),
        devices=("cpu", "cuda"),
    ),
    Entry(
        name="torch-ddp",
        module="impls.torch.ddp",
        framework="torch",
        mode="eager",
        tier="as-written",
        packages=("torch",),
        devices=("cpu", "cuda"),
        launcher="torchrun",
    ),
    Entry(
        name="tensorflow-eager",
        module="impls.tensorflow.mlp",
        framework="tensorflow",
        mode="eager",
        tier="as-written",
        packages=("tensorflow", "keras"),
        devices=("cpu", "cuda"),
    ),
    Entry(
        name="tensorflow-function",
        module="impls.tensorflow.function",
        framework="tensorflow",
        mode="graph",
        tier="as-written",
        packages=("tensorflow", "keras"),
        devices=("cpu", "cuda"),
    ),
    Entry(
        name="tensorflow-by-hand",
        module="impls.tensorflow.by_hand",
        framework="tensorflow",
        mode="graph",
        tier="as-written",
        packages=("tensorflow", "keras"),
        devices=("cpu", "cuda"),
    ),
    Entry(
        name="tensorflow-data",
        module="impls.tensorflow.data",
        framework="tensorflow",
        mode="graph",
        tier="as-written",
        packages=("tensorflow", "keras"),
        devices=("cpu", "cuda"),
    ),
    Entry(
        name="tensorflow-xla",
        module="impls.tensorflow.xla",
        framework="tensorflow",
        mode="compiled",
        tier="as-written",
        packages=("tensorflow", "keras"),
        devices=("cpu", "cuda"),
    ),
    Entry(
        name="tensorflow-loop",
        module="impls.tensorflow.loop",
        framework="tensorflow",
        mode="whole-loop",
        tier="tuned",
        packages=("tensorflow", "keras"),
        devices=("cpu", "cuda"),
    ),
    Entry(
        name="tensorflow-multiworker",
        module="impls.tensorflow.multiworker",
        framework="tensorflow",
        mode="graph",
        tier="as-written",
        packages=("tensorflow", "keras"),
        devices=("cpu", "cuda"),
        launcher="tf-config",
    ),
    Entry(
        name="tensorflow-mirrored",
        module="impls.tensorflow.mirrored",
        framework="tensorflow",
        mode="graph",
        tier="as-written",
        packages=("tensorflow", "keras"),
        devices=("cpu", "cuda"),
        launcher="one-process",
    ),
    Entry(
        name="keras-fit",
        module="impls.keras.fit",
        framework="keras",
        mode="whole-loop",
        tier="as-written",
        packages=("tensorflow", "keras"),
        devices=("cpu", "cuda"),
    ),
    Entry(
        name="keras-jax",
        module="impls.keras.fit_jax",
        framework="keras",
        mode="whole-loop",
        tier="as-written",
        packages=("jax", "keras"),
        devices=("cpu",),
    ),
    Entry(
        name="keras-torch",
        module="impls.keras.fit_torch",
        framework="keras",
        mode="whole-loop",
        tier="as-written",
        packages=("torch", "keras"),
        devices=("cpu", "cuda"),
    ),
    Entry(
        name="jax-jit",
        module="impls.jax.mlp",
        framework="jax",
        mode="compiled",
        tier="as-written",
        packages=("jax", "jaxlib"),
        devices=("cpu", "cuda"),
    ),
    Entry(
        name="jax-scan",
        module="impls.jax.scan",
        framework="jax",
        mode="whole-loop",
        tier="tuned",
        packages=("jax", "jaxlib"),
        devices=("cpu", "cuda"),
    ),
    Entry(
        name="sklearn",
        module="impls.sklearn.mlp",
        framework="sklearn",
        mode="eager",
        tier="as-written",
        packages=("scikit-learn",),
        devices=("cpu",),
    ),
)
