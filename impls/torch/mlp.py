"""torch-eager: the task as PyTorch's own guide writes it."""

import re
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.contract import Array, Data, Params, Refusal, Settings
from bench.contract import Trainer as AnyTrainer
from bench.task import Adam, AdamW, RmsProp, Sgd, Task

DEVICE = "cpu"


def configure(settings: Settings) -> None:
    """Device, threads and precision for the whole process."""
    global DEVICE
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise Refusal("PyTorch finds no CUDA device")
    if settings.precision == "tf32" and (settings.device == "cpu" or not torch.cuda.is_tf32_supported()):
        raise Refusal("TF32 is a format of NVIDIA's GPUs from Ampere on; this device has none, ask for ieee")
    DEVICE = settings.device
    # Within an op and between ops: the worker has just so many cores, and TensorFlow is given the same two numbers.
    torch.set_num_threads(settings.threads)
    torch.set_num_interop_threads(settings.threads)
    torch.backends.fp32_precision = settings.precision  # PyTorch's words are the contract's


def versions() -> Mapping[str, str]:
    """The framework, and what it computes with."""
    mkl = re.search(r"Math Kernel Library Version (\S+)", torch.__config__.show())
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "none",
        "mkl": mkl[1] if mkl else "none",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def build_network(task: Task, params: Params) -> nn.Module:
    """The layers of the task with the given parameters."""
    dtype = getattr(torch, task.dtype)
    # 2. The network is a chain of fully connected layers, x W + b, with the activation between layers, none after the
    #    last; the weights and biases start as given.
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}[task.activation]
    layers: list[nn.Module] = []
    for weight, bias in params:
        fan_in, fan_out = weight.shape
        layer = nn.Linear(fan_in, fan_out, device=DEVICE, dtype=dtype)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(weight.T))  # torch keeps (fan_out, fan_in)
            layer.bias.copy_(torch.tensor(bias))
        layers += [layer, activation()]
    return nn.Sequential(*layers[:-1])


