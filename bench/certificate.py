"""Entry x task -> the parts of its certificate, against the oracle. Pure but for what the entry does.

Part float64: 100 steps in float64, losses, gradients and parameters within 1e-10 of the oracle's, which no other
algorithm reaches. Part own-dtype: the first steps at the precision that is measured, within a budget that is drawn
from the oracle itself in that dtype (bench/budget.py). Every step is trained by a call of its own and compared at once;
then all of them are trained again by two calls, as a measured epoch is.
"""

import contextlib
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench import budget
from bench.budget import Draw, Figures
from bench.conformance import check_trainer, check_unchanged, checked_logits, checked_losses, checked_params
from bench.contract import Array, Data, EntryModule, Params, Precision, Trainer
from bench.inputs import first_batches, initial_params, training_rows
from bench.oracle import Oracle
from bench.record import Check, Limits, Part, Series
from bench.task import Sgd, Task

LIMITS_FILE = Path(__file__).parent / "tolerances.toml"
LIMITS = Limits.model_validate(tomllib.loads(LIMITS_FILE.read_text(encoding="utf-8")))

# Gradients are read off the parameters: plain gradient descent moves each by rate * gradient. A power of two divides
# exactly, and 1/8 keeps the rounding of the difference small while the training stays stable.
GRADIENT_RATE = 0.125
_LOGITS_OF = 100  # rows that logits are compared on
_LOSS_ROUNDOFF = 2.0**-24  # losses come as float32, also from a training in float64
_TINY = float(np.finfo(np.float32).tiny)  # the smallest normal float32 stands for a truth that is 0

Load = Callable[[Task, NDArray[np.int64]], tuple[Data, NDArray[np.int64]]]


class Walker(Protocol):
    """A training that is followed step by step."""

    def step(self, rows: NDArray[np.int64], truth: Sequence[Array]) -> float:
        """One step on the rows; returns the loss before it. truth: the oracle's inputs to its activations."""

    def flat(self) -> list[Array]:
        """Weight and bias of each layer in turn."""

    def logits(self, images: Array) -> Array:
        """(n, pixels) -> (n, classes)."""


class _Entry:
    """An entry's trainer as a walker: a call a step."""

    def __init__(self, trainer: Trainer, task: Task) -> None:
        check_trainer(trainer)
        self.trainer, self._task = trainer, task

    def step(self, rows: NDArray[np.int64], _truth: Sequence[Array]) -> float:
        return float(self.train(rows[np.newaxis])[0])

    def train(self, batches: NDArray[np.int64]) -> NDArray[np.float32]:
        return checked_losses(self.trainer.train(batches), len(batches))

    def flat(self) -> list[Array]:
        return checked_params(self.trainer.params(), self._task)

    def logits(self, images: Array) -> Array:
        return checked_logits(self.trainer.logits(images), len(images), self._task.layers[-1])


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    """What a training starts from; `entry` makes a trainer of it and sees that it stays as it is."""

    task: Task
    params: Params
    data: Data
    batches: NDArray[np.int64]  # (steps, batch_size), rows of data
    kept: Params  # copies of the parameters, and of images and labels as the last pair

    @contextlib.contextmanager
    def entry(self, module: EntryModule) -> Iterator[_Entry]:
        """A trainer of the entry on these inputs. Raises ContractBroken where it writes into them."""
        yield _Entry(module.build(self.task, self.params, self.data), self.task)
        check_unchanged(self.kept[:-1], self.params)
        check_unchanged(self.kept[-1:], [(self.data.images, self.data.labels)], "data")


@dataclass(frozen=True, kw_only=True)
class _Truth:
    """What the oracle says of a training: the loss of each step, and itself after the last one."""

    losses: list[float]
    oracle: Oracle
    rounding: dict[str, list[float]]  # of gradients read off the parameters, in float64


