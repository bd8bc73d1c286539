"""torch-eager with one deliberate fault each, to show that the certificate finds it. No entry of a benchmark.

A fault is a change of the honest trainer once it is built, or a trainer with one method of its own. A fault of one
optimiser leaves a task of another as it is. Where a fault needs a number, it is derived from the task's, since no
implementation contains one of a task's numbers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.contract import Data, Params
from bench.contract import Trainer as AnyTrainer
from bench.task import Adam, AdamW, Task
from impls.torch import mlp
from impls.torch.mlp import configure, host_reads, versions

__all__ = ["MUTANTS", "configure", "host_reads", "versions"]

PERCENT = 1 / 100
SKIPPED_EVERY = 50


def _group(trainer: mlp.Trainer) -> dict[str, Any]:
    """The hyperparameters of the optimiser, which may be changed in place."""
    (group,) = trainer.optimizer.param_groups
    return group


def _linear(trainer: mlp.Trainer) -> list[nn.Linear]:
    return [layer for layer in trainer.network if isinstance(layer, nn.Linear)]


def _before_update(trainer: mlp.Trainer, act: Callable[[], None]) -> None:
    """Have act called before each update, when the gradients are there."""
    trainer.optimizer.register_step_pre_hook(lambda *_: act())


# Faults of the gradients and the parameters.


def _no_zero_grad(trainer: mlp.Trainer) -> None:
    trainer.optimizer.zero_grad = lambda: None


def _default_initialisation(trainer: mlp.Trainer) -> None:
    for layer in _linear(trainer):
        layer.reset_parameters()


def _bias_frozen(trainer: mlp.Trainer) -> None:
    for layer in _linear(trainer):
        layer.bias.requires_grad_(False)


def _last_layer_only(trainer: mlp.Trainer) -> None:
    for layer in _linear(trainer)[:-1]:
        layer.requires_grad_(False)


def _layer_transposed(trainer: mlp.Trainer) -> None:
    square = next(layer for layer in _linear(trainer) if layer.in_features == layer.out_features)
    with torch.no_grad():
        square.weight.copy_(square.weight.T.clone())


def _gradient_clipped(trainer: mlp.Trainer) -> None:
    parameters = list(trainer.network.parameters())
    _before_update(trainer, lambda: _ignore(nn.utils.clip_grad_norm_(parameters, max_norm=1.0)))


def _ignore(_: object) -> None:
    """The result is not needed."""


# Faults of the optimiser.


def _set(**changes: Callable[[dict[str, Any]], Any]) -> Callable[[mlp.Trainer], None]:
    """Set hyperparameters, where the optimiser has them, to what is derived from those that the task gives."""

    def fault(trainer: mlp.Trainer) -> None:
        group = _group(trainer)
        group.update({name: value(group) for name, value in changes.items() if name in group})

    return fault


def _weight_decay_decoupled(trainer: mlp.Trainer) -> None:
    group = _group(trainer)
    decay, group["weight_decay"] = group["weight_decay"], 0.0

    def shrink() -> None:
        with torch.no_grad():
            for p in trainer.network.parameters():
                p.mul_(1 - group["lr"] * decay)

    _before_update(trainer, shrink)


def _adam_eps_placement(trainer: mlp.Trainer) -> None:
    group, updates = _group(trainer), iter(range(1, 2**62))

    def move(eps: float, beta2: float) -> None:  # sqrt(s / c) + eps / sqrt(c) is (sqrt(s) + eps) / sqrt(c)
        group["eps"] = eps / (1 - beta2 ** next(updates)) ** (1 / 2)

    if "betas" in group:
        _before_update(trainer, partial(move, group["eps"], group["betas"][1]))


def _no_bias_correction(trainer: mlp.Trainer) -> None:
    for p in trainer.network.parameters():  # so many steps ago that the corrections are 1
        step = torch.tensor(2.0**20)
        trainer.optimizer.state[p] = {"step": step, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}


class _OwnOptimizer(torch.optim.Optimizer):
    """An optimiser with a formula of its own: (parameter, gradient, its moment, hyperparameters) -> None, in place."""

    def __init__(self, trainer: mlp.Trainer, formula: Callable[[Tensor, Tensor, Tensor, dict[str, Any]], None]) -> None:
        super().__init__(trainer.network.parameters(), _group(trainer))
        self.formula = formula
        self.moments = [torch.zeros_like(p) for p in trainer.network.parameters()]

    @torch.no_grad()
    def step(self) -> None:
        (group,) = self.param_groups
        for p, moment in zip(group["params"], self.moments, strict=True):
            self.formula(p, p.grad, moment, group)


def _momentum_form(p: Tensor, g: Tensor, v: Tensor, group: dict[str, Any]) -> None:
    v.mul_(group["momentum"]).sub_(group["lr"] * (g + group["weight_decay"] * p))
    p.add_(v)


def _rmsprop_eps_placement(p: Tensor, g: Tensor, s: Tensor, group: dict[str, Any]) -> None:
    g = g + group["weight_decay"] * p
    s.mul_(group["alpha"]).add_((1 - group["alpha"]) * g * g)
    p.sub_(group["lr"] * g / (s + group["eps"]).sqrt())


def _stale_parameters(trainer: mlp.Trainer) -> None:
    parameters = list(trainer.network.parameters())
    late = [torch.zeros_like(p) for p in parameters]
    before: list[Tensor] = []

    def remember() -> None:
        before[:] = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def swap(*_: object) -> None:
        for p, old, update in zip(parameters, before, late, strict=True):
            made = p - old
            p.copy_(old + update)
            update.copy_(made)

    _before_update(trainer, remember)
    trainer.optimizer.register_step_post_hook(swap)


# Faults of the network and the data.


def _append(module: nn.Module) -> Callable[[mlp.Trainer], None]:
    return lambda trainer: _ignore(trainer.network.append(module))


def _gelu_approximate(trainer: mlp.Trainer) -> None:
    for module in trainer.network:
        if isinstance(module, nn.GELU):
            module.approximate = "tanh"


def _inputs_rounded(spacing: float) -> Callable[[mlp.Trainer], None]:
    """Round the images to a format whose numbers are so far apart at 1, whatever the dtype that holds them."""

    def fault(trainer: mlp.Trainer) -> None:
        digits, exponent = torch.frexp(trainer.images)  # 1/2 <= digits < 1
        trainer.images = torch.ldexp((digits * (2 / spacing)).round() * (spacing / 2), exponent)

    return fault


# Faults of the loop: trainers with a method of their own.


class _OtherLoss(mlp.Trainer):
    """The step of torch-eager, written once more around a loss of its own."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        raise NotImplementedError

    def step(self, rows: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = self.loss(self.network(self.images[rows]), self.labels[rows])
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class _LabelSmoothing(_OtherLoss):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=PERCENT)