def build_optimizer(task: Task, network: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of the task, every hyperparameter given."""
    # 4. The optimiser follows the task's formula, with every hyperparameter given.
    parameters = network.parameters()
    match task.optimizer:
        case Sgd() as o:
            return torch.optim.SGD(
                parameters,
                lr=o.learning_rate,
                momentum=o.momentum,
                weight_decay=o.weight_decay,
                dampening=0,
                nesterov=False,
            )
        case RmsProp() as o:
            return torch.optim.RMSprop(
                parameters,
                lr=o.learning_rate,
                alpha=o.rho,
                eps=o.eps,
                weight_decay=o.weight_decay,
                momentum=0,
                centered=False,
            )
        case Adam() as o:
            return torch.optim.Adam(
                parameters,
                lr=o.learning_rate,
                betas=(o.beta1, o.beta2),
                eps=o.eps,
                weight_decay=o.weight_decay,
                amsgrad=False,
            )
        case AdamW() as o:
            return torch.optim.AdamW(
                parameters,
                lr=o.learning_rate,
                betas=(o.beta1, o.beta2),
                eps=o.eps,
                weight_decay=o.weight_decay,
                amsgrad=False,
            )


def _build_schedule(task: Task, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler | None:
    """The falling rate of the task, where it has one; its factor is a power of two, so that products are exact."""
    match task.optimizer:
        case Sgd(decay=decay) if decay is not None:
            return torch.optim.lr_scheduler.StepLR(optimizer, step_size=decay.every_steps, gamma=decay.factor)
    return None


class Trainer:
    """See bench.contract."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        # 1. The data are the given images, float in [0, 1], and the given labels, class numbers.
        self.images = torch.tensor(data.images, device=DEVICE)  # (n, pixels)
        self.labels = torch.tensor(data.labels, device=DEVICE)  # (n,)
        self.network = build_network(task, params)
        self.optimizer = build_optimizer(task, self.network)
        self.schedule = _build_schedule(task, self.optimizer)

    def step(self, rows: torch.Tensor) -> torch.Tensor:
        """One step on the rows (batch,) of the training set; returns the loss before it."""
        # 5. A step takes the batch's rows, computes the loss, its gradients, and updates the parameters once.
        images, labels = self.images.index_select(0, rows), self.labels.index_select(0, rows)
        self.optimizer.zero_grad()
        # 3. The loss is the mean over the batch of the cross-entropy, computed from the logits.
        loss = F.cross_entropy(self.network(images), labels)
        loss.backward()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        return loss.detach()

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        # 6. Training takes the steps in the order of the given batches, and ends when the losses are on the host.
        order = torch.tensor(batches, device=DEVICE)
        losses = torch.stack([self.step(rows) for rows in order])
        return losses.cpu().numpy().astype(np.float32, copy=False)

    def logits(self, images: Array) -> Array:
        """See bench.contract."""
        # 7. Evaluation gives the logits of the given images.
        with torch.no_grad():
            logits = self.network(torch.tensor(images, device=DEVICE))
        return logits.cpu().numpy()

    def params(self) -> Params:
        """See bench.contract."""
        layers = [layer for layer in self.network if isinstance(layer, nn.Linear)]
        return [(x.weight.detach().cpu().numpy().T.copy(), x.bias.detach().cpu().numpy().copy()) for x in layers]

    def placement(self) -> Mapping[str, str]:
        """See bench.contract."""
        tensors = {"images": self.images, "labels": self.labels, **_trained(self.network, self.optimizer)}
        return {name: tensor.device.type for name, tensor in tensors.items()}

    def gather(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract."""
        for rows in torch.tensor(batches, device=DEVICE):
            _ = self.images.index_select(0, rows), self.labels.index_select(0, rows)
        synchronize()


def _trained(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The parameters and what the optimiser keeps of each, by name; not its counts of steps, which lie on the host."""
    tensors: dict[str, torch.Tensor] = {}
    for index, p in enumerate(network.parameters()):
        name = f"{'bias' if index % 2 else 'weight'} {index // 2}"
        kept = {f"{what} of {name}": x for what, x in optimizer.state.get(p, {}).items() if what != "step"}
        tensors |= {name: p, **{what: x for what, x in kept.items() if isinstance(x, torch.Tensor)}}
    return tensors


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return Trainer(task, params, data)


def synchronize() -> None:
    """See bench.contract. On the CPU an operation has ended when its call returns."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def matmul(a: Array, b: Array) -> Callable[[int], Array]:
    """See bench.contract. Into one tensor again and again, so that no memory is asked for in between."""
    x, y = torch.tensor(a, device=DEVICE), torch.tensor(b, device=DEVICE)
    out = torch.empty(len(x), y.shape[1], dtype=x.dtype, device=DEVICE)

    def run(n: int) -> Array:
        for _ in range(n):
            torch.mm(x, y, out=out)
        return out.cpu().numpy().copy()

    return run


def device_memory() -> Mapping[str, int]:
    """See bench.contract."""
    return {
        "peak_allocated_bytes": torch.cuda.max_memory_allocated(),
        "peak_reserved_bytes": torch.cuda.max_memory_reserved(),
    }


def reset_device_memory() -> None:
    """See bench.contract."""
    torch.cuda.reset_peak_memory_stats()


def host_reads(trainer: AnyTrainer, batches: NDArray[np.int64]) -> list[str]:
    """Places where a value of the device was read on the host inside the steps of batches, two or more.

    What is read once, however many steps there are, belongs to the call: a DataLoader draws a seed when it starts.
    """
    with _HostReads() as reads:
        trainer.train(batches)
    return [place for place, times in Counter(reads.places).items() if times > 1]


class _HostReads(TorchDispatchMode):
    """Sees every operation that PyTorch dispatches, and notes those that hand a value of the device to the host."""

    def __enter__(self) -> "_HostReads":
        self.places: list[str] = []
        self._copies: list[str] = []  # to the host, with nothing done on the device since: the losses leave so
        super().__enter__()
        return self

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = op(*args, **(kwargs or {}))
        given = [x for x in args if isinstance(x, torch.Tensor)]
        if op is torch.ops.aten._local_scalar_dense.default:  # item(), bool(), float() of a tensor
            self.places += _places(op) if given[0].device.type == DEVICE else []
        elif any(x.is_cuda for x in given):
            if isinstance(result, torch.Tensor) and not result.is_cuda:
                self._copies += _places(op)
            else:
                self.places += self._copies
                self._copies.clear()
        return result


def _places(op: Any) -> list[str]:
    """The operation and the last line outside PyTorch that led to it; none for the optimiser's own count of steps."""
    stack = traceback.extract_stack()
    if any(frame.name == "_get_value" for frame in stack):  # Adam's count lies on the host, on CUDA too
        return []
    frames = stack[: next(n for n, frame in enumerate(stack) if frame.name == "__torch_dispatch__")]
    line = next(frame for frame in reversed(frames) if not frame.filename.startswith(str(Path(torch.__file__).parent)))
    return [f"{op.name()} at {Path(line.filename).name}:{line.lineno}: {line.line}"]