def prove(
    entry: EntryModule,
    task: Task,
    seed: int,
    *,
    precision: Precision = "ieee",
    processes: int = 1,
    limits: Limits = LIMITS,
    load: Load = training_rows,
) -> list[Part]:
    """The parts of the certificate; they have no faults where the entry does the task's arithmetic.

    precision: of products of float32 matrices; it widens the budget of the part own-dtype, and nothing else. processes:
    that share a batch; where the part float64 cuts it, it is cut to a multiple of them.

    Raises ContractBroken where the entry breaks its contract, Refusal where it cannot do the task, and whatever else
    the entry raises.
    """
    most = max(processes, limits.float64_most_rows - limits.float64_most_rows % processes)
    small = task.changed(dtype="float64", batch_size=min(task.batch_size, most))
    parts = [_part("float64", entry, _falling_within(small, limits), seed, limits, load, precision)]
    if task.dtype != "float64":
        parts.append(_part("own-dtype", entry, task, seed, limits, load, precision))
    return parts


def _falling_within(task: Task, limits: Limits) -> Task:
    """The task with a falling rate that falls within the steps: else nothing would be seen of it."""
    decay = task.optimizer.decay if isinstance(task.optimizer, Sgd) else None
    if decay is None or decay.every_steps <= limits.float64_most_decay_steps:
        return task
    sooner = decay.model_copy(update={"every_steps": limits.float64_most_decay_steps})
    return task.changed(optimizer=task.optimizer.model_copy(update={"decay": sooner}).model_dump())


def _part(
    name: str, entry: EntryModule, task: Task, seed: int, limits: Limits, load: Load, precision: Precision
) -> Part:
    steps = limits.float64_steps if name == "float64" else own_dtype_steps(task, limits)
    data, batches = load(task, first_batches(task, seed, steps))
    params = initial_params(task, seed)
    kept = [(a.copy(), b.copy()) for a, b in [*params, (data.images, data.labels)]]
    inputs = _Inputs(task=task, params=params, data=data, batches=batches, kept=kept)
    gradient_descent = task.changed(optimizer={"name": "sgd", "learning_rate": GRADIENT_RATE})
    plain = replace(inputs, task=gradient_descent, batches=batches[: limits.gradient_steps])
    generator = np.random.default_rng(seed)
    drawn = 0 if name == "float64" else limits.budget_draws

    ours, *draws, truth = _follow(inputs, entry, _draws(inputs, drawn, generator, precision))
    whole = _whole_calls(inputs, entry, truth)
    slopes, *slope_draws, plain_truth = _follow(
        plain, entry, _draws(plain, drawn, generator, precision), gradients=True
    )

    figures = ours | whole | slopes
    if name == "float64":
        tolerated = {figure: _exact(figure, len(values), plain_truth, limits) for figure, values in figures.items()}
    else:
        of_draws = [_as_whole(one) | slope for one, slope in zip(draws, slope_draws, strict=True)]
        tolerated = budget.tolerances(of_draws, dtype=task.dtype, false_refusal=limits.budget_false_refusal)
    series = [_series(figure, values, tolerated[figure]) for figure, values in figures.items()]
    return Part.model_validate(
        {
            "name": name,
            "dtype": task.dtype,
            "steps": len(batches),
            "series": series,
            "faults": [fault for one in series if (fault := fault_of(one)) is not None],
        }
    )


