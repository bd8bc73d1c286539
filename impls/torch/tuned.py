"""torch-tuned: the whole step as one compiled program, and on the CPU the loop over the steps inside it too.

Gather, forward, gradients by torch.func and the update of the optimiser are one function without side effects, which
Inductor fuses. README.md says what else was tried.
"""

import copy
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch._dynamo.decorators import mark_static_address, mark_unbacked
from torch._dynamo.utils import counters
from torch._higher_order_ops.while_loop import while_loop

from bench.contract import Array, Data, Params
from bench.task import Adam, AdamW, RmsProp, Sgd, Task
from impls.torch import mlp
from impls.torch.compiled import ProgramCount, configure
from impls.torch.mlp import device_memory, matmul, reset_device_memory, synchronize, versions

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

STEPS_PER_GRAPH = 8  # of a CUDA graph: what a replay costs the host is spread over so many steps

# A parameter with its moments; what is left of a step's formula once the gradient is known.
State = tuple[Tensor, ...]
Update = Callable[[State, Tensor, Tensor], State]
Step = Callable[[list[State], Tensor, Tensor, Tensor, Tensor], tuple[list[State], Tensor]]


def build_forward(task: Task) -> Callable[[list[Tensor], Tensor], Tensor]:
    """(weights (fan_out, fan_in) and biases in turn, images) -> logits."""
    activation = {"relu": F.relu, "tanh": torch.tanh, "gelu": F.gelu}[task.activation]

    def forward(params: list[Tensor], x: Tensor) -> Tensor:
        for layer in range(0, len(params), 2):
            x = F.linear(activation(x) if layer else x, params[layer], params[layer + 1])
        return x

    return forward


def moments_of(task: Task) -> int:
    """How many arrays the optimiser keeps for each parameter."""
    match task.optimizer:
        case Sgd(momentum=momentum):
            return 1 if momentum else 0
        case RmsProp():
            return 1
    return 2


def schedule(task: Task, first: int, steps: int) -> NDArray[np.float64]:
    """What changes from step to step: the rate, and the corrections of the moments; (steps, 3), the first from 0."""
    o = task.optimizer
    table = np.ones((steps, 3))
    table[:, 0] = o.learning_rate
    if isinstance(o, Sgd) and o.decay:
        table[:, 0] = [o.rate(first + step) for step in range(steps)]
    if isinstance(o, Adam | AdamW):
        t = np.arange(first + 1, first + steps + 1)
        table[:, 1], table[:, 2] = 1 - o.beta1**t, 1 - o.beta2**t
    return table


def build_update(task: Task) -> Update:
    """(parameter and moments, gradient, row of the schedule) -> parameter and moments, by the task's formula."""
    decay = task.optimizer.weight_decay
    match task.optimizer:
        case Sgd(momentum=momentum):

            def update(state: State, g: Tensor, now: Tensor) -> State:
                p, *moments = state
                g = g + decay * p if decay else g
                if not moments:
                    return (p - now[0] * g,)
                v = momentum * moments[0] + g
                return p - now[0] * v, v

        case RmsProp(rho=rho, eps=eps):

            def update(state: State, g: Tensor, now: Tensor) -> State:
                p, s = state
                g = g + decay * p if decay else g
                s = rho * s + (1 - rho) * g * g
                return p - now[0] * g / (s.sqrt() + eps), s

        case Adam(beta1=beta1, beta2=beta2, eps=eps) | AdamW(beta1=beta1, beta2=beta2, eps=eps):
            coupled = isinstance(task.optimizer, Adam)

            def update(state: State, g: Tensor, now: Tensor) -> State:
                p, m, s = state
                if decay and coupled:
                    g = g + decay * p
                elif decay:
                    p = p - now[0] * decay * p
                m = beta1 * m + (1 - beta1) * g
                s = beta2 * s + (1 - beta2) * g * g
                return p - now[0] * (m / now[1]) / ((s / now[2]).sqrt() + eps), m, s

    return update