class _SumForMean(_OtherLoss):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="sum")


class _OnlyLoss(mlp.Trainer):
    """Can tell the loss of a batch without training on it."""

    @torch.no_grad()
    def only_loss(self, rows: Tensor) -> Tensor:
        return F.cross_entropy(self.network(self.images[rows]), self.labels[rows])


class _EvaluationInPlaceOfTraining(_OnlyLoss):
    def step(self, rows: Tensor) -> Tensor:
        return self.only_loss(rows)


class _LossAfterUpdate(_OnlyLoss):
    def step(self, rows: Tensor) -> Tensor:
        super().step(rows)
        return self.only_loss(rows)


class _StepSkipped(_OnlyLoss):
    steps = 0

    def step(self, rows: Tensor) -> Tensor:
        self.steps += 1
        return super().step(rows) if self.steps % SKIPPED_EVERY else self.only_loss(rows)


class _HalfBatch(mlp.Trainer):
    def step(self, rows: Tensor) -> Tensor:
        return super().step(rows[: len(rows) // 2])


class _BatchesReversed(mlp.Trainer):
    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        return super().train(batches[::-1].copy())


class _ShuffleOffByOne(mlp.Trainer):
    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        return super().train((batches + 1) % len(self.images))


class _LastBatchDropped(mlp.Trainer):
    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        if len(batches) == 1:
            return super().train(batches)
        losses = super().train(batches[:-1])
        return np.append(losses, losses[-1:])


# The table.

Build = Callable[[Task, Params, Data], AnyTrainer]


def _changed(*faults: Callable[[mlp.Trainer], None]) -> Build:
    """Build torch-eager, then apply the faults."""

    def build(task: Task, params: Params, data: Data) -> AnyTrainer:
        trainer = mlp.build(task, params, data)
        for fault in faults:
            fault(trainer)
        return trainer

    return build


def _with_formula(name: str, formula: Callable[[Tensor, Tensor, Tensor, dict[str, Any]], None]) -> Build:
    """Build torch-eager, with another formula for the optimiser of that name."""

    def build(task: Task, params: Params, data: Data) -> AnyTrainer:
        trainer = mlp.build(task, params, data)
        if task.optimizer.name == name:
            trainer.optimizer = _OwnOptimizer(trainer, formula)
            trainer.schedule = mlp._build_schedule(task, trainer.optimizer)
        return trainer

    return build


def _weight_decay_coupled(task: Task, params: Params, data: Data) -> AnyTrainer:
    """AdamW's numbers in Adam."""
    if isinstance(task.optimizer, AdamW):
        values = task.optimizer.model_dump(exclude={"name"})
        task = task.model_copy(update={"optimizer": Adam(name="adam", **values)})
    return mlp.build(task, params, data)


MUTANTS: dict[str, Build] = {
    "no-zero-grad": _changed(_no_zero_grad),
    "default-initialisation": _changed(_default_initialisation),
    "bias-frozen": _changed(_bias_frozen),
    "nesterov": _changed(_set(nesterov=lambda _: True)),
    "dampening": _changed(_set(dampening=lambda group: group["momentum"])),
    "momentum-form": _with_formula("sgd", _momentum_form),
    "weight-decay-decoupled": _changed(_weight_decay_decoupled),
    "weight-decay-coupled": _weight_decay_coupled,
    "weight-decay-forgotten": _changed(_set(weight_decay=lambda _: 0.0)),
    "adam-eps-value": _changed(_set(eps=lambda group: group["eps"] * 2 * 5)),
    "adam-eps-placement": _changed(_adam_eps_placement),
    "rmsprop-eps-placement": _with_formula("rmsprop", _rmsprop_eps_placement),
    "no-bias-correction": _changed(_no_bias_correction),
    "label-smoothing": _LabelSmoothing,
    "sum-for-mean": _SumForMean,
    "double-softmax": _changed(_append(nn.Softmax(dim=1))),
    "relu-on-output": _changed(_append(nn.ReLU())),
    "layer-transposed": _changed(_layer_transposed),
    "batches-reversed": _BatchesReversed,
    "shuffle-off-by-one": _ShuffleOffByOne,
    "step-skipped": _StepSkipped,
    "last-batch-dropped": _LastBatchDropped,
    "half-batch": _HalfBatch,
    "inputs-rounded-tf32": _changed(_inputs_rounded(torch.finfo(torch.float16).eps)),  # float16 has as many digits
    "inputs-rounded-bf16": _changed(_inputs_rounded(torch.finfo(torch.bfloat16).eps)),
    "gradient-clipped": _changed(_gradient_clipped),
    "learning-rate-off": _changed(_set(lr=lambda group: group["lr"] * (1 + PERCENT))),
    "stale-parameters": _changed(_stale_parameters),
    "evaluation-in-place-of-training": _EvaluationInPlaceOfTraining,
    "momentum-off": _changed(_set(momentum=lambda group: group["momentum"] and group["momentum"] - PERCENT)),
    "gelu-approximate": _changed(_gelu_approximate),
    "last-layer-only": _changed(_last_layer_only),
    "loss-after-update": _LossAfterUpdate,
}
