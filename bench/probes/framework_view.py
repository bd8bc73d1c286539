"""One framework's own view of a device, as JSON: `python -m bench.probes.framework_view torch cuda ieee`.

Run by `bench doctor --device cuda` in the framework's own environment, a process a framework. The process is configured
by our entry, and asked by the framework's own functions: what is found is what a trial would meet. Devices "cpu" and
"cuda" take the same way through this file, so that all of it but the card is tested where there is none.
"""

import importlib
import json
import os
import re
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any, Protocol

import numpy as np

from bench.contract import Array, Device, Precision, Refusal, Settings

ENTRIES = {"torch": "impls.torch.mlp", "tensorflow": "impls.tensorflow.mlp", "jax": "impls.jax.mlp"}

_SIZE = 1024  # of the product whose error is looked at
_LONG = {"cpu": (512, 30), "cuda": (4096, 30)}  # size and number of the products that are waited for: 0.1 s and more
_MISSING = 99  # no machine has so many cards


class Framework(Protocol):
    """What is asked of a framework; each method is one of its own functions."""

    def devices(self) -> list[str]:
        """The devices that it sees, by its own names."""

    def put(self, array: Array) -> Any:
        """The array on the first device."""

    def wait(self, tensor: Any) -> None:
        """Return when the device has made the tensor."""

    def lies_on(self, tensor: Any) -> str:
        """cpu or cuda, else the framework's own word."""

    def use_missing(self) -> Any:
        """Use a device that no machine has: must raise."""


class Torch:
    """PyTorch."""

    def __init__(self, device: Device) -> None:
        self.torch, self.device = importlib.import_module("torch"), device

    def devices(self) -> list[str]:
        if self.device == "cpu":
            return ["cpu"]
        cuda = self.torch.cuda
        return [cuda.get_device_name(index) for index in range(cuda.device_count())]

    def put(self, array: Array) -> Any:
        return self.torch.tensor(array, device=self.device)

    def wait(self, tensor: Any) -> None:  # noqa: ARG002
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def lies_on(self, tensor: Any) -> str:
        return str(tensor.device.type)

    def use_missing(self) -> Any:
        return self.torch.zeros(1, device=f"cuda:{_MISSING}")


class TensorFlow:
    """TensorFlow, eagerly."""

    def __init__(self, device: Device) -> None:
        self.tf, self.kind = importlib.import_module("tensorflow"), {"cpu": "CPU", "cuda": "GPU"}[device]

    def devices(self) -> list[str]:
        found = self.tf.config.get_visible_devices(self.kind)
        named = [self.tf.config.experimental.get_device_details(one).get("device_name") for one in found]
        return [name or one.name for name, one in zip(named, found, strict=True)]

    def put(self, array: Array) -> Any:
        with self.tf.device(f"/{self.kind}:0"):
            return self.tf.identity(self.tf.constant(array))

    def wait(self, tensor: Any) -> None:  # noqa: ARG002
        self.tf.test.experimental.sync_devices()

    def lies_on(self, tensor: Any) -> str:
        kind = tensor.device.split(":")[-2]  # /job:localhost/replica:0/task:0/device:GPU:0
        return str({"CPU": "cpu", "GPU": "cuda"}.get(kind, kind))

    def use_missing(self) -> Any:
        with self.tf.device(f"/GPU:{_MISSING}"):
            return self.tf.identity(self.tf.zeros(1))


class Jax:
    """JAX, without jit."""

    def __init__(self, device: Device) -> None:
        self.jax, self.device = importlib.import_module("jax"), device

    def devices(self) -> list[str]:
        return [device.device_kind for device in self.jax.devices(self.device)]

    def put(self, array: Array) -> Any:
        return self.jax.numpy.asarray(array)  # on the default device, as the entry's own arrays are

    def wait(self, tensor: Any) -> None:
        self.jax.block_until_ready(tensor)

    def lies_on(self, tensor: Any) -> str:
        (device,) = tensor.devices()
        return str({"gpu": "cuda"}.get(device.platform, device.platform))

    def use_missing(self) -> Any:
        return self.jax.device_put(np.zeros(1), self.jax.devices("cuda")[_MISSING])