def own_dtype_steps(task: Task, limits: Limits = LIMITS) -> int:
    """Steps of the part own-dtype, and of a trial's check: fewer for large batches, never under two."""
    return max(2, min(limits.own_dtype_steps, limits.own_dtype_most_rows // task.batch_size))


def _draws(inputs: _Inputs, count: int, generator: np.random.Generator, precision: Precision) -> list[Draw]:
    return [Draw(inputs.task, inputs.params, inputs.data, generator, precision=precision) for _ in range(count)]


def _names(task: Task, kind: str) -> list[str]:
    return [f"{kind} {what} {layer}" for layer in range(len(task.layers) - 1) for what in ("weight", "bias")]


class _Beside:
    """A walker beside the oracle: `figures`, its deviations at each step."""

    def __init__(self, walker: Walker, names: list[str], start: list[Array], *, gradients: bool) -> None:
        self.walker, self.figures = walker, Figures()
        self._names, self._before, self._gradients = names, start, gradients

    def step(self, rows: NDArray[np.int64], oracle: Oracle, true_loss: float) -> None:
        """Take the step that the oracle has just taken, and compare."""
        loss = self.walker.step(rows, oracle.before)
        now = [array.astype(np.float64) for array in self.walker.flat()]
        if self._gradients:
            moved = [(was - is_) / GRADIENT_RATE for was, is_ in zip(self._before, now, strict=True)]
            self._add(moved, oracle.latest_gradients)
        else:
            self.figures.setdefault("loss", []).append(relative(loss, true_loss))
            self._add(now, oracle.flat)
        self._before = now

    def _add(self, found: list[Array], true: list[Array]) -> None:
        for name, ours, theirs in zip(self._names, found, true, strict=True):
            self.figures.setdefault(name, []).append(relative(ours, theirs))


def _follow(inputs: _Inputs, module: EntryModule, draws: Sequence[Draw], *, gradients: bool = False) -> tuple[Any, ...]:
    """Train the entry, the draws and the oracle in step; the Figures of the entry, of each draw, and the _Truth.

    gradients: compare those, read off the parameters of plain gradient descent, in place of losses and parameters.
    """
    oracle = Oracle(inputs.task, inputs.params, inputs.data)
    names = _names(inputs.task, "gradient of" if gradients else "parameter")
    truth = _Truth(losses=[], oracle=oracle, rounding={name: [] for name in names})
    start = [array.astype(np.float64) for layer in inputs.params for array in layer]
    with inputs.entry(module) as entry:
        walkers: list[Walker] = [entry, *draws]
        compared = [_Beside(walker, names, start, gradients=gradients) for walker in walkers]
        for rows in inputs.batches:
            before = [float(np.abs(array).max()) for array in oracle.flat]
            truth.losses.append(oracle.step(rows))
            for one in compared:
                one.step(rows, oracle, truth.losses[-1])
            # Of a gradient that is a difference: both parameters are rounded to 2^-53 of themselves.
            for name, largest, gradient in zip(names, before, oracle.latest_gradients, strict=True):
                rounding = 2.0**-52 * largest / (GRADIENT_RATE * max(float(np.abs(gradient).max()), _TINY))
                truth.rounding[name].append(rounding)
        if not gradients:
            images = inputs.data.images[:_LOGITS_OF]
            for one in compared:
                one.figures["logits"] = [relative(one.walker.logits(images), oracle.logits(images))]
    return (*(one.figures for one in compared), truth)


def _whole_calls(inputs: _Inputs, module: EntryModule, truth: _Truth) -> Figures:
    """Figures of the entry trained in two calls, the first batch and all the others, as a measured epoch is."""
    with inputs.entry(module) as entry:
        losses = np.concatenate([entry.train(inputs.batches[:1]), entry.train(inputs.batches[1:])]).tolist()
        flat = entry.flat()
    figures: Figures = {"loss in whole calls": [relative(a, b) for a, b in zip(losses, truth.losses, strict=True)]}
    for name, ours, true in zip(_names(inputs.task, "parameter"), flat, truth.oracle.flat, strict=True):
        figures[f"{name} after whole calls"] = [relative(ours, true)]
    return figures


def _as_whole(draw: Figures) -> Figures:
    """A draw's figures with those of the whole calls, which for a draw are the same as those of single steps."""
    parameters = [name for name in draw if name.startswith("parameter")]
    return draw | {"loss in whole calls": draw["loss"]} | {f"{n} after whole calls": [draw[n][-1]] for n in parameters}


def _exact(figure: str, steps: int, plain: _Truth, limits: Limits) -> list[float]:
    """What float64 tolerates: the limit, and the rounding of how the figure comes to us."""
    if figure.startswith("loss"):
        return [limits.float64_deviation + _LOSS_ROUNDOFF] * steps
    if figure.startswith("gradient"):
        return [limits.float64_deviation + share for share in plain.rounding[figure]]
    return [limits.float64_deviation] * steps


def _series(figure: str, deviations: Sequence[float | None], tolerances: Sequence[float]) -> Series:
    return Series(
        what=figure,
        deviations=[None if deviation is None else _rounded(deviation) for deviation in deviations],
        tolerances=[_rounded(tolerance) for tolerance in tolerances],
    )


def _rounded(value: float) -> float:
    """Three digits: a deviation is an order of magnitude, and the record stays readable."""
    return float(f"{value:.2e}")


def relative(found: Array | float, true: Array | float) -> float | None:
    """max|found - true| / max|true|; None where found or true is not finite.

    Against the smallest normal float32 where the truth is 0: then only 0 is within a tolerance.
    """
    a, b = np.asarray(found, dtype=np.float64), np.asarray(true, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        deviation = np.abs(a - b).max() / max(np.abs(b).max(), _TINY)
    return float(deviation) if np.isfinite(deviation) else None


def fault_of(series: Series) -> str | None:
    """The first step at which a figure is not within its tolerance, in words; None where it always is."""
    for step, (deviation, tolerance) in enumerate(_pairs(series)):
        # `not <=` and no `>`: a NaN must not slip through.
        if deviation is None or not deviation <= tolerance:
            found = "is not finite" if deviation is None else f"deviates by {deviation:.1e}, tolerated {tolerance:.1e}"
            at = f" at step {step}" if len(series.deviations) > 1 else ""
            return f"{series.what}{at}: {found}"
    return None


def _pairs(series: Series) -> Iterator[tuple[float | None, float]]:
    return zip(series.deviations, series.tolerances, strict=True)


def host_reads(entry: EntryModule, task: Task, seed: int, *, load: Load = training_rows) -> list[str] | None:
    """Places inside a step where the entry reads a value of the device on the host; None where it cannot tell."""
    observe = getattr(entry, "host_reads", None)
    if not callable(observe):
        return None
    data, batches = load(task, first_batches(task, seed, 3))
    trainer = entry.build(task, initial_params(task, seed), data)
    return [str(place) for place in observe(trainer, batches)]


def reason_of(parts: Sequence[Part], host_reads: Sequence[str] | None) -> str | None:
    """Why these parts prove nothing, in one line; None where they prove the same work."""
    for part in parts:
        if part.faults:
            more = f" (and {len(part.faults) - 1} more figures)" if len(part.faults) > 1 else ""
            return f"not the same work: part {part.name}: {part.faults[0]}{more}"
    if host_reads:
        return f"reads a value on the host inside a step: {host_reads[0]}"
    return None


def check(
    task: Task,
    *,
    seed: int,
    data: Data,
    losses: NDArray[np.float32],
    measured_losses: NDArray[np.float32],
    batches: NDArray[np.int64],
    precision: Precision = "ieee",
    limits: Limits = LIMITS,
) -> Check:
    """Hold the losses (steps,) of a second trainer, and the first ones of the measured one, against the oracle's.

    batches: (steps, batch_size) rows of data. The tolerances are the loss's in the budget of the task's dtype.
    """
    params = initial_params(task, seed)
    oracle = Oracle(task, params, data)
    generator = np.random.default_rng(seed)
    draws = [Draw(task, params, data, generator, precision=precision) for _ in range(limits.budget_draws)]
    drawn: list[Figures] = [{"loss": []} for _ in draws]
    expected = []
    for rows in batches:
        expected.append(oracle.step(rows))
        for draw, figures in zip(draws, drawn, strict=True):
            figures["loss"].append(relative(draw.step(rows, oracle.before), expected[-1]))
    tolerated = budget.tolerances(drawn, dtype="float32", false_refusal=limits.budget_false_refusal)["loss"]
    whose = {"the second trainer's loss": losses, "the measured training's loss": measured_losses}
    series = [
        _series(name, [relative(a, b) for a, b in zip(found.tolist(), expected, strict=True)], tolerated)
        for name, found in whose.items()
    ]
    faults = [fault for one in series if (fault := fault_of(one)) is not None]
    trainer, measured = (one.deviations for one in series)
    return Check(
        verdict="refused" if faults else "same-work",
        steps=len(batches),
        tolerances=series[0].tolerances,
        trainer_deviations=trainer,
        measured_deviations=measured,
        largest_deviation=max((d for d in trainer + measured if d is not None), default=None),
        reason=f"not the same work: {faults[0]}" if faults else None,
    )