def build_step(task: Task) -> Step:
    """(states, row of the schedule, rows of the batch, images, labels) -> states, loss before the update."""
    forward, update = build_forward(task), build_update(task)

    def loss_of(params: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(forward(params, x), y)

    def step(
        states: list[State], now: Tensor, rows: Tensor, images: Tensor, labels: Tensor
    ) -> tuple[list[State], Tensor]:
        x, y = images.index_select(0, rows), labels.index_select(0, rows)
        gradients, loss = torch.func.grad_and_value(loss_of)([state[0] for state in states], x, y)
        return [update(state, g, now) for state, g in zip(states, gradients, strict=True)], loss

    return step


class Trainer:
    """See bench.contract. `_advance` and `_take` are what differs between the CPU and CUDA."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        self.images = torch.tensor(data.images, device=mlp.DEVICE)  # (n, pixels)
        self.labels = torch.tensor(data.labels, device=mlp.DEVICE)  # (n,)
        given = [torch.tensor(np.ascontiguousarray(array.T), device=mlp.DEVICE) for layer in params for array in layer]
        self.states: list[State] = [(p, *(torch.zeros_like(p) for _ in range(moments_of(task)))) for p in given]
        self._task, self._updates, self._programs = task, 0, ProgramCount()
        self._forward = build_forward(task)
        self._step = build_step(task)
        self._program = self._compile(self._step)

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        """See bench.contract."""
        table = schedule(self._task, self._updates, len(batches))
        self._updates += len(batches)
        order = torch.tensor(batches, device=mlp.DEVICE)  # (steps, batch)
        with self._programs.counting(), torch.no_grad():
            losses = self._advance(order, torch.tensor(table, dtype=self.images.dtype, device=mlp.DEVICE))
        return losses.cpu().numpy().astype(np.float32, copy=False)

    def logits(self, images: Array) -> Array:
        """See bench.contract."""
        with torch.no_grad():
            logits = self._forward([state[0] for state in self.states], torch.tensor(images, device=mlp.DEVICE))
        return logits.cpu().numpy()

    def params(self) -> Params:
        """See bench.contract."""
        flat = [state[0].cpu().numpy().T.copy() for state in self.states]
        return list(zip(flat[::2], flat[1::2], strict=True))

    def compilations(self) -> int:
        """See bench.contract."""
        return self._programs.total

    def placement(self) -> Mapping[str, str]:
        """See bench.contract."""
        tensors = {"images": self.images, "labels": self.labels}
        for index, (p, *moments) in enumerate(self.states):
            name = f"{'bias' if index % 2 else 'weight'} {index // 2}"
            tensors |= {name: p, **{f"moment {number} of {name}": m for number, m in enumerate(moments)}}
        return {name: tensor.device.type for name, tensor in tensors.items()}

    def gather(self, batches: NDArray[np.int64]) -> None:
        """See bench.contract. By a program of its own, which the first call compiles; `compilations` leaves it out."""
        with torch.no_grad():
            self._take(torch.tensor(batches, device=mlp.DEVICE))
        synchronize()

    def _compile(self, step: Step) -> Callable[..., tuple[Tensor, ...]]:
        """One program for any number of steps: the loop is part of it, and runs as C++ without Python."""
        width = 1 + moments_of(self._task)

        def run(
            order: Tensor, table: Tensor, losses: Tensor, images: Tensor, labels: Tensor, *flat: Tensor
        ) -> tuple[Tensor, ...]:
            def more(index: Tensor, *_: Tensor) -> Tensor:
                return index < order.shape[0]

            def body(index: Tensor, losses: Tensor, *flat: Tensor) -> tuple[Tensor, ...]:
                at = index.reshape(1)
                states = [flat[i : i + width] for i in range(0, len(flat), width)]
                now, rows = table.index_select(0, at)[0], order.index_select(0, at)[0]
                states, loss = step(states, now, rows, images, labels)
                losses = losses.index_copy(0, at, loss.reshape(1))
                return index + 1, losses, *(x for state in states for x in state)

            return while_loop(more, body, (torch.zeros((), dtype=torch.int64), losses, *flat))[1:]

        return torch.compile(run, fullgraph=True, dynamic=False, isolate_recompiles=True, options={"cpp_wrapper": True})

    def _advance(self, order: Tensor, table: Tensor) -> Tensor:
        """Take the steps of order; returns their losses."""
        losses = torch.empty(len(order), dtype=table.dtype)
        for array in (order, table, losses):
            mark_unbacked(array, 0)  # else one step is another program than many
        losses, *flat = self._program(
            order, table, losses, self.images, self.labels, *(x for s in self.states for x in s)
        )
        width = len(self.states[0])
        self.states = [tuple(flat[i : i + width]) for i in range(0, len(flat), width)]
        return losses

    @cached_property
    def _gathering(self) -> Callable[..., tuple[Tensor, ...]]:
        """The loop of `_compile` with nothing in it but the gather; what each turn took is carried into the next."""

        def run(order: Tensor, x: Tensor, y: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
            def more(index: Tensor, *_: Tensor) -> Tensor:
                return index < order.shape[0]

            def body(index: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
                rows = order.index_select(0, index.reshape(1))[0]
                return index + 1, images.index_select(0, rows), labels.index_select(0, rows)

            return while_loop(more, body, (torch.zeros((), dtype=torch.int64), x, y))[1:]

        return torch.compile(run, fullgraph=True, dynamic=False, isolate_recompiles=True, options={"cpp_wrapper": True})

    def _take(self, order: Tensor) -> tuple[Tensor, ...]:
        """The last batch of order, each one before it taken too."""
        mark_unbacked(order, 0)
        nothing = (x.new_empty(order.shape[1], *x.shape[1:]) for x in (self.images, self.labels))
        return self._gathering(order, *nothing, self.images, self.labels)

    def step_by_step(self, order: Tensor, table: Tensor) -> Tensor:
        """As _advance, uncompiled."""
        losses = []
        for now, rows in zip(table, order, strict=True):
            self.states, loss = self._step(self.states, now, rows, self.images, self.labels)
            losses.append(loss)
        return torch.stack(losses)


def _parts(steps: int) -> list[slice]:
    """The steps, so many at a time as a CUDA graph has, and one by one what remains."""
    whole = steps // STEPS_PER_GRAPH * STEPS_PER_GRAPH
    starts = [*range(0, whole, STEPS_PER_GRAPH), *range(whole, steps)]
    return [slice(start, start + (STEPS_PER_GRAPH if start < whole else 1)) for start in starts]


class CudaTrainer(Trainer):
    """Some steps as one CUDA graph, which updates the states in place; single steps for what remains."""

    def __init__(self, task: Task, params: Params, data: Data) -> None:
        super().__init__(task, params, data)
        for array in (self.images, self.labels, *(x for state in self.states for x in state)):
            mark_static_address(array)  # else a graph would copy it on each replay

    def _compile(self, step: Step) -> Callable[..., tuple[Tensor, ...]]:
        def run(order: Tensor, table: Tensor, images: Tensor, labels: Tensor, states: list[State]) -> Tensor:
            now, losses = states, []
            for index in range(order.shape[0]):
                now, loss = step(now, table[index], order[index], images, labels)
                losses.append(loss)
            for old, new in zip(states, now, strict=True):
                for target, value in zip(old, new, strict=True):
                    target.copy_(value)
            return torch.stack(losses)

        mode = "reduce-overhead" if mlp.DEVICE == "cuda" else None
        return torch.compile(run, fullgraph=True, dynamic=False, isolate_recompiles=True, mode=mode)

    def _advance(self, order: Tensor, table: Tensor) -> Tensor:
        losses = torch.empty(len(order), dtype=table.dtype, device=order.device)
        for part in _parts(len(order)):
            # Copied at once: the next replay overwrites what this one returned.
            losses[part] = self._program(order[part], table[part], self.images, self.labels, self.states)
        if skips := counters["inductor"]["cudagraph_skips"]:
            raise RuntimeError(f"torch-tuned on CUDA must run as CUDA graphs; PyTorch left them out {skips} times")
        return losses

    @cached_property
    def _gathering(self) -> Callable[..., tuple[Tensor, ...]]:
        """The graph of `_compile` with nothing in it but the gather; every batch is a result, so that none is left."""

        def run(order: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
            return tuple(x.index_select(0, rows) for rows in order.unbind() for x in (images, labels))

        mode = "reduce-overhead" if mlp.DEVICE == "cuda" else None
        return torch.compile(run, fullgraph=True, dynamic=False, isolate_recompiles=True, mode=mode)

    def _take(self, order: Tensor) -> tuple[Tensor, ...]:
        taken: tuple[Tensor, ...] = ()
        for part in _parts(len(order)):
            taken = self._gathering(order[part], self.images, self.labels)
        return taken[-2:]


def build(task: Task, params: Params, data: Data) -> Trainer:
    """See bench.contract."""
    return (CudaTrainer if mlp.DEVICE == "cuda" else Trainer)(task, params, data)


def host_reads(trainer: Trainer, batches: NDArray[np.int64]) -> list[str]:
    """See impls.torch.mlp. Of the same steps uncompiled, on copies of the parameters: a program hides its inside."""
    observed = copy.copy(trainer)
    observed._advance = observed.step_by_step  # type: ignore[method-assign]
    return mlp.host_reads(observed, batches)