_FRAMEWORKS: dict[str, Callable[[Device], Framework]] = {"torch": Torch, "tensorflow": TensorFlow, "jax": Jax}


def look(framework: str, device: Device, precision: Precision) -> dict[str, Any]:
    """The view. Refused, or not installed: no devices, and the reason."""
    found: dict[str, Any] = {"cuda_packages": _cuda_packages(), "versions": {}, "devices": [], "reason": None}
    before = _card_memory(device)
    try:
        entry = importlib.import_module(ENTRIES[framework])
        found["versions"] = dict(entry.versions())
        entry.configure(Settings(device=device, threads=1, precision=precision))
    except (ImportError, Refusal) as error:
        return found | {"reason": f"{type(error).__name__}: {error}" if isinstance(error, ImportError) else str(error)}
    view = _FRAMEWORKS[framework](device)
    found["devices"] = view.devices()
    found |= _product(view)
    found |= _waiting(view, device)
    after = _card_memory(device)
    if before is not None and after is not None:
        found |= {"taken_bytes": after[0] - before[0], "card_bytes": after[1]}
    found["missing_device_refused"] = _refuses_missing(view)  # last: whatever it leaves behind spoils nothing
    return found


def _cuda_packages() -> list[str]:
    """NVIDIA's distributions that are made for one CUDA, such as nvidia-cudnn-cu13."""
    names = {(one.metadata["Name"] or "").lower() for one in metadata.distributions()}
    return sorted(name for name in names if re.fullmatch(r"nvidia-.*-cu[0-9]+", name))


def _product(view: Framework) -> dict[str, Any]:
    """max|a - b| / max|b| of a float32 product beside NumPy's in float64, and where the product lies."""
    generator = np.random.default_rng(1)
    a, b = (generator.standard_normal((_SIZE, _SIZE)).astype(np.float32) for _ in range(2))
    exact = a.astype(np.float64) @ b.astype(np.float64)
    product = view.put(a) @ view.put(b)
    view.wait(product)
    lies_on = view.lies_on(product)
    host = np.asarray(product.cpu() if hasattr(product, "cpu") else product)
    return {"lies_on": lies_on, "relative_error": float(np.max(np.abs(host - exact)) / np.max(np.abs(exact)))}


def _waiting(view: Framework, device: Device) -> dict[str, float]:
    """A chain of products: seconds until the calls are back, then until the wait is, then until a value is read."""
    size, times = _LONG[device]
    generator = np.random.default_rng(2)
    # Divided by the root of the size, a factor keeps what it multiplies as large as it was.
    factor = view.put((generator.standard_normal((size, size)) / np.sqrt(size)).astype(np.float32))
    first = view.put(np.ones((size, size), np.float32))
    view.wait(first @ factor)  # the library's start is not the work's time
    float((first @ factor)[0, 0])
    called = time.perf_counter()
    product = first
    for _ in range(times):
        product = product @ factor
    returned = time.perf_counter()
    view.wait(product)
    waited = time.perf_counter()
    float(product[0, 0])
    read = time.perf_counter()
    return {"call_seconds": returned - called, "wait_seconds": waited - returned, "read_seconds": read - waited}


def _refuses_missing(view: Framework) -> bool:
    try:
        view.use_missing()
    except Exception:  # each framework has another one
        return True
    return False


def _card_memory(device: Device) -> tuple[int, int] | None:
    """(taken, all) bytes of the card that CUDA_VISIBLE_DEVICES names by its UUID; None where NVML does not tell."""
    if device != "cuda":
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return int(memory.used), int(memory.total)
    except pynvml.NVMLError:
        return None


def main(arguments: list[str]) -> None:
    """Standard output is kept for the JSON alone: what a framework prints goes to stderr."""
    reply = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    framework, device, precision = arguments
    reply.write(json.dumps(look(framework, device, precision)))  # type: ignore[arg-type]
    reply.close()
    sys.stderr.flush()
    os._exit(0)  # no framework's exit handler may hang what has been seen already


if __name__ == "__main__":
    main(sys.argv[1:])
